"""Interactive views in a notebook or a web page, without any network.

A view holds its numbers and the styles and scripts of data/views. `lens_view`, `circuit_view`, `training_view` and
`blind_view` need nothing else, and `contexts_view` needs no JavaScript either. CircuitsVis draws the other views, and
`views_loader` brings its bundle, of version 1.43, once a page. CircuitsVis's Python functions would put it into every
view, and ask the network at each.

A notebook that is not trusted runs no JavaScript. It shows a sentence in place of attention patterns, and the coloured
texts, table or patterns alone in place of the other views.
"""

import base64
import hashlib
import html
import json
import math
import re
import zlib
from importlib import resources
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from IPython.display import HTML
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .errors import ArgumentError, check_finite, checked
from .text import token_labels

# A white card, because the drawing has dark letters on no ground of its own: it reads the same on a dark page.
_CARD = "background:white;color:black;padding:1em;max-width:50em;line-height:1.6"
_MISSING = (
    "An interactive attention view is drawn here once the notebook is trusted and the cell with views_loader() has run."
)

# Colours of the text, on all of which black is readable. The first two are of Okabe and Ito (2008). CircuitsVis colours
# predictions in pure red, with white letters, and has no property for that: a veil of white makes it the third colour.
_MORE, _LESS, _LIKELY = (86, 180, 233), (230, 159, 0), (255, 102, 102)
_RISE = (77, 187, 157)
_UNLIKELY = -5  # nats: CircuitsVis leaves such a token white, and those below


def _file(name):
    """A style or a script of data/views, without the comment at its head, which says why it is as it is."""
    return (Path(__file__).parent / "data/views" / name).read_text(encoding="utf-8").partition("*/")[2]


def _card(kind, view, fallback, style, component=""):
    """A view: the card with what it shows until it is drawn, its style, and the script that draws a component of
    CircuitsVis, or without one the script of this kind."""
    # JSON is ASCII here; without "<" no token can end the script.
    data = json.dumps(view, separators=(",", ":")).replace("<", "\\u003c")
    name = f"{kind}-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
    draw = _file("circuitsvis.js") if component else _file("tools.js") + _file(f"{kind}.js")
    return HTML(
        f'<div data-view="{name}" style="{_CARD}">{fallback}</div>\n{_style(name, style)}\n<script>'
        f'(async (name, component, view) => {{{_file("page.js")}{draw}}})("{name}", "{component}", {data})</script>'
    )


def _style(name, rules):
    """The element with the rules of a card and those that all cards share."""
    return f"<style>{(_file('every.css') + rules).replace('&', f'[data-view={name}]')}</style>"


@checked
def attention_view(
    tokens: list[str],
    pattern: Float[Tensor, "head token token"],
    names: list[str] | None = None,
    focus: int | None = None,
    digits: int = 3,
) -> HTML:
    """Attention of some heads as CircuitsVis's AttentionHeads: all of them small, one of them large with its numbers.

    tokens: a string for every position, as `token_labels` makes them. The area above the diagonal is grey when no head
    attends to later positions. names: one for every head, such as "L4H3"; without them, "H0" and so on. focus: index of
    the head that is large when the view opens, 0 if not given. digits: decimals that are kept. With 3, 8 causal heads
    of 32 tokens take about 15 kB.

    Click on a small pattern, or go there with the tab key and press Enter, to see it large. Point at a cell of the
    large one, or go there with the arrow keys, to read its weight.

    The view draws when the page has the output of `views_loader` too, and says so until then. A notebook that is not
    trusted runs no JavaScript: put a figure of matplotlib beside it. Raises ArgumentError for other shapes and NaN, and
    when names or focus do not fit the heads.
    """
    heads = len(pattern)
    if pattern.shape[-1] != len(tokens):
        raise ArgumentError(f"There are {len(tokens)} tokens, but pattern has the shape {tuple(pattern.shape)}.")
    names = [f"H{head}" for head in range(heads)] if names is None else names
    if len(names) != heads:
        raise ArgumentError(f"There are {len(names)} names for {heads} heads. Give each head one name.")
    if focus is not None and not 0 <= focus < heads:
        raise ArgumentError(f"focus is {focus}, but the heads are numbered from 0 to {heads - 1}.")
    check_finite(pattern=pattern)
    scale = 10**digits
    weights = (pattern.cpu().double() * scale).round().long()
    view = {
        "tokens": tokens,
        "attentionHeadNames": names,
        "weights": [[np.trim_zeros(row, "b") for row in head] for head in weights.tolist()],
        "scale": scale,
        "maskUpperTri": not weights.triu(1).any(),
        "focus": focus,
    }
    small = "5em" if heads <= 16 else "max(2.4em, 100% / 16.5)"  # 8 in a row on a phone, 16 on a desktop
    return _card("attention", view, _MISSING, f"& {{--small: {small}}}" + _file("attention.css"), "AttentionHeads")


