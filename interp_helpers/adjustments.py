"""How much attention moves each token, and what predicts it.

An *adjustment* is the vector that a layer's attention adds to the residual stream; others call it the attention output.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .errors import ArgumentError, check_finite, checked
from .hooks import read, visit_attention_outputs
from .models import prepare
from .progress import progress

Values = Float[Tensor, "layer sentence position"]  # such as norms; NaN where there is no token
Mask = Bool[Tensor, "sentence position"]  # True for tokens, False for padding on their right


@torch.no_grad()
def attention_outputs(model, texts):
    """What the attention of every layer adds to the residual stream: `(layer, text, position, d_model)`.

    texts: a Batch or tokens; outputs in its padding mean nothing. Layers on several devices come to the embedding's.
    Raises ModelError as `visit_attention_outputs`, and errors as `prepare`."""
    batch = prepare(model, texts)
    return _measure_outputs(model, batch, lambda output: output.to(batch.tokens.device))


@torch.no_grad()
def attention_output_norms(model, batches):
    """Norms of what attention adds, for every layer and token, with no more than one layer's outputs in memory.

    batches: an iterable of Batches or tokens. Returns (norms, mask): `(layer, text, position)`, float64 on the CPU, NaN
    where there is no token, and `(text, position)`. Raises ArgumentError when what a layer adds is not finite.
    """
    by_text = []  # (position, layer) each
    for texts in progress(batches, "batch"):
        batch = prepare(model, texts)
        norms = _measure_outputs(model, batch, lambda output: output.norm(dim=-1).cpu().double())
        mask = batch.mask.cpu()
        check_finite(**{f"What layer {layer} adds": of_layer[mask] for layer, of_layer in enumerate(norms)})
        by_text += norms.masked_fill(~mask, torch.nan).permute(1, 2, 0)
    norms = pad_sequence(by_text, batch_first=True, padding_value=torch.nan).permute(2, 0, 1).contiguous()
    return norms, ~norms[0].isnan()


def _measure_outputs(model, batch, measure):
    """`measure(output)` of every layer's attention output, stacked; taken while the model runs."""
    measures = []
    with visit_attention_outputs(model, lambda layer, output: measures.append(measure(output))):
        read(model, batch)
    return torch.stack(measures)


class Rows(NamedTuple):
    """What a regression reads: a row for every token that counts. Those of one sentence are not independent."""

    y: Tensor  # (layer, row)
    X: Tensor  # (layer, row, predictor)
    sentence: Tensor  # (row,)
    position: Tensor  # (row,)
    names: list  # of the predictors


class Fit(NamedTuple):
    """Coefficients with 95 % intervals, by ordinary errors and by errors that are clustered by sentence."""

    table: pd.DataFrame  # a row for every layer and term
    r2: np.ndarray  # (layer,), in sample


@checked
def position_rows(values: Values, mask: Mask, *, first: int = 1, last: int = 30) -> Rows:
    """Rows for a regression of values on position, for positions `first` to `last - 1`. The first token is left out
    by default: attention has nothing to choose there, and its vector is unlike all others."""
    position = torch.arange(mask.shape[1], device=mask.device)
    counted = mask & (position >= first) & (position < last)
    return _rows(values, mask, counted, {"position": position.to(values.dtype).expand(values.shape)})


@checked
def lag_rows(values: Values, mask: Mask, *, lags: int = 2, first: int = 1) -> Rows:
    """Rows for a regression of values on those of the `lags` tokens before, none of them earlier than `first`.
    Predictors are named "t-1", "t-2", ...: the token before, the one before that."""
    counted = mask & (torch.arange(mask.shape[1], device=mask.device) >= max(first, 0) + lags)
    return _rows(values, mask, counted, {f"t-{lag}": values.roll(lag, -1) for lag in range(1, lags + 1)})


