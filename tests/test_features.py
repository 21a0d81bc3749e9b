"""Sparse autoencoders: what they compute, what they learn from planted directions, how features are scored."""

from fractions import Fraction

import pytest
import torch
from features import LENGTH, MARGIN, WINDOWS, eight_bits, store, windows
from hypothesis import strategies as st
from properties import cases, seeded
from tiny import FAMILIES, LAYERS, bridge, tiny, tokenizer
from torch.nn.functional import normalize

from interp_helpers import ArgumentError, book_excerpts, encode, equal_length, features, load_bridge
from interp_helpers.features import Firings, SparseAutoencoder, capture, contexts, explained_variance, rule_score
from interp_helpers.hooks import layout, record_inputs

TOKENS = torch.randint(600, (2, 9), generator=torch.Generator().manual_seed(0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows_of(tensors):
    return [each.tolist() for each in tensors]


# What an autoencoder computes.
def by_hand():
    """Three streams become (1, 1, 0), (0, 2, 0) and (-1, -1, 1), less the mean and divided by the scale."""
    made = SparseAutoencoder(torch.tensor([1, 0, -1]), 2, 3, k=2)
    with torch.no_grad():
        made.W_enc.copy_(torch.tensor([[1.0, 0, 1], [0, 1, 1], [0, 0, -1]]))
        made.b_enc.copy_(torch.tensor([0, -1, 0.5]))
        made.W_dec.copy_(torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8]]))
    return made, torch.tensor([[3.0, 2, -1], [1, 4, -1], [-1, -2, 1]])


def test_an_autoencoder_by_hand():
    """The scores are (1, 0, 2.5), (0, 1, 2.5) and (-1, -2, -2.5): the last token's two highest are below 0."""
    autoencoder, streams = by_hand()
    wanted = torch.tensor([[1, 0, 2.5], [0, 1, 2.5], [0, 0, 0]])
    torch.testing.assert_close(autoencoder.activations(autoencoder.centred(streams)).detach(), wanted)
    firings = autoencoder.encode(streams)
    assert firings.features.tolist() == [[2, 0], [2, 1], [0, 1]]
    assert firings.values.tolist() == [[2.5, 1], [2.5, 1], [0, 0]]
    decoded = torch.tensor([[3.0, 3, 3], [1, 5, 3], [1, 0, -1]])
    torch.testing.assert_close(autoencoder.decode(firings), decoded)
    torch.testing.assert_close(autoencoder(streams), decoded)
    torch.testing.assert_close(autoencoder(streams.view(1, 3, 1, 3)), decoded.view(1, 3, 1, 3))
    torch.testing.assert_close(autoencoder.direction(2), torch.tensor([0, 1.2, 1.6]))


def random_autoencoder(drawn, width, number, k):
    made = SparseAutoencoder(torch.randn(width, generator=drawn), 0.5 + torch.rand(1, generator=drawn)[0], number, k=k)
    with torch.no_grad():
        for weights in made.parameters():
            weights.copy_(torch.randn(weights.shape, generator=drawn))
    return made


@cases(drawn=seeded(), width=st.integers(1, 5), number=st.integers(1, 9), tokens=st.integers(1, 5), data=st.data())
@torch.no_grad()
def test_an_autoencoder_equals_a_slow_loop(drawn, width, number, tokens, data):
    k = data.draw(st.integers(1, number))
    autoencoder = random_autoencoder(drawn, width, number, k)
    streams = torch.randn(tokens, width, generator=drawn) * 3
    firings, found = autoencoder.encode(streams), autoencoder(streams)
    dense = autoencoder.activations(autoencoder.centred(streams))
    for token, stream in enumerate(streams):
        x = (stream - autoencoder.mean) / autoencoder.scale
        scores = [(x @ autoencoder.W_enc[:, i] + autoencoder.b_enc[i]).item() for i in range(number)]
        top = sorted(range(number), key=lambda i: -scores[i])[:k]
        values = [max(0, scores[i]) for i in top]
        assert firings.features[token].tolist() == top
        assert firings.values[token].tolist() == pytest.approx(values, abs=1e-5)
        wanted = [values[top.index(i)] if i in top else 0 for i in range(number)]
        assert dense[token].tolist() == pytest.approx(wanted, abs=1e-5)
        rebuilt = sum(value * autoencoder.W_dec[i] for i, value in zip(top, values))
        torch.testing.assert_close(found[token], rebuilt * autoencoder.scale + autoencoder.mean, atol=1e-4, rtol=1e-4)


