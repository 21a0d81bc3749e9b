"""Sweeps: one replacement at a time, and what it does to a metric.

A metric is a function of the model alone, `metric(model)`: it runs the model on texts of its own and returns a number,
or one a text, so that their spread is known. Those below need their texts first: `partial(text_loss, tokens=..., ...)`.
"""

import torch

from .capture import replace_heads, replace_stream
from .errors import ArgumentError, checked_ids
from .progress import progress
from .texts import checked_batch


@torch.no_grad()
def text_loss(model, tokens, mask=None):
    """Mean loss of predicting each next token, in nats, of every text: `(text,)`.

    tokens, mask: `(text, position)`; mask is True for tokens and False for padding, None when there is none. Raises
    ArgumentError for a text of one token, and as `checked_batch` does.
    """
    tokens, mask = (each.cpu() for each in checked_batch("text_loss", tokens if mask is None else (tokens, mask)))
    counted = mask[:, 1:]
    if not counted.any(1).all():
        raise ArgumentError("text_loss: a text has one token only; there is no next one to predict.")
    return torch.where(counted, _losses(model, tokens, mask), 0).sum(1) / counted.sum(1)


@torch.no_grad()
def repeat_gain(model, tokens):
    """How much less the second copy of a repeated piece surprises than the first, in nats a token: `(sequence,)`.

    tokens: `(sequence, 2 * length)`, as `repeated_random_tokens` gives them without a start token. Positive for a model
    that makes use of the repetition. Both copies without their first token: the second's cannot be known. Raises
    ArgumentError when a sequence is not a piece of two tokens or more, and the same piece again.
    """
    tokens, mask = checked_batch("repeat_gain", tokens)
    length = tokens.shape[1] // 2
    if length < 2 or not torch.equal(tokens[:, :length], tokens[:, length:]):
        raise ArgumentError("repeat_gain: a sequence must be a piece of two tokens or more, and its first half again.")
    loss = _losses(model, tokens, mask)
    return loss[:, : length - 1].mean(1) - loss[:, length:].mean(1)


@torch.no_grad()
def logit_difference(model, tokens, right, wrong):
    """Logit of `right` minus logit of `wrong` after the last token, of every text: `(text,)`.

    tokens: `(text, position)`; right, wrong: token ids, or `(text,)`. Texts must be of one length: padding would be the
    last token. Raises ArgumentError for ids that the vocabulary does not have.
    """
    logits = model(tokens.to(model.device)).logits[:, -1].cpu()
    pair = (checked_ids("logit_difference", each, logits.shape[1], tokens.shape[:1]) for each in (right, wrong))
    right, wrong = (logits.gather(1, each.cpu()[:, None])[:, 0] for each in pair)
    return right - wrong


def sweep_heads(model, metric, replacement, heads=None):
    """The metric with every head replaced in turn: `(layer, head, ...)`.

    replacement: as for `replace_heads`. heads: names; the rest is NaN. None for all. Raises ArgumentError when no head
    is named, and as `replace_heads` does.
    """
    layers, count = model.config.num_hidden_layers, model.config.num_attention_heads
    names = [f"{layer}.{head}" for layer in range(layers) for head in range(count)] if heads is None else list(heads)
    if not names:
        raise ArgumentError("sweep_heads: no head is named; give at least one, or None for all.")
    found = {}
    for name in progress(names, "head"):
        with replace_heads(model, [name], replacement):
            found[name] = torch.as_tensor(metric(model))
    first = next(iter(found.values()))
    result = torch.full((layers, count, *first.shape), torch.nan)
    for name, value in found.items():
        result[tuple(map(int, name.split(".")))] = value.cpu()
    return result


def sweep_stream(model, metric, streams):
    """The metric with the stream replaced at one layer and position in turn: `(layer + 1, position, ...)`.

    streams: `(layer + 1, batch, position, d_model)`, as `read_streams` gives them for the other text. Raises
    ArgumentError for another shape, and as `replace_stream` does.
    """
    if streams.ndim != 4 or 0 in streams.shape:
        raise ArgumentError(
            f"sweep_stream: streams are (layer + 1, batch, position, d_model); got {tuple(streams.shape)}."
        )
    rows = []
    for layer in progress(range(len(streams)), "layer"):
        row = []
        for position in range(streams.shape[2]):
            with replace_stream(model, layer, streams[layer], position):
                row.append(torch.as_tensor(metric(model)).cpu())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _losses(model, tokens, mask):
    """Loss of each next token, `(text, position - 1)`, on the CPU."""
    logits = model(tokens.to(model.device), attention_mask=mask.long().to(model.device), use_cache=False).logits
    cross_entropy = torch.nn.functional.cross_entropy  # text by text: the vocabulary is long
    losses = [cross_entropy(a[:-1].float(), b[1:].to(a.device), reduction="none") for a, b in zip(logits, tokens)]
    return torch.stack(losses).cpu()
