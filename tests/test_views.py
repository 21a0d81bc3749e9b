import base64
import json
import re
import shutil
import socket
import subprocess
import zlib
from importlib import resources

import numpy as np
import pytest
import torch

from interp_helpers import ArgumentError
from interp_helpers.views import attention_view, views_loader

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NASTY = ['"', "'", "</script><b>", "<!--", "\n", "\\", "😀", "\u2028", "`${1}`", "&lt;"]


def causal(heads, positions, seed=0):
    scores = torch.randn(heads, positions, positions, generator=torch.Generator().manual_seed(seed))
    return scores.masked_fill(torch.ones(positions, positions).triu(1).bool(), -torch.inf).softmax(-1)


def words(count):
    return [f"·word{each}" for each in range(count)]


def sent(view):
    """What a view hands to the page: (name of its card, its data)."""
    name, data = re.search(r'\}\)\("([^"]+)", (\{.*\})\)</script>$', view.data).groups()
    return name, json.loads(data)


def rebuilt(data):
    weights = np.zeros((len(data["weights"]), len(data["tokens"]), len(data["tokens"])))
    for head, rows in enumerate(data["weights"]):
        for query, row in enumerate(rows):
            weights[head, query, : len(row)] = row
    return weights / data["scale"]


def test_a_view_is_small():
    assert len(attention_view(words(32), causal(8, 32)).data.encode()) < 20_000
    assert len(attention_view(words(32), torch.ones(8, 32, 32).tril() / torch.arange(1, 33)[:, None]).data) < 20_000


def test_a_view_is_the_same_every_time():
    pattern = causal(2, 5)
    first, again = attention_view(words(5), pattern), attention_view(words(5), pattern.double())
    assert first.data == again.data
    assert "0x" not in repr(first)
    other = attention_view(words(5), causal(2, 5, seed=1))
    assert sent(other)[0] != sent(first)[0]
    assert f'<div data-view="{sent(first)[0]}"' in first.data


@pytest.mark.parametrize("digits", [1, 3, 6])
def test_the_weights_of_the_page_are_those_of_the_pattern(digits):
    pattern = causal(3, 7).double()
    data = sent(attention_view(words(7), pattern, digits=digits))[1]
    np.testing.assert_allclose(rebuilt(data), pattern, rtol=0, atol=0.5001 * 10**-digits)
    assert data["maskUpperTri"] is True
    assert data["tokens"] == words(7)


