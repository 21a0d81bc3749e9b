"""Attention outputs against the residual stream; rows and regressions against slow loops, statsmodels, scikit-learn."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
import transformers
from hypothesis import strategies as st
from properties import cases, seeded
from tiny import FAMILIES, HEADS, VOCABULARY, added, bridge, bridge_of, fresh, tiny

from interp_helpers import ArgumentError, ModelError, TextError, adjustments, hooks, load_sentences, token_batches
from interp_helpers.adjustments import attention_output_norms, attention_outputs
from interp_helpers.text import Batch

TOKENS = torch.tensor([[1, 2, 3]])
TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17, 18], [19]]


@pytest.fixture
def measured():
    """(values, mask): two layers, twelve sentences of 4 to 12 tokens; NaN where there is none."""
    return random_values(torch.Generator().manual_seed(0), 2, 12)


def random_values(generator, layers, sentences, longest=12):
    mask = torch.arange(longest) < torch.randint(4, longest + 1, (sentences, 1), generator=generator)
    values = torch.randn(layers, sentences, longest, generator=generator, dtype=torch.float64).cumsum(-1)
    return values.masked_fill(~mask, torch.nan), mask


# What attention adds


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_z_through_the_output_matrix(family):
    batch = Batch.from_rows(TEXTS)
    outputs = attention_outputs(tiny(family), batch)
    assert outputs.shape == (2, 4, 7, 16)
    for number, row in enumerate(TEXTS):
        torch.testing.assert_close(outputs[:, number, : len(row)], added(family, row), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_what_transformerlens_sees(family):
    tokens = torch.tensor(TEXTS[:1])
    with torch.no_grad():
        _, cached = bridge(family).run_with_cache(tokens)
    for layer, output in enumerate(attention_outputs(tiny(family), tokens)):
        torch.testing.assert_close(output, cached["attn_out", layer], atol=1e-5, rtol=1e-4)
        difference = cached["resid_mid", layer] - cached["resid_pre", layer]
        torch.testing.assert_close(output, difference, atol=1e-5, rtol=1e-4)


def test_tokens_alone_are_a_batch_without_padding():
    """Regression: a pair was promised to work, and raised AttributeError."""
    tokens = torch.tensor([TEXTS[0]])
    outputs = attention_outputs(tiny("gpt2"), tokens)
    assert torch.equal(outputs, attention_outputs(tiny("gpt2"), Batch(tokens)))
    with pytest.raises(ArgumentError, match="tokens must be Int"):
        attention_outputs(tiny("gpt2"), (tokens, torch.ones_like(tokens)))


def granite(**options):
    torch.manual_seed(0)
    config = transformers.GraniteConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=32, attn_implementation="eager", pad_token_id=0, **options,
    )  # fmt: skip
    model = transformers.GraniteForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@torch.no_grad()
def test_all_that_a_granite_adds_is_its_final_stream():
    """Regression: the residual multiplier was left out, so that outputs were 4 times too large."""
    model, tokens, mlps = granite(residual_multiplier=0.25, embedding_multiplier=3.0), torch.tensor([[3, 1, 4, 1]]), []
    for layer in model.model.layers:
        layer.mlp.register_forward_hook(lambda module, inputs, output: mlps.append(output))
    with hooks.record_inputs([hooks.layout(model).final_norm]) as streams:
        outputs = attention_outputs(model, tokens)
    embedded = model.get_input_embeddings()(tokens) * 3.0
    total = embedded + outputs.sum(0) + 0.25 * sum(mlps)
    torch.testing.assert_close(total, streams[0], atol=1e-5, rtol=1e-5)
    normed = model(tokens, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(hooks.layout(model).final_norm(total), normed, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(total, embedded + 4 * outputs.sum(0) + 0.25 * sum(mlps), atol=0.1)


def test_outputs_leave_out_the_stream_that_blooms_attention_adds_to_them():
    torch.manual_seed(0)
    config = transformers.BloomConfig(n_layer=2, n_head=2, hidden_size=8, vocab_size=16, attn_implementation="eager")
    model, tokens = transformers.BloomForCausalLM(config).eval(), torch.randint(16, (2, 9))
    norms = [norm for block in model.transformer.h for norm in (block.input_layernorm, block.post_attention_layernorm)]
    with hooks.record_inputs(norms) as streams:
        outputs = attention_outputs(model, tokens)
    before, between, second, last = streams
    torch.testing.assert_close(outputs, torch.stack([between - before, last - second]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["Gemma2", "Olmo2"])
def test_a_norm_behind_attention_is_refused_in_a_sentence(family):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = getattr(transformers, f"{family}Config")(**sizes, num_key_value_heads=2, vocab_size=32, pad_token_id=0)
    model, tokens = getattr(transformers, f"{family}ForCausalLM")(config).eval(), torch.tensor([[1, 2, 3]])
    for call in [lambda: attention_outputs(model, tokens), lambda: attention_output_norms(model, [tokens])]:
        with pytest.raises(ModelError, match="attention and MLP write does not add up to the residual stream"):
            call()


def test_outputs_of_a_model_on_several_devices_are_stacked_on_the_first(monkeypatch):
    """Regression: torch.stack raised for layers on different devices. These devices are pretended."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    @contextmanager
    def visit_layers(model, visit):
        yield
        with FakeTensorMode():
            for layer, device in enumerate(["cpu", "cuda:0"]):
                visit(layer, torch.zeros(1, 3, 16, device=device))

    monkeypatch.setattr(adjustments, "visit_attention_outputs", visit_layers)
    outputs = attention_outputs(tiny("gpt2"), TOKENS)
    assert (outputs.shape, outputs.device.type) == ((2, 1, 3, 16), "cpu")


