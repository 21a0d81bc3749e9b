"""The small model trained in the notebook equals a slow loop, learns what is said of it, and is its seed's alone."""

import math

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, seeded
from torch.nn.functional import layer_norm

from interp_helpers import ArgumentError, live

MODELS = {layers: live.AttentionOnly(layers, seed=layers) for layers in (1, 2)}
layers = st.sampled_from([1, 2])
pieces = st.tuples(st.integers(2, 30), st.integers(2, 30)).map(sorted)
heads_off = st.lists(st.tuples(st.just(0), st.integers(0, live.HEADS - 1)), max_size=3)


@pytest.fixture
def few_sequences(monkeypatch):
    """What is measured and trained on is a fraction of the lesson's: the properties are the same."""
    monkeypatch.setattr(live, "TEST_SEQUENCES", 4)
    monkeypatch.setattr(live, "SEQUENCES", 1)


def some_tokens(sequences=3, positions=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(live.VOCABULARY, (sequences, positions), generator=generator)


def slow(model, tokens, off=()):
    """One sequence, head by head and query by query: the specification. Returns (logits, {(layer, head): rows})."""
    size, patterns = live.WIDTH // live.HEADS, {}
    stream = [model.W_E[token] + model.W_pos[position] for position, token in enumerate(tokens)]
    for layer in range(len(model.W_Q)):
        read = [layer_norm(each, [live.WIDTH]) for each in stream]
        for head in range(live.HEADS):
            own = slice(head * size, (head + 1) * size)
            for query in range(len(tokens)):
                asks = read[query] @ model.W_Q[layer][:, own]
                scores = [asks @ (read[key] @ model.W_K[layer][:, own]) / math.sqrt(size) for key in range(query + 1)]
                weights = torch.stack(scores).softmax(0)
                patterns.setdefault((layer, head), []).append(weights)
                if (layer, head) not in off:
                    for key, weight in enumerate(weights):
                        value = read[key] @ model.W_V[layer][:, own]
                        stream[query] = stream[query] + weight * value @ model.W_O[layer][own]
    return torch.stack([layer_norm(each, [live.WIDTH]) @ model.W_U for each in stream]), patterns


@torch.no_grad()
@pytest.mark.parametrize("off", [[], [(0, 1), (1, 3)]])
def test_the_model_equals_a_slow_loop(off):
    model, tokens = live.AttentionOnly(2, seed=3), some_tokens()
    logits, patterns = model(tokens, off)
    assert logits.shape == (3, 7, live.VOCABULARY)
    assert patterns.shape == (2, 3, live.HEADS, 7, 7)
    for text, row in enumerate(tokens):
        expected, rows = slow(model, row, off)
        torch.testing.assert_close(logits[text], expected)
        for (layer, head), weights in rows.items():
            for query, each in enumerate(weights):
                torch.testing.assert_close(patterns[layer, text, head, query, : query + 1], each)


def test_pieces_are_all_drawn():
    """64 tokens, in pieces of 8 to 16 that fill a sequence of 32: a thousand sequences leave none out."""
    tokens, lengths = live.repeated_pieces(torch.Generator().manual_seed(0), 1000)
    assert tokens.unique().tolist() == list(range(64))
    assert lengths.unique().tolist() == list(range(8, 17))
    assert tokens.shape == (1000, 32)


@cases(generator=seeded(), sequences=st.integers(1, 5), pieces=pieces)
def test_pieces_repeat_to_the_end(generator, sequences, pieces):
    tokens, lengths = live.repeated_pieces(generator, sequences, pieces)
    assert tokens.shape == (sequences, live.LENGTH)
    assert pieces[0] <= lengths.min() <= lengths.max() <= pieces[1]
    for row, length in zip(tokens.tolist(), lengths[:, 0].tolist()):
        assert row == (row[:length] * live.LENGTH)[: live.LENGTH]


@pytest.mark.parametrize("pieces", [(1, 4), (5, 4), (30, 31)])
def test_pieces_that_leave_nothing_to_predict_are_refused(pieces):
    with pytest.raises(ArgumentError, match="Pieces are of 2 to 30 tokens"):
        live.repeated_pieces(torch.Generator(), 1, pieces)


@cases(layers=layers, texts=st.integers(1, 3), length=st.integers(1, 6), off=heads_off, generator=seeded())
@torch.no_grad()
def test_a_pass_is_causal_and_a_head_that_is_off_has_no_output_matrix(layers, texts, length, off, generator):
    model, tokens = MODELS[layers], torch.randint(live.VOCABULARY, (texts, length), generator=generator)
    logits, patterns = model(tokens, off)
    torch.testing.assert_close(patterns.sum(-1), torch.ones(patterns.shape[:-1], dtype=torch.double))
    assert patterns.triu(1).count_nonzero() == 0
    edited, d_head = live.AttentionOnly(layers, seed=layers), live.WIDTH // live.HEADS
    for layer, head in off:
        edited.W_O[layer, head * d_head : (head + 1) * d_head] = 0
    torch.testing.assert_close(edited(tokens)[0], logits)
    for cut in range(1, length):
        torch.testing.assert_close(model(tokens[:, :cut], off)[0], logits[:, :cut])


@cases(layers=layers, pieces=pieces, off=heads_off)
@torch.no_grad()
def test_measures_equal_a_slow_loop(few_sequences, layers, pieces, off):
    measures = live.measure(MODELS[layers], pieces=pieces, off=off)
    tokens, lengths = live.repeated_pieces(torch.Generator().manual_seed(live.TEST_SEED), live.TEST_SEQUENCES, pieces)
    logits, patterns = MODELS[layers](tokens, off)
    first, later, previous, induction = [], [], [], []
    for text, (row, length) in enumerate(zip(tokens.tolist(), lengths[:, 0].tolist())):
        for position in range(1, live.LENGTH):
            loss = -logits[text, position - 1].log_softmax(-1)[row[position]].item()
            if position < length:
                first.append(loss)
            elif position > length:  # at position == length nobody can know that the piece is over
                later.append(loss)
        looks = [patterns[:, text, :, position, position - 1] for position in range(1, length)]
        previous.append(torch.stack(looks).mean(0))
        seen = [[key + 1 for key in range(query) if row[key] == row[query]] for query in range(live.LENGTH)]
        asked = [patterns[:, text, :, query, keys].sum(-1) for query, keys in enumerate(seen) if keys]
        induction.append(torch.stack(asked).mean(0))
    assert measures["first_copy"] == pytest.approx(sum(first) / len(first))
    assert measures["later_copies"] == pytest.approx(sum(later) / len(later))
    torch.testing.assert_close(measures["previous_token"], torch.stack(previous).mean(0))
    torch.testing.assert_close(measures["induction"], torch.stack(induction).mean(0))


def test_a_head_that_is_off_changes_the_losses_and_not_its_own_pattern():
    model = live.AttentionOnly(2)
    whole, without = live.measure(model), live.measure(model, off=[(0, 2)])
    assert without["later_copies"] != whole["later_copies"]
    assert torch.equal(without["previous_token"][0], whole["previous_token"][0])
    assert not torch.equal(without["previous_token"][1], whole["previous_token"][1])


def short(seed, steps=4):
    return list(live.train(live.AttentionOnly(2, seed=seed), seed=seed, steps=steps, every=2))


def test_the_seed_decides_and_the_callers_random_state_does_not():
    first = short(0)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = short(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert [each["step"] for each in first] == [0, 2, 4]
    for one, two in zip(first, again):
        assert one["later_copies"] == two["later_copies"]
        assert torch.equal(one["induction"], two["induction"])
    assert short(1)[-1]["later_copies"] != first[-1]["later_copies"]


def test_it_trains_also_where_gradients_are_off_and_leaves_them_off():
    losses = []
    with torch.no_grad():
        for record in live.train(live.AttentionOnly(2), steps=40, every=20):
            assert not torch.is_grad_enabled()
            losses.append(record["later_copies"])
    assert losses[0] > losses[1] > losses[2]


def test_one_layer_learns_a_distance_and_not_induction():
    model = live.AttentionOnly(1)
    *_, last = live.train(model, steps=100, every=100, pieces=(16, 16))
    assert last["induction"].max() > 0.5
    assert live.measure(model, pieces=(16, 16))["later_copies"] == last["later_copies"], "no step after the last record"
    assert live.measure(model)["induction"].max() < 0.25


@torch.no_grad()
def test_without_all_its_heads_a_model_is_a_table_of_tokens_and_positions():
    model, tokens = live.AttentionOnly(1), some_tokens()
    found, _ = model(tokens, [(0, head) for head in range(4)])
    stream = model.W_E[tokens] + model.W_pos[:7]
    torch.testing.assert_close(found, layer_norm(stream, [live.WIDTH]) @ model.W_U)


def test_a_step_is_one_of_adamw_on_32_sequences():
    """Written out: its first step moves each weight by the rate, against the sign of its gradient, after the decay."""
    model, by_hand = live.AttentionOnly(1), live.AttentionOnly(1)
    list(live.train(model, seed=5, steps=1, every=1))
    tokens, _ = live.repeated_pieces(torch.Generator().manual_seed(5), 32)
    chances = by_hand(tokens)[0].log_softmax(-1)[:, :-1]
    (-chances.gather(-1, tokens[:, 1:, None]).mean()).backward()
    for found, before in zip(model.parameters(), by_hand.parameters()):
        moved = before.grad / (before.grad.abs() + 1e-8)  # 1e-8: torch's epsilon
        torch.testing.assert_close(found.data, before.data * (1 - 5e-3 * 0.01) - 5e-3 * moved, atol=1e-9, rtol=0)


def test_weights_start_as_described():
    """Embeddings with standard deviation 1, matrices with one that keeps lengths; two layers unless told otherwise."""
    model = live.AttentionOnly()
    assert len(model.W_Q) == 2
    for weights, wanted in [
        (model.W_E, 1),
        (model.W_pos, 1),
        (model.W_Q, 1 / 8),
        (model.W_O, 1 / 8),
        (model.W_U, 1 / 8),
    ]:
        assert weights.std().item() == pytest.approx(wanted, rel=0.05)


def test_what_is_not_said_is_seed_0_and_a_record_every_20_of_400_steps(few_sequences, monkeypatch):
    assert torch.equal(live.AttentionOnly(1).W_E, live.AttentionOnly(1, seed=0).W_E)
    first, other = (next(iter(live.train(live.AttentionOnly(1), steps=1, **more))) for more in ({}, {"seed": 0}))
    assert torch.equal(first["induction"], other["induction"])
    monkeypatch.setattr(live, "measure", lambda model, **options: {})
    assert [each["step"] for each in live.train(live.AttentionOnly(1))] == list(range(0, 401, 20))


def test_measures_carry_no_gradients():
    found = live.measure(live.AttentionOnly(1))
    assert not found["previous_token"].requires_grad
    assert not found["induction"].requires_grad
