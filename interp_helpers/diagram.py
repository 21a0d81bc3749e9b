"""Pictures of a decoder-only transformer and of one of its heads, with the parts that a notebook is about in colour."""

import base64
import re
from html import escape

from IPython.display import HTML

from .errors import ArgumentError, checked

PARTS = (
    "tokens", "ids", "embedding", "stream", "layer", "norm", "attention", "head", "mlp", "unembedding", "logits",
    "softmax", "probabilities",
)  # fmt: skip
CIRCUITS = ("QK", "OV")

_TITLE = "A decoder-only transformer"
_DESCRIPTION = (
    "From bottom to top: the tokens Once, ·upon and ·a become ids, and embedding with position turns the ids into "
    "vectors. A thick vertical line is the residual stream, one vector for every token. It passes through a layer, "
    "which stands for all N layers. In the layer, a norm reads the stream, attention follows with its heads side by "
    "side, each with Q, K and V, and its output is added to the stream. Then a second norm reads the stream, the MLP "
    "follows, and its output is added to the stream. Above the layers come a final norm and the unembedding, which "
    "gives logits, one for every token of the vocabulary. Softmax turns them into next-token probabilities."
)
_HEAD_TITLE = "The two circuits of an attention head"
_HEAD_DESCRIPTION = (
    "Two thick vertical lines are residual streams. The one on the left belongs to an earlier token, ·Princess, which"
    " is the key. The one on the right belongs to a later token, ·the, which is the query and looks at the key. At "
    "the bottom, each stream carries what the head reads: one vector, after the norm of the layer. The QK circuit, "
    "W_Q W_Kᵀ, decides where the head looks: the query's stream goes through W_Q and becomes q,"
    " the key's stream goes through W_K and becomes k, and q · k is the score, which softmax turns into an attention "
    "weight. The OV circuit, W_V W_O, decides what is written once the head looks there: the key's stream goes "
    "through W_V and becomes v, which is multiplied by the attention weight, goes through W_O and is added to the "
    "query's stream. Above that, W_U reads the query's stream and gives logits."
)

# Colours are properties that a group hands on to all that it holds. They are those of plots, and the picture has no
# ground of its own, so it can be read on a light and on a dark page. For the same reason, the boxes are empty, and a
# line ends where a shape on it begins.
_STYLE = """
text{font:12px "Helvetica Neue",Helvetica,Arial,"Liberation Sans",sans-serif;text-anchor:middle;fill:var(--ink)}
.left{text-anchor:start}.right{text-anchor:end}.bold{font-weight:bold}.small{font-size:11.5px}
rect,circle,path{fill:none;stroke:var(--line);stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}
.panel{fill:#7C7C7C12;stroke:none}.area{fill:var(--fill)}.bar{fill:var(--line);stroke:none}
.thick{stroke-width:8;stroke-linecap:butt}
"""
_PLAIN = """
svg{--ink:#7C7C7C;--line:#7C7C7C;--fill:none}
.attention{--line:#0072B2;--fill:#0072B214}
.mlp{--line:#009E73;--fill:#009E7314}
"""
_HEAD_PLAIN = """
svg{--ink:#7C7C7C;--line:#7C7C7C;--fill:none}
.QK{--line:#0072B2;--fill:#0072B214}
.OV{--line:#CC79A7;--fill:#CC79A714}
"""
_MUTED = "svg{--ink:#7C7C7C;--line:#7C7C7C70;--fill:none}"
_ACCENT = "{--ink:#C65300;--line:#C65300;--fill:#C6530014}"

_STREAM = 56  # where the residual stream stands
_STREAM_PIECES = (508, 373), (355, 263), (245, 192), (168, 154)  # between the sums and the final norm
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
    return _image(_TITLE, _DESCRIPTION, 640, _drawing(), PARTS, _PLAIN, highlight)


@checked
def head_circuits(highlight: str | list[str] | tuple[str, ...] = ()) -> HTML:
    """An attention head as a drawing of its two circuits, between a token that is looked at and one that looks.

    The QK circuit decides where the head looks, and the OV circuit decides what it writes once it looks there. Both
    read vectors of the residual stream, and the drawing leaves open which: embeddings, or what a layer makes of them.
    highlight: "QK", "OV" or both, which then have the accent colour, and everything else is grey. Without names, each
    circuit has a colour of its own. The drawing is an image, as that of `diagram` is.
    Source: Elhage et al. (2021), A Mathematical Framework for Transformer Circuits.
    Raises ArgumentError for a part that there is not.

    >>> "Highlighted: OV." in head_circuits("OV").data
    True
    """
    return _image(_HEAD_TITLE, _HEAD_DESCRIPTION, 548, _head_drawing(), CIRCUITS, _HEAD_PLAIN, highlight)


