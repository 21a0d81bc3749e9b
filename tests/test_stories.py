"""The guided stories of the playground: what each step says about storybook holds in the state that the step sets.

Texts and states are read from stories.json, so that they cannot drift away from their tests. Every number in a text
must stand in MEASURED, in the order of the text, with what computes it.
"""

import json
import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import nbformat
import pytest
import torch

from interp_helpers import encode, load_bridge, passages, token_batches, token_labels
from interp_helpers.attention import survey
from interp_helpers.interventions import head_z, mean_z, patch_heads, patch_stream, residual_streams
from interp_helpers.residual import Unembedding, to_logits

ROOT = Path(__file__).parent.parent
STORIES = json.loads((ROOT / "docs/playground/src/stories.json").read_text(encoding="utf-8"))
STEPS = {(story["id"], number): step for story in STORIES for number, step in enumerate(story["steps"], 1)}
LAYERS, HEADS, CONTEXT = 6, 8, 128
KEYS = {"text", "model", "view", "token", "head", "off", "by", "other", "cells", "map"}  # steer and dose: no story yet
INDUCTION = [(4, 3), (4, 4), (5, 1), (5, 5), (5, 7)]
NAMES = re.compile(r"`[^`]*`|“[^”]*”|(?:[Nn]otebook|[Ll]ayers?|head) \d(?:(?:,| and| or) \d)*")  # no measured numbers
NUMBER = re.compile(r"\d+(?:\.\d+)?(?: %)?")


def state(at):
    """A step's hash, parsed: what is absent is as when the page is opened."""
    given = {key: value for key, [value] in parse_qs(STEPS[at]["state"], strict_parsing=True).items()}
    return {"model": "storybook", "view": "next", "off": "", "by": "mean", "cells": "", "other": ""} | given


def head_of(name):
    return int(name[1]), int(name[3])


def heads_off(parts):
    """(layer, head) of all that is off. By their mean, a layer's attention and its heads are off alike."""
    for part in filter(None, parts.split(",")):
        if part.startswith("attn"):
            yield from ((int(part[4]), head) for head in range(HEADS))
        else:
            yield head_of(part)


def named(heads):
    return ",".join(f"L{layer}H{head}" for layer, head in heads)


