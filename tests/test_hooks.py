"""What is found of a model's structure against what each family computes itself, and hooks that leave no trace."""

from functools import cache

import pytest
import torch
import transformers
from tiny import FAMILIES, bridge, fresh, tiny

from interp_helpers import ModelError, hooks
from interp_helpers.text import Batch

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


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def trace(model):
    """How many hooks hang on a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def visited(model, tokens=TOKENS):
    seen = []
    with torch.no_grad(), hooks.visit_attention(model, lambda *layer: seen.append(layer)):
        hooks.read(model, Batch(tokens))
    return seen


# The layout


@pytest.mark.parametrize("family", FAMILY)
def test_the_output_matrix_reads_z(family):
    model = built(family)
    with torch.no_grad(), hooks.record_inputs(hooks.layout(model).outputs) as inputs:
        out = model(TOKENS, output_attentions=True, use_cache=True)
    assert len(inputs) == 2
    for pattern, cached, read in zip(out.attentions, out.past_key_values.layers, inputs):
        if family == COMPRESSED:  # its cache holds no values; four heads of eight numbers are read all the same
            assert read.shape[-1] == 4 * 8
            continue
        values = cached.values.repeat_interleave(pattern.shape[1] // cached.values.shape[1], 1)
        close(read.view(2, 7, -1), (pattern @ values).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("family", FAMILY)
def test_the_final_norm_stands_before_the_unembedding(family):
    model = built(family)
    norm = hooks.layout(model).final_norm
    with torch.no_grad(), hooks.record_inputs([norm]) as inputs:
        out = model(TOKENS, output_hidden_states=True)
        normed = norm(inputs[0])
        close(normed, out.hidden_states[-1])
        assert not torch.allclose(normed, inputs[0], atol=1e-2)
        close(model.get_output_embeddings()(normed) / LOGITS_DIVIDED_BY.get(family, 1), out.logits)


@pytest.mark.parametrize("family", FAMILY)
def test_learned_positions_are_found_where_there_are_any(family):
    positions = hooks.layout(built(family)).positions
    if family.startswith(("GPT2", "GPTNeoF", "GPTBigCode", "OPT")):
        assert isinstance(positions, torch.nn.Embedding)
        assert positions is not built(family).get_input_embeddings()
    else:
        assert positions is None


def test_a_second_embedding_of_tokens_is_no_position_embedding():
    """Gemma 3n has one for each layer: it has more rows than the text has positions, and nothing of them."""
    config = transformers.Gemma3nTextConfig(**GROUPED, head_dim=8, vocab_size=40, num_kv_shared_layers=0)
    with torch.device("meta"):
        model = transformers.Gemma3nForCausalLM(config)
    assert sum(isinstance(part, torch.nn.Embedding) for part in model.modules()) == 2
    assert hooks.layout(model).positions is None
    assert len(hooks.layout(model).attentions) == 2


def test_an_unknown_family_is_refused_and_named():
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "state_size": 4, "vocab_size": 40}
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))
    with pytest.raises(ModelError, match="not known where a MambaForCausalLM keeps its attention"):
        hooks.layout(model)


def test_a_hybrid_whose_layers_are_not_all_attention_is_refused():
    model = fresh("llama")
    del model.model.layers[1].self_attn
    with pytest.raises(ModelError, match="not known where a LlamaForCausalLM"):
        hooks.layout(model)


# Recording


def test_inputs_are_recorded_also_when_they_come_by_name():
    model = tiny("llama")
    layer = model.model.layers[0]
    with hooks.record_inputs([layer.self_attn, layer]) as inputs:
        assert inputs == [None, None]
        model(TOKENS)
    close(inputs[0], layer.input_layernorm(inputs[1]).detach())
    assert not any(recorded.requires_grad for recorded in inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_hooks_are_gone_afterwards_also_after_an_exception(family):
    model = fresh(family)  # transformers leaves hooks of its own on a model that gave its attentions

    def fail(*layer):
        assert trace(model) > 0
        raise RuntimeError("on purpose")

    for block in [
        lambda: hooks.visit_attention(model, fail),
        lambda: hooks.visit_attention_outputs(model, fail),
    ]:
        with pytest.raises(RuntimeError, match="on purpose"), block():
            model(TOKENS, use_cache=True)
        assert trace(model) == 0


# Attention, layer after layer


@pytest.mark.parametrize("family", [family for family in FAMILY if family != COMPRESSED])
def test_visited_attention_is_that_of_transformers(family):
    model = built(family)
    with torch.no_grad():
        out = model(TOKENS, output_attentions=True, use_cache=True)
    seen = visited(model)
    assert [layer for layer, _, _ in seen] == [0, 1]
    for (_, pattern, values), attention, cached in zip(seen, out.attentions, out.past_key_values.layers):
        close(pattern, attention)
        repeats = attention.shape[1] // cached.values.shape[1]
        for head in range(attention.shape[1]):
            close(values[:, head], cached.values[:, head // repeats])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bridge_shows_the_attention_of_the_model_inside(family):
    for on_bridge, on_model in zip(visited(bridge(family)), visited(tiny(family)), strict=True):
        assert on_bridge[0] == on_model[0]
        close(on_bridge[1], on_model[1])
        close(on_bridge[2], on_model[2])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_head_works_with_gives_its_pattern_and_its_z(family):
    """GPT-Neo's second layer sees four tokens only, so the text has four."""
    model, tokens = bridge(family), torch.tensor([[5, 6, 7, 8]])
    _, cache = model.run_with_cache(tokens)
    for layer, head in [(0, 0), (1, 3)]:
        q, k, v, scale = hooks.head_inputs(model, tokens, layer, head)
        scores = (q @ k.T / scale).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
        close(scores.softmax(-1), cache["pattern", layer][0, head])
        close(scores.softmax(-1) @ v, cache["z", layer][0, :, head])


