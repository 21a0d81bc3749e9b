"""Linear probes: what a fit gives, what it reads, what words tell without a model, and what is left after erasing."""

from collections import Counter
from math import log

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, seeded

from interp_helpers import ArgumentError
from interp_helpers.probes import auc, difference_of_means, discriminant, erase, fit, word_scores


def close(found, wanted, atol=1e-5):
    torch.testing.assert_close(found, wanted, atol=atol, rtol=1e-4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def planted(tokens=2000, width=12, apart=1.0):
    """Vectors of two kinds, and which is which, 30 % of them 1. Their noise is correlated, and large in other
    directions than the one in which the kinds differ; dimensions have scales of their own, and means around 3."""
    drawn = generator(1)
    y = (torch.rand(tokens, generator=drawn) < 0.3).long()
    mix = torch.eye(width) + 1.5 * torch.randn(width, width, generator=drawn)
    noise = torch.randn(tokens, width, generator=drawn) @ mix
    difference, scales = apart * torch.randn(width, generator=drawn), 0.5 + torch.rand(width, generator=drawn)
    return (noise + y[:, None] * difference) * scales + 3, y


# Fitting.
@pytest.mark.parametrize("decay", [0.001, 0.01, 1])
def test_the_slope_of_the_loss_is_0_at_the_result(decay):
    """The loss that the docstring states, of standardised vectors, in double precision."""
    x, y = planted()
    probe = fit(x, y, decay)
    x, weight = x.double(), probe.weight.double()
    mean, scale = x.mean(0), x.std(0, correction=0)
    standard, weight = (x - mean) / scale, weight * scale
    excess = (standard @ weight + probe.bias + probe.weight.double() @ mean).sigmoid() - y
    assert (standard.T @ excess / len(x) + decay * weight).abs().max() < 1e-4
    assert excess.mean().abs() < 1e-4, "the bias does not decay"
    assert (standard.T @ excess / len(x)).abs().max() > 5e-4, "otherwise the decay does not matter"


def test_a_probe_gives_log_odds_of_vectors_in_any_shape():
    x, y = planted()
    probe = fit(x, y)
    close(probe(x), (x.double() @ probe.weight.double() + probe.bias).float())
    assert torch.equal(probe(x.view(20, 100, -1)), probe(x).view(20, 100))
    assert probe(x).sigmoid().mean().item() == pytest.approx(y.float().mean().item(), abs=1e-4)


def test_the_decay_makes_weights_smaller():
    x, y = planted()
    norms = [fit(x, y, decay).weight.norm().item() for decay in (1e-4, 0.01, 0.1, 1, 100)]
    assert norms == sorted(norms, reverse=True)
    assert norms[0] > 1.1 * norms[1]
    assert norms[-1] < 0.01 * norms[0]


def test_the_decay_does_not_depend_on_how_many_tokens_there_are():
    x, y = planted(300)
    once, thrice = fit(x, y), fit(x.repeat(3, 1), y.repeat(3))
    close(thrice.weight, once.weight)
    assert thrice.bias == pytest.approx(once.bias, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_vectors_may_have_another_precision(dtype):
    x, y = planted(300)
    found, wanted = fit(x.to(dtype), y), fit(x.to(dtype).float(), y)
    assert found.weight.dtype == torch.float32
    close(found.weight, wanted.weight)
    assert found.bias == pytest.approx(wanted.bias, abs=1e-4)
    close(found(x.to(dtype)), wanted(x.to(dtype).float()))


@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.1, -3e4])
@pytest.mark.filterwarnings("error")
def test_a_dimension_that_never_varies_gets_no_weight(constant):
    """Its mean is rounded, and so it may seem to vary."""
    x, y = planted(600)
    wanted = fit(x, y)
    found = fit(torch.cat([x, torch.full((600, 1), constant)], 1), y)
    assert abs(found.weight[-1].item()) < 1e-6
    close(found.weight[:-1], wanted.weight)
    assert found.bias == pytest.approx(wanted.bias, abs=1e-3)