class Page:
    """What the playground computes, by the library."""

    def __init__(self):
        self.bridges = {
            name: load_bridge("storybook", device="cpu", untrained=name == "twin") for name in ("storybook", "twin")
        }
        self.bridge, self.tokenizer = self.bridges["storybook"]
        reference = token_batches(self.tokenizer, passages()[16:48], context=CONTEXT, cut=True)
        self.runs = {}
        self.means = {name: mean_z(bridge, reference) for name, (bridge, _) in self.bridges.items()}

    def ids(self, text):
        return encode(self.tokenizer, text, context=CONTEXT)

    def run(self, at, **changes):
        """A step's changed run, or the same with other changes."""
        given = state(at) | changes
        key = json.dumps({name: given[name] for name in ("text", "model", "off", "by", "other", "cells")})
        if key not in self.runs:
            self.runs[key] = self.compute(given)
        return self.runs[key]

    def compute(self, given):
        bridge, ids = self.bridges[given["model"]][0], self.ids(given["text"])
        z = self.means[given["model"]] if given["by"] == "mean" else 0.0
        hooks = patch_heads(bridge, list(heads_off(given["off"])), z)
        if given["cells"]:
            source = residual_streams(bridge, self.ids(given["other"]))
            for depth, position in ([int(each) for each in cell.split(".")] for cell in given["cells"].split(",")):
                hooks += patch_stream(bridge, depth, source[depth][:, [position]], [position])
        with torch.no_grad(), bridge.hooks(fwd_hooks=hooks):
            logits, kept = bridge.run_with_cache(
                ids, names_filter=lambda name: name.endswith(("pattern", "_pre", "5.hook_resid_post"))
            )
        return SimpleNamespace(
            labels=token_labels(self.tokenizer, ids[0]),
            logits=logits[0],
            chances=logits[0].softmax(-1),
            losses=-logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0],
            patterns=torch.stack([kept["pattern", layer][0] for layer in range(LAYERS)]),  # (layer, head, query, key)
            streams=kept.accumulated_resid()[:, 0],  # (depth, position, d_model)
        )

    def lens(self, at, **changes):
        """As labels: the first token at each place, (depth, position), and the first five at the end, (depth, rank)."""
        with torch.no_grad():
            logits = to_logits(self.run(at, **changes).streams, Unembedding.of(self.bridge))
        first = [token_labels(self.tokenizer, ids) for ids in logits.argmax(-1)]
        return first, [token_labels(self.tokenizer, ids) for ids in logits[:, -1].argsort(descending=True)[:, :5]]

    def bars(self, at, **changes):
        """The ten likeliest tokens after the last one, as labels."""
        return token_labels(self.tokenizer, self.run(at, **changes).logits[-1].topk(10).indices)

    def chance(self, at, word, **changes):
        """Probability of a word's first token after the last one."""
        return self.run(at, **changes).chances[-1, self.ids(f" {word}")[0, 0]].item()

    def rise(self, at, tokens=slice(None), **changes):
        """By how much the mean loss of some tokens, of all but the first, rises by a step's changes or by others."""
        before, now = self.run(at, off="", cells=""), self.run(at, **changes)
        return (now.losses - before.losses)[tokens].mean().item()

    def reads(self, at, query=-1, head=None, **changes):
        """What a head, the step's own if no other is given, reads at a token: (key,)."""
        return self.run(at, **changes).patterns[head_of(head or state(at)["head"])][query]

    def way(self, at, cells):
        """How far cells bring a step's text to the answer of its second text: notebook 06's normalised effect."""
        text, other = self.run(at, cells=""), self.run(at, text=state(at)["other"], cells="")
        answer, rival = (run.logits[-1].argmax() for run in (text, other))
        start, end, now = (
            (run.logits[-1, answer] - run.logits[-1, rival]).item() for run in (text, other, self.run(at, cells=cells))
        )
        return (now - start) / (end - start)


@pytest.fixture(scope="module")
def page():
    return Page()


def text(at):
    return state(at)["text"]


def swapped(at, old, new):
    assert text(at).count(old), f"{old!r} is not in the text of {at}"
    return {"text": text(at).replace(old, new)}


def others(layer):
    return [(layer, head) for head in range(HEADS) if (layer, head) not in INDUCTION]


CONTROLS = [named(four + five) for four in combinations(others(4), 2) for five in combinations(others(5), 3)]
FIVE, COPY = named(INDUCTION), 17  # COPY: of the sentence that comes twice, losses from here on are the second copy's
TWICE = ("switch-off", 1)
ONCE = ("sink", 1)


def most_of_the(page):
    """Heads of which the last token gives no token as much as 0.9."""
    return (page.run(("attention", 4)).patterns[:, :, -1].amax(-1) < 0.9).sum().item()


def settled_late(page):
    """Columns of the lens that agree with the top row nowhere below it."""
    *below, top = page.lens(("answer", 2))[0]
    return sum(all(row[i] != token for row in below) for i, token in enumerate(top))


def marked(page, off):
    """L4H3's attention to the first token of 32 passages."""
    excerpts = torch.cat([page.ids(passage)[:, :48] for passage in passages()[::2]])
    with page.bridge.hooks(fwd_hooks=patch_heads(page.bridge, off, page.means["storybook"])):
        return survey(page.bridge, [excerpts], targets={"first": first_of})["first"][4, 3]


def first_of(ids):
    return torch.eye(ids.shape[-1], dtype=torch.bool)[0].expand(*ids.shape, -1).tril(-1)


