"""Scores, classes and the survey: by hand, against slow loops, and against TransformerLens."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from properties import cases, random_pattern, seeded
from tiny import FAMILIES, HEADS, LAYERS, WIDTH, alone, bridge, fresh, tiny

from interp_helpers import ArgumentError, Batch, ModelError, attention, encode, load_model
from interp_helpers.attention import MORE_SCORES, SCORES, TARGETS, survey, survey_sums

PATTERN = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.25, 0.25]])
WANTED = {  # the specification of every target
    "previous_token": lambda tokens, query, key: key == query - 1,
    "first_token": lambda tokens, query, key: key == 0 < query,
    "current_token": lambda tokens, query, key: key == query > 0,
    "duplicate_token": lambda tokens, query, key: key < query and tokens[key] == tokens[query],
    "induction": lambda tokens, query, key: 0 < key <= query and tokens[key - 1] == tokens[query],
}


def slow_score(pattern, tokens, wanted):
    """Mean over queries of the attention to all keys for which `wanted` holds; pattern and tokens of one text."""
    total, queries = 0.0, 0
    for query in range(len(tokens)):
        keys = [key for key in range(len(tokens)) if wanted(tokens, query, key)]
        total, queries = total + sum(pattern[query, key].item() for key in keys), queries + bool(keys)
    return total / queries


def test_scores_by_hand():
    tokens = torch.tensor([4, 6, 4])
    by_hand = {"previous_token": 0.625, "first_token": 0.75, "current_token": 0.125, "duplicate_token": 0.5}
    for name, score in {**by_hand, "induction": 0.25}.items():
        assert attention.target_score(PATTERN, TARGETS[name](tokens)) == score
    assert attention._entropy(PATTERN).tolist() == [0, 0, 1.5]
    assert attention.entropy_share(PATTERN) == pytest.approx(1.5 / np.log2(3) / 2)


@pytest.mark.parametrize("name", TARGETS)
@cases(generator=seeded(), length=st.integers(1, 6))
def test_every_target_is_that_of_a_slow_loop_and_so_is_its_score(name, generator, length):
    tokens = torch.randint(3, (2, length), generator=generator)
    target, pattern = TARGETS[name](tokens), random_pattern(generator, 2, 4, length)
    for text, query, key in np.ndindex(2, length, length):
        assert target[text, query, key] == bool(WANTED[name](tokens[text].tolist(), query, key))
    if not target.any(-1).any(-1).all():
        with pytest.raises(ArgumentError, match="no query has a target"):
            attention.target_score(pattern, target[:, None])
        return
    scores = attention.target_score(pattern, target[:, None])
    for text, head in np.ndindex(2, 4):
        expected = slow_score(pattern[text, head], tokens[text].tolist(), WANTED[name])
        assert scores[text, head].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["previous_token", "duplicate_token", "induction"])
def test_scores_equal_those_of_transformer_lens(name, storybook, storybook_bridge):
    """detect_head's "mul" is the same sum, over all queries instead of those that have a target."""
    from transformer_lens.head_detector import detect_head

    lens, _ = storybook_bridge
    text = "The old king had three sons, and the three sons of the old king had three ships."
    theirs, tokens = detect_head(lens, text, f"{name}_head"), lens.to_tokens(text)
    with torch.no_grad():
        pattern = torch.cat(storybook[0](tokens, output_attentions=True).attentions)
    target = TARGETS[name](tokens)
    ours = attention.target_score(pattern, target) * target.any(-1).sum() / tokens.shape[1]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert ours.max() > 0.1


@cases(generator=seeded(), length=st.integers(2, 6), dtype=st.sampled_from([torch.float32, torch.float16]))
def test_entropy_is_0_for_one_key_and_1_for_an_even_spread(generator, length, dtype):
    pattern, near = random_pattern(generator, 3, length).to(dtype), 2e-2 if dtype == torch.float16 else 1e-5
    bits = attention._entropy(pattern)
    for head, query in np.ndindex(3, length):
        row = [weight for weight in pattern[head, query].tolist() if weight]
        assert bits[head, query].item() == pytest.approx(-sum(weight * np.log2(weight) for weight in row), abs=near)
    shares = bits[:, 1:] / torch.arange(2, length + 1).log2()
    share = attention.entropy_share(pattern)
    assert share.dtype == torch.float32, "half precision cannot hold what is added up"
    torch.testing.assert_close(share, shares.mean(-1).float(), atol=near, rtol=near)
    even = torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]
    assert attention.entropy_share(even) == pytest.approx(1)
    assert attention.entropy_share(torch.eye(length)) == 0


