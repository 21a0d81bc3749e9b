"""How much attention moves each token, and what predicts it.

An *adjustment* is the vector that a layer's attention adds to the residual stream; its size is its norm. Values have
axes `(layer, sentence, position)`, as `attention_output_norms` gives them, with a boolean mask `(sentence, position)`:
True for tokens. Everything is float64. A regression has a row for every token that counts, the same tokens in every
layer; rows of one sentence belong together, for its tokens are not independent.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from .errors import ArgumentError, check_devices, check_tensors, check_whole


class Rows(NamedTuple):
    """What a regression reads: y `(layer, row)`; X `(layer, row, predictor)`; and where each row comes from:
    sentence `(row,)` and position `(row,)`. names: one a predictor."""

    y: torch.Tensor
    X: torch.Tensor
    sentence: torch.Tensor
    position: torch.Tensor
    names: list


class Fit(NamedTuple):
    """table: a row for every layer and term, with the coefficient, its 95 % interval with ordinary errors (low, high)
    and with errors clustered by sentence (clustered low, clustered high). r2: `(layer,)`, in sample."""

    table: pd.DataFrame
    r2: np.ndarray


def mean_by_position(values, mask):
    """Mean over the sentences that reach a position: `(..., sentence, position)` to `(..., position)`.

    NaN where no sentence does.

    >>> values = torch.tensor([[1.0, 2.0], [3.0, 9.0]])
    >>> mean_by_position(values, torch.tensor([[True, True], [True, False]]))
    tensor([2., 2.])
    """
    _check("mean_by_position", values, mask)
    return torch.where(mask, values, 0).sum(-2) / mask.sum(0)


def position_rows(values, mask, *, first=1, last=30):
    """Rows for a regression of values on position, for positions `first` to `last - 1`.

    The first token is left out by default: attention has nothing to choose there, and its vector is unlike all others.
    """
    _check("position_rows", values, mask, layers=True)
    check_whole("position_rows", 0, first=first, last=last)
    position = torch.arange(mask.shape[1], device=mask.device)
    here = mask & (position >= first) & (position < last)
    return _rows("position_rows", values, here, {"position": position.double().expand(values.shape)})


def lag_rows(values, mask, *, lags=2, first=1):
    """Rows for a regression of values on those of the `lags` tokens before, none of them earlier than `first`.

    Predictors are named "t-1", "t-2", ...: the token before, the one before that.
    """
    _check("lag_rows", values, mask, layers=True)
    check_whole("lag_rows", 1, lags=lags)
    check_whole("lag_rows", 0, first=first)
    position = torch.arange(mask.shape[1], device=mask.device)
    here = mask & (position >= first + lags)  # no gaps: padding stands on the right
    return _rows("lag_rows", values, here, {f"t-{lag}": values.roll(lag, -1) for lag in range(1, lags + 1)})


def _rows(operation, values, here, predictors):
    """Rows where `here`, (sentence, position), is true; predictors: name -> (layer, sentence, position)."""
    sentence, position = here.nonzero(as_tuple=True)
    if len(sentence) == 0:
        raise ArgumentError(
            f"{operation}: no sentence is long enough for this first and this last, or these lags. Give longer ones, "
            "or start earlier."
        )
    X = torch.stack([each[:, sentence, position] for each in predictors.values()], -1)
    return Rows(values[:, sentence, position], X, sentence, position, list(predictors))


def within(rows, groups):
    """The same rows with the mean of each group taken out of y and X: a fixed effect for every group.

    groups: `(row,)`, such as token ids: what is left compares a token with itself elsewhere. Groups of one row say
    nothing and are left out. (Frisch and Waugh 1933, Lovell 1963: coefficients are those of a regression with a dummy
    for every group. Errors come out a little too small, about by the root of 1 - groups / rows, for they do not count
    the means.)

    Raises ArgumentError when no group has two rows, and when there is not one group for each row.
    """
    _check_rows("within", rows)
    check_tensors("within", of="ids", groups=groups)
    check_devices("within", rows=rows.y, groups=groups)
    if groups.shape != rows.sentence.shape:
        raise ArgumentError(f"within: there are {len(rows.sentence)} rows and groups of shape {tuple(groups.shape)}.")
    _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    kept = counts[group] > 1
    if not kept.any():
        raise ArgumentError("within: every one of groups has one row only; nothing can be compared.")

    def centred(values):
        """values: (layer, row, ...)"""
        sums = values.new_zeros(len(values), len(counts), *values.shape[2:])
        means = sums.index_add(1, group, values) / counts.view(1, -1, *[1] * (values.ndim - 2))
        return (values - means[:, group])[:, kept]

    return Rows(centred(rows.y), centred(rows.X), rows.sentence[kept], rows.position[kept], rows.names)


def regress(rows):
    """Least squares in every layer, y = intercept + coefficients x predictors, as a Fit.

    Ordinary errors take all rows for independent. Clustered ones allow any dependence between rows of one sentence
    (Liang and Zeger 1986), with the small-sample correction and the t distribution of statsmodels, which computes both.

    Raises ArgumentError when there are fewer than two sentences, no more rows than terms, values that are all the same,
    predictors that depend on each other, or NaN.
    """
    import statsmodels.api as sm

    _check_rows("regress", rows)
    _check_regression("regress", rows, 2)
    names, sentence = ["intercept", *rows.names], rows.sentence.numpy(force=True)
    tables, r2 = [], []
    for y, X in zip(rows.y.numpy(force=True), rows.X.numpy(force=True)):
        design = np.column_stack([np.ones(len(y)), X])
        ordinary = sm.OLS(y, design).fit()
        clustered = ordinary.get_robustcov_results("cluster", groups=sentence)
        intervals = np.column_stack([ordinary.params, ordinary.conf_int(), clustered.conf_int()])
        tables.append(pd.DataFrame(intervals, names, ["coefficient", "low", "high", "clustered low", "clustered high"]))
        r2.append(ordinary.rsquared)
    return Fit(pd.concat(dict(enumerate(tables)), names=["layer", "term"]), np.array(r2))


def held_out_r2(rows, folds=5):
    """R2 on sentences that the regression has not seen, `(layer,)`: 1 - squared error / variance, negative when the
    mean would have been better.

    Sentences are dealt into `folds`; each fold is predicted from the others, and all predictions are scored at once.
    Raises ArgumentError when there are fewer sentences than folds, fewer than two folds, and as `regress` does.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    check_whole("held_out_r2", 2, folds=folds)
    _check_rows("held_out_r2", rows)
    _check_regression("held_out_r2", rows, folds)
    deal = {"groups": rows.sentence.numpy(force=True), "cv": GroupKFold(folds)}
    return np.array(
        [
            r2_score(y, cross_val_predict(LinearRegression(), X, y, **deal))
            for y, X in zip(rows.y.numpy(force=True), rows.X.numpy(force=True))
        ]
    )