@checked
def token_view(
    tokens: list[str], values: Float[Tensor, " token"], limits: tuple[float | int, float | int] | None = None
) -> HTML:
    """A text coloured by one number for every token, such as its loss, as CircuitsVis's ColoredTokens.

    tokens: a string for every number, as `token_labels` makes them. values: `(token,)`, three decimals are shown; point
    at a token, or go there with the arrow keys, to read its number. 0 is white, positive numbers are blue and negative
    ones orange. limits: the numbers (lowest, highest) that have the full colour, and so has everything beyond them. 0
    lies between them or is one of them. Without limits, both colours are full at the largest absolute value.

    The colours are seen without JavaScript too. Raises ArgumentError for other shapes and NaN, and for limits that are
    on one side of 0.
    """
    if len(values) != len(tokens):
        raise ArgumentError(f"There are {len(tokens)} tokens, but {len(values)} values. Give each token one value.")
    check_finite(values=values)
    numbers = [round(value, 3) for value in values.tolist()]
    largest = max(map(abs, numbers), default=0)
    low, high = limits or (-largest, largest)
    if not (low <= 0 <= high) or (limits and low == high):
        raise ArgumentError(f"limits are {limits}: give (lowest, highest) with 0 between them, because 0 is white.")
    low, high = min(low, -1e-9), max(high, 1e-9)  # CircuitsVis divides by them
    shades = [_shade(value / high, _MORE) if value >= 0 else _shade(value / low, _LESS) for value in numbers]
    view = {
        "tokens": list(map(_as_text, tokens)),
        "values": numbers,
        "minValue": low,
        "maxValue": high,
        "positiveColor": _rgb(_MORE),
        "negativeColor": _rgb(_LESS),
    }
    return _card("token", view, _text(tokens, shades, numbers), _file("token.css") + _file("hint.css"), "ColoredTokens")


@checked
def prediction_view(
    tokenizer, tokens: Int[Tensor, " position"], logits: Float[Tensor, "position vocabulary"], top_k: int = 10
) -> HTML:
    """A text coloured by how probable the model found each token, as CircuitsVis's TokenLogProbs.

    tokens: `(position,)` ids. logits: `(position, vocabulary)`, of the same text; the prediction for the token at t
    stands at t - 1, so the first token has none and stays without a colour. A token is red when the model gave it a
    high log probability, and white at -5 nats or less. Point at a token, or go there with the arrow keys, to see the
    `top_k` most probable ones.

    The colours are seen without JavaScript too. Raises ArgumentError for other shapes, NaN, and fewer than two tokens.
    """
    if len(tokens) < 2:
        raise ArgumentError("tokens has no second token, so there is no prediction to show. Give a longer text.")
    if not 1 <= top_k <= logits.shape[-1]:
        raise ArgumentError(
            f"top_k is {top_k}; choose a number from 1 to {logits.shape[-1]}, the size of the vocabulary."
        )
    check_finite(logits=logits)
    tokens = tokens.cpu()
    log_probs = logits[:-1].cpu().double().log_softmax(-1)
    order = log_probs.argsort(dim=-1, descending=True, stable=True)
    top = log_probs.gather(-1, order[:, :top_k]).tolist()
    words = [token_labels(tokenizer, row) for row in order[:, :top_k]]
    right = log_probs.gather(-1, tokens[1:, None])[:, 0]
    labels = token_labels(tokenizer, tokens)
    view = {
        "prompt": list(map(_as_text, labels)),
        "topKLogProbs": [[round(each, 3) for each in row] for row in top],
        "topKTokens": [list(map(_as_text, row)) for row in words],
        "correctTokenRank": (order == tokens[1:, None]).int().argmax(-1).tolist(),
        "correctTokenLogProb": [round(each, 3) for each in right.tolist()],
    }
    shades = ["#ffffff"] + [_shade(1 - each / _UNLIKELY, _LIKELY) for each in right.tolist()]
    titles = [""] + [
        f"{each:.2%}, most probable: {row[0]} {best:.2%}"
        for each, row, best in zip(right.exp().tolist(), words, log_probs.max(-1).values.exp().tolist())
    ]
    style = f"& {{--rows: {top_k}}}" + _file("prediction.css") + _file("hint.css")
    return _card("prediction", view, _text(labels, shades, titles), style, "TokenLogProbs")


_SAID = {
    "prompt": "The most probable next token at every depth, as the logit lens reads the residual stream.",
    "control": "The most probable next token at every depth, for the control.",
    "difference": "The token whose probability rises most from the control to the prompt; the cell is empty when none "
    "rises. Where the texts differ, the control's token stands below the prompt's.",
}


