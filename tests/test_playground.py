"""The playground: its graph against transformers and TransformerLens, and the page itself, opened from its folder."""

import ast
import base64
import gzip
import json
import re
import shutil
import subprocess
from functools import cache, partial
from pathlib import Path
from urllib.parse import urlencode

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from browser import CHROMIUM, browser
from tiny import CONTEXT, HEADS, LAYERS, WIDTH, alone, bridge, tiny

import interp_helpers as ih
from interp_helpers import attention, interventions

pytest.importorskip("onnxscript", reason="ONNX has no packages for Python 3.10 here")
import notebook_values
import playground

deep = pytest.mark.deep
ROOT = Path(__file__).parent.parent
IDS = [5, 2, 9, 2, 7, 5, 2]
OUTPUTS = ["logits", "patterns", "streams"]


@pytest.fixture(scope="module")
def graphs():
    return playground.exported(tiny("gpt2"))


@pytest.fixture(scope="module")
def run(graphs):
    """The small model's graph in ONNX's slow and simple interpreter: `run(ids, **changes)` -> {output: array}."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(graphs["graph"])

    def run(ids, **changed):
        given = {"ids": torch.tensor([ids]), **playground.changes(tiny("gpt2").config, len(ids)), **changed}
        made = evaluator.run(OUTPUTS, {name: value.numpy() for name, value in given.items()})
        return dict(zip(OUTPUTS, made))

    return run


@torch.no_grad()
def hooked(bridge, ids, hooks=()):
    """What the page shows, by TransformerLens: {output: array}."""
    tokens = torch.tensor([ids])
    with bridge.hooks(fwd_hooks=list(hooks)):
        logits, cache = bridge.run_with_cache(tokens)
        streams = interventions.residual_streams(bridge, tokens)[:, 0]
    patterns = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"][0] for layer in range(bridge.cfg.n_layers)])
    return {name: value.numpy() for name, value in zip(OUTPUTS, (logits[0], patterns, streams))}


def worst(one, other):
    """The largest difference of two runs: {output: number}."""
    assert all(one[name].shape == other[name].shape for name in OUTPUTS)
    return {name: np.abs(one[name] - other[name]).max() for name in OUTPUTS}


def replaced(name, new):
    """A hook that writes something else."""
    return [(name, lambda old, hook: new.expand_as(old))]


@pytest.mark.parametrize("ids", [IDS, [3], list(range(CONTEXT))], ids=["7 tokens", "1 token", "the longest text"])
def test_without_changes_the_graph_says_what_transformers_says(run, ids):
    made, out = run(ids), alone("gpt2", ids)
    assert np.abs(made["logits"] - out.logits[0].numpy()).max() < 1e-4
    assert np.abs(made["patterns"] - torch.cat(out.attentions).numpy()).max() < 1e-4
    streams = torch.cat(out.hidden_states[:-1]).numpy()  # transformers normalises the last one
    assert np.abs(made["streams"][:-1] - streams).max() < 1e-4


def test_replaced_by_the_same_nothing_changes(run):
    own = run(IDS)
    streams = torch.from_numpy(own["streams"])
    again = run(IDS, patched=torch.ones(streams.shape[:2], dtype=torch.bool), patch=streams)
    assert max(worst(own, again).values()) < 1e-5
    noise = {"head_mean": torch.randn(LAYERS, HEADS, WIDTH // HEADS), "attn_mean": torch.randn(LAYERS, WIDTH)}
    ignored = run(IDS, **noise, mlp_mean=torch.randn(LAYERS, WIDTH), patch=torch.randn(streams.shape))
    assert max(worst(own, ignored).values()) == 0


@pytest.mark.parametrize("by", ["zero", "mean"])
def test_a_head_is_switched_off_as_patch_heads_does_it(run, by):
    z = torch.randn(LAYERS, HEADS, WIDTH // HEADS) * (by == "mean")
    scale = torch.ones(LAYERS, HEADS)
    scale[0, 1] = scale[1, 3] = 0
    hooks = interventions.patch_heads(bridge("gpt2"), [(0, 1), (1, 3)], z)
    made = run(IDS, head_scale=scale, head_mean=z)
    assert max(worst(made, hooked(bridge("gpt2"), IDS, hooks)).values()) < 1e-4
    assert worst(made, run(IDS))["logits"] > 0.01


@pytest.mark.parametrize("kind", ["attn", "mlp"])
def test_what_a_layer_writes_is_switched_off_as_a_hook_does_it(run, kind):
    mean = torch.randn(LAYERS, WIDTH)
    made = run(IDS, **{f"{kind}_scale": torch.tensor([1.0, 0.0]), f"{kind}_mean": mean})
    hooks = replaced(f"blocks.1.hook_{kind}_out", mean[1])
    assert max(worst(made, hooked(bridge("gpt2"), IDS, hooks)).values()) < 1e-4
    assert worst(made, run(IDS))["logits"] > 0.01


@pytest.mark.parametrize("depth", range(LAYERS + 1))
def test_a_cell_is_patched_as_patch_stream_does_it_and_then_steered(run, depth):
    patch, patched = torch.randn(LAYERS + 1, len(IDS), WIDTH), torch.zeros(LAYERS + 1, len(IDS), dtype=torch.bool)
    patched[depth, [2, 5]] = True
    steer = torch.zeros(LAYERS + 1, WIDTH)
    hooks = interventions.patch_stream(bridge("gpt2"), depth, patch[depth][None], [2, 5])
    made = run(IDS, patched=patched, patch=patch)
    assert max(worst(made, hooked(bridge("gpt2"), IDS, hooks)).values()) < 1e-4
    steer[depth] = torch.randn(WIDTH)
    hooks += interventions.add_to_stream(bridge("gpt2"), depth, steer[depth])
    both = run(IDS, patched=patched, patch=patch, steer=steer)
    assert max(worst(both, hooked(bridge("gpt2"), IDS, hooks)).values()) < 1e-4
    assert worst(both, made)["logits"] > 0.01


@torch.no_grad()
def test_the_lens_reads_a_stream_as_the_last_layer_is_read(graphs):
    from onnx.reference import ReferenceEvaluator

    streams = torch.randn(4, WIDTH)
    probabilities, ids = ReferenceEvaluator(graphs["lens"]).run(None, {"streams": streams.numpy()})
    model = tiny("gpt2")
    expected = model.lm_head(model.transformer.ln_f(streams)).softmax(-1).topk(5)
    assert (ids == expected.indices.numpy()).all()
    assert np.abs(probabilities - expected.values.numpy()).max() < 1e-5


def test_without_its_weights_a_graph_is_small_and_says_where_they_are_but_not_where_it_was_made(graphs):
    names = [tensor.name for tensor in graphs["graph"].graph.initializer if tensor.name.startswith("model.")]
    made = playground.without_weights(graphs["graph"], {name: [start, 7] for start, name in enumerate(names)})
    assert len(made) < 200_000
    assert ROOT.as_posix().encode() not in made
    import onnx

    (kept,) = (tensor for tensor in onnx.load_from_string(made).graph.initializer if tensor.name == names[3])
    about = {each.key: each.value for each in kept.external_data}
    assert about == {"location": "weights", "offset": "12", "length": "28"}


def unpacked(folder, name):
    """The bytes that a script of the page holds."""
    start, _, text = (folder / f"{name}.js").read_text(encoding="ascii").partition('="')
    assert start == f'(window.packed??={{}})["{name}"]'
    return gzip.decompress(base64.b64decode(text.removesuffix('"')))


def test_what_was_packed_can_be_unpacked_and_is_the_same_every_time(tmp_path):
    content = bytes(range(256)) * 3
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        playground.pack(tmp_path / folder, "some", content)
    assert unpacked(tmp_path / "one", "some") == content
    assert (tmp_path / "one/some.js").read_bytes() == (tmp_path / "other/some.js").read_bytes()


def drawn(plan, counts):
    """The twin's weights as the page draws them: {name: array}."""
    generator, made = np.random.RandomState(0), {}
    for name, value in plan["constants"].items():
        made[name] = np.full(counts[name], value)
    for name, count, deviation in plan["draws"]:
        bits = generator.randint(0, 2**32, size=count, dtype=np.uint32)
        if name is not None:
            one, two = ((bits & 0xFFFFFF) / 0x1000000).reshape(-1, 2, 8).swapaxes(0, 1)
            radius, angle = np.sqrt(-2 * np.log(1 - one)) * deviation, 2 * np.pi * two
            made[name] = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    return made


