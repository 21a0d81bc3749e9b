"""The playground as its readers use it: by pointer and keyboard, on a phone, in the dark, story by story."""

import json
from urllib.parse import parse_qs, urlencode

import pytest
import torch
from browser import CHROMIUM, axe_core, browser

import interp_helpers as ih
from interp_helpers import interventions

pytest.importorskip("onnxscript", reason="ONNX has no packages for Python 3.10 here")
import playground

pytestmark = pytest.mark.deep
VIEWS = ["next", "heads", "depth", "break", "patch", "steer"]
STORIES = json.loads((playground.SOURCE / "src/stories.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tab(tmp_path_factory, playground_folder):
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    if playground_folder is None:
        pytest.skip(playground.why_not())
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Network.disable")  # it would report every byte of 22 MB
        yield opened


@pytest.fixture
def page(playground_folder, tab):
    """A wide, light tab, and the address of the page."""
    tab.width(1280)
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    tab.address = (playground_folder / "index.html").as_uri()
    return tab


def shown(page, hash_=""):
    """Open the page anew with a hash, and wait for its first answer."""
    page.open("about:blank")
    page.open(f"{page.address}#{hash_}")
    assert page.run("playground.ready.then(() => playground.settled()).then(() => true)")


def choose(page, selector):
    page.run(f"document.querySelector({json.dumps(selector)}).click()")
    page.run("playground.settled()")


def text_of(page, selector):
    return page.run(f"document.querySelector({json.dumps(selector)}).textContent")


def type_text(page, text):
    page.run(f"(() => {{ const t = document.getElementById('text'); t.value = {json.dumps(text)};"
             "t.dispatchEvent(new Event('input')) })()")  # fmt: skip
    page.run("playground.settled()")


def test_the_page_shows_the_likeliest_tokens_at_every_keystroke(page, storybook):
    model, tokenizer = storybook
    shown(page)
    for text in ("Once upon a", "Once upon a time there was a"):
        type_text(page, text)
        ids = ih.encode(tokenizer, text)
        p = model(ids).logits[0, -1].softmax(-1)
        best = ih.token_labels(tokenizer, p.topk(10).indices)
        bars = page.run("[...document.querySelectorAll('#next .word')].map((each) => each.textContent)")
        assert bars == best
        chips = page.run("[...document.querySelectorAll('.chips > button')].map((each) => each.textContent)")
        assert chips == ih.token_labels(tokenizer, ids[0])
        losses = interventions.token_losses(model, ids)[0]
        assert f"Mean loss {losses.mean():.2f} nats" in text_of(page, "#tokens")


def test_greedy_text_is_that_of_the_library(page, storybook):
    model, tokenizer = storybook
    shown(page, "text=Once upon a time")
    for _ in range(8):
        choose(page, ".writing button")
    ids = ih.encode(tokenizer, "Once upon a time")
    written = model.generate(ids, max_new_tokens=8, do_sample=False)
    assert page.run("document.getElementById('text').value") == tokenizer.decode(written[0])


def rows_of(page, panel):
    """The cells of the first table behind a panel's drawings, opened: a list of rows of text."""
    page.run(f"document.querySelector('#panel-{panel} details').open = true")
    page.run("new Promise((resume) => setTimeout(resume, 100))")
    cells = "[...row.cells].map((cell) => cell.textContent.replaceAll('\\u00a0', ' '))"
    return page.run(f"[...document.querySelectorAll('#panel-{panel} details tbody tr')].map((row) => {cells})")


@torch.no_grad()
def test_the_map_of_patches_is_that_of_sweep_stream(page, storybook):
    bridge, tokenizer = ih.load_bridge("storybook", device="cpu")
    clean, corrupted, *answers = playground.PAIR
    ids, others = ih.encode_pair(tokenizer, clean, corrupted)
    answer, rival = (ih.encode(tokenizer, each)[0, 0].item() for each in answers)

    def metric(bridge, ids=ids):
        return interventions.logit_difference(bridge, ids, answer, rival)

    start, end = metric(bridge), metric(bridge, others)
    expected = interventions.sweep_stream(bridge, metric, interventions.residual_streams(bridge, others)[:-1])
    expected = (expected.reshape(6, -1) - start) / (end - start)
    shown(page, urlencode({"view": "patch", "map": 1, "text": clean, "other": corrupted}))
    assert page.wait("document.querySelector('.mapping').textContent.includes('All 91 cells')")
    made = [[float(number.replace("−", "-")) for number in row[3:]] for row in rows_of(page, "patch")]
    assert torch.tensor(made).T[:6].sub(expected).abs().max() < 1e-3
    assert expected.max() > 0.9


@torch.no_grad()
def test_the_lens_of_the_page_is_that_of_notebook_03(page, storybook):
    model, tokenizer = storybook
    text = "Once there was a king who had three"
    ids = ih.encode(tokenizer, text)
    streams = torch.cat(model(ids, output_hidden_states=True).hidden_states[:-1])
    first = model.lm_head(model.transformer.ln_f(streams)).softmax(-1).max(-1)
    shown(page, urlencode({"view": "depth", "text": text}))
    assert page.wait("document.querySelector('#panel-depth td button')?.textContent")
    rows = rows_of(page, "depth")
    for position, row in enumerate(rows):
        for depth, cell in enumerate(row[2:-1]):  # the last depth is tested as what comes next
            label, share = cell.removesuffix(" %").rsplit(" ", 1)
            assert label.strip(" <") == ih.token_labels(tokenizer, [first.indices[depth, position]])[0].strip(" <")
            assert abs(float(share) / 100 - first.values[depth, position]) < 0.006


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(page, theme):
    axe = axe_core()
    if axe is None:
        pytest.skip("needs npm, for axe-core")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    found = {}
    for view in VIEWS:
        shown(page, f"view={view}&off=L4H3&cells=4.2&steer=question&story=induction&step=2&other=Little Tom White")
        assert page.run("document.documentElement.dataset.theme") == theme
        page.run(axe)
        complaints = "violations.map((each) => [each.id, each.nodes.map((node) => node.html).slice(0, 3)])"
        found[view] = page.run(f"axe.run().then(({{violations}}) => {complaints})")
    assert found == {view: [] for view in VIEWS}


def test_light_and_dark_can_be_chosen_and_are_kept(page):
    shown(page)
    choose(page, "#tools button:first-child")
    shown(page, "view=heads")
    assert page.run("document.documentElement.dataset.theme") == "dark"
    choose(page, "#tools button:first-child")
    assert page.run("document.documentElement.dataset.theme") == "light"
    page.run("localStorage.clear()")


def test_nothing_is_wider_than_a_phone(page):
    page.width(375, 700)
    for view in VIEWS:
        shown(page, f"view={view}&off=L4H3,L4H4,L3H1,attn2,mlp3&story=answer&step=1")
        assert page.run("document.documentElement.scrollWidth") <= 375, view


def test_typing_moves_nothing(page):
    """What stands beside and above the tokens keeps its place while the text grows."""
    page.width(1280, 900)
    places = """['text', 'next', 'tokens', 'tabs', 'panels']
        .map((id) => Math.round(document.getElementById(id).getBoundingClientRect().top))"""
    for view in VIEWS:
        shown(page, f"view={view}&text=One")
        before = page.run(places)
        for text in ("One day", "One day a very little girl went", "One day a very little girl went " * 30):
            type_text(page, text)
            assert page.run(places) == before, (view, text[:40])


def test_the_address_holds_what_is_chosen(page):
    shown(page, "text=The cat sat&view=break")
    choose(page, "[data-part=L4H3]")
    choose(page, "#models input[value=twin]")
    choose(page, "#tab-heads")
    hash_ = page.run("location.hash")
    assert parse_qs(hash_[1:]) == {"text": ["The cat sat"], "view": ["heads"], "off": ["L4H3"], "model": ["twin"]}
    before = text_of(page, "#next")
    shown(page, hash_[1:])
    assert text_of(page, "#next") == before
    assert "L4H3 off" in text_of(page, "#changes")
    choose(page, "#changes > button")
    assert "Nothing is changed" in text_of(page, "#changes")


def test_every_control_can_be_reached_with_the_keyboard(page):
    """Tab goes through the page, arrows through its grids, and both lead to everything that can be pressed."""
    for view in VIEWS:
        shown(page, f"view={view}&off=L4H3&story=sink&step=2")
        page.run("document.body.focus()")
        page.run("window.seen = new Set()")
        for _ in range(60):
            page.press("Tab")
            if page.run("document.activeElement === document.body || seen.has(document.activeElement)"):
                break
            page.run("seen.add(document.activeElement)")
        left = page.run("""[...document.querySelectorAll('button, a[href], input, select, textarea, summary')]
            .filter((each) => each.checkVisibility() && !each.disabled && !seen.has(each))
            .filter((each) => !(each.dataset.walk !== undefined || each.type === 'radio' || each.role === 'tab'))
            .map((each) => each.outerHTML)""")
        assert left == [], view


def test_arrows_walk_through_tabs_tokens_and_parts(page):
    shown(page, "view=break")
    page.run("document.getElementById('tab-break').focus()")
    page.press("ArrowRight")
    page.run("playground.settled()")
    assert page.run("document.activeElement.id") == "tab-patch"
    assert "view=patch" in page.run("location.hash")
    page.press("ArrowLeft")
    page.run("document.querySelector('.parts [tabindex=\"0\"]').focus()")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", " "):
        page.press(key)
    page.run("playground.settled()")
    assert "off=L1H2" in page.run("location.hash")
    page.run("document.querySelector('.chips [tabindex=\"0\"]').focus()")
    page.press("Home")
    page.press("ArrowRight")
    page.press("Enter")
    page.run("playground.settled()")
    assert "token=1" in page.run("location.hash")


def test_every_story_can_be_walked_through(page):
    shown(page)
    assert page.run("document.querySelectorAll('.stories button').length") == len(STORIES) == 5
    for number, story in enumerate(STORIES):
        shown(page)
        choose(page, f".stories li:nth-child({number + 1}) button")
        for step in story["steps"]:
            assert text_of(page, "#story h2") == step["title"]
            assert text_of(page, "#story > p:not(.where)") == step["text"].replace("`", "")
            wanted = page.run(f"playground.state({json.dumps(step['state'])})")
            assert page.run("playground.state(location.hash)") == wanted
            if step is not story["steps"][-1]:
                choose(page, "#story .main")
        assert page.run("document.querySelector('#story a').pathname").endswith(f"/notebooks/{story['notebook']}.html")
        shown(page, f"story={story['id']}")
        assert text_of(page, "#story h2") == story["steps"][0]["title"]
        text = parse_qs(story["steps"][0]["state"])["text"][0]
        assert page.run("document.getElementById('text').value") == text


def test_a_map_that_is_stopped_and_goes_on_is_finished(page):
    shown(page, urlencode({"view": "patch", "text": "One " * 20, "other": "Two " * 20}))
    for _ in range(3):  # within the time of one run
        page.run("document.querySelector('.mapping button').click()")
    assert page.wait("document.querySelector('.mapping').textContent.includes('cells are patched')")
    assert page.run("document.querySelector('.mapping button').textContent") == "Hide the map"


def test_what_is_pressed_away_leaves_the_focus_somewhere(page):
    shown(page, "off=L4H3,L4H4&story=induction&step=1")
    for selector in ("#changes li button", "#changes li button", "#story .steps button:last-child"):
        page.run(f"document.querySelector('{selector}').focus()")
        choose(page, selector)
        assert page.run("document.activeElement !== document.body"), selector


def test_a_control_takes_as_many_other_heads_of_the_same_layers(page):
    shown(page, "view=break&off=L4H3,L4H4,L3H1,mlp0")
    for _ in range(4):
        choose(page, "#panel-break .controls button:last-child")
        off = parse_qs(page.run("location.hash")[1:])["off"][0].split(",")
        assert sorted(part[:2] for part in off) == ["L3", "L4", "L4", "ml"]
        assert not {"L4H3", "L4H4", "L3H1"} & set(off)
    shown(page, "view=break&off=L4H0,L4H1,L4H2,L4H3,L4H4")  # three others are not as many
    assert page.run("document.querySelector('#panel-break .controls button:last-child').disabled")


def test_an_address_with_an_unknown_direction_steers_nothing(page):
    for name in ("toString", "nonsense", "random:nonsense", ""):
        shown(page, f"view=steer&steer={name}")
        assert "Nothing is changed" in text_of(page, "#changes")


def test_a_link_leads_to_the_tokens_that_the_model_has_written(page):
    """At a high temperature the model writes tokens that its text alone would not give."""
    chips = "[...document.querySelectorAll('.chips > button')].map((each) => each.textContent)"
    shown(page, "text=Once upon a")
    page.run("""(() => { const heat = document.getElementById('temperature');
        heat.value = 2; heat.dispatchEvent(new Event('input')) })()""")
    for _ in range(25):
        page.run("document.querySelector('.writing button').click()")
    assert page.wait(f"{chips}.length >= 28")
    written = page.run(chips)
    address = page.run("playground.settled()")
    shown(page, address.partition("#")[2])
    assert page.run(chips) == written


def test_an_empty_text_gets_a_hint_and_loses_nothing(page):
    shown(page, "off=L4H3")
    type_text(page, "")
    for view in VIEWS:
        choose(page, f"#tab-{view}")
        page.run(f"""document.querySelectorAll('#panel-{view} :is(th, td, button)').forEach((each) =>
            each.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}})))""")
    assert page.after("Runtime.exceptionThrown") == []
    assert "Type a word" in text_of(page, "#reading")
    type_text(page, "a")
    assert "Type a word" not in text_of(page, "#reading")
    assert "L4H3 off" in text_of(page, "#changes")


def test_a_browser_without_webassembly_gets_a_sentence_and_pictures(page):
    page.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.WebAssembly")
    page.open("about:blank")
    page.open(page.address)
    assert page.wait("document.body.classList.contains('failed')")
    assert "no WebAssembly" in text_of(page, "#status")
    pictures = "[...document.querySelectorAll('#pictures img')]"
    assert page.run(f"{pictures}.length") == 7
    page.run(f"{pictures}.forEach((each) => each.loading = 'eager')")
    assert page.wait(f"{pictures}.every((each) => each.complete && each.naturalWidth > 0 && each.alt)")
