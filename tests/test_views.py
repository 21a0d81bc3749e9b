import base64
import json
import re
import socket
import subprocess
import time
import zlib
from html import unescape
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
import torch
from browser import CHROMIUM, axe_core, browser

from interp_helpers import ArgumentError, token_labels
from interp_helpers.views import (
    Context,
    Unit,
    attention_view,
    blind_view,
    circuit_view,
    contexts_view,
    lens_view,
    prediction_view,
    token_view,
    training_view,
    views_loader,
)

NASTY = ['"', "'", "</script><b>", "<!--", "\n", "\\", "😀", "\u2028", "`${1}`", "&lt;"]


def causal(heads, positions, seed=0):
    scores = torch.randn(heads, positions, positions, generator=torch.Generator().manual_seed(seed))
    return scores.masked_fill(torch.ones(positions, positions).triu(1).bool(), -torch.inf).softmax(-1)


def twice_on_a_page(view, folder):
    """The path of a page that holds a view twice, as when a cell was run again."""
    file = folder / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{view.data}{view.data}", encoding="utf-8")
    return file


def words(count):
    return [f"·word{each}" for each in range(count)]


def sent(view):
    """What a view hands to the page: (name of its card, its data)."""
    name, data = re.search(r'\}\)\("([^"]+)", "\w*", (\{.*\})\)</script>$', view.data).groups()
    return name, json.loads(data)


class Card(HTMLParser):
    """What a view shows without JavaScript: its spans, as [text, colour, title], and the names of all its tags."""

    def __init__(self, view):
        super().__init__()
        self.spans, self.tags = [], []
        self.feed(view.data.partition("\n<style>")[0])
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "span":
            given = dict(attributes)
            self.spans.append(["", re.fullmatch(r"background-color:(#[0-9a-f]{6})", given["style"])[1], given["title"]])

    def handle_data(self, data):
        if self.tags[-1] == "span":
            self.spans[-1][0] += data

    def column(self, name):
        return [each[("text", "colour", "title").index(name)] for each in self.spans]


class Words:
    """A tokenizer as far as labels need one: each id is a word."""

    def __init__(self, words):
        self.words = words

    def decode(self, tokens, **settings):
        return self.words[tokens[0]]

    def convert_ids_to_tokens(self, token):
        return self.words[token]


def luminance(colour):
    """WCAG 2's relative luminance of a colour such as #56b4e9."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rebuilt(data):
    weights = np.zeros((len(data["weights"]), len(data["tokens"]), len(data["tokens"])))
    for head, rows in enumerate(data["weights"]):
        for query, row in enumerate(rows):
            weights[head, query, : len(row)] = row
    return weights / data["scale"]


def test_a_view_is_small():
    assert len(attention_view(words(32), causal(8, 32)).data.encode()) < 20_000
    assert len(attention_view(words(32), torch.ones(8, 32, 32).tril() / torch.arange(1, 33)[:, None]).data) < 20_000
    assert len(attention_view(words(14), causal(48, 14)).data) < 30_000
    assert len(token_view(words(100), torch.randn(100)).data) < 15_000
    assert len(lens(depths=7, positions=20, vocabulary=300).data.encode()) < 60_000


def test_a_view_is_the_same_every_time():
    pattern = causal(2, 5)
    first, again = attention_view(words(5), pattern), attention_view(words(5), pattern.double())
    assert first.data == again.data
    assert "0x" not in repr(first)
    other = attention_view(words(5), causal(2, 5, seed=1))
    assert sent(other)[0] != sent(first)[0]
    assert f'<div data-view="{sent(first)[0]}"' in first.data


def drawn_text(depths, positions, vocabulary=9, seed=0):
    """Random token ids and logits of every depth."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, (positions,), generator=generator)
    return tokens, 3 * torch.randn(depths, positions, vocabulary, generator=generator)


def lens(depths, positions, vocabulary=9):
    """A view of a random text with a random control."""
    prompt, control = (drawn_text(depths, positions, vocabulary, seed) for seed in (0, 1))
    return lens_view(Words(words(vocabulary)), *prompt, control)


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
    assert outside_of_text(view) == ["<div", "</div", "<style", "</style", "<script", "</script"]


def outside_of_text(view):
    """All that a browser takes for the begin of a tag or a comment, but for the coloured text."""
    return re.findall("</?[a-z]+|<!", re.sub("</?span[^>]*>|<wbr>", "", view.data))


def test_a_view_says_what_to_do_until_it_is_drawn():
    assert "the cell with views_loader() has run.</div>" in attention_view(["a"], torch.ones(1, 1, 1)).data


def test_nothing_asks_the_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    views = [
        attention_view(words(4), causal(2, 4)),
        token_view(words(4), torch.arange(4.0)),
        prediction_view(Words(words(3)), torch.tensor([0, 1, 2]), torch.eye(3), top_k=2),
        lens(depths=3, positions=4),
        heads_of_words(layers=2, heads=3, count=60),
        training(frames=3, heads=2, positions=4),
        contexts_view(drawn_contexts(3)),
        blind_view(drawn_units(["a", "b"])),
    ]
    page = re.sub('"[A-Za-z0-9+/=]{1000,}"', "", views_loader()._repr_html_())  # without the bundle
    for html in (*[view._repr_html_() for view in views], page):
        assert "http" not in html
        assert "//" not in html
        assert not re.search(r"\bimport\b", html)
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["L0H0"]}, "There are 1 names for 2 heads"),
        ({"focus": 2}, "focus is 2, but the heads are numbered from 0 to 1"),
        ({"focus": -1}, "focus is -1, but the heads are numbered from 0 to 1"),
    ],
)
def test_names_and_focus_that_fit_no_head_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        attention_view(words(4), causal(2, 4), **options)


def test_names_and_focus_reach_the_page():
    data = sent(attention_view(words(4), causal(2, 4), ["L4H3", "<b>"], focus=1))[1]
    assert (data["attentionHeadNames"], data["focus"]) == (["L4H3", "<b>"], 1)
    data = sent(attention_view(words(4), causal(2, 4)))[1]
    assert (data["attentionHeadNames"], data["focus"]) == (["H0", "H1"], None)


def test_a_text_is_coloured_by_its_values_with_and_without_javascript():
    view = token_view(["Once", "·upon", "·a"], torch.tensor([0.0, 2.00049, -1.0]))
    assert sent(view)[1] == {
        "tokens": ["Once", "·upon", "·a"],
        "values": [0.0, 2.0, -1.0],
        "minValue": -2.0,
        "maxValue": 2.0,
        "positiveColor": "#56b4e9",
        "negativeColor": "#e69f00",
    }
    # The last one is half way from white to orange: (255 + 230) / 2, (255 + 159) / 2, (255 + 0) / 2.
    assert Card(view).spans == [["Once", "#ffffff", "0.0"], ["·upon", "#56b4e9", "2.0"], ["·a", "#f2cf80", "-1.0"]]


@pytest.mark.parametrize(
    ("limits", "colours"),
    [
        ((0, 4), ["#e69f00", "#ffffff", "#aadaf4", "#56b4e9"]),  # nothing is below 0 on this scale: the full colour
        ((-4, 0), ["#f2cf80", "#ffffff", "#56b4e9", "#56b4e9"]),
        ((-2.0, 1.0), ["#e69f00", "#ffffff", "#56b4e9", "#56b4e9"]),
    ],
)
def test_limits_set_where_the_colours_are_full(limits, colours):
    view = token_view(words(4), torch.tensor([-2.0, 0.0, 2.0, 5.0]), limits)
    assert Card(view).column("colour") == colours
    np.testing.assert_allclose([sent(view)[1]["minValue"], sent(view)[1]["maxValue"]], limits, atol=1e-8)
    assert sent(view)[1]["minValue"] < 0 < sent(view)[1]["maxValue"], "CircuitsVis divides by both"


def test_a_text_of_zeros_is_white():
    view = token_view(words(2), torch.zeros(2))
    assert Card(view).column("colour") == ["#ffffff", "#ffffff"]
    assert sent(view)[1]["minValue"] < 0 < sent(view)[1]["maxValue"]


@pytest.mark.parametrize("limits", [(1, 2), (-2, -1), (0, 0), (1, -1)])
def test_limits_without_zero_between_them_are_refused(limits):
    with pytest.raises(ArgumentError, match="0 between them"):
        token_view(words(2), torch.ones(2), limits)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.ones(3), "There are 2 tokens, but 3 values"),
        (torch.ones(1, 2), r"values must be .*token.*f32\[1,2\]"),
        (torch.tensor([1, torch.nan]), "values holds NaN or infinity"),
    ],
)
def test_values_of_another_shape_and_nan_are_refused(values, message):
    with pytest.raises(ArgumentError, match=message):
        token_view(words(2), values)


def test_black_is_readable_on_every_colour():
    """WCAG 2 asks for a contrast of 4.5 at least, and of 7 for its highest grade."""
    signed = token_view(words(41), torch.linspace(-1, 1, 41))
    sure = prediction_view(Words(words(3)), torch.tensor([0, 0]), torch.tensor([[90.0, 0, 0], [0, 0, 0]]), top_k=1)
    for view in (signed, sure):
        assert min((luminance(colour) + 0.05) / 0.05 for colour in Card(view).column("colour")) > 7
    assert Card(sure).column("colour") == ["#ffffff", "#ff6666"]


def test_predictions_by_hand():
    """Three tokens of three words: at 0 all are equally probable, at 1 the next token is 6 in 10."""
    tokens = torch.tensor([2, 1, 0])
    probabilities = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.6, 0.1, 0.3], [0.01, 0.01, 0.98]])
    view = prediction_view(Words(["a", " b", "c\n"]), tokens, probabilities.log() + 5, top_k=2)
    assert sent(view)[1] == {
        "prompt": ["c↵", "·b", "a"],
        "topKLogProbs": [[-1.099, -1.099], [-0.511, -1.204]],
        "topKTokens": [["a", "·b"], ["a", "c↵"]],
        "correctTokenRank": [1, 0],
        "correctTokenLogProb": [-1.099, -0.511],
    }
    # -1.0986 and -0.5108 nats are 0.7803 and 0.8978 of the way from white, at -5 nats, to (255, 102, 102), at 0.
    assert Card(view).spans == [
        ["c↵", "#ffffff", ""],
        ["·b", "#ff8888", "33.33%, most probable: a 33.33%"],
        ["a", "#ff7676", "60.00%, most probable: a 60.00%"],
    ]


def test_predictions_are_those_of_the_function_of_circuitsvis(monkeypatch, storybook):
    from circuitsvis import logits as theirs

    model, tokenizer = storybook
    tokens = torch.tensor(tokenizer("The king gave the old dog a bone.")["input_ids"])
    logits = model(tokens[None]).logits[0].detach()
    monkeypatch.setattr(theirs, "render", lambda component, **props: (component, props))
    name, props = theirs.token_log_probs(tokens, logits.log_softmax(-1), lambda token: tokenizer.decode([token]), 10)
    view = prediction_view(tokenizer, tokens, logits)
    data = sent(view)[1]
    assert f'"{name}", {{' in view.data
    assert set(data) == set(props)
    assert data["correctTokenRank"] == props["correctTokenRank"].tolist()
    assert [each.replace("·", " ") for each in data["prompt"]] == props["prompt"]
    assert [[each.replace("·", " ") for each in row] for row in data["topKTokens"]] == props["topKTokens"]
    for each in ("topKLogProbs", "correctTokenLogProb"):
        np.testing.assert_allclose(data[each], props[each], rtol=0, atol=0.00051)