def test_an_offset_changes_no_score_and_a_factor_of_a_dimension_changes_none():
    x, y = planted()
    wanted = fit(x, y)(x)
    width = x.shape[1]
    offset, factor = 30 * torch.randn(width, generator=generator()), torch.logspace(-3, 3, width)
    torch.testing.assert_close(fit(x + offset, y)(x + offset), wanted, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(fit(x * factor, y)(x * factor), wanted, atol=1e-3, rtol=1e-3)
    assert wanted.std() > 0.5, "otherwise the tolerance says nothing"


def test_turned_labels_turn_the_probe():
    x, y = planted()
    one, other = fit(x, y), fit(x, 1 - y)
    close(other.weight, -one.weight)
    assert other.bias == pytest.approx(-one.bias, abs=1e-4)


def test_a_probe_reads_planted_labels_and_knows_nothing_of_shuffled_ones():
    """On vectors that it was not fitted to."""
    x, y = planted(4000, apart=4)
    learned, tested = slice(None, 3000), slice(3000, None)
    assert auc(fit(x[learned], y[learned])(x[tested]), y[tested]) > 0.99
    mixed = y[torch.randperm(4000, generator=generator())]
    assert auc(fit(x[learned], mixed[learned])(x[tested]), mixed[tested]) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0, 2, 1], [-1, 0, 1], [1, 2, 2]])
def test_labels_that_are_not_of_two_kinds_are_refused(labels):
    x, y = torch.randn(3, 2), torch.tensor(labels)
    for use in (fit, difference_of_means, discriminant, lambda x, y: auc(x[:, 0], y)):
        with pytest.raises(ArgumentError, match="must be 0 and 1, and there must be tokens of both kinds"):
            use(x, y)


def test_labels_of_another_number_are_refused():
    for use in (fit, difference_of_means, discriminant, lambda x, y: auc(x[:, 0], y)):
        with pytest.raises(ArgumentError, match="y must be"):
            use(torch.randn(3, 2), torch.tensor([0, 1]))


# The area under the curve.
def test_auc_by_hand_with_ties():
    """Of 3 x 2 pairs, the token with label 1 is ahead in three, equal in two and behind in one."""
    scores, y = torch.tensor([1.0, 2, 2, 2, 3]), torch.tensor([0, 1, 1, 0, 1])
    assert auc(scores, y) == pytest.approx((4 + 2 / 2) / 6)
    scores = torch.tensor([1.0, 2, 2, 0.5, 3])
    assert auc(scores, torch.tensor([1, 0, 1, 1, 0])) == pytest.approx((0 + 1 / 2) / 6)
    assert auc(torch.zeros(5), y) == 0.5
    assert auc(y.float(), y) == 1
    assert auc(-y.float(), y) == 0


both_kinds = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=20).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


@cases(pairs=both_kinds)
def test_auc_equals_a_slow_loop_and_stays_where_scores_keep_their_order(pairs):
    scores, y = torch.tensor([float(score) for score, _ in pairs]), torch.tensor([label for _, label in pairs])
    ahead = [
        (one > zero) + (one == zero) / 2
        for one, of_one in pairs
        for zero, of_zero in pairs
        if of_one == 1 and of_zero == 0
    ]
    wanted = pytest.approx(sum(ahead) / len(ahead))
    assert auc(scores, y) == wanted
    for monotone in (scores.exp(), scores**3 - 100, 1e-3 * scores, scores.half()):
        assert auc(monotone, y) == wanted
    assert auc(-scores, 1 - y) == wanted


# Words.
def slow_scores(tokens, labels, new, back):
    """Lists in, lists out: for each distance a dict of counts for each label."""
    size = max(max(map(max, tokens)), max(map(max, new))) + 1
    counts = [{0: Counter(), 1: Counter()} for _ in range(back)]
    for text, given in zip(tokens, labels):
        for position, label in enumerate(given):
            for distance in range(min(back, position + 1)):
                if label != -1:
                    counts[distance][label][text[position - distance]] += 1

    def share(distance, label, token):
        counted = counts[distance][label]
        return (counted[token] + 1) / (counted.total() + size)

    def score(text, position):
        before = [(distance, text[position - distance]) for distance in range(min(back, position + 1))]
        return sum(log(share(distance, 1, token) / share(distance, 0, token)) for distance, token in before)

    return [[score(text, position) for position in range(len(text))] for text in new]