# A number that a text says is what its function gives, rounded; True where the text says "more than" or the like.
MEASURED = {
    ("attention", 4): [
        ("40", most_of_the),
        ("48", lambda page: LAYERS * HEADS),
        ("0.9", lambda page: most_of_the(page) == 40),
    ],
    ("attention", 5): [
        ("1.00", lambda page: page.run(("attention", 5)).patterns[:, :, 0, 0].min()),
        ("1", lambda page: page.reads(("attention", 5), -1).sum()),
    ],
    ("attention", 6): [
        ("0.165", lambda page: page.run(("attention", 6)).patterns[:, :, -1].min()),
        ("0.25", lambda page: page.run(("attention", 6)).patterns[:, :, -1].max()),
        ("48", lambda page: LAYERS * HEADS),
    ],
    ("induction", 1): [("89 %", lambda page: page.chance(("induction", 1), "Wood"))],
    ("induction", 3): [("0.97", lambda page: page.reads(("induction", 3))[4])],
    ("induction", 5): [
        ("89 %", lambda page: page.chance(("induction", 5), "Wood", off="")),
        ("26 %", lambda page: page.chance(("induction", 5), "Wood")),
        ("1 %", lambda page: page.chance(("induction", 5), "Wood", off=FIVE) < 0.01),
    ],
    ("answer", 2): [("7", settled_late), ("13", lambda page: len(page.lens(("answer", 2))[0][0]))],
    ("answer", 3): [("71 %", lambda page: page.chance(("answer", 3), "Brown"))],
    ("answer", 4): [("0.8 %", lambda page: page.chance(("answer", 4), "Brown"))],
    ("answer", 6): [
        ("70 %", lambda page: page.chance(("answer", 6), "Brown", off="")),
        ("1.4 %", lambda page: page.chance(("answer", 6), "Brown")),
        ("8.8 %", lambda page: page.chance(("answer", 6), "Brown", off="attn5")),
        ("60 %", lambda page: all(page.chance(("answer", 6), "Brown", off=f"attn{layer}") > 0.6 for layer in (1, 2))),
    ],
    ("switch-off", 1): [
        ("0.1", lambda page: all(abs(page.rise(TWICE, off=f"L{n // 8}H{n % 8}")) < 0.1 for n in range(8, 24))),
        ("16", lambda page: 2 * HEADS),
    ],
    ("switch-off", 2): [
        ("3.9", lambda page: page.rise(("switch-off", 2))),
        ("2.4", lambda page: page.rise(("switch-off", 2), slice(COPY))),
    ],
    ("switch-off", 3): [
        ("0.6", lambda page: all(page.rise(TWICE, off=named([head])) < 0.6 for head in INDUCTION)),
        ("2.0", lambda page: page.rise(("switch-off", 3))),
    ],
    ("switch-off", 4): [
        ("0.05", lambda page: page.rise(("switch-off", 4))),
        ("150", lambda page: len(CONTROLS)),
        ("0.2", lambda page: max(page.rise(TWICE, off=control) for control in CONTROLS)),
    ],
    ("switch-off", 5): [
        ("0.8", lambda page: page.rise(("switch-off", 5))),
        ("0.2", lambda page: page.rise(("switch-off", 5), by="mean")),
    ],
    ("switch-off", 6): [("0.1", lambda page: abs(page.rise(("switch-off", 6))) < 0.1)],
    ("sink", 1): [("0.8", lambda page: (page.reads(ONCE, slice(None))[:, 0] > 0.8).all().item())],
    ("sink", 2): [("0.03", lambda page: page.reads(("sink", 2), slice(None))[:, 2].max())],
    ("sink", 3): [
        ("0.98", lambda page: page.reads(("sink", 3), 8)[0]),
        ("0.02", lambda page: page.reads(("sink", 3))[0]),
        ("1", lambda page: page.reads(("sink", 3)).sum()),
    ],
    ("sink", 4): [
        ("0.03", lambda page: page.rise(("sink", 4))),
        ("0.05", lambda page: page.rise(("sink", 4), by="zero")),
    ],
    ("sink", 5): [
        ("0.23", lambda page: page.reads(("sink", 5))[0]),
        ("0.85", lambda page: page.reads(("sink", 5), off="")[0]),
        (
            "0.7",
            lambda page: all(page.reads(("sink", 5), off=f"L0H{head}")[0] > 0.7 for head in range(HEADS) if head != 2),
        ),
        ("32", lambda page: len(passages()[::2])),
        ("0.74", lambda page: marked(page, [])),
        ("0.23", lambda page: marked(page, [(0, 2)])),
    ],
    ("sink", 6): [("0.03", lambda page: page.reads(("sink", 6), slice(1, None))[:, 0].max())],
}


