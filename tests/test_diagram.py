"""The pictures of a transformer and of a head: what they hold and colour, and what headless Chromium makes of them."""

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from interp_helpers import ArgumentError
from interp_helpers.diagram import CIRCUITS, PARTS, diagram, head_circuits

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SVG = "{http://www.w3.org/2000/svg}"
PICTURES = pytest.mark.parametrize(("picture", "names"), [(diagram, PARTS), (head_circuits, CIRCUITS)])
NAMED = [(diagram, name) for name in PARTS] + [(head_circuits, name) for name in CIRCUITS]


def source(shown):
    return base64.b64decode(re.search('src="data:image/svg\\+xml;base64,([^"]*)"', shown.data)[1]).decode()


def parts(root, name):
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == name]


def words(shapes):
    return ["".join(text.itertext()).replace("\u200b", "") for shape in shapes for text in shape.iter(f"{SVG}text")]


def accented(shown):
    """The parts in the accent colour, the orange-red of all figures."""
    return re.findall(r"\.(\w+)", (re.findall(r"([^{}]*)\{[^{}]*#C65300[^{}]*\}", source(shown)) or [""])[0])


@PICTURES
def test_the_picture_is_small_and_the_same_every_time(picture, names):
    assert picture().data == picture().data
    assert all(len(picture(name).data) < 15_000 for name in names)
    assert len({picture(name).data for name in names} | {picture().data}) == len(names) + 1


def test_every_part_is_drawn_with_its_words():
    root = ElementTree.fromstring(source(diagram()))
    assert {group.get("class") for group in root.iter(f"{SVG}g")} == set(PARTS)
    assert words(parts(root, "tokens")) == ["tokens", "Once", "·upon", "·a"]
    assert words(parts(root, "norm")) == ["norm", "norm", "final norm"]
    assert words(parts(root, "head")) == ["head", "Q", "K", "V"]
    assert words(parts(root, "attention")).count("head") == 3
    assert len([mark for group in parts(root, "stream") for mark in group.iter(f"{SVG}circle")]) == 2, "two additions"


def test_each_circuit_is_drawn_with_its_words():
    root = ElementTree.fromstring(source(head_circuits()))
    qk = ["WK", "WQ", "k", "q", "q · k = score", "WQ WKᵀ: QK circuit", "decides where the head looks"]
    assert words(parts(root, "QK")) == [*qk, "softmax", "attention weight"]
    ov = ["WV", "v", "WO", "WV WO: OV circuit", "decides what is written once it looks there"]
    assert words(parts(root, "OV")) == ov
    assert words(parts(root, "tokens"))[:3] == ["·Princess", "·the", "looks at"]
    assert words(parts(root, "logits")) == ["WU", "logits"]
    assert words(parts(root, "reads"))[:3] == ["vector", "vector", "what the head reads"]
    plain = dict(re.findall(r"\.(QK|OV)\{--line:(#\w+)", source(head_circuits())))
    assert plain == {"QK": "#0072B2", "OV": "#CC79A7"}


def test_ids_and_percentages_are_true(storybook):
    import torch

    root = ElementTree.fromstring(source(diagram()))
    ids = storybook[1]("Once upon a", add_special_tokens=False)["input_ids"]
    assert words(parts(root, "ids")) == ["ids", *map(str, ids)]
    zero = int(re.search(r'd="M(\d+) 24V84"', source(diagram()))[1])
    bars = [bar for group in parts(root, "logits") for bar in group.iter(f"{SVG}rect")]
    logits = [(1 if int(bar.get("x")) == zero else -1) * int(bar.get("width")) / 12 for bar in bars]
    shares = torch.tensor(logits).softmax(-1)
    assert words(parts(root, "probabilities"))[1:] == [f"{shares[0]:.0%}", f"{shares[1]:.0%}", "<1%"]
    assert 0 < shares[2] < 0.01


@pytest.mark.parametrize(("picture", "name"), NAMED)
def test_a_part_is_highlighted(picture, name):
    shown = picture([name])
    assert shown.data == picture(name).data == picture((name,)).data
    assert accented(shown) == [name]
    assert f"Highlighted: {name}." in shown.data
    assert "#0072B2" not in source(shown), "the rest is grey"


@PICTURES
def test_several_parts_are_highlighted_and_none_without_names(picture, names):
    assert accented(picture(names[-2:])) == [*names[-2:]]
    assert accented(picture()) == []
    assert "Highlighted" not in picture().data


def segments(path):
    """The straight pieces of a path of M, H and V, `(x, y, to x, to y)`."""
    x = y = 0
    for letter, first, second in re.findall(r"([MHV])(\d+)(?: (\d+))?", path):
        if letter == "M":
            x, y = int(first), int(second)
        else:
            to = (int(first), y) if letter == "H" else (x, int(first))
            yield x, y, *to
            x, y = to