@checked
def lens_view(
    tokenizer,
    tokens: Int[Tensor, " position"],
    logits: Float[Tensor, "depth position vocabulary"],
    control: tuple[Tensor, Tensor] | None = None,
    top_k: int = 5,
) -> HTML:
    """The logit lens (`residual.to_logits`) of a text: a table of depths and positions with the most probable tokens.

    tokens: `(position,)` ids. logits: `(depth, position, vocabulary)`, what the lens makes of the residual stream at
    every depth: row 0 of the embedding, row 1 of the stream after layer 0, and so on. The last depth stands on top.
    Each cell holds the most probable next token, on white when its probability is 0 and on the full colour when it is
    1. Point at a cell, tap it or go there with the arrow keys to see its `top_k` most probable tokens.

    control: (tokens, logits) of a second text with as many tokens and depths. Buttons then switch between the prompt,
    the control and the difference. There each cell holds the token whose probability rises most from control to prompt,
    or nothing when none rises by half a thousandth. Numbers are rounded to three decimals. 20 tokens and 7 depths take
    about 35 kB, and 50 kB with a control.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows the prompt's table
    alone: point at a cell there, too. Raises ArgumentError for other shapes and NaN, for a control of another shape,
    and when the vocabulary has fewer than `top_k` tokens.
    """
    texts = {"prompt": (tokens, logits)} | ({} if control is None else {"control": control})
    shapes = [(tuple(ids.shape), tuple(each.shape)) for ids, each in texts.values()]
    if shapes[0] != shapes[-1]:
        raise ArgumentError(
            f"The prompt's tokens and logits have the shapes {shapes[0]}, but the control's have {shapes[1]}. "
            "Choose a control of as many tokens, and give the same depths of both."
        )
    if not len(tokens) or not len(logits):
        raise ArgumentError(f"logits has the shape {tuple(logits.shape)}; give at least one depth and one token.")
    if not 1 <= top_k <= logits.shape[-1]:
        raise ArgumentError(
            f"top_k is {top_k}; choose a number from 1 to {logits.shape[-1]}, the size of the vocabulary."
        )
    check_finite(**{f"logits of the {name}": each for name, (_, each) in texts.items()})
    heads = [token_labels(tokenizer, ids) for ids, _ in texts.values()]
    scores = [each.float().softmax(-1) for _, each in texts.values()]
    if control is not None:
        heads.append([one if one == other else f"{one}\n{other}" for one, other in zip(*heads)])
        scores.append(scores[0] - scores[1])
    best = [each.flip(0).flatten(0, 1).topk(top_k) for each in scores]  # (cell, rank): cells in the page's order
    ids = torch.cat([each.indices.flatten() for each in best]).unique().tolist()
    number = {token: place for place, token in enumerate(ids)}
    tables = []  # their numbers are thousandths, which are shorter
    for (name, said), labels, (values, indices) in zip(_SAID.items(), heads, best):
        rise = name == "difference"
        cells = [
            [[number[token], value] for token, value in zip(*cell) if value > 0 or not rise]
            for cell in zip(indices.tolist(), (values * 1000).round().int().tolist())
        ]
        colour = _RISE if rise else _MORE
        tables.append({"name": name, "said": said, "rise": rise, "colour": colour, "heads": labels, "cells": cells})
    words = token_labels(tokenizer, ids)
    style = f"& {{--rows: {top_k}; --head: {24 if control is None else 38}px}}" + _file("lens.css")
    return _card("lens", {"words": words, "tables": tables}, _table(words, tables[0]), style)


_WHITE = 'style="background-color:white;color:black;white-space:nowrap"'


