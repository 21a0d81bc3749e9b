"""Toy models of superposition: what their samples are, what they read back, and when five features make a pentagon."""

import math

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, seeded

from interp_helpers import ArgumentError, toy

DRAWS = [toy.independent, toy.together, toy.one_at_a_time]
DENSITY = torch.tensor([0.02, 0.1, 0.2])
every_draw = pytest.mark.parametrize("draw", DRAWS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def many(monkeypatch):
    """So many samples that a share is known to within 1%."""
    monkeypatch.setattr(toy, "SAMPLES", 20_000)
    return 20_000


# The samples.
@every_draw
def test_every_feature_is_on_as_often_as_the_density_says(many, draw):
    x = draw(generator(), DENSITY)
    assert x.shape == (3, many, toy.FEATURES)
    wanted = DENSITY[:, None].expand(3, toy.FEATURES)
    assert ((x > 0).float().mean(1) - wanted).abs().lt(5 * (wanted * (1 - wanted) / many).sqrt()).all()


@every_draw
def test_sizes_are_even_from_0_to_1(many, draw):
    x = draw(generator(), DENSITY)[2]
    assert ((x >= 0) & (x < 1)).all()
    for feature in range(toy.FEATURES):
        sizes = x[:, feature][x[:, feature] > 0]
        tenths = (10 * sizes).long().bincount(minlength=10)
        assert (tenths - len(sizes) / 10).abs().max() < 5 * (len(sizes) / 10) ** 0.5
    if draw is toy.together:  # the sizes of two features have nothing to do with each other
        assert abs(x[x[:, 0] > 0].T.corrcoef()[0, 1]) < 0.1


def test_features_are_on_together_as_often_as_each_kind_of_sample_says(many):
    counts = {draw: (draw(generator(), DENSITY) > 0).sum(-1) for draw in DRAWS}  # (model, sample)
    assert counts[toy.together].unique().tolist() == [0, 5]
    assert counts[toy.one_at_a_time].unique().tolist() == [0, 1]
    assert (counts[toy.one_at_a_time][2] == 1).all(), "of five features that are on in a fifth of the samples each"
    for density, count in zip(DENSITY.tolist(), counts[toy.independent]):
        for number in range(toy.FEATURES + 1):
            wanted = math.comb(toy.FEATURES, number) * density**number * (1 - density) ** (toy.FEATURES - number)
            tolerance = 5 * (wanted / many) ** 0.5 + 1e-3
            assert (count == number).float().mean().item() == pytest.approx(wanted, abs=tolerance)


@every_draw
def test_the_generator_alone_decides_what_is_drawn(draw):
    before = torch.get_rng_state()
    found = draw(generator(3), DENSITY)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draw(generator(3), DENSITY), found)
    assert not torch.equal(draw(generator(4), DENSITY), found)


# What a model reads back.
def test_reconstruction_by_hand():
    W = torch.tensor([[[1.0, 0], [0, 2], [-1, 0]], [[0, 0], [0, 0], [3, 4]]])
    b = torch.tensor([[0.0, 0.5, 0], [-1, 1, 0]])
    x = torch.tensor([[[1.0, 0, 0], [1, 1, 0]], [[1, 1, 0], [0, 0, 2]]])
    linear = torch.tensor([[[1, 0.5, -1], [1, 4.5, -1]], [[-1, 1, 0], [-1, 1, 50]]])
    torch.testing.assert_close(toy.reconstruct(W, b, x, relu=False), linear)
    torch.testing.assert_close(toy.reconstruct(W, b, x), linear.clamp(min=0))


@cases(drawn=seeded(), sizes=st.tuples(*[st.integers(1, 4)] * 4))
def test_reconstruction_equals_a_slow_loop(drawn, sizes):
    models, samples, features, dimensions = sizes
    W = torch.randn(models, features, dimensions, generator=drawn)
    b, x = (torch.randn(models, *shape, generator=drawn) for shape in [(features,), (samples, features)])
    found = toy.reconstruct(W, b, x)
    for model in range(models):
        for sample in range(samples):
            squeezed = sum(x[model, sample, feature] * W[model, feature] for feature in range(features))
            for feature in range(features):
                read = squeezed @ W[model, feature] + b[model, feature]
                assert found[model, sample, feature].item() == pytest.approx(max(0, read.item()), abs=1e-5)


def test_samples_of_another_number_of_features_are_refused():
    with pytest.raises(ArgumentError, match=r"x must be .* got f32\[1,4,3\].*feature=5"):
        toy.reconstruct(torch.zeros(1, 5, 2), torch.zeros(1, 5), torch.zeros(1, 4, 3))