@PICTURES
def test_nothing_hides_the_page_and_no_thick_line_runs_through_a_shape(picture, names):
    """Boxes are empty, so that the picture can stand on a light and on a dark page."""
    root = ElementTree.fromstring(source(picture()))
    fills = set(re.findall(r"(?:fill|--fill):([^;}]*)", source(picture())))
    assert [fill for fill in fills if fill.startswith("#") and len(fill) < 9] == [], "no fill is opaque"
    thick = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("class") == "thick"]
    pieces = [piece for path in thick for piece in segments(path)]
    assert len(pieces) > 2
    circles = [tuple(float(each.get(name)) for name in ("cx", "cy", "r")) for each in root.iter(f"{SVG}circle")]
    boxes = [
        tuple(float(each.get(name)) for name in ("x", "y", "width", "height"))
        for each in root.iter(f"{SVG}rect")
        if each.get("class") != "panel"
    ]
    boxes += [(x - r, y - r, 2 * r, 2 * r) for x, y, r in circles]
    for x, y, _, end in pieces:
        for left, top, width, height in boxes:
            inside = min(max(y, end), top + height) - max(min(y, end), top)
            assert not left < x < left + width or inside <= 0, f"a line at {x} runs through a box at {left}, {top}"


def test_an_unknown_part_is_refused_with_the_list():
    with pytest.raises(ArgumentError, match=r"no part 'MLP'; choose from tokens, ids, .*, mlp, .*probabilities"):
        diagram(["norm", "MLP"])
    with pytest.raises(ArgumentError, match="no part 'attention'; choose from QK, OV"):
        head_circuits("attention")


SAID = ["tokens", "embedding", "residual stream", "attention", "added", "MLP", "unembedding", "softmax"]
SAID_OF_A_HEAD = [
    "·Princess", "looks at", "one vector", "norm", "QK circuit", "where the head looks", "W_Q and becomes q",
    "W_K and becomes k", "score", "OV circuit", "what is written", "W_V", "W_O", "added to the query's stream", "W_U",
    "logits",
]  # fmt: skip


@pytest.mark.parametrize(("shown", "said"), [(diagram("attention"), SAID), (head_circuits("OV"), SAID_OF_A_HEAD)])
def test_readers_who_see_no_picture_are_told_what_it_shows(shown, said):
    root = ElementTree.fromstring(source(shown))
    alt = unescape(re.search(' alt="([^"]*)"', shown.data)[1])
    assert root.get("role") == "img"
    assert alt == f"{root.find(f'{SVG}title').text}. {root.find(f'{SVG}desc').text}"
    for word in said:
        assert word.lower() in alt.lower()


@PICTURES
def test_nothing_asks_the_network(picture, names):
    assert re.findall("https?:[^\"']*", source(picture(names))) == ["http://www.w3.org/2000/svg"]
    assert re.findall("<[a-z]+", picture(names).data) == ["<img"]


MEASURE = """<script>
const edges = ({x, y, width, height}) => [x, y, x + width, y + height];
const texts = [...document.querySelectorAll("text")].map((each) => {
  const sizes = [each, ...each.children].map((part) => parseFloat(getComputedStyle(part).fontSize));
  const box = each.matches("rect:not(.bar) + text") ? edges(each.previousElementSibling.getBBox()) : null;
  return [each.textContent, Math.min(...sizes), box, ...edges(each.getBBox())];
});
document.body.textContent = "GOT" + btoa(encodeURIComponent(JSON.stringify(texts))) + ".";
</script>"""


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@PICTURES
def test_words_are_large_enough_on_a_phone_fit_their_boxes_and_do_not_overlap(picture, names, tmp_path):
    """In units of the picture, which is 360 of them wide. On a phone they are 375 pixels."""
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><body>{source(picture(names))}{MEASURE}', encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    texts = json.loads(unquote(base64.b64decode(re.search("GOT([^.]*)\\.", done.stdout.decode())[1]).decode()))
    assert len(texts) == source(picture()).count("<text")
    assert min(size for _, size, *_ in texts) * 375 / 360 >= 11
    assert sum(box is not None for _, _, box, *_ in texts) > 10
    for number, (word, _, box, left, top, right, bottom) in enumerate(texts):
        # A line's box is higher than its letters.
        if box:
            assert box[0] + 2 <= left <= right <= box[2] - 2, f"{word!r} is wider than its box"
            assert box[1] - 3 <= top <= bottom <= box[3] + 3, f"{word!r} is higher than its box"
        assert left >= 4, f"{word!r} is cut"
        assert right <= 356, f"{word!r} is cut"
        for other, _, _, left_2, top_2, right_2, bottom_2 in texts[:number]:
            apart = right <= left_2 or right_2 <= left or bottom - 3 <= top_2 or bottom_2 - 3 <= top
            assert apart, f"{word!r} lies over {other!r}"
