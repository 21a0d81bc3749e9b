"""What is read of attention as it runs, against what each family computes itself, and hooks that leave no trace."""

import pytest
import torch
import transformers
from small_families import COMPRESSED, FAMILY, GROUPED, REFUSED, TOKENS, build, built
from tiny import FAMILIES, bridge, fresh, tiny

from interp_helpers import ModelError, hooks, visits
from interp_helpers.text import Batch


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def trace(model):
    """How many hooks hang on a model."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def visited(model, tokens=TOKENS):
    seen = []
    with torch.no_grad(), visits.visit_attention(model, lambda *layer: seen.append(layer)):
        visits.read(model, Batch(tokens))
    return seen


@pytest.mark.parametrize("family", FAMILY)
def test_the_output_matrix_reads_z(family):
    model = built(family)
    with torch.no_grad(), hooks.record_inputs(visits.output_matrices(model)) as inputs:
        out = model(TOKENS, output_attentions=True, use_cache=True)
    assert len(inputs) == 2
    for pattern, cached, read in zip(out.attentions, out.past_key_values.layers, inputs):
        if family == COMPRESSED:  # its cache holds no values; four heads of eight numbers are read all the same
            assert read.shape[-1] == 4 * 8
            continue
        values = cached.values.repeat_interleave(pattern.shape[1] // cached.values.shape[1], 1)
        close(read.view(2, 7, -1), (pattern @ values).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_hooks_are_gone_afterwards_also_after_an_exception(family):
    model = fresh(family)  # transformers leaves hooks of its own on a model that gave its attentions

    def fail(*layer):
        assert trace(model) > 0
        raise RuntimeError("on purpose")

    for block in [
        lambda: visits.visit_attention(model, fail),
        lambda: visits.visit_attention_outputs(model, fail),
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
        q, k, v, scale = visits.head_inputs(model, tokens, layer, head)
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
    with torch.no_grad(), visits.visit_attention(tiny("llama"), lambda *layer: seen.append(layer)):
        visits.read(tiny("llama"), batch)
    for (_, padded, _), (_, alone, _) in zip(seen, visited(tiny("llama"), torch.tensor([[2, 4]]))):
        close(padded[1, :, :2, :2], alone[0])


def test_fewer_queries_than_keys_as_in_a_generation():
    model, shapes = tiny("gpt2"), []
    with torch.no_grad():
        cached = model(TOKENS[:1, :4], use_cache=True).past_key_values
        with visits.visit_attention(model, lambda _, *seen: shapes.append([tuple(part.shape) for part in seen])):
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
        visit = visits.visit_attention_outputs(model, lambda layer, output: added.append((layer, output)))
        with hooks.record_inputs([*parts.layers, parts.final_norm]) as streams, visit:
            visits.read(model, Batch(TOKENS))
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
        visits.visit_attention_outputs(model, lambda layer, output: None),
    ):
        visits.read(model, Batch(TOKENS))
    assert trace(model) == 0
