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

from .attention import as_array, in_full
from .errors import ArgumentError, ModelError, check_finite, checked
from .hooks import is_bridge
from .identities import require
from .models import prepare
from .progress import progress
from .visits import read, visit_attention, visit_attention_outputs

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
        norms = _measure_outputs(model, batch, lambda output: in_full(output).norm(dim=-1).cpu().double())
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


@torch.no_grad()
def written_by_key(bridge, texts, layer):
    """What the heads of one layer take from every key: (pattern, written, constant).

    bridge: of `load_bridge`. texts: a Batch or tokens.
    pattern: `(text, head, query, key)`. written: `(text, head, key, d_model)`, what a head would add to the stream if
    it looked at that key alone, without biases. constant: `(d_model,)`, what the layer's biases add at every token,
    b_O and b_V through W_O; zeros in a model without them. They give what attention adds,

        einsum("thqk, thkm -> tqm", pattern, written) + constant

    Raises ModelError for a model that is no bridge, and one that hands out no pattern; ArgumentError for a layer that
    does not exist.
    """
    if not is_bridge(bridge):
        raise ModelError(f"written_by_key needs a bridge, as load_bridge gives it; got a {type(bridge).__name__}.")
    if layer not in range(bridge.cfg.n_layers):
        raise ArgumentError(f"There is no layer {layer!r}; layers go from 0 to {bridge.cfg.n_layers - 1}.")
    require(bridge, "heads", "adds")
    seen, batch = {}, prepare(bridge, texts)
    with visit_attention(bridge, lambda number, pattern, values: seen.update({number: (pattern, values)})):
        read(bridge, batch)
    pattern, values, W_O = map(in_full, (*seen[layer], bridge.W_O[layer]))  # W_O: (head, d_head, d_model)
    attention = bridge.blocks[layer].attn
    b_V, b_O = getattr(attention, "b_V", None), getattr(attention, "b_O", None)
    constant = torch.zeros_like(W_O[0, 0]) if b_O is None else in_full(b_O)
    if b_V is not None:
        of_heads = in_full(b_V).reshape(-1, values.shape[-1])  # one for each head, or for each group of heads
        of_heads = of_heads.repeat_interleave(len(W_O) // len(of_heads), 0)
        values, constant = values - of_heads[:, None], constant + torch.einsum("hd,hdm->m", of_heads, W_O)
    return pattern, torch.einsum("thkd,hdm->thkm", values, W_O), constant.detach()


@checked
def by_source(
    pattern: Float[Tensor, "text head query key"], written: Float[Tensor, "text head key d_model"]
) -> Float[Tensor, "source text query d_model"]:
    """What attention adds without its biases, split by the token that it comes from: the first token, the query's own
    token, and all others. Sums over heads. The first query has only the first token.

    >>> both = by_source(torch.tensor([[[[1.0, 0], [0.25, 0.75]]]]), torch.tensor([[[[4.0], [8]]]]))
    >>> both.flatten(1).tolist()
    [[4.0, 1.0], [0.0, 6.0], [0.0, 0.0]]
    """
    pattern, written = in_full(pattern), in_full(written)  # what is left of a difference needs all digits
    every = torch.einsum("thqk,thkm->tqm", pattern, written)
    first = torch.einsum("thq,thm->tqm", pattern[..., 0], written[:, :, 0])
    own = torch.einsum("thq,thqm->tqm", pattern.diagonal(dim1=-2, dim2=-1), written)
    own = torch.cat([torch.zeros_like(own[:, :1]), own[:, 1:]], 1)
    return torch.stack([first, own, every - first - own])


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
    values, position = in_full(values), torch.arange(mask.shape[1], device=mask.device)
    counted = mask & (position >= first) & (position < last)
    return _rows(values, mask, counted, {"position": position.to(values.dtype).expand(values.shape)})


@checked
def lag_rows(values: Values, mask: Mask, *, lags: int = 2, first: int = 1) -> Rows:
    """Rows for a regression of values on those of the `lags` tokens before, none of them earlier than `first`.
    Predictors are named "t-1", "t-2", ...: the token before, the one before that."""
    values = in_full(values)
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
    # Float64, on the CPU because Apple's GPUs have none: a group may have many rows.
    values, group, counts = torch.cat([rows.y[..., None], rows.X], -1).cpu().double(), group.cpu(), counts.cpu()
    sums = values.new_zeros(len(values), len(counts), values.shape[-1]).index_add(1, group, values)
    centred = (values - (sums / counts[:, None])[:, group]).to(in_full(rows.y))[:, compared]
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
    for y, design in zip(as_array(rows.y), _designs(rows)):
        ordinary = sm.OLS(y, design).fit()
        clustered = ordinary.get_robustcov_results("cluster", groups=rows.sentence.numpy(force=True))
        intervals = np.column_stack([ordinary.params, ordinary.conf_int(), clustered.conf_int()])
        tables.append(pd.DataFrame(intervals, terms, ["coefficient", "low", "high", "clustered low", "clustered high"]))
        r2.append(ordinary.rsquared)
    return Fit(pd.concat(dict(enumerate(tables)), names=["layer", "term"]), np.array(r2))


@checked
def resampled(rows: Rows, resamples: int = 999, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What `regress` would find if other sentences had come: a bootstrap, which draws as many sentences as there are,
    with replacement, and takes all rows of each (Efron 1979).

    Returns (coefficients, r2): `(layer, draw, term)`, the intercept first, and `(layer, draw)`. All layers have the
    same draws, so that they can be compared. Raises ArgumentError as `regress` does.
    """
    columns = np.concatenate([_designs(rows), as_array(rows.y)[..., None]], -1)  # (layer, row, term and y)
    _, number = np.unique(rows.sentence.numpy(force=True), return_inverse=True)
    count, generator = number.max() + 1, np.random.default_rng(seed)
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)  # how often: (draw, sentence)
    sums = []  # of the products of columns, which are all that least squares needs: (draw, term and y, term and y)
    for of_layer in columns:
        products = np.zeros((count, *2 * of_layer.shape[-1:]))
        np.add.at(products, number, of_layer[:, :, None] * of_layer[:, None])
        sums.append(np.tensordot(drawn, products, 1))
    sums = np.stack(sums)
    XX, Xy, yy = sums[..., :-1, :-1], sums[..., :-1, -1], sums[..., -1, -1]
    coefficients = (np.linalg.pinv(XX, hermitian=True) @ Xy[..., None])[..., 0]
    left, around_mean = yy - (coefficients * Xy).sum(-1), yy - Xy[..., 0] ** 2 / XX[..., 0, 0]
    return coefficients, 1 - left / around_mean


@checked
def held_out_r2(rows: Rows, folds: int = 5) -> np.ndarray:
    """R2 on sentences that the regression has not seen, `(layer,)`: 1 - squared error / variance, negative when the
    mean would have been better. Sentences are dealt into `folds`, and each fold is predicted from the others. Raises
    ArgumentError as `regress` does; scikit-learn refuses fewer sentences than folds."""
    from sklearn import linear_model, metrics, model_selection

    line = linear_model.LinearRegression(fit_intercept=False)  # the design has one
    dealt = {"groups": rows.sentence.numpy(force=True), "cv": model_selection.GroupKFold(folds)}
    layers = zip(as_array(rows.y), _designs(rows))
    return np.array([metrics.r2_score(y, model_selection.cross_val_predict(line, X, y, **dealt)) for y, X in layers])


def _designs(rows):
    """The columns that a regression multiplies by its coefficients, the intercept's first: (layer, row, term)."""
    check_finite(y=rows.y, X=rows.X)
    designs = torch.cat([torch.ones_like(rows.X[..., :1]), rows.X], -1).cpu().double()
    count, terms, sentences = *designs.shape[1:], len(rows.sentence.unique())
    if sentences < 2 or count <= terms:
        raise ArgumentError(f"{count} rows from {sentences} sentences are too few for {terms} terms and their errors.")
    constant = (rows.y == rows.y[:, :1]).all(1)
    if constant.any() or (torch.linalg.matrix_rank(designs) < terms).any():
        raise ArgumentError("The predictors depend on each other, or something never changes in a layer.")
    return designs.numpy(force=True)