@cases(generator=seeded(), length=st.integers(2, 7))
def test_a_head_looks_at_one_key_from_the_last_query_alone(generator, length):
    """Against a slow loop over the row. The first key may be the one that is looked at."""
    pattern = torch.stack([random_pattern(generator, 3, length) for _ in range(2)])
    key = int(torch.randint(length, (), generator=generator))
    before, new = pattern.clone(), attention.look_at(pattern, 1, key)
    assert torch.equal(pattern, before)
    assert torch.allclose(new.sum(-1), torch.ones(2, 3, length))
    for text in range(2):
        first = pattern[text, 1, -1, 0].item()
        expected = [(first if at == 0 else 0) + (1 - first if at == key else 0) for at in range(length)]
        assert torch.allclose(new[text, 1, -1], torch.tensor(expected))
        new[text, 1, -1] = pattern[text, 1, -1]
    assert torch.equal(new, pattern)


def test_what_is_no_attention_is_refused():
    def previous_token_score(pattern):
        return attention.target_score(pattern, attention.previous_token_target(torch.tensor([4, 6, 4])))

    broken = PATTERN.clone()
    broken[1, 0] = torch.nan
    for score in [previous_token_score, attention.entropy_share]:
        with pytest.raises(ArgumentError, match=r"row \[1\] sums to nan"):
            score(broken)
        for wrong in [PATTERN * 1.002, torch.tensor([[1.0, 0, 0], [1.5, -0.5, 0], [0.5, 0, 0.5]])]:
            with pytest.raises(ArgumentError, match="Rows sum to 1, none below 0"):
                score(wrong)
        score(PATTERN * 1.0009)  # rounding
    with pytest.raises(ArgumentError, match=r"row \[0, 1, 2\] sums to 2"):
        previous_token_score(torch.stack([PATTERN, PATTERN * torch.tensor([[1.0], [1], [2]])])[None])
    with pytest.raises(ArgumentError, match="target_score: target must be"):  # of other tokens
        previous_token_score(torch.ones(3, 2))
    wild = PATTERN.clone()
    wild[1] = 0  # the row of a query without a target may be anything
    assert attention.target_score(wild, attention.induction_target(torch.tensor([4, 6, 4]))) == 0.25


def test_classes_follow_the_majority_and_the_stated_order():
    rows = {  # head: previous, first, current, duplicate, induction, entropy
        "previous_token": [0.51, 0, 0, 0, 0, 0.9],
        "first_token": [0.2, 0.7, 0, 0, 0, 0.1],
        "induction": [0, 0.9, 0, 0.6, 0.6, 0.1],
        "duplicate_token": [0, 0, 0, 0.6, 0.4, 0.5],
        "focused": [0.5, 0.5, 0.5, 0.5, 0.5, 0.49],
        "diffuse": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    }
    names = [*TARGETS, "entropy_share"]
    scores = {name: torch.tensor([[row[i] for row in rows.values()]]) for i, name in enumerate(names)}
    assert attention.classify(scores).tolist() == [list(rows)]
    assert set(rows) < set(attention.KINDS)
    with pytest.raises(ArgumentError, match="first_token holds NaN"):
        attention.classify({**scores, "first_token": torch.full((1, 6), torch.nan)})


