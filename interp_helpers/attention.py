"""What attention heads look at: patterns become scores, scores become classes, and `survey` scores whole models.

A pattern has axes `(..., query, key)`: each row holds the weights that one query gives to all keys, 0 for keys after
it, and sums to 1. All functions keep the leading axes, so layers, texts and heads can be scored at once.

Most scores ask how much attention goes to a certain key. A *target* marks that key, a boolean `(..., query, key)`
made from the tokens alone, and the score is the mean over all queries that have one.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .errors import ArgumentError, check_finite, checked
from .identities import holds
from .models import prepare
from .progress import progress
from .visits import read, visit_attention

# A head is of a kind when more than half of its attention goes to the keys of that kind, on average. The same share
# separates focused from diffuse heads: half of the entropy of uniform attention.
MAJORITY = 0.5
KINDS = ["induction", "duplicate_token", "previous_token", "current_token", "first_token", "focused", "diffuse"]


@checked
def previous_token_target(tokens: Int[Tensor, "*batch position"]) -> Bool[Tensor, "*batch position position"]:
    """The token before the query."""
    position = torch.arange(tokens.shape[-1], device=tokens.device)
    return (position[:, None] - 1 == position).expand(*tokens.shape, -1)


@checked
def first_token_target(tokens: Int[Tensor, "*batch position"]) -> Bool[Tensor, "*batch position position"]:
    """The first token, for every query after it."""
    position = torch.arange(tokens.shape[-1], device=tokens.device)
    return ((position == 0) & (position[:, None] > 0)).expand(*tokens.shape, -1)


@checked
def current_token_target(tokens: Int[Tensor, "*batch position"]) -> Bool[Tensor, "*batch position position"]:
    """The query itself, for every query but the first, which has no choice."""
    position = torch.arange(tokens.shape[-1], device=tokens.device)
    return ((position[:, None] == position) & (position > 0)).expand(*tokens.shape, -1)


@checked
def duplicate_token_target(tokens: Int[Tensor, "*batch position"]) -> Bool[Tensor, "*batch position position"]:
    """Earlier occurrences of the query's token, for every query that has any."""
    return (tokens[..., :, None] == tokens[..., None, :]).tril(-1)


@checked
def induction_target(tokens: Int[Tensor, "*batch position"]) -> Bool[Tensor, "*batch position position"]:
    """What followed earlier occurrences of the query's token, for every query that has any.

    In "a b ... a", the target of the second a is b (Olsson et al. 2022, arXiv:2209.11895).

    >>> induction_target(torch.tensor([7, 8, 7])).int().tolist()
    [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    """
    return torch.nn.functional.pad(duplicate_token_target(tokens), (1, 0))[..., :-1]


TARGETS = {
    "previous_token": previous_token_target,
    "first_token": first_token_target,
    "current_token": current_token_target,
    "duplicate_token": duplicate_token_target,
    "induction": induction_target,
}
# What a survey measures besides attention to targets. The first multiplies every weight by the length of the value at
# its key, because a head takes little from a short one (after Kobayashi et al. 2020, arXiv:2004.10102, who also put the
# values through the output matrix).
MORE_SCORES = ["value_weighted_first_token", "entropy_share"]
SCORES = [*TARGETS, *MORE_SCORES]  # what it measures by default, in this order


@checked
def target_score(
    pattern: Float[Tensor, "*batch query key"], target: Bool[Tensor, "*#batch query key"]
) -> Float[Tensor, "*batch"]:
    """Mean attention to the target, over the queries that have one: between 0 and 1.

    For a pattern (text, head, query, key), make the target from `tokens[:, None]`, so that it is the same for all
    heads. Raises ArgumentError when no query has a target, as in a text without a repetition for duplicates and
    induction, and when the row of one that has does not sum to 1 or holds NaN.

    >>> pattern = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]])
    >>> target_score(pattern, first_token_target(torch.tensor([7, 8, 9])))
    tensor(0.7500)
    """
    has_target = target.any(-1)
    if not has_target.any(-1).all():
        raise ArgumentError("target_score: no query has a target. Take a text with more tokens, or with repeated ones.")
    _check_rows(pattern, has_target)
    return (in_full(pattern) * target).sum((-2, -1)) / has_target.sum(-1)


def in_full(numbers):
    """A tensor in half precision as float32, any other as it is: what is added up in half loses digits, or is infinite.

    >>> in_full(torch.ones(2, dtype=torch.bfloat16)).dtype, in_full(torch.ones(2, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def as_array(numbers):
    """A tensor of any type and device, or what numpy takes, as an array of float64."""
    return np.asarray(numbers.detach().cpu().double() if isinstance(numbers, Tensor) else numbers, dtype=float)


def _entropy(pattern):
    """Entropy of each query's attention, -sum a log2 a, in bits: `(..., query)`."""
    logs = pattern.clamp_min(torch.finfo(pattern.dtype).tiny).log2()  # three times as fast as torch.special.entr
    return (pattern * -logs).sum(-1)