@pytest.mark.parametrize(
    ("tokens", "logits", "top_k", "message"),
    [
        ([0], torch.zeros(1, 3), 1, "no second token"),
        ([0, 1], torch.zeros(3, 3), 1, r"logits must be .*position vocabulary.*f32\[3,3\]"),
        ([0, 1], torch.full((2, 3), torch.nan), 1, "logits holds NaN or infinity"),
        ([0, 1], torch.zeros(2, 3), 0, "top_k is 0; choose a number from 1 to 3"),
        ([0, 1], torch.zeros(2, 3), 4, "top_k is 4; choose a number from 1 to 3"),
    ],
)
def test_predictions_of_another_shape_are_refused(tokens, logits, top_k, message):
    with pytest.raises(ArgumentError, match=message):
        prediction_view(Words(words(3)), torch.tensor(tokens), logits, top_k)


def nasty_views():
    """Both views of a text of nasty tokens, with what its labels are."""
    count = len(NASTY)
    return [
        (token_view(NASTY, torch.arange(float(count))), NASTY),
        (
            prediction_view(Words(NASTY), torch.arange(count), torch.eye(count), top_k=count),
            [token.replace("\n", "↵") for token in NASTY],
        ),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_no_token_of_a_text_becomes_markup(number):
    view, labels = nasty_views()[number]
    assert view.data == nasty_views()[number][0].data, "the same every time"
    assert Card(view).column("text") == labels
    assert set(Card(view).tags) == {"div", "span", "wbr"}
    assert outside_of_text(view) == ["<div", "</div", "<style", "</style", "<script", "</script"]
    data = sent(view)[1]
    for tokens in (data.get("tokens") or data["prompt"], *data.get("topKTokens", [])):
        assert sorted(token.replace("\u2060", "") for token in tokens) == sorted(labels)
        assert not re.search("[<&][^\u2060]", "".join(tokens)), "CircuitsVis takes it for HTML"


# Two depths of a text of two tokens, as probabilities of the words "a", "·b" and "c↵".
THREE = ["a", " b", "c\n"]
EARLY, LATE = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [[1.0, 0.0, 0.0], [0.25, 0.6, 0.15]]
PROMPT = (torch.tensor([2, 1]), torch.tensor([EARLY, LATE]).clamp_min(1e-20).log() + 5)
# The control has the same probabilities at position 0, where its token is the same.
CONTROL = (torch.tensor([2, 0]), PROMPT[1].clone())
CONTROL[1][:, 1] = torch.tensor([[0.6, 0.2, 0.2], [0.05, 0.7, 0.25]]).log()


def named(view):
    """{name of a table: its cells, as lists of (word, number)}, in the order of the page: the last depth first."""
    data = sent(view)[1]
    return {
        table["name"]: [[(data["words"][word], value / 1000) for word, value in cell] for cell in table["cells"]]
        for table in data["tables"]
    }


def shown(view):
    """The table without JavaScript, row by row: [text, colour, title] of a cell, the text alone of a label."""
    rows = re.findall("<tr>(.*?)</tr>", view.data.partition("\n<style>")[0], re.S)
    label = r"<th scope=\"(?:row|col)\" style=\"background-color:white;color:black;white-space:nowrap\">([^<]*)</th>"
    cell = r"<td style=\"background-color:(#[0-9a-f]{6})\" title=\"([^\"]*)\">([^<]*)</td>"
    assert not re.sub(f"{label}|{cell}", "", "".join(rows)), "nothing else stands in a row"
    return [
        [[unescape(text), colour, unescape(title)] if colour else unescape(name) for name, colour, title, text in found]
        for found in (re.findall(f"{label}|{cell}", row) for row in rows)
    ]


def test_a_lens_by_hand():
    view = lens_view(Words(THREE), *PROMPT, top_k=2)
    assert named(view) == {
        "prompt": [
            [("a", 1.0), ("·b", 0.0)],
            [("·b", 0.6), ("a", 0.25)],
            [("a", 0.5), ("·b", 0.3)],
            [("c↵", 0.7), ("·b", 0.2)],
        ]
    }
    assert sent(view)[1]["tables"][0]["heads"] == ["c↵", "·b"]
    # 0.6 of the way from white to (86, 180, 233) is (153.6, 210, 241.8).
    assert shown(view) == [
        ["depth", "c↵", "·b"],
        ["after layer 0", ["a", "#56b4e9", "a 1.000, ·b 0.000"], ["·b", "#9ad2f2", "·b 0.600, a 0.250"]],
        ["embedding", ["a", "#aadaf4", "a 0.500, ·b 0.300"], ["c↵", "#89caf0", "c↵ 0.700, ·b 0.200"]],
    ]


def test_a_control_adds_itself_and_what_rises_from_it_to_the_prompt():
    view = lens_view(Words(THREE), *PROMPT, CONTROL, top_k=2)
    assert [table["heads"] for table in sent(view)[1]["tables"]] == [["c↵", "·b"], ["c↵", "a"], ["c↵", "·b\na"]]
    tables = named(view)
    assert tables["prompt"] == named(lens_view(Words(THREE), *PROMPT, top_k=2))["prompt"]
    assert tables["control"] == named(lens_view(Words(THREE), *CONTROL, top_k=2))["prompt"]
    # Only "a" rises after layer 0, by 0.25 - 0.05. In the embedding "c↵" rises by 0.7 - 0.2, and nothing else does.
    assert tables["difference"] == [[], [("a", 0.2)], [], [("c↵", 0.5)]]
    assert shown(view) == shown(lens_view(Words(THREE), *PROMPT, top_k=2)), "without JavaScript, the prompt alone"


def test_nothing_rises_from_a_text_to_itself_or_by_less_than_is_shown():
    assert named(lens_view(Words(THREE), *PROMPT, PROMPT, top_k=3))["difference"] == [[], [], [], []]
    nearly = torch.tensor([[[0.5004, 0.4996]]]).log()
    even = (torch.tensor([0]), torch.zeros(1, 1, 2))
    assert named(lens_view(Words(["a", "b"]), even[0], nearly, even, top_k=2))["difference"] == [[]]


def test_cells_are_the_largest_probabilities_of_the_logits():
    prompt, control = drawn_text(4, 5, seed=2), drawn_text(4, 5, seed=3)
    tables = named(lens_view(Words(words(9)), *prompt, control, top_k=4))
    one, other = (each[1].double().softmax(-1).flip(0).reshape(20, 9).numpy() for each in (prompt, control))
    for name, numbers in [("prompt", one), ("control", other), ("difference", one - other)]:
        for cell, row in zip(tables[name], numbers, strict=True):
            order = [each for each in np.argsort(-row)[:4] if name != "difference" or row[each] >= 0.0005]
            assert [word for word, _ in cell] == [f"·word{each}" for each in order]
            np.testing.assert_allclose([value for _, value in cell], row[order], rtol=0, atol=0.00051)


def test_the_last_depth_of_a_lens_is_the_models_own_prediction(storybook):
    model, tokenizer = storybook
    tokens = torch.tensor(tokenizer("The king gave the old dog a bone.")["input_ids"])
    logits = model(tokens[None]).logits.detach()
    rows = shown(lens_view(tokenizer, tokens, torch.cat([logits.flip(1), logits])))
    assert rows[0][1:] == token_labels(tokenizer, tokens)
    assert [cell[0] for cell in rows[1][1:]] == token_labels(tokenizer, logits[0].argmax(-1))
    assert [row[0] for row in rows[1:]] == ["after layer 0", "embedding"]


def test_a_lens_is_the_same_every_time():
    assert lens(3, 4).data == lens(3, 4).data
    prompt = drawn_text(3, 4)
    assert sent(lens(3, 4))[0] != sent(lens_view(Words(words(9)), *prompt))[0]


def test_no_token_of_a_lens_becomes_markup():
    count = len(NASTY)
    prompt = (torch.arange(count), torch.eye(count).expand(2, -1, -1))
    view = lens_view(Words(NASTY), *prompt, (prompt[0].flip(0), prompt[1].flip(-1)), top_k=count)
    labels = [token.replace("\n", "↵") for token in NASTY]
    rows = shown(view)
    assert rows[0][1:] == labels
    assert [[cell[0] for cell in row[1:]] for row in rows[1:]] == [labels, labels]
    assert rows[1][1][2].startswith(f"{labels[0]} 0.")
    assert sorted(sent(view)[1]["words"]) == sorted(labels)
    tags = {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(Card(view).tags) == tags
    assert set(re.findall("</?([a-z]+|!)", view.data.partition("<script>")[0])) == tags | {"style"}
    assert outside_of_text(view)[-2:] == ["<script", "</script"]


def test_black_is_readable_on_the_colours_of_a_lens():
    for table in sent(lens(1, 1))[1]["tables"]:
        assert (luminance("#" + bytes(table["colour"]).hex()) + 0.05) / 0.05 > 7


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ((torch.tensor([0, 1]), torch.zeros(2, 3, 4)), {}, r"lens_view: logits must be .*depth position vocabulary"),
        ((torch.tensor([0, 1]), torch.zeros(2, 4)), {}, r"lens_view: logits must be .*f32\[2,4\]"),
        (
            (torch.tensor([0]), torch.full((2, 1, 4), torch.nan)),
            {"top_k": 1},
            "logits of the prompt holds NaN or infinity",
        ),
        ((torch.tensor([0]), torch.zeros(0, 1, 4)), {}, r"logits has the shape \(0, 1, 4\); give at least one depth"),
        ((torch.zeros(0).long(), torch.zeros(2, 0, 4)), {}, r"\(2, 0, 4\); give at least one depth and one token"),
        (drawn_text(2, 3), {"top_k": 0}, "top_k is 0; choose a number from 1 to 9"),
        (drawn_text(2, 3), {"top_k": 10}, "top_k is 10; choose a number from 1 to 9"),
        (drawn_text(2, 3), {"control": drawn_text(2, 4)}, "Choose a control of as many tokens"),
        (drawn_text(2, 3), {"control": drawn_text(3, 3)}, "the same depths"),
        (drawn_text(2, 3), {"control": drawn_text(2, 3, vocabulary=8)}, r"\(2, 3, 8\)"),
        (drawn_text(2, 3), {"control": drawn_text(2, 3)[1]}, "lens_view: control must be"),
        (
            drawn_text(2, 3),
            {"control": (torch.zeros(3).long(), torch.full((2, 3, 9), torch.nan))},
            "logits of the control holds NaN or infinity",
        ),
    ],
)
def test_a_lens_of_another_shape_is_refused(prompt, options, message):
    with pytest.raises(ArgumentError, match=message):
        lens_view(Words(words(9)), *prompt, **options)


def test_tables_that_scroll_are_reached_by_keyboard_without_javascript():
    for view in [lens(2, 3), heads_of_words(layers=1, heads=2, count=3)]:
        assert '<div tabindex="0" style="overflow:auto' in view.data


