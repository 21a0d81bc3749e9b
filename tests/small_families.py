"""A small model of each of many families, with random weights and norms that are not the default ones."""

from functools import cache

import torch
import transformers

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}
GROUPED = {**SIZES, "num_key_value_heads": 2}
# Family: the options that make it small. All have norms and biases that are not the default ones.
FAMILY = {
    "GPT2LMHeadModel": ("GPT2", {"n_layer": 2, "n_head": 4, "n_embd": 32}),
    "GPTBigCodeForCausalLM": ("GPTBigCode", {"n_layer": 2, "n_head": 4, "n_embd": 32}),
    "GPTNeoForCausalLM": ("GPTNeo", {"num_layers": 2, "num_heads": 4, "hidden_size": 32, "window_size": 4,
                                   "attention_types": [[["global", "local"], 1]]}),
    "GPTJForCausalLM": ("GPTJ", {"n_layer": 2, "n_head": 4, "n_embd": 32, "rotary_dim": 4}),
    "CodeGenForCausalLM": ("CodeGen", {"n_layer": 2, "n_head": 4, "n_embd": 32, "rotary_dim": 4}),
    "GPTNeoXForCausalLM": ("GPTNeoX", SIZES),
    "GPTNeoXForCausalLM in sequence": ("GPTNeoX", {**SIZES, "use_parallel_residual": False}),
    "LlamaForCausalLM": ("Llama", GROUPED),
    "MistralForCausalLM": ("Mistral", GROUPED),
    "Qwen2ForCausalLM": ("Qwen2", GROUPED),
    "Qwen3ForCausalLM": ("Qwen3", {**GROUPED, "head_dim": 12}),
    "PhiForCausalLM": ("Phi", GROUPED),
    "OPTForCausalLM": ("OPT", {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "BloomForCausalLM": ("Bloom", {"n_layer": 2, "n_head": 4, "hidden_size": 32}),
    "FalconForCausalLM": ("Falcon", {**SIZES, "alibi": False}),
    "FalconForCausalLM in sequence": ("Falcon", {**SIZES, "parallel_attn": False}),
    "MptForCausalLM": ("Mpt", {"n_layers": 2, "n_heads": 4, "d_model": 32}),
    "GemmaForCausalLM": ("Gemma", {**GROUPED, "head_dim": 8}),
    "OlmoForCausalLM": ("Olmo", GROUPED),
    "GraniteForCausalLM": ("Granite", {**GROUPED, "residual_multiplier": 0.25, "embedding_multiplier": 12.0,
                                     "attention_multiplier": 0.2, "logits_scaling": 4.0}),
    "GraniteMoeForCausalLM": ("GraniteMoe", {**GROUPED, "residual_multiplier": 0.25, "num_local_experts": 2}),
    "MiniCPM3ForCausalLM": ("MiniCPM3", {**SIZES, "num_key_value_heads": 4, "scale_depth": 1.4, "q_lora_rank": 16,
                                       "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
                                       "v_head_dim": 8}),
}  # fmt: skip
LOGITS_DIVIDED_BY = {"GraniteForCausalLM": 4, "MiniCPM3ForCausalLM": 32 / 256}
COMPRESSED = "MiniCPM3ForCausalLM"
# What attention writes goes through a norm, or into several streams, or is added with another factor.
REFUSED = {
    "Gemma2ForCausalLM": ("Gemma2", {**GROUPED, "head_dim": 8}),
    "Gemma3ForCausalLM": ("Gemma3Text", {**GROUPED, "head_dim": 8}),
    "Olmo2ForCausalLM": ("Olmo2", GROUPED),
    "Glm4ForCausalLM": ("Glm4", {**GROUPED, "head_dim": 8}),
    "Exaone4ForCausalLM": ("Exaone4", GROUPED),
    "DogeForCausalLM": ("Doge", {**GROUPED, "num_experts": 4}),
}
TOKENS = torch.tensor([[5, 9, 3, 7, 9, 3, 1], [2, 4, 4, 8, 6, 2, 2]])


def build(family):
    """A new tiny model of a family. All weights are large enough that heads and layers differ."""
    name, sizes = {**FAMILY, **REFUSED}[family]
    torch.manual_seed(3)
    tokens = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    config = getattr(transformers, f"{name}Config")(**sizes, **tokens, attn_implementation="eager")
    model = getattr(transformers, family.split(" ")[0])(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


built = cache(build)  # for reading only
