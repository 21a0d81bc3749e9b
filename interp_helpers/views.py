"""Interactive attention patterns in a notebook or a web page, drawn by CircuitsVis without any network.

A view holds its numbers and a few lines of JavaScript. `views_loader` brings the code that draws, the bundle of
CircuitsVis 1.43, once a page. CircuitsVis's Python functions would put it into every view, and ask the network at each.
"""

import base64
import hashlib
import json
import zlib
from importlib import resources

import numpy as np
from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor

from .errors import ArgumentError, check_finite, checked

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


@checked
def attention_view(tokens: list[str], pattern: Float[Tensor, "head token token"], digits: int = 3) -> HTML:
    """One layer's attention as CircuitsVis's AttentionHeads: all heads small, one of them large with its numbers.

    tokens: a string for every position, as `token_labels` makes them. The area above the diagonal is grey when no head
    attends to later positions. digits: decimals that are kept. With 3, 8 causal heads of 32 tokens take about 15 kB.

    The view draws when the page has the output of `views_loader` too, and says so until then. A notebook that is not
    trusted runs no JavaScript: put a figure of matplotlib beside it. Raises ArgumentError for other shapes and NaN.
    """
    if pattern.shape[-1] != len(tokens):
        raise ArgumentError(f"There are {len(tokens)} tokens, but pattern has the shape {tuple(pattern.shape)}.")
    check_finite(pattern=pattern)
    scale = 10**digits
    weights = (pattern.double() * scale).round().long()
    view = {
        "tokens": tokens,
        "weights": [[np.trim_zeros(row, "b") for row in head] for head in weights.tolist()],
        "scale": scale,
        "maskUpperTri": not weights.triu(1).any(),
    }
    # JSON is ASCII here; without "<" no token can end the script.
    data = json.dumps(view, separators=(",", ":")).replace("<", "\\u003c")
    name = "attention-" + hashlib.sha256(data.encode()).hexdigest()[:12]
    return HTML(
        f'<div data-view="{name}" style="{_CARD}">{_MISSING}</div>\n'
        f'<script>(async (name, view) => {{{_PAGE}{_DRAW}}})("{name}", {data})</script>'
    )


def views_loader():
    """The JavaScript that draws the views of a page: CircuitsVis's bundle from the installed package, compressed to
    480 kB. It shows nothing, and once a page is enough. Browsers unpack it since Chrome 85 and Safari 16.4."""
    bundle = resources.files("circuitsvis").joinpath("dist/cdn/iife.js").read_bytes()
    packed = base64.b64encode(zlib.compress(bundle, 9)).decode()  # zlib's header, unlike gzip's, holds no time
    return HTML(f'<script>(async (packed) => {{{_PAGE}{_LOAD}}})("{packed}")</script>')