def test_word_scores_by_hand():
    """At the label 1 stand the ids 0, 1, 0 and 2, and before it 0, 1 and 0. At the label 0 stand 1, 1 and 0, and before
    it 2 and 1. All counts are one more."""
    tokens = torch.tensor([[0, 1, 2], [1, 0, 2], [2, 1, 0]])
    labels = torch.tensor([[1, 1, -1], [0, 1, 1], [-1, 0, 0]])
    at = torch.tensor([[3 / 7, 2 / 7, 2 / 7], [2 / 6, 3 / 6, 1 / 6]]).log()
    before = torch.tensor([[3 / 6, 2 / 6, 1 / 6], [1 / 5, 2 / 5, 2 / 5]]).log()
    at, before = at[0] - at[1], before[0] - before[1]
    new = torch.tensor([[0, 1, 2], [2, 2, 0], [1, 0, 1]])
    wanted = at[new]
    close(word_scores(tokens, labels, new, 1), wanted)
    wanted[:, 1:] += before[new[:, :-1]]
    close(word_scores(tokens, labels, new, 2), wanted)


@cases(drawn=seeded(), shape=st.tuples(st.integers(1, 4), st.integers(1, 5)), data=st.data())
def test_word_scores_equal_a_slow_loop(drawn, shape, data):
    """Also where the new texts are longer or shorter, and where ids are new."""
    new_shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 7)))
    back, ids, more = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5)), data.draw(st.integers(0, 2))
    tokens = torch.randint(ids, shape, generator=drawn)
    labels = torch.randint(-1, 2, shape, generator=drawn)
    new = torch.randint(ids + more, new_shape, generator=drawn)
    wanted = slow_scores(tokens.tolist(), labels.tolist(), new.tolist(), back)
    close(word_scores(tokens, labels, new, back), torch.tensor(wanted))


@pytest.mark.parametrize(("length", "new_length"), [(3, 7), (7, 3), (3, 3)])
def test_words_further_back_than_texts_are_long_change_nothing(length, new_length):
    tokens, new = torch.randint(4, (5, length)), torch.randint(4, (2, new_length))
    labels = torch.randint(-1, 2, (5, length))
    longest = word_scores(tokens, labels, new, min(length, new_length))
    for back in (8, 100):
        assert torch.equal(word_scores(tokens, labels, new, back), longest)


def test_tokens_with_the_label_minus_one_do_not_count():
    """What stands there may still be a word before a token that counts."""
    tokens, labels = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[-1, 1, 0, -1]])
    other = torch.tensor([[3, 1, 2, 0]])
    assert torch.equal(word_scores(tokens, labels, tokens, 1), word_scores(other, labels, tokens, 1))
    assert not torch.equal(word_scores(tokens, labels, tokens, 2), word_scores(other, labels, tokens, 2))
    assert not word_scores(tokens, torch.full((1, 4), -1), tokens, 3).any()


def test_words_of_another_text_are_not_counted():
    """Only the end of the first text and the beginning of the second would tell."""
    tokens, labels = torch.tensor([[0, 5], [1, 0], [0, 6], [2, 0]]), torch.tensor([[-1, -1], [1, -1]] * 2)
    labels[3, 0] = 0
    known = torch.tensor([[5, 0, 6, 0]])
    close(word_scores(tokens, labels, known, 2), torch.zeros(1, 4))
    assert word_scores(tokens, labels, torch.tensor([[1, 2]]), 2).tolist()[0] == pytest.approx([log(2), -log(2)])


def test_an_id_that_was_never_seen_gets_what_the_smoothing_gives():
    """Of 8 ids, three tokens with label 1 and one with label 0: shares of 1/11 and 1/9 for what was never there."""
    tokens, labels = torch.tensor([[0, 0, 1, 0]]), torch.tensor([[1, 1, 0, 1]])
    scores = word_scores(tokens, labels, torch.tensor([[7, 5]]), 1)
    assert scores[0].tolist() == pytest.approx([log(9 / 11)] * 2)


# Directions.
def by_hand():
    """Around (5, 7) the kinds have the means (-1, 0) and (1, 0), and from there lie (1, 1) and (-1, -1). So the
    covariance is [[2, 1], [1, 1]] and its inverse [[1, -1], [-1, 2]]."""
    x = torch.tensor([[0.0, 1], [-2, -1], [2, 1], [0, -1]]) + torch.tensor([5, 7])
    return x, torch.tensor([0, 0, 1, 1])


def test_the_directions_by_hand():
    x, y = by_hand()
    assert difference_of_means(x, y).tolist() == [2, 0]
    torch.testing.assert_close(discriminant(x, y), torch.tensor([2.0, -2]), atol=2e-3, rtol=0)
    assert auc(x @ torch.tensor([2.0, 0]), y) == (3 + 1 / 2) / 4
    assert auc(x @ torch.tensor([2.0, -2]), y) == 1