def test_the_bootstrap_is_that_of_scipy_and_shrinks_with_more_texts():
    """Without SciPy's own, whose argument for the seed has changed its name: 1.14 has `random_state`, 1.15 `rng`."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).normal(1, 1, size=(400, 2, 3))
    low, high = attention.bootstrap_interval(values)
    seeded = {"random_state": np.random.default_rng(0)}  # all versions know it, under either name
    theirs = bootstrap((values,), np.mean, n_resamples=999, method="percentile", batch=100, **seeded)
    np.testing.assert_allclose([low, high], theirs.confidence_interval, atol=1e-12)
    np.testing.assert_allclose((high - low) / 2, 1.96 / np.sqrt(400), rtol=0.2)  # the normal interval
    few_low, few_high = attention.bootstrap_interval(torch.from_numpy(values[:40]))
    assert (few_high - few_low).mean() > 2 * (high - low).mean()
    assert not np.array_equal(low, attention.bootstrap_interval(values, seed=1)[0])
    assert np.isnan(attention.bootstrap_interval([[1.0], [float("nan")]])).all()  # a text without a target


def test_heads_are_pairs_in_code_and_labels_in_tables():
    scores = {"a": torch.arange(6.0).reshape(2, 3), "b": np.full((2, 3), np.nan)}
    table = attention.scores_table(scores)
    assert table.index.tolist() == attention.head_labels(2, 3) == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    layer, head = attention.top_head(scores["a"])
    assert (layer, head) == (1, 2)
    assert table.loc[attention.head_label(layer, head), "a"] == 5
    assert table["b"].isna().all()


# The survey. Texts of few different tokens, so that duplicates occur, and of unequal length.

ROWS = [[1, 2, 1, 3, 1, 2, 5, 1, 2, 1, 1, 4], [2, 2, 2, 1, 5, 2, 4], [3, 3], [1, 2, 3, 4]]


def slow_survey(family, rows):
    """Every text alone, without padding, pattern by pattern: sums (text, layer, head, score), counts (text, score)."""
    sums, counts = [], []
    for row in rows:
        out, tokens = alone(family, row), torch.tensor(row)
        pattern = torch.cat(out.attentions).double()
        moved = pattern * out.values.double().norm(dim=-1)[..., None, :]
        moved = moved / moved.sum(-1, keepdim=True)
        targets = [make(tokens) for make in TARGETS.values()]
        shares = attention._entropy(pattern)[..., 1:] / torch.arange(2, len(row) + 1).log2()
        totals = [(pattern * target).sum((-2, -1)) for target in targets] + [moved[..., 1:, 0].sum(-1), shares.sum(-1)]
        sums.append(torch.stack(totals, -1))
        counts.append(torch.tensor([*(target.any(-1).sum() for target in targets), len(row) - 1, len(row) - 1]))
    return torch.stack(sums), torch.stack(counts).double()


@pytest.mark.parametrize("model", ["transformers", "bridge"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_survey_equals_scoring_each_text_by_itself(family, model):
    surveyed = tiny(family) if model == "transformers" else bridge(family)
    sums, counts = slow_survey(family, ROWS)
    expected = {name: sums.sum(0)[..., i] / counts.sum(0)[i] for i, name in enumerate(SCORES)}
    batches = [Batch.from_rows(ROWS[:3]), torch.tensor(ROWS[3:])]
    for given in (batches, iter(batches), [Batch.from_rows(ROWS)], [torch.tensor([row]) for row in ROWS]):
        scores = survey(surveyed, given)
        assert list(scores) == SCORES
        for name, score in scores.items():
            assert score.shape == (LAYERS, HEADS)
            assert score.dtype == torch.float64
            assert not score.requires_grad  # else the first batch's activations would stay to the last
            torch.testing.assert_close(score, expected[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@cases(rows=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=3))
def test_sums_of_all_texts_are_those_of_its_parts(family, rows):
    whole = survey_sums(tiny(family), [Batch.from_rows(rows)])
    parts = [survey_sums(tiny(family), [torch.tensor([row])]) for row in rows]
    per_text = survey_sums(tiny(family), [Batch.from_rows(rows)], per_text=True)
    for of_all, of_parts, of_texts in zip(whole, zip(*parts), per_text):
        torch.testing.assert_close(of_all, sum(of_parts), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(of_texts, torch.cat(of_parts), atol=1e-5, rtol=1e-5)
    means, queries = survey(tiny(family), [Batch.from_rows(rows)], per_text=True), dict(zip(SCORES, per_text[1].T))
    assert list(means) == [name for name in SCORES if queries[name].any()]  # none when all texts are of one token
    for name, score in means.items():  # NaN for a text without a target
        assert score.isnan().any(-1).any(-1).tolist() == queries[name].eq(0).tolist()


def test_scores_without_a_target_are_left_out():
    assert set(SCORES) - set(survey(tiny("gpt2"), [torch.arange(1, 9)[None]])) == {"duplicate_token", "induction"}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_targets_take_the_place_of_the_five(family):
    seen, batch = [], Batch.from_rows(ROWS)

    def every_key(tokens):
        seen.append(tokens)
        return torch.ones(*tokens.shape, tokens.shape[1], dtype=torch.bool)

    def no_key(tokens):
        return ~every_key(tokens)

    targets = {"nothing": no_key, "again": TARGETS["induction"], "everything": every_key}
    scores, usual = survey(tiny(family), [batch], targets=targets), survey(tiny(family), [batch])
    assert list(scores) == ["again", "everything", *MORE_SCORES], "no query has a target that is nothing"
    for name, same in {"again": "induction", **{name: name for name in MORE_SCORES}}.items():
        torch.testing.assert_close(scores[name], usual[same], atol=1e-12, rtol=0)
    torch.testing.assert_close(scores["everything"], torch.ones(LAYERS, HEADS).double(), atol=1e-6, rtol=0)
    _, counts = survey_sums(tiny(family), [batch], targets=targets, per_text=True)
    assert counts[:, 2].tolist() == [len(row) for row in ROWS], "queries of padding do not count"
    assert torch.equal(seen[0], batch.tokens), "padding is among the tokens that a target sees"
    alone = survey(tiny(family), [batch], targets={})
    assert list(alone) == MORE_SCORES
    assert all(torch.equal(alone[name], usual[name]) for name in MORE_SCORES)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda tokens: TARGETS["induction"](tokens).float(), r"torch.float32 of \(4, 12, 12\)"),
        (lambda tokens: TARGETS["induction"](tokens)[:, :, :1], r"torch.bool of \(4, 12, 1\)"),
        (lambda tokens: tokens > 1, r"torch.bool of \(4, 12\)"),
    ],
)
def test_what_is_no_target_is_refused(make, got):
    with pytest.raises(ArgumentError, match=r"'mine' must be \(text, query, key\), here .*\(4, 12, 12\); it is " + got):
        survey(tiny("gpt2"), [Batch.from_rows(ROWS)], targets={"mine": make})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bridge_is_surveyed_as_its_hooks_change_it(family):
    """Layer 0 silenced: its own patterns stay, since they come before; those of layer 1 are others."""
    lens, batch = bridge(family), Batch.from_rows(ROWS)
    plain = survey(lens, [batch])
    with lens.hooks(fwd_hooks=[("blocks.0.attn.hook_z", lambda z, hook: z * 0)]):
        silenced = survey(lens, [batch])
    for name in SCORES:
        torch.testing.assert_close(silenced[name][0], plain[name][0])
    assert (silenced["entropy_share"][1] - plain["entropy_share"][1]).abs().max() > 1e-3
    torch.testing.assert_close(survey(lens, [batch])["entropy_share"], plain["entropy_share"])  # hooks are gone


def test_padding_on_the_left_cannot_be_made_and_on_the_right_changes_nothing():
    """Of a text of two tokens, padded on the left, entropy's share once was 0.25 where 1 is right."""
    tokens, mask = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[False, False, True, True]])
    with pytest.raises(ArgumentError, match="on the right"):
        Batch(tokens, mask)
    even = fresh("gpt2")
    with torch.no_grad():
        for layer in even.transformer.h:  # no query and no key differs from another
            layer.attn.c_attn.weight[:, : 2 * WIDTH] = layer.attn.c_attn.bias[: 2 * WIDTH] = 0
    padded = Batch(torch.tensor([[1, 2, 0, 0], [1, 2, 3, 1]]), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]))
    torch.testing.assert_close(survey(even, [padded], per_text=True)["entropy_share"], torch.ones(2, 2, 4).double())


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_models_are_surveyed_too(family):
    exact = survey(tiny(family), [Batch.from_rows(ROWS)])
    rounded = survey(fresh(family).bfloat16(), [Batch.from_rows(ROWS)])
    for name in SCORES:
        torch.testing.assert_close(rounded[name], exact[name], atol=2e-2, rtol=0)


