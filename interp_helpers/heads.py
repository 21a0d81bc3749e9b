"""Attention patterns become scores for every head, and scores become classes.

A pattern has axes `(..., query, key)`: each row holds the weights that one query gives to all keys, 0 for keys after
it, and sums to 1. All functions keep the leading axes, so layers, texts and heads can be scored at once.

Most scores ask the same question: how much attention goes to a certain key? The key is marked by a *target*, a boolean
`(..., query, key)`, and the score is the mean over all queries that have one. Which queries count is in the targets.
"""

import numpy as np
import torch

from .errors import (
    ArgumentError,
    broadcast,
    check_attention,
    check_devices,
    check_seed,
    check_tensors,
    check_whole,
    checked_array,
)

# A head is of a kind when more than half of its attention is: then, on those texts, no other key has more. The same
# share parts focused from broad: half of the entropy that an even spread would have.
MAJORITY = 0.5
KINDS = ["induction", "duplicate_token", "previous_token", "current_token", "first_token", "focused", "broad"]


def previous_token_target(tokens, mask=None):
    """The token before the query. tokens: `(..., position)`; mask: True for tokens, False for padding."""
    _check_tokens("previous_token_target", tokens, mask)
    position = _positions(tokens)
    return _for_tokens(position[:, None] - 1 == position, tokens, mask)


def first_token_target(tokens, mask=None):
    """The first position, for every query after it."""
    _check_tokens("first_token_target", tokens, mask)
    position = _positions(tokens)
    return _for_tokens((position == 0) & (position[:, None] > 0), tokens, mask)


def current_token_target(tokens, mask=None):
    """The query itself, for every query but the first, which has no choice."""
    _check_tokens("current_token_target", tokens, mask)
    position = _positions(tokens)
    return _for_tokens((position[:, None] == position) & (position > 0), tokens, mask)


def duplicate_token_target(tokens, mask=None):
    """Earlier occurrences of the query's token, for every query that has any."""
    _check_tokens("duplicate_token_target", tokens, mask)
    return _for_tokens((tokens[..., :, None] == tokens[..., None, :]).tril(-1), tokens, mask)


def induction_target(tokens, mask=None):
    """What followed earlier occurrences of the query's token, for every query that has any.

    In "a b ... a", the target of the second a is b (Olsson et al. 2022, arXiv:2209.11895).
    """
    _check_tokens("induction_target", tokens, mask)
    same = (tokens[..., :, None] == tokens[..., None, :]).tril(-1)
    return _for_tokens(torch.nn.functional.pad(same, (1, 0))[..., :-1], tokens, mask)


TARGETS = {
    "previous_token": previous_token_target,
    "first_token": first_token_target,
    "current_token": current_token_target,
    "duplicate_token": duplicate_token_target,
    "induction": induction_target,
}


def _check_tokens(operation, tokens, mask):
    check_tensors(operation, of="ids", axes="(..., position)", tokens=tokens)
    if mask is not None:
        _check_mask(operation, mask, tokens=tokens)


def _check_mask(operation, mask, **tensor):
    """That a mask has an entry for each position, which is the last axis of the tensor."""
    check_tensors(operation, of="booleans", axes="(..., position)", mask=mask)
    check_devices(operation, mask=mask, **tensor)
    ((name, tensor),) = tensor.items()
    if mask.shape[-1] != tensor.shape[-1] or not broadcast(mask.shape, tensor.shape):
        raise ArgumentError(
            f"{operation}: mask is {tuple(mask.shape)} and {name} {tuple(tensor.shape)}; both must end "
            "in one length, and the axes before must fit."
        )


def _for_tokens(target, tokens, mask):
    """The target for tokens `(..., position)`, without queries and keys that are padding."""
    target = target.expand(*tokens.shape, tokens.shape[-1])
    return target if mask is None else target & mask[..., :, None] & mask[..., None, :]


def target_score(pattern, target):
    """Mean attention to the target, over the queries that have one.

    pattern: `(..., query, key)`; target: boolean, broadcast against it: for a pattern (batch, head, query, key), give
    tokens as `tokens[:, None]` to the functions that make it. Returns `(...)`, in [0, 1].
    Raises ArgumentError when no query has a target, when the row of one that has is no attention (it sums to 1, with
    no weight below 0), and when the pattern holds NaN.

    >>> pattern = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]])
    >>> target_score(pattern, previous_token_target(torch.tensor([7, 8, 9])))
    tensor(0.7500)
    """
    _check("target_score", pattern)
    check_tensors("target_score", of="booleans", axes="(..., query, key)", target=target)
    return _mean_attention("target_score", pattern, target)


