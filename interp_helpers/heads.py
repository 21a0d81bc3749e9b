"""Attention patterns become scores for every head, and scores become classes.

A pattern has axes `(..., query, key)`: each row holds the weights that one query gives to all keys, 0 for keys after
it, and sums to 1. All functions keep the leading axes, so layers, texts and heads can be scored at once.

Most scores ask the same question: how much attention goes to a certain key? The key is marked by a *target*, a boolean
`(..., query, key)`, and the score is the mean over all queries that have one. Which queries count is in the targets.
"""

import numpy as np
import torch

from .errors import ArgumentError, check_finite

# A head is of a kind when more than half of its attention is: then, on those texts, no other key has more. The same
# share parts focused from broad: half of the entropy that an even spread would have.
MAJORITY = 0.5
KINDS = ["induction", "duplicate_token", "previous_token", "current_token", "first_token", "focused", "broad"]


def previous_token_target(tokens, mask=None):
    """The token before the query. tokens: `(..., position)`; mask: True for tokens, False for padding."""
    position = torch.arange(tokens.shape[-1], device=tokens.device)
    return _for_tokens(position[:, None] - 1 == position, tokens, mask)


def first_token_target(tokens, mask=None):
    """The first position, for every query after it."""
    position = torch.arange(tokens.shape[-1], device=tokens.device)
    return _for_tokens((position == 0) & (position[:, None] > 0), tokens, mask)


def current_token_target(tokens, mask=None):
    """The query itself, for every query but the first, which has no choice."""
    position = torch.arange(tokens.shape[-1], device=tokens.device)
    return _for_tokens((position[:, None] == position) & (position > 0), tokens, mask)


def duplicate_token_target(tokens, mask=None):
    """Earlier occurrences of the query's token, for every query that has any."""
    return _for_tokens((tokens[..., :, None] == tokens[..., None, :]).tril(-1), tokens, mask)


def induction_target(tokens, mask=None):
    """What followed earlier occurrences of the query's token, for every query that has any.

    In "a b ... a", the target of the second a is b (Olsson et al. 2022, arXiv:2209.11895).
    """
    same = (tokens[..., :, None] == tokens[..., None, :]).tril(-1)
    return _for_tokens(torch.nn.functional.pad(same, (1, 0))[..., :-1], tokens, mask)


TARGETS = {
    "previous_token": previous_token_target,
    "first_token": first_token_target,
    "current_token": current_token_target,
    "duplicate_token": duplicate_token_target,
    "induction": induction_target,
}


def _for_tokens(target, tokens, mask):
    """The target for tokens `(..., position)`, without queries and keys that are padding."""
    target = target.expand(*tokens.shape, tokens.shape[-1])
    return target if mask is None else target & mask[..., :, None] & mask[..., None, :]


def target_score(pattern, target):
    """Mean attention to the target, over the queries that have one.

    pattern: `(..., query, key)`; target: boolean, broadcast against it: for a pattern (batch, head, query, key), give
    tokens as `tokens[:, None]` to the functions that make it. Returns `(...)`, in [0, 1].
    Raises ArgumentError when no query has a target, and when the pattern holds NaN.

    >>> pattern = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]])
    >>> target_score(pattern, previous_token_target(torch.tensor([7, 8, 9])))
    tensor(0.7500)
    """
    _check(pattern, "target_score")
    queries = target.any(-1).sum(-1)
    if (queries == 0).any():
        raise ArgumentError(
            "target_score: no query has a target. A score of duplicates or induction needs a token that occurs twice; "
            "every score needs a text of two tokens or more."
        )
    return (pattern * target).sum((-2, -1)) / queries


def previous_token_score(pattern, mask=None):
    """Mean attention from each token to the one before it; see `target_score` for shapes and errors.

    >>> previous_token_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]))
    tensor(0.7500)
    """
    return target_score(pattern, previous_token_target(_positions(pattern), mask))


def first_token_score(pattern, mask=None):
    """Mean attention from each token but the first to the first.

    >>> first_token_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]))
    tensor(0.7500)
    """
    return target_score(pattern, first_token_target(_positions(pattern), mask))


def current_token_score(pattern, mask=None):
    """Mean attention from each token but the first to itself.

    >>> current_token_score(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]))
    tensor(0.5000)
    """
    return target_score(pattern, current_token_target(_positions(pattern), mask))


def duplicate_token_score(pattern, tokens, mask=None):
    """Mean attention from a token that occurred before to its earlier occurrences.

    tokens: `(..., position)`, broadcast like a target.

    >>> duplicate_token_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]), torch.tensor([4, 6, 4]))
    tensor(0.5000)
    """
    return target_score(pattern, duplicate_token_target(tokens, mask))