@cases(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), size=st.integers(1, 3), seed=seeded(),
    family=st.sampled_from(FAMILIES),
)  # fmt: skip
def test_norms_of_batches_equal_one_text_at_a_time(lengths, size, seed, family):
    rows = [torch.randint(VOCABULARY, (length,), generator=seed).tolist() for length in lengths]
    batches = [Batch.from_rows(rows[first : first + size]) for first in range(0, len(rows), size)]
    norms, mask = attention_output_norms(tiny(family), batches)
    assert norms.shape == (2, len(rows), max(lengths))
    assert (norms.dtype, mask.dtype) == (torch.float64, torch.bool)
    assert mask.sum(1).tolist() == lengths
    assert torch.equal(norms.isnan(), ~mask.expand(2, -1, -1))
    for number, row in enumerate(rows):
        alone = added(family, row).double().norm(dim=-1)
        torch.testing.assert_close(norms[:, number, : len(row)], alone, atol=1e-5, rtol=1e-4)


def test_outputs_that_are_not_numbers_are_refused():
    model = fresh("gpt2")
    model.transformer.h[1].attn.c_proj.bias.data.fill_(torch.nan)
    with pytest.raises(ModelError, match=r"does not add up to the residual stream .*NaN"):
        attention_output_norms(model, [torch.tensor([[1, 2]])])