# What a reader sees of the first view of a page.
SEEN = """(() => {
  const card = document.querySelector("[data-view]"), shown = card.querySelector("td[data-shown]");
  return {
    cells: [...card.querySelectorAll("td")].map((cell) => cell.textContent),
    where: card.querySelector("lens-panel b").textContent,
    panel: [...card.querySelectorAll("li")].map((line) => [...line.children].map((each) => each.textContent)),
    colour: getComputedStyle(shown).backgroundColor,
    pressed: [...card.querySelectorAll("[aria-pressed=true]")].map((button) => button.textContent),
  };
})()"""


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [375, 1000])
def test_a_lens_is_drawn_switches_and_shows_what_is_pointed_at(width, tmp_path):
    """Twice on a page without the loader."""
    count = len(NASTY)
    prompt = (torch.arange(count), 9 * torch.eye(count).repeat(12, 2, 1)[:, :count])
    prompt[1][-1] = 0
    prompt[1][-1, 4, 2] = 2.0
    control = (prompt[0].flip(0), prompt[1].roll(1, -1))
    view = lens_view(Words(NASTY), *prompt, control, top_k=3)
    tables = named(view)
    file = twice_on_a_page(view, tmp_path)
    with browser(tmp_path / "profile") as page:
        page.width(width)
        page.open(file.as_uri())
        assert page.wait("document.querySelectorAll('[data-view][id] lens-panel li').length == 6")
        assert page.run("new Set([...document.querySelectorAll('[id]')].map((each) => each.id)).size") == 2

        def sees(name, number, sign=""):
            seen = page.run(SEEN)
            assert seen["pressed"] == [name]
            assert seen["cells"] == [cell[0][0] if cell else "" for cell in tables[name]]
            assert seen["panel"] == [[word, f"{sign}{value:.3f}", ""] for word, value in tables[name][number]]
            layer, position = 10 - number // count, number % count
            assert seen["where"].startswith(f"after layer {layer}, position {position}, ")
            return seen

        def act(script):
            page.run(f"{{const card = document.querySelector('[data-view]'); {script}}}")

        assert sees("prompt", count - 1)["colour"] == "rgb(238, 248, 253)"  # a tenth of the way from white
        act("card.querySelectorAll('td')[4].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))")
        sees("prompt", 4)
        act("card.querySelector('table').dispatchEvent(new MouseEvent('mouseleave'))")
        sees("prompt", count - 1)
        act("card.querySelectorAll('td')[4].click()")
        for key, number in [("Down", 4 + count), ("Right", 5 + count), ("Up", 5), ("Up", 5), ("Left", 4)]:
            page.press(f"Arrow{key}")
            sees("prompt", number)
        act("card.querySelectorAll('button')[1].click()")
        sees("control", 4)
        act("card.querySelectorAll('button')[2].click()")
        assert sees("difference", 4, "+")["panel"]
        # The page does not scroll sideways, the table does, and its row labels stay where they are.
        facts = """(() => {
          const [box] = document.querySelectorAll("[data-view] > div"), label = box.querySelector("tbody th");
          box.scrollLeft = 0;
          const before = label.getBoundingClientRect().x;
          box.scrollLeft = 100;
          return [document.scrollingElement.scrollWidth, box.scrollLeft, label.getBoundingClientRect().x - before,
            Math.min(...[...box.querySelectorAll("td")].map((cell) => cell.getBoundingClientRect().height))];
        })()"""
        wide, scrolled, moved, height = page.run(facts)
        assert wide == width
        assert moved == 0
        assert (scrolled == 100) == (width == 375)
        assert height >= 24
        assert {each["request"]["url"] for each in page.after("Network.requestWillBeSent")} == {file.as_uri()}
        assert page.after("Runtime.exceptionThrown") == []


# One layer of two heads: the best two answers to "king" and to "<b>", by hand. The second head has no value above 0,
# and its values for "<b>" are equal.
ANSWERS = ["·king", "<b>", "queen", "never used"]
BY_HAND = (
    torch.tensor([[[[8.0, 2.0], [0.5, -4.0]], [[-1.0, -4.0], [-0.25, -0.25]]]]),
    torch.tensor([[[[2, 0], [0, 1]], [[0, 2], [1, 0]]]]),
)


def circuit(layers, heads, count, top=6, vocabulary=50, seed=0):
    """A random circuit as torch.topk gives it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(layers, heads, count, vocabulary, generator=generator).topk(top)


def heads_of_words(layers, heads, count, **options):
    """A view of two random circuits."""
    circuits = {name: circuit(layers, heads, count, seed=seed) for seed, name in enumerate(["OV: says", "QK: looks"])}
    return circuit_view(words(count), words(50), circuits, **options)


def unpacked(view):
    """{circuit: (labels of the answers, values)}, both `(layer, head, word, k)`."""
    data = sent(view)[1]
    shape = (-1, data["heads"], len(data["words"]), data["top"])
    answers = np.array([each.translate(str.maketrans("· ", " ·")) for each in data["answers"]], dtype=object)

    def numbers(text, width):
        places = np.array([data["letters"].index(letter) for letter in text]).reshape(-1, width)
        return (places @ 89 ** np.arange(width)[::-1]).reshape(shape)

    return {
        each["name"]: (
            answers[numbers(each["answers"], data["width"])],
            (numbers(each["values"], 2) - 3960) / 10.0 ** np.reshape(each["digits"], (-1, data["heads"], 1, 1)),
        )
        for each in data["circuits"]
    }


def shown_circuit(view):
    """The table without JavaScript: (its text, its rows of [text, colour, title] or of a label's text alone)."""
    card = view.data.partition("\n<style>")[0]
    rows = re.findall("<tr>(.*?)</tr>", card, re.S)
    label = r"<th scope=\"(?:row|col)\" style=\"background-color:white;color:black;white-space:nowrap\">([^<]*)</th>"
    cell = r"<td style=\"background-color:(#[0-9a-f]{6});white-space:nowrap\" title=\"([^\"]*)\">([^<]*)</td>"
    assert not re.sub(f"{label}|{cell}", "", "".join(rows)), "nothing else stands in a row"
    return unescape(re.search("<p>(.*?)</p>", card, re.S)[1]), [
        [[unescape(text), colour, title] if colour else unescape(name) for name, colour, title, text in found]
        for found in (re.findall(f"{label}|{cell}", row) for row in rows)
    ]


def test_circuits_by_hand():
    view = circuit_view(["·king", "<b>"], ANSWERS, {"OV": BY_HAND, "QK": BY_HAND}, marks=torch.tensor([[0.0, 0.12345]]))
    assert [each["marks"] for each in sent(view)[1]["circuits"]] == [[0, 0.123], [0, 0.123]]
    assert sorted(sent(view)[1]["answers"]) == [" king", "<b>", "queen"], "those that are used, each once"
    for answers, values in unpacked(view).values():
        assert answers.tolist() == [[[["queen", "·king"], ["·king", "<b>"]], [["·king", "queen"], ["<b>", "·king"]]]]
        np.testing.assert_array_equal(values, BY_HAND[0])
    # The best has the full colour, blue or, when it is the word itself, green. 2 is a quarter of 8: (255 + 3 * 255) / 4
    # and so on of green. Below 0 where the best is above it, an answer is white.
    assert shown_circuit(view) == (
        "L0H0, OV (2 of 2 words, best answers first)",
        [
            ["word", "1", "2"],
            ["·king", ["queen", "#56b4e9", "8"], ["·king", "#d2eee6", "2"]],
            ["<b>", ["·king", "#56b4e9", "0.5"], ["<b>", "#ffffff", "-4"]],
        ],
    )
    # Where the best is below 0, the others are orange, by how close to it they come: -1 to -4 is a quarter of the way.
    # Equal values have the same, full colour.
    below = circuit_view(["·king", "<b>"], ANSWERS, {"QK": BY_HAND}, start=(0, 1))
    assert shown_circuit(below) == (
        "L0H1, QK (2 of 2 words, best answers first)",
        [
            ["word", "1", "2"],
            ["·king", ["·king", "#4dbb9d", "-1"], ["queen", "#f9e7bf", "-4"]],
            ["<b>", ["<b>", "#4dbb9d", "-0.25"], ["·king", "#e69f00", "-0.25"]],
        ],
    )
    assert sent(below)[1]["circuits"][0]["marks"] is None
    zero = circuit_view(["·king", "<b>"], ANSWERS, {"QK": (0 * BY_HAND[0], BY_HAND[1])})
    assert {cell[1] for row in shown_circuit(zero)[1][1:] for cell in row[1:]} == {"#56b4e9", "#4dbb9d"}


def test_the_circuits_of_the_page_are_those_that_are_given():
    """Heads of very different sizes keep three digits each."""
    sizes = 10.0 ** torch.arange(-4, 8).view(3, 4, 1, 1)
    given = {name: circuit(3, 4, 12, seed=seed) for seed, name in enumerate(["OV", "QK"])}
    given = {name: (values * sizes - sizes, indices) for name, (values, indices) in given.items()}
    view = circuit_view(words(12), words(50), given, start=(2, 1), marks={"QK": torch.eye(3, 4)})
    for name, (answers, values) in unpacked(view).items():
        assert answers.tolist() == np.array(words(50), dtype=object)[given[name][1]].tolist()
        largest = given[name][0].abs().amax((2, 3), keepdim=True)
        assert ((torch.tensor(values) - given[name][0]).abs() <= largest / 800).all()
    assert sent(view)[1]["start"] == 9
    ov, qk = (each["marks"] for each in sent(view)[1]["circuits"])
    assert (ov, qk) == (None, torch.eye(3, 4).flatten().tolist())
    title, rows = shown_circuit(view)
    assert title == "L2H1, OV (10 of 12 words, best answers first)"
    assert [row[0] for row in rows] == ["word", *words(10)]
    assert [[cell[0] for cell in row[1:]] for row in rows[1:]] == unpacked(view)["OV"][0][2, 1, :10].tolist()


def test_more_answers_than_two_letters_can_number():
    """9000 of them: 89 * 89 are 7921."""
    given = (torch.ones(1, 1, 9, 1000), torch.randperm(9000).view(1, 1, 9, 1000))
    view = circuit_view(words(9), words(9000), {"QK": given})
    assert sent(view)[1]["width"] == 3
    assert unpacked(view)["QK"][0].tolist() == np.array(words(9000), dtype=object)[given[1]].tolist()


def test_a_view_of_circuits_is_small_and_the_same_every_time(storybook):
    """Even when nearly every token of the vocabulary is an answer."""
    labels = token_labels(storybook[1], torch.arange(8192))
    indices = torch.arange(2 * 6 * 8 * 100 * 6).remainder(7900).view(2, 6, 8, 100, 6)
    values = torch.rand(indices.shape, generator=torch.Generator().manual_seed(0)).sort(descending=True).values
    circuits = {"OV": (values[0], indices[0]), "QK": (values[1], indices[1])}
    view = circuit_view(labels[300:400], labels, circuits)
    assert len(sent(view)[1]["answers"]) == 7900
    assert len(view.data.encode()) < 350_000
    assert view.data == circuit_view(labels[300:400], labels, circuits).data
    assert sent(view)[0] != sent(circuit_view(labels[300:400], labels, circuits, start=(0, 1)))[0]


def test_no_token_of_a_circuit_becomes_markup():
    count = len(NASTY)
    given = (torch.ones(1, 1, count, count), torch.arange(count).expand(1, 1, count, count))
    view = circuit_view(NASTY, NASTY, {name: given for name in NASTY})
    title, rows = shown_circuit(view)
    assert title == f"L0H0, {NASTY[0]} (10 of 10 words, best answers first)"
    assert [[row[0], [cell[0] for cell in row[1:]]] for row in rows[1:]] == [[word, NASTY] for word in NASTY]
    assert sent(view)[1]["words"] == NASTY
    assert {name: answers.tolist() for name, (answers, _) in unpacked(view).items()} == {
        name: [[[NASTY] * count]] for name in NASTY
    }
    tags = {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(Card(view).tags) == tags
    assert set(re.findall("</?([a-z]+|!)", view.data.partition("<script>")[0])) == tags | {"style"}
    assert outside_of_text(view)[-2:] == ["<script", "</script"]
    assert view.data.partition("\n<style>")[2].isascii()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"circuits": {}}, "circuits is empty"),
        ({"words": words(3)}, r'"OV: a" has values of \(2, 3, 4, 6\).*\(layer, head, word, k\) with 3 words'),
        ({"circuits": {"a": circuit(2, 3, 4), "b": circuit(2, 2, 4)}}, r'"b" has values of \(2, 2, 4, 6\)'),
        ({"circuits": {"a": circuit(2, 3, 4), "b": circuit(2, 3, 4, top=5)}}, r'"b" has values of \(2, 3, 4, 5\)'),
        ({"circuits": {"a": (circuit(2, 3, 4)[0], circuit(2, 3, 4, top=5)[1])}}, r"indices of \(2, 3, 4, 5\)"),
        ({"circuits": {"a": circuit(2, 3, 4)[::-1]}}, r"torch.int64, and indices of \(2, 3, 4, 6\), torch.float32"),
        ({"circuits": {"a": [each[0] for each in circuit(2, 3, 4)]}}, "circuit_view: circuits must be dict"),
        ({"circuits": {"a": tuple(each[0] for each in circuit(2, 3, 4))}}, r'"a" has values of \(3, 4, 6\)'),
        ({"circuits": {"a": circuit(2, 3, 4, top=0)}}, r"\(2, 3, 4, 0\); give at least one head, word and answer"),
        ({"circuits": {"a": (circuit(2, 3, 4)[0] * torch.nan, circuit(2, 3, 4)[1])}}, 'values of "a" holds NaN'),
        ({"answers": words(49)}, 'indices of "OV: a" go from 0 to 49, but there are 49 answers'),
        ({"circuits": {"a": (circuit(2, 3, 4)[0], circuit(2, 3, 4)[1] - 50)}}, "go from -50 to -"),
        ({"start": (2, 0)}, r"start is \(2, 0\), but there are 2 layers of 3 heads, numbered from 0"),
        ({"start": (0, 3)}, r"start is \(0, 3\)"),
        ({"start": (-1, 0)}, r"start is \(-1, 0\)"),
        ({"marks": torch.zeros(3, 2)}, r'of shape \(2, 3\). Those of "OV: a" have the shape \(3, 2\)'),
        ({"marks": torch.full((2, 3), 1.1)}, "marks must be numbers from 0 to 1"),
        ({"marks": torch.full((2, 3), -0.1)}, "marks must be numbers from 0 to 1"),
        ({"marks": {"OV: a": torch.full((2, 3), torch.nan)}}, "marks must be numbers from 0 to 1"),
        ({"marks": {"VO": torch.zeros(2, 3)}}, 'marks has "VO", but the circuits are OV: a'),
    ],
)
def test_circuits_of_another_shape_are_refused(change, message):
    given = {"words": words(4), "answers": words(50), "circuits": {"OV: a": circuit(2, 3, 4)}}
    circuit_view(**given)
    with pytest.raises(ArgumentError, match=message):
        circuit_view(**(given | change))


