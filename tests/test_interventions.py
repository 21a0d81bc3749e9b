"""Interventions: null (its own value changes nothing), effect, and parity with edited weights and with slow loops."""

from functools import cache, partial

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, seeded
from tiny import CONTEXT, FAMILIES, HEADS, LAYERS, VOCABULARY, WIDTH, alone, bridge, fresh, tiny, tokenizer

from interp_helpers import ArgumentError, Batch, ModelError, repeated_random_tokens
from interp_helpers.hooks import layout
from interp_helpers.interventions import (
    head_z,
    logit_difference,
    mean_z,
    patch_heads,
    patch_stream,
    residual_streams,
    second_copy_drop,
    sweep_heads,
    sweep_stream,
    text_loss,
)

EVERY = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
BRIDGES = [*FAMILIES, "pythia", "bloom"]
TOKENS, OTHER = torch.randint(600, (2, 2, 9), generator=torch.Generator().manual_seed(0))
rows = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=7), min_size=1, max_size=3)
close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-4)


@pytest.fixture(params=BRIDGES)
def any_bridge(request):
    return bridge(request.param) if request.param in FAMILIES else larger(request.param)


@cache
def larger(family):
    """Three layers of four heads, for which tests/tiny.py has no configuration."""
    import random_models
    from transformer_lens.model_bridge import TransformerBridge

    torch.manual_seed(7)
    model = getattr(random_models, family)().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.config._attn_implementation = "eager"
    return TransformerBridge.boot_transformers("", hf_model=model, tokenizer=tokenizer(), device="cpu").eval()


def places(bridge):
    return [(layer, head) for layer in range(bridge.cfg.n_layers) for head in range(bridge.cfg.n_heads)]


@torch.no_grad()
def logits(bridge, tokens=TOKENS, hooks=()):
    with bridge.hooks(fwd_hooks=list(hooks)):
        return bridge(tokens)


def losses(family, row):
    return torch.nn.functional.cross_entropy(alone(family, row).logits[0, :-1], torch.tensor(row[1:]), reduction="none")


# Metrics


@cases(family=st.sampled_from(FAMILIES), rows=rows, noise=seeded())
def test_loss_is_that_of_each_text_alone(family, rows, noise):
    batch = Batch.from_rows(rows)
    padding = torch.randint(VOCABULARY, batch.tokens.shape, generator=noise)
    batch = Batch(batch.tokens.where(batch.mask, padding), batch.mask)
    wanted = torch.stack([losses(family, row).mean() for row in rows])
    for model in (tiny(family), bridge(family)):
        close(text_loss(model, batch), wanted)


def test_a_text_of_one_token_has_no_loss():
    assert text_loss(tiny("gpt2"), Batch.from_rows([[5, 6], [7]])).isnan().tolist() == [False, True]


@cases(
    family=st.sampled_from(FAMILIES),
    pieces=st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=4, max_size=4), min_size=1, max_size=3),
    length=st.integers(2, 4),
)
def test_second_copy_drop(family, pieces, length):
    rows = [piece[:length] * 2 for piece in pieces]
    row_losses = [losses(family, row) for row in rows]
    wanted = torch.stack([loss[: length - 1].mean() - loss[length:].mean() for loss in row_losses])
    for model in (tiny(family), bridge(family)):
        close(second_copy_drop(model, torch.tensor(rows)), wanted)


