"""A picture of a decoder-only transformer, with the parts that a notebook is about in colour."""

import base64
from html import escape

from IPython.display import HTML

from .errors import ArgumentError, checked

PARTS = (
    "tokens", "ids", "embedding", "stream", "layer", "norm", "attention", "head", "mlp", "unembedding", "logits",
    "softmax", "probabilities",
)  # fmt: skip

_TITLE = "A decoder-only transformer"
_DESCRIPTION = (
    "From bottom to top: the tokens Once, ·upon and ·a become ids, and embedding with position turns the ids into "
    "vectors. A thick vertical line is the residual stream, one vector for every token. It passes through a layer, "
    "which stands for all N layers. In the layer, a norm reads the stream, attention follows with its heads side by "
    "side, each with Q, K and V, and its output is added to the stream. Then a second norm reads the stream, the MLP "
    "follows, and its output is added to the stream. Above the layers come a final norm and the unembedding, which "
    "gives logits, one for every token of the vocabulary. Softmax turns them into next-token probabilities."
)

# Colours are properties that a group hands on to all that it holds. Outside colours are those of Okabe and Ito (2008).
# The picture has a white ground of its own, so it reads the same on a light and on a dark page.
_STYLE = """
text{font:12px "Helvetica Neue",Helvetica,Arial,"Liberation Sans",sans-serif;text-anchor:middle;fill:var(--ink)}
.left{text-anchor:start}.right{text-anchor:end}.bold{font-weight:bold}.small{font-size:11.5px}
rect,circle{fill:var(--fill);stroke:var(--line);stroke-width:1.5}
path{fill:none;stroke:var(--line);stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}
.ground{fill:#fff;stroke:none}.panel{fill:#f5f5f5;stroke:none}.bar{fill:var(--line);stroke:none}
.thick{stroke-width:8;stroke-linecap:butt}
"""
_PLAIN = """
svg{--ink:#222;--line:#666;--fill:#fff}
.stream{--line:#444}
.attention{--line:#0072B2;--fill:#e3f0f8}
.mlp{--line:#009E73;--fill:#e0f3ed}
"""
_MUTED = "svg{--ink:#6b6b6b;--line:#c6c6c6;--fill:#fff}"
_ACCENT = "{--ink:#111;--line:#D55E00;--fill:#fdebe0}"

_STREAM = 56  # where the residual stream stands
_LEFT, _RIGHT = 116, 296  # of what is added to it


@checked
def diagram(highlight: str | list[str] | tuple[str, ...] = ()) -> HTML:
    """A decoder-only transformer as a drawing: tokens, residual stream, one layer, and next-token probabilities.

    highlight: names of the parts that have the accent colour, of PARTS; everything else is grey then. Without names,
    nothing is. The drawing is an image that needs no JavaScript and no network, and no trust in the notebook.
    Raises ArgumentError for a part that there is not.

    >>> "Highlighted: attention." in diagram("attention").data
    True
    """
    highlight = [highlight] if isinstance(highlight, str) else highlight
    if unknown := [name for name in highlight if name not in PARTS]:
        raise ArgumentError(f"The diagram has no part {unknown[0]!r}; choose from {', '.join(PARTS)}.")
    colours = _MUTED + ",".join(f".{name}" for name in highlight) + _ACCENT if highlight else _PLAIN
    said = f"{_DESCRIPTION} Highlighted: {', '.join(highlight)}." if highlight else _DESCRIPTION
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -8 360 640" role="img" aria-labelledby="title desc">'
        f'<title id="title">{_TITLE}</title><desc id="desc">{said}</desc><style>{_STYLE}{colours}</style>'
        f'<rect y="-8" width="360" height="640" class="ground"/>{_drawing()}</svg>'
    )
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"
    return HTML(f'<img src="{source}" alt="{escape(f"{_TITLE}. {said}")}" style="width:100%;max-width:420px">')