def test_the_twin_can_be_drawn_from_its_seed_without_pytorch():
    twin, _ = ih.load_model("storybook", device="cpu", untrained=True)
    weights = twin.state_dict(prefix="model.")
    del weights["model.transformer.wte.weight"]  # the same numbers as model.lm_head.weight
    made = drawn(playground.twin_plan(weights), {name: tensor.numel() for name, tensor in weights.items()})
    assert made.keys() == weights.keys()
    assert max(np.abs(made[name] - weights[name].flatten().numpy()).max() for name in made) < 1e-6


@pytest.mark.parametrize(
    ("programs", "version", "said"),
    [
        ({"npm"}, "", "There is no Node here. It needs Node 20 or newer"),
        ({"node"}, "", "There is no npm here. It needs Node 20 or newer"),
        ({"node", "npm"}, "v18.19.0\n", "Node here is v18.19.0. It needs Node 20 or newer"),
    ],
)
def test_without_node_a_sentence_says_what_is_missing(monkeypatch, programs, version, said):
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    monkeypatch.setattr(subprocess, "run", lambda *given, **options: subprocess.CompletedProcess(given, 0, version))
    assert playground.why_not().startswith(said)


def test_when_npm_cannot_fetch_a_sentence_says_so_and_the_page_is_not_built(monkeypatch, tmp_path):
    def run(command, **options):
        fails = command[1] == "ci"
        return subprocess.CompletedProcess(command, int(fails), "v22.1.0\n", "npm error code ENOTFOUND\nmore" * fails)

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(playground, "SOURCE", tmp_path)
    monkeypatch.setattr("sys.argv", ["playground.py"])
    with pytest.raises(SystemExit, match=r"^The playground cannot be built. npm cannot install .+ ENOTFOUND\)"):
        playground.main()