def _mean_attention(operation, pattern, target):
    check_devices(operation, pattern=pattern, target=target)
    if target.shape[-2:] != pattern.shape[-2:] or not broadcast(target.shape, pattern.shape):
        raise ArgumentError(
            f"{operation}: pattern is {tuple(pattern.shape)} and the target {tuple(target.shape)}; both must end in "
            "(query, key), and the axes before must fit. For (batch, head, query, key), give tokens[:, None] and "
            "mask[:, None]."
        )
    counted = target.any(-1)
    queries = counted.sum(-1)
    if (queries == 0).any():
        raise ArgumentError(
            f"{operation}: no query has a target. A score of duplicates or induction needs a token that occurs twice; "
            "every score needs a text of two tokens or more, without those that the mask leaves out."
        )
    check_attention(operation, pattern, counted)
    return (pattern * target).sum((-2, -1)) / queries


def previous_token_score(pattern, mask=None):
    """Mean attention from each token to the one before it; see `target_score` for shapes and errors.

    >>> previous_token_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]))
    tensor(0.7500)
    """
    _check("previous_token_score", pattern)
    return _mean_attention("previous_token_score", pattern, previous_token_target(_positions(pattern), mask))


def first_token_score(pattern, mask=None):
    """Mean attention from each token but the first to the first.

    >>> first_token_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]))
    tensor(0.7500)
    """
    _check("first_token_score", pattern)
    return _mean_attention("first_token_score", pattern, first_token_target(_positions(pattern), mask))


def current_token_score(pattern, mask=None):
    """Mean attention from each token but the first to itself.

    >>> current_token_score(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]))
    tensor(0.5000)
    """
    _check("current_token_score", pattern)
    return _mean_attention("current_token_score", pattern, current_token_target(_positions(pattern), mask))


def duplicate_token_score(pattern, tokens, mask=None):
    """Mean attention from a token that occurred before to its earlier occurrences.

    tokens: `(..., position)`, broadcast like a target.

    >>> duplicate_token_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]), torch.tensor([4, 6, 4]))
    tensor(0.5000)
    """
    _check("duplicate_token_score", pattern)
    return _mean_attention("duplicate_token_score", pattern, duplicate_token_target(tokens, mask))


def induction_score(pattern, tokens, mask=None):
    """Mean attention from a token that occurred before to what followed its earlier occurrences.

    tokens: `(..., position)`, broadcast like a target.

    >>> induction_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.25, 0.75, 0]]), torch.tensor([4, 6, 4]))
    tensor(0.7500)
    """
    _check("induction_score", pattern)
    return _mean_attention("induction_score", pattern, induction_target(tokens, mask))


def entropy_bits(pattern):
    """Entropy of every query's attention, -sum a log2 a, in bits: `(..., query, key)` to `(..., query)`.

    >>> entropy_bits(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.25, 0.5, 0.25]]))
    tensor([0.0000, 1.0000, 1.5000])
    """
    bits = _entropy("entropy_bits", pattern)
    check_attention("entropy_bits", pattern)
    return bits


def _entropy(operation, pattern):
    check_tensors(operation, axes="(..., query, key)", finite=False, pattern=pattern)
    logs = pattern.clamp_min(torch.finfo(pattern.dtype).tiny).log2()  # three times as fast as torch.special.entr
    bits = (pattern * -logs).sum(-1)
    check_tensors(operation, pattern=bits)  # where the pattern holds NaN, so do they, and they are fewer
    return bits


def entropy_shares(pattern):
    """Entropy of every query as a share of its maximum, log2 of the number of keys up to it; `(..., query)`.

    The first query has one key and no choice: its share is 0. A layer with a local window reaches less than 1 where
    the window is shorter than the text.
    """
    shares = bare_shares("entropy_shares", pattern)
    check_attention("entropy_shares", pattern)
    return shares


def bare_shares(operation, pattern):
    """`entropy_shares` of a pattern `(..., query, key)`, `(..., query)`, whether or not its rows sum to 1.

    For patterns that a model has just given: looking costs time, and models with a sink of their own give less than 1.
    operation: for the error. Raises ArgumentError for a pattern that holds NaN, or is not square.
    """
    bits = _entropy(operation, pattern)
    _check_square(operation, pattern)
    keys = torch.arange(1, pattern.shape[-1] + 1, device=pattern.device, dtype=pattern.dtype)
    return bits / torch.where(keys > 1, keys.log2(), torch.inf)