def test_layers_may_be_on_another_device_than_the_tokens(monkeypatch):
    """Device "meta" holds no numbers, but refuses to mix with others. All goes well up to the copy to the CPU."""
    from contextlib import contextmanager

    @contextmanager
    def visit_elsewhere(model, visit, values):
        visit(0, torch.ones(1, 4, 3, 3, device="meta"), torch.ones(1, 4, 3, 2, device="meta"))
        yield

    monkeypatch.setattr(attention, "visit_attention", visit_elsewhere)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        survey(tiny("gpt2"), [torch.tensor([[1, 2, 1]])])


def test_memory_holds_one_layer_of_patterns():
    """The pattern of a layer is freed before that of the next is made, in whatever way the survey visits it."""
    alive, visit_attention = [], attention.visit_attention

    def watching(model, visit, **options):
        def watched(layer, pattern, values):
            assert not [one for one in alive if one() is not None]
            alive.append(weakref.ref(pattern))
            visit(layer, pattern, values)

        return visit_attention(model, watched, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "visit_attention", watching)
        survey(tiny("gpt2"), [torch.tensor([[1, 2, 1]])])
    assert len(alive) == LAYERS


def test_a_survey_leaves_no_hooks(monkeypatch):
    model = fresh("gpt2")

    def hooks():
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())

    survey(model, [torch.tensor([[1, 2]])])
    assert hooks() == 0
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, 0] = torch.nan
    with pytest.raises(ArgumentError, match="The attention of layer 1 holds NaN"):
        survey(model, [torch.tensor([[1, 2]])])
    assert hooks() == 0