# What a reader sees of the first view of a page.
SEEN_CIRCUIT = """(() => {
  const card = document.querySelector("[data-view]"), [map, list] = card.querySelectorAll("table");
  const texts = (parts) => [...parts].map((part) => part.textContent);
  const lines = [...list.tBodies[0].rows].filter((line) => line.offsetHeight);
  return {
    pressed: texts(card.querySelectorAll("circuit-bar [aria-pressed=true]")),
    head: [...map.querySelectorAll("[aria-pressed=true]")].map((cell) => cell.title),
    shown: [...map.querySelectorAll("[data-shown]")].map((cell) => cell.title),
    colour: getComputedStyle(map.querySelector("[data-shown]")).backgroundColor,
    dots: [...map.querySelectorAll("td button")].filter((cell) => cell.textContent).map((cell) => cell.title),
    title: list.getAttribute("aria-label"),
    words: texts(lines.map((line) => line.cells[0])),
    answers: lines.map((line) => texts(line.querySelectorAll("li"))),
    word: texts(list.querySelectorAll("[aria-pressed=true]")),
    panel: [...card.querySelectorAll("circuit-panel li")].map((line) => texts(line.querySelectorAll("span"))),
    own: texts(card.querySelectorAll("circuit-panel [data-own] span:first-child")),
    bars: [...card.querySelectorAll("circuit-panel i")].map((bar) => getComputedStyle(bar).backgroundSize),
    where: card.querySelector("circuit-panel b").textContent,
    count: card.querySelector("small").textContent,
    legend: card.querySelector("circuit-map p + p").offsetHeight > 0,
  };
})()"""

# What the test does with that view.
ABOUT_CIRCUIT = """
  const card = document.querySelector("[data-view]"), [map, list] = card.querySelectorAll("table");
  const over = (part) => part.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
  const type = (text) => {
    const input = card.querySelector("input");
    input.value = text;
    input.dispatchEvent(new Event("input"));
  };
"""


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [375, 1000])
def test_circuits_are_drawn_switch_and_filter(width, tmp_path):
    """Twice on a page without the loader. 30 layers of 9 heads."""
    count = len(NASTY)
    given = {
        name: circuit(30, 9, count, top=4, vocabulary=count, seed=seed) for seed, name in enumerate(["OV", "<QK>"])
    }
    given["OV"][1][12, 4, 0] = torch.tensor([3, 0, 1, 2])
    given["OV"][0][12, 4, 0] = torch.tensor([8.0, 4, 0, -1])
    view = circuit_view(NASTY, NASTY, given, start=(12, 4), marks={"OV": torch.full((30, 9), 0.5)})
    lists = unpacked(view)
    file = twice_on_a_page(view, tmp_path)
    with browser(tmp_path / "profile") as page:
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as a window has it that is in use
        page.width(width)
        page.open(file.as_uri())
        assert page.wait("document.querySelectorAll('[data-view][id] circuit-panel li').length == 8")
        assert page.run("new Set([...document.querySelectorAll('[id]')].map((each) => each.id)).size") == 2

        def sees(name, layer, head, word=0, chosen=None, some=range(count)):
            seen = page.run(SEEN_CIRCUIT)
            answers, values = lists[name]
            mark = ": 0.5" if name == "OV" else ""
            assert seen["pressed"] == [name]
            assert seen["shown"] == [f"L{layer}H{head}{mark}"]
            assert seen["head"] == [f"{chosen or f'L{layer}H{head}'}{mark}"]
            assert seen["title"] == f"L{layer}H{head}, {name}"
            assert seen["words"] == [NASTY[each] for each in some]
            assert seen["answers"] == [answers[layer, head, each].tolist() for each in some]
            assert seen["where"] == f"{NASTY[word]} in L{layer}H{head}"
            assert [each[0] for each in seen["panel"]] == answers[layer, head, word].tolist()
            np.testing.assert_allclose([float(each[1]) for each in seen["panel"]], values[layer, head, word])
            assert seen["own"] == [each for each in answers[layer, head, word] if each == NASTY[word]]
            dots = (answers[:, :, word] == NASTY[word]).any(-1)
            assert sorted(seen["dots"]) == sorted(f"L{i}H{j}{mark}" for i, j in np.argwhere(dots))
            assert seen["count"] == f"{len(some)} of {count} words"
            assert seen["legend"] == (name == "OV"), "the other circuit has no marks"
            return seen

        def act(script):
            page.run(f"{{{ABOUT_CIRCUIT} {script}}}")

        def press(*keys):
            for key in keys:
                page.press(f"Arrow{key}")

        seen = sees("OV", 12, 4)
        assert seen["colour"] == "rgba(77, 187, 157, 0.5)"
        assert seen["bars"] == ["100% 100%", "50% 100%", "0% 100%", "0% 100%"]
        act("over(map.querySelector('[title^=L20H7]'))")
        sees("OV", 20, 7, chosen="L12H4")
        act("map.dispatchEvent(new MouseEvent('mouseleave'))")
        sees("OV", 12, 4)
        act("map.querySelector('[title^=L28H7]').click()")
        sees("OV", 28, 7)
        press("Right", "Right")
        sees("OV", 28, 8)
        press("Up", "Up")
        sees("OV", 29, 8)
        press("Down", "Left")
        sees("OV", 28, 7)
        act("card.querySelectorAll('circuit-bar button')[1].click()")
        assert sees("<QK>", 28, 7)["colour"] == "rgba(77, 187, 157, 0)"
        act("list.tBodies[0].rows[3].cells[1].click()")
        assert sees("<QK>", 28, 7, word=3)["word"] == ["<!--"]
        press("Down", "Down", "Up")
        sees("<QK>", 28, 7, word=4)
        act("over(list.tBodies[0].rows[9])")
        assert sees("<QK>", 28, 7, word=9)["word"] == ["\n"]
        act("list.dispatchEvent(new MouseEvent('mouseleave')); type('T')")
        sees("<QK>", 28, 7, word=2, some=[2, 9])
        act("list.querySelector('[aria-pressed=true]').focus()")
        press("Down", "Down")
        sees("<QK>", 28, 7, word=9, some=[2, 9])
        act("type('')")
        sees("<QK>", 28, 7, word=9)
        act("type('no such word')")
        assert page.run(SEEN_CIRCUIT)["count"] == f"0 of {count} words"
        facts = """(() => {
          const map = document.querySelector("circuit-map circuit-box"), label = map.querySelector("thead th");
          const before = label.getBoundingClientRect().y, all = [...document.querySelectorAll("[data-view] button")];
          map.scrollTop = 100;
          return {wide: document.scrollingElement.scrollWidth, hidden: map.scrollHeight - map.clientHeight,
            moved: label.getBoundingClientRect().y - before,
            least: Math.min(...all.filter((each) => each.offsetParent).flatMap((each) => [
              each.getBoundingClientRect().width, each.getBoundingClientRect().height])),
            tabs: [...document.querySelector("circuit-map").querySelectorAll("[tabindex='0']")].length};
        })()"""
        seen = page.run(facts)
        assert seen["wide"] == width
        assert seen["hidden"] > 300
        assert seen["moved"] == 0
        assert seen["least"] >= 24
        assert seen["tabs"] == 1
        assert {each["request"]["url"] for each in page.after("Network.requestWillBeSent")} == {file.as_uri()}
        assert page.after("Runtime.exceptionThrown") == []


# Three steps of a training, two heads and three positions, by hand.
BY_STEP = torch.tensor(
    [
        [[[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]], [[1, 0, 0], [1, 0, 0], [1, 0, 0]]],
        [[[1, 0, 0], [0.75, 0.25, 0], [0, 0.6, 0.4]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]],
        [[[1, 0, 0], [1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0.9, 0.1, 0], [0.25, 0.35, 0.4]]],
    ]
)
LOSS = [3.456, 2.0, 0.071]
TRAINING = {
    "tokens": ["a", "·b", "c"],
    "patterns": BY_STEP,
    "names": ["L0H2", "L1H0"],
    "steps": [0, 10, 250],
    "curves": {"loss (nats)": LOSS},
}


def training(frames, heads, positions, curves=1, seed=0, **options):
    """A view of random patterns."""
    patterns = causal(frames * heads, positions, seed).unflatten(0, (frames, heads))
    numbers = torch.rand(curves, frames, generator=torch.Generator().manual_seed(seed)).tolist()
    return training_view(
        words(positions),
        patterns,
        [f"L0H{head}" for head in range(heads)],
        list(range(0, 10 * frames, 10)),
        {f"curve {number}": values for number, values in enumerate(numbers)},
        **options,
    )


def unpacked_training(view):
    """The patterns that the page gets, `(frame, head, query, key)`."""
    data = sent(view)[1]
    places = np.array([data["letters"].index(letter) for letter in data["patterns"]]).reshape(-1, 2)
    size = len(data["tokens"])
    patterns = np.zeros((len(data["steps"]), len(data["names"]), size, size))
    rows, columns = np.tril_indices(size)
    patterns[..., rows, columns] = (places @ [89, 1]).reshape(*patterns.shape[:2], -1) / 7920
    return patterns