def test_the_discriminant_reads_better_than_the_difference_of_means_where_noise_is_correlated():
    """On vectors from which neither was taken."""
    x, y = planted(4000)
    learned, tested = slice(None, 2000), slice(2000, None)
    read, write = (of(x[learned], y[learned]) for of in (discriminant, difference_of_means))
    assert auc(x[tested] @ read, y[tested]) > auc(x[tested] @ write, y[tested]) + 0.1
    assert torch.cosine_similarity(read, write, dim=0) < 0.7


def test_the_two_directions_are_one_where_noise_is_alike_in_all_directions():
    x, y = planted()
    for kind in (0, 1):
        noise = x[y == kind] - x[y == kind].mean(0)
        x[y == kind] = noise @ torch.linalg.inv(torch.linalg.cholesky(noise.T @ noise / len(noise))).T
    x[y == 1] += torch.randn(x.shape[1], generator=generator())
    assert torch.cosine_similarity(discriminant(x, y), difference_of_means(x, y), dim=0) > 1 - 1e-5


@pytest.mark.parametrize("singular", [torch.zeros(2000), None], ids=["a dimension of zeros", "a dimension twice"])
def test_a_singular_covariance_gives_finite_numbers_that_read_as_well(singular):
    x, y = planted()
    more = torch.cat([x, (x[:, 0] if singular is None else singular)[:, None]], 1)
    found = discriminant(more, y)
    assert found.isfinite().all()
    assert auc(more @ found, y) == pytest.approx(auc(x @ discriminant(x, y), y), abs=1e-3)
    few = discriminant(x[:8], y[:8])  # fewer tokens than dimensions
    assert few.isfinite().all()
    assert auc(x[:8] @ few, y[:8]) == 1


@pytest.mark.parametrize("direction", [difference_of_means, discriminant])
def test_directions_of_half_precision_are_those_of_the_same_numbers(direction):
    x, y = planted()
    found = direction(x.half(), y)
    assert found.dtype == torch.float32
    close(found, direction(x.half().float(), y))
    close(direction(x, 1 - y), -direction(x, y))


# Erasing.
@cases(drawn=seeded(), shape=st.sampled_from([(5,), (4, 5), (2, 3, 5)]))
def test_what_is_erased_is_as_the_mean_is_and_nothing_else_has_changed(drawn, shape):
    """`along` is a basis of what stands at right angles to `write`."""
    x, mean = torch.randn(shape, generator=drawn), torch.randn(5, generator=drawn)
    read, write = torch.randn(2, 5, generator=drawn)
    write = write + 2 * read * (read @ write).sign()  # not nearly at right angles
    erased = erase(x, mean, read, write)
    close((erased - mean) @ read, torch.zeros(shape[:-1]), atol=1e-4)
    along = torch.linalg.svd(write[None]).Vh[1:].T
    close(erased @ along, x @ along, atol=1e-4)
    close(erase(erased, mean, read, write), erased, atol=1e-4)
    close(erase(x, mean, -3 * read, 0.2 * write), erased, atol=1e-4)
    close(erase(mean, mean, read, write), mean)
    assert (erased - x).abs().max() > 1e-3


def test_erasing_by_hand():
    """With the discriminant and the difference of means, (x, y) becomes (y, y): the kinds have the same mean, and no
    dimension but the first has changed. The projection takes away the first dimension, and the kinds with it."""
    x, y = by_hand()
    mean, write = x.mean(0), difference_of_means(x, y)
    erased = erase(x, mean, torch.tensor([2.0, -2]), write)
    assert (erased - mean).tolist() == [[1, 1], [-1, -1], [1, 1], [-1, -1]]
    assert (erase(x, mean, write, write) - mean).tolist() == [[0, 1], [0, -1], [0, 1], [0, -1]]
    close(erase(x, mean, discriminant(x, y), write), erased, atol=2e-3)


def test_with_one_direction_for_both_it_is_the_orthogonal_projection():
    x, direction = torch.randn(7, 5), torch.randn(5)
    unit = direction / direction.norm()
    projection = torch.eye(5) - torch.outer(unit, unit)
    close(erase(x, torch.zeros(5), direction, direction), x @ projection)
    mean = torch.randn(5)
    close(erase(x, mean, direction, direction), (x - mean) @ projection + mean)


def test_vectors_to_erase_may_have_half_precision():
    x, mean, read, write = torch.randn(7, 5).half(), torch.randn(5), torch.randn(5), torch.ones(5)
    close(erase(x, mean, read, write), erase(x.float(), mean, read, write))