def _drawing():
    """All parts, from the tokens at the bottom to the probabilities at the top. Later ones lie over earlier ones."""
    middle = (_LEFT + _RIGHT) // 2
    columns = [(144, "Once", 6109), (206, "·upon", 644), (268, "·a", 259)]  # ids are storybook's
    rows = [(28, "·time", 4, 73), (48, "·day", 3, 27), (68, "·cat", -1, 0)]  # logits, and what softmax makes of them
    return "".join(
        [
            _part(
                "layer",
                _rect(16, 206, _RIGHT - 8, 292, "panel", 6),
                _text(_LEFT, 224, "this, once for every layer", "left"),
                _path("M308 208q6 0 6 6v276q0 6-6 6"),
                _text(319, 354, "× N", "left bold"),
                _text(319, 370, "layers", "left small"),
            ),
            _part(
                "tokens",
                _text(20, 604, "tokens", "left"),
                *(_box(x - 28, 588, 56, 24, word) for x, word, _ in columns),
            ),
            _part(
                "ids",
                _text(20, 564, "ids", "left"),
                *(_arrow(x, 588, x, 574) + _box(x - 28, 548, 56, 24, number) for x, _, number in columns),
            ),
            _part(
                "embedding",
                *(_arrow(x, 548, x, 538) for x, _, _ in columns),
                _box(20, 508, _RIGHT - 20, 28, "embedding + position"),
            ),
            _part("norm", _path(f"M{_STREAM} 472H{middle}M{_STREAM} 300H{middle}")),
            _part(
                "stream",
                _path(f"M{_STREAM} 508V154", "thick"),
                _text(_STREAM + 14, 321, "residual stream", "left bold"),
                _text(_STREAM + 14, 336, "one vector for every token", "left small"),
            ),
            _part(
                "norm",
                _box(middle - 28, 460, 56, 24, "norm", 12),
                _box(middle - 28, 288, 56, 24, "norm", 12),
                _box(20, 168, 72, 24, "final norm", 12),
            ),
            _part(
                "attention",
                _arrow(middle, 460, middle, 446),
                _arrow(_LEFT, 364, _STREAM + 11, 364),
                _rect(_LEFT, 348, _RIGHT - _LEFT, 96, "", 6),
                _text(_LEFT + 10, 366, "attention", "left bold"),
                _text(_RIGHT - 10, 366, "between positions", "right small"),
                _part(
                    "head",
                    _rect(_LEFT + 8, 376, 84, 58),
                    _text(_LEFT + 50, 391, "head"),
                    *(_box(_LEFT + 14 + 25 * number, 399, 22, 28, name) for number, name in enumerate("QKV")),
                ),
                _box(_LEFT + 98, 376, 34, 58, "head"),
                _box(_LEFT + 138, 376, 34, 58, "head"),
            ),
            _part(
                "mlp",
                _arrow(middle, 288, middle, 274),
                _arrow(_LEFT, 254, _STREAM + 11, 254),
                _rect(_LEFT, 236, _RIGHT - _LEFT, 36, "", 6),
                _text(_LEFT + 10, 258, "MLP", "left bold"),
                _text(_RIGHT - 10, 258, "at each position", "right small"),
            ),
            _part("stream", *(_plus(_STREAM, y) for y in (364, 254))),
            _part("unembedding", _box(20, 126, 136, 28, "unembedding")),
            _part(
                "logits",
                _arrow(_STREAM, 126, _STREAM, 110),
                _text(84, 17, "logits", "left"),
                *(_text(62, y + 10, word, "right") for y, word, _, _ in rows),
                *(_rect(84 + min(12 * logit, 0), y, abs(12 * logit), 12, "bar", 0) for y, _, logit, _ in rows),
                _path("M84 24V84"),
                _text(20, 101, "… and all other tokens of the vocabulary", "left small"),
            ),
            _part("softmax", _text(172, 46, "softmax", "small"), _arrow(148, 54, 196, 54)),
            _part(
                "probabilities",
                _text(208, 17, "next-token probabilities", "left"),
                *(_rect(208, y, share or 0.5, 12, "bar", 0) for y, _, _, share in rows),
                *(_text(214 + share, y + 10, f"{share or '&lt;1'}%", "left small") for y, _, _, share in rows),
            ),
        ]
    )


def _part(name, *shapes):
    return f'<g class="{name}">{"".join(shapes)}</g>'


def _text(x, y, words, kind=""):
    return f'<text x="{x}" y="{y}" class="{kind}">{words}</text>'


def _rect(x, y, width, height, kind="", corner=4):
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{corner}" class="{kind}"/>'


def _box(x, y, width, height, words, corner=4):
    return _rect(x, y, width, height, "", corner) + _text(x + width / 2, y + height / 2 + 4, words)


def _path(way, kind=""):
    return f'<path d="{way}" class="{kind}"/>'


def _arrow(x, y, to_x, to_y):
    """Straight, up, to the left or to the right."""
    wings = "m-4 5l4-5l4 5" if x == to_x else "m5-4l-5 4l5 4" if to_x < x else "m-5-4l5 4l-5 4"
    return _path(f"M{x} {y}L{to_x} {to_y}{wings}")


def _plus(x, y):
    return f'<circle cx="{x}" cy="{y}" r="9"/>' + _path(f"M{x - 5} {y}h10m-5-5v10")
