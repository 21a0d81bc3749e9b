"""Sweeps: one replacement at a time, and what it does to a metric.

A metric is a function of the model alone, `metric(model)`: it runs the model on texts of its own and returns a number,
or one a text, so that their spread is known. Those below need their texts first: `partial(text_loss, tokens=..., ...)`.
"""

import torch

from .capture import check_calls, checked_tokens, names_of, replace_heads, replace_stream
from .errors import ArgumentError, check_model, check_readable, check_tensors, checked_ids, head_count
from .progress import progress


@torch.no_grad()
def text_loss(model, tokens, mask=None):
    """Mean loss of predicting each next token, in nats, of every text: `(text,)`.

    tokens, mask: `(text, position)`; mask is True for tokens and False for padding, None when there is none. Raises
    ArgumentError for a text of one token, and as `checked_batch` does; ModelError for a model in train mode, and for
    one that is no causal language model of transformers.
    """
    check_readable("text_loss", model, logits=True)
    tokens, mask = (each.cpu() for each in checked_tokens("text_loss", model, tokens, mask))
    counted = mask[:, 1:]
    if not counted.any(1).all():
        raise ArgumentError("text_loss: a text in tokens has one only; there is no next one to predict.")
    return torch.where(counted, _losses(model, tokens, mask), 0).sum(1) / counted.sum(1)


@torch.no_grad()
def repeat_gain(model, tokens):
    """How much less the second copy of a repeated piece surprises than the first, in nats a token: `(sequence,)`.

    tokens: `(sequence, 2 * length)`, as `repeated_random_tokens` gives them without a start token. Positive for a model
    that makes use of the repetition. Both copies without their first token: the second's cannot be known. Raises
    ArgumentError when a sequence is not a piece of two tokens or more, and the same piece again.
    """
    check_readable("repeat_gain", model, logits=True)
    tokens, mask = checked_tokens("repeat_gain", model, tokens)
    length = tokens.shape[1] // 2
    if length < 2 or not torch.equal(tokens[:, :length], tokens[:, length:]):
        raise ArgumentError("repeat_gain: tokens must hold a piece of two tokens or more, and the same piece again.")
    loss = _losses(model, tokens, mask)
    return loss[:, : length - 1].mean(1) - loss[:, length:].mean(1)


@torch.no_grad()
def logit_difference(model, tokens, right, wrong):
    """Logit of `right` minus logit of `wrong` after the last token, of every text: `(text,)`.

    tokens: `(text, position)`; right, wrong: token ids, or `(text,)`. Texts must be of one length: padding would be the
    last token. Raises ArgumentError for ids that the vocabulary does not have.
    """
    check_readable("logit_difference", model, logits=True)
    tokens, _ = checked_tokens("logit_difference", model, tokens)
    logits = model(tokens.to(model.device)).logits[:, -1].cpu()
    words = {"right": right, "wrong": wrong}
    pair = (
        checked_ids("logit_difference", each, logits.shape[1], tokens.shape[:1], name) for name, each in words.items()
    )
    right, wrong = (logits.gather(1, each.cpu()[:, None])[:, 0] for each in pair)
    return right - wrong


def sweep_heads(model, metric, replacement, heads=None):
    """The metric with every head replaced in turn: `(layer, head, ...)`.

    replacement: as for `replace_heads`. heads: names; the rest is NaN. None for all. Raises ArgumentError when no head
    is named, and as `replace_heads` does.
    """
    count = head_count("sweep_heads", model)
    check_calls("sweep_heads", metric=metric, replacement=replacement)
    layers = model.config.num_hidden_layers
    names = [f"{layer}.{head}" for layer in range(layers) for head in range(count)] if heads is None else heads
    names = names_of("sweep_heads", "heads", names)
    if not names:
        raise ArgumentError("sweep_heads: no head is named; give at least one, or None for all.")
    found = {}
    for name in progress(names, "head"):
        with replace_heads(model, [name], replacement):
            found[name] = _measured("sweep_heads", metric, model)
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
    check_model("sweep_stream", model)
    check_calls("sweep_stream", metric=metric)
    check_tensors("sweep_stream", axes="(layer, batch, position, d_model)", streams=streams)
    if len(streams) != model.config.num_hidden_layers + 1:
        raise ArgumentError(
            f"sweep_stream: streams has {len(streams)} layers; the model has {model.config.num_hidden_layers}, and one "
            "is added after the last. read_streams gives them all."
        )
    rows = []
    for layer in progress(range(len(streams)), "layer"):
        row = []
        for position in range(streams.shape[2]):
            with replace_stream(model, layer, streams[layer], position):
                row.append(_measured("sweep_stream", metric, model).cpu())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _measured(operation, metric, model):
    found = metric(model)
    try:
        return torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise ArgumentError(f"{operation}: metric must return a number or a tensor; got {found!r:.60}.") from problem


def _losses(model, tokens, mask):
    """Loss of each next token, `(text, position - 1)`, on the CPU."""
    logits = model(tokens.to(model.device), attention_mask=mask.long().to(model.device), use_cache=False).logits
    cross_entropy = torch.nn.functional.cross_entropy  # text by text: the vocabulary is long
    losses = [cross_entropy(a[:-1].float(), b[1:].to(a.device), reduction="none") for a, b in zip(logits, tokens)]
    return torch.stack(losses).cpu()
