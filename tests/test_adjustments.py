"""Rows and regressions against slow loops, statsmodels and scikit-learn, and the outputs that they come from."""

import numpy as np
import pytest
import torch

from interp_helpers import (
    ArgumentError,
    adjustments,
    attention_output_norms,
    attention_outputs,
    load_bridge,
    load_model,
    load_sentences,
    token_batches,
)
from interp_helpers.capture import visit_attention_outputs
from interp_helpers.texts import pad


@pytest.fixture(params=["gpt2", "gpt-neo", "llama"])
def pair(request, folders):
    return load_model(str(folders[request.param]), device="cpu")


@pytest.fixture
def measured():
    """(values, mask): two layers, twelve sentences of 4 to 12 tokens; NaN where there is none."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(12) < torch.randint(4, 13, (12, 1), generator=generator)
    values = torch.randn(2, 12, 12, generator=generator, dtype=torch.float64).cumsum(-1)
    return values.masked_fill(~mask, torch.nan), mask


def batches(count=5):
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 20, (count,), generator=generator).tolist()
    rows = [torch.randint(8192, (length,), generator=generator).tolist() for length in lengths]
    return [pad(rows[:2]), pad(rows[2:])], rows


def test_outputs_are_what_attention_adds_to_the_stream(pair, folders):
    model, _ = pair
    family = {"gpt2": "gpt2", "gpt_neo": "gpt-neo", "llama": "llama"}[model.config.model_type]
    bridge, _ = load_bridge(str(folders[family]), device="cpu")
    tokens = torch.randint(8192, (2, 9), generator=torch.Generator().manual_seed(0))
    found = attention_outputs(model, tokens)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(tokens)
    assert found.shape == (2, 2, 9, 32)
    for layer in range(2):
        torch.testing.assert_close(found[layer], cache["attn_out", layer], atol=1e-5, rtol=1e-5)
        added = cache["resid_mid", layer] - cache["resid_pre", layer]
        torch.testing.assert_close(found[layer], added, atol=1e-5, rtol=1e-4)


def test_outputs_leave_out_the_stream_that_blooms_attention_adds_to_them():
    from transformers import BloomConfig, BloomForCausalLM

    torch.manual_seed(0)
    config = BloomConfig(n_layer=2, n_head=2, hidden_size=8, vocab_size=16, attn_implementation="eager")
    model, tokens, streams = BloomForCausalLM(config).eval(), torch.randint(16, (2, 9)), []
    for block in model.transformer.h:
        for norm in (block.input_layernorm, block.post_attention_layernorm):
            norm.register_forward_pre_hook(lambda module, given: streams.append(given[0].detach()))
    found, (before, between, second, last) = attention_outputs(model, tokens), streams
    torch.testing.assert_close(found, torch.stack([between - before, last - second]), atol=1e-6, rtol=1e-5)


def test_norms_of_batches_equal_one_text_at_a_time(pair):
    model, _ = pair
    made, rows = batches()
    norms, mask = attention_output_norms(model, made)
    assert norms.shape == (2, 5, max(map(len, rows)))
    assert torch.equal(mask.sum(1), torch.tensor([len(row) for row in rows]))
    assert torch.equal(torch.isnan(norms), ~mask.expand(2, -1, -1))
    for number, row in enumerate(rows):
        alone = attention_outputs(model, torch.tensor([row])).double().norm(dim=-1)[:, 0]
        torch.testing.assert_close(norms[:, number, : len(row)], alone, atol=1e-5, rtol=1e-4)


def test_hooks_are_gone_afterwards_also_after_an_exception(pair):
    model, _ = pair

    def hooks():
        return sum(len(module._forward_hooks) for module in model.modules())

    before = hooks()

    def fail(layer, output):
        assert hooks() == before + 2
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), visit_attention_outputs(model, fail):
        model(torch.zeros(1, 2, dtype=torch.long))
    assert hooks() == before
    attention_outputs(model, torch.zeros(1, 2, dtype=torch.long))
    assert hooks() == before


def test_outputs_that_are_not_numbers_are_refused(folders):
    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    model.transformer.h[1].attn.c_proj.bias.data.fill_(torch.nan)
    with pytest.raises(ArgumentError, match="what layer 1 adds holds NaN"):
        attention_output_norms(model, batches()[0])
    with pytest.raises(ArgumentError, match="at least one batch"):
        attention_output_norms(model, [])
    tokens = torch.zeros(1, 2, dtype=torch.long)
    for batch in [(tokens, tokens[0]), tokens[0], (tokens,)]:
        with pytest.raises(ArgumentError, match=r"must both be|must be \(text, position\)|a batch is \(tokens, mask\)"):
            attention_output_norms(model, [batch])
    with pytest.raises(ArgumentError, match="padding must stand on the right"):
        attention_output_norms(model, [(torch.zeros(1, 2, dtype=torch.long), torch.tensor([[False, True]]))])


def test_an_integer_mask_counts_as_a_boolean_one(pair):
    model, _ = pair
    (tokens, mask), _ = batches()[0]
    found, kept = attention_output_norms(model, [(tokens, mask.long())])
    assert kept.dtype == torch.bool
    torch.testing.assert_close(found, attention_output_norms(model, [(tokens, mask)])[0], equal_nan=True)


def test_by_hand():
    mask = torch.tensor([[True, True, True], [True, True, False]])
    values = torch.tensor([[[1.0, 2, 6], [3, 4, torch.nan]]], dtype=torch.float64)
    assert adjustments.mean_by_position(values, mask).tolist() == [[2, 3, 6]]
    rows = adjustments.position_rows(values, mask, first=1)
    assert (rows.y.tolist(), rows.X[0, :, 0].tolist()) == ([[2, 6, 4]], [1, 2, 1])
    assert (rows.sentence.tolist(), rows.position.tolist()) == ([0, 0, 1], [1, 2, 1])
    rows = adjustments.position_rows(values, mask, first=0, last=2)
    assert rows.position.tolist() == [0, 1, 0, 1], "last is the first that is left out"
    rows = adjustments.lag_rows(values, mask, lags=2, first=0)
    assert (rows.y.tolist(), rows.X.tolist(), rows.names) == ([[6]], [[[2, 1]]], ["t-1", "t-2"])
    line = adjustments.Rows(
        torch.tensor([[1.0, 3, 5, 7]], dtype=torch.float64),
        torch.arange(4.0, dtype=torch.float64)[None, :, None],
        torch.tensor([0, 0, 1, 1]),
        torch.arange(4),
        ["position"],
    )
    fit = adjustments.regress(line._replace(y=line.y + torch.tensor([0.0, 1, -1, 0])))
    assert fit.table.loc[(0, "position"), "coefficient"] == pytest.approx(1.8)  # (-1.5*1 - .5*4 + .5*4 + 1.5*7) / 5
    assert fit.table.loc[(0, "intercept"), "coefficient"] == pytest.approx(4 - 1.5 * 1.8)
    assert fit.r2[0] == pytest.approx(1.8**2 * 5 / (9 + 0 + 0 + 9))


def test_means_equal_a_slow_loop(measured):
    values, mask = measured
    found = adjustments.mean_by_position(values, mask)
    for layer in range(2):
        for position in range(12):
            there = [values[layer, sentence, position].item() for sentence in range(12) if mask[sentence, position]]
            assert found[layer, position].item() == pytest.approx(np.mean(there), abs=1e-9)


@pytest.mark.parametrize(("lags", "first"), [(1, 0), (2, 1), (3, 2)])
def test_lag_rows_equal_a_slow_loop(measured, lags, first):
    values, mask = measured
    rows = adjustments.lag_rows(values, mask, lags=lags, first=first)
    slow = [
        (sentence, position)
        for sentence in range(12)
        for position in range(12)
        if mask[sentence, position] and position - lags >= first
    ]
    assert list(zip(rows.sentence.tolist(), rows.position.tolist())) == slow
    for layer in range(2):
        for row, (sentence, position) in enumerate(slow):
            assert rows.y[layer, row] == values[layer, sentence, position]
            for lag in range(lags):
                assert rows.X[layer, row, lag] == values[layer, sentence, position - lag - 1]


def test_regressions_equal_scikit_learn_and_the_formula_of_clustered_errors(measured):
    from scipy.stats import t
    from sklearn.linear_model import LinearRegression

    rows = adjustments.lag_rows(*measured)
    table, r2 = adjustments.regress(rows)
    groups = np.unique(rows.sentence)
    for layer in range(2):
        y, X = rows.y[layer].numpy(), rows.X[layer].numpy()
        line = LinearRegression().fit(X, y)
        found = table.loc[layer]
        np.testing.assert_allclose(found["coefficient"], [line.intercept_, *line.coef_], atol=1e-6)
        assert r2[layer] == pytest.approx(line.score(X, y), abs=1e-6)
        design = np.column_stack([np.ones(len(y)), X])
        residual, bread = y - line.predict(X), np.linalg.inv(design.T @ design)
        n, k, g = *design.shape, len(groups)
        half = np.sqrt(np.diag(bread) * (residual @ residual) / (n - k)) * t.ppf(0.975, n - k)
        np.testing.assert_allclose(found["high"] - found["coefficient"], half, atol=1e-6)
        meat = np.zeros((k, k))
        for group in groups:
            score = design[rows.sentence == group].T @ residual[rows.sentence == group]
            meat += np.outer(score, score)
        errors = np.sqrt(np.diag(bread @ meat @ bread) * g / (g - 1) * (n - 1) / (n - k))
        half = errors * t.ppf(0.975, g - 1)
        np.testing.assert_allclose(found["clustered high"] - found["coefficient"], half, atol=1e-6)
        np.testing.assert_allclose(found["coefficient"] - found["clustered low"], half, atol=1e-6)


def test_held_out_r2_equals_a_slow_loop_and_is_no_better_than_in_sample(measured):
    from sklearn.model_selection import GroupKFold

    rows = adjustments.lag_rows(*measured)
    found = adjustments.held_out_r2(rows, folds=4)
    for layer in range(2):
        y, X = rows.y[layer].numpy(), np.column_stack([np.ones(len(rows.sentence)), rows.X[layer].numpy()])
        predicted = np.empty_like(y)
        for train, test in GroupKFold(4).split(X, y, rows.sentence.numpy()):
            assert not set(rows.sentence[train].tolist()) & set(rows.sentence[test].tolist())
            predicted[test] = X[test] @ np.linalg.lstsq(X[train], y[train], rcond=None)[0]
        expected = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert found[layer] == pytest.approx(expected, abs=1e-6)
    assert (found < adjustments.regress(rows).r2).all()


def test_a_fixed_effect_equals_a_regression_with_dummies(measured):
    rows = adjustments.position_rows(*measured, first=0)
    groups = rows.position % 3 + rows.sentence % 2 * 3
    found = adjustments.regress(adjustments.within(rows, groups)).table["coefficient"].xs("position", level="term")
    dummies = (groups[:, None] == groups.unique()).double().numpy()
    for layer in range(2):
        design = np.column_stack([rows.X[layer].numpy(), dummies])
        slow = np.linalg.lstsq(design, rows.y[layer].numpy(), rcond=None)[0]
        assert found[layer] == pytest.approx(slow[0], abs=1e-6)


def test_a_fixed_effect_leaves_out_groups_of_one(measured):
    rows = adjustments.position_rows(*measured)
    groups = torch.arange(len(rows.sentence))
    groups[1] = 0
    assert adjustments.within(rows, groups).y.shape == (2, 2)
    with pytest.raises(ArgumentError, match="one row only"):
        adjustments.within(rows, torch.arange(len(rows.sentence)))


def test_rows_that_repeat_a_sentence_fool_ordinary_errors_only():
    """Every sentence ten times over: ordinary intervals shrink, clustered ones hardly, which is what they are for."""
    generator = torch.Generator().manual_seed(0)
    sentence = torch.arange(30)
    x = torch.randn(1, 30, 1, generator=generator, dtype=torch.float64)
    y = x[..., 0] + torch.randn(1, 30, generator=generator, dtype=torch.float64)
    widths = []
    for copies in (1, 10):
        rows = adjustments.Rows(
            y.repeat(1, copies), x.repeat(1, copies, 1), sentence.repeat(copies), sentence.repeat(copies), ["x"]
        )
        found = adjustments.regress(rows).table.loc[(0, "x")]
        widths.append((found["high"] - found["low"], found["clustered high"] - found["clustered low"]))
    assert widths[1][0] < widths[0][0] / 3
    assert widths[1][1] == pytest.approx(widths[0][1], rel=0.1)


def test_bad_requests_are_refused(measured):
    values, mask = measured
    for function in [adjustments.mean_by_position, adjustments.position_rows, adjustments.lag_rows]:
        with pytest.raises(ArgumentError, match="must be boolean"):
            function(values, mask.long())
        with pytest.raises(ArgumentError, match="last two axes"):
            function(values, mask[:, 1:])
        with pytest.raises(ArgumentError, match="NaN or infinity"):
            function(values, torch.ones_like(mask))
    for function in [adjustments.position_rows, adjustments.lag_rows]:
        with pytest.raises(ArgumentError, match=r"values must be \(layer, sentence, position\)"):
            function(values[0], mask)
    with pytest.raises(ArgumentError, match="folds is 1"):
        adjustments.held_out_r2(adjustments.position_rows(values, mask), folds=1)
    with pytest.raises(ArgumentError, match="rows and groups of shape"):
        adjustments.within(adjustments.position_rows(values, mask), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ArgumentError, match="lags is 0"):
        adjustments.lag_rows(values, mask, lags=0)
    with pytest.raises(ArgumentError, match="no sentence is long enough"):
        adjustments.lag_rows(values, mask, lags=12)
    for first in [-1, -2]:
        with pytest.raises(ArgumentError, match=r"first is -\d; it must be a whole number, 0 or more"):
            adjustments.lag_rows(values, mask, first=first)
    left = mask.flip(1)
    with pytest.raises(ArgumentError, match="padding must stand on the right"):
        adjustments.lag_rows(values.flip(2), left)
    rows = adjustments.position_rows(values, mask)
    one = adjustments.Rows(rows.y[:, :3], rows.X[:, :3], rows.sentence[:3] * 0, rows.position[:3], rows.names)
    for refuse in [adjustments.regress, adjustments.held_out_r2]:
        with pytest.raises(ArgumentError, match="from 1 sentences"):
            refuse(one)
        with pytest.raises(ArgumentError, match="NaN or infinity"):
            refuse(rows._replace(y=rows.y * torch.nan))
    for refuse in [adjustments.regress, adjustments.held_out_r2]:
        with pytest.raises(ArgumentError, match="never changes"):
            refuse(rows._replace(X=torch.ones_like(rows.X)))
        with pytest.raises(ArgumentError, match="nothing to explain"):
            refuse(rows._replace(y=torch.ones_like(rows.y)))


def test_on_the_reviews_every_token_counts_once(storybook):
    model, tokenizer = storybook
    made = token_batches(tokenizer, load_sentences()["text"][:6], context=256, size=4)
    norms, mask = attention_output_norms(model, made)
    assert torch.equal(mask.sum(), sum(each.sum() for _, each in made))
    assert (norms[:, mask] > 0).all()


def test_by_default_the_first_token_is_left_out_and_positions_end_before_30():
    values, mask = torch.arange(32.0, dtype=torch.float64)[None, None], torch.ones(1, 32, dtype=torch.bool)
    assert adjustments.position_rows(values, mask).position.tolist() == list(range(1, 30))
    rows = adjustments.lag_rows(values, mask)
    assert rows.names == ["t-1", "t-2"]
    assert rows.position.tolist() == list(range(3, 32)), (
        "position 3 is the first with two tokens but the first before it"
    )


def test_a_regression_needs_one_row_more_than_it_has_terms():
    """Two points always lie on a line; three need not."""
    y, X = torch.tensor([[1.0, 3, 2]], dtype=torch.float64), torch.arange(3.0, dtype=torch.float64)[None, :, None]
    rows = adjustments.Rows(y, X, torch.tensor([0, 1, 1]), torch.arange(3), ["position"])
    assert adjustments.regress(rows).r2[0] == pytest.approx(0.25)  # slope and correlation are one half
    with pytest.raises(ArgumentError, match="2 rows from 2 sentences"):
        adjustments.regress(adjustments.Rows(y[:, :2], X[:, :2], rows.sentence[:2], rows.position[:2], rows.names))


def test_two_folds_by_hand():
    """y = x in one sentence and y = 2x in the other; each is predicted from the other."""
    y = torch.tensor([[0.0, 1, 0, 2]], dtype=torch.float64)
    X = torch.tensor([0.0, 1, 0, 1], dtype=torch.float64)[None, :, None]
    rows = adjustments.Rows(y, X, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), ["position"])
    assert adjustments.held_out_r2(rows, folds=2)[0] == pytest.approx(1 - (1**2 + 1**2) / (4 * 0.6875))


def test_a_hole_in_a_text_is_no_padding_on_the_right():
    mask = torch.tensor([[True, False, True]])
    with pytest.raises(ArgumentError, match="padding must stand on the right"):
        adjustments.mean_by_position(torch.ones(1, 3), mask)


def test_one_layer_that_cannot_be_explained_is_enough(measured):
    rows = adjustments.position_rows(*measured)
    flat = rows.y.clone()
    flat[1] = 3
    for refuse in [adjustments.regress, adjustments.held_out_r2]:
        with pytest.raises(ArgumentError, match="in one layer all values are the same"):
            refuse(rows._replace(y=flat))
        with pytest.raises(ArgumentError, match="never changes"):
            refuse(rows._replace(y=rows.y[:1], X=torch.ones_like(rows.X[:1])))


def test_five_folds_need_five_sentences(measured):
    values, mask = measured
    assert adjustments.held_out_r2(adjustments.position_rows(values[:, :5], mask[:5])).shape == (2,)
    with pytest.raises(ArgumentError, match="from 4 sentences"):
        adjustments.held_out_r2(adjustments.position_rows(values[:, :4], mask[:4]))


def test_values_may_carry_gradients(measured):
    rows = adjustments.lag_rows(*measured)
    carrying = rows._replace(y=rows.y.clone().requires_grad_(), X=rows.X.clone().requires_grad_())
    assert adjustments.regress(carrying).table.equals(adjustments.regress(rows).table)
    np.testing.assert_array_equal(adjustments.held_out_r2(carrying), adjustments.held_out_r2(rows))


def test_no_position_is_before_the_first(measured):
    with pytest.raises(ArgumentError, match="first is -1"):
        adjustments.position_rows(*measured, first=-1)
    assert adjustments.position_rows(*measured, first=0).position.min() == 0