def _image(title, description, height, drawing, parts, plain, highlight):
    """A drawing of 360 x height units, from y = -8 on, as an image that carries its words. plain: its colours."""
    highlight = [highlight] if isinstance(highlight, str) else highlight
    if unknown := [name for name in highlight if name not in parts]:
        raise ArgumentError(f"The diagram has no part {unknown[0]!r}; choose from {', '.join(parts)}.")
    colours = _MUTED + ",".join(f".{name}" for name in highlight) + _ACCENT if highlight else plain
    said = f"{description} Highlighted: {', '.join(highlight)}." if highlight else description
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -8 360 {height}" role="img" aria-labelledby="title desc">'
        f'<title id="title">{title}</title><desc id="desc">{said}</desc><style>{_STYLE}{colours}</style>'
        f"{drawing}</svg>"
    )
    source = f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"
    return HTML(f'<img src="{source}" alt="{escape(f"{title}. {said}")}" style="width:100%;max-width:420px">')


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
            _part("norm", _path(f"M{_STREAM + 4} 472H{middle - 28}M{_STREAM + 4} 300H{middle - 28}")),
            _part(
                "stream",
                _path("".join(f"M{_STREAM} {y}V{to}" for y, to in _STREAM_PIECES), "thick"),
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
                _rect(_LEFT, 348, _RIGHT - _LEFT, 96, "area", 6),
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
                _rect(_LEFT, 236, _RIGHT - _LEFT, 36, "area", 6),
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


def _head_drawing():
    """From the tokens at the bottom to the logits at the top; QK is below OV, because a head looks before it writes."""
    key, query, middle = 38, 322, 180
    return "".join(
        [
            _part(
                "stream",
                _path(f"M{key} 424V60M{query} 424V215M{query} 197V60", "thick"),
                _text(key + 12, 97, "residual stream", "left"),
                _text(query - 12, 97, "residual stream", "right"),
            ),
            _part(
                "reads",
                *(_arrow(x, 480, x, 450) + _box(x - 28, 424, 56, 24, "vector") for x in (key, query)),
                _text(middle, 430, "what the head reads", "bold"),
                _text(middle, 445, "one vector for each token,", "small"),
                _text(middle, 459, "after the norm of its layer", "small"),
            ),
            _part(
                "tokens",
                *(_box(x - 32, 480, 64, 24, word) for x, word in ((key, "·Princess"), (query, "·the"))),
                _arrow(query - 32, 492, key + 34, 492),
                _text(middle, 487, "looks at", "small"),
                _text(8, 520, "key", "left bold"),
                _text(8, 534, "an earlier token", "left small"),
                _text(352, 520, "query", "right bold"),
                _text(352, 534, "a later token", "right small"),
            ),
            _part(
                "OV",
                _rect(60, 122, 240, 112, "area", 6),
                _arrow(key + 4, 206, 70, 206) + _box(72, 194, 44, 24, _indexed("W_V")),
                _arrow(116, 206, 169, 206),
                _text(140, 200, "v"),
                _arrow(189, 206, 242, 206) + _times(middle, 206),
                _box(244, 194, 44, 24, _indexed("W_O")),
                _arrow(288, 206, query - 11, 206) + _plus(query, 206),
                _text(middle, 148, _indexed("W_V W_O: OV circuit"), "bold"),
                _text(middle, 164, "decides what is written once it looks there", "small"),
            ),
            _part(
                "QK",
                _rect(60, 258, 240, 146, "area", 6),
                _arrow(key + 4, 340, 70, 340) + _box(72, 328, 44, 24, _indexed("W_K")),
                _arrow(query - 4, 340, 290, 340) + _box(244, 328, 44, 24, _indexed("W_Q")),
                _arrow(94, 328, 94, 296) + _box(80, 270, 28, 24, "k"),
                _arrow(266, 328, 266, 296) + _box(252, 270, 28, 24, "q"),
                _arrow(108, 282, 130, 282) + _arrow(252, 282, 230, 282),
                _box(132, 270, 96, 24, "q · k = score"),
                _text(middle, 378, _indexed("W_Q W_Kᵀ: QK circuit"), "bold"),
                _text(middle, 394, "decides where the head looks", "small"),
                _arrow(middle, 270, middle, 217),
                _text(middle - 8, 250, "softmax", "right small"),
                _text(middle + 8, 250, "attention weight", "left small"),
            ),
            _part(
                "logits",
                _box(query - 22, 36, 44, 24, _indexed("W_U")),
                _arrow(query, 36, query, 22),
                _text(query, 14, "logits"),
            ),
        ]
    )


def _indexed(words):
    """W_Q with its letter set lower; a character without width brings what follows back to the line."""
    letters = '<tspan font-size="15">W</tspan><tspan dy="3">\\1</tspan><tspan dy="-3">\u200b</tspan>'
    return re.sub(r"W_(\w)", letters, words).replace("ᵀ", '<tspan font-size="18">ᵀ</tspan>')


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


def _times(x, y):
    return f'<circle cx="{x}" cy="{y}" r="9"/>' + _path(f"M{x - 4} {y - 4}l8 8m0-8l-8 8")