def test_there_are_five_stories_of_four_to_six_steps():
    assert [story["id"] for story in STORIES] == ["attention", "induction", "answer", "switch-off", "sink"]
    for story in STORIES:
        assert set(story) == {"id", "title", "question", "notebook", "minutes", "steps"}
        assert story["question"].endswith("?")
        assert (ROOT / "notebooks" / f"{story['notebook']}.ipynb").is_file()
        assert 4 <= len(story["steps"]) <= 6
        number = int(story["notebook"][:2])
        assert f"Notebook {number} " in story["steps"][-1]["text"], "a story ends with the notebook that goes on"


def test_the_plan_for_teachers_uses_states_of_the_stories():
    planned = re.findall(r"`(text=[^`]+)`", (ROOT / "docs/teaching.md").read_text(encoding="utf-8"))
    assert len(planned) == 4
    assert set(planned) <= {step["state"] for step in STEPS.values()}


def test_every_story_has_a_heading_with_its_question():
    """So that links to it work where the course is read as Markdown, too; on the site they open the story."""
    page = (ROOT / "docs/playground.md").read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^### (.+)\n\n(.+?\?)", page)
    assert headings == [(story["id"].replace("-", " ").capitalize(), story["question"]) for story in STORIES]


@pytest.mark.parametrize("at", STEPS)
def test_a_step_sets_a_state_that_exists(at, page):
    given, length = state(at), page.ids(text(at)).shape[1]  # which refuses what is too long
    assert set(parse_qs(STEPS[at]["state"])) <= KEYS
    assert given["model"] in ("storybook", "twin")
    assert given["view"] in ("next", "heads", "depth", "break", "patch", "steer")
    assert given["by"] in ("mean", "zero")
    assert re.fullmatch(r"(L[0-5]H[0-7]|attn[0-5])(,(L[0-5]H[0-7]|attn[0-5]))*|", given["off"])
    assert "attn" not in given["off"] or given["by"] == "mean"  # or `heads_off` is wrong
    assert re.fullmatch("L[0-5]H[0-7]", given.get("head", "L0H0"))
    assert (given["view"] == "heads") == ("head" in given)
    assert int(given.get("token", 0)) < length
    for depth, position in (map(int, cell.split(".")) for cell in filter(None, given["cells"].split(","))):
        assert depth <= LAYERS
        assert position < length
    if given["other"]:
        assert page.ids(given["other"]).shape[1] == length


@pytest.mark.parametrize("at", STEPS)
def test_a_step_is_short_and_names_tokens_and_heads_that_exist(at):
    said = STEPS[at]["text"]
    assert len(said) <= 450
    assert len(STEPS[at]["title"]) <= 40
    assert said.count("`") % 2 == 0
    for name in re.findall(r"`(L\d+H\d+)`", said):
        assert head_of(name) < (LAYERS, HEADS)


@pytest.mark.parametrize("at", STEPS)
def test_a_step_names_the_one_or_two_heads_that_are_off(at):
    off = [part for part in state(at)["off"].split(",") if part.startswith("L")]
    if len(off) <= 2:
        assert all(f"`{head}`" in STEPS[at]["text"] for head in off)


def test_the_whole_map_is_painted_and_the_ordinary_sentence_lacks_the_five():
    assert state(("answer", 5))["map"] == "1"
    assert state(("switch-off", 6))["off"] == FIVE


@pytest.mark.parametrize("at", STEPS)
def test_its_numbers_are_measured(at, page):
    measured = MEASURED.get(at, [])
    assert NUMBER.findall(NAMES.sub("", STEPS[at]["text"])) == [said for said, _ in measured]
    for said, function in measured:
        value = function(page)
        if not isinstance(value, bool):
            number, _, percent = said.partition(" ")
            decimals = len(number.partition(".")[2])
            value = (
                f"{float(value) * (100 if percent else 1):.{decimals}f}" == number or f"{said} is {float(value):.4f}"
            )
        assert value is True, value