def test_of_a_notebook_the_statements_run_that_a_name_needs():
    source = """
import math, os
sizes = train_for_an_hour()
for i, name in enumerate("ab"):
    last = name
def area(r):
    return scale * math.pi * r**2
scale = 2
sizes = {}
sizes["one"] = area(1)
claim("x", sizes)
for name in sizes:
    sizes[name] = [each + 1 for each in [sizes[name]]]
scale = 3
"""
    chosen = notebook_values.leading_to(["sizes"], ast.parse(source).body)
    first_lines = [ast.unparse(statement).partition("\n")[0] for statement in chosen]
    assert first_lines == [
        "import math, os", "def area(r):", "scale = 2", "sizes = {}", "sizes['one'] = area(1)", "for name in sizes:",
    ]  # fmt: skip


def test_what_draws_before_from_the_same_generator_runs_too():
    source = "seeded = torch.Generator()\na = torch.rand(2, generator=seeded)\nb = torch.rand(2, generator=seeded)"
    assert len(notebook_values.leading_to(["b"], ast.parse(source).body)) == 3


@pytest.fixture(scope="module")
def page(playground_folder):
    """The folder of the page."""
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    if playground_folder is None:
        pytest.skip(playground.why_not())
    return playground_folder


@pytest.fixture(scope="module")
def tab(page, tmp_path_factory):
    """The page in a browser, ready."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open((page / "index.html").as_uri())
        assert opened.run("playground.ready")
        yield opened


@pytest.fixture(scope="module")
def course(page):
    return json.loads(unpacked(page, "course"))


@cache
def full(untrained=False):
    """(bridge, tokenizer) of storybook or of its twin."""
    return ih.load_bridge("storybook", device="cpu", untrained=untrained)


def shown(tab, **state):
    """What the page shows in a state: its ids, and {output: array}, None where there is no token."""
    made = tab.run(f"playground.run({json.dumps(urlencode(state))})")
    arrays = {name: np.frombuffer(base64.b64decode(made[name]), "<f4") for name in OUTPUTS if made["ids"]}
    return made["ids"], arrays or None


def difference(arrays, expected):
    """The largest difference between what the page shows and what it should: {output: number}."""
    return worst({name: array.reshape(expected[name].shape) for name, array in arrays.items()}, expected)


def table(title, rows):
    print(f"\n{title}\n{pd.DataFrame(rows).T.to_string(float_format='{:.1e}'.format)}")


PASSAGE = "The old woman took the lantern and went down to the harbour, where the boats were waiting for the tide. "
TEXTS = {
    "a sentence": "Once upon a time there was a little girl who lived with her grandmother",
    "empty": "",
    "one letter": "a",
    "one space": " ",
    "spaces": "     ",
    "a newline": "\n",
    "tabs and newlines": "one\ttwo\n\nthree\r\n  four\n\n\n",
    "spaces at both ends": "  in the middle   ",
    "emoji": "The dog 🐶 met a cat 🐈‍⬛ and a family 👨‍👩‍👧‍👦 👍🏽 🇨🇭",
    "Greek": "Ἐν ἀρχῇ ἦν ὁ λόγος, και ο λόγος",
    "Cyrillic": "Все счастливые семьи похожи друг на друга, ёж",
    "Chinese": "從前有一個小女孩。她住在森林裡",
    "Arabic": "كان يا ما كان في قديم الزمان، ١٢٣",
    "Hindi": "एक समय की बात है",
    "combining accents": "cafe\u0301 n\u0303 A\u030a e\u0323\u0302 é",
    "a joiner of no width": "a\u200db\u200cc\ufeffd\u00a0e\u00adf",
    "ligatures and wide letters": "ﬁne ﬂow Ｗｉｄｅ ½ № ™",
    "URLs": "See https://example.org/a_b?c=d&e=%20f#g and me@example.org.",
    "digits": "3.14159, 1,000,000 and 007 in 1984; 2²",
    "quotes": "\"It's 'so',\" she said — “isn’t it?” «oui» `code`",
    "capitals": "THE OLD MAN WENT TO THE SEA. McDonald iPhone",
    "like HTML": "<b>bold</b> &amp; <script>alert(1)</script> <!-- no -->",
    "the special token": "The end.<|endoftext|>Once upon a time<|endoftext|>",
    "nearly the special token": "<|endoftext| > < |endoftext|>",
    "contractions": "I'll we've they're he'd it's can't I'M DON'T",
    "signs": "!!! ??? ... --- *** ((( ))) @#$%^&*+=~|\\/",
    "a long word": "Donaudampfschifffahrtsgesellschaftskapitän" * 2,
    "a control character": "a\x00b\x07c\x7fd",
    "a repeated passage": PASSAGE * 2,
    "128 tokens": 128,
    "129 tokens": 129,
    "500 tokens": 500,
}


def text_of(text):
    """A text of as many tokens as a number says, or the text itself."""
    if isinstance(text, str):
        return text
    tokenizer = full()[1]
    ids = tokenizer(" ".join(ih.book_excerpts()["text"][:8]))["input_ids"]
    made = tokenizer.decode(ids[:text])
    assert len(tokenizer(made)["input_ids"]) == text
    return made


@deep
def test_of_thirty_texts_the_page_shows_what_transformers_says(tab):
    rows = {}
    for name, text in TEXTS.items():
        ids, arrays = shown(tab, text=text_of(text))
        bridge, tokenizer = full()
        expected = tokenizer(text_of(text), add_special_tokens=False)["input_ids"][-128:]
        assert ids == expected, name
        if ids:
            rows[name] = {"tokens": len(ids), **difference(arrays, hooked(bridge, ids))}
    table("storybook in the browser and in transformers", rows)
    assert len(rows) >= 30
    assert all(row[output] < 1e-3 for row in rows.values() for output in OUTPUTS)


@deep
def test_so_it_does_for_the_twin_whose_weights_it_draws(tab):
    rows = {}
    for name in ("a sentence", "emoji", "a repeated passage", "128 tokens"):
        ids, arrays = shown(tab, text=text_of(TEXTS[name]), model="twin")
        rows[name] = difference(arrays, hooked(full(untrained=True)[0], ids))
    table("the twin in the browser and in transformers", rows)
    assert all(row[output] < 1e-3 for row in rows.values() for output in OUTPUTS)


@cache
def means(untrained):
    """Mean z of all heads, and the means of what attention and MLP of each layer write, with hooks of our own."""
    bridge, tokenizer = full(untrained)
    batches = ih.token_batches(tokenizer, ih.passages()[16:48], context=128, cut=True)
    sums, count = {}, sum(batch.lengths.sum() for batch in batches)

    def add(name, batch, value, hook):
        sums[name] = sums.get(name, 0) + value[batch.mask].sum(0)

    names = [f"blocks.{layer}.hook_{kind}_out" for layer in range(6) for kind in ("attn", "mlp")]
    for batch in batches:
        with torch.no_grad(), bridge.hooks(fwd_hooks=[(name, partial(add, name, batch)) for name in names]):
            bridge(batch.tokens, attention_mask=batch.mask.long())
    return interventions.mean_z(bridge, batches), {name: value / count for name, value in sums.items()}


def hooks_of(state, course):
    """Hooks that change the bridge as a state of the page changes its model."""
    untrained = state.get("model") == "twin"
    bridge, tokenizer = full(untrained)
    z, writes = means(untrained)
    zero = state.get("by") == "zero"
    hooks, length = [], len(tokenizer(state["text"])["input_ids"])
    for part in filter(None, state.get("off", "").split(",")):
        if part[0] == "L":
            hooks += interventions.patch_heads(bridge, [(int(part[1]), int(part[3]))], 0.0 if zero else z)
        else:
            name = f"blocks.{part[-1]}.hook_{part[:-1]}_out"
            hooks += replaced(name, writes[name] * (not zero))
    source = interventions.residual_streams(bridge, tokenizer(state["other"], return_tensors="pt")["input_ids"])[:, 0]
    for cell in filter(None, state.get("cells", "").split(",")):
        depth, position = map(int, cell.split("."))
        if position < min(length, source.shape[1]):
            hooks += interventions.patch_stream(bridge, depth, source[None, depth, [position]], [position])
    if "steer" in state:
        name = "twin" if untrained else "storybook"
        direction = torch.tensor(course["models"][name]["directions"][state["steer"]])
        hooks += interventions.add_to_stream(bridge, course["steer_depth"], direction * float(state["dose"]))
    return hooks


CELLS = ",".join(f"{depth}.{position}" for depth in range(7) for position in range(3, 9))
CHANGED = [
    {"off": "L4H3"},
    {"off": "L4H3,L4H4,L5H1,L5H5,L5H7"},
    {"off": "L0H0,L0H3,L4H7", "by": "zero"},
    {"off": "attn2"},
    {"off": "mlp0", "by": "zero"},
    {"off": "attn2,mlp0,attn5,mlp5,L3H1"},
    {"off": "attn3,L3H1", "by": "zero"},
    {"cells": "4.5"},
    {"cells": "0.1,2.3,6.12"},
    {"cells": CELLS},
    {"other": "Too short", "cells": "3.0,3.1,5.7,5.20"},  # two of the cells are not there
    {"other": PASSAGE * 2, "cells": "1.4,5.10,5.11"},
    {"steer": "question", "dose": 2},
    {"steer": "past tense", "dose": -1.5},
    {"steer": "sea", "dose": 4},
    {"off": "L4H3,mlp2", "cells": "4.2,4.6,2.1", "steer": "first person", "dose": 1},
    {"off": "attn4,L5H5", "by": "zero", "cells": CELLS, "steer": "glad", "dose": -4},
    {"model": "twin", "off": "L4H3,attn1", "cells": "3.4,6.2", "steer": "question", "dose": 3},
    {"model": "twin", "off": "mlp3,L0H0", "by": "zero"},
]


@deep
def test_what_is_changed_in_the_page_changes_what_hooks_of_the_bridge_change(tab, course):
    rows = {}
    for changed in CHANGED:
        state = {"text": course["pair"][0], "other": course["pair"][1], **changed}
        ids, arrays = shown(tab, **state)
        bridge, _ = full(state.get("model") == "twin")
        expected = hooked(bridge, ids, hooks_of(state, course))
        name = " ".join(map(str, changed.values())).replace(CELLS, "42 cells")
        rows[name[:60]] = difference(arrays, expected) | {"effect": worst(expected, hooked(bridge, ids))["logits"]}
    table("changes in the browser and in TransformerLens", rows)
    assert all(row[output] < 1e-3 for row in rows.values() for output in OUTPUTS)
    assert all(row["effect"] > 0.01 for row in rows.values())


@deep
def test_what_the_page_says_of_heads_and_directions_is_what_the_notebooks_print(course):
    storybook = course["models"]["storybook"]

    def printed(stem, cell):
        cells = {each.id: each for each in nbformat.read(ROOT / f"notebooks/{stem}.ipynb", 4).cells}
        return "".join(each.get("text") or each["data"].get("text/plain", "") for each in cells[cell].outputs)

    best = re.findall(r"^(\w+) +(L\dH\d) +(0\.\d+)", printed("02_head_specialization", "best-table"), re.M)
    for name, head, score in best:
        assert f"{storybook['scores'][name][int(head[1])][int(head[3])]:.3f}" == score
    assert [name for name, _, _ in best] == list(attention.TARGETS)
    rows = re.findall(r"^(\d(?: +\d)+) ", printed("02_head_specialization", "depth-table"), re.M)
    assert len(rows) >= 6
    for row in rows[:6]:
        layer, *counts = map(int, row.split())
        assert counts == [storybook["classes"][layer].count(kind) for kind in attention.KINDS][: len(counts)]
    lengths = ast.literal_eval(printed("09_probes", "steer-tokens"))
    assert {name: round(float(np.linalg.norm(storybook["directions"][name])), 2) for name in lengths} == lengths
    assert course["groups"].keys() == lengths.keys()
    twin = course["models"]["twin"]
    assert {kind for layer in twin["classes"] for kind in layer} == {"diffuse"}
    assert max(map(np.linalg.norm, twin["directions"].values())) < 1


@deep
def test_the_page_answers_within_three_seconds_and_keystrokes_within_150_ms(tab, page):
    tab.call("Network.disable")  # it would report every byte of the weights to us
    opened = []
    for _ in range(3):
        tab.open("about:blank")
        tab.open((page / "index.html").as_uri())
        opened.append(tab.run("playground.ready.then(() => performance.now() / 1000)"))
    tab.call("Network.enable")
    _, tokenizer = full()
    texts = [tokenizer.decode(tokenizer(text)["input_ids"][:64]) for text in ih.passages()]
    typed = [text for text in texts if len(tokenizer(text)["input_ids"]) == 64][:12]
    strokes = [tab.run(f"playground.time({json.dumps(urlencode({'text': text}))})") for text in typed]
    print(f"\nopened in {', '.join(f'{each:.2f}' for each in opened)} s")
    print(f"64 tokens in {', '.join(f'{each * 1000:.0f}' for each in strokes)} ms")
    assert len(typed) == 12
    assert min(opened) < 3
    assert min(strokes[1:]) < 0.15


@deep
def test_the_page_is_small_asks_nobody_and_complains_of_nothing(tab, page):
    sizes = {path.name: path.stat().st_size for path in sorted(page.rglob("*")) if path.is_file()}
    size = sum(sizes.values())
    print(f"\n{size / 1e6:.1f} MB: {sizes}")
    assert size < 30e6
    tab.open((page / "index.html").as_uri())
    assert tab.run("playground.ready")
    asked = {each["request"]["url"] for each in tab.after("Network.requestWillBeSent")}
    assert not [url for url in asked if not url.startswith((page.as_uri(), "data:", "blob:"))]
    assert not tab.after("Runtime.exceptionThrown")
    assert not [each for each in tab.after("Runtime.consoleAPICalled") if each["type"] in ("error", "assert")]
    assert not [each for each in tab.after("Log.entryAdded") if each["entry"]["level"] == "error"]


@deep
@pytest.mark.parametrize("script", ["check", "test"])
def test_the_page_passes_the_checks_of_its_types_and_its_own_tests(script):
    if reason := playground.why_not():
        pytest.skip(reason)
    command = [shutil.which("npm"), "run", "--silent", script]
    done = subprocess.run(command, cwd=playground.SOURCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# What the views say, read from the tables behind their drawings.
STATE = {
    "text": "Little Tom Brown lived in a small house. One day little Tom", "other": "x", "token": 9,
    "off": "L4H3,L5H5,mlp3", "steer": "question", "dose": 2,
}  # fmt: skip


def go(tab, **state):
    """Show a state, and wait until it is drawn."""
    tab.run("location.hash = ''; new Promise((resume) => setTimeout(resume, 300)).then(playground.settled)")
    tab.run(f"""new Promise((done) => {{ addEventListener('hashchange', () => setTimeout(done), {{once: true}});
        location.hash = {json.dumps(urlencode(state))} }}).then(playground.settled)""")


def rows(tab, where, number=0):
    """The rows of a table behind a drawing in `where`."""
    details = f"document.querySelectorAll('{where} details')[{number}]"
    tab.run(f"{details}.open = true; new Promise((resume) => setTimeout(resume, 100))")
    return tab.run(
        f"[...{details}.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    )


def close(said, number, digits):
    return abs(float(said.replace("−", "-").replace("+", "")) - number) <= 0.51 * 10**-digits


def percentage(said):
    return float(said.replace("\xa0", " ").removesuffix(" %").replace("< ", ""))


@pytest.fixture(scope="module")
def runs(course):
    """(ids, labels, run without the changes, run with them), by TransformerLens."""
    bridge, tokenizer = full()
    ids = tokenizer(STATE["text"])["input_ids"]
    return ids, ih.token_labels(tokenizer, ids), hooked(bridge, ids), hooked(bridge, ids, hooks_of(STATE, course))


def chances(run, place):
    return torch.from_numpy(run["logits"][place].copy()).softmax(-1)


def losses(run, ids):
    return -torch.from_numpy(run["logits"]).log_softmax(-1)[range(len(ids) - 1), ids[1:]]


@deep
def test_next_tokens_stand_with_their_chances_without_and_with_the_changes(tab, runs):
    ids, _, intact, run = runs
    go(tab, **STATE)
    best = chances(run, 9).topk(10)
    for row, token, now in zip(rows(tab, "#next"), best.indices, best.values, strict=True):
        assert row[0] == ih.token_labels(full()[1], [token])[0]
        assert abs(percentage(row[1]) - 100 * now) < 0.51
        assert abs(percentage(row[2]) - 100 * chances(intact, 9)[token]) < 0.51
    bars = tab.run("""[...document.querySelectorAll('#next .bar')].map((bar) =>
        ['--now', '--before'].map((name) => Number(getComputedStyle(bar).getPropertyValue(name))))""")
    for (now, before), token in zip(bars, best.indices, strict=True):
        assert abs(now - chances(run, 9)[token]) < 1e-3
        assert abs(before - chances(intact, 9)[token]) < 1e-3
    go(tab, text=STATE["text"], token=3)
    marked = tab.run(
        """[...document.querySelectorAll('#next li')]
            .filter((each) => each.querySelector('.came')).map((each) => each.textContent)"""
    )
    assert [each.split(" ")[0] for each in marked] == [
        ih.token_labels(full()[1], [ids[4]])[0]
    ]  # " in" came after "lived"


@deep
def test_the_view_of_breaking_says_what_it_does_to_loss_and_answer(tab, runs):
    ids, labels, intact, run = runs
    go(tab, view="break", **STATE)
    before, now = losses(intact, ids), losses(run, ids)
    for i, (row, b, n) in enumerate(zip(rows(tab, "#panel-break"), before, now, strict=True)):
        assert row[:2] == [str(i + 1), labels[i + 1]]
        assert close(row[2], b, 2)
        assert close(row[3], n, 2)
        assert abs(float(row[4].replace("−", "-")) - (n - b)) < 0.02
    bars = tab.run("""[...document.querySelectorAll('.rises span')].map((each) =>
        [...each.querySelectorAll('i')].map((bar) => Number(getComputedStyle(bar).getPropertyValue('--share'))))""")
    for (up, down), rise in zip(bars, now - before, strict=True):
        assert abs(4 * (up - down) - rise.clamp(-4, 4)) < 1e-3
    said = tab.run("document.querySelector('#panel-break .result').textContent").replace("\xa0", " ")
    answer = chances(intact, 9).argmax()
    p = [percentage(each) for each in re.findall(r"[\d.]+ %", said)]
    assert abs(p[0] - 100 * chances(intact, 9)[answer]) < 0.51
    assert abs(p[1] - 100 * chances(run, 9)[answer]) < 0.51


@deep
@pytest.mark.parametrize("model", ["storybook", "twin"])
def test_the_view_of_heads_says_what_a_head_reads(tab, course, model):
    state = STATE | {"view": "heads", "head": "L2H6", "model": model}
    go(tab, **state)
    bridge, tokenizer = full(model == "twin")
    ids = tokenizer(STATE["text"])["input_ids"]
    patterns, labels = hooked(bridge, ids, hooks_of(state, course))["patterns"], ih.token_labels(tokenizer, ids)
    row = patterns[2, 6, 9, :10]
    for place, label, share in rows(tab, "#panel-heads"):
        assert label == labels[int(place)]
        assert close(share, row[int(place)], 3)
    kinds = [kind.replace("_", " ") for layer in course["models"][model]["classes"] for kind in layer]
    table = rows(tab, "#panel-heads", 1)
    assert [each[1] for each in table] == kinds
    assert [each[2] for each in table] == [
        f"{labels[read.argmax()]} {read.max():.2f}" for read in patterns[:, :, 9, :10].reshape(48, -1)
    ]


@deep
def test_a_cell_of_the_matrix_is_read_out_and_lines_go_both_ways(tab):
    go(tab, view="heads", head="L4H3", text="Mr Quandle Wood lived by the sea. One day Mr Quandle")
    tab.run("document.querySelector('canvas.pattern').focus()")
    tab.press("ArrowRight")
    assert tab.run("document.querySelector('.spoken').textContent").startswith("le reads 0.97 from ·Wood")
    place = tab.run("[...document.querySelectorAll('.chips > button')].map((each) => each.textContent)").index("·Wood")
    tab.run("document.querySelectorAll('[name=lines-show]')[1].click()")
    tab.run(f"document.querySelectorAll('.chips > button')[{place}].focus()")
    said = tab.run("document.querySelector('.readings').textContent")
    assert "“·Wood” is read by L4H3 at " in said
    assert "“le” 0.97" in said


@deep
@pytest.mark.parametrize("name", ["question", "random:question"])
def test_steering_says_the_share_of_the_counted_words(tab, course, runs, name):
    group = course["groups"]["question"]
    bridge, tokenizer = full()
    state = {"text": STATE["text"], "other": "", "dose": 2, "view": "steer", "steer": name}
    go(tab, **state)
    said = tab.run("document.querySelector('#panel-steer .result').textContent").replace("\xa0", " ")
    ids = tokenizer(STATE["text"])["input_ids"]
    intact = chances(hooked(bridge, ids), -1)
    share = lambda p: 100 * (p[group["counted"]].sum() / p[group["among"]].sum()).item()  # noqa: E731
    said = [percentage(each) for each in re.findall(r"(?:< )?[\d.]+ %", said)]
    assert abs(said[0] - share(intact)) < 0.51
    if name == "question":
        state |= {"other": "x"}
        assert abs(said[1] - share(chances(hooked(bridge, ids, hooks_of(state, course)), -1))) < 0.51
        assert said[1] > 1.2 * said[0]
    else:  # the streams are moved by a vector of the same length, the same every time
        made = [tab.run(f"playground.run({json.dumps(urlencode(state | {'dose': dose}))})") for dose in (0, 2)]
        without, moved = (
            np.frombuffer(base64.b64decode(each["streams"]), "<f4").reshape(7, len(ids), -1) for each in made
        )
        direction = np.array(course["models"]["storybook"]["directions"]["question"])
        drawn = torch.randn(len(direction), generator=torch.Generator().manual_seed(0)).numpy()
        wanted = 2 * drawn * np.linalg.norm(direction) / np.linalg.norm(drawn)
        assert np.abs((moved - without)[course["steer_depth"]] - wanted).max() < 1e-3


@deep
def test_undo_takes_back_one_change_and_undo_all_all(tab):
    go(tab, off="L4H3,L4H4", cells="4.2", steer="sea", map=1)
    tab.run("document.querySelector('#changes li button').click(); playground.settled()")
    assert "off=L4H4&" in tab.run("location.hash")
    tab.run("document.querySelector('#changes > button').click(); playground.settled()")
    assert tab.run("location.hash") in ("", "#")


@deep
def test_clicks_in_haste_write_as_many_tokens_as_clicks_with_patience(tab):
    texts = []
    for wait in ("null", "await playground.settled()"):
        go(tab, text="Once upon a time")
        tab.run(f"""(async () => {{ const one = document.querySelector('.writing button');
            for (let i = 0; i < 5; i++) {{ one.click(); {wait} }} }})()""")
        tab.run("new Promise((resume) => setTimeout(resume, 1500)).then(playground.settled)")
        texts.append(tab.run("document.getElementById('text').value"))
    assert texts[0] == texts[1]


@deep
def test_writing_on_stops_when_the_reader_types_or_opens_something(tab):
    go(tab, text="Once upon a time")
    tab.run("document.querySelectorAll('.writing button')[1].click()")
    tab.run("new Promise((resume) => setTimeout(resume, 400))")
    go(tab, text="The cook")
    tab.run("new Promise((resume) => setTimeout(resume, 600)).then(playground.settled)")
    assert tab.run("document.getElementById('text').value") == "The cook"
    assert tab.run("document.querySelectorAll('.writing button')[1].textContent") == "Write on"


def heat(tab, temperature):
    tab.run(f"""(() => {{ const slider = document.getElementById('temperature');
        slider.value = {temperature}; slider.dispatchEvent(new Event('input')) }})()""")


@deep
def test_at_temperature_2_the_model_does_not_write_what_is_likeliest(tab):
    texts = set()
    for _ in range(3):
        go(tab, text="Once upon a")
        heat(tab, 2)
        tab.run("document.querySelector('.writing button').click()")
        tab.run("new Promise((resume) => setTimeout(resume, 200)).then(playground.settled)")
        texts.add(tab.run("document.getElementById('text').value"))
    assert len(texts) > 1
    heat(tab, 0)


@deep
@torch.no_grad()
def test_the_lens_marks_what_has_settled_and_what_the_changes_move(tab, runs):
    _ids, _, intact, run = runs
    bridge, tokenizer = full()
    go(tab, view="depth", **STATE)
    assert tab.wait("document.querySelector('#panel-depth .moved')")
    read = lambda run: bridge.unembed(bridge.ln_final(torch.from_numpy(run["streams"]))).softmax(-1)  # noqa: E731
    (now, tokens), (_, before) = (read(each).max(-1) for each in (run, intact))
    cells = tab.run("""[...document.querySelectorAll('#panel-depth .grid tbody tr')].reverse().map((row) =>
        [...row.querySelectorAll('button')].map((each) => [each.textContent, each.style.getPropertyValue('--share'),
            each.classList.contains('settled'), each.classList.contains('moved')]))""")
    for depth, row in enumerate(cells):
        for place, (label, share, settled, moved) in enumerate(row):
            assert label == ih.token_labels(tokenizer, [tokens[depth, place]])[0]
            assert abs(float(share) - now[depth, place]) < 1e-3
            assert settled == (tokens[depth, place] == tokens[-1, place]).item()
            assert moved == (tokens[depth, place] != before[depth, place]).item()


@deep
def test_the_button_for_induction_heads_takes_those_of_notebook_06(tab, course):
    go(tab, view="break", off="attn2")
    tab.run("document.querySelector('#panel-break .controls button').click(); playground.settled()")
    scores = course["models"]["storybook"]["scores"]["induction"]
    named = [f"L{layer}H{head}" for layer, row in enumerate(scores) for head, score in enumerate(row) if score > 0.25]
    assert f"off={','.join(named)}" in tab.run("decodeURIComponent(location.hash)")
    assert len(named) == 5


@deep
def test_both_samples_get_the_same_chances_and_the_first_is_the_model_alone(tab, course):
    text = "The old man said that"
    bridge, tokenizer = full()
    ids = tokenizer(text)["input_ids"]
    chances = [0.3, 0.9, 0.1, 0.6, 0.8, 0.2, 0.4]
    tab.run(
        f"""(() => {{ const chances = {chances}; window.chanced = Math.random;
            let i = 0; Math.random = () => chances[i++ % 7] }})()"""
    )
    go(tab, view="steer", steer="question", dose=4, text=text)
    write = (
        "[...document.querySelectorAll('#panel-steer button')].find((each) => each.textContent.startsWith('Let both'))"
    )
    tab.run(f"{write}.click()")
    assert tab.wait(f"!{write}.disabled && document.querySelectorAll('.samples span')[1].textContent")
    tab.run("Math.random = window.chanced")
    said = tab.run("[...document.querySelectorAll('.samples span')].map((each) => each.textContent)")
    for text_, hooks in zip(said, ([], hooks_of({"text": text, "other": "x", "steer": "question", "dose": 4}, course))):
        made = list(ids)
        for i in range(30):
            p = (torch.from_numpy(hooked(bridge, made, hooks)["logits"][-1]) / 0.8).softmax(-1)
            made.append((p.cumsum(0) > chances[i % 7]).nonzero()[0].item())
        assert text_ == tokenizer.decode(made[len(ids) :])


@deep
def test_a_cell_is_patched_by_a_click_and_undone_by_another(tab):
    go(tab, view="patch", text="Little Tom Brown went", other="Little Tim")
    cell = "document.querySelectorAll('#panel-patch .grid tbody tr')[3].querySelectorAll('button')"
    for place, expected in [(1, "cells=3.1"), (3, "cells=3.1"), (1, None)]:  # the second text has no place 3
        tab.run(f"{cell}[{place}].click(); playground.settled()")
        assert (expected in tab.run("location.hash")) if expected else ("cells" not in tab.run("location.hash"))
    go(tab, view="patch", cells="4.2,5.12")
    share = re.search(
        r"([−\d]+)\s%\sof the way", tab.run("document.querySelector('.way').textContent").replace("\xa0", " ")
    )[1]
    at = float(tab.run("document.querySelector('.track').style.getPropertyValue('--at')"))
    assert abs(at - (int(share.replace("−", "-")) / 100 + 0.5) / 2) < 0.006


@deep
def test_a_sweep_stops_with_its_view(tab):
    go(tab, view="patch", map=1, text="One " * 60 + "one", other="Two " * 60 + "one")
    tab.run("document.getElementById('tab-next').click(); playground.settled()")
    count = """[...document.querySelectorAll('#panel-patch .grid tbody button:not(.closed)')]
        .filter((each) => each.textContent).length"""
    before = tab.run(f"new Promise((resume) => setTimeout(resume, 300)).then(() => {count})")
    assert tab.run(f"new Promise((resume) => setTimeout(resume, 700)).then(() => {count})") == before