def entropy_share(pattern, mask=None):
    """Mean of `entropy_shares` over all queries but the first: 0 for one key, 1 for an even spread; `(...)`.

    >>> entropy_share(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [1, 0, 0]]))
    tensor(0.5000)
    """
    shares = bare_shares("entropy_share", pattern)
    if mask is not None:
        _check_mask("entropy_share", mask, pattern=shares)
    counts = torch.ones_like(shares) if mask is None else mask.to(shares.dtype)
    queries = counts[..., 1:].sum(-1)
    if (queries == 0).any():
        raise ArgumentError(
            "entropy_share: no query has a choice: pattern must be of two tokens or more, and mask must keep a later "
            "one than the first."
        )
    check_attention("entropy_share", pattern, mask)
    return (shares * counts)[..., 1:].sum(-1) / queries


def value_weighted(pattern, value_norms):
    """The pattern with every weight multiplied by the norm of the value it brings, rows again summing to 1.

    A head that attends to a position with a short value vector takes less from there than its weights suggest. After
    Kobayashi et al. 2020 (arXiv:2004.10102), who also put the values through the output matrix; this does not. The
    result is a share: it does not say how much a head moves in all. value_norms: `(..., key)`, not negative.

    >>> value_weighted(torch.tensor([[1.0, 0], [0.5, 0.5]]), torch.tensor([1.0, 3.0]))
    tensor([[1.0000, 0.0000],
            [0.2500, 0.7500]])
    """
    _check("value_weighted", pattern)
    check_tensors("value_weighted", axes="(..., key)", value_norms=value_norms)
    check_devices("value_weighted", pattern=pattern, value_norms=value_norms)
    if value_norms.shape[-1] != pattern.shape[-1] or not broadcast(value_norms.shape[:-1], pattern.shape[:-2]):
        raise ArgumentError(
            f"value_weighted: pattern is {tuple(pattern.shape)} and value_norms {tuple(value_norms.shape)}; it must be "
            "(..., key), a norm for each key of the pattern."
        )
    check_attention("value_weighted", pattern)
    moved = pattern * value_norms[..., None, :]
    sums = moved.sum(-1, keepdim=True)
    if (value_norms < 0).any() or (sums == 0).any():
        raise ArgumentError(
            "value_weighted: value_norms must not be negative, nor 0 wherever a query looks: it would take nothing."
        )
    return moved / sums


def classify(scores):
    """The class of every head, an array of strings `(layer, head)`.

    scores: name -> `(layer, head)`, with the names of `TARGETS` and "entropy_share". A head is named after the first
    of KINDS to which more than half of its attention goes; a head with none is focused when its entropy is less than
    half of its maximum, and broad otherwise. Induction and duplicates come first: they are measured on repeated
    tokens, the others on text, so that a head can pass twice. Raises ArgumentError when a score is missing or NaN.
    """
    names = [*TARGETS, "entropy_share"]
    missing = [name for name in names if not hasattr(scores, "keys") or name not in scores]
    if missing:
        raise ArgumentError(f"classify: scores must be a dict; {missing} is missing, and a class needs all of {names}.")
    found = {name: checked_array("classify", f"scores[{name!r}]", scores[name]) for name in names}
    shapes = {name: each.shape for name, each in found.items()}
    if len(set(shapes.values())) > 1:
        raise ArgumentError(f"classify: all scores must be of the same heads, (layer, head); got {shapes}.")
    kinds = np.where(found["entropy_share"] < MAJORITY, "focused", "broad").astype("<U15")
    for kind in reversed(list(KINDS[:5])):
        kinds[found[kind] > MAJORITY] = kind
    return kinds


def bootstrap_interval(values, level=0.95, resamples=999, seed=0):
    """Interval of the mean over texts, by the percentile bootstrap (Efron 1979).

    values: `(text, ...)`. Returns (low, high), each `(...)`.
    Raises ArgumentError for fewer than two texts or resamples, and for NaN (a text without a target).
    """
    from scipy.stats import bootstrap

    values = checked_array("bootstrap_interval", "values", values, axes="(text, ...)")
    check_whole("bootstrap_interval", 2, resamples=resamples)
    check_seed("bootstrap_interval", seed)
    if not isinstance(level, (int, float)) or not 0 < level < 1:
        raise ArgumentError(f"bootstrap_interval: level is {level!r}; it must be a share between 0 and 1.")
    if len(values) < 2:
        raise ArgumentError(f"bootstrap_interval: values has {len(values)} texts; an interval needs two or more.")
    interval = bootstrap(
        (values,),
        np.mean,
        axis=0,
        batch=100,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return interval.low, interval.high


def _positions(tensor):
    return torch.arange(tensor.shape[-1], device=tensor.device)


def _check(operation, pattern):
    check_tensors(operation, axes="(..., query, key)", pattern=pattern)
    _check_square(operation, pattern)


def _check_square(operation, pattern):
    if pattern.shape[-1] != pattern.shape[-2]:
        raise ArgumentError(
            f"{operation}: pattern has axes (..., query, key) of one length; got {tuple(pattern.shape)}."
        )