def test_attention_one_ending_has_three_answers(page):
    for noun, answer in {"cook": "·fire", "thief": "·door", "queen": "·window"}.items():
        run = page.run(("attention", 1), **swapped(("attention", 1), "cook", noun))
        assert run.labels == ["The", f"·{noun}", "·stood", "·by", "·the"]
        assert page.bars(("attention", 1), **swapped(("attention", 1), "cook", noun))[0] == answer


def test_attention_without_it_each_token_is_read_alone(page):
    at = ("attention", 2)
    assert set(heads_off(state(at)["off"])) == {(layer, head) for layer in range(LAYERS) for head in range(HEADS)}
    own = page.run(at)
    for noun in ("thief", "queen"):
        other = page.run(at, **swapped(at, "cook", noun))
        assert torch.equal(other.logits[2:], own.logits[2:])
        assert not torch.equal(other.logits[1], own.logits[1])


def test_attention_one_head_looks_back_and_one_stays(page):
    back, stay = (page.reads(("attention", step), slice(None)) for step in (3, 4))
    assert back.diagonal(-1).min() > 0.97
    assert stay.diagonal().min() > 0.99


def test_attention_no_head_looks_ahead_and_what_it_reads_adds_up_to_one(page):
    patterns = page.run(("attention", 5)).patterns
    assert patterns.triu(1).max() == 0
    assert torch.allclose(patterns.sum(-1), torch.ones(()))


def test_induction_the_name_follows_the_text(page):
    at = ("induction", 2)
    assert "Green" in text(at)
    for name in ("Green", "Rose", "King", "Cat"):
        assert page.bars(at, **swapped(at, "Green", name))[0] == f"·{name}"
    assert "·Green" not in page.bars(at, text=text(at).split(". ")[1])
    spoon = page.bars(at, **swapped(at, "Green", "Spoon"))
    assert spoon[0] != "·Sp"


def test_induction_the_head_reads_what_came_after_the_copy(page):
    at = ("induction", 3)
    run = page.run(at)
    assert [run.labels[i] for i in (3, 4, -1)] == ["le", "·Wood", "le"]
    assert run.labels.count("le") == 2
    assert page.reads(at).argmax() == 4
    at = ("induction", 4)
    pattern, losses = page.reads(at, slice(None)), page.run(at).losses
    labels = page.run(at).labels
    assert labels[1 : COPY + 1] == labels[COPY + 2 :]
    assert pattern[COPY + 1 :].argmax(-1).tolist() == list(range(1, COPY + 2))
    assert losses[COPY:].mean() < losses[:COPY].mean() / 3


def test_induction_other_heads_leave_the_name_first(page):
    assert all(page.bars(("induction", 5), off=control)[0] == "·Wood" for control in CONTROLS)
    below = [page.chance(("induction", 5), "Wood", off=control) < 0.5 for control in CONTROLS]
    assert below == ["L4H7" in control for control in CONTROLS]


def test_induction_the_twin_has_none(page):
    at = ("induction", 6)
    row = page.reads(at)
    assert (row - 1 / len(row)).abs().max() < 0.02
    assert "·Wood" not in page.bars(at)


def test_answer_the_lens(page):
    at = ("answer", 1)
    first, last = page.lens(at)
    assert [row[0] == "·Brown" for row in last] == [False] * 6 + [True]
    assert last[5].index("·Brown") == 2
    labels = page.run(at).labels
    assert labels[int(state(("answer", 2))["token"])] == "·house"
    house, one = ([row[labels.index(label)] for row in first] for label in ("·house", "·One"))
    assert [token == "," for token in house] == [False] + [True] * 6
    assert [token == "·of" for token in one] == [False] * 4 + [True] * 3


def test_answer_the_name_is_at_its_own_place_first(page):
    assert page.run(("answer", 3)).labels[12] == "·Tom"
    assert page.run(("answer", 4)).labels[2] == "·Brown"
    assert page.bars(("answer", 3))[0] == "·Brown"
    assert page.bars(("answer", 4))[0] == "·White"
    assert page.lens(("answer", 4), cells="")[0][4][2] == "ing"