def _check(operation, values, mask, layers=False):
    axes = "(layer, sentence, position)" if layers else "(..., sentence, position)"
    check_tensors(operation, axes=axes, finite=False, values=values)
    if isinstance(mask, torch.Tensor) and mask.dtype != torch.bool:
        raise ArgumentError(
            f"{operation}: the mask has type {mask.dtype}; it must be boolean. An integer mask used as an index picks "
            "rows 0 and 1 instead of the tokens: mask.bool()."
        )
    check_tensors(operation, of="booleans", axes="(sentence, position)", mask=mask)
    check_devices(operation, values=values, mask=mask)
    if values.shape[-2:] != mask.shape:
        raise ArgumentError(
            f"{operation}: values are {tuple(values.shape)} and the mask is {tuple(mask.shape)}; the last two axes of "
            "values must be the mask's, (sentence, position)."
        )
    if (mask[:, 1:] & ~mask[:, :-1]).any():
        raise ArgumentError(
            f"{operation}: in the mask, padding must stand on the right. Set tokenizer.padding_side = 'right'."
        )
    if not torch.where(mask, values, 0).isfinite().all():
        raise ArgumentError(
            f"{operation}: values holds NaN or infinity where the mask is True. (The log of a norm of 0 is infinite.)"
        )


def _check_rows(operation, rows):
    if not isinstance(rows, Rows):
        raise ArgumentError(
            f"{operation}: rows must be Rows, as position_rows and lag_rows make them; got a {type(rows).__name__}."
        )
    check_tensors(operation, of="precise numbers", axes="(layer, row)", **{"rows.y": rows.y})
    check_tensors(operation, of="precise numbers", axes="(layer, row, predictor)", **{"rows.X": rows.X})
    check_tensors(operation, of="ids", axes="(row,)", **{"rows.sentence": rows.sentence})
    check_devices(operation, **{"rows.y": rows.y, "rows.X": rows.X, "rows.sentence": rows.sentence})
    wanted = (*rows.y.shape, len(rows.names))
    if rows.X.shape != wanted or rows.sentence.shape != wanted[1:2]:
        raise ArgumentError(
            f"{operation}: rows with y {tuple(rows.y.shape)} and {len(rows.names)} names need X {wanted} and sentence "
            f"{wanted[1:2]}; got {tuple(rows.X.shape)} and {tuple(rows.sentence.shape)}."
        )


def _check_regression(operation, rows, sentences):
    found, count = len(torch.unique(rows.sentence)), len(rows.sentence)
    if found < sentences or count <= len(rows.names) + 1:
        raise ArgumentError(
            f"{operation}: {count} rows from {found} sentences; it needs {sentences} sentences or more, and more rows "
            f"than its {len(rows.names) + 1} terms."
        )
    if (rows.y == rows.y[:, :1]).all(1).any():  # a standard deviation of equal numbers may round to another than 0
        raise ArgumentError(f"{operation}: in one layer all values are the same; there is nothing to explain.")
    design = torch.cat([torch.ones_like(rows.X[..., :1]), rows.X], -1)
    if (torch.linalg.matrix_rank(design) < design.shape[-1]).any():
        raise ArgumentError(f"{operation}: the predictors depend on each other, or one of them never changes.")