def test_weights_above_the_diagonal_are_kept_and_shown():
    pattern = torch.tensor([[[0.0, 1.0, 0.0], [0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]])
    data = sent(attention_view(words(3), pattern))[1]
    np.testing.assert_array_equal(rebuilt(data), pattern)
    assert data["maskUpperTri"] is False


def test_no_token_ends_the_script():
    view = attention_view(NASTY, causal(1, len(NASTY)))
    assert sent(view)[1]["tokens"] == NASTY
    assert view.data.isascii()
    markup = [tag for tag in ("<script", "</script", "<!--", "<div", "</div", "<b") for _ in re.findall(tag, view.data)]
    assert markup == ["<script", "</script", "<div", "</div"]


def test_a_view_says_what_to_do_until_it_is_drawn():
    assert "the cell with views_loader() has run.</div>" in attention_view(["a"], torch.ones(1, 1, 1)).data


def test_nothing_asks_the_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    view = attention_view(words(4), causal(2, 4))._repr_html_()
    page = re.sub('"[A-Za-z0-9+/=]{1000,}"', "", views_loader()._repr_html_())  # without the bundle
    for html in (view, page):
        assert "http" not in html
        assert "//" not in html
        assert "import" not in html
        assert "src=" not in html


def test_the_loader_carries_the_installed_bundle():
    html = views_loader().data
    assert html == views_loader().data
    assert len(html) < 500_000
    packed = re.search(r'"([A-Za-z0-9+/=]{1000,})"', html)[1]
    bundle = resources.files("circuitsvis").joinpath("dist/cdn/iife.js").read_bytes()
    assert zlib.decompress(base64.b64decode(packed)) == bundle
    assert len(bundle) > 1_000_000


@pytest.mark.parametrize(
    ("tokens", "change", "message"),
    [
        (words(4), lambda pattern: pattern[0], r"attention_view: pattern must be .*head token token.*f32\[4,4\]"),
        (words(4), lambda pattern: pattern[:, -1:], r"attention_view: pattern must be .*f32\[2,1,4\]"),
        (words(3), lambda pattern: pattern, r"There are 3 tokens, but pattern has the shape \(2, 4, 4\)"),
        (words(4), lambda pattern: pattern.log(), "pattern holds NaN or infinity"),
        (words(4), lambda pattern: pattern * torch.nan, "pattern holds NaN or infinity"),
    ],
)
def test_another_shape_and_nan_are_refused(tokens, change, message):
    with pytest.raises(ArgumentError, match=message):
        attention_view(tokens, change(causal(2, 4)))


def dom(html, folder):
    """The page as headless Chromium has it, without network, after its scripts have run."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=10000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.decode()


def exported(outputs):
    """A page as nbconvert makes it of a notebook with one cell for every output."""
    from nbconvert import HTMLExporter
    from nbformat import v4

    cells = [
        v4.new_code_cell("...", outputs=[v4.new_output("execute_result", {"text/html": each.data}, execution_count=1)])
        for each in outputs
    ]
    return HTMLExporter().from_notebook_node(v4.new_notebook(cells=cells))[0]


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_views_of_an_exported_page_are_drawn(tmp_path):
    """One view above the loader, an equal one and another below it, and a second loader."""
    view = attention_view(NASTY, causal(3, len(NASTY)))
    other = attention_view(words(6), causal(2, 6))
    page = dom(exported([view, views_loader(), view, other, views_loader()]), tmp_path)
    cards = re.findall(rf'<div data-view="(?:{sent(view)[0]}|{sent(other)[0]})"[^>]* id="(.*?)"', page)
    assert sorted(card.split("-")[-1] for card in cards) == ["0", "1", "2"], "each card is drawn once"
    assert page.count("Head Selector") == 3
    assert page.count("<canvas") == 4 + 4 + 3, "every head small, one of them large"
    assert "views_loader()" not in page, "no card still asks for the loader"


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_page_hands_the_pattern_to_circuitsvis(tmp_path):
    """In place of the bundle stands a function that writes down what it is given."""
    pattern = causal(3, len(NASTY))
    recorder = (
        '<script>globalThis.interpViews = {drawn: 0, bundle: Promise.resolve({AttentionHeads: "heads", '
        'render: (id, part, given) => { document.getElementById(id).textContent = "GOT" + btoa(JSON.stringify('
        '[part, given]).replace(/[^ -~]/g, (c) => "\\\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"))) + "." }})}'
        "</script>"
    )
    page = dom(recorder + attention_view(NASTY, pattern).data, tmp_path)
    part, given = json.loads(base64.b64decode(re.search(r">GOT([^.]*)\.</div>", page)[1]))
    assert part == "heads"
    assert given["tokens"] == NASTY
    assert given["maskUpperTri"] is True
    assert given["attentionHeadNames"] == ["H0", "H1", "H2"]
    np.testing.assert_array_equal(given["attention"], pattern.double().numpy().round(3))


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_page_without_the_loader_keeps_the_sentence(tmp_path):
    page = dom(exported([attention_view(words(6), causal(2, 6))]), tmp_path)
    assert page.count("views_loader() has run.</div>") == 1
    assert "<canvas" not in page


def test_three_decimals_are_kept_and_rows_of_nothing_are_empty():
    data = sent(attention_view(words(2), torch.tensor([[[1.0, 0], [0.1234, 0.8766]]])))[1]
    assert (data["scale"], data["weights"]) == (1000, [[[1000], [123, 877]]])
    even = torch.ones(1, 30, 30) / 30  # no weight is half of a tenth
    assert sent(attention_view(words(30), even, digits=1))[1]["weights"] == [[[]] * 30]