def test_answer_the_map(page):
    at, length = ("answer", 5), len(page.run(("answer", 5)).labels)
    ways = [[page.way(at, f"{depth}.{position}") for position in range(length)] for depth in range(LAYERS + 1)]
    for depth, row in enumerate(ways):
        name, end = row.pop(2), row.pop(-1)
        assert max(map(abs, row)) < 0.03
        expected = (1, 0) if depth < 5 else (0.5, 0.5) if depth == 5 else (0, 1)
        assert (name, end) == pytest.approx(expected, abs=0.06)
    assert page.bars(at, cells="5.2,5.12")[0] == "·White"


def test_answer_layers_0_and_3_are_needed_as_well(page):
    left = [page.chance(("answer", 6), "Brown", off=f"attn{layer}") for layer in (0, 3)]
    assert max(left) < 0.3


def test_switching_off_the_five_costs_the_copy_and_nothing_else(page):
    at = ("switch-off", 3)
    assert state(at)["off"] == FIVE
    run = page.run(at)
    assert run.losses[COPY:].mean() == pytest.approx(run.losses[:COPY].mean().item(), abs=0.1)
    assert abs(page.rise(at, slice(COPY))) < 0.05
    assert state(("switch-off", 4))["off"] in CONTROLS
    labels = page.run(("switch-off", 6)).labels
    assert max(Counter(pairwise(labels)).values()) == 1, "the sentence does not repeat"


def test_sink_the_first_token_is_read_most_whatever_it_is(page):
    for at in [ONCE, ("sink", 2)]:
        assert (page.reads(at, slice(None)).argmax(-1) == 0).all()
    for word in ("My", "The"):
        assert (page.reads(("sink", 2), slice(None), **swapped(("sink", 2), "Well", word)).argmax(-1) == 0).all()
    assert page.run(("sink", 2)).labels[:3] == ["Well", ",", "·once"]
    twin = page.run(("sink", 2), model="twin").patterns[:, :, -1]
    assert twin.max() < 0.1


def test_sink_where_there_is_something_to_find(page):
    run = page.run(("sink", 3))
    assert (run.labels[8], run.labels[4]) == ("·sea", "·Wood")
    assert page.reads(("sink", 3)).argmax() == 4
    first = page.run(ONCE).patterns[:, :, 1:, 0].mean(-1)
    assert {divmod(i, HEADS) for i in first.flatten().topk(2).indices.tolist()} == set(
        heads_off(state(("sink", 4))["off"])
    )


def test_sink_what_the_head_of_layer_0_writes_at_the_first_token_is_needed_and_makes_a_second_sink(page):
    """No step can show this: what L0H2 writes is replaced at one place only, on passages."""
    bridge, excerpts = page.bridge, torch.cat([page.ids(passage)[:, :48] for passage in passages()[::4]])
    own, mean = head_z(bridge, excerpts), page.means["storybook"]

    def looks(z, at=0):
        with bridge.hooks(fwd_hooks=patch_heads(bridge, [(0, 2)], z)):
            _, kept = bridge.run_with_cache(excerpts, names_filter="blocks.4.attn.hook_pattern")
        return kept["pattern", 4][:, 3, at + 1 :, at].mean().item()

    at_first, elsewhere, copied = own.clone(), own.clone(), own.clone()
    at_first[0, 2, :, 0] = elsewhere[0, 2, :, 1:] = mean[0, 2]
    copied[0, 2, :, 10] = own[0, 2, :, 0]
    assert looks(at_first) < 0.4 * looks(own)
    assert looks(elsewhere) > 0.9 * looks(own)
    assert looks(copied, at=10) > 0.25 > 0.05 > looks(own, at=10)


def test_every_number_of_the_teachers_answers_is_printed_by_its_notebook():
    page = (ROOT / "docs/answers.md").read_text(encoding="utf-8")
    found = 0
    for part in page.split("\n## ")[1:]:
        printed = ""
        for name in re.findall(r"notebooks/(\w+\.ipynb)", part):
            notebook = nbformat.read(ROOT / "notebooks" / name, 4)
            outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
            printed += "".join(
                each.get("text", "") + str(each.get("data", {}).get("text/plain", "")) for each in outputs
            )
        numbers = re.findall(r"\b\d\.\d{3}\b", part)
        assert [number for number in numbers if number not in printed] == []
        found += len(numbers)
    assert found >= 12