def shown_training(view):
    """What there is without JavaScript: (its sentences, the colours of every pattern, row by row and cell by cell)."""
    card = view.data.partition("\n<style>")[0]
    sentences = [unescape(each) for each in re.findall("<p>(.*?)</p>", card, re.S)]
    patterns = []
    for body in re.findall("<pre[^>]*>(.*?)</pre>", card, re.S):
        runs = [
            re.findall('<span style="background-color:(#[0-9a-f]{6})">((?:  )+)</span>', line)
            for line in body.split("\n")
        ]
        patterns.append([[colour for colour, run in line for _ in range(len(run) // 2)] for line in runs])
    return sentences, patterns


def test_a_training_by_hand():
    view = training_view(**TRAINING, start=1)
    data = sent(view)[1]
    np.testing.assert_allclose(unpacked_training(view), BY_STEP, rtol=0, atol=0.5001 / 7920)
    assert (data["tokens"], data["names"], data["steps"]) == (["a", "·b", "c"], ["L0H2", "L1H0"], [0, 10, 250])
    assert (data["start"], data["even"]) == (1, False)
    assert data["curves"] == [{"name": "loss (nats)", "values": [3.46, 2, 0.07], "ticks": [0, 1, 2, 3, 4], "digits": 2}]
    # 0.25, 0.4, 0.6 and 0.75 on a scale from white by way of (86, 180, 233), at 0.35, to (8, 34, 84), at 1.
    assert shown_training(view) == (
        [
            "Attention at training step 10: rows are queries, columns are keys, darker is more. Text: a ·b c",
            "L0H2",
            "L1H0",
            "Trust the notebook to get a slider through the training here.",
        ],
        [
            [
                ["#082254", "#eeeeee", "#eeeeee"],
                ["#265a8d", "#86c9ef", "#eeeeee"],
                ["#ffffff", "#387cb0", "#50a9de"],
            ],
            [
                ["#082254", "#eeeeee", "#eeeeee"],
                ["#ffffff", "#082254", "#eeeeee"],
                ["#ffffff", "#ffffff", "#082254"],
            ],
        ],
    )


def test_a_training_opens_with_its_last_frame():
    assert sent(training_view(**TRAINING))[1]["start"] == 2
    assert sent(training_view(**TRAINING, start=-3))[1]["start"] == 0
    assert training_view(**TRAINING).data == training_view(**TRAINING, start=2).data
    assert shown_training(training_view(**TRAINING))[0][0].startswith("Attention at training step 250")
    assert sent(training(3, 1, 2))[1]["even"] is True


def test_the_patterns_of_a_training_are_those_that_are_given():
    given = causal(12, 9, seed=3).double().unflatten(0, (4, 3))
    view = training_view(words(9), given.requires_grad_(), ["a", "b", "c"], [1, 2, 4, 8], {})
    np.testing.assert_allclose(unpacked_training(view), given.detach(), rtol=0, atol=0.5001 / 7920)
    assert sent(view)[1]["curves"] == []


@pytest.mark.parametrize(
    ("values", "ticks", "shown"),
    [
        ([0.1, 0.93, 0.5], [0, 0.25, 0.5, 0.75, 1], [0.1, 0.93, 0.5]),
        ([3.0412, 3.0, 3.1], [3, 3.05, 3.1], [3.041, 3.0, 3.1]),
        ([-1234.5, 3, 2900], [-2000, 0, 2000, 4000], [-1234, 3, 2900]),
        ([2, 2, 2], [1.5, 1.75, 2, 2.25, 2.5], [2, 2, 2]),
    ],
)
def test_the_axis_of_a_curve_holds_all_of_it(values, ticks, shown):
    (curve,) = sent(training_view(**TRAINING | {"curves": {"a": values}}))[1]["curves"]
    assert (curve["ticks"], curve["values"]) == (ticks, shown)


def test_the_colours_of_attention_grow_evenly_darker():
    """In CIE lightness, from 100 for white."""
    lightness = [116 * luminance(colour) ** (1 / 3) - 16 for colour in sent(training(2, 1, 1))[1]["colours"]]
    assert len(lightness) == 101
    assert lightness[0] == pytest.approx(100)
    steps = -np.diff(lightness)
    assert steps.min() > 0.5
    assert steps.max() < 1.2


def test_a_view_of_a_training_is_small_and_the_same_every_time():
    view = training(33, 3, 24, curves=4)
    assert len(view.data.encode()) < 120_000
    assert view.data == training(33, 3, 24, curves=4).data
    assert sent(view)[0] != sent(training(33, 3, 24, curves=4, start=0))[0]


def nasty_training():
    count = len(NASTY)
    patterns = causal(2 * count, count).unflatten(0, (2, count))
    return training_view(NASTY, patterns, NASTY, [0, 5], {name: [0.5, 1.5] for name in NASTY})


def test_no_token_of_a_training_becomes_markup():
    view = nasty_training()
    sentences, patterns = shown_training(view)
    assert sentences[0].endswith(f"Text: {' '.join(NASTY)}")
    assert sentences[1:-1] == NASTY
    assert [[len(row) for row in pattern] for pattern in patterns] == [[10] * 10] * 10
    data = sent(view)[1]
    assert (data["tokens"], data["names"], [curve["name"] for curve in data["curves"]]) == (NASTY, NASTY, NASTY)
    tags = {"div", "p", "pre", "span"}
    assert set(re.findall("</?([a-z]+|!)", view.data.partition("<script>")[0])) == tags | {"style"}
    assert set(outside_of_text(view)) - {f"<{end}{tag}" for tag in tags for end in ("", "/")} == {
        "<style", "</style", "<script", "</script", "<text", "</text", "<svg", "</svg", "<path", "<polyline", "<circle",
    }  # fmt: skip
    assert view.data.partition("\n<style>")[2].isascii()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patterns": BY_STEP[0]}, r"training_view: patterns must be .*frame head token token.*f32\[2,3,3\]"),
        ({"patterns": BY_STEP[..., :2]}, r"training_view: patterns must be .*f32\[3,2,3,2\]"),
        ({"patterns": BY_STEP[:1]}, r"patterns has the shape \(1, 2, 3, 3\); give at least two frames"),
        ({"patterns": BY_STEP[:, :0]}, r"\(3, 0, 3, 3\); give at least two frames, a head and a position"),
        ({"tokens": words(2)}, r"The length of tokens is 2, but patterns has the shape \(3, 2, 3, 3\).*Give 3\."),
        ({"names": ["L0H2"]}, r"The length of names is 1.*Give 2\."),
        ({"steps": [0, 10]}, r"The length of steps is 2.*Give 3\."),
        ({"curves": {"a": LOSS, "b": [1, 2]}}, r'The length of the curve "b" is 2.*Give 3\.'),
        ({"curves": {"a": [1, 2, float("nan")]}}, 'The curve "a" holds NaN or infinity'),
        ({"curves": {"a": "123"}}, "training_view: curves must be"),
        ({"patterns": BY_STEP * torch.nan}, "patterns holds NaN or infinity"),
        ({"patterns": BY_STEP * 1.01}, r"patterns goes from 0 to 1\.01.*from 0 to 1"),
        ({"patterns": BY_STEP - 0.01}, r"patterns goes from -0\.01 to 0\.99"),
        ({"patterns": BY_STEP.mT}, "patterns has weights above the diagonal"),
        ({"steps": [0, 10, 10]}, r"steps is \[0, 10, 10\]. Each must be larger than the one before"),
        ({"steps": [0.5, 10.5, 20.5]}, "training_view: steps must be"),
        ({"start": 3}, "start is 3, but there are 3 frames. Give an index from -3 to 2"),
        ({"start": -4}, "start is -4, but there are 3 frames"),
    ],
)
def test_a_training_of_another_shape_is_refused(change, message):
    with pytest.raises(ArgumentError, match=message):
        training_view(**TRAINING | change)


def test_a_weight_that_rounding_made_larger_than_one_is_the_largest():
    view = training_view(**TRAINING | {"patterns": BY_STEP * (1 + 1e-6)})
    np.testing.assert_allclose(unpacked_training(view), BY_STEP, rtol=0, atol=0.6 / 7920)


# What a reader sees of the first view of a page. A pixel of a map is a cell.
SEEN_TRAINING = """(() => {
  const card = document.querySelector("[data-view]"), slider = card.querySelector("input");
  const texts = (parts) => [...card.querySelectorAll(parts)].map((part) => part.textContent);
  const hex = (part) => part.toString(16).padStart(2, "0");
  return {
    frame: Number(slider.value),
    said: [slider.getAttribute("aria-valuetext"), card.querySelector("label").textContent, slider.labels.length],
    button: card.querySelector("button").textContent,
    maps: [...card.querySelectorAll("canvas")].map((map) => {
      const data = map.getContext("2d").getImageData(0, 0, map.width, map.height).data;
      return Array.from({length: map.height}, (_, query) => Array.from({length: query + 1}, (_, key) =>
        "#" + [...data.slice(4 * (query * map.width + key), 4 * (query * map.width + key) + 3)].map(hex).join("")));
    }),
    labels: [...card.querySelectorAll("canvas, svg")].map((part) => part.getAttribute("aria-label")),
    names: texts("training-map b"),
    curves: texts("training-chart p span"),
    values: texts("training-chart p b"),
    points: [...card.querySelectorAll("polyline")].map((line) => line.getAttribute("points").split(" ").length),
    dots: [...card.querySelectorAll("circle")].map((dot) => [dot.cx.baseVal.value, dot.cy.baseVal.value]),
    told: card.querySelector("[role=status]").textContent,
    marks: [...card.querySelectorAll("training-grid i")].map((mark) => mark.offsetWidth > 0),
  };
})()"""


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [375, 1000])
def test_a_training_is_drawn_moves_and_plays(width, tmp_path):
    """Twice on a page without the loader. The second view stays as it was."""
    frames, size = 13, len(NASTY)
    given = causal(2 * frames, size, seed=4).unflatten(0, (frames, 2))
    steps, falling = list(range(0, 10 * frames, 10)), [4 - frame / 4 for frame in range(frames)]
    names, curves = ["L0H2, <b>", "L1H0"], {"loss & more": falling, "score": [frame / 12 for frame in range(frames)]}
    view = training_view(NASTY, given, names, steps, curves, start=3)
    colours, patterns = sent(view)[1]["colours"], unpacked_training(view)
    file = twice_on_a_page(view, tmp_path)
    with browser(tmp_path / "profile") as page:
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as a window has it that is in use
        page.width(width)
        page.open(file.as_uri())
        assert page.wait("document.querySelectorAll('[data-view][id] circle').length == 4")
        assert page.run("new Set([...document.querySelectorAll('[id]')].map((each) => each.id)).size") == 4

        def sees(frame, button="Play"):
            seen = page.run(SEEN_TRAINING)
            assert seen["frame"] == frame
            assert seen["said"] == [f"step {10 * frame}", f"training step {10 * frame}", 1]
            assert seen["button"] == button
            assert seen["names"] == names
            for head in range(2):
                shades = [
                    [colours[int(100 * patterns[frame, head, query, key] + 0.5)] for key in range(query + 1)]
                    for query in range(size)
                ]
                assert seen["maps"][head] == shades
            assert seen["curves"] == list(curves)
            assert seen["values"] == [f"{values[frame]:.2f}" for values in curves.values()]
            assert seen["labels"][0] == f"attention of {names[0]} at step {10 * frame}"
            assert seen["labels"][2] == f"loss & more: {falling[frame]:.2f} at step {10 * frame}"
            assert seen["points"] == [frame + 1] * 2, "the past alone"
            # The axes stay as they are: 0 to 120 across, and up from 1 to 4 and from 0 to 1.
            share = frame / 12
            np.testing.assert_allclose(
                seen["dots"], [[38 + 212 * share, 8 + 98 * share], [38 + 212 * share, 106 - 98 * share]], atol=0.5
            )
            return seen

        def about(script):
            return page.run(f"(() => {{const card = document.querySelector('[data-view]'); {script}}})()")

        assert sees(3)["told"] == "Point at a cell to read its weight."
        about("card.querySelector('input').focus()")
        for key, frame in [("ArrowRight", 4), ("ArrowLeft", 3), ("End", 12), ("Home", 0)]:
            page.press(key)
            assert not any(sees(frame)["marks"])

        # Pointing at query 6 and key 2 of the second head, and what arrow keys make of it.
        about("""const map = card.querySelectorAll("canvas")[1], box = map.getBoundingClientRect();
          map.dispatchEvent(new PointerEvent("pointermove",
            {clientX: box.x + box.width * .25, clientY: box.y + box.height * .65}));""")

        def told(frame, query, key):
            weight = f"{patterns[frame, 1, query, key]:.2f}" if key <= query else "no attention to a later position"
            seen = page.run(SEEN_TRAINING)
            assert seen["marks"] == [True, True]
            assert seen["told"] == f"query {query} '{NASTY[query]}' → key {key} '{NASTY[key]}': {weight} (L1H0)"

        told(0, 6, 2)
        about("card.querySelectorAll('canvas')[1].focus()")
        for name, query, place in [("Down", 7, 2), ("Right", 7, 3), ("Up", 6, 3), ("Left", 6, 2), ("Left", 6, 1)]:
            page.press(f"Arrow{name}")
            told(0, query, place)
        for _ in range(8):
            page.press("ArrowRight")
        told(0, 6, 9)
        for _ in range(7):
            page.press("ArrowLeft")
        about("const slider = card.querySelector('input'); slider.value = 12; slider.dispatchEvent(new Event('input'))")
        told(12, 6, 2)

        def paused_after(frame):
            assert page.wait(f"document.querySelector('[data-view] input').value > {frame}", 10)
            where = about("card.querySelector('button').click(); return Number(card.querySelector('input').value)")
            time.sleep(0.8)
            sees(where)
            return where

        # From the end it plays from the start, half a second a frame; the weight stays in sight, and a press pauses.
        about("card.querySelector('button').focus()")
        page.press("Enter")
        playing = page.run(SEEN_TRAINING)
        assert playing["button"] == "Pause"
        assert playing["frame"] < 4
        told(paused_after(1), 6, 2)
        about("card.querySelector('button').click()")
        about("{const all = card.querySelector('input'); all.value = 10; all.dispatchEvent(new Event('input'));}")
        time.sleep(0.8)
        sees(10)  # the slider pauses, too
        about("card.querySelector('button').click()")
        assert page.wait("document.querySelector('[data-view] button').textContent == 'Play'", 10)
        sees(12)

        # Less motion: six jumps.
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        about("card.querySelector('button').click()")
        assert paused_after(0) in (2, 4)

        facts = page.run("""(() => {
          const [card, other] = document.querySelectorAll("[data-view]");
          const [one, two] = [...card.querySelectorAll("canvas")].map((map) => map.getBoundingClientRect());
          const sizes = [...card.querySelectorAll("button, input")].map((part) => part.getBoundingClientRect());
          return {wide: document.scrollingElement.scrollWidth, other: other.querySelector("input").value,
            beside: two.x > one.right, square: Math.abs(one.width - one.height), least:
            Math.min(...sizes.map((size) => size.height)), map: one.width};
        })()""")
        assert facts["wide"] == width
        assert facts["other"] == "3"
        assert facts["beside"] == (width == 1000)
        assert facts["square"] < 1
        assert facts["map"] > 220
        assert facts["least"] >= 24
        assert {each["request"]["url"] for each in page.after("Network.requestWillBeSent")} == {file.as_uri()}
        assert page.after("Runtime.exceptionThrown") == []


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_training_stops_when_its_cell_runs_again(tmp_path):
    """Then the page has lost the card. Its slider stays where it was."""
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{training(61, 1, 3, start=0).data}", encoding="utf-8")
    with browser(tmp_path / "profile") as page:
        page.open(file.as_uri())
        assert page.wait("document.querySelector('[data-view][id] circle')")
        page.run("card = document.querySelector('[data-view]'); card.querySelector('button').click(); 0")
        assert page.wait("card.querySelector('input').value > 1", 10)
        where = page.run("card.remove(); card.querySelector('input').value")
        assert page.wait("card.querySelector('button').textContent == 'Play'", 5)
        assert page.run("card.querySelector('input').value") == where


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_training_of_an_exported_page_escapes_what_it_shows(tmp_path):
    page = dom(exported([nasty_training()]), tmp_path)
    card = page.partition(f'data-view="{sent(nasty_training())[0]}"')[2].partition("<style>")[0]
    assert card.count("<canvas") == card.count("<svg") == len(NASTY)
    for place in ("training-map[^>]*><b>(.*?)</b>", "training-chart[^>]*><p><span>(.*?)</span>"):
        assert [unescape(name) for name in re.findall(place, card, re.S)] == NASTY
    assert "Trust the notebook" not in card


# Two rows by hand. Neighbours of one value share an element.
KING = Context(["the", "·old", "·king", "ly"], [0, -0.5, 2.0, 1.0], at=2)
LETTERS = Context(["·a", "·b", "c"], [1.0, 0.5, 0.50004], at=0)
GROUPS = ["strongest", "drawn at random"]


def drawn_contexts(count, seed=0, size=17):
    """Random contexts in which about three tokens of ten have a value above 0."""
    values = torch.rand(count, size, generator=torch.Generator().manual_seed(seed)) - 0.7
    tokens = [f"w{place}" if place % 3 else f"·w{place}" for place in range(size)]
    return [Context(tokens, row, at=12) for row in values.tolist()]


def drawn_units(kinds):
    """A Unit for every kind, each with two groups of four contexts of its own."""
    return [
        Unit(kind, {group: drawn_contexts(4, seed=2 * number + half) for half, group in enumerate(GROUPS)})
        for number, kind in enumerate(kinds)
    ]


def context_rows(view):
    """Rows as they are without JavaScript: (before, token, after, number), the first and third as lists of such tokens
    as the second: [text, colour, value]. A text begins with its space; without a colour, it has None."""
    card = view.data.partition("\n<style>")[0]
    row = (
        r'<li><span style="display:inline-block;width:60%;text-align:right">(.*?)</span><span>( ?<b.*?)</span><small> '
    )
    run = r'( ?)<(span|b)(?: style="background-color:(#[0-9a-f]{6})")? title="(\d+\.\d{3})">(<u>)?(.*?)(?:</u>)?</\2>'
    rows = []
    for before, rest, number in re.findall(row + r"(\d+\.\d{3})</small></li>", card, re.S):
        assert not re.sub(run, "", before + rest, flags=re.S), "nothing else stands in a row"
        found = [re.findall(run, part, re.S) for part in (before, rest)]
        assert [tag for _, tag, *_ in found[1]] == ["b"] + ["span"] * (len(found[1]) - 1)
        assert [bool(line) for *_, line, _ in found[1]] == [True] + [False] * (len(found[1]) - 1)
        assert not any(line or tag == "b" for _, tag, _, _, line, _ in found[0])
        before, rest = (
            [[space + unescape(text), colour or None, value] for space, _, colour, value, _, text in part]
            for part in found
        )
        rows.append((before, rest[0], rest[1:], number))
    assert len(rows) == card.count("<li>")
    return rows


def test_contexts_by_hand():
    view = contexts_view([KING, LETTERS], title="kings & letters")
    # 1 and 0.5 of 2 are a half and a quarter of the way from white to (86, 180, 233): (170.5, 217.5, 244) and
    # (212.75, 236.25, 249.5). What is below 0 counts as 0.
    assert context_rows(view) == [
        (
            [["the old", None, "0.000"]],
            [" king", "#56b4e9", "2.000"],
            [["ly", "#aadaf4", "1.000"]],
            "2.000",
        ),
        ([], [" a", "#aadaf4", "1.000"], [[" bc", "#d5ecfa", "0.500"]], "1.000"),
    ]
    assert "<p><b>kings &amp; letters</b></p><p><small>White is 0, and blue is 2.000, the largest" in view.data
    assert re.findall('<ol role="list" aria-label="(.*?)"', view.data) == ["kings &amp; letters"]
    assert "<script" not in view.data


def test_groups_of_contexts_have_headings_and_one_scale():
    view = contexts_view({"strongest": [KING], "drawn at random": [LETTERS]})
    assert context_rows(view) == context_rows(contexts_view([KING, LETTERS]))
    assert re.findall(r'<p>([^<]*)</p><ol role="list" aria-label="(.*?)"', view.data) == [
        (each, each) for each in GROUPS
    ]
    assert re.findall('<ol role="list" aria-label="(.*?)"', contexts_view([KING]).data) == ["contexts"]
    alone = context_rows(contexts_view([LETTERS]))
    assert alone[0][1] == [" a", "#56b4e9", "1.000"]


def test_a_unit_that_fires_nowhere_is_white():
    for values in ([0, 0, 0], [-1.0, -2.0, -0.5]):
        view = contexts_view([Context(["a", "·b", "c"], values, at=1)])
        assert context_rows(view) == [([["a", None, "0.000"]], [" b", None, "0.000"], [["c", None, "0.000"]], "0.000")]
        assert "blue is 0.000" in view.data


def test_the_contexts_of_the_page_are_those_that_are_given():
    given = drawn_contexts(20)
    largest = max(value for context in given for value in context.values)
    for context, (before, token, after, number) in zip(given, context_rows(contexts_view(given)), strict=True):
        label = "".join(token.replace("·", " ") for token in context.tokens)
        assert "".join(text for text, *_ in [*before, token, *after]) == label.removeprefix(" ")
        values = [max(0, value) for value in context.values]
        assert number == token[2] == f"{values[context.at]:.3f}"
        fired = [(text, value) for text, value in zip(context.tokens, values) if round(value, 3)]
        coloured = [each for each in [*before, token, *after] if each[1]]
        assert [value for _, _, value in coloured] == [f"{value:.3f}" for _, value in fired]
        assert [text.lstrip(" ") for text, *_ in coloured] == [text.lstrip("·") for text, _ in fired]
        blue = [int(colour[1:3], 16) for _, colour, _ in coloured]
        np.testing.assert_allclose(blue, [255 - 169 * value / largest for _, value in fired], atol=0.8)


def nasty_contexts():
    """A row for every nasty token, which stands there as the token in question."""
    values = [float(place) for place in range(len(NASTY))]
    return {name: [Context(NASTY, values, at)] for at, name in enumerate(NASTY)}


def test_no_token_of_contexts_becomes_markup():
    view = contexts_view(nasty_contexts(), title=NASTY[2])
    for at, (before, token, after, _) in enumerate(context_rows(view)):
        assert [text for text, *_ in [*before, token, *after]] == NASTY
        assert token[0] == NASTY[at]
    assert [unescape(each) for each in re.findall(r"<p>([^<]*)</p>", view.data)] == NASTY
    tags = {"div", "p", "b", "small", "ol", "li", "span", "u"}
    assert set(re.findall("</?([a-z]+|!)", view.data)) == tags | {"style"}


def test_no_token_of_a_blind_test_becomes_markup():
    view = blind_view([Unit(kind, nasty_contexts()) for kind in NASTY])
    assert [[text for text, *_ in [*row[0], row[1], *row[2]]] for row in context_rows(view)] == [NASTY] * 100
    assert sent(view)[1] == {"kinds": NASTY}
    assert [unescape(each) for each in re.findall(r"</summary>(.*?)</details>", view.data, re.S)] == NASTY
    tags = {"div", "p", "b", "small", "ol", "li", "span", "u", "details", "summary"}
    assert set(re.findall("</?([a-z]+|!)", view.data.partition("<script>")[0])) == tags | {"style"}
    assert outside_of_text(view)[-2:] == ["<script", "</script"]


def test_a_blind_test_shows_shares_of_the_largest_activation():
    """So the size of numbers does not tell a kind, and units look alike that differ in nothing else."""
    one, other = drawn_contexts(4), drawn_contexts(4, seed=1)
    scaled = [
        [context._replace(values=[1000 * value for value in context.values]) for context in rows]
        for rows in (one, other)
    ]
    view = blind_view([Unit("small", dict(zip(GROUPS, [one, other]))), Unit("large", dict(zip(GROUPS, scaled)))])
    rows = context_rows(view)
    assert rows[:8] == rows[8:]
    shares = [float(value) for before, token, after, _ in rows for _, _, value in [*before, token, *after]]
    assert max(shares) == 1
    largest = max(value for context in one + other for value in context.values)
    assert [row[3] for row in rows[:4]] == [f"{max(0, context.values[12]) / largest:.3f}" for context in one]


def test_without_javascript_each_kind_is_in_a_line_that_opens():
    kinds = ["feature", "neuron", "random direction"]
    view = blind_view(drawn_units(kinds))
    card = view.data.partition("\n<style>")[0]
    assert re.findall(r"<details><summary>The kind of this unit</summary>(.*?)</details></div>", card) == kinds
    closed = re.sub("<details>.*?</details>", "", card)
    assert not any(kind in closed for kind in kinds)
    assert re.findall(r'<div role="group" aria-label="(.*?)"', card) == [f"Unit {number} of 3" for number in (1, 2, 3)]
    assert re.findall(r"<p><b>(.*?)</b></p>", card) == [f"Unit {number} of 3" for number in (1, 2, 3)]
    assert re.findall(r"<p>([^<]*)</p><ol", card) == GROUPS * 3
    assert "Read the texts. Would you know where this unit fires next?" in card
    assert "Trust the notebook" in card


def test_contexts_and_a_blind_test_are_small_and_the_same_every_time():
    kinds = ["feature", "neuron", "feature of the untrained twin", "random direction"] * 3
    view = blind_view(drawn_units(kinds))
    assert len(view.data.encode()) < 75_000
    assert view.data == blind_view(drawn_units(kinds)).data
    assert sent(view)[0] != sent(blind_view(drawn_units(kinds[::-1])))[0]
    listed = contexts_view(drawn_contexts(16))
    assert len(listed.data.encode()) < 12_000
    assert listed.data == contexts_view(drawn_contexts(16)).data
    names = [re.match('<div data-view="([^"]+)"', each.data)[1] for each in (listed, contexts_view(drawn_contexts(15)))]
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([], r"There are no rows in the contexts\. Give at least one Context"),
        ({}, "The contexts are empty. Give at least one list of Context"),
        ({"strongest": [KING], "random": []}, 'There are no rows in the contexts "random"'),
        ([KING, Context(["a"], [1, 2], 0)], "Row 1 of the contexts has 1 tokens, but 2 values"),
        ([Context([], [], 0)], r"Row 0 of the contexts has at=0, but its 0 tokens are numbered from 0"),
        ({"strongest": [KING._replace(at=4)]}, 'Row 0 of the contexts "strongest" has at=4, but its 4 tokens'),
        ([KING._replace(at=-1)], "has at=-1, but its 4 tokens"),
        ([KING._replace(values=[0, float("nan"), 1, 1])], "holds NaN or infinity"),
        ([KING._replace(values=[0, float("inf"), 1, 1])], "holds NaN or infinity"),
        ([(["a"], [1], 0)], "contexts_view: contexts must be"),
    ],
)
def test_contexts_that_cannot_be_shown_are_refused(contexts, message):
    with pytest.raises(ArgumentError, match=message):
        contexts_view(contexts)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([], "units is empty. Give at least one Unit"),
        ([Unit("a", {"strongest": [KING]}), Unit("b", {})], "The contexts of unit 2 are empty"),
        ([Unit("a", {"strongest": []})], 'There are no rows in the contexts "strongest" of unit 1'),
        ([Unit("a", {"strongest": [KING._replace(at=9)]})], 'Row 0 of the contexts "strongest" of unit 1 has at=9'),
        ([("a", {"strongest": [KING]})], "blind_view: units must be"),
    ],
)
def test_a_blind_test_that_cannot_be_shown_is_refused(units, message):
    with pytest.raises(ArgumentError, match=message):
        blind_view(units)


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [375, 1000])
def test_contexts_are_aligned_on_a_wide_page_and_wrap_on_a_narrow_one(width, tmp_path):
    long = [Context(["·word"] * size, [1.0] * size, at=size - 1) for size in range(4, 12)]  # some fill a line
    file = twice_on_a_page(contexts_view({"a": drawn_contexts(4), "b": [LETTERS, KING, *long]}), tmp_path)
    with browser(tmp_path / "profile") as page:
        page.width(width)
        page.open(file.as_uri())
        facts = page.run("""(() => {
          const box = (part) => part.getBoundingClientRect();
          const rows = [...document.querySelectorAll("[data-view] li")].map((row) => ({
            row: box(row), after: box(row.children[1]), number: box(row.children[2]), text: row.innerText}));
          return {
            rows: rows.length, texts: rows.map((row) => row.text.trim().replace(/\\s+/g, " ")),
            left: [...new Set(rows.map(({after}) => Math.round(after.x)))].length,
            inside: rows.every(({row, number}) => number.bottom <= row.bottom + 1 && number.right > row.right - 1),
            high: Math.max(...rows.map(({row}) => row.height)), wide: document.scrollingElement.scrollWidth};
        })()""")
        assert facts["rows"] == 28
        assert facts["wide"] == width
        assert facts["inside"]
        assert facts["texts"][4:6] == ["a bc 1.000", "the old kingly 2.000"]
        assert (facts["left"] == 1) == (width == 1000), "one column for all rows of both groups"
        assert (facts["high"] < 30) == (width == 1000)
        assert {each["request"]["url"] for each in page.after("Network.requestWillBeSent")} == {file.as_uri()}


