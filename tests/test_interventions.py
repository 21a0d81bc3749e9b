"""Interventions: null (its own value changes nothing), effect, and parity with edited weights and with slow loops."""

import inspect
from functools import cache, partial
from itertools import product

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, seeded
from tiny import CONTEXT, FAMILIES, HEADS, LAYERS, VOCABULARY, WIDTH, alone, bridge, bridge_of, fresh, matrix, tiny
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from interp_helpers import (
    ArgumentError,
    Batch,
    ModelError,
    interventions,
    passages,
    repeated_random_tokens,
    token_batches,
)
from interp_helpers.attention import survey
from interp_helpers.hooks import layout, record_inputs
from interp_helpers.interventions import (
    add_to_stream,
    copy_losses,
    head_z,
    log_odds,
    logit_difference,
    matching_factor,
    mean_z,
    patch_channel,
    patch_heads,
    patch_stream,
    permute_queries,
    read_channels,
    residual_streams,
    second_copy_drop,
    streams_without,
    sweep_heads,
    sweep_stream,
    text_loss,
    token_losses,
    z_gradient,
)
from interp_helpers.visits import output_matrices

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

    torch.manual_seed(7)
    model = (gemma2 if family == "gemma2" else getattr(random_models, family))().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.config._attn_implementation = "eager"
    return bridge_of(model)