@checked
def entropy_share(pattern: Float[Tensor, "*batch query query"]) -> Float[Tensor, "*batch"]:
    """Mean entropy of a query as a share of its maximum: 0 for attention to one key, 1 for uniform attention.

    The maximum is log2 of the number of keys up to the query. The first query has no choice and does not count. A
    layer with a local window reaches less than 1 where the window is shorter than the text. Raises ArgumentError when
    a row does not sum to 1 or holds NaN, and for a text of one token.

    >>> entropy_share(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [1, 0, 0]]))
    tensor(0.5000)
    """
    _check_rows(pattern)
    if pattern.shape[-1] < 2:
        raise ArgumentError("entropy_share: no query has a choice; give a text of two tokens or more.")
    return _entropy_shares(in_full(pattern)).mean(-1)


def _entropy_shares(pattern):
    """The shares of all queries but the first, `(..., query - 1)`."""
    keys = torch.arange(2, pattern.shape[-1] + 1, device=pattern.device, dtype=pattern.dtype)
    return _entropy(pattern[..., 1:, :]) / keys.log2()


@checked
def look_at(pattern: Float[Tensor, "text head query key"], head: int, key: int) -> Float[Tensor, "text head query key"]:
    """A pattern in which one head, at the last query, gives one key all attention but that on the first key.

    Each row still sums to 1. For a hook on a bridge's `hook_pattern`, to see what a head does when it looks elsewhere.

    >>> look_at(torch.tensor([[[[1.0, 0, 0], [0.5, 0.5, 0], [0.5, 0.25, 0.25]]]]), 0, 1)[0, 0, -1]
    tensor([0.5000, 0.5000, 0.0000])
    """
    new = pattern.clone()
    new[:, head, -1, 1:] = 0
    new[:, head, -1, key] += 1 - pattern[:, head, -1, 0]
    return new


def _check_rows(pattern, counted=True):
    """Raise ArgumentError when rows are no attention. counted: rows that matter. Half precision keeps three digits."""
    sums, rounding = pattern.float().sum(-1), 1e-2 if pattern.dtype in (torch.float16, torch.bfloat16) else 1e-3
    bad = counted & ~(((sums - 1).abs() <= rounding) & (pattern.amin(-1) >= 0))  # that is what NaN makes of it, too
    if bad.any():
        raise ArgumentError(f"Rows sum to 1, none below 0; row {bad.nonzero()[0].tolist()} sums to {sums[bad][0]:.4g}.")


def classify(scores):
    """The class of every head, one of KINDS: an array of strings `(layer, head)`.

    scores: name -> `(layer, head)`, with the names of TARGETS and "entropy_share". A head is named after the first of
    KINDS to which more than half of its attention goes; a head with none is focused when its entropy is less than half
    of the maximum, and diffuse otherwise. Induction and duplicates come first: they are measured on repeated tokens,
    the others on text, so that a head can pass twice. Raises ArgumentError when a score is missing or
    NaN, because no text had such a target.
    """
    if missing := {*TARGETS, "entropy_share"} - {*scores}:
        raise ArgumentError(f"There are no scores of {missing}; survey repeated_random_tokens too.")
    scores = {name: torch.as_tensor(scores[name]) for name in [*TARGETS, "entropy_share"]}
    check_finite(**scores)
    kinds = np.where(scores["entropy_share"].cpu() < MAJORITY, "focused", "diffuse").astype("<U15")
    for kind in reversed(KINDS[: len(TARGETS)]):
        kinds[(scores[kind] > MAJORITY).cpu().numpy()] = kind
    return kinds


def bootstrap_interval(values, level=0.95, resamples=999, seed=0):
    """Interval of the mean over texts, by the percentile bootstrap (Efron 1979).

    values: `(text, ...)`, a tensor or an array. Returns (low, high), arrays `(...)`, NaN where a text has NaN.
    """
    values, generator = as_array(values), np.random.default_rng(seed)
    means = [values[generator.integers(len(values), size=len(values))].mean(0) for _ in range(resamples)]
    return tuple(np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0))


