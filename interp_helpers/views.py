"""Interactive attention patterns in a notebook or a web page, drawn by CircuitsVis without any network.

A view holds its numbers and a few lines of JavaScript. The code that draws, CircuitsVis's own JavaScript bundle,
is the same for all views of a page: `views_loader` brings it once. CircuitsVis's Python functions would put all of
it into every view, and ask the network at each (https://github.com/TransformerLensOrg/CircuitsVis, version 1.43).
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from importlib import resources

import torch
from IPython.display import HTML

from .errors import ArgumentError, check_attention, check_whole, checked_array

# A white card, because the drawing has dark letters on no ground of its own: it reads the same on a dark page.
_CARD = "background:white;color:black;padding:1em;max-width:50em"
_MISSING = (
    "An interactive attention view is drawn here once the notebook is trusted and the cell with views_loader() has run."
)

# Loader and views meet in a promise, so that it does not matter which of them the page runs first.
_PAGE = """
const page = globalThis.interpViews ??= {drawn: 0};
page.bundle ??= new Promise((done) => { page.ready = done; });
"""

# CircuitsVis finds its element by id. Equal views have equal markup, so each card gets its id only when it is drawn.
# The names of the heads are short because they stand on the small patterns: there they hide a grey corner.
_DRAW = """
const {render, AttentionHeads} = await page.bundle;
const {tokens, weights, scale, maskUpperTri} = view;
const attention = weights.map((head) => head.map((row) => tokens.map((_, key) => (row[key] ?? 0) / scale)));
const attentionHeadNames = attention.map((_, head) => "H" + head);
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  render(card.id, AttentionHeads, {attention, attentionHeadNames, tokens, maskUpperTri});
}
"""

_LOAD = """
if (page.loaded) return;
page.loaded = true;
const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const source = await new Response(stream).text();
page.ready(new Function(source + "\\nreturn CircuitsVis;")());
"""


def attention_view(tokens, pattern, *, digits=3):
    """One layer's attention as CircuitsVis's AttentionHeads: all heads small, one of them large with its numbers.

    tokens: a string for every position, as `token_labels` makes them.
    pattern: (head, query, key), rows that sum to 1. The area above the diagonal is grey when no head attends to
        later positions, as in a causal model.
    digits: how many decimals of a weight are kept, 1 to 6.

    Returns an IPython HTML, about 15 kB for 8 causal heads and 32 tokens, the same for the same input. It draws
    when the page has the output of `views_loader` too, above or below, and says so until then. A notebook that is
    not trusted runs no JavaScript: put a figure of matplotlib beside the view.

    Raises ArgumentError for a pattern of another shape or with rows that are no weights, for tokens that are not
    strings or not as many as positions, and for other digits.
    """
    weights = torch.as_tensor(checked_array("attention_view", "pattern", pattern, finite=False)).double()
    if weights.ndim != 3:
        raise ArgumentError(
            f"attention_view: the pattern has the shape {tuple(weights.shape)}; it must be (head, query, key), with "
            "at least one of each. Pick one layer of one text."
        )
    tokens = list(tokens) if isinstance(tokens, Iterable) else [tokens]
    if other := [token for token in tokens if not isinstance(token, str)]:
        raise ArgumentError(
            f"attention_view: tokens holds {other[0]!r}; it must be a list of strings. token_labels(tokenizer, ids) "
            "makes one of ids."
        )
    if weights.shape[1:] != (len(tokens), len(tokens)):
        raise ArgumentError(
            f"attention_view: there are {len(tokens)} tokens, but {weights.shape[1]} queries and {weights.shape[2]} "
            "keys; there must be one of each a token. Give the tokens that the pattern was computed on."
        )
    if not weights.isfinite().all():
        raise ArgumentError(
            f"attention_view: {int((~weights.isfinite()).sum())} weights are NaN or infinite in pattern. "
            "Look for a division by 0, or for scores that were masked but not yet put through the softmax."
        )
    check_attention("attention_view", weights)
    check_whole("attention_view", 1, 6, digits=digits)

    scale = 10**digits
    whole = (weights * scale).round().long()
    view = {
        "tokens": tokens,
        "weights": [[_without_trailing_zeros(row) for row in head] for head in whole.tolist()],
        "scale": scale,
        "maskUpperTri": not whole.triu(1).any(),
    }
    # JSON is ASCII here; without "<" no token can end the script.
    data = json.dumps(view, separators=(",", ":")).replace("<", "\\u003c")
    name = "attention-" + hashlib.sha256(data.encode()).hexdigest()[:12]
    return HTML(
        f'<div data-view="{name}" style="{_CARD}">{_MISSING}</div>\n'
        f'<script>(async (name, view) => {{{_PAGE}{_DRAW}}})("{name}", {data})</script>'
    )


def views_loader():
    """The JavaScript that draws the views of a page: CircuitsVis's bundle from the installed package, compressed.

    Returns an IPython HTML of 480 kB (the bundle has 1.3 MB), which shows nothing itself. Once a page is enough, and
    a second one does nothing. The browser unpacks it: Chrome 85, Firefox 113, Safari 16.4 or later. The text changes
    with the version of circuitsvis, and with the zlib that Python is built with.
    """
    bundle = resources.files("circuitsvis").joinpath("dist/cdn/iife.js").read_bytes()
    packed = base64.b64encode(zlib.compress(bundle, 9)).decode()  # zlib's header, unlike gzip's, holds no time
    return HTML(f'<script>(async (packed) => {{{_PAGE}{_LOAD}}})("{packed}")</script>')


def _without_trailing_zeros(row):
    """The row up to its last entry that is not 0: half of a causal pattern.

    >>> _without_trailing_zeros([3, 0, 7, 0, 0])
    [3, 0, 7]
    """
    last = max((place for place, entry in enumerate(row) if entry), default=-1)
    return row[: last + 1]
