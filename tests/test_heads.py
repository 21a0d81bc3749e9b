import numpy as np
import pytest
import torch

from interp_helpers import ArgumentError, encode, heads, load_model
from interp_helpers.models import STORYBOOK

PATTERN = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.25, 0.25]])


def random_pattern(*shape, seed=0):
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2
    future = torch.ones(shape[-2:], dtype=torch.bool).triu(1)
    return logits.masked_fill(future, -torch.inf).softmax(-1)


def slow(pattern, tokens, mask, wanted):
    """Mean over queries of the attention to all keys for which `wanted(tokens, query, key)`: the specification."""
    total, queries = 0.0, 0
    for query in range(len(tokens)):
        keys = [key for key in range(query + 1) if mask[query] and mask[key] and wanted(tokens, query, key)]
        if keys:
            total += sum(pattern[query, key].item() for key in keys)
            queries += 1
    return total / queries


SPECIFICATION = {
    "previous_token": lambda tokens, query, key: key == query - 1,
    "first_token": lambda tokens, query, key: key == 0 and query > 0,
    "current_token": lambda tokens, query, key: key == query and query > 0,
    "duplicate_token": lambda tokens, query, key: key < query and tokens[key] == tokens[query],
    "induction": lambda tokens, query, key: key > 0 and tokens[key - 1] == tokens[query],
}


def test_by_hand():
    assert heads.previous_token_score(PATTERN) == pytest.approx((1 + 0.25) / 2)
    assert heads.first_token_score(PATTERN) == pytest.approx((1 + 0.5) / 2)
    assert heads.current_token_score(PATTERN) == pytest.approx((0 + 0.25) / 2)
    tokens = torch.tensor([4, 6, 4])
    assert heads.duplicate_token_score(PATTERN, tokens) == 0.5
    assert heads.induction_score(PATTERN, tokens) == 0.25
    assert heads.entropy_bits(PATTERN).tolist() == [0, 0, 1.5]
    assert heads.entropy_share(PATTERN) == pytest.approx((0 + 1.5 / np.log2(3)) / 2)