# What a reader sees of the first view of a page. Text that cannot be seen is not part of it.
SEEN_BLIND = """(() => {
  const card = document.querySelector("[data-view]");
  const seen = (part) => part.checkVisibility({visibilityProperty: true});
  const all = (parts) => [...card.querySelectorAll(parts)].filter(seen);
  return {
    text: card.innerText,
    said: card.querySelector("[role=status]").innerText,
    rows: all("li").map((row) => row.textContent),
    groups: all("ol").map((list) => list.getAttribute("aria-label")),
    pressed: all("[aria-pressed=true]").map((button) => button.textContent),
    buttons: all("button").map((button) => button.textContent),
    off: all("[aria-disabled=true]").map((button) => button.textContent),
    tables: all("table").map((table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))),
    top: card.querySelector("[role=status]").getBoundingClientRect().y,
    high: [card.querySelector("div"), ...card.querySelectorAll("[role=group]")].map((part) => part.offsetHeight),
    focus: document.activeElement.textContent,
  };
})()"""


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [375, 1000])
def test_a_blind_test_is_taken_and_taken_again(width, tmp_path):
    """Twice on a page without the loader. The second view stays as it was."""
    kinds = ["neuron", "<b>feature", "neuron", "<b>feature", "random direction"]
    given = drawn_units(kinds)
    given[1] = Unit(kinds[1], {"strongest": [LETTERS] * 2, "drawn at random": [KING]})
    view = blind_view(given)
    file, rows = twice_on_a_page(view, tmp_path), context_rows(view)
    texts = ["".join(text for text, *_ in [*row[0], row[1], *row[2]]) + f" {row[3]}" for row in rows]
    texts = [texts[:8], texts[8:11], texts[11:19], texts[19:27], texts[27:]]
    yes, no, ways = "one meaning", "no single meaning", ["previous", "next", "start over"]
    with browser(tmp_path / "profile") as page:
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as a window has it that is in use
        page.width(width, 400)
        page.open(file.as_uri())
        assert page.wait("document.querySelectorAll('[data-view][id] blind-bar button').length == 12")
        assert page.run("new Set([...document.querySelectorAll('[id]')].map((each) => each.id)).size") == 2
        heights = set()

        def sees(unit, answer=None):
            """A unit during the test."""
            seen = page.run(SEEN_BLIND)
            assert seen["said"] == f"Unit {unit + 1} of 5"
            assert seen["rows"] == texts[unit]
            assert seen["groups"] == GROUPS
            assert seen["pressed"] == ([answer] if answer else [])
            assert seen["buttons"] == [yes, no, *ways]
            assert seen["off"] == {0: ["previous"], 4: ["next"]}.get(unit, [])
            assert not any(kind in seen["text"] for kind in kinds)
            assert page.run("document.querySelectorAll('[data-view] details').length") == 0
            assert 0 <= seen["top"] < 400
            heights.add(seen["high"][0])
            assert seen["high"][0] == max(seen["high"][1:])
            return seen

        def press(text, which=0):
            """A button that is seen, from where its unit's number is out of sight."""
            page.run(
                "scrollTo(0, 300); [...document.querySelector('[data-view]').querySelectorAll('button')].filter("
                f"(each) => each.checkVisibility() && each.textContent === '{text}')[{which}].click()"
            )

        def result(answers):
            seen = page.run(SEEN_BLIND)
            assert seen["said"] == "Units that you called “one meaning”, for every kind"
            counts, listed = seen["tables"]
            assert counts[0] == ["kind", "one meaning"]
            expected = [
                [kind, f"{sum(a == yes for a, each in zip(answers, kinds) if each == kind)} of {kinds.count(kind)}"]
                for kind in ("neuron", "<b>feature", "random direction")
            ]
            assert counts[1:] == expected
            assert listed[0] == ["unit", "kind", "your answer", "texts"]
            assert listed[1:] == [
                [str(n + 1), kind, a, "look again"] for n, (kind, a) in enumerate(zip(kinds, answers))
            ]
            assert seen["buttons"] == ["look again"] * 5 + ["start over"]
            assert seen["rows"] == []
            return seen

        sees(0)
        press("previous")
        sees(0)
        press(yes)
        sees(1)
        press(no)
        sees(2)
        press("previous")
        sees(1, no)
        press("previous")
        sees(0, yes)
        press(no)  # the next unit without an answer follows
        sees(2)
        press("next")
        sees(3)
        press(no)
        sees(4)
        press("next")
        sees(4)
        press("previous")
        sees(3, no)
        press(yes)
        sees(4)
        press(yes)  # the third unit is still without an answer
        sees(2)
        assert len(heights) == 1, "buttons stay where they are"

        # A real button: Tab reaches it and Enter presses it.
        page.run("pressed = 0; document.addEventListener('keydown', () => { pressed++; })")
        page.run("document.querySelector('[data-view] blind-bar button').focus()")
        page.press("Tab")
        page.press("Enter")
        assert page.run("pressed") == 0, "JupyterLab does not get the keys"
        answers = [no, no, no, yes, yes]
        assert result(answers)["focus"] == "Units that you called “one meaning”, for every kind"

        press("look again", 1)
        seen = page.run(SEEN_BLIND)
        assert seen["said"] == "Unit 2 of 5: <b>feature. Your answer: no single meaning."
        assert (seen["rows"], seen["buttons"]) == (texts[1], ["back to the result", *ways])
        assert seen["focus"] == "back to the result"
        press("next")
        assert page.run(SEEN_BLIND)["said"] == "Unit 3 of 5: neuron. Your answer: no single meaning."
        press("back to the result")
        assert result(answers)["focus"] == "look again"
        assert page.run("document.activeElement.getAttribute('aria-label')") == "look again at unit 3"

        facts = """(() => {
          const parts = [...document.querySelectorAll("[data-view] button")].filter((part) => part.checkVisibility());
          return [document.scrollingElement.scrollWidth,
            Math.min(...parts.map((part) => part.getBoundingClientRect().height)),
            document.querySelectorAll("[data-view]")[1].querySelector("[role=status]").textContent];
        })()"""
        wide, least, other = page.run(facts)
        assert (wide, other) == (width, "Unit 1 of 5")
        assert least >= 24

        press("start over")
        assert sees(0)["focus"] == yes
        for unit in range(5):
            sees(unit)
            press(yes)
        result([yes] * 5)
        press("start over")
        sees(0)
        assert {each["request"]["url"] for each in page.after("Network.requestWillBeSent")} == {file.as_uri()}
        assert page.after("Runtime.exceptionThrown") == []


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_blind_test_of_an_exported_page_is_drawn(tmp_path):
    view = blind_view([Unit(kind, nasty_contexts()) for kind in NASTY])
    page = dom(exported([view]), tmp_path)
    card = page.partition(f'data-view="{sent(view)[0]}"')[2].partition("<style>")[0]
    assert ">Unit 1 of 10</p>" in card
    assert "<details" not in card
    assert "Trust the notebook" not in card


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
@pytest.mark.parametrize("focus", [None, 0, 2])
def test_a_view_opens_with_the_head_in_focus(focus, tmp_path):
    view = attention_view(words(6), causal(3, 6), ["L1H0", "L1H1", "L2H0"], focus)
    page = dom(exported([view, views_loader()]), tmp_path)
    assert re.findall(r"(\w+) Zoomed", page) == ["L2H0" if focus == 2 else "L1H0"]


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_coloured_texts_are_drawn(tmp_path):
    """By CircuitsVis, which leaves out the first token of predictions, in place of the text that stood there."""
    views = nasty_views()
    page = dom(exported([*[view for view, _ in views], views_loader()]), tmp_path)
    for (view, labels), skipped in zip(views, (0, 1)):
        card = page.partition(f'data-view="{sent(view)[0]}"')[2].partition("<style>")[0]
        drawn = re.findall(r'<span style="display: inline-block;.*?>(.*?)</span>', card, re.S)
        # white space is shown as &nbsp;
        shown = [re.sub(r"\s", "\xa0", unescape(token).replace("\u2060", "")) for token in drawn]
        assert shown == [re.sub(r"\s", "\xa0", label) for label in labels[skipped:]]
        assert "<wbr" not in card, "the text without JavaScript is gone"