def induction_score(pattern, tokens, mask=None):
    """Mean attention from a token that occurred before to what followed its earlier occurrences.

    tokens: `(..., position)`, broadcast like a target.

    >>> induction_score(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.25, 0.75, 0]]), torch.tensor([4, 6, 4]))
    tensor(0.7500)
    """
    return target_score(pattern, induction_target(tokens, mask))


def entropy_bits(pattern):
    """Entropy of every query's attention, -sum a log2 a, in bits: `(..., query, key)` to `(..., query)`.

    >>> entropy_bits(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.25, 0.5, 0.25]]))
    tensor([0.0000, 1.0000, 1.5000])
    """
    logs = pattern.clamp_min(torch.finfo(pattern.dtype).tiny).log2()  # three times as fast as torch.special.entr
    return (pattern * -logs).sum(-1)


def entropy_shares(pattern):
    """Entropy of every query as a share of its maximum, log2 of the number of keys up to it; `(..., query)`.

    The first query has one key and no choice: its share is 0. A layer with a local window reaches less than 1 where
    the window is shorter than the text.
    """
    keys = torch.arange(1, pattern.shape[-1] + 1, device=pattern.device, dtype=pattern.dtype)
    return entropy_bits(pattern) / keys.log2().clamp(min=1e-30)


def entropy_share(pattern, mask=None):
    """Mean of `entropy_shares` over all queries but the first: 0 for one key, 1 for an even spread; `(...)`.

    >>> entropy_share(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [1, 0, 0]]))
    tensor(0.5000)
    """
    _check(pattern, "entropy_share")
    shares = entropy_shares(pattern)
    counts = torch.ones_like(shares) if mask is None else mask.to(shares.dtype).expand_as(shares)
    return (shares * counts)[..., 1:].sum(-1) / counts[..., 1:].sum(-1)


def value_weighted(pattern, value_norms):
    """The pattern with every weight multiplied by the norm of the value it brings, rows again summing to 1.

    A head that attends to a position with a short value vector takes less from there than its weights suggest. After
    Kobayashi et al. 2020 (arXiv:2004.10102), who also put the values through the output matrix; this does not. The
    result is a share: it does not say how much a head moves in all. value_norms: `(..., key)`, not negative.

    >>> value_weighted(torch.tensor([[1.0, 0], [0.5, 0.5]]), torch.tensor([1.0, 3.0]))
    tensor([[1.0000, 0.0000],
            [0.2500, 0.7500]])
    """
    moved = pattern * value_norms[..., None, :]
    return moved / moved.sum(-1, keepdim=True)


def classify(scores):
    """The class of every head, an array of strings `(layer, head)`.

    scores: name -> `(layer, head)`, with the names of `TARGETS` and "entropy_share". A head is named after the first
    of KINDS to which more than half of its attention goes; a head with none is focused when its entropy is less than
    half of its maximum, and broad otherwise. Induction and duplicates come first: they are measured on repeated
    tokens, the others on text, so that a head can pass twice. Raises ArgumentError when a score is missing or NaN.
    """
    for name in [*TARGETS, "entropy_share"]:
        if name not in scores or np.isnan(np.asarray(scores[name])).any():
            raise ArgumentError(f"classify: the score {name!r} is missing or NaN; a class needs all of them.")
    kinds = np.where(np.asarray(scores["entropy_share"]) < MAJORITY, "focused", "broad").astype("<U15")
    for kind in reversed(list(KINDS[:5])):
        kinds[np.asarray(scores[kind]) > MAJORITY] = kind
    return kinds


def bootstrap_interval(values, level=0.95, resamples=999, seed=0):
    """Interval of the mean over texts, by the percentile bootstrap (Efron 1979).

    values: `(text, ...)`. Returns (low, high), each `(...)`.
    Raises ArgumentError for fewer than two texts, and for NaN (a text without a target).
    """
    from scipy.stats import bootstrap

    values = np.asarray(values)
    if len(values) < 2:
        raise ArgumentError(f"bootstrap_interval: there are {len(values)} texts; an interval needs two or more.")
    if np.isnan(values).any():
        raise ArgumentError("bootstrap_interval: a value is NaN. Leave out the texts in which no query had a target.")
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


def _positions(pattern):
    return torch.arange(pattern.shape[-1], device=pattern.device)


def _check(pattern, operation):
    if pattern.ndim < 2 or pattern.shape[-1] != pattern.shape[-2]:
        raise ArgumentError(
            f"{operation}: a pattern has axes (..., query, key) of one length; got {tuple(pattern.shape)}."
        )
    check_finite(operation, "the pattern", pattern)
