"""Every score of every head of a model, over any number of texts."""

import torch

from .capture import attention_modules, checked_tokens, visit_attention
from .errors import ArgumentError, check_devices, check_tensors, checked_array
from .heads import TARGETS, bare_shares
from .progress import progress
from .texts import checked_batches

SCORES = [*TARGETS, "value_weighted_first_token", "entropy_share"]


def survey(model, batches, *, per_text=False):
    """Score every head over batches of texts.

    batches: an iterable of (tokens, mask), each `(text, position)`: ids, and True for tokens, False for padding, which
        must stand on the right. tokens alone will do when nothing is padded. A list shows its length in the progress
        bar; a generator keeps only one batch in memory.
    per_text: give every text's scores, as a bootstrap over texts needs them, instead of the mean over queries.

    Returns a dict: name -> `(layer, head)` tensor, float64, on the CPU, or `(text, layer, head)`; the names are
    SCORES, without those that no query had a target for. With per_text, NaN marks a text that had none.

    Patterns are read one layer at a time and added up at once: time grows with the number of tokens, memory does not.
    Raises ArgumentError when a text is all padding, padding stands on the left, a pattern holds NaN, no text is given,
    or none has a second token.
    """
    sums, counts = survey_sums(model, progress(checked_batches("survey", batches), "batch"), per_text=per_text)
    scores = mean_scores(sums, counts)
    if not scores:
        raise ArgumentError("survey: every text is of one token, which chooses nothing. Give texts of two or more.")
    return scores if per_text else {name: score[0] for name, score in scores.items()}


@torch.no_grad()
def survey_sums(model, batches, *, per_text=False):
    """What `survey` divides: (sums `(text, layer, head, score)` over queries, counts `(text, score)` of queries).

    Without per_text there is one row, for all texts. Sums of several surveys of one model can be added up: those of all
    texts are the sum of those of its parts. Float64, on the CPU; scores in the order of SCORES.
    """
    layers = len(attention_modules(model))
    sums, counts = [], []
    for batch in checked_batches("survey", batches):
        tokens, mask = (each.to(model.device) for each in checked_tokens("survey", model, batch))
        found = _Batch(tokens, mask, layers)
        with visit_attention(model, found.add):
            model.base_model(tokens, attention_mask=mask.long(), use_cache=True)  # no logits: nobody asks for them
        sums.append(found.sums)
        counts.append(found.counts)
        if not per_text:  # running sums only
            sums, counts = (
                [sum(each.sum(0, keepdim=True) for each in sums)],
                [sum(each.sum(0, keepdim=True) for each in counts)],
            )
    if not sums:
        raise ArgumentError("survey: there are no texts. Give at least one batch of tokens.")
    return torch.cat(sums), torch.cat(counts)


def mean_scores(sums, counts):
    """{name: scores `(text, layer, head)`} from the sums and counts of `survey_sums`, as `survey` gives them."""
    check_tensors("mean_scores", axes="(text, layer, head, score)", sums=sums)
    check_tensors("mean_scores", axes="(text, score)", counts=counts)
    check_devices("mean_scores", sums=sums, counts=counts)
    if counts.shape != (len(sums), len(SCORES)) or sums.shape[-1] != len(SCORES):
        raise ArgumentError(
            f"mean_scores: sums is {tuple(sums.shape)} and counts {tuple(counts.shape)}; both must have the same texts "
            f"and {len(SCORES)} scores, as survey_sums gives them."
        )
    scores = {name: sums[..., index] / counts[:, None, None, index] for index, name in enumerate(SCORES)}
    return {name: score for index, (name, score) in enumerate(scores.items()) if counts[:, index].any()}


class _Batch:
    """The sums of one batch: `sums` (text, layer, head, score) over queries, `counts` (text, score) of queries."""

    def __init__(self, tokens, mask, layers):
        self.layers, self.sums = layers, None
        targets = [make(tokens, mask) for make in TARGETS.values()]
        self.queries = mask[:, 1:]  # all but the first: they choose
        self.targets = torch.stack([each.flatten(1) for each in targets], -1).float()  # (text, query x key, target)
        chosen = self.queries.sum(1)
        self.counts = torch.stack([*(each.any(-1).sum(-1) for each in targets), chosen, chosen], -1).cpu().double()

    def add(self, layer, pattern, values):
        """pattern: (text, head, query, key); values: (text, head, key, head size)."""
        to_targets = pattern.flatten(2) @ self.targets
        check_tensors("survey", **{f"the attention of layer {layer}": to_targets})  # NaN anywhere in it is NaN here
        norms = values.norm(dim=-1)
        weighted = pattern[:, :, 1:, 0] * norms[:, :, :1] / (pattern[:, :, 1:] @ norms[..., None])[..., 0]
        rest = torch.stack([weighted, bare_shares("survey", pattern)[:, :, 1:]], -1)
        rest = torch.where(self.queries[:, None, :, None], rest, 0).sum(2)
        found = torch.cat([to_targets, rest], -1).cpu().double()  # on the CPU: Apple's GPUs have no float64
        check_tensors("survey", **{f"the attention of layer {layer}": found})
        if self.sums is None:
            text, head, score = found.shape
            self.sums = found.new_zeros(text, self.layers, head, score)
        self.sums[:, layer] = found


def table(scores):
    """Scores as a table, a row for each head, "layer.head" as its index."""
    import pandas as pd

    if not isinstance(scores, dict) or not scores:
        raise ArgumentError(f"table: scores must be a dict, name -> (layer, head); got {scores!r}.")
    found = {
        name: checked_array("table", f"scores[{name!r}]", each, axes="(layer, head)", finite=False)
        for name, each in scores.items()
    }
    shapes = {name: each.shape for name, each in found.items()}
    if len(set(shapes.values())) > 1:
        raise ArgumentError(f"table: all scores must be of the same heads, (layer, head); got {shapes}.")
    layers, heads = next(iter(shapes.values()))
    names = [f"{layer}.{head}" for layer in range(layers) for head in range(heads)]
    return pd.DataFrame({name: each.ravel() for name, each in found.items()}, index=names)