def page_of(views, folder, more=""):
    """The path of a page that holds views, of which only the last needs the loader after it."""
    file = folder / "page.html"
    body = "".join(view.data for view in [*views, views_loader()])
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>views</title>'
    file.write_text(f"{head}<main><h1>Views</h1><h2>All</h2>{body}</main>{more}", encoding="utf-8")
    return file


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_heads_are_chosen_and_weights_are_read_by_keyboard(tmp_path):
    """From the first head, with the third one in focus, past the last one to the large pattern."""
    names, labels, pattern = ["L1H0", "L1H1", "L2H0"], NASTY[4:], causal(3, 6)
    view = attention_view(labels, pattern, names, focus=2)
    seen = """(() => {
      const all = (parts) => [...document.querySelectorAll("[data-view] " + parts)];
      return {
        heads: all("[role=button]").map((head) => [head.getAttribute("aria-label"), head.getAttribute("aria-pressed")]),
        canvases: all("canvas").map((canvas) => `${canvas.getAttribute("role")}: ${canvas.getAttribute("aria-label")}`),
        large: all("h3")[1].textContent,
        told: all("[role=status]")[0].textContent,
        focus: document.activeElement.getAttribute("aria-label"),
        outline: getComputedStyle(document.activeElement).outline,
      };
    })()"""
    with browser(tmp_path / "profile") as page:
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.open(page_of([view], tmp_path).as_uri())
        assert page.wait("document.querySelector('[aria-pressed=true]')?.textContent === 'L2H0'")
        page.run("pressed = 0; document.addEventListener('keydown', () => { pressed++; })")

        def sees(large, focus):
            chosen = f"[aria-pressed=true][aria-label='head {names[large]}']"
            assert page.wait(f'document.querySelector("{chosen}")', 5)
            now = page.run(seen)
            assert now["heads"] == [[f"head {name}", str(number == large).lower()] for number, name in enumerate(names)]
            assert now["canvases"] == [f"img: attention pattern of head {name}" for name in [*names, names[large]]]
            assert now["large"] == f"{names[large]} Zoomed"
            assert (now["focus"], now["outline"]) == (focus, "rgb(213, 94, 0) solid 3px")
            return now["told"]

        for _ in range(2):
            page.press("Tab")
        assert sees(2, "head L1H1").startswith("Point at a cell")
        assert page.run("pressed") == 2, "the page gets the keys that mean nothing here"
        page.press("Enter")
        sees(1, "head L1H1")
        page.press("Tab")
        page.press(" ")
        sees(2, "head L2H0")
        page.press("Tab")
        large = "attention pattern of head L2H0"
        for keys, query, key in [(["Up", "Right"], 4, 1), (["Down", "Down", "Left", "Left"], 5, 0), (["Up"] * 9, 0, 0)]:
            for each in keys:
                page.press(f"Arrow{each}")
            weight = round(float(pattern[2, query, key]), 3)
            told = f"query {query} '{labels[query]}' → key {key} '{labels[key]}': {weight:g} (L2H0)"
            assert sees(2, large) == told
        page.press("ArrowRight")
        assert sees(2, large).endswith(": no attention to a later position (L2H0)")
        assert page.run("pressed") == 4, "JupyterLab gets none of the others"
        page.run("document.querySelector('[role=button]').click()")
        assert sees(0, large.replace("L2H0", "L1H0")).endswith(" (L1H0)")
        assert page.after("Runtime.exceptionThrown") == []


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_large_pattern_grows_and_shrinks_with_the_window(tmp_path):
    with browser(tmp_path / "profile") as page:
        page.width(375)
        page.open(page_of([attention_view(words(6), causal(2, 6))], tmp_path).as_uri())
        assert page.wait("document.querySelectorAll('canvas').length === 3")
        for width, least, most in [(375, 300, 375), (1280, 500, 600), (375, 300, 375)]:
            page.width(width)
            size = "document.querySelectorAll('canvas')[2].offsetWidth"
            assert page.wait(f"{size} > {least} && {size} < {most}", 10)
            assert page.run("document.scrollingElement.scrollWidth") == width


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("kind", ["token", "prediction"])
def test_tokens_are_read_by_keyboard(kind, tmp_path):
    if kind == "token":
        view, said = token_view(words(3), torch.tensor([0.25, -0.5, 0.125])), ["0.25", "-0.5", "0.125"]
    else:
        logits = torch.tensor([[1.0, 0], [0, 1], [0, 1]]).log().clamp_min(-9)
        view, said = prediction_view(Words(["a", "b"]), torch.tensor([0, 0, 1]), logits, 2), ["a -> a", "a -> b"]
    box = "document.querySelector('[data-view] > div')"
    added = f"{box}.querySelectorAll(':scope > div')"
    with browser(tmp_path / "profile") as page:
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.width(375)
        page.open(page_of([view], tmp_path).as_uri())
        assert page.wait(f"{box}?.querySelector('[tabindex]')")
        assert page.run(f"{box}.getAttribute('aria-live')") == "polite", "a screen reader says what appears"
        page.run("pressed = 0; document.addEventListener('keydown', () => { pressed++; })")

        def sees(token):
            """What CircuitsVis adds to the text while the mouse is over a token: here, while it has the focus."""
            assert page.run(f"[...{box}.querySelectorAll(':scope > span')].indexOf(document.activeElement)") == token
            assert page.run("document.querySelectorAll('[tabindex=\"0\"]').length") == 1
            assert page.wait(f"{added}.length === 1 && {added}[0].textContent.includes('{said[token]}')", 5)
            ends = [f"{part}.getBoundingClientRect().bottom" for part in (f"{added}[0]", f"{box}.parentNode")]
            assert page.wait(" <= ".join(ends), 5), "Jupyter cuts nothing off"
            assert page.run("document.scrollingElement.scrollWidth") == 375

        def hint():
            """The sentence in the empty room, and the height of the view."""
            rule = page.run(f"getComputedStyle({box}, '::after').content")
            return rule, page.run("document.querySelector('[data-view]').offsetHeight")

        before, height = hint()
        assert re.search(r"Point at a token.*appears here", before), "an empty room once stood there unexplained"
        page.press("Tab")
        sees(0)
        assert hint() == ("none", height)
        last = len(said) - 1
        for key, token in [("ArrowRight", 1), ("ArrowDown", last), ("ArrowRight", last), ("ArrowLeft", last - 1)]:
            page.press(key)
            sees(token)
        page.press("Escape")
        assert page.wait(f"{added}.length === 0", 5)
        assert hint() == (before, height)
        assert page.run("pressed") == 1, "Tab, and JupyterLab gets none of the others"
        assert page.after("Runtime.exceptionThrown") == []


