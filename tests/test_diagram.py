"""The picture of a transformer: what it holds and colours, and what headless Chromium makes of it."""

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
from interp_helpers.diagram import PARTS, diagram

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SVG = "{http://www.w3.org/2000/svg}"


def source(shown):
    return base64.b64decode(re.search('src="data:image/svg\\+xml;base64,([^"]*)"', shown.data)[1]).decode()


def parts(root, name):
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == name]


def words(shapes):
    return [text.text for shape in shapes for text in shape.iter(f"{SVG}text")]


def accented(shown):
    """The parts in the accent colour, Okabe and Ito's orange."""
    return re.findall(r"\.(\w+)", (re.findall(r"([^{}]*)\{[^{}]*#D55E00[^{}]*\}", source(shown)) or [""])[0])


def test_the_picture_is_small_and_the_same_every_time():
    assert diagram().data == diagram().data
    assert all(len(diagram(name).data) < 15_000 for name in PARTS)
    assert len({diagram(name).data for name in PARTS} | {diagram().data}) == len(PARTS) + 1


def test_every_part_is_drawn_with_its_words():
    root = ElementTree.fromstring(source(diagram()))
    assert {group.get("class") for group in root.iter(f"{SVG}g")} == set(PARTS)
    assert words(parts(root, "tokens")) == ["tokens", "Once", "·upon", "·a"]
    assert words(parts(root, "norm")) == ["norm", "norm", "final norm"]
    assert words(parts(root, "head")) == ["head", "Q", "K", "V"]
    assert words(parts(root, "attention")).count("head") == 3
    assert len([mark for group in parts(root, "stream") for mark in group.iter(f"{SVG}circle")]) == 2, "two additions"


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


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_highlighted(name):
    shown = diagram([name])
    assert shown.data == diagram(name).data == diagram((name,)).data
    assert accented(shown) == [name]
    assert f"Highlighted: {name}." in shown.data
    assert "#0072B2" not in source(shown), "the rest is grey"


def test_several_parts_are_highlighted_and_none_without_names():
    assert accented(diagram(["norm", "mlp"])) == ["norm", "mlp"]
    assert accented(diagram()) == []
    assert "Highlighted" not in diagram().data


def test_an_unknown_part_is_refused_with_the_list():
    with pytest.raises(ArgumentError, match=r"no part 'MLP'; choose from tokens, ids, .*, mlp, .*probabilities"):
        diagram(["norm", "MLP"])


def test_readers_who_see_no_picture_are_told_what_it_shows():
    shown = diagram("attention")
    root = ElementTree.fromstring(source(shown))
    alt = unescape(re.search(' alt="([^"]*)"', shown.data)[1])
    assert root.get("role") == "img"
    assert alt == f"{root.find(f'{SVG}title').text}. {root.find(f'{SVG}desc').text}"
    for word in ["tokens", "embedding", "residual stream", "attention", "added", "MLP", "unembedding", "softmax"]:
        assert word.lower() in alt.lower()


def test_nothing_asks_the_network():
    assert re.findall("https?:[^\"']*", source(diagram())) == ["http://www.w3.org/2000/svg"]
    assert re.findall("<[a-z]+", diagram().data) == ["<img"]


MEASURE = """<script>
const texts = [...document.querySelectorAll("text")].map((each) => {
  const {x, y, width, height} = each.getBBox();
  return [each.textContent, parseFloat(getComputedStyle(each).fontSize), x, y, x + width, y + height];
});
document.body.textContent = "GOT" + btoa(encodeURIComponent(JSON.stringify(texts))) + ".";
</script>"""


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_words_are_large_enough_on_a_phone_and_do_not_overlap(tmp_path):
    """In units of the picture, which is 360 of them wide. On a phone they are 375 pixels."""
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><body>{source(diagram())}{MEASURE}', encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    texts = json.loads(unquote(base64.b64decode(re.search("GOT([^.]*)\\.", done.stdout.decode())[1]).decode()))
    assert len(texts) == source(diagram()).count("<text")
    assert min(size for _, size, *_ in texts) * 375 / 360 >= 11
    for number, (word, _, left, top, right, bottom) in enumerate(texts):
        assert left >= 4, f"{word!r} is cut"
        assert right <= 356, f"{word!r} is cut"
        for other, _, left_2, top_2, right_2, bottom_2 in texts[:number]:
            # A line's box is higher than its letters.
            apart = right <= left_2 or right_2 <= left or bottom - 3 <= top_2 or bottom_2 - 3 <= top
            assert apart, f"{word!r} lies over {other!r}"