def gemma2():
    """What attention gives goes through a norm on its way to the residual stream."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    sizes |= {"hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 64}
    return Gemma2ForCausalLM(Gemma2Config(**sizes, vocab_size=VOCABULARY, pad_token_id=0))


def places(bridge):
    return [(layer, head) for layer in range(bridge.cfg.n_layers) for head in range(bridge.cfg.n_heads)]


@torch.no_grad()
def logits(bridge, tokens=TOKENS, hooks=()):
    with bridge.hooks(fwd_hooks=list(hooks)):
        return bridge(tokens)


def state(bridge):
    """What hangs on the modules of a bridge."""
    return [("forward" in vars(part), [*part._forward_hooks]) for part in bridge.modules()]


@torch.no_grad()
def one_by_one(bridge, metric, hooks):
    """What a sweep should give, from a loop that runs everything."""
    values = []
    for hook in hooks:
        with bridge.hooks(fwd_hooks=[hook]):
            values.append(torch.as_tensor(metric(bridge)).float())
    return torch.stack(values)


def losses(family, row):
    return torch.nn.functional.cross_entropy(alone(family, row).logits[0, :-1], torch.tensor(row[1:]), reduction="none")


# Metrics


@cases(family=st.sampled_from(FAMILIES), rows=rows, noise=seeded())
def test_loss_is_that_of_each_text_alone(family, rows, noise):
    batch = Batch.from_rows(rows)
    padding = torch.randint(VOCABULARY, batch.tokens.shape, generator=noise)
    batch = Batch(batch.tokens.where(batch.mask, padding), batch.mask)
    wanted = [losses(family, row) for row in rows]
    for model in (tiny(family), bridge(family)):
        close(text_loss(model, batch), torch.stack([loss.mean() for loss in wanted]))
        of_tokens = token_losses(model, batch)
        assert torch.equal(of_tokens.isnan(), ~batch.mask[:, 1:])
        for found, loss in zip(of_tokens, wanted):
            close(found[: len(loss)], loss)


def test_a_text_of_one_token_has_no_loss():
    assert text_loss(tiny("gpt2"), Batch.from_rows([[5, 6], [7]])).isnan().tolist() == [False, True]
    assert token_losses(tiny("gpt2"), Batch.from_rows([[7]])).shape == (1, 0)


@cases(
    family=st.sampled_from(FAMILIES),
    pieces=st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=4, max_size=4), min_size=1, max_size=3),
    length=st.integers(2, 4),
)
def test_losses_of_both_copies_and_the_drop_between_them(family, pieces, length):
    rows = [piece[:length] * 2 for piece in pieces]
    row_losses = [losses(family, row) for row in rows]
    first = torch.stack([loss[: length - 1].mean() for loss in row_losses])
    second = torch.stack([loss[length:].mean() for loss in row_losses])
    for model in (tiny(family), bridge(family)):
        close(copy_losses(model, torch.tensor(rows)), (first, second))
        close(second_copy_drop(model, torch.tensor(rows)), first - second)


def test_second_copy_drop_of_a_skilled_and_of_an_unskilled_model(storybook):
    """storybook has induction heads; a model with random weights cannot make use of a repetition."""
    model, its_tokenizer = storybook
    assert second_copy_drop(model, repeated_random_tokens(its_tokenizer, 30, sequences=4)).min() > 5
    tokens = repeated_random_tokens(its_tokenizer, CONTEXT // 2, sequences=32)
    drop = second_copy_drop(tiny("gpt2"), tokens)
    assert drop.mean().abs() < 4 * drop.std() / len(drop) ** 0.5


@pytest.mark.parametrize("rows", [[[5, 6, 5, 7]], [[5, 5]], [[5, 6, 5]], [[5, 6, 7, 6, 7]]])
def test_what_is_no_repetition_is_refused(rows):
    for metric in (copy_losses, second_copy_drop):
        with pytest.raises(ArgumentError, match="the same tokens again"):
            metric(tiny("gpt2"), torch.tensor(rows))
        with pytest.raises(ArgumentError, match="the same tokens again"):  # copies of padding
            metric(tiny("gpt2"), Batch.from_rows([[5, 6, 5, 6], [5, 5]]))


def test_log_odds_by_hand():
    """Of probabilities 1/8, 2/8 and 5/8, whatever is added to all logits."""
    logits = torch.tensor([[1.0, 2, 5]]).log().expand(3, 3) + torch.tensor([[0.0], [7], [-30]])
    close(log_odds(logits, torch.tensor([0, 1, 2])), torch.tensor([1 / 7, 2 / 6, 5 / 3]).log())
    close(log_odds(logits[0], torch.tensor(2)), torch.tensor(5 / 3).log())


@cases(size=st.integers(2, 9), scale=st.sampled_from([0.1, 1.0, 5.0]), seed=seeded())
def test_log_odds_are_those_of_probabilities(size, scale, seed):
    logits = torch.randn(2, 3, size, generator=seed, dtype=torch.float64) * scale
    tokens = torch.randint(size, (2, 3), generator=seed)
    probabilities, place = logits.softmax(-1), tokens[..., None]
    p, rest = probabilities.gather(-1, place)[..., 0], probabilities.scatter(-1, place, 0).sum(-1)  # 1 - p would round
    torch.testing.assert_close(log_odds(logits, tokens), (p / rest).log(), atol=1e-8, rtol=1e-8)


def test_log_odds_tell_certainties_apart_that_probabilities_do_not():
    logits, tokens = torch.tensor([[40.0, 0, 0], [60, 0, 0]]), torch.tensor([0, 0])
    assert logits.softmax(-1)[:, 0].tolist() == [1, 1]
    close(log_odds(logits, tokens), torch.tensor([40.0, 60]) - torch.tensor(2.0).log())


def test_log_odds_of_tokens_of_another_shape_are_refused():
    for shape in [(2,), (2, 3, 1)]:
        with pytest.raises(ArgumentError, match="tokens must be"):
            log_odds(torch.zeros(2, 3, 5), torch.zeros(shape, dtype=torch.long))


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


WIDE = torch.ones(30, 15, dtype=torch.long)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mean_z_of_many_batches_is_added_up_in_float64(dtype, monkeypatch):
    """In half precision a sum stops growing, or is infinite: 400 batches of 450 tokens, with a mean far from 0."""
    z = (torch.randn(1, 2, 30, 15, 3, generator=torch.Generator().manual_seed(0)) + 3).to(dtype)
    monkeypatch.setattr(interventions, "head_z", lambda bridge, batch: z)
    mean = mean_z(bridge("gpt2"), [WIDE] * 400)
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, z.double().mean((2, 3)).float(), atol=1e-6, rtol=1e-6)


def test_mean_z_in_float32_does_not_lose_digits_over_many_batches(monkeypatch):
    z = torch.rand(1, 2, 30, 15, 3, generator=torch.Generator().manual_seed(0)) + 100
    monkeypatch.setattr(interventions, "head_z", lambda bridge, batch: z)
    mean = mean_z(bridge("gpt2"), [WIDE] * 400)
    torch.testing.assert_close(mean.double(), z.double().mean((2, 3)), atol=0, rtol=1e-7)


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
            weight = output_matrices(model)[layer].weight
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


def test_zero_added_to_the_stream_changes_nothing(any_bridge):
    before, cfg = logits(any_bridge), any_bridge.cfg
    for layer in range(cfg.n_layers + 1):
        assert torch.equal(logits(any_bridge, hooks=add_to_stream(any_bridge, layer, torch.zeros(cfg.d_model))), before)


@pytest.mark.parametrize("where", ["everywhere", "a vector for every text and position"])
def test_a_vector_is_added_to_what_the_stream_is(any_bridge, where):
    """Also after the last layer, where no layer reads it any more."""
    streams, before = residual_streams(any_bridge, TOKENS), logits(any_bridge)
    vector = torch.randn(streams.shape[-1]) if where == "everywhere" else torch.randn(streams.shape[1:])
    for layer, stream in enumerate(streams):
        added = logits(any_bridge, hooks=add_to_stream(any_bridge, layer, vector))
        close(added, logits(any_bridge, hooks=patch_stream(any_bridge, layer, stream + vector)))
        assert (added - before).abs().max() > 1e-2
        with any_bridge.hooks(fwd_hooks=add_to_stream(any_bridge, layer, vector)):
            after = residual_streams(any_bridge, TOKENS)
        close(after[layer], stream + vector)
        assert torch.equal(after[:layer], streams[:layer])
    assert torch.equal(logits(any_bridge), before)


def test_added_vectors_add_up():
    model, (one, other) = bridge("gpt2"), torch.randn(2, WIDTH)
    both = add_to_stream(model, 1, one) + add_to_stream(model, 1, other)
    close(logits(model, hooks=both), logits(model, hooks=add_to_stream(model, 1, one + other)))


@pytest.mark.parametrize("layer", [0, 1, LAYERS])
def test_a_vector_is_added_at_every_token_that_the_bridge_generates(any_bridge, layer):
    """One token after another by hand, each time with the whole text; the bridge alone generates something else."""
    hooks = add_to_stream(any_bridge, layer, 3 * torch.randn(any_bridge.cfg.d_model))
    wanted = TOKENS
    for _ in range(4):
        wanted = torch.cat([wanted, logits(any_bridge, wanted, hooks)[:, -1:].argmax(-1)], 1)
    options = {"max_new_tokens": 4, "do_sample": False, "verbose": False, "stop_at_eos": False}
    with any_bridge.hooks(fwd_hooks=hooks):
        for cache in (True, False):
            assert torch.equal(any_bridge.generate(TOKENS, use_past_kv_cache=cache, **options), wanted)
    assert not torch.equal(any_bridge.generate(TOKENS, **options), wanted)


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
    for function in (
        patch_heads,
        partial(sweep_heads, metric=None),
        partial(streams_without, texts=TOKENS),
        partial(patch_channel, channel="q", values=torch.zeros(LAYERS, *TOKENS.shape, HEADS, WIDTH // HEADS)),
    ):
        with pytest.raises(ArgumentError, match=r"no head .* of \(2, 4\) layers and heads"):
            function(bridge("gpt2"), heads=[head])


@pytest.mark.parametrize("change", [patch_stream, add_to_stream])
@pytest.mark.parametrize(("layer", "width"), [(-1, WIDTH), (LAYERS + 1, WIDTH), (0.5, WIDTH), (0, WIDTH - 1), (0, 1)])
def test_a_layer_that_does_not_exist_or_vectors_of_another_size_are_refused(change, layer, width):
    with pytest.raises(ArgumentError, match="Layers go from 0 to 2, after the last; vectors have 16 numbers"):
        change(bridge("gpt2"), layer, torch.zeros(width))


def test_a_position_that_does_not_exist_is_refused():
    for positions in (9, [0, -10]):
        hooks = patch_stream(bridge("gpt2"), 0, torch.zeros(WIDTH), positions)
        with pytest.raises(ArgumentError, match="a position is not there"):
            logits(bridge("gpt2"), hooks=hooks)


def test_texts_of_another_length_or_number_are_refused_and_the_bridge_is_as_before():
    model, before = bridge("gpt2"), logits(bridge("gpt2"))
    z, streams = head_z(model, TOKENS), residual_streams(model, TOKENS)
    for tokens in (TOKENS[:, :5], TOKENS.repeat(2, 1)):
        changes = (
            patch_heads(model, [(0, 1)], z),
            patch_stream(model, 1, streams[1]),
            add_to_stream(model, 1, streams[1]),
        )
        for hooks in changes:
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
        lambda: add_to_stream(bridge("gpt2"), 0, torch.full((WIDTH,), torch.inf)),
    ):
        with pytest.raises(ArgumentError, match="NaN or infinity"):
            replace()


@pytest.mark.parametrize(
    "read",
    [
        head_z,
        residual_streams,
        lambda model, _: patch_heads(model, [(0, 0)]),
        lambda model, _: add_to_stream(model, 0, torch.zeros(WIDTH)),
        lambda model, _: permute_queries(model),
        lambda model, texts: streams_without(model, texts, [(0, 0)]),
        lambda model, texts: read_channels(model, torch.zeros(LAYERS + 1, *texts.shape, WIDTH)),
        lambda model, texts: patch_channel(model, [(0, 0)], "q", torch.zeros(LAYERS, *texts.shape, HEADS, 4)),
        lambda model, texts: z_gradient(model, lambda model: model(texts).logits.sum()),
    ],
)
def test_a_model_that_is_no_bridge_is_refused_in_a_sentence(read):
    with pytest.raises(ModelError, match="need a bridge, as load_bridge gives it; got a GPT2LMHeadModel"):
        read(tiny("gpt2"), TOKENS)


@pytest.mark.parametrize("right", [VOCABULARY, -1, torch.tensor([[3]]), torch.tensor([3, 4, 5])])
def test_ids_that_the_model_lacks_or_too_many_are_refused(right):
    with pytest.raises(ArgumentError, match=r"right (and wrong )?must be"):
        logit_difference(tiny("gpt2"), TOKENS.repeat(2, 1), right, 3)


# Permuted queries


def queries(bridge, hooks=()):
    """Those of layer 0, before which nothing differs: `(batch, position, head, d_head)`."""
    seen = []
    logits(bridge, hooks=[*hooks, ("blocks.0.attn.hook_q", lambda queries, hook: seen.append(queries))])
    return seen[0]


def test_the_order_that_the_queries_have_changes_nothing(any_bridge, monkeypatch):
    before, cfg = logits(any_bridge), any_bridge.cfg
    same = torch.arange(cfg.d_head).expand(cfg.n_layers, cfg.n_heads, -1)
    monkeypatch.setattr(interventions, "_orders", lambda bridge, seed: same)
    assert torch.equal(logits(any_bridge, hooks=permute_queries(any_bridge)), before)
    assert not torch.allclose(logits(any_bridge, hooks=permute_queries(any_bridge, 2.0)), before, atol=1e-3)


def test_permuted_queries_have_the_same_numbers_in_another_order(any_bridge):
    before, permuted = queries(any_bridge), queries(any_bridge, permute_queries(any_bridge, seed=1))
    assert not torch.allclose(before, permuted, atol=1e-3)
    assert torch.equal(before.sort(-1).values, permuted.sort(-1).values)
    close(before.norm(dim=-1), permuted.norm(dim=-1))
    assert torch.equal(queries(any_bridge, permute_queries(any_bridge, 3.0, seed=1)), permuted * 3)
    assert torch.equal(queries(any_bridge, permute_queries(any_bridge, seed=1)), permuted), "the seed decides"
    assert not torch.equal(queries(any_bridge, permute_queries(any_bridge, seed=2)), permuted)


@pytest.mark.parametrize("family", FAMILIES)
def test_permuted_queries_are_those_of_a_model_with_permuted_weights(family):
    edited, hooks = fresh(family), permute_queries(bridge(family), 1.7, seed=3)
    orders = interventions._orders(bridge(family), seed=3)
    with torch.no_grad():
        for attention, of_layer in zip(layout(edited).attentions, orders):
            columns = (of_layer + torch.arange(HEADS)[:, None] * of_layer.shape[1]).flatten()
            if family == "gpt2":
                for part in (attention.c_attn.weight, attention.c_attn.bias):
                    part[..., :WIDTH] = part[..., columns] * 1.7
            else:
                attention.q_proj.weight.copy_(attention.q_proj.weight[columns] * 1.7)
        close(logits(bridge(family), hooks=hooks), edited(TOKENS).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_factor_that_gives_a_certain_entropy(family):
    def share(factor):
        with bridge(family).hooks(fwd_hooks=permute_queries(bridge(family), factor, seed=1)):
            return survey(bridge(family), [TOKENS])["entropy_share"].mean().item()

    wanted = (share(0.2) + share(3)) / 2
    factor = matching_factor(bridge(family), [TOKENS], wanted, seed=1)
    assert 0.2 < factor < 3
    assert share(factor) == pytest.approx(wanted, abs=0.005)
    with pytest.raises(ArgumentError, match=r"No factor from 1/16 to 256 gives an entropy share of 1\.5"):
        matching_factor(bridge(family), [TOKENS], 1.5)


def test_heads_with_permuted_queries_have_lost_what_they_looked_for(storybook_bridge):
    model, its_tokenizer = storybook_bridge
    batches = token_batches(its_tokenizer, passages()[:8])
    before = survey(model, batches)["previous_token"].max()
    with model.hooks(fwd_hooks=permute_queries(model, 3.3)):
        after = survey(model, batches)["previous_token"].max()
    assert before > 0.95
    assert after < 0.5


# Paths: what heads write, and through which channel others read it


def test_heads_that_write_what_they_write_leave_the_streams_as_they_are(any_bridge):
    found = streams_without(any_bridge, TOKENS, places(any_bridge), head_z(any_bridge, TOKENS))
    assert torch.equal(found, residual_streams(any_bridge, TOKENS))
    assert not found.requires_grad


def frozen(bridge, place):
    """For each layer, a hook that lets pass what passes there now, whatever has changed below."""
    names = [f"blocks.{layer}.{place}" for layer in range(bridge.cfg.n_layers)]
    values = interventions._record(bridge, TOKENS, names)
    return [(name, lambda old, hook, own=own: own) for name, own in zip(names, values)]


@pytest.mark.parametrize("family", [*BRIDGES, "gemma2"])
def test_streams_without_heads_are_those_of_a_loop_that_freezes_what_follows(family):
    """Gemma 2 has a norm between what the heads write and the stream."""
    model = bridge(family) if family in FAMILIES else larger(family)
    new, heads = torch.randn_like(head_z(model, TOKENS)), [(0, 1), (1, 3), (1, 2)]
    attention, mlps = frozen(model, "hook_attn_out"), frozen(model, "hook_mlp_out")
    before = residual_streams(model, TOKENS)
    wanted = before.clone()
    for layer in (0, 1):
        hooks = patch_heads(model, [head for head in heads if head[0] == layer], new)
        with model.hooks(fwd_hooks=hooks + attention[layer + 1 :] + mlps[layer:]):
            wanted += residual_streams(model, TOKENS) - before
    close(streams_without(model, TOKENS, heads, new), wanted)
    assert (wanted - before).abs().amax((1, 2, 3))[1:].min() > 0.1
    with model.hooks(fwd_hooks=patch_heads(model, heads, new)):
        total = residual_streams(model, TOKENS)
    assert (wanted - total).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_streams_without_a_head_differ_by_what_the_output_matrix_makes_of_its_z(family):
    model, size = bridge(family), WIDTH // HEADS
    z, means, before = head_z(model, TOKENS), mean_z(model, [OTHER]), residual_streams(model, TOKENS)
    rows = matrix(family, 0)[0][size : 2 * size]  # of head 1
    change = streams_without(model, TOKENS, [(0, 1)], means) - before
    close(change[1:], ((means[0, 1] - z[0, 1]) @ rows).expand(LAYERS, -1, -1, -1))
    assert not change[0].any()


def projected(family, layer, stream):
    """Queries, keys and values by the modules of transformers."""
    parts = layout(tiny(family))
    block, attention = parts.layers[layer], parts.attentions[layer]
    normed = (block.input_layernorm if family == "llama" else block.ln_1)(stream)
    if family == "gpt2":
        made = attention.c_attn(normed).chunk(3, -1)
    else:
        made = [part(normed) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
    return {channel: values.unflatten(-1, (-1, WIDTH // HEADS)) for channel, values in zip("qkv", made)}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_channels_are_what_the_weights_make_of_the_streams(family):
    streams = torch.randn(LAYERS + 1, *TOKENS.shape, WIDTH)
    channels = read_channels(bridge(family), streams)
    for layer in range(LAYERS):
        found = {channel: values[layer] for channel, values in channels.items()}
        close(found, projected(family, layer, streams[layer]))


def test_channels_of_a_layer_are_those_of_a_run_with_its_stream_alone(any_bridge):
    streams = torch.randn_like(residual_streams(any_bridge, TOKENS))
    channels = read_channels(any_bridge, streams)
    for layer, channel in product(range(any_bridge.cfg.n_layers), "qkv"):
        with any_bridge.hooks(fwd_hooks=patch_stream(any_bridge, layer, streams[layer])):
            (found,) = interventions._record(any_bridge, TOKENS, [f"blocks.{layer}.attn.hook_{channel}"])
        assert torch.equal(channels[channel][layer], found)


def test_heads_that_read_what_they_read_change_nothing(any_bridge):
    before = logits(any_bridge)
    channels = read_channels(any_bridge, residual_streams(any_bridge, TOKENS))
    for channel, values in channels.items():
        hooks = patch_channel(any_bridge, places(any_bridge), channel, values)
        torch.testing.assert_close(logits(any_bridge, hooks=hooks), before, atol=1e-5, rtol=0)


def test_a_head_with_all_channels_of_another_run_writes_what_it_writes_there(any_bridge):
    z, there = head_z(any_bridge, TOKENS), head_z(any_bridge, OTHER)
    channels = read_channels(any_bridge, residual_streams(any_bridge, OTHER))
    hooks = [hook for channel in "qkv" for hook in patch_channel(any_bridge, [(1, 0)], channel, channels[channel])]
    with any_bridge.hooks(fwd_hooks=hooks):
        patched = head_z(any_bridge, TOKENS)
    close(patched[1, 0], there[1, 0])
    assert not torch.allclose(z[1, 0], there[1, 0], atol=0.1)
    assert torch.equal(patched[0], z[0])
    assert torch.equal(patched[1, 2:], z[1, 2:])  # head 1 may share keys and values with head 0


def attend(family, layer, channels):
    """z of every head of a layer, `(head, batch, position, d_head)`, from queries, keys and values."""
    q, k, v = (channels[channel].transpose(1, 2) for channel in "qkv")
    if family == "llama":
        q, k = apply_rotary_pos_emb(q, k, *tiny(family).model.rotary_emb(v, torch.arange(q.shape[2])[None]))
    k, v = (shared.repeat_interleave(HEADS // shared.shape[1], 1) for shared in (k, v))
    scores = q @ k.mT / (1 if family == "gpt-neo" else q.shape[-1] ** 0.5)
    reach = 4 if (family, layer) == ("gpt-neo", 1) else q.shape[2]  # GPT-Neo's second layer sees four tokens
    every = torch.ones(scores.shape[-2:], dtype=torch.bool)
    return (scores.masked_fill(every.triu(1) | every.tril(-reach), -torch.inf).softmax(-1) @ v).transpose(0, 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("patched", ["", "q", "k", "v", "qk", "qv", "kv", "qkv"])
@torch.no_grad()
def test_a_head_attends_with_the_patched_channels_and_its_own_others(family, patched):
    model, before = bridge(family), head_z(bridge(family), TOKENS)[1]
    own = read_channels(model, residual_streams(model, TOKENS))
    other = read_channels(model, torch.randn(LAYERS + 1, *TOKENS.shape, WIDTH))
    mixed, hooks = {channel: values[1].clone() for channel, values in own.items()}, []
    for channel in patched:
        group = 1 if family == "llama" and channel in "kv" else 2
        mixed[channel][:, :, group] = other[channel][1][:, :, group]
        hooks += patch_channel(model, [(1, 2)], channel, other[channel])
    with model.hooks(fwd_hooks=hooks):
        found = head_z(model, TOKENS)[1]
    close(found, attend(family, 1, mixed))
    shared = family == "llama" and bool({"k", "v"} & {*patched})  # heads 2 and 3 have the same keys and values
    moved = (found - before).abs().amax((1, 2, 3)) > 1e-3
    assert moved.tolist() == [False, False, bool(patched), shared]


def test_an_unknown_channel_is_refused():
    values = torch.zeros(LAYERS, *TOKENS.shape, HEADS, WIDTH // HEADS)
    for channel in ("o", "", "qk", "Q"):
        with pytest.raises(ArgumentError, match=f"no channel '{channel}'"):
            patch_channel(bridge("gpt2"), [(0, 0)], channel, values)


def test_channels_and_streams_of_another_shape_are_refused_and_the_bridge_is_as_before():
    model, before = bridge("llama"), logits(bridge("llama"))
    streams, z = residual_streams(model, TOKENS), head_z(model, TOKENS)
    channels = read_channels(model, streams)

    def patch(channel, values):
        return patch_channel(model, [(0, 0)], channel, values)

    for refused, problem in [
        (lambda: read_channels(model, streams[:-1]), "3 deep; got 2"),
        (lambda: read_channels(model, streams[..., :-1]), "vectors have 16 numbers"),
        (lambda: read_channels(model, streams[0]), "streams must be"),
        (lambda: streams_without(model, TOKENS[:, :5], [(0, 0)], z), "agree in number and length"),
        (lambda: patch("q", channels["q"][:1]), "of 2 layers; got 1"),
        (lambda: patch("q", channels["q"][0]), "values must be"),
        (lambda: patch("q", channels["q"] / 0), "NaN or infinity"),
        (lambda: logits(model, hooks=patch("q", channels["k"])), "does not fit"),
        (lambda: logits(model, hooks=patch("k", channels["q"])), "does not fit"),
        (lambda: logits(model, TOKENS[:, :5], patch("k", channels["k"])), "agree in number and length"),
    ]:
        with pytest.raises(ArgumentError, match=problem):
            refused()
    assert torch.equal(logits(model), before)


def test_what_the_induction_heads_of_storybook_read_through_each_channel(storybook_bridge):
    """L0H0 and L3H1 make their keys directly. L0H3 makes their queries and values, much of it through other parts."""
    model, its_tokenizer = storybook_bridge
    means = mean_z(model, token_batches(its_tokenizer, passages()[:8]))
    tokens = repeated_random_tokens(its_tokenizer, 30, sequences=4)
    induction = [(4, 3), (4, 4), (5, 1), (5, 5), (5, 7)]

    def second_copy(streams):
        found = {}
        for channel, values in read_channels(model, streams).items():
            with model.hooks(fwd_hooks=patch_channel(model, induction, channel, values)):
                found[channel] = copy_losses(model, tokens)[1].mean()
        return found

    def total(heads):
        with model.hooks(fwd_hooks=patch_heads(model, heads, means)):
            return residual_streams(model, tokens)

    assert copy_losses(model, tokens)[1].mean() < 1
    for streams in (total([(0, 0), (3, 1)]), streams_without(model, tokens, [(0, 0), (3, 1)], means)):
        found = second_copy(streams)
        assert found["k"] > 9
        assert max(found["q"], found["v"]) < 2
    found, direct = second_copy(total([(0, 3)])), second_copy(streams_without(model, tokens, [(0, 3)], means))
    assert found["q"] > 5
    assert found["v"] > 8
    assert found["k"] < 2.5
    assert direct["q"] < found["q"] - 3
    assert direct["v"] < found["v"] - 3


# Gradients


def odds(bridge):
    """A metric with its gradient."""
    return log_odds(bridge(TOKENS)[:, -1], torch.tensor([3, 4])).sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_slopes_of_small_steps(family):
    """In float64, but GPT-Neo's attention and Llama's norms go through float32."""
    model = bridge_of(fresh(family).double())
    gradients, z, step = z_gradient(model, odds), head_z(model, TOKENS), 1e-3
    assert gradients.shape == z.shape
    for head in EVERY:
        direction, values = torch.randn_like(z), []
        for sign in (1, -1):
            with torch.no_grad(), model.hooks(fwd_hooks=patch_heads(model, [head], z + sign * step * direction)):
                values.append(odds(model))
        slope = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close((gradients[head] * direction[head]).sum(), slope, atol=2e-3, rtol=0)
    assert gradients.abs().amax((2, 3, 4)).min() > 0.01


def test_the_gradient_of_what_a_layer_writes_is_its_output_matrix(any_bridge):
    direction = torch.randn(any_bridge.cfg.d_model)

    def written(bridge, layer):
        seen = []
        with bridge.hooks(fwd_hooks=[(f"blocks.{layer}.hook_attn_out", lambda value, hook: seen.append(value))]):
            bridge(TOKENS)
        return (seen[0] @ direction).sum()

    for layer in range(any_bridge.cfg.n_layers):
        found = z_gradient(any_bridge, partial(written, layer=layer))
        close(found[layer], (any_bridge.W_O[layer].detach() @ direction)[:, None, None].expand_as(found[layer]))
        assert not found[layer + 1 :].any()


def test_a_gradient_leaves_the_metric_and_the_bridge_as_they_are(any_bridge):
    values, before, was = [], logits(any_bridge), state(any_bridge)

    def metric(bridge):
        values.append(odds(bridge))
        return values[-1]

    def fail(bridge):
        raise RuntimeError("on purpose")

    gradients = z_gradient(any_bridge, metric)
    with torch.no_grad():
        assert torch.equal(values[0], odds(any_bridge))
        assert torch.equal(z_gradient(any_bridge, odds), gradients), "it needs no surroundings with gradients"
        assert not torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="on purpose"):
        z_gradient(any_bridge, fail)
    assert not gradients.requires_grad
    assert all(parameter.grad is None for parameter in any_bridge.parameters())
    assert state(any_bridge) == was
    assert torch.equal(logits(any_bridge), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_need_no_gradient_for_that_of_z(family):
    model = bridge_of(fresh(family)).requires_grad_(False)
    close(z_gradient(model, odds), z_gradient(bridge(family), odds))


@pytest.mark.parametrize(
    "metric",
    [
        lambda bridge: text_loss(bridge, TOKENS).sum(),
        lambda bridge: odds(bridge).item(),
        lambda bridge: odds(bridge) - odds(bridge),
        lambda bridge: bridge(TOKENS)[:, -1, 3],
    ],
)
def test_a_metric_without_one_gradient_is_refused(metric):
    with pytest.raises(ArgumentError, match="run the bridge once, and return one number with its gradient"):
        z_gradient(bridge("gpt2"), metric)


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
    metrics = text_loss(model, TOKENS), token_losses(model, TOKENS), logit_difference(model, TOKENS, 3, 4)
    assert not any(metric.requires_grad for metric in metrics)


# A sweep does not run blocks below the hook again. No metric should be able to tell.


def padded(bridge):
    return text_loss(bridge, Batch.from_rows([TOKENS[0].tolist(), OTHER[0, :4].tolist(), [7]]))[:2]


def two_passes(bridge):
    return text_loss(bridge, TOKENS) - text_loss(bridge, OTHER[:, :6])


def read_pattern(bridge):
    """It has hooks in layer 0 while it reads, and none in another pass."""
    _, seen = bridge.run_with_cache(TOKENS, names_filter="blocks.0.attn.hook_pattern")
    return torch.stack([seen["blocks.0.attn.hook_pattern"].square().sum(), text_loss(bridge, TOKENS).sum()])


def read_streams(bridge):
    return residual_streams(bridge, TOKENS)


def read_with_hooks_of_torch(bridge):
    with record_inputs([bridge.blocks[0].mlp]) as seen:
        bridge(TOKENS)
    return seen[0]


def write_into_the_stream(bridge):
    """A hook that writes into the tensor that passes, which another block has just given."""
    places = [f"blocks.{layer}.{where}" for layer in range(bridge.cfg.n_layers) for where in ("hook_in", "hook_out")]
    with bridge.hooks(fwd_hooks=[(place, lambda stream, hook: stream.mul_(1.5)) for place in places]):
        return bridge(TOKENS)


def steer_inside(bridge):
    with bridge.hooks(fwd_hooks=[("blocks.0.mlp.hook_out", lambda value, hook: value + 1)]):
        return bridge(TOKENS)


def read_keys(bridge):
    _, kept = bridge(TOKENS, return_type="logits_and_cache")
    return torch.stack([part.keys.sum() + part.values.square().sum() for part in kept.layers])


def write_on(bridge):
    """Two tokens more, of the most probable ones, with keys and values kept; another text first."""
    tokens, kept = TOKENS, None
    bridge(OTHER)
    for _ in range(3):
        logits, kept = bridge(tokens, return_type="logits_and_cache", past_key_values=kept)
        tokens = logits[:, -1:].argmax(-1)
    return logits


def generate(bridge):
    return bridge.generate(TOKENS, max_new_tokens=3, do_sample=False, verbose=False, stop_at_eos=False)


def without_keys(bridge):
    return bridge(TOKENS, use_cache=False)


def hidden_states(bridge):
    return torch.stack(bridge.original_model(TOKENS, output_hidden_states=True).hidden_states)


def from_the_middle(bridge):
    """Layer 0 runs on a text that is not looked at."""
    return bridge(residual_streams(bridge, OTHER)[1], start_at_layer=1)


def half_way(bridge):
    return bridge(TOKENS, stop_at_layer=1).sum() + bridge(OTHER).sum()


def gradients(bridge):
    with torch.enable_grad():
        embedded = bridge.original_model.get_input_embeddings()(TOKENS).detach().requires_grad_()
        return torch.autograd.grad(bridge.original_model(inputs_embeds=embedded).logits.sum(), embedded)[0]


@torch.inference_mode()
def in_inference_mode(bridge):
    return bridge(TOKENS)


def in_train_mode(bridge):
    torch.manual_seed(0)  # what dropout draws
    try:
        return bridge.train()(TOKENS)
    finally:
        bridge.eval()


def names_of_arguments(bridge):
    """TransformerLens reads them, to leave out what the block does not take."""
    return len(inspect.signature(bridge.blocks[0].original_component.forward).parameters)


def other_texts():
    """A metric of a text that differs from call to call, and now and then in length."""
    texts = iter([TOKENS, OTHER, OTHER, TOKENS[:, :5], TOKENS] * 100)
    return lambda bridge: text_loss(bridge, next(texts)).sum()


def other_passes():
    """A metric of one pass in one call, and of two in the next."""
    counts = iter([1, 2, 0, 3, 1] * 100)
    return lambda bridge: sum(text_loss(bridge, text).sum() for text in (TOKENS, OTHER, TOKENS)[: next(counts)])


def other_pasts():
    """The same token, after a text that differs from call to call."""
    texts = iter([TOKENS, OTHER, TOKENS, OTHER, OTHER] * 100)

    def metric(bridge):
        _, kept = bridge(next(texts), return_type="logits_and_cache")
        return bridge(TOKENS[:, :1], past_key_values=kept)

    return metric


def at_random():
    generator = torch.Generator().manual_seed(3)
    return lambda bridge: text_loss(bridge, torch.randint(600, (2, 7), generator=generator)).sum()


METRICS = [
    padded, two_passes, read_pattern, read_streams, read_with_hooks_of_torch, write_into_the_stream,
    steer_inside, read_keys, write_on, generate, without_keys, hidden_states, from_the_middle, half_way, gradients,
    in_inference_mode, in_train_mode, names_of_arguments,
]  # fmt: skip


# How the passes of a metric are matched is the same in all families: the first tier tries two of them.
ALL_FAMILIES = [pytest.param(each, marks=[pytest.mark.deep] * (each not in ("gpt2", "llama"))) for each in BRIDGES]


@pytest.mark.parametrize("any_bridge", ALL_FAMILIES, indirect=True)
@pytest.mark.parametrize("metric", METRICS)
def test_a_sweep_gives_what_a_loop_gives_to_the_bit(any_bridge, metric):
    heads = [(layer, head) for head in (2, 0) for layer in range(any_bridge.cfg.n_layers)]
    wanted = one_by_one(any_bridge, metric, patch_heads(any_bridge, heads))
    assert torch.equal(sweep_heads(any_bridge, metric, heads=heads)[tuple(zip(*heads))], wanted)


@pytest.mark.parametrize("any_bridge", ALL_FAMILIES, indirect=True)
@pytest.mark.parametrize("new", [other_texts, other_passes, other_pasts, at_random])
def test_a_sweep_calls_the_metric_as_often_as_a_loop(any_bridge, new):
    wanted = one_by_one(any_bridge, new(), patch_heads(any_bridge, places(any_bridge)))
    assert torch.equal(sweep_heads(any_bridge, new()).flatten(0, 1), wanted)


def test_a_sweep_of_the_stream_of_padded_texts(any_bridge):
    texts, other = (Batch.from_rows([rows[0].tolist(), rows[1, :4].tolist()]) for rows in (TOKENS, OTHER))
    streams, metric = residual_streams(any_bridge, other), partial(text_loss, texts=texts)
    hooks = [
        patch_stream(any_bridge, layer, streams[layer], position)[0]
        for layer in range(len(streams))
        for position in range(9)
    ]
    assert torch.equal(sweep_stream(any_bridge, metric, streams).flatten(0, 1), one_by_one(any_bridge, metric, hooks))


def test_hooks_that_are_there_before_a_sweep_stay_and_fire(any_bridge):
    fired = []
    watching = [("blocks.0.mlp.hook_out", lambda value, hook: fired.append(value))]
    metric, before = partial(text_loss, texts=TOKENS), logits(any_bridge)
    with any_bridge.hooks(fwd_hooks=patch_heads(any_bridge, [(0, 1)]) + watching):
        wanted = one_by_one(any_bridge, metric, patch_heads(any_bridge, places(any_bridge)))
        swept = sweep_heads(any_bridge, metric)
    assert torch.equal(swept.flatten(0, 1), wanted)
    assert len(fired) == 2 * len(places(any_bridge))
    assert torch.equal(logits(any_bridge), before)


def test_a_sweep_in_a_sweep_gives_pairs_of_heads():
    model, metric = bridge("gpt-neo"), partial(text_loss, texts=TOKENS)
    pairs = sweep_heads(model, partial(sweep_heads, metric=metric))
    for one in EVERY:
        with model.hooks(fwd_hooks=patch_heads(model, [one])):
            assert torch.equal(pairs[one].flatten(0, 1), one_by_one(model, metric, patch_heads(model, EVERY)))


@pytest.mark.parametrize("order", [1, -1, 5])
def test_blocks_below_the_head_run_once(any_bridge, monkeypatch, order):
    """transformers and TransformerLens leave hooks of their own on a model, which must not count."""
    any_bridge.run_with_cache(TOKENS)
    any_bridge.original_model(TOKENS, output_hidden_states=True)
    layers, heads, runs = any_bridge.cfg.n_layers, any_bridge.cfg.n_heads, []
    for layer, block in enumerate(any_bridge.blocks):
        mlp = block.mlp.original_component

        def count(*args, layer=layer, run=mlp.forward, **options):
            runs.append(layer)
            return run(*args, **options)

        monkeypatch.setattr(mlp, "forward", count)
    every = places(any_bridge)  # 5 has no divisor with their number: all of them, in another order
    heads_in_order = [every[number * order % len(every)] for number in range(len(every))]
    sweep_heads(any_bridge, lambda bridge: two_passes(bridge).sum() + read_streams(bridge).sum(), heads=heads_in_order)
    once = [heads * (layer + 1) + 1 for layer in range(layers - 1)] + [heads * layers]
    assert [runs.count(layer) for layer in range(layers)] == [3 * number for number in once]


def test_nothing_of_a_sweep_remains_when_the_metric_fails(any_bridge):
    def fail_at_last(bridge):
        values.append(text_loss(bridge, TOKENS).sum())
        if len(values) == len(places(bridge)):
            raise RuntimeError("on purpose")
        return values[-1]

    values, before, was = [], logits(any_bridge), state(any_bridge)
    with pytest.raises(RuntimeError, match="on purpose"):
        sweep_heads(any_bridge, fail_at_last)
    assert state(any_bridge) == was
    sweep_heads(any_bridge, partial(text_loss, texts=TOKENS))
    assert state(any_bridge) == was
    assert torch.equal(logits(any_bridge), before)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.zeros(3)), (torch.zeros(2), torch.zeros(2).double()), (torch.zeros(2), torch.ones(2)),
        (torch.zeros(1), None), (None, torch.zeros(1)), (True, 1), ("a", "b"), ((1, 2), (1, 2, 3)), ({"a": 1}, None),
        ({"a": 1}, {"b": 1}), ({"a": (1, torch.zeros(1))}, {"a": (1, torch.ones(1))}),
    ],
)  # fmt: skip
def test_what_enters_a_block_is_compared_to_the_bit(one, other):
    assert not interventions._same(one, other)
    assert interventions._same(one, one)
