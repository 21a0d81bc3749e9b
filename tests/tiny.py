"""Models that run in a millisecond or two, with norms that are not the default ones; what transformers says of them."""

from functools import cache

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPTNeoConfig, LlamaConfig

from interp_helpers.hub import STORYBOOK
from interp_helpers.visits import output_matrices

FAMILIES = ["gpt2", "gpt-neo", "llama"]
LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY = 2, 4, 16, 16, 8192
COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "attn_implementation": "eager"}


def configuration(family, layers=LAYERS, heads=HEADS, width=WIDTH, context=CONTEXT, **common):
    common = {**COMMON, **common}
    if family == "gpt2":
        return GPT2Config(n_layer=layers, n_head=heads, n_embd=width, n_positions=context, **common)
    if family == "gpt-neo":
        kinds = [[[["global", "local"], 1]], [[["global"], layers]]][layers != 2]
        return GPTNeoConfig(
            num_layers=layers, num_heads=heads, hidden_size=width, max_position_embeddings=context, window_size=4,
            attention_types=kinds, **common,
        )  # fmt: skip
    return LlamaConfig(
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads // 2 or 1, hidden_size=width,
        intermediate_size=2 * width, max_position_embeddings=context, **common,
    )  # fmt: skip


def fresh(family):
    """A new model of a family, the same every time. All weights are large enough that heads differ."""
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(configuration(family)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@cache
def tiny(family):
    """A model for reading only."""
    model = fresh(family)
    with torch.no_grad():  # transformers hangs hooks of its own on a model at the first such call: here, not in a test
        model(torch.tensor([[1]]), output_attentions=True, output_hidden_states=True)
    return model


def bridge_of(model):
    """A transformers model as a bridge of TransformerLens, with storybook's tokenizer."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers("", hf_model=model, tokenizer=tokenizer(), device="cpu").eval()


@cache
def bridge(family):
    """The same model as a bridge, for reading only."""
    return bridge_of(fresh(family))


@cache
def tokenizer():
    return AutoTokenizer.from_pretrained(STORYBOOK)


@torch.no_grad()
def alone(family, row):
    """What transformers itself says of one text without padding, and each head's z from patterns and cached values."""
    model = tiny(family)
    out = model(torch.tensor([row]), output_attentions=True, output_hidden_states=True, use_cache=True)
    values = [layer.values.repeat_interleave(HEADS // layer.values.shape[1], 1) for layer in out.past_key_values.layers]
    out.values = torch.cat(values)
    out.z = torch.cat(out.attentions) @ out.values  # (layer, head, position, d_head)
    return out


def matrix(family, layer):
    """The output matrix of a layer's attention as (in, out), and its bias."""
    projection = output_matrices(tiny(family))[layer]
    weight = projection.weight if family == "gpt2" else projection.weight.T
    return weight.detach(), 0 if projection.bias is None else projection.bias.detach()


def added(family, row):
    """What each layer's attention adds to the residual stream: (layer, position, d_model)."""
    z = alone(family, row).z
    mixed = []
    for layer in range(LAYERS):
        weight, bias = matrix(family, layer)
        mixed.append(z[layer].transpose(0, 1).flatten(1) @ weight + bias)
    return torch.stack(mixed)