def leace(x, y, ridge):
    """The published formula (Belrose et al. 2023, theorem 4.3), in double precision: x - W⁺ P W (x - mean), where W is
    the inverse square root of the covariance and P projects on W times the covariance with the label."""
    x, y = x.double(), y.double()
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    covariance += ridge * covariance.diagonal().mean() * torch.eye(x.shape[1])
    variances, axes = torch.linalg.eigh(covariance)
    whiten, colour = (axes * variances**power @ axes.T for power in (-0.5, 0.5))
    label = whiten @ centred.T @ (y - y.mean()) / len(x)
    return x - centred @ (colour @ torch.outer(label, label) / (label @ label) @ whiten).T


def moved(x, erased):
    return (x - erased).square().sum(-1).mean().item()


def test_erasing_is_leace():
    """The same vectors as the published formula, where it adds the same small number to the variances. Without that, it
    moves the vectors hardly less."""
    x, y = planted()
    found = erase(x, x.mean(0), discriminant(x, y), difference_of_means(x, y))
    torch.testing.assert_close(found.double(), leace(x, y, ridge=1e-4), atol=1e-5, rtol=1e-5)
    assert moved(x, found) == pytest.approx(moved(x, leace(x, y, ridge=0)), rel=1e-4)


def test_no_linear_probe_reads_what_leace_has_erased_not_even_where_it_was_fitted():
    x, y = planted()
    erased = erase(x, x.mean(0), discriminant(x, y), difference_of_means(x, y))
    assert auc(fit(x, y)(x), y) > 0.8
    assert difference_of_means(x, y).abs().max() > 0.5
    close(difference_of_means(erased, y), torch.zeros(x.shape[1]))
    assert auc(fit(erased, y)(erased), y) == pytest.approx(0.5, abs=0.05)


def test_no_other_way_to_make_the_means_equal_moves_the_vectors_less():
    """All ways to do so along one direction have the difference of means for `write`."""
    x, y = planted()
    mean, read, write = x.mean(0), discriminant(x, y), difference_of_means(x, y)
    least = moved(x, erase(x, mean, read, write))
    assert least < 0.5 * moved(x, erase(x, mean, write, write))
    for other in torch.randn(20, x.shape[1], generator=generator()):
        erased = erase(x, mean, read + 0.1 * read.norm() / other.norm() * other, write)
        close(difference_of_means(erased, y), torch.zeros(x.shape[1]))
        assert moved(x, erased) > least


def test_erasing_along_the_discriminant_alone_leaves_something_to_read():
    """So it matters which direction is written along."""
    x, y = planted()
    read = discriminant(x, y)
    projected = erase(x, x.mean(0), read, read)
    assert auc(fit(projected, y)(projected), y) > 0.6


@pytest.mark.parametrize("write", [[0.0, 2, 0], [0.0, 0, 0], [1e-8, 1, -1]])
def test_directions_at_right_angles_are_refused(write):
    with pytest.raises(ArgumentError, match="they are at right angles"):
        erase(torch.randn(4, 3), torch.zeros(3), torch.tensor([3.0, 0, 0]), torch.tensor(write))


def test_directions_of_another_size_are_refused():
    for wrong in range(1, 4):
        given = [torch.randn(4, 3), *torch.ones(3, 3)]
        given[wrong] = torch.ones(4)
        with pytest.raises(ArgumentError, match=f"{['x', 'mean', 'read', 'write'][wrong]} must be"):
            erase(*given)


# Half precision
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_vectors_in_half_precision_are_read_as_the_same_ones_in_full(dtype):
    x, y = planted()[:2]
    x = x.to(dtype)
    close(difference_of_means(x, y), difference_of_means(x.double(), y), 1e-7)
    close(discriminant(x, y), discriminant(x.double(), y))
    assert auc(x[:, 0], y) == auc(x[:, 0].double(), y)
    mean, read, write = x.mean(0), x[0], x[0] + x[1] / 2
    close(erase(x, mean, read, write), erase(*(each.double() for each in (x, mean, read, write))).float(), 1e-3)


def test_a_mean_over_many_tokens_is_taken_in_float64():
    """What two kinds differ in is a millionth of what they share: float32 would add it up wrongly."""
    x = torch.full((40_000, 1), 1000.0)
    x[::2] += 2**-10
    y = (torch.arange(40_000) % 2 == 0).long()
    assert difference_of_means(x, y).item() == 2**-10