# What a model kept.
def at_angles(*degrees, length=1.0):
    """A model whose rows stand at these angles: (1, feature, 2)."""
    angles = torch.tensor(degrees).deg2rad()
    return length * torch.stack([angles.cos(), angles.sin()], -1)[None]


PENTAGON = [0.0, 72.0, 144.0, 216.0, 288.0]


def test_features_kept_by_hand():
    rows = torch.tensor([[[0.49, 0], [0.51, 0], [0, -0.51]], [[0.4, 0.4], [0.3, 0.3], [0, 0]]])
    assert toy.kept(rows).tolist() == [2, 1], "lengths 0.49, 0.51 and 0.51; 0.57, 0.42 and 0"


@cases(turn=st.floats(-180, 180), order=st.permutations(range(5)), length=st.floats(0.6, 2))
def test_a_regular_pentagon_is_one_whichever_way_it_is_turned(turn, order, length):
    angles = [turn + PENTAGON[place] for place in order]
    assert toy.is_pentagon(at_angles(*angles, length=length)).tolist() == [True]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (at_angles(7.9, *PENTAGON[1:]), True),
        (at_angles(*PENTAGON[:4], 288 - 7.9), True),
        (at_angles(8.1, *PENTAGON[1:]), False),
        (at_angles(*PENTAGON[:4], 288 - 8.1), False),
        (at_angles(0, 90, 157.5, 225, 292.5), False),
        (at_angles(0, 72, 144, 216, 216), False),
        (at_angles(0, 90, 180, 270), False),
        (at_angles(*PENTAGON, length=0.4), False),
        (at_angles(*PENTAGON) * torch.tensor([1, 1, 1, 1, 0.4])[:, None], False),
    ],
    ids=["7.9 degrees off", "7.9 degrees off at the end", "8.1 degrees off", "8.1 degrees off at the end",
         "a gap of 90 degrees", "two in one direction", "four directions", "too short", "one too short"],
)  # fmt: skip
def test_what_is_a_pentagon_and_what_is_not(rows, wanted):
    assert toy.is_pentagon(rows).tolist() == [wanted]


def test_every_model_is_judged_for_itself():
    models = torch.cat([at_angles(*PENTAGON), at_angles(0, 90, 157.5, 225, 292.5), at_angles(*PENTAGON)])
    assert toy.is_pentagon(models).tolist() == [True, False, True]


# Training.
def test_rare_features_make_a_pentagon_and_features_that_are_on_together_do_not():
    rare = torch.full((4,), 0.05)
    found = {draw: toy.train(rare, draw=draw, steps=1500) for draw in (toy.independent, toy.together)}
    assert toy.is_pentagon(found[toy.independent]).sum() >= 3
    assert toy.is_pentagon(found[toy.together]).sum() == 0
    assert toy.kept(found[toy.independent]).mean() > toy.kept(found[toy.together]).mean() + 1


@pytest.mark.parametrize(("importance", "kept"), [(0.9, [0, 1]), (1 / 0.9, [3, 4])])
def test_without_relu_the_two_most_important_features_are_kept_however_rare_they_are(importance, kept):
    W = toy.train(torch.tensor([0.05, 0.3]), relu=False, importance=importance, steps=1500)
    lengths = W.norm(dim=-1)
    lost = [feature for feature in range(toy.FEATURES) if feature not in kept]
    torch.testing.assert_close(lengths[:, kept], torch.ones(2, 2), atol=0.05, rtol=0)
    torch.testing.assert_close(lengths[:, lost], torch.zeros(2, 3), atol=0.1, rtol=0)
    assert torch.cosine_similarity(W[:, kept[0]], W[:, kept[1]], dim=-1).abs().max() < 0.1, "in a direction each"


def test_models_do_not_influence_each_other():
    """The first of two models has the same samples, whatever the density of the second."""
    one, other = (toy.train(torch.tensor([0.1, density]), steps=30) for density in (0.1, 0.9))
    assert torch.equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1], atol=1e-2)


def test_the_seed_alone_decides_what_is_trained():
    before, density = torch.get_rng_state(), torch.tensor([0.1, 0.1])
    found = toy.train(density, steps=5)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        assert torch.equal(toy.train(density, steps=5, seed=0), found)
        assert not torch.is_grad_enabled()
    assert not torch.equal(toy.train(density, steps=5, seed=1), found)
    assert not torch.equal(found[0], found[1]), "models of one density start from weights of their own"
    assert found.shape == (2, toy.FEATURES, toy.DIMENSIONS)
    assert not found.requires_grad