# A page that is dark and has sizes of its own, as the site has them, in selectors that weigh as much as those of views.
DARK = """<style>
body {background: #121212; color: #ced6dd}
main.dark :is(h1, h2, h3, h4, p, label) {background: #121212; color: #ced6dd; font: 40px monospace}
::placeholder {color: white}
</style><script>document.querySelector("main").className = "dark"</script>"""


@pytest.mark.deep
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("more", ["", DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_views_are_accessible(width, more, tmp_path):
    """axe finds nothing in any view, its canvases included."""
    axe = axe_core()
    if axe is None:
        pytest.skip("axe-core is not here")
    tokens, logits = drawn_text(1, 9)
    views = [
        attention_view(words(6), causal(20, 6), focus=2),
        token_view(words(40), torch.linspace(-1, 1, 40)),
        prediction_view(Words(words(9)), tokens, logits[0], top_k=5),
        lens(depths=3, positions=20),
        heads_of_words(layers=3, heads=8, count=30, marks=torch.rand(3, 8)),
        training(frames=3, heads=2, positions=12),
        contexts_view({"strongest": drawn_contexts(3)}, "a unit"),
        blind_view(drawn_units(["a", "b"])),
    ]
    with browser(tmp_path / "profile") as page:
        page.width(width)
        page.open(page_of(views, tmp_path, more).as_uri())
        assert page.wait("document.querySelectorAll('[aria-live] > [tabindex=\"0\"], [role=button]').length === 22")
        page.run(axe + "; 0")
        found = page.run(
            "axe.run('[data-view]', {preload: false}).then((found) => found.violations.flatMap((rule) => "
            "rule.nodes.map((node) => [rule.id, node.html.slice(0, 150), node.any[0]?.message].join(' '))))"
        )
        assert found == []
        assert page.run("document.scrollingElement.scrollWidth") == width
        size = "getComputedStyle(document.querySelector('[data-view] %s')).fontSize"
        assert [page.run(size % each) for each in ("h3", "h4")] == ["16px", "10px"]
        assert (
            page.run("getComputedStyle(document.querySelector('[type=search]'), '::placeholder').color")
            == "rgb(89, 89, 89)"
        )
        # A box that scrolls is reached by keyboard, because something in it is.
        boxes = """[...document.querySelectorAll("[data-view] *")].filter((box) =>
          ["auto", "scroll"].includes(getComputedStyle(box).overflowX) && !box.querySelector("[tabindex='0']"))"""
        assert page.run(f"{boxes}.length") == 0


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