@pytest.mark.parametrize("name", heads.TARGETS)
def test_every_target_equals_a_slow_double_loop(name):
    pattern = random_pattern(2, 3, 4, 9, 9)  # layer, text, head, query, key
    tokens = torch.randint(4, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([9, 6, 8])[:, None]
    mask[2, 3] = False  # a hole: keys before a query may be missing too
    found = heads.target_score(pattern, heads.TARGETS[name](tokens[:, None], mask[:, None]))
    assert found.shape == (2, 3, 4)
    for layer, text, head in np.ndindex(2, 3, 4):
        expected = slow(pattern[layer, text, head], tokens[text].tolist(), mask[text], SPECIFICATION[name])
        assert found[layer, text, head].item() == pytest.approx(expected, abs=1e-6)


def test_padding_does_not_count():
    pattern = random_pattern(2, 3, 8, 8)
    shorter = pattern[..., :5, :5]
    mask = torch.arange(8) < 5
    for score in [heads.previous_token_score, heads.first_token_score, heads.current_token_score, heads.entropy_share]:
        torch.testing.assert_close(score(pattern, mask), score(shorter))
        assert not torch.allclose(score(pattern), score(shorter))


def test_entropy_is_0_for_one_key_and_1_for_an_even_spread():
    even = torch.ones(6, 6).tril() / torch.arange(1, 7)[:, None]
    assert heads.entropy_share(even) == pytest.approx(1)
    assert heads.entropy_share(torch.eye(6)) == 0
    assert heads.entropy_shares(even)[0] == 0


def test_weighting_by_equal_values_changes_nothing():
    pattern = random_pattern(3, 7, 7)
    torch.testing.assert_close(heads.value_weighted(pattern, torch.full((3, 7), 2.5)), pattern)
    moved = heads.value_weighted(pattern, torch.rand(3, 7) + 0.1)
    torch.testing.assert_close(moved.sum(-1), torch.ones(3, 7))


def test_the_untrained_twin_has_no_head_of_any_kind():
    twin, tokenizer = load_model("storybook", device="cpu", untrained=True)
    tokens = encode(tokenizer, "The cat saw the dog, and the dog saw the cat, and the cat ran to the house of the dog.")
    with torch.no_grad():
        pattern = torch.cat(twin(tokens, output_attentions=True).attentions)
    for make in heads.TARGETS.values():
        assert heads.target_score(pattern, make(tokens)).max() < 0.5
    assert heads.entropy_share(pattern).min() > 0.9


@pytest.fixture(scope="module")
def bridge():
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(str(STORYBOOK), device="cpu")


@pytest.mark.parametrize("name", ["previous_token", "duplicate_token", "induction"])
def test_scores_equal_those_of_transformer_lens(name, storybook, bridge):
    """detect_head's "mul" is the same sum, over all queries instead of those that have a target."""
    from transformer_lens.head_detector import detect_head

    text = "The old king had three sons, and the three sons of the old king had three ships."
    theirs = detect_head(bridge, text, f"{name}_head")
    tokens = bridge.to_tokens(text)
    with torch.no_grad():
        pattern = torch.cat(storybook[0](tokens, output_attentions=True).attentions)
    target = heads.TARGETS[name](tokens)
    ours = heads.target_score(pattern, target) * target.any(-1).sum() / tokens.shape[1]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert ours.max() > 0.1


def test_classes_follow_the_majority_and_the_stated_order():
    names = [*heads.TARGETS, "entropy_share"]
    rows = {  # head: previous, first, current, duplicate, induction, entropy
        "previous_token": [0.51, 0, 0, 0, 0, 0.9],
        "first_token": [0.2, 0.7, 0, 0, 0, 0.1],
        "induction": [0, 0.9, 0, 0.6, 0.6, 0.1],
        "duplicate_token": [0, 0, 0, 0.6, 0.4, 0.5],
        "focused": [0.5, 0.5, 0.5, 0.5, 0.5, 0.49],
        "broad": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    }
    scores = {name: torch.tensor([[row[i] for row in rows.values()]]) for i, name in enumerate(names)}
    assert heads.classify(scores).tolist() == [list(rows)]


def test_the_bootstrap_covers_the_mean_and_shrinks_with_more_texts():
    values = np.random.default_rng(0).normal(1, 1, size=(400, 2, 3))
    low, high = heads.bootstrap_interval(values)
    assert low.shape == high.shape == (2, 3)
    assert ((low < values.mean(0)) & (values.mean(0) < high)).all()
    error = 1.96 / np.sqrt(400)  # the normal interval of a mean of standard deviation 1
    np.testing.assert_allclose((high - low) / 2, error, rtol=0.2)
    few_low, few_high = heads.bootstrap_interval(values[:40])
    assert (few_high - few_low).mean() > 2 * (high - low).mean()
    with pytest.raises(ArgumentError, match="two or more"):
        heads.bootstrap_interval(values[:1])


def test_bad_patterns_are_refused():
    with pytest.raises(ArgumentError, match=r"one length; got \(3, 2\)"):
        heads.previous_token_score(torch.ones(3, 2))
    broken = PATTERN.clone()
    broken[1, 0] = torch.nan
    for score in [heads.previous_token_score, heads.entropy_share]:
        with pytest.raises(ArgumentError, match="NaN"):
            score(broken)
    for score in [heads.previous_token_score, heads.first_token_score, heads.current_token_score, heads.entropy_share,
                  heads.entropy_shares, heads.entropy_bits, lambda each: heads.value_weighted(each, torch.ones(3)),
                  lambda each: heads.target_score(each, torch.ones(3, 3, dtype=torch.bool).tril()),
                  lambda each: heads.induction_score(each, torch.tensor([4, 4, 4])),
                  lambda each: heads.duplicate_token_score(each, torch.tensor([4, 4, 4]))]:  # fmt: skip
        for wrong in [PATTERN * 1.002, PATTERN * 5, torch.tensor([[1.0, 0, 0], [1.5, -0.5, 0], [0.5, 0, 0.5]])]:
            with pytest.raises(ArgumentError, match="a row must sum to 1 with no weight below 0"):
                score(wrong)
        score(PATTERN * 1.0009)
    with pytest.raises(ArgumentError, match=r"row of \[0, 1, 2\], query last, sums to 2"):
        heads.previous_token_score(torch.stack([PATTERN, PATTERN * torch.tensor([[1.0], [1], [2]])])[None])
    thirds = (torch.ones(3, 3) / 3).bfloat16() * 1.008  # a rounding of its own
    assert heads.previous_token_score(thirds) == thirds[0, 0]
    with pytest.raises(ArgumentError, match="a token that occurs twice"):
        heads.induction_score(PATTERN, torch.tensor([1, 2, 3]))
    with pytest.raises(ArgumentError, match="two tokens or more"):
        heads.previous_token_score(torch.ones(1, 1))


def test_rows_that_do_not_count_may_be_anything():
    """Padding, and queries without a target."""
    mask, wild = torch.tensor([True, True, False]), PATTERN.clone()
    wild[2] = 0
    for score in [heads.previous_token_score, heads.first_token_score, heads.current_token_score, heads.entropy_share]:
        assert torch.equal(score(wild, mask), score(PATTERN, mask))
    with pytest.raises(ArgumentError, match="sums to 0"):
        heads.previous_token_score(wild)


def test_missing_scores_and_nan_are_refused():
    scores = {name: torch.zeros(1, 2) for name in [*heads.TARGETS, "entropy_share"]}
    assert heads.classify(scores).tolist() == [["focused", "focused"]]
    with pytest.raises(ArgumentError, match=r"'induction'. is missing"):
        heads.classify({name: value for name, value in scores.items() if name != "induction"})
    with pytest.raises(ArgumentError, match=r"'first_token'. holds NaN"):
        heads.classify({**scores, "first_token": torch.full((1, 2), torch.nan)})
    with pytest.raises(ArgumentError, match="values holds NaN"):
        heads.bootstrap_interval([[1.0], [float("nan")]])


def test_values_weigh_every_text_and_head_and_some_may_be_zero():
    pattern, norms = random_pattern(2, 3, 5, 5), torch.rand(2, 3, 5) + 0.1
    norms[..., 2] = 0
    found = heads.value_weighted(pattern, norms)
    for text, head, query in np.ndindex(2, 3, 5):
        row = pattern[text, head, query] * norms[text, head]
        torch.testing.assert_close(found[text, head, query], row / row.sum())


def test_shapes_that_would_broadcast_to_something_else_are_refused():
    pattern = random_pattern(2, 3, 3)
    for shape in [(1, 3), (4, 3, 3)]:
        with pytest.raises(ArgumentError, match="the axes before must fit"):
            heads.target_score(pattern, torch.ones(shape, dtype=torch.bool))
    for shape in [(1,), (4, 3)]:
        with pytest.raises(ArgumentError, match="a norm for each key"):
            heads.value_weighted(pattern, torch.ones(shape))


def test_a_level_is_a_share():
    for level in [0, 1, 1.5, "most"]:
        with pytest.raises(ArgumentError, match="level is"):
            heads.bootstrap_interval([[1.0], [2.0]], level=level)


def test_an_interval_needs_two_resamples():
    low, high = heads.bootstrap_interval([[1.0], [2.0]], resamples=2)
    assert 1 <= low <= high <= 2
    with pytest.raises(ArgumentError, match="resamples is 1"):
        heads.bootstrap_interval([[1.0], [2.0]], resamples=1)


def test_no_norm_is_negative():
    with pytest.raises(ArgumentError, match="must not be negative"):
        heads.value_weighted(PATTERN, torch.tensor([1.0, -0.5, 1]))


def test_the_bootstraps_draws_are_those_of_seed_0_unless_told_otherwise():
    values = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    bounds = np.stack(heads.bootstrap_interval(values))
    np.testing.assert_array_equal(bounds, np.stack(heads.bootstrap_interval(values, seed=0)))
    assert not np.array_equal(bounds, np.stack(heads.bootstrap_interval(values, seed=1)))