def test_a_bridge_shows_what_its_other_hooks_have_changed():
    model = bridge("gpt2")

    def uniform(pattern, hook):
        return torch.ones_like(pattern).tril() / torch.ones_like(pattern).tril().sum(-1, keepdim=True)

    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_pattern", uniform)]):
        (_, first, _), (_, second, _) = visited(model)
    close(first[0, 0, 3], torch.tensor([0.25, 0.25, 0.25, 0.25, 0, 0, 0]))
    assert not torch.allclose(second, visited(model)[1][1], atol=1e-4)


def test_padding_changes_no_token():
    batch = Batch.from_rows([[5, 9, 3, 7], [2, 4]])
    seen = []
    with torch.no_grad(), hooks.visit_attention(tiny("llama"), lambda *layer: seen.append(layer)):
        hooks.read(tiny("llama"), batch)
    for (_, padded, _), (_, alone, _) in zip(seen, visited(tiny("llama"), torch.tensor([[2, 4]]))):
        close(padded[1, :, :2, :2], alone[0])


def test_fewer_queries_than_keys_as_in_a_generation():
    model, shapes = tiny("gpt2"), []
    with torch.no_grad():
        cached = model(TOKENS[:1, :4], use_cache=True).past_key_values
        with hooks.visit_attention(model, lambda _, *seen: shapes.append([tuple(part.shape) for part in seen])):
            model(TOKENS[:1, 4:5], past_key_values=cached, use_cache=True)
    assert shapes == [[(1, 4, 1, 5), (1, 4, 5, 4)]] * 2


def test_a_model_that_hides_its_attention_is_refused():
    model = transformers.AutoModelForCausalLM.from_config(fresh("gpt2").config, attn_implementation="sdpa").eval()
    with pytest.raises(ModelError, match="A GPT2LMHeadModel hands out no attention pattern: load it with load_model"):
        visited(model)
    assert trace(model) == 0


def test_values_that_are_compressed_in_the_cache_are_refused():
    """Multi-head latent attention: what is kept belongs to no head, and its norms would be of something else."""
    with pytest.raises(ModelError, match=r"than a MiniCPM3ForCausalLM: its patterns times its values do not give z"):
        visited(built(COMPRESSED))


def test_a_sliding_window_that_drops_values_is_refused():
    config = transformers.MistralConfig(**GROUPED, vocab_size=40, sliding_window=4, attn_implementation="eager")
    model = transformers.MistralForCausalLM(config).eval()
    assert len(visited(model, TOKENS[:, :3])) == 2
    with pytest.raises(ModelError, match=r"Layer 0 does not keep the values of all tokens, as in a sliding window"):
        visited(model)


# What attention adds


@pytest.mark.parametrize("family", FAMILY)
def test_attention_adds_all_that_is_added_when_the_mlps_are_silent(family):
    """Also where a factor scales it (Granite, MiniCPM): regression, it was 4 times too large at a factor of 0.25."""
    model = build(family)
    parts, added = hooks.layout(model), []
    with torch.no_grad():
        for layer, attention in zip(parts.layers, parts.attentions):
            kept = {id(parameter) for parameter in attention.parameters()}
            for name, parameter in layer.named_parameters():
                if id(parameter) not in kept and "norm" not in name and "ln_" not in name:
                    parameter.zero_()
        visit = hooks.visit_attention_outputs(model, lambda layer, output: added.append((layer, output)))
        with hooks.record_inputs([*parts.layers, parts.final_norm]) as streams, visit:
            hooks.read(model, Batch(TOKENS))
    assert [layer for layer, _ in added] == [0, 1]
    for (layer, output), before, after in zip(added, streams, streams[1:]):
        assert output.norm() > 0.1, layer
        close(output, after - before)


@pytest.mark.parametrize("family", REFUSED)
def test_a_norm_or_a_factor_behind_attention_is_refused(family):
    """Gemma 2 has the names of Llama's norms in other places; OLMo 2 has as many norms as Llama."""
    model = built(family)
    with (
        pytest.raises(ModelError, match=rf"than a {family}: what its attention and MLP write does not add up"),
        hooks.visit_attention_outputs(model, lambda layer, output: None),
    ):
        hooks.read(model, Batch(TOKENS))
    assert trace(model) == 0


def test_a_bridge_has_no_layout():
    with pytest.raises(ModelError, match="not a bridge"):
        hooks.layout(bridge("gpt2"))