def test_texts_that_the_model_cannot_read_are_refused():
    model = tiny("gpt2")
    with pytest.raises(TextError, match="17 tokens; the model reads 16 at most"):
        attention_outputs(model, torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(ArgumentError, match=f"ids go from 0 to {VOCABULARY - 1}"):
        attention_output_norms(model, [torch.tensor([[5, VOCABULARY]])])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_heads_take_from_every_key_and_the_constant_are_what_attention_adds(family):
    batch = Batch.from_rows(TEXTS)
    for layer, output in enumerate(attention_outputs(tiny(family), batch)):
        pattern, written, constant = adjustments.written_by_key(bridge(family), batch, layer)
        assert written.shape == (4, HEADS, 7, 16)
        together = torch.einsum("thqk,thkm->tqm", pattern, written) + constant
        torch.testing.assert_close(together[batch.mask], output[batch.mask], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_constant_is_what_is_left_when_all_other_weights_on_values_are_zero(family):
    """An intervention: with W_V at zero, attention can only add its biases."""
    *_, constant = adjustments.written_by_key(bridge(family), TOKENS, 1)
    changed = bridge_of(fresh(family))
    bias = getattr(changed.blocks[1].attn, "b_V", None)
    new = torch.zeros(()) if bias is None else bias.reshape(-1, 4)
    with torch.no_grad(), changed.hooks([("blocks.1.attn.hook_v", lambda v, hook: torch.zeros_like(v) + new)]):
        _, cached = changed.run_with_cache(TOKENS)
    torch.testing.assert_close(cached["attn_out", 1][0, -1], constant, atol=1e-5, rtol=1e-4)


@cases(generator=seeded(), texts=st.integers(1, 2), heads=st.integers(1, 3), length=st.integers(1, 4))
def test_sources_equal_a_slow_loop(generator, texts, heads, length):
    pattern = torch.rand(texts, heads, length, length, generator=generator).tril()
    written = torch.randn(texts, heads, length, 3, generator=generator)
    slow = torch.zeros(3, texts, length, 3)
    for text, head, query, key in np.ndindex(pattern.shape):
        source = 0 if key == 0 else 1 if key == query else 2
        slow[source, text, query] += pattern[text, head, query, key] * written[text, head, key]
    torch.testing.assert_close(adjustments.by_source(pattern, written), slow, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "layer", "error"), [(tiny, 0, ModelError), (bridge, 2, ArgumentError), (bridge, -1, ArgumentError)]
)
def test_what_is_no_bridge_and_no_layer_is_refused(model, layer, error):
    with pytest.raises(error):
        adjustments.written_by_key(model("gpt2"), TOKENS, layer)


def test_no_gradients_are_kept():
    (norms, _), outputs = attention_output_norms(tiny("gpt2"), [TOKENS]), attention_outputs(tiny("gpt2"), TOKENS)
    assert torch.is_grad_enabled()
    assert not outputs.requires_grad
    assert not norms.requires_grad


def test_on_the_reviews_every_token_counts_once(storybook):
    model, tokenizer = storybook
    batches = token_batches(tokenizer, load_sentences()["text"][:6], context=128, size=4)
    norms, mask = attention_output_norms(model, batches)
    assert mask.sum() == sum(batch.mask.sum() for batch in batches)
    assert (norms[:, mask] > 0).all()


# Rows


def test_by_hand():
    mask = torch.tensor([[True, True, True], [True, True, False]])
    values = torch.tensor([[[1.0, 2, 6], [3, 4, torch.nan]]], dtype=torch.float64)
    rows = adjustments.position_rows(values, mask, first=1)
    assert (rows.y.tolist(), rows.X[0, :, 0].tolist()) == ([[2, 6, 4]], [1, 2, 1])
    assert (rows.sentence.tolist(), rows.position.tolist()) == ([0, 0, 1], [1, 2, 1])
    rows = adjustments.position_rows(values, mask, first=0, last=2)
    assert rows.position.tolist() == [0, 1, 0, 1], "last is the first that is left out"
    rows = adjustments.lag_rows(values, mask, lags=2, first=0)
    assert (rows.y.tolist(), rows.X.tolist(), rows.names) == ([[6]], [[[2, 1]]], ["t-1", "t-2"])


@cases(seed=seeded(), lags=st.integers(1, 3), first=st.integers(-2, 3))
def test_lag_rows_equal_a_slow_loop(seed, lags, first):
    """Also for a first position below 0: nothing is taken from the end of a sentence."""
    values, mask = random_values(seed, 2, 6)
    slow = [
        (sentence, position)
        for sentence in range(6)
        for position in range(12)
        if mask[sentence, position] and position - lags >= max(first, 0)
    ]
    rows = adjustments.lag_rows(values, mask, lags=lags, first=first)
    assert list(zip(rows.sentence.tolist(), rows.position.tolist())) == slow
    for row, (sentence, position) in enumerate(slow):
        assert torch.equal(rows.y[:, row], values[:, sentence, position])
        for lag in range(lags):
            assert torch.equal(rows.X[:, row, lag], values[:, sentence, position - lag - 1])


def test_by_default_the_first_token_is_left_out_and_positions_end_before_30():
    values, mask = torch.arange(32.0, dtype=torch.float64)[None, None], torch.ones(1, 32, dtype=torch.bool)
    assert adjustments.position_rows(values, mask).position.tolist() == list(range(1, 30))
    rows = adjustments.lag_rows(values, mask)
    assert rows.names == ["t-1", "t-2"]
    assert rows.position.tolist() == list(range(3, 32)), "from the first with two tokens but the first before it"


@pytest.mark.parametrize("function", [adjustments.position_rows, adjustments.lag_rows])
def test_wrong_masks_and_values_are_refused(function, measured):
    values, mask = measured
    with pytest.raises(ArgumentError, match=r"mask must be Bool\[Tensor, 'sentence position'\]; got i64\[12,12\]"):
        function(values, mask.long())  # as an index it would pick rows 0 and 1
    with pytest.raises(ArgumentError, match=r"mask must be .*sentence position"):
        function(values, mask[:, 1:])
    with pytest.raises(ArgumentError, match="What the mask counts holds NaN or infinity"):
        function(values, torch.ones_like(mask))


# Regressions


def line(y, x=range(4), sentence=(0, 0, 1, 1)):
    x = torch.tensor([*x], dtype=torch.float64)
    y = torch.tensor([y], dtype=torch.float64)
    return adjustments.Rows(y, x[None, :, None], torch.tensor(sentence), torch.arange(len(x)), ["position"])


def test_a_line_by_hand():
    fit = adjustments.regress(line([1.0, 4, 4, 7]))
    assert fit.table.loc[(0, "position"), "coefficient"] == pytest.approx(1.8)  # (-1.5*1 - .5*4 + .5*4 + 1.5*7) / 5
    assert fit.table.loc[(0, "intercept"), "coefficient"] == pytest.approx(4 - 1.5 * 1.8)
    assert fit.r2[0] == pytest.approx(1.8**2 * 5 / (9 + 0 + 0 + 9))


@cases(seed=seeded(), lags=st.integers(1, 2))
def test_regressions_equal_scikit_learn_and_the_formula_of_clustered_errors(seed, lags):
    from scipy.stats import t
    from sklearn.linear_model import LinearRegression

    rows = adjustments.lag_rows(*random_values(seed, 2, 12), lags=lags)
    table, r2 = adjustments.regress(rows)
    groups = np.unique(rows.sentence)
    for layer in range(2):
        y, X = rows.y[layer].numpy(), rows.X[layer].numpy()
        slow = LinearRegression().fit(X, y)
        fit = table.loc[layer]
        np.testing.assert_allclose(fit["coefficient"], [slow.intercept_, *slow.coef_], atol=1e-6)
        assert r2[layer] == pytest.approx(slow.score(X, y), abs=1e-6)
        design = np.column_stack([np.ones(len(y)), X])
        residual, bread = y - slow.predict(X), np.linalg.inv(design.T @ design)
        n, k, g = *design.shape, len(groups)
        half = np.sqrt(np.diag(bread) * (residual @ residual) / (n - k)) * t.ppf(0.975, n - k)
        np.testing.assert_allclose(fit["high"] - fit["coefficient"], half, atol=1e-6)
        np.testing.assert_allclose(fit["coefficient"] - fit["low"], half, atol=1e-6)
        meat = np.zeros((k, k))
        for group in groups:
            score = design[rows.sentence == group].T @ residual[rows.sentence == group]
            meat += np.outer(score, score)
        errors = np.sqrt(np.diag(bread @ meat @ bread) * g / (g - 1) * (n - 1) / (n - k))
        half = errors * t.ppf(0.975, g - 1)
        np.testing.assert_allclose(fit["clustered high"] - fit["coefficient"], half, atol=1e-6)
        np.testing.assert_allclose(fit["coefficient"] - fit["clustered low"], half, atol=1e-6)


def test_rows_that_repeat_a_sentence_fool_ordinary_errors_only():
    """Every sentence ten times over: ordinary intervals shrink, clustered ones hardly, which is what they are for."""
    generator = torch.Generator().manual_seed(0)
    sentence = torch.arange(30)
    x = torch.randn(1, 30, 1, generator=generator, dtype=torch.float64)
    y = x[..., 0] + torch.randn(1, 30, generator=generator, dtype=torch.float64)
    widths = []
    for copies in (1, 10):
        again = sentence.repeat(copies)
        rows = adjustments.Rows(y.repeat(1, copies), x.repeat(1, copies, 1), again, again, ["x"])
        slope = adjustments.regress(rows).table.loc[(0, "x")]
        widths.append((slope["high"] - slope["low"], slope["clustered high"] - slope["clustered low"]))
    assert widths[1][0] < widths[0][0] / 3
    assert widths[1][1] == pytest.approx(widths[0][1], rel=0.1)


def test_two_folds_by_hand():
    """y = x in one sentence and y = 2x in the other; each is predicted from the other."""
    rows = line([0.0, 1, 0, 2], x=[0, 1, 0, 1])
    assert adjustments.held_out_r2(rows, folds=2)[0] == pytest.approx(1 - (1**2 + 1**2) / (4 * 0.6875))


def test_held_out_r2_equals_a_slow_loop_and_is_no_better_than_in_sample(measured):
    from sklearn.model_selection import GroupKFold

    rows = adjustments.lag_rows(*measured)
    scores = adjustments.held_out_r2(rows, folds=4)
    for layer in range(2):
        y, X = rows.y[layer].numpy(), np.column_stack([np.ones(len(rows.sentence)), rows.X[layer].numpy()])
        predicted = np.empty_like(y)
        for train, test in GroupKFold(4).split(X, y, rows.sentence.numpy()):
            assert not set(rows.sentence[train].tolist()) & set(rows.sentence[test].tolist())
            predicted[test] = X[test] @ np.linalg.lstsq(X[train], y[train], rcond=None)[0]
        expected = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert scores[layer] == pytest.approx(expected, abs=1e-6)
    assert (scores < adjustments.regress(rows).r2).all()


@cases(seed=seeded(), kinds=st.integers(2, 6))
def test_a_fixed_effect_equals_a_regression_with_dummies(seed, kinds):
    rows = adjustments.lag_rows(*random_values(seed, 2, 12), first=0)
    groups = torch.randint(kinds, rows.sentence.shape, generator=seed) * 7 + 3
    inside = adjustments.within(rows, groups)
    table = adjustments.regress(inside).table["coefficient"]
    dummies = (groups[:, None] == groups.unique()).double().numpy()
    for layer in range(2):
        design = np.column_stack([rows.X[layer].numpy(), dummies])
        slow = np.linalg.lstsq(design, rows.y[layer].numpy(), rcond=None)[0]
        np.testing.assert_allclose(table[layer][rows.names], slow[:2], atol=1e-6)


@pytest.mark.parametrize("fit", [adjustments.regress, adjustments.held_out_r2])
def test_rows_that_nothing_is_left_of_are_refused(fit, measured):
    rows = adjustments.position_rows(*measured)
    groups_of_one = adjustments.within(rows, torch.arange(len(rows.sentence)))
    too_late = adjustments.lag_rows(*measured, lags=12)
    for empty in [groups_of_one, too_late, adjustments.position_rows(*measured, last=1)]:
        with pytest.raises(ArgumentError, match="0 rows from 0 sentences are too few"):
            fit(empty)


def test_a_fixed_effect_leaves_out_groups_of_one(measured):
    rows = adjustments.position_rows(*measured)
    groups = torch.arange(len(rows.sentence))
    groups[1] = 0
    assert adjustments.within(rows, groups).position.tolist() == rows.position[:2].tolist()


def test_values_may_carry_gradients(measured):
    rows = adjustments.lag_rows(*measured)
    carrying = rows._replace(y=rows.y.clone().requires_grad_(), X=rows.X.clone().requires_grad_())
    assert adjustments.regress(carrying).table.equals(adjustments.regress(rows).table)
    np.testing.assert_array_equal(adjustments.held_out_r2(carrying), adjustments.held_out_r2(rows))


@pytest.mark.parametrize("refuse", [adjustments.regress, adjustments.held_out_r2, adjustments.resampled])
def test_rows_that_nothing_can_be_fitted_to_are_refused(refuse, measured):
    rows = adjustments.position_rows(*measured)
    with pytest.raises(ArgumentError, match="rows from 1 sentences are too few"):
        refuse(rows._replace(sentence=rows.sentence * 0))
    with pytest.raises(ArgumentError, match="y holds NaN or infinity"):
        refuse(rows._replace(y=rows.y * torch.nan))
    with pytest.raises(ArgumentError, match="depend on each other, or something never changes"):
        refuse(rows._replace(X=torch.ones_like(rows.X)))
    with pytest.raises(ArgumentError, match="depend on each other"):
        refuse(rows._replace(X=torch.cat([rows.X, 2 * rows.X], -1), names=["a", "b"]))


def test_a_regression_needs_one_row_more_than_it_has_terms():
    """Two points always lie on a line; three need not."""
    three = line([1.0, 3, 2], x=range(3), sentence=(0, 1, 1))
    assert adjustments.regress(three).r2[0] == pytest.approx(0.25)  # slope and correlation are one half
    with pytest.raises(ArgumentError, match="2 rows from 2 sentences are too few for 2 terms"):
        adjustments.regress(line([1.0, 3], x=range(2), sentence=(0, 1)))


def test_five_folds_need_five_sentences(measured):
    values, mask = measured
    assert adjustments.held_out_r2(adjustments.position_rows(values[:, :5], mask[:5])).shape == (2,)
    with pytest.raises(ValueError, match="greater than the number of groups: 4"):
        adjustments.held_out_r2(adjustments.position_rows(values[:, :4], mask[:4]))


def test_resampled_equals_regressions_on_the_rows_of_every_draw(measured):
    rows = adjustments.lag_rows(*measured)
    rows = rows._replace(sentence=rows.sentence * 7 + 3)  # any numbers will do
    coefficients, r2 = adjustments.resampled(rows, resamples=5)
    assert (coefficients.shape, r2.shape) == ((2, 5, 3), (2, 5))
    often = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=5)
    for draw, times in enumerate(often):
        of_row = torch.tensor(times)[(rows.sentence - 3) // 7]
        drawn = adjustments.Rows(*(each.repeat_interleave(of_row, 1) for each in rows[:2]), *rows[2:])
        drawn = drawn._replace(sentence=torch.arange(int(of_row.sum())))
        table, wanted = adjustments.regress(drawn)
        np.testing.assert_allclose(coefficients[:, draw].ravel(), table["coefficient"], atol=1e-9)
        np.testing.assert_allclose(r2[:, draw], wanted, atol=1e-9)


def test_the_interval_of_resampled_slopes_is_near_the_clustered_one():
    rows = adjustments.position_rows(*random_values(torch.Generator().manual_seed(1), 1, 200))
    low, high = np.quantile(adjustments.resampled(rows)[0][0, :, 1], [0.025, 0.975])
    of_slope = adjustments.regress(rows).table.loc[(0, "position")]
    width = of_slope["clustered high"] - of_slope["clustered low"]
    assert [low, high] == pytest.approx(of_slope[["clustered low", "clustered high"]].tolist(), abs=0.1 * width)


@pytest.mark.parametrize("mask", [[[False, True, True]], [[True, False, True]]])
@pytest.mark.parametrize("rows", [adjustments.position_rows, adjustments.lag_rows])
def test_padding_on_the_left_or_a_hole_is_refused(rows, mask):
    with pytest.raises(ArgumentError, match="padding must stand on the right"):
        rows(torch.ones(1, 1, 3), torch.tensor(mask))


def test_a_layer_in_which_nothing_varies_is_refused():
    rows = adjustments.position_rows(torch.ones(1, 3, 9), torch.ones(3, 9, dtype=torch.bool))
    with pytest.raises(ArgumentError, match="never changes in a layer"):
        adjustments.regress(rows)


# Half precision
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


@HALVES
def test_rows_and_regressions_of_half_precision_are_those_of_the_same_numbers_in_full(dtype):
    """Positions above 256 are no numbers of bfloat16, and numpy has none of its kind."""
    values = torch.rand(2, 4, 700, generator=torch.Generator().manual_seed(0)).to(dtype)
    mask = torch.ones(4, 700, dtype=torch.bool)
    for make in (
        lambda values: adjustments.position_rows(values, mask, last=700),
        lambda values: adjustments.lag_rows(values, mask),
    ):
        found, wanted = make(values), make(values.double())
        torch.testing.assert_close(found.X.double(), wanted.X, atol=0, rtol=0)
        np.testing.assert_allclose(adjustments.regress(found).table, adjustments.regress(wanted).table, rtol=1e-6)
        np.testing.assert_allclose(adjustments.held_out_r2(found, 4), adjustments.held_out_r2(wanted, 4), atol=1e-9)
        groups = torch.arange(len(found.sentence)) % 2
        for centred, exact in zip(adjustments.within(found, groups)[:2], adjustments.within(wanted, groups)[:2]):
            torch.testing.assert_close(centred.double(), exact, atol=1e-4, rtol=1e-5)


@HALVES
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_left_of_a_difference_keeps_its_digits_in_half_precision(dtype, family):
    made = bridge_of(fresh(family).to(dtype))
    pattern, written, constant = adjustments.written_by_key(made, torch.tensor([TEXTS[0]]), 1)
    assert {pattern.dtype, written.dtype, constant.dtype} == {torch.float32}
    found, exact = (
        adjustments.by_source(pattern.to(dtype), written.to(dtype)),
        [each.to(dtype).double() for each in (pattern, written)],
    )
    torch.testing.assert_close(found.double(), adjustments.by_source(*exact), atol=1e-5, rtol=1e-5)


@HALVES
def test_norms_are_taken_in_float32(dtype):
    model = fresh("gpt2").to(dtype)
    norms, _ = attention_output_norms(model, [torch.tensor([TEXTS[0]])])
    outputs = attention_outputs(model, torch.tensor([TEXTS[0]]))
    torch.testing.assert_close(norms, outputs.double().norm(dim=-1), atol=0, rtol=1e-6)
