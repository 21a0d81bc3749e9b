import math

import pytest
import torch
from torch.nn.functional import layer_norm

from interp_helpers import ArgumentError, live


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


@torch.no_grad()
def test_no_token_sees_a_later_one():
    model, tokens = live.AttentionOnly(2), some_tokens()
    changed = tokens.clone()
    changed[:, 4] = (tokens[:, 4] + 1) % live.VOCABULARY
    before, after = model(tokens)[0], model(changed)[0]
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.isclose(before[:, 4:], after[:, 4:]).all(-1).any()
    assert model(tokens)[1].triu(1).abs().max() == 0


def test_pieces_repeat_to_the_end_and_differ_in_length():
    tokens, lengths = live.repeated_pieces(torch.Generator().manual_seed(0), 200)
    assert tokens.shape == (200, live.LENGTH)
    assert set(lengths[:, 0].tolist()) == set(range(live.PIECES[0], live.PIECES[1] + 1))
    assert set(tokens.flatten().tolist()) == set(range(live.VOCABULARY))
    for row, length in zip(tokens.tolist(), lengths[:, 0].tolist()):
        assert all(row[i] == row[i % length] for i in range(live.LENGTH))


def test_measures_equal_a_slow_loop():
    model = live.AttentionOnly(1, seed=5)
    tokens, lengths = live.repeated_pieces(torch.Generator().manual_seed(live.TEST_SEED), live.TEST_SEQUENCES)
    with torch.no_grad():
        logits, patterns = model(tokens)
    first, later, previous = [], [], []
    for text, (row, length) in enumerate(zip(tokens.tolist(), lengths[:, 0].tolist())):
        for position in range(1, live.LENGTH):
            loss = -logits[text, position - 1].log_softmax(-1)[row[position]].item()
            if position < length:
                first.append(loss)
            elif position > length:  # at position == length nobody can know that the piece is over
                later.append(loss)
        looks = [patterns[0, text, :, position, position - 1] for position in range(1, length)]
        previous.append(torch.stack(looks).mean(0))
    found = live.measure(model)
    assert found["first_copy"] == pytest.approx(sum(first) / len(first))
    assert found["later_copies"] == pytest.approx(sum(later) / len(later))
    torch.testing.assert_close(found["previous_token"][0], torch.stack(previous).mean(0))
    assert found["induction"].shape == (1, live.HEADS)


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


def test_bad_arguments_are_refused():
    with pytest.raises(ArgumentError, match="layers is 0"):
        live.AttentionOnly(0)
    model = live.AttentionOnly(1)
    with pytest.raises(ArgumentError, match="32 in a sequence at most; got 33"):
        model(some_tokens(1, live.LENGTH + 1))
    for layer, head in [(1, 0), (0, 4), (-1, 0)]:
        with pytest.raises(ArgumentError, match=rf"from \(0, 0\) to \(0, 3\); got .*{layer}, {head}"):
            model(some_tokens(), [(layer, head)])
    for pieces in [(0, 4), (5, 4), (8, 32)]:
        with pytest.raises(ArgumentError, match="leave nothing to predict within 32"):
            live.repeated_pieces(torch.Generator(), 1, pieces)
    for wrong in [{"steps": 0}, {"every": 0}]:
        with pytest.raises(ArgumentError, match="must be a whole number, 1 or more"):
            next(live.train(model, **wrong))


def test_the_task_is_the_one_that_is_described():
    """64 tokens, in pieces of 8 to 16 that fill a sequence of 32, all drawn: a thousand sequences leave none out."""
    tokens, lengths = live.repeated_pieces(torch.Generator().manual_seed(0), 1000)
    assert tokens.unique().tolist() == list(range(64))
    assert lengths.unique().tolist() == list(range(8, 17))
    assert tokens.shape == (1000, 32)


def test_the_longest_piece_leaves_one_token_to_predict():
    tokens, _ = live.repeated_pieces(torch.Generator().manual_seed(0), 50, (30, 30))
    assert torch.equal(tokens[:, :2], tokens[:, 30:])
    with pytest.raises(ArgumentError, match="leave nothing to predict"):
        live.repeated_pieces(torch.Generator().manual_seed(0), 50, (30, 31))


@pytest.mark.parametrize("token", [-1, 64])
def test_a_token_that_is_none_is_refused(token):
    with pytest.raises(ArgumentError, match="ids from 0 to 63"):
        live.AttentionOnly(1)(torch.tensor([[5, token]]))


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


def test_no_sequences_are_refused():
    with pytest.raises(ArgumentError, match="sequences is 0"):
        live.repeated_pieces(torch.Generator(), 0)


def test_what_is_not_said_is_seed_0_and_a_record_every_20_of_400_steps(monkeypatch):
    assert torch.equal(live.AttentionOnly(1).W_E, live.AttentionOnly(1, seed=0).W_E)
    first, other = (next(iter(live.train(live.AttentionOnly(1), steps=1, **more))) for more in ({}, {"seed": 0}))
    assert torch.equal(first["induction"], other["induction"])
    monkeypatch.setattr(live, "measure", lambda model, **options: {})
    assert [each["step"] for each in live.train(live.AttentionOnly(1))] == list(range(0, 401, 20))


def test_measures_carry_no_gradients():
    found = live.measure(live.AttentionOnly(1))
    assert not found["previous_token"].requires_grad
    assert not found["induction"].requires_grad