def _table(words, table):
    """A table of the lens as it is without JavaScript. Its colours stand in the elements, because a notebook that is
    not trusted has no style either, and a dark page may stripe the rows of a table with dark grey."""
    heads = [f'<th scope="col" {_WHITE}>{html.escape(head)}</th>' for head in ["depth", *table["heads"]]]
    cells = []
    for cell in table["cells"]:
        word, share = cell[0]
        title = html.escape(", ".join(f"{words[word]} {value / 1000:.3f}" for word, value in cell))
        style = f"background-color:{_shade(share / 1000, table['colour'])}"
        cells.append(f'<td style="{style}" title="{title}">{html.escape(words[word])}</td>')
    columns = len(table["heads"])
    labels = ["embedding", *(f"after layer {layer}" for layer in range(len(cells) // columns - 1))]
    rows = [
        f'<tr><th scope="row" {_WHITE}>{label}</th>{"".join(cells[row * columns :][:columns])}</tr>'
        for row, label in enumerate(reversed(labels))
    ]
    return (
        f'<p>{table["said"]}</p><div tabindex="0" style="overflow:auto;max-height:34em">'
        f'<table aria-label="{table["said"]}" style="color:black"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


# Numbers are written to base 89: two letters hold a value or the place of one of 7921 answers. The letters are those of
# ASCII that need no escape in JSON and make neither a tag nor an address, nor a number with a decimal point.
_LETTERS = "".join(sorted(set(map(chr, range(32, 127))) - set('"\\/<.`')))
_SWAPPED = str.maketrans("· ", " ·")  # JSON writes the dot that stands for a space with six letters
_LARGEST = (len(_LETTERS) ** 2 - 1) // 2  # values are whole numbers from -3960 to 3960 once they are scaled


@checked
def circuit_view(
    words: list[str],
    answers: list[str],
    circuits: dict[str, tuple[Tensor, Tensor]],
    start: tuple[int, int] = (0, 0),
    marks: Tensor | dict[str, Tensor] | None = None,
) -> HTML:
    """What single heads do between tokens, as lists of words: the best answers of every head to every word.

    words: labels of the tokens to choose from. answers: labels of all tokens that can come out, such as the vocabulary.
    circuits: {name: (values, indices)}, both `(layer, head, word, k)` as torch.topk gives them, best first; indices
    point into answers. A name says what a list holds, such as "OV: what attention to the word raises". start: the
    (layer, head) that is shown first. marks: `(layer, head)` from 0 to 1, such as the share of words that a head
    copies, or {name of a circuit: such a tensor}. A head is white at 0 and green at 1.

    Point at a head to see its answers to all words, and at a word to see its values. A click, a tap or the arrow keys
    choose a head or a word. Bars show values relative to the best of their list, green for the word itself. Where the
    best is below 0, they are orange and show how close to it the others come. A dot marks each head that answers the
    word with itself. Values have the decimals that leave a head's largest one three digits or four. 2 circuits of 48
    heads, 100 words and k = 6 take about 300 kB.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows the first circuit of
    the start head alone, for ten words. Raises ArgumentError for other shapes and NaN, indices that point at no answer,
    marks outside of 0 to 1, marks for a circuit that is not there, and a start that is no head.
    """
    marks = marks if isinstance(marks, dict) else {} if marks is None else dict.fromkeys(circuits, marks)
    _check_circuits(words, answers, circuits, start, marks)
    name, (values, indices) = next(iter(circuits.items()))
    _, heads, _, top = values.shape
    rows = zip(words[:10], indices[start].tolist(), values[start].tolist())
    fallback = _circuit_table(
        f"L{start[0]}H{start[1]}, {name} ({min(len(words), 10)} of {len(words)} words, best answers first)",
        [(word, [answers[each] for each in best], numbers) for word, best, numbers in rows],
    )
    used, places = torch.cat([indices.flatten() for _, indices in circuits.values()]).unique(return_inverse=True)
    width = 2 if len(used) <= len(_LETTERS) ** 2 else 3
    drawn = []
    for (name, (values, _)), place in zip(circuits.items(), places.chunk(len(circuits))):
        values = values.cpu().double()  # on the CPU: Apple's GPUs have no float64
        digits = (_LARGEST / values.abs().amax((2, 3), keepdim=True).clamp_min(1e-6)).log10().floor()
        drawn.append(
            {
                "name": name,
                "answers": _packed(place, width),
                "values": _packed((values * 10**digits).round().long() + _LARGEST, 2),
                "digits": digits.long().flatten().tolist(),
                "marks": [round(mark, 3) for mark in marks[name].flatten().tolist()] if name in marks else None,
            }
        )
    view = {
        "words": words,
        "answers": [answers[each].translate(_SWAPPED) for each in used.tolist()],
        "circuits": drawn,
        "letters": _LETTERS,
        "width": width,
        "top": top,
        "heads": heads,
        "start": start[0] * heads + start[1],
    }
    colours = {"above": _MORE, "below": _LESS, "own": _RISE}
    style = "".join(f"--{name}: {str(colour)[1:-1]}; " for name, colour in colours.items())
    side = min(max(250, 27 * heads + 44), 368)  # px: all heads of a layer, if they are 12 or fewer
    style = f"& {{{style}--rows: {top}; --side: {side}px}}" + _file("circuit.css")
    return _card("circuit", view, fallback, style)


def _check_circuits(words, answers, circuits, start, marks):
    """Raise ArgumentError for what `circuit_view` cannot show."""
    if not circuits:
        raise ArgumentError("circuits is empty. Give at least one: {name: (values, indices)}.")
    shape = next(iter(circuits.values()))[0].shape
    for name, (values, indices) in circuits.items():
        fit = values.shape == indices.shape == shape and len(shape) == 4 and shape[2] == len(words)
        if not fit or not values.is_floating_point() or indices.is_floating_point():
            raise ArgumentError(
                f'"{name}" has values of {tuple(values.shape)}, {values.dtype}, and indices of {tuple(indices.shape)}, '
                f"{indices.dtype}. Give floats and integers of one shape for all circuits: (layer, head, word, k) with "
                f"{len(words)} words, as torch.topk makes them."
            )
        if not indices.numel():
            raise ArgumentError(f'"{name}" has the shape {tuple(shape)}; give at least one head, word and answer.')
        check_finite(**{f'values of "{name}"': values})
        if indices.min() < 0 or indices.max() >= len(answers):
            raise ArgumentError(
                f'The indices of "{name}" go from {indices.min()} to {indices.max()}, but there are {len(answers)} '
                "answers. Give the labels of the whole vocabulary as answers."
            )
    layers, heads = shape[:2]
    if not (0 <= start[0] < layers and 0 <= start[1] < heads):
        raise ArgumentError(f"start is {start}, but there are {layers} layers of {heads} heads, numbered from 0.")
    for name, shares in marks.items():
        if name not in circuits:
            raise ArgumentError(f'marks has "{name}", but the circuits are {", ".join(circuits)}.')
        if shares.shape != shape[:2] or not ((shares >= 0) & (shares <= 1)).all():  # NaN is neither
            raise ArgumentError(
                f"marks must be numbers from 0 to 1, one for every layer and head, of shape {tuple(shape[:2])}. Those "
                f'of "{name}" have the shape {tuple(shares.shape)}, or some lie outside of 0 to 1.'
            )


def _circuit_table(said, rows):
    """A table of circuits as it is without JavaScript, with its colours in the elements. rows: (word, answers,
    values)."""
    heads = "".join(f'<th scope="col" {_WHITE}>{head}</th>' for head in ["word", *range(1, len(rows[0][1]) + 1)])
    lines = []
    for word, answers, values in rows:
        line = f'<th scope="row" {_WHITE}>{html.escape(word)}</th>'
        for answer, value in zip(answers, values):
            best = values[0]
            share = 1 if value == best else value / best if best > 0 else best / value
            shade = _shade(share, _RISE if answer == word else _MORE if value >= 0 else _LESS)
            style = f"background-color:{shade};white-space:nowrap"
            line += f'<td style="{style}" title="{value:.4g}">{html.escape(answer)}</td>'
        lines.append(f"<tr>{line}</tr>")
    said = html.escape(said)
    return (
        f'<p>{said}</p><div tabindex="0" style="overflow:auto"><table aria-label="{said}" style="color:black">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


_NIGHT = (8, 34, 84)
_PLAIN = "background-color:white;color:black;font-family:monospace;font-size:10px;line-height:1.1"
_TRUSTED = "Trust the notebook to get a slider through the training here."


@checked
def training_view(
    tokens: list[str],
    patterns: Float[Tensor, "frame head token token"],
    names: list[str],
    steps: list[int],
    curves: dict[str, list[float | int]],
    start: int = -1,
) -> HTML:
    """How attention patterns form while a model is trained: a slider over the steps, and a button that plays them.

    tokens: a label for every position, as `token_labels` makes them. patterns: `(frame, head, query, key)`, causal
    attention from 0 to 1, measured on one text at some steps of a training. names: one for every head, such as
    "L0H2, previous token". steps: the training step of every frame, each larger than the one before. curves: {what was
    measured, with its unit: a number for every frame}. start: index of the frame that is shown first, from the end when
    it is negative.

    Patterns are darker where there is more attention, on one scale from 0 to 1. Point at a cell, tap it or go there
    with the arrow keys to read its weight. Curves have fixed axes and are drawn up to the frame that is shown. Frames
    lie at equal distances, on the slider and below the curves. Playing takes about six seconds, and six jumps where
    the system asks for less motion. 33 frames of 3 heads and 24 tokens take about 105 kB.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows the patterns of the
    start frame alone. Raises ArgumentError for other shapes, NaN, weights outside of 0 to 1 or above the diagonal,
    lists of other lengths, fewer than two frames, steps that do not increase, and a start that is no frame.

    >>> patterns = torch.tensor([[[[1, 0], [0.5, 0.5]]], [[[1, 0], [0.9, 0.1]]]])
    >>> type(training_view(["a", "b"], patterns, ["L0H0"], [0, 10], {"loss (nats)": [3.5, 1.2]})).__name__
    'HTML'
    """
    _check_training(tokens, patterns, names, steps, curves, start)
    rows, columns = torch.tril_indices(len(tokens), len(tokens))
    levels = (patterns.cpu().double() * (len(_LETTERS) ** 2 - 1)).round().long()
    start %= len(steps)
    colours = _attention_colours()
    view = {
        "tokens": tokens,
        "names": names,
        "steps": steps,
        "even": len(set(np.diff(steps).tolist())) == 1,
        "curves": [_curve(name, values) for name, values in curves.items()],
        "patterns": _packed(levels[..., rows, columns], 2),
        "letters": _LETTERS,
        "colours": colours,
        "start": start,
    }
    shades = [colours[share] for share in (0, 35, 100)]
    style = f"& {{--heads: {len(names)}; --cell: {100 / len(tokens):.4g}%; --digits: {len(str(steps[-1]))}ch; "
    style += f"--colours: {shades[0]}, {shades[1]} 35%, {shades[2]}}}" + _file("training.css")
    fallback = _training_text(f"Attention at training step {steps[start]}", tokens, names, patterns[start], colours)
    return _card("training", view, fallback, style)


def _check_training(tokens, patterns, names, steps, curves, start):
    """Raise ArgumentError for what `training_view` cannot show."""
    frames, heads, positions, _ = patterns.shape
    if not patterns.numel() or frames < 2:
        raise ArgumentError(
            f"patterns has the shape {tuple(patterns.shape)}; give at least two frames, a head and a position."
        )
    lengths = {"tokens": (tokens, positions), "names": (names, heads), "steps": (steps, frames)}
    lengths |= {f'the curve "{name}"': (values, frames) for name, values in curves.items()}
    for name, (given, expected) in lengths.items():
        if len(given) != expected:
            raise ArgumentError(
                f"The length of {name} is {len(given)}, but patterns has the shape {tuple(patterns.shape)}: (frame, "
                f"head, query, key). Give {expected}."
            )
    check_finite(patterns=patterns)
    if patterns.min() < 0 or patterns.max() > 1 + 1e-5:  # a softmax may round to a little more
        raise ArgumentError(
            f"patterns goes from {patterns.min():.4g} to {patterns.max():.4g}. Give attention after its softmax, from "
            "0 to 1."
        )
    if patterns.triu(1).any():
        raise ArgumentError("patterns has weights above the diagonal. Give causal attention, with queries as rows.")
    if any(later <= step for step, later in pairwise(steps)):
        raise ArgumentError(f"steps is {steps}. Each must be larger than the one before.")
    for name, values in curves.items():
        if not all(map(math.isfinite, values)):
            raise ArgumentError(f'The curve "{name}" holds NaN or infinity. Give a number for every frame.')
    if not -frames <= start < frames:
        raise ArgumentError(
            f"start is {start}, but there are {frames} frames. Give an index from {-frames} to {frames - 1}."
        )


def _curve(name, values):
    """A curve with the ticks of its axis, and as many decimals as tell a hundredth of the axis apart."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    digits = max(0, 2 - math.floor(math.log10(ticks[-1] - ticks[0])))
    return {
        "name": name,
        "values": [round(value, digits) for value in values],
        "ticks": [round(tick, digits + 1) for tick in ticks.tolist()],
        "digits": digits,
    }


def _attention_colours():
    """A colour for every hundredth of attention. Its lightness falls evenly from white by way of blue."""
    parts = zip((255, 255, 255), _MORE, _NIGHT)
    shades = [np.interp(range(101), [0, 35, 100], part).round().astype(int) for part in parts]
    return [_rgb(colour) for colour in zip(*shades)]


def _training_text(said, tokens, names, patterns, colours):
    """The patterns of a frame as they are without JavaScript: two coloured spaces for a cell, in lines that keep them.
    Neighbours of one colour share an element, because their number decides how large the view is."""
    figures = []
    for name, pattern in zip(names, (5 * (patterns * 20).round().int()).tolist()):
        lines = []
        for query, row in enumerate(pattern):
            shades = [colours[weight] for weight in row[: query + 1]] + ["#eeeeee"] * (len(row) - query - 1)
            runs = [(shade, len(list(run))) for shade, run in groupby(shades)]
            lines.append("".join(f'<span style="background-color:{shade}">{"  " * run}</span>' for shade, run in runs))
        label, body = html.escape(name), "\n".join(lines)
        figures.append(f'<p>{label}</p><pre role="img" aria-label="{label}" style="{_PLAIN}">{body}</pre>')
    text = html.escape(" ".join(tokens))
    said = f"{said}: rows are queries, columns are keys, darker is more. Text: {text}"
    return f"<p>{said}</p>{''.join(figures)}<p>{_TRUSTED}</p>"


class Context(NamedTuple):
    """A short piece of text around one token at which a unit of a model fires.

    tokens: labels, as `token_labels` makes them. values: the unit's activation at each of them. at: the index of the
    token in question.
    """

    tokens: list[str]
    values: list[float]
    at: int


class Unit(NamedTuple):
    """A unit of a model, such as a neuron: what kind of unit it is, and its contexts under one heading or more."""

    kind: str
    contexts: dict[str, list[Context]]


@checked
def contexts_view(contexts: list[Context] | dict[str, list[Context]], title: str | None = None) -> HTML:
    """Texts around the tokens at which a unit fires, one a row, coloured by its activation.

    contexts: a list of Context, or {heading: such a list}, such as "strongest" and "drawn at random". A token is white
    at 0 and blue at the largest activation of all rows. Negative activations count as 0. The token in question is bold
    and underlined, and its activation, with three decimals, stands at the end of the row. Point at another token to
    read its own. The dot of a label that begins with one is shown as a space.

    On a wide page the rows are aligned at the token in question, as in a concordance; on a narrow one they wrap. The
    view is HTML without JavaScript, so a notebook that is not trusted shows it too. 16 rows of 17 tokens take about
    10 kB. Raises ArgumentError for empty lists, tokens and values of unequal number, an `at` outside of the tokens, and
    NaN.

    >>> contexts = [Context(["the", "·old", "·king", "·slept"], [0, 0, 2.5, 0.1], at=2)]
    >>> type(contexts_view({"strongest": contexts}, title="a unit for kings")).__name__
    'HTML'
    """
    groups = contexts if isinstance(contexts, dict) else {"": contexts}
    _check_contexts(groups)
    largest = _largest(groups)
    body = f"<p><b>{html.escape(title)}</b></p>" if title else ""
    body += _legend(f"{largest:.3f}, the largest activation") + _concordance(groups, largest, title or "contexts")
    name = f"contexts-{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return HTML(f'<div data-view="{name}" style="{_CARD}">{body}</div>\n{_style(name, _file("contexts.css"))}')


def _legend(blue):
    return f"<p><small>White is 0, and blue is {blue}. The number of a row belongs to the token in bold.</small></p>"


_QUESTION = "Read the texts. Would you know where this unit fires next?"


@checked
def blind_view(units: list[Unit]) -> HTML:
    """A test that the reader takes: which units seem to have one meaning, when nobody says what kind of unit they are?

    units: a list of Unit in the order in which they are shown: shuffle them first. The reader sees the contexts of one
    unit at a time, as `contexts_view` draws them, and answers "one meaning" or "no single meaning". Activations are
    divided by the largest of their unit, because their size could give the kind away. The next unit follows by itself,
    and answers can be changed until the last one is given. Then a table says how many units of each kind were called
    "one meaning", and all units can be looked at again with their kinds. Nothing is stored or sent.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows all units beneath each
    other, each with its kind in a line that opens. 12 units of 8 rows of 17 tokens take 60 to 70 kB. Raises
    ArgumentError for an empty list and for contexts that `contexts_view` refuses.

    >>> contexts = {"strongest": [Context(["the", "·old", "·king"], [0, 0, 2.5], at=2)]}
    >>> type(blind_view([Unit("neuron", contexts), Unit("feature", contexts)])).__name__
    'HTML'
    """
    if not units:
        raise ArgumentError("units is empty. Give at least one Unit.")
    parts = []
    for number, (kind, contexts) in enumerate(units, start=1):
        _check_contexts(contexts, f" of unit {number}")
        largest = _largest(contexts) or 1
        shares = {
            heading: [Context(tokens, [value / largest for value in values], at) for tokens, values, at in rows]
            for heading, rows in contexts.items()
        }
        label = f"Unit {number} of {len(units)}"
        parts.append(
            f'<div role="group" aria-label="{label}" style="margin-bottom:2em"><p><b>{label}</b></p>'
            f"{_concordance(shares, 1, 'contexts')}"
            f"<details><summary>The kind of this unit</summary>{html.escape(kind)}</details></div>"
        )
    fallback = f"<p>{_QUESTION}</p>" + _legend("the unit's largest activation, which counts as 1")
    fallback += f"<div>{''.join(parts)}</div><p>Trust the notebook to answer here.</p>"
    view = {"kinds": [kind for kind, _ in units]}
    return _card("blind", view, fallback, _file("contexts.css") + _file("blind.css"))


def _check_contexts(groups, owner=""):
    """Raise ArgumentError for groups of contexts that cannot be shown. owner: whose they are, for the error."""
    if not groups:
        raise ArgumentError(f"The contexts{owner} are empty. Give at least one list of Context.")
    for heading, rows in groups.items():
        name = f'the contexts "{heading}"{owner}' if heading else f"the contexts{owner}"
        if not rows:
            raise ArgumentError(f"There are no rows in {name}. Give at least one Context.")
        for number, (tokens, values, at) in enumerate(rows):
            row = f"Row {number} of {name}"
            if len(tokens) != len(values):
                raise ArgumentError(f"{row} has {len(tokens)} tokens, but {len(values)} values. Give each token one.")
            if not 0 <= at < len(tokens):
                raise ArgumentError(f"{row} has at={at}, but its {len(tokens)} tokens are numbered from 0.")
            if not all(map(math.isfinite, values)):
                raise ArgumentError(f"{row} holds NaN or infinity. Give a number for every token.")


def _largest(groups):
    """The largest activation of all rows, 0 if none is above it."""
    return max(0, *(value for rows in groups.values() for context in rows for value in context.values))


def _concordance(groups, largest, label):
    """Groups of contexts as lists. Styles in the elements are for notebooks that are not trusted, which have no others.
    label: the name of a list that has no heading."""
    return "".join(
        (f"<p>{html.escape(heading)}</p>" if heading else "")
        + f'<ol role="list" aria-label="{html.escape(heading or label)}" style="{_ROWS}">'
        + "".join(_row(*context, largest) for context in rows)
        + "</ol>"
        for heading, rows in groups.items()
    )


_ROWS = "list-style:none;padding:0;white-space:pre-wrap"
_BEFORE = "display:inline-block;width:60%;text-align:right"


def _row(tokens, values, at, largest):
    """A context as an element of a list: what comes before its token, the token and what follows, its value."""
    texts = [" " + token[1:] if token.startswith("·") else token for token in tokens]
    values = [max(0, round(value, 3)) for value in values]
    before = _coloured(texts[:at], values[:at], largest).removeprefix(" ")
    token = _coloured(texts[at : at + 1], values[at : at + 1], largest, "b")
    after = _coloured(texts[at + 1 :], values[at + 1 :], largest)
    return (
        f'<li><span style="{_BEFORE}">{before}</span><span>{token}{after}</span><small> {values[at]:.3f}</small></li>'
    )


def _coloured(texts, values, largest, tag="span"):
    """Tokens with their colours and values. Neighbours of one value share an element, because their number decides how
    large the view is. A space before a word stays outside of it, and so without a line below it."""
    parts = []
    for value, run in groupby(zip(texts, values), key=lambda pair: pair[1]):
        text = "".join(text for text, _ in run)
        space = " " if len(text) > 1 and text.startswith(" ") else ""
        word = html.escape(text.removeprefix(space))
        word = f"<u>{word}</u>" if tag == "b" else word
        style = f' style="background-color:{_shade(value / largest, _MORE)}"' if value else ""
        parts.append(f'{space}<{tag}{style} title="{value:.3f}">{word}</{tag}>')
    return "".join(parts)


def _packed(numbers, width):
    """Whole numbers as text, `width` letters for each."""
    powers = len(_LETTERS) ** np.arange(width)[::-1]
    places = numbers.cpu().numpy().reshape(-1, 1) // powers % len(_LETTERS)
    return np.frombuffer(_LETTERS.encode(), np.uint8)[places].tobytes().decode()


def _as_text(token):
    """CircuitsVis takes the tokens of a text for HTML. Behind a word joiner, which has no width, "<" and "&" begin
    neither a tag nor an entity."""
    return re.sub("[<&]", "\\g<0>\u2060", token)


def _rgb(colour):
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _shade(share, colour):
    """A colour mixed with white: white at 0 and below, the colour itself at 1 and above."""
    share = min(max(share, 0), 1)
    return _rgb([round(255 + share * (part - 255)) for part in colour])


def _text(tokens, shades, titles):
    """The text with a colour behind every token. Lines may break between tokens."""
    return "<wbr>".join(
        f'<span style="background-color:{shade}" title="{html.escape(str(title))}">{html.escape(token)}</span>'
        for token, shade, title in zip(tokens, shades, titles)
    )


def views_loader():
    """The JavaScript that draws the views of a page: CircuitsVis's bundle from the installed package, compressed to
    480 kB. It shows nothing, and once a page is enough. Browsers unpack it since Chrome 85 and Safari 16.4."""
    bundle = resources.files("circuitsvis").joinpath("dist/cdn/iife.js").read_bytes()
    packed = base64.b64encode(zlib.compress(bundle, 9)).decode()  # zlib's header, unlike gzip's, holds no time
    script = "".join(map(_file, ["page.js", "tools.js", "keys.js", "load.js"]))
    return HTML(f'<script>(async (packed) => {{{script}}})("{packed}")</script>')