def survey(model, batches, *, targets=TARGETS, per_text=False):
    """Score every head of a model over batches of texts.

    model: of `load_model` or `load_bridge`; a bridge may have hooks that change it (`with bridge.hooks(...)`).
    batches: an iterable of Batch, or of tokens `(text, position)`. A list shows its length in the progress bar; a
    generator keeps only one batch in memory.
    targets: name -> function that makes a target, boolean `(text, query, key)`, from tokens `(text, position)`. The
    function sees padding as tokens, with the ids that it has in the batch. Queries of padding never count.
    per_text: give every text's scores, `(text, layer, head)`, as a bootstrap needs them; NaN marks a text without a
    target.

    Returns name -> `(layer, head)`, means over queries, float64, on the CPU. The names are those of the targets and
    then MORE_SCORES, without those that no query had a target for: texts of one token give none. Patterns are read one
    layer at a time and added up at once: time grows with the number of tokens, memory does not. Raises ArgumentError
    for NaN in a pattern, and for a target of another type or shape.
    """
    sums, counts = survey_sums(model, progress(batches, "batch"), targets=targets, per_text=per_text)
    scores = mean_scores(sums, counts, [*targets, *MORE_SCORES])
    return scores if per_text else {name: score[0] for name, score in scores.items()}


def survey_sums(model, batches, *, targets=TARGETS, per_text=False):
    """What `survey` divides: (sums over queries `(text, layer, head, score)`, numbers of queries `(text, score)`).

    Without per_text there is one row, for all texts. The sums of all texts are those of their parts added up.
    Float64, on the CPU; scores in the order of the targets and then MORE_SCORES, which is SCORES by default.
    """
    rows = []
    for texts in batches:
        row = _batch_sums(model, prepare(model, texts), targets)
        if per_text:
            rows.append(row)
        else:
            rows = [[sum(part.sum(0, keepdim=True) for part in parts) for parts in zip(*rows, row)]]
    return torch.cat([sums for sums, _ in rows]), torch.cat([counts for _, counts in rows])


def mean_scores(sums, counts, names=SCORES):
    """What `survey_sums` has added up, as means: {name: `(text, layer, head)`}, without what no query counted for."""
    means = (sums / counts[:, None, None]).unbind(-1)
    return {name: score for name, score, count in zip(names, means, counts.T) if count.any()}


@torch.no_grad()
def _batch_sums(model, batch, targets):
    marked = batch.mask.new_zeros(*batch.tokens.shape, batch.tokens.shape[1], len(targets))
    for number, (name, make) in enumerate(targets.items()):
        target = make(batch.tokens)
        if target.dtype != torch.bool or target.shape != marked.shape[:-1]:
            wanted, got = f"booleans of shape {tuple(marked.shape[:-1])}", f"{target.dtype} of {tuple(target.shape)}"
            raise ArgumentError(f"The target {name!r} must be (text, query, key), here {wanted}; it is {got}.")
        # Padding stands on the right, where no token looks: leaving it out as a query is enough.
        marked[..., number] = target & batch.mask[:, :, None]
    chosen, weighted = batch.mask[:, 1:].sum(1, keepdim=True), holds(model, "values")
    counts = torch.cat([marked.any(2).sum(1), chosen * weighted, chosen], 1)
    targets, mask, sums = marked.flatten(1, 2).float(), batch.mask[:, None, 1:, None], []

    def visit(layer, pattern, values):
        """pattern: (text, head, query, key); values: (text, head, key, d_head)."""
        pattern = pattern.float()  # half-precision models add up in float32
        norms = values.float().norm(dim=-1) if weighted else torch.ones_like(pattern[:, :, 0])
        to_targets = pattern.flatten(2) @ targets.to(pattern.device)  # a device_map puts layers on several devices
        later = pattern[:, :, 1:]
        from_first = later[..., 0] * norms[:, :, :1] / (later @ norms[..., None])[..., 0]
        rest = torch.stack([from_first, _entropy_shares(pattern)], -1)
        rest = torch.where(mask.to(pattern.device), rest, 0).sum(2)
        sums.append(torch.cat([to_targets, rest], -1).cpu().double())  # on the CPU: Apple's GPUs have no float64
        check_finite(**{f"The attention of layer {layer}": sums[-1]})

    with visit_attention(model, visit, values=weighted):
        read(model, batch)
    return torch.stack(sums, 1), counts.cpu().double()


def head_label(layer, head):
    """How a head is printed: "L4H3" for head 3 of layer 4."""
    return f"L{layer}H{head}"


def head_labels(layers, heads):
    """The labels of all heads, in order: L0H0, L0H1, ..."""
    return [head_label(layer, head) for layer in range(layers) for head in range(heads)]


def top_head(scores):
    """(layer, head) of the largest entry of scores `(layer, head)`, a tensor or an array; NaN is none.

    >>> top_head(torch.tensor([[0.1, 0.2], [0.7, 0.3]]))
    (1, 0)
    """
    return divmod(int(np.nanargmax(as_array(scores))), scores.shape[1])


def scores_table(scores):
    """Scores, name -> `(layer, head)`, as a DataFrame with a row for each head, "L4H3" in its index."""
    import pandas as pd

    layers, heads = next(iter(scores.values())).shape
    columns = {name: as_array(score).ravel() for name, score in scores.items()}
    return pd.DataFrame(columns, index=head_labels(layers, heads))