def test_second_copy_drop_of_a_skilled_and_of_an_unskilled_model(storybook):
    """storybook has induction heads; a model with random weights cannot make use of a repetition."""
    model, its_tokenizer = storybook
    assert second_copy_drop(model, repeated_random_tokens(its_tokenizer, 30, sequences=4)).min() > 5
    tokens = repeated_random_tokens(its_tokenizer, CONTEXT // 2, sequences=32)
    drop = second_copy_drop(tiny("gpt2"), tokens)
    assert drop.mean().abs() < 4 * drop.std() / len(drop) ** 0.5


@pytest.mark.parametrize("rows", [[[5, 6, 5, 7]], [[5, 5]], [[5, 6, 5]], [[5, 6, 7, 6, 7]]])
def test_what_is_no_repetition_is_refused(rows):
    with pytest.raises(ArgumentError, match="the same tokens again"):
        second_copy_drop(tiny("gpt2"), torch.tensor(rows))
    with pytest.raises(ArgumentError, match="the same tokens again"):  # copies of padding
        second_copy_drop(tiny("gpt2"), Batch.from_rows([[5, 6, 5, 6], [5, 5]]))


@cases(family=st.sampled_from(FAMILIES), rows=rows, words=st.tuples(*[st.integers(0, VOCABULARY - 1)] * 2))
def test_logit_difference_is_read_at_the_last_token_and_not_at_padding(family, rows, words):
    """A defect once: of a pair (tokens, mask) the mask was dropped, and a padding position was read."""
    right, wrong = words
    last = torch.stack([alone(family, row).logits[0, -1] for row in rows])
    wanted, batch = last[:, right] - last[:, wrong], Batch.from_rows(rows)
    for model in (tiny(family), bridge(family)):
        close(logit_difference(model, batch, right, wrong), wanted)
        close(logit_difference(model, batch, wrong, torch.full((len(rows),), right)), -wanted)


def test_logit_difference_takes_one_id_for_every_text():
    tokens, ids = TOKENS, torch.tensor([3, 4])
    for row in range(2):
        one = logit_difference(tiny("gpt2"), tokens[row : row + 1], int(ids[row]), 9)
        close(logit_difference(tiny("gpt2"), tokens, ids, 9)[row : row + 1], one)
    with pytest.raises(ArgumentError, match="right"):
        logit_difference(tiny("gpt2"), tokens, 3.5, 9)


# What is recorded


@cases(family=st.sampled_from(FAMILIES), rows=rows)
def test_recorded_z_and_streams_are_those_of_each_text_alone(family, rows):
    """A defect once: both promised to take a padded batch, and raised AttributeError."""
    batch = Batch.from_rows(rows)
    z, streams = head_z(bridge(family), batch), residual_streams(bridge(family), batch)
    assert z.shape == (LAYERS, HEADS, *batch.tokens.shape, WIDTH // HEADS)
    assert streams.shape == (LAYERS + 1, *batch.tokens.shape, WIDTH)
    for number, row in enumerate(rows):
        out = alone(family, row)
        close(z[:, :, number, : len(row)], out.z)
        close(streams[:-1, number, : len(row)], torch.cat(out.hidden_states[:-1]))
        last = bridge(family).original_model.lm_head(bridge(family).ln_final(streams[-1, number, : len(row)]))
        close(last, out.logits[0])  # the last of hidden_states has been through the final norm
    assert not z.requires_grad
    assert not streams.requires_grad


def test_mean_z_counts_every_token_once_and_padding_not_at_all():
    rows = [[5, 6, 7, 8, 9], [10, 11], [12]]
    wanted = torch.cat([alone("gpt2", row).z for row in rows], 2).mean(2)
    close(mean_z(bridge("gpt2"), [Batch.from_rows(rows[:2]), torch.tensor(rows[2:])]), wanted)


# Patching and ablation


def test_patched_with_itself_nothing_changes(any_bridge):
    before = logits(any_bridge)
    z, streams = head_z(any_bridge, TOKENS), residual_streams(any_bridge, TOKENS)
    everywhere = [hook for layer in range(len(streams)) for hook in patch_stream(any_bridge, layer, streams[layer])]
    for hooks in (patch_heads(any_bridge, places(any_bridge), z), everywhere):
        torch.testing.assert_close(logits(any_bridge, hooks=hooks), before, atol=1e-6, rtol=0)


def test_the_clean_stream_at_any_layer_gives_the_clean_logits(any_bridge):
    clean, streams = logits(any_bridge, OTHER), residual_streams(any_bridge, OTHER)
    for layer in range(any_bridge.cfg.n_layers + 1):
        torch.testing.assert_close(
            logits(any_bridge, hooks=patch_stream(any_bridge, layer, streams[layer])), clean, atol=1e-6, rtol=0
        )


def test_ablation_moves_the_logits_and_is_undone(any_bridge):
    before = logits(any_bridge)
    with any_bridge.hooks(fwd_hooks=patch_heads(any_bridge, places(any_bridge))):
        ablated = logits(any_bridge)
        logits(any_bridge, hooks=patch_stream(any_bridge, 1, torch.zeros(any_bridge.cfg.d_model)))
        assert torch.equal(logits(any_bridge), ablated), "inner hooks stayed, or took the outer ones along"
    assert (ablated - before).abs().max() > 1e-2
    assert torch.equal(logits(any_bridge), before)
    with pytest.raises(RuntimeError, match="on purpose"), any_bridge.hooks(fwd_hooks=patch_heads(any_bridge, [(0, 1)])):
        raise RuntimeError("on purpose")
    assert torch.equal(logits(any_bridge), before)


def test_what_other_hooks_saw_before_stays_as_it_was():
    seen, before = [], head_z(bridge("gpt2"), TOKENS)[0].permute(1, 2, 0, 3)
    watching = [("blocks.0.attn.hook_z", lambda values, hook: seen.append(values))]
    logits(bridge("gpt2"), hooks=watching + patch_heads(bridge("gpt2"), [(0, 1)]))
    assert torch.equal(seen[0], before)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("heads", [[(1, 2)], EVERY])
def test_zero_ablation_equals_zero_rows_of_the_output_matrix(family, heads):
    model, size = fresh(family), WIDTH // HEADS
    with torch.no_grad():
        for layer, head in heads:
            weight = layout(model).outputs[layer].weight
            (weight if family == "gpt2" else weight.T)[head * size : (head + 1) * size] = 0  # (in, out)
        close(logits(bridge(family), hooks=patch_heads(bridge(family), heads)), model(TOKENS).logits)


@cases(family=st.sampled_from(FAMILIES), heads=st.sets(st.sampled_from(EVERY), min_size=1), seed=seeded())
def test_heads_get_the_new_z_and_others_keep_theirs(family, heads, seed):
    model = bridge(family)
    new, before = torch.randn(LAYERS, HEADS, *TOKENS.shape, WIDTH // HEADS, generator=seed), head_z(model, TOKENS)
    with model.hooks(fwd_hooks=patch_heads(model, list(heads), new)):
        inside = head_z(model, TOKENS)
    first = min(layer for layer, _ in heads)  # later layers read what has changed
    for layer, head in EVERY:
        if (layer, head) in heads:
            assert torch.equal(inside[layer, head], new[layer, head])
        elif layer <= first:
            assert torch.equal(inside[layer, head], before[layer, head])


@cases(
    family=st.sampled_from(FAMILIES), layer=st.integers(0, LAYERS), seed=seeded(),
    positions=st.none() | st.integers(-9, 8) | st.lists(st.integers(-9, 8), min_size=1),
)  # fmt: skip
def test_the_stream_is_replaced_at_the_positions_alone(family, layer, seed, positions):
    model = bridge(family)
    new, before = torch.randn(*TOKENS.shape, WIDTH, generator=seed), residual_streams(model, TOKENS)
    with model.hooks(fwd_hooks=patch_stream(model, layer, new, positions)):
        after = residual_streams(model, TOKENS)
    wanted = before[layer].clone()
    for position in range(9) if positions is None else torch.tensor(positions).ravel().tolist():
        wanted[:, position] = new[:, position]
    assert torch.equal(after[layer], wanted)
    assert torch.equal(after[:layer], before[:layer])


def test_hooks_add_up():
    model = bridge("gpt2")
    hooks = patch_heads(model, [(0, 1)]) + patch_heads(model, [(0, 3)])
    assert torch.equal(logits(model, hooks=hooks), logits(model, hooks=patch_heads(model, [(0, 1), (0, 3)])))
    both = hooks + patch_stream(model, LAYERS, torch.zeros(WIDTH))
    close(logits(model, hooks=both), logits(model, hooks=patch_stream(model, LAYERS, torch.zeros(WIDTH))))


def test_a_mean_or_a_number_stands_for_all_tokens():
    model, means = bridge("llama"), mean_z(bridge("llama"), [TOKENS])
    spread = means[:, :, None, None].expand(-1, -1, *TOKENS.shape, -1)
    assert torch.equal(
        logits(model, hooks=patch_heads(model, EVERY, means)), logits(model, hooks=patch_heads(model, EVERY, spread))
    )
    ones = torch.ones_like(means)
    assert torch.equal(
        logits(model, hooks=patch_heads(model, EVERY, 1)), logits(model, hooks=patch_heads(model, EVERY, ones))
    )


@pytest.mark.parametrize("heads", [[0.10], ["0.10"], [2, 5], (2, 5), [(0, 1, 2)], "01"])
def test_what_is_no_layer_and_head_is_refused(heads):
    """A defect once: the number 0.10 was taken for head 0.1."""
    with pytest.raises(ArgumentError, match=r"A head is \(layer, head\)"):
        patch_heads(bridge("gpt2"), heads)


@pytest.mark.parametrize("head", [(LAYERS, 0), (0, HEADS), (-1, 0), (0, -1)])
def test_a_head_that_does_not_exist_is_refused(head):
    for function in (patch_heads, partial(sweep_heads, metric=None)):
        with pytest.raises(ArgumentError, match=r"no head .* of \(2, 4\) layers and heads"):
            function(bridge("gpt2"), heads=[head])


@pytest.mark.parametrize("layer", [-1, LAYERS + 1])
def test_a_layer_that_does_not_exist_is_refused(layer):
    with pytest.raises(ArgumentError, match="Layers go from 0 to 2"):
        patch_stream(bridge("gpt2"), layer, torch.zeros(WIDTH))


def test_a_position_that_does_not_exist_is_refused():
    for positions in (9, [0, -10]):
        hooks = patch_stream(bridge("gpt2"), 0, torch.zeros(WIDTH), positions)
        with pytest.raises(ArgumentError, match="a position is not there"):
            logits(bridge("gpt2"), hooks=hooks)


def test_texts_of_another_length_or_number_are_refused_and_the_bridge_is_as_before():
    model, before = bridge("gpt2"), logits(bridge("gpt2"))
    z, streams = head_z(model, TOKENS), residual_streams(model, TOKENS)
    for tokens in (TOKENS[:, :5], TOKENS.repeat(2, 1)):
        for hooks in (patch_heads(model, [(0, 1)], z), patch_stream(model, 1, streams[1])):
            with pytest.raises(ArgumentError, match="agree in number and length"):
                logits(model, tokens, hooks)
    assert torch.equal(logits(model), before)


def test_z_of_another_model_is_refused():
    for shape in [(HEADS, LAYERS, 4), (LAYERS + 1, HEADS, 4)]:
        with pytest.raises(ArgumentError, match=r"z must be \(layer, head, \.\.\.\) of \(2, 4\)"):
            patch_heads(bridge("gpt2"), [(0, 0)], torch.zeros(shape))


def test_nan_is_refused():
    z = torch.zeros(LAYERS, HEADS, WIDTH // HEADS)
    z[1, 2] = torch.nan
    patch_heads(bridge("gpt2"), [(1, 1)], z)
    for replace in (
        lambda: patch_heads(bridge("gpt2"), [(1, 2)], z),
        lambda: patch_stream(bridge("gpt2"), 0, torch.full((WIDTH,), torch.nan)),
    ):
        with pytest.raises(ArgumentError, match="NaN or infinity"):
            replace()


@pytest.mark.parametrize("read", [head_z, residual_streams, lambda model, _: patch_heads(model, [(0, 0)])])
def test_a_model_that_is_no_bridge_is_refused_in_a_sentence(read):
    with pytest.raises(ModelError, match="need a bridge, as load_bridge gives it; got a GPT2LMHeadModel"):
        read(tiny("gpt2"), TOKENS)


@pytest.mark.parametrize("right", [VOCABULARY, -1, torch.tensor([[3]]), torch.tensor([3, 4, 5])])
def test_ids_that_the_model_lacks_or_too_many_are_refused(right):
    with pytest.raises((ArgumentError, RuntimeError)):
        logit_difference(tiny("gpt2"), TOKENS.repeat(2, 1), right, 3)


# Sweeps


def test_a_sweep_of_heads_is_one_ablation_after_another():
    model, z = bridge("gpt-neo"), head_z(bridge("gpt-neo"), OTHER)
    metric = partial(text_loss, texts=TOKENS)
    swept = sweep_heads(model, metric, z)
    assert swept.shape == (LAYERS, HEADS, 2)
    for head in EVERY:
        with model.hooks(fwd_hooks=patch_heads(model, [head], z)):
            assert torch.equal(swept[head], metric(model))
    some = sweep_heads(model, lambda bridge: metric(bridge).mean().item(), z, heads=[(1, 0), (0, 3)])
    assert some.shape == (LAYERS, HEADS)
    assert some.isfinite().nonzero().tolist() == [[0, 3], [1, 0]]
    close(some[1, 0], swept[1, 0].mean())


def test_a_sweep_of_the_stream_is_one_patch_after_another():
    model, streams = bridge("gpt2"), residual_streams(bridge("gpt2"), OTHER)
    metric = partial(logit_difference, texts=TOKENS, right=5, wrong=6)
    swept = sweep_stream(model, metric, streams)
    assert swept.shape == (LAYERS + 1, 9, 2)
    for layer, position in [(0, 0), (1, 4), (2, 8)]:
        with model.hooks(fwd_hooks=patch_stream(model, layer, streams[layer], position)):
            assert torch.equal(swept[layer, position], metric(model))
    close(swept[LAYERS, -1], logit_difference(model, OTHER, 5, 6))  # after the last layer the last token decides alone
    close(swept[LAYERS, :-1], metric(model).expand(8, 2))


def test_heads_of_a_sweep_may_come_one_by_one():
    swept = sweep_heads(bridge("gpt2"), lambda model: torch.tensor(1.0), heads=iter([(0, 1), (1, 2)]))
    assert swept.nan_to_num(0).nonzero().tolist() == [[0, 1], [1, 2]]


def test_metrics_carry_no_gradients():
    model = tiny("gpt2")
    metrics = text_loss(model, TOKENS), logit_difference(model, TOKENS, 3, 4)
    assert not any(metric.requires_grad for metric in metrics)