def _rows(values, mask, counted, predictors):
    """Rows where `counted`, (sentence, position), is true; predictors: name -> (layer, sentence, position)."""
    if (mask[:, 1:] & ~mask[:, :-1]).any():  # positions and lags would be others
        raise ArgumentError("In the mask, padding must stand on the right. Set tokenizer.padding_side = 'right'.")
    sentence, position = counted.nonzero(as_tuple=True)
    y = values[:, sentence, position]
    check_finite(**{"What the mask counts": y})
    X = torch.stack([predictor[:, sentence, position] for predictor in predictors.values()], -1)
    return Rows(y, X, sentence, position, list(predictors))


@checked
def within(rows: Rows, groups: Int[Tensor, " row"]) -> Rows:
    """The same rows with the mean of each group taken out of y and X: a fixed effect for every group.

    groups: such as token ids, to compare a token with itself elsewhere. Those of one row are left out. Coefficients are
    those of dummies for all groups (Frisch and Waugh 1933); errors are too small by the root of 1 - groups / rows.
    """
    _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    compared = counts[group] > 1
    values = torch.cat([rows.y[..., None], rows.X], -1)
    sums = values.new_zeros(len(values), len(counts), values.shape[-1]).index_add(1, group, values)
    centred = (values - (sums / counts[:, None])[:, group])[:, compared]
    return Rows(centred[..., 0], centred[..., 1:], rows.sentence[compared], rows.position[compared], rows.names)


@checked
def regress(rows: Rows) -> Fit:
    """Least squares in every layer, y = intercept + coefficients x predictors.

    Statsmodels computes both errors. Ordinary ones take all rows for independent; clustered ones allow any dependence
    between rows of one sentence (Liang and Zeger 1986). Raises ArgumentError for fewer than two sentences, too few
    rows, predictors that depend on each other, and NaN.
    """
    import statsmodels.api as sm

    terms, tables, r2 = ["intercept", *rows.names], [], []
    for y, design in zip(rows.y.numpy(force=True), _designs(rows)):
        ordinary = sm.OLS(y, design).fit()
        clustered = ordinary.get_robustcov_results("cluster", groups=rows.sentence.numpy(force=True))
        intervals = np.column_stack([ordinary.params, ordinary.conf_int(), clustered.conf_int()])
        tables.append(pd.DataFrame(intervals, terms, ["coefficient", "low", "high", "clustered low", "clustered high"]))
        r2.append(ordinary.rsquared)
    return Fit(pd.concat(dict(enumerate(tables)), names=["layer", "term"]), np.array(r2))


@checked
def held_out_r2(rows: Rows, folds: int = 5) -> np.ndarray:
    """R2 on sentences that the regression has not seen, `(layer,)`: 1 - squared error / variance, negative when the
    mean would have been better. Sentences are dealt into `folds`, and each fold is predicted from the others. Raises
    ArgumentError as `regress` does; scikit-learn refuses fewer sentences than folds."""
    from sklearn import linear_model, metrics, model_selection

    line = linear_model.LinearRegression(fit_intercept=False)  # the design has one
    dealt = {"groups": rows.sentence.numpy(force=True), "cv": model_selection.GroupKFold(folds)}
    layers = zip(rows.y.numpy(force=True), _designs(rows))
    return np.array([metrics.r2_score(y, model_selection.cross_val_predict(line, X, y, **dealt)) for y, X in layers])


def _designs(rows):
    """The columns that a regression multiplies by its coefficients, the intercept's first: (layer, row, term)."""
    check_finite(y=rows.y, X=rows.X)
    designs = torch.cat([torch.ones_like(rows.X[..., :1]), rows.X], -1)
    count, terms, sentences = *designs.shape[1:], len(rows.sentence.unique())
    if sentences < 2 or count <= terms:
        raise ArgumentError(f"{count} rows from {sentences} sentences are too few for {terms} terms and their errors.")
    constant = (rows.y == rows.y[:, :1]).all(1)
    if constant.any() or (torch.linalg.matrix_rank(designs.double()) < terms).any():
        raise ArgumentError("The predictors depend on each other, or something never changes in a layer.")
    return designs.numpy(force=True)