def test_models_and_texts_that_cannot_be_surveyed_are_refused(folders):
    from transformers import AutoModelForCausalLM

    hidden = AutoModelForCausalLM.from_pretrained(folders["gpt2"], attn_implementation="sdpa").eval()
    for model, batches, error, message in [
        (fresh("gpt2").train(), [torch.tensor([[1, 2]])], ModelError, "train mode"),
        (hidden, [torch.tensor([[1, 2]])], ModelError, "no attention pattern"),
    ]:
        with pytest.raises(error, match=message):
            survey(model, batches)


def test_storybook_has_heads_of_a_kind_and_its_twin_has_none(storybook):
    model, tokenizer = storybook
    text = "The cat saw the dog, and the dog saw the cat, and the cat ran to the house of the dog."
    twin, _ = load_model("storybook", device="cpu", untrained=True)
    tokens = encode(tokenizer, text)
    assert survey(model, [tokens])["previous_token"].max() > 0.5
    scores = survey(twin, [tokens])
    assert set(attention.classify(scores).flat) == {"diffuse"}
    assert scores["entropy_share"].min() > 0.9


def test_the_top_head_is_no_gap_of_a_sweep():
    assert attention.top_head(torch.tensor([[torch.nan, 0.2], [0.1, torch.nan]])) == (0, 1)


def test_heads_without_scores_on_repeated_tokens_get_no_class():
    scores = {name: torch.zeros(1, 2) for name in [*TARGETS, "entropy_share"] if name != "induction"}
    with pytest.raises(ArgumentError, match=r"no scores of \{'induction'\}; survey repeated_random_tokens"):
        attention.classify(scores)


# Half precision
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


@HALVES
def test_scores_of_long_patterns_in_half_precision_are_those_of_the_same_numbers_in_full(dtype):
    """Positions above 256 and sums above 2048 are no numbers of half precision."""
    pattern = torch.rand(600, 600, generator=torch.Generator().manual_seed(0)).tril()
    pattern = (pattern / pattern.sum(-1, keepdim=True)).to(dtype)
    target = attention.previous_token_target(torch.arange(600))
    exact = pattern.double()
    shares = -(exact * exact.clamp_min(1e-300).log2()).sum(-1)[1:] / torch.arange(2, 601).double().log2()
    for found, wanted in [
        (attention.target_score(pattern, target), exact.diagonal(-1).mean()),
        (attention.entropy_share(pattern), shares.mean()),
    ]:
        torch.testing.assert_close(found, wanted.float(), atol=1e-6, rtol=1e-5)


@HALVES
def test_tables_and_intervals_take_half_precision(dtype):
    scores = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = scores.double().numpy()
    assert attention.top_head(scores) == divmod(exact.argmax(), 3)
    assert (attention.scores_table({"score": scores})["score"].to_numpy() == exact.ravel()).all()
    for found, wanted in zip(attention.bootstrap_interval(scores), attention.bootstrap_interval(exact)):
        assert (found == wanted).all()


@HALVES
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_half_precision_is_surveyed_as_one_with_the_same_weights_in_full(dtype, family):
    half = fresh(family).to(dtype)
    full = fresh(family).to(dtype).float()
    tokens = torch.tensor([[5, 6, 7, 5, 6, 7, 8, 5]])
    for name, score in survey(half, [tokens]).items():
        torch.testing.assert_close(score, survey(full, [tokens])[name], atol=0.05, rtol=0)