def test_tokens_are_encoded_in_pieces_as_they_are_at_once(monkeypatch):
    autoencoder, streams = random_autoencoder(generator(), 4, 12, 3), torch.randn(11, 4, generator=generator(1))
    whole = autoencoder.encode(streams)
    monkeypatch.setattr(features, "PIECE", 4)
    pieces = autoencoder.encode(streams)
    assert torch.equal(pieces.features, whole.features)
    torch.testing.assert_close(pieces.values, whole.values)


def test_streams_may_have_half_precision():
    autoencoder, streams = random_autoencoder(generator(), 4, 12, 3), torch.randn(11, 4, generator=generator(1)).half()
    found, wanted = autoencoder.encode(streams), autoencoder.encode(streams.float())
    assert torch.equal(found.features, wanted.features)
    assert torch.equal(found.values, wanted.values)
    assert torch.equal(autoencoder(streams), autoencoder(streams.float()))


def test_the_seed_alone_decides_where_an_autoencoder_starts():
    before = torch.get_rng_state()
    one, same, other = (SparseAutoencoder(torch.zeros(8), 1, 20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.W_dec, same.W_dec)
    assert not torch.allclose(one.W_dec, other.W_dec, atol=0.1)
    torch.testing.assert_close(one.W_dec.norm(dim=1).detach(), torch.ones(20))
    assert torch.equal(one.W_enc, one.W_dec.T)
    assert one.W_enc.data_ptr() != one.W_dec.data_ptr(), "they start alike, and are trained apart"
    assert not one.b_enc.any()


def test_mean_and_scale_of_few_streams_are_those_of_all():
    streams = torch.randn(500, 3, generator=generator()) * 4 + torch.tensor([1, -2, 30])
    before = torch.get_rng_state()
    made = SparseAutoencoder.for_streams(streams.half(), 7, k=2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(made.mean, streams.half().float().mean(0), atol=1e-4, rtol=1e-4)
    assert made.centred(streams.half()).square().mean().item() == pytest.approx(1, abs=1e-4)
    assert made.W_dec.shape == (7, 3)
    assert made.k == 2
    assert torch.equal(made.W_dec, SparseAutoencoder(torch.zeros(3), 1, 7, seed=3).W_dec)


def test_mean_and_scale_do_not_depend_on_where_positions_stand():
    """The streams have a period of 128, and two of 20,000 tokens are too many: every second one would not do, nor the
    first 20,000, because later texts differ too."""
    place = torch.arange(40_960)
    expected = 3.0 * (place % 2) + 10.0 * (place % 128 == 0) + 4.0 * (place > 20_000)
    streams = expected[:, None] + torch.randn(len(place), 2, generator=generator())
    made = SparseAutoencoder.for_streams(streams, 4, k=1)
    scale = streams.std(0, correction=0)
    assert (made.mean - streams.mean(0)).abs().max() < 5 * scale.max() / 20_000**0.5
    assert made.scale.item() == pytest.approx(scale.mean().item(), rel=0.04)


# Firings.
def test_how_strongly_one_feature_fires_everywhere():
    firings = Firings(torch.tensor([[7, 2], [4, 7], [2, 4]]), torch.tensor([[0.5, 1], [3, 0], [2, 1]]))
    assert firings.of(7).tolist() == [0.5, 0, 0]
    assert firings.of(2).tolist() == [1, 0, 2]
    assert firings.of(4).tolist() == [0, 3, 1]
    assert firings.of(5).tolist() == [0, 0, 0]


def test_strongest_by_hand():
    """A token whose activation is 0 does not count, and a feature may fire at fewer tokens than its share."""
    activations = torch.tensor([[0.1, 0, 3], [0.5, 2, 2], [0.9, 0, 1], [0.7, 0, 4], [0, 0, 5]])
    assert rows_of(features.strongest(activations, 0.4)) == [[2, 3], [1], [3, 4]]
    assert rows_of(features.strongest(activations, 0.99)) == [[0, 1, 2, 3], [1], [0, 1, 3, 4]]
    assert rows_of(features.strongest(-activations, 0.4)) == [[], [], []]


@cases(drawn=seeded(), tokens=st.integers(1, 12), number=st.integers(1, 6), eighths=st.integers(0, 8), data=st.data())
def test_strongest_tokens_equal_a_slow_loop(drawn, tokens, number, eighths, data):
    """Also of features that never fire, and of values that are 0."""
    k = data.draw(st.integers(1, number))
    chosen = torch.rand(tokens, number, generator=drawn).argsort(1)[:, :k]
    values = torch.rand(tokens, k, generator=drawn)
    firings = Firings(chosen, values * (torch.rand(tokens, k, generator=drawn) < 0.7))
    most, wanted = eighths * tokens // 8, []
    for feature in range(number + 2):
        fires = [(token, firings.of(feature)[token].item()) for token in range(tokens)]
        fires = sorted((pair for pair in fires if pair[1] > 0), key=lambda pair: -pair[1])
        wanted.append(sorted(token for token, _ in fires[:most]))
    assert wanted[number:] == [[], []]
    assert rows_of(firings.strongest(eighths / 8, number + 2)) == wanted
    dense = torch.zeros(tokens, number + 2).scatter(1, chosen, firings.values)
    assert rows_of(features.strongest(dense, eighths / 8)) == wanted


# Training.
def planted(tokens=20_000, number=48, width=32, on=3):
    """Streams that are sums of three of 48 known directions, and the directions."""
    drawn = generator(11)
    directions = normalize(torch.randn(number, width, generator=drawn), dim=1)
    active = torch.rand(tokens, number, generator=drawn).argsort(1) < on
    sizes = 1 + torch.rand(tokens, number, generator=drawn)
    return directions, 2 * (active * sizes) @ directions + 5


def trained_on(streams, **options):
    made = SparseAutoencoder.for_streams(streams, 96, k=3, seed=1)
    return made, list(features.train(made, streams, **options))


def shuffled_coordinates(streams):
    """Each coordinate has its values at other tokens."""
    drawn = generator(12)
    return torch.stack([column[torch.randperm(len(column), generator=drawn)] for column in streams.T], 1)


def test_planted_directions_are_found_and_none_where_coordinates_are_shuffled():
    directions, streams = planted()
    found = {}
    for name, data in [("planted", streams), ("shuffled", shuffled_coordinates(streams))]:
        made, records = trained_on(data, steps=400)
        cosines = (directions @ made.W_dec.detach().T).amax(1)
        found[name] = records[0]["explained_variance"], records[-1]["explained_variance"], cosines
        torch.testing.assert_close(made.W_dec.norm(dim=1).detach(), torch.ones(96))
        last = explained_variance(data[:5000], made(data[:5000]))
        assert last == pytest.approx(records[-1]["explained_variance"], abs=0.03)
    first, last, cosines = found["planted"]
    assert last > first + 0.3
    assert last > 0.85
    assert (cosines > 0.9).float().mean() > 0.8
    _, last, cosines = found["shuffled"]
    assert last < 0.6
    assert (cosines > 0.9).float().mean() < 0.1


def test_the_seed_alone_decides_what_is_trained():
    _, streams = planted(2000)
    before = torch.get_rng_state()
    (one, records), (same, again), (other, others) = (trained_on(streams, steps=5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert records == again
    assert records != others
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, same.state_dict()[name])
    assert not torch.equal(one.W_dec, other.W_dec)


@pytest.mark.parametrize("enabled", [True, False])
def test_training_needs_no_gradients_outside_and_leaves_them_as_they_were(enabled):
    _, streams = planted(2000)
    _, wanted = trained_on(streams, steps=3, every=1)
    made, found = SparseAutoencoder.for_streams(streams, 96, k=3, seed=1), []
    with torch.set_grad_enabled(enabled):
        for record in features.train(made, streams, steps=3, every=1):
            assert torch.is_grad_enabled() is enabled
            found.append(record)
        assert torch.is_grad_enabled() is enabled
    assert found == wanted


def test_training_says_how_far_it_is():
    _, streams = planted(2000)
    assert [record["tokens"] for record in trained_on(streams, steps=7, every=3)[1]] == [3 * 512, 6 * 512, 7 * 512]
    assert [record["tokens"] for record in trained_on(streams)[1]] == [3 * 512], "2000 tokens are three steps"


def test_the_first_explained_variance_is_that_of_the_first_step_before_it():
    """Also where the mean is not that of the streams."""
    _, streams = planted(512)
    made = SparseAutoencoder(streams.mean(0) + 1, 2, 96, k=3)
    wanted = explained_variance(streams, made(streams))
    [record] = features.train(made, streams)
    assert explained_variance(streams, made(streams)) > wanted
    assert record["explained_variance"] == pytest.approx(wanted, abs=1e-5)


def seen_in_training(steps, seed):
    """The numbers of the tokens of each step, of 1100 in all."""
    streams, seen = torch.arange(1100.0)[:, None].expand(1100, 2), []
    made = SparseAutoencoder.for_streams(streams, 4, k=1)
    centred = made.centred
    made.centred = lambda piece: seen.append(piece[:, 0].int().tolist()) or centred(piece)
    assert len(list(features.train(made, streams, steps=steps, seed=seed, every=1))) == len(seen)
    return seen


def test_every_token_comes_once_before_any_comes_again():
    seen = seen_in_training(None, seed=0)
    assert [len(set(step)) for step in seen] == [512, 512]
    assert not set(seen[0]) & set(seen[1])
    longer = seen_in_training(4, seed=0)
    assert longer[:2] == seen
    assert not set(longer[2]) & set(longer[3])
    assert longer[2] != longer[0], "a new order"
    assert seen_in_training(None, seed=1) != seen
    assert seen[0] != sorted(seen[0])


def test_the_learning_rate_rises_and_falls(monkeypatch):
    rates = []

    class Adam(torch.optim.Adam):
        def step(self):
            rates.append(self.param_groups[0]["lr"] / features.RATE)
            return super().step()

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    trained_on(planted(2000)[1], steps=100)
    assert rates[:20] == pytest.approx([step / 20 for step in range(1, 21)])
    assert rates[20:75] == [1] * 55
    assert rates[75:] == pytest.approx([step / 25 for step in range(25, 0, -1)])


# Streams of a model.
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", range(LAYERS))
@torch.no_grad()
def test_streams_and_neurons_are_those_of_transformers(family, layer):
    parts = layout(tiny(family))
    streams = []
    handle = parts.layers[layer].register_forward_hook(lambda module, inputs, output: streams.append(output))
    mlp = parts.layers[layer].mlp
    with record_inputs([mlp.down_proj if family == "llama" else mlp.c_proj]) as neurons:
        out = tiny(family)(TOKENS, output_hidden_states=True)
    handle.remove()
    [stream] = streams
    stream = stream[0] if isinstance(stream, tuple) else stream
    if layer + 1 < LAYERS:  # the last of the hidden states has gone through the final norm
        assert torch.equal(stream, out.hidden_states[layer + 1])
    found = capture(bridge(family), TOKENS, layer)
    torch.testing.assert_close(found, stream, atol=1e-4, rtol=1e-4)
    assert stream.abs().max() > 1, "otherwise the tolerance says nothing"
    found = capture(bridge(family), TOKENS, layer, what="mlp.hook_post")
    torch.testing.assert_close(found, neurons[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_later_layers_do_not_run(family):
    ran = []
    handles = [
        block.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, block in enumerate(bridge(family).blocks)
    ]
    try:
        capture(bridge(family), TOKENS, 0)
        assert ran == [0]
        capture(bridge(family), TOKENS, 1)
        assert ran == [0, 0, 1]
    finally:
        for handle in handles:
            handle.remove()


def test_many_texts_are_captured_in_pieces_and_in_half_precision():
    tokens = torch.randint(600, (70, 3), generator=generator(1))
    found = capture(bridge("gpt2"), tokens, 1)
    each = torch.cat([capture(bridge("gpt2"), row[None], 1) for row in tokens])
    torch.testing.assert_close(found, each, atol=1e-4, rtol=1e-4)
    assert not found.requires_grad
    half = capture(bridge("gpt2"), tokens, 1, dtype=torch.half)
    assert half.dtype == torch.half
    assert torch.equal(half, found.half())


def test_one_text_without_its_axis_is_refused():
    with pytest.raises(ArgumentError, match=r"tokens must be .* got i64\[9\]"):
        capture(bridge("gpt2"), TOKENS[0])


# What is measured.
def test_explained_variance_by_hand():
    """The mean is (2, 1), and squares around it add up to 8; the errors' squares add up to 2."""
    streams = torch.tensor([[1.0, 0], [3, 0], [2, 3]])
    assert explained_variance(streams, streams + torch.tensor([[1, 0], [0, 1], [0, 0]])) == pytest.approx(1 - 2 / 8)
    assert explained_variance(streams, streams.mean(0).expand(3, 2)) == pytest.approx(0)
    assert explained_variance(streams, -streams) == pytest.approx(1 - 4 * 23 / 8), "worse than the mean"
    with pytest.raises(ArgumentError, match=r"reconstructed must be .* got f32\[2,2\].*token=3"):
        explained_variance(streams, streams[:2])


def f1_of(rule, fired, labels, tokens):
    """F1 of the rule "fires where the label is one of these" on some tokens."""
    fires, predicted = {each for each in fired if each in tokens}, {each for each in tokens if labels[each] in rule}
    return Fraction(2 * len(fires & predicted), len(fires) + len(predicted))


def slow_score(fired, labels, learning):
    """Labels in the order of their rates, as many as give the best F1: label by label, token by token."""
    learned = [token for token in range(len(labels)) if learning[token]]
    tested = [token for token in range(len(labels)) if not learning[token]]
    rates = {}
    for label in sorted({labels[token] for token in learned if token in fired}):
        there = [token for token in learned if labels[token] == label]
        rates[label] = Fraction(sum(token in fired for token in there), len(there))
    order = sorted(rates, key=lambda label: -rates[label])
    if not order or not set(fired) & set(tested):
        return 0
    rules = [order[: number + 1] for number in range(len(order))]
    best = max(rules, key=lambda rule: f1_of(rule, fired, labels, learned))
    return float(f1_of(best, fired, labels, tested))


@cases(
    tokens=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=40),
)
def test_the_score_of_a_rule_equals_a_slow_version(tokens):
    labels, fires, learning = zip(*tokens)
    fired = [token for token, fire in enumerate(fires) if fire]
    found = rule_score(torch.tensor(fired, dtype=torch.long), torch.tensor(labels), torch.tensor(learning))
    assert found == pytest.approx(slow_score(fired, labels, learning))


@pytest.mark.parametrize(
    ("fired", "wanted"), [([4], 1), ([5], 0), ([4, 5], 2 / 3), ([4, 5, 6], 1 / 2), ([], 0)], ids=str
)
def test_a_rule_is_learned_from_nothing_but_the_texts_for_learning(fired, wanted):
    """Among the first four tokens the unit fires at label 5 alone. So that is the rule, wherever it fires later."""
    labels, learning = torch.tensor([5, 6, 5, 6, 5, 6, 7]), torch.arange(7) < 4
    assert rule_score(torch.tensor([0, 2, *fired]), labels, learning) == pytest.approx(wanted)


def test_a_rule_takes_as_many_labels_as_pay():
    """Where the rule is learned, the unit fires at label 0 always, at 1 half of the time and at 2 once in eight. So the
    F1 is 8/11 with one label, 12/15 with two and 14/23 with all three: the rule takes two."""
    labels = torch.tensor([0] * 4 + [1] * 4 + [2] * 8 + [0, 1, 2])
    learning = torch.arange(19) < 16
    assert rule_score(torch.tensor([0, 1, 2, 3, 4, 5, 8, 17]), labels, learning) == pytest.approx(2 / 3)
    assert rule_score(torch.tensor([0, 1, 2, 3, 4, 5, 8, 18]), labels, learning) == 0


def test_a_rule_takes_labels_by_how_often_the_unit_fires_at_them_and_not_by_how_many_times():
    """Where the rule is learned, the unit fires at both tokens of label 0 and at 3 of 12 tokens of label 1. So the F1
    is 4/7 with label 0, and 10/19 with both."""
    labels, learning = torch.tensor([0] * 2 + [1] * 12 + [0, 1]), torch.arange(16) < 14
    assert rule_score(torch.tensor([0, 1, 2, 3, 4, 14]), labels, learning) == 1
    assert rule_score(torch.tensor([0, 1, 2, 3, 4, 15]), labels, learning) == 0


def test_a_rule_is_perfect_where_labels_decide_and_no_better_than_chance_where_they_are_shuffled():
    """The unit fires at 5 of 50 labels. Whoever says "everywhere" has the F1 2p / (1 + p) for a rate of p."""
    drawn = generator()
    labels, learning = torch.randint(50, (20_000,), generator=drawn), torch.arange(20_000) < 10_000
    fired = (labels % 10 == 3).nonzero()[:, 0]
    assert rule_score(fired, labels, learning) == 1
    rate = (fired >= 10_000).sum().item() / 10_000
    mixed = labels[torch.randperm(20_000, generator=drawn)]
    assert rule_score(fired, mixed, learning) == pytest.approx(2 * rate / (1 + rate), abs=0.05)


# Contexts.
LABELS = [[f"{letter}{place}" for place in range(6)] for letter in "abcd"]
ACTIVATIONS = torch.tensor([[2.0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 5], [0, -1, 0, 0, 0, 0], [0, 0.5, -0.5, 3, 0.25, 0]])


def test_the_strongest_contexts_come_first_and_end_where_their_texts_do():
    found = contexts(LABELS, ACTIVATIONS, 9, before=2, after=1)
    assert [context.tokens for context in found] == [["b3", "b4", "b5"], ["d1", "d2", "d3", "d4"], ["a0", "a1"]]
    assert [context.values for context in found] == [[0, 0, 5], [0.5, 0, 3, 0.25], [2, 0]], "-0.5 is no firing"
    assert [context.at for context in found] == [2, 2, 0]
    assert contexts(LABELS, ACTIVATIONS, 2, before=2, after=1) == found[:2]
    assert contexts(LABELS, -ACTIVATIONS.abs(), 2) == []
    whole = contexts(LABELS, ACTIVATIONS, 1)
    assert whole[0].tokens == LABELS[1], "12 tokens before and 4 after"


def test_a_context_has_twelve_tokens_before_and_four_after():
    [found] = contexts([[str(place) for place in range(30)]], torch.eye(30)[20:21], 1)
    assert found.tokens == [str(place) for place in range(8, 25)]
    assert found.at == 12


def test_a_seed_draws_from_all_tokens_that_fire_one_in_a_text():
    """Which token of a text comes, and which text first, is decided by chance alone: every token that fires is as
    likely as every other. They are two in the first text, one in the second, and three in the last."""
    first = []
    for seed in range(1200):
        found = contexts(LABELS, ACTIVATIONS, 3, seed=seed)
        assert sorted(context.tokens[0][0] for context in found) == ["a", "b", "d"]
        assert all(context.values[context.at] > 0 for context in found)
        first.append(found[0].tokens[found[0].at])
    counts = {label: first.count(label) for label in ["a0", "a5", "b5", "d1", "d3", "d4"]}
    assert sum(counts.values()) == 1200
    assert all(abs(count - 200) < 5 * 200**0.5 for count in counts.values()), counts


def test_the_seed_alone_decides_which_contexts_are_drawn():
    before = torch.get_rng_state()
    texts = [[str(place) for place in range(20)]] * 5
    drawn = [contexts(texts, torch.ones(5, 20), 5, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


# How the stored autoencoders are made.
def random_book(words, seed):
    words = words.split()
    drawn = torch.randint(len(words), (4000,), generator=generator(seed))
    return {"text": " ".join(words[i] for i in drawn)}


def test_windows_are_pieces_of_the_books_at_places_all_over_them():
    books = [random_book("the king had a son and no", 0), random_book("she went to sea with her old dog", 1)]
    rows = windows(books, tokenizer())
    assert rows.shape == (2 * WINDOWS, LENGTH)
    assert torch.equal(rows, windows(books, tokenizer()))
    found = []
    for row in rows:
        piece = tokenizer().decode(row)
        [(number, text)] = [(i, book["text"]) for i, book in enumerate(books) if piece in book["text"]]
        place = text.find(piece)
        whole = encode(tokenizer(), text[max(0, place - 200) : place + 1500])[0]
        assert (whole.unfold(0, LENGTH, 1) == row).all(1).any(), "no window begins or ends inside a word"
        found.append((number, place / (len(text) - MARGIN)))
    numbers = [number for number, _ in found]
    assert numbers != sorted(numbers), "the order is random"
    for book in (0, 1):
        places = [place for number, place in found if number == book]
        assert len(places) == WINDOWS
        assert max(places) < 1.01
        for third in range(3):
            assert sum(third / 3 <= place < (third + 1) / 3 for place in places) > 9


def test_eight_bits_by_hand():
    rows, scale = eight_bits(torch.tensor([[1.27, -0.5, 0.004], [-254, 100, 3.1]]))
    assert rows.tolist() == [[127, -50, 0], [-127, 50, 2]]
    assert rows.dtype == "int8"
    assert scale.tolist() == pytest.approx([0.01, 2])


@cases(drawn=seeded(), shape=st.tuples(st.integers(1, 5), st.integers(1, 9)))
def test_eight_bits_are_off_by_half_a_step_at_most(drawn, shape):
    wanted = torch.randn(shape, generator=drawn) * torch.rand(shape[0], 1, generator=drawn).exp()
    rows, scale = map(torch.from_numpy, eight_bits(wanted))
    assert ((rows * scale[:, None] - wanted).abs() <= 0.5001 * scale[:, None]).all()
    assert (rows.abs().amax(1) == 127).all()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where autoencoders are stored: an empty folder."""
    monkeypatch.setattr(features, "FOLDER", tmp_path)
    return tmp_path


def test_an_autoencoder_comes_back_from_a_file_nearly_as_it_was(folder):
    _, streams = planted(4000)
    wanted = SparseAutoencoder.for_streams(streams, 96, seed=1)
    for _ in features.train(wanted, streams, steps=30):
        pass
    store(wanted, folder / "mine.npz")
    found = features.load_autoencoder("mine")
    assert not found.training
    assert found.k == wanted.k
    for name in ("mean", "scale", "b_enc"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    torch.testing.assert_close(found.W_dec.norm(dim=1).detach(), torch.ones(96))
    torch.testing.assert_close(found.W_dec, wanted.W_dec, atol=3 / 254, rtol=0)
    columns = wanted.W_enc.detach().abs().amax(0)
    assert ((found.W_enc - wanted.W_enc).abs() <= 0.5001 * columns / 127).all()
    assert explained_variance(wanted(streams), found(streams)) > 0.99


def test_another_name_is_refused_with_the_names_that_there_are(folder):
    for name in ("one", "another"):
        store(SparseAutoencoder(torch.zeros(3), 1, 20), folder / f"{name}.npz")
    with pytest.raises(ArgumentError, match=r"no autoencoder for 'gpt2'. There are those for 'another' and 'one'"):
        features.load_autoencoder("gpt2")


# The stored autoencoders.
STORED = ["storybook", "untrained twin"]


@pytest.fixture(scope="module")
def held_out():
    """{model: its streams on books that nothing was trained on, without the first position of every text}."""
    streams = {}
    for name in STORED:
        model, words = load_bridge("storybook", device="cpu", untrained=name != "storybook")
        streams[name] = capture(model, equal_length(words, book_excerpts()["text"][::4]))[:, 1:].flatten(0, 1)
    return streams


@pytest.mark.parametrize("name", STORED)
def test_a_stored_autoencoder_fits_the_streams_of_its_model_and_of_no_other(held_out, name):
    [other] = {*STORED} - {name}
    autoencoder, streams = features.load_autoencoder(name), held_out[name]
    assert explained_variance(streams, autoencoder(streams)) > 0.8
    assert explained_variance(held_out[other], autoencoder(held_out[other])) < 0.5
    mixed = streams[torch.randperm(len(streams), generator=generator())]
    assert explained_variance(streams, autoencoder(mixed)) < 0, "every token has a stream of its own"


@pytest.mark.parametrize("name", STORED)
def test_a_stored_autoencoder_has_few_firing_features_and_directions_of_one_length(held_out, name):
    autoencoder = features.load_autoencoder(name)
    firings = autoencoder.encode(held_out[name])
    assert firings.features.shape[1] == features.FIRING == 16
    assert 8 < (firings.values > 0).float().sum(1).mean() <= 16
    lengths = torch.stack([autoencoder.direction(feature) for feature in range(2048)]).norm(dim=1)
    torch.testing.assert_close(lengths, autoencoder.scale.expand(2048))


def test_the_stored_autoencoders_are_small_and_the_only_ones():
    files = sorted(features.FOLDER.iterdir())
    assert [file.stem for file in files] == STORED
    assert all(file.stat().st_size < 2**20 for file in files)
    for name in ["Storybook", "gpt2", ""]:
        with pytest.raises(ArgumentError, match=f"no autoencoder for '{name}'.* 'storybook' and 'untrained twin'"):
            features.load_autoencoder(name)


# Half precision
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_explained_variance_of_half_precision_neither_ends_at_infinity_nor_loses_digits(dtype):
    streams = (torch.randn(9000, 8, generator=generator()) * 30 + 5).to(dtype)
    reconstructed = (streams * 0.9).to(dtype)
    x, found = streams.double(), reconstructed.double()
    wanted = 1 - (x - found).square().sum() / (x - x.mean(0)).square().sum()
    assert explained_variance(streams, reconstructed) == pytest.approx(wanted.item(), abs=1e-9)


def test_streams_beyond_float16_are_refused_in_it():
    grown = bridge("gpt2")
    hooks = [("blocks.0.hook_resid_pre", lambda stream, hook: stream + 1e6)]
    with grown.hooks(fwd_hooks=hooks):
        assert capture(grown, TOKENS, 0).isfinite().all()
        with pytest.raises(ArgumentError, match=r"hook_resid_post in torch\.float16 holds NaN or infinity"):
            capture(grown, TOKENS, 0, dtype=torch.float16)
