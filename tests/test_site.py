"""The site, built once and opened from its folder, as its readers do: without a server and without a network."""

import base64
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import build_site
import nbformat
import pandas as pd
import pytest
from browser import CHROMIUM, axe_core, browser
from covers import cards

import interp_helpers

deep = pytest.mark.deep
ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/me/mine"  # where the course lives in the second site
MODULES = [
    name for row in re.findall(r"(?m)^\| (`.+?`) \|", interp_helpers.__doc__) for name in re.findall(r"\w+", row)
]
STORIES = [story["id"] for story in json.loads(build_site.STORIES.read_text(encoding="utf-8"))]
KINDS = ["console", "request", "view", "alt", "link", "width", "head", "axe"]

# What a page holds. A view is drawn when CircuitsVis has put its heading there and something on every canvas.
FACTS = """({
  links: [...document.links].map((link) => link.href),
  ids: [...document.querySelectorAll("[id]")].map((element) => element.id),
  images: [...document.images].map((image) => [image.src, image.alt]),
  views: document.querySelectorAll("[data-view]").length,
  heads: [...document.querySelectorAll("th")].filter(
    (head) => !head.closest("[data-view]") && !(head.scope && head.textContent.trim())).map((head) => head.outerHTML),
})"""
DRAWN = """[...document.querySelectorAll("[data-view]")].every((view) => {
  const painted = (canvas) => canvas.width && canvas.height &&
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value);
  const all = [...view.querySelectorAll("canvas")];
  if (view.dataset.view.startsWith("attention-"))
    return view.textContent.includes("Head Selector") && all.length > 1 && all.every(painted);
  // Contexts need no script. A blind test shows all units and no button until its script has run.
  if (view.dataset.view.startsWith("contexts-")) return view.querySelector("b, strong, li") !== null;
  if (view.dataset.view.startsWith("blind-")) return view.querySelector("button") !== null;
  // Text is there before it is drawn, too, with its numbers as titles: what CircuitsVis draws has none.
  return view.id && view.textContent && !view.querySelector("span[title]");
})"""
STYLE = "<style>* {transition: none !important; animation: none !important}</style>"
STILL = f"document.head.insertAdjacentHTML('beforeend', '{STYLE}')"
UNFOLD = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
# A page has thousands of coloured pieces of code: axe gets one of each kind in each kind of box, and is done in time.
ONCE = """(() => {
  const seen = new Set();
  for (const piece of document.querySelectorAll(".highlight span, dt.sig span")) {
    if (!piece.isConnected) continue;
    const box = piece.closest(".highlight, dt").parentElement;
    const kind = [piece, piece.parentElement, box, box.parentElement].map((each) => each.className).join("/");
    seen.has(kind) ? piece.replaceWith(piece.textContent) : seen.add(kind);
  }
  document.normalize();
})()"""
# Preloading would be an error over file://.
AXE = """axe.run({
  runOnly: %s, resultTypes: ["violations"], preload: false,
}).then((found) => found.violations.flatMap((rule) => rule.nodes.map(
  (node) => [rule.id, node.html.slice(0, 150), node.any[0]?.message].join(" "))))"""


def built(folder, repository, playground):
    """The folder of a site that is made in `folder`. playground: the folder of that page, or None."""
    if find_spec("sphinx_book_theme") is None:
        pytest.skip("Sphinx and its theme are not installed")
    command = [sys.executable, ROOT / "dev/tools/build_site.py", "--repository", repository]
    command += ["--source", folder / "source", "--out", folder / "site"]
    command += ["--playground", playground] if playground else []
    made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory, playground_folder):
    """The folder of the site of a course that has no address."""
    return built(tmp_path_factory.mktemp("site"), "", playground_folder)


@pytest.fixture(scope="module")
def addressed(tmp_path_factory, playground_folder):
    """The folder of the site of a course that has one."""
    return built(tmp_path_factory.mktemp("addressed"), REPOSITORY, playground_folder)


@pytest.fixture(scope="module")
def axe():
    return axe_core()


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def visits(site, tab, axe):
    """{page: what a visit found}, for every page."""
    pages = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    return {path: visit(tab, path, axe) for path in pages}


def visit(tab, path, axe, seconds=60):
    """Everything that the tests ask of a page, from one visit."""
    tab.width(1280)
    tab.open(path.as_uri())
    tab.run("window.playground?.ready")
    tab.run(STILL)
    found = {"drawn": tab.wait(DRAWN, seconds), **tab.run(FACTS)}
    tab.run(UNFOLD)  # hints and solutions count too
    found["axe"] = []
    if axe:
        tab.run(axe + "; 0")
        tab.run(ONCE)
        for theme, rules in [("light", '["wcag2a", "wcag2aa"]'), ("dark", '["color-contrast"]')]:
            tab.run(f"document.documentElement.dataset.theme = document.documentElement.dataset.mode = '{theme}'")
            found["axe"] += [f"{theme} {each}" for each in tab.run(AXE % rules)]
    tab.width(375)
    tab.run(SETTLED)
    found["width"] = tab.run("document.scrollingElement.scrollWidth")
    called = [each for each in tab.after("Runtime.consoleAPICalled") if each["type"] in ("error", "assert")]
    logged = [each["entry"] for each in tab.after("Log.entryAdded") if each["entry"]["level"] == "error"]
    found["console"] = [str(each) for each in called + logged + tab.after("Runtime.exceptionThrown")]
    found["requests"] = [each["request"]["url"] for each in tab.after("Network.requestWillBeSent")]
    found["failed"] = [each["errorText"] for each in tab.after("Network.loadingFailed")]
    return found


def target(url):
    """(file, fragment) of a file's address."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)), unquote(parts.fragment)


def dead(url, visits, folder):
    """Whether a link leads nowhere: in the site, or to a repository when the course has none."""
    if url.startswith("file:"):
        file, fragment = target(url)
        if file == folder / build_site.PLAYGROUND and file.is_file():  # a fragment is what its reader has chosen
            return parse_qs(fragment).get("story", [None])[0] not in [None, *STORIES]
        inside = file.is_file() and folder in file.parents
        return not inside or bool(fragment and file in visits and fragment not in visits[file]["ids"])
    return "OWNER/REPOSITORY" in url or url.startswith("https://mybinder.org/")


def problems(visits, folder):
    """[(kind, page, what)] of what is wrong with pages in a folder."""
    found = []
    for path, page in visits.items():
        outside = [url for url in page["requests"] if not url.startswith((folder.as_uri() + "/", "data:", "blob:"))]
        wrong = {
            "console": page["console"],
            "request": outside + page["failed"],
            "view": [] if page["drawn"] else ["not drawn"],
            "alt": [source for source, alt in page["images"] if not alt.strip()],
            "link": sorted({url for url in page["links"] if dead(url, visits, folder)}),
            "width": [f"{page['width']} px"] if page["width"] > 375 else [],
            "head": page["heads"],
            "axe": page["axe"],
        }
        found += [(kind, path.name, what) for kind in KINDS for what in wrong[kind]]
    return found


def test_the_reference_has_every_module_in_the_order_of_the_packages_own_table():
    assert len(MODULES) > 15
    assert re.findall(r"automodule:: interp_helpers\.(\w+)", (ROOT / "docs/api.rst").read_text()) == MODULES


@deep
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_with_any_page(kind, visits, site, axe):
    if kind == "axe" and axe is None:
        pytest.skip("axe-core is neither in build/axe nor to be had from npm")
    wrong = [each for each in problems(visits, site) if each[0] == kind]
    assert not wrong, "\n".join(map(str, wrong[:40]))


@deep
def test_every_problem_is_seen(tmp_path, tab, axe):
    """On a page that has them all."""
    page = tmp_path / "broken.html"
    page.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Broken</title><script>console.error('no')</script>"
        "<script src=missing.js></script><div data-view=x>not drawn</div><img src=data:image/svg+xml,%3Csvg/%3E>"
        "<a href='#nowhere'>here</a><a href='other.html'>there</a><div style='width:500px'>wide</div>"
        "<table><tr><th>head</th></tr></table><p style='color:#aaa;background:#fff'>pale</p></html>",
        encoding="utf-8",
    )
    found = problems({page: visit(tab, page, axe, seconds=1)}, tmp_path)
    assert {kind for kind, _, _ in found} == set(KINDS) - ({"axe"} if axe is None else set())
    assert sum(kind == "link" for kind, _, _ in found) == 2
    assert axe is None or any("color-contrast" in what for _, _, what in found)


@deep
def test_every_notebook_every_module_and_the_views_are_there(visits, site):
    pages = {path.relative_to(site).as_posix(): found for path, found in visits.items()}
    assert {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")} < set(pages)
    assert pages["notebooks/02_head_specialization.html"]["views"] > 0
    assert (site / "notebooks/student/index.html").as_uri() in pages["index.html"]["links"]
    assert {f"module-interp_helpers.{name}" for name in MODULES} < set(pages["docs/api.html"]["ids"])
    assert "interp_helpers.load_model" not in pages["docs/api.html"]["ids"]  # each once, where it is defined


def addresses(page):
    """The addresses that a page links to."""
    return re.findall(r'<a\b[^>]* href="([^"]+)"', page.read_text(encoding="utf-8"))


@deep
def test_launch_buttons_open_the_edition_with_blank_exercises(addressed):
    for page in (addressed / "notebooks").glob("*.html"):
        name = f"notebooks/student/{page.stem}.ipynb"
        launched = [url for url in addresses(page) if "mybinder" in url or "colab" in url]
        assert {url.split("/")[2] for url in launched} == {"mybinder.org", "colab.research.google.com"}
        assert any(f"/me/mine/main?urlpath=lab/tree/{name}" in url for url in launched)
        assert REPOSITORY in addresses(page)


@deep
def test_links_to_the_repository_lead_to_files_of_the_course(addressed):
    start = f"{REPOSITORY}/"
    linked = [url for page in addressed.rglob("*.html") for url in addresses(page) if url.startswith(start)]
    paths = [re.fullmatch(r"(?:blob|tree)/main/([^#]+).*", url.removeprefix(start))[1] for url in linked]
    assert paths
    assert all((ROOT / path).exists() for path in paths)


@deep
def test_without_an_address_only_the_download_is_left(site):
    for page in (site / "notebooks").glob("*.html"):
        assert f"student/{page.stem}.ipynb" in addresses(page)
        assert "fa-rocket" not in page.read_text(encoding="utf-8")
    assert not [url for page in site.rglob("*.html") for url in addresses(page) if "/blob/main/" in url]


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("", "See conftest.py, [the model](storybook/README.md) and [the start](../index.md)."),
        (
            REPOSITORY,
            f"See [conftest.py]({REPOSITORY}/blob/main/conftest.py), [the model](storybook/README.md) and "
            "[the start](../index.md).",
        ),
    ],
)
def test_links_to_files_that_are_no_page_lead_to_the_repository_or_are_words(repository, said):
    text = "See [conftest.py](../conftest.py), [the model](storybook/README.md) and [the start](../README.md)."
    page, pages = PurePosixPath("docs/teaching.md"), {"docs/storybook/README.md"}
    assert build_site.relinked(text, page, pages, repository) == said


def test_links_in_notebooks_to_their_contents_lead_to_the_first_page():
    page = PurePosixPath("notebooks/01_baseline.ipynb")
    assert build_site.relinked("[Contents](README.md)", page, {}, "") == "[Contents](../index.md)"
    blank = build_site.relinked("[blank [1]](student/)", page, {}, "")
    assert blank == '<a href="student/index.html">blank [1]</a>'


@pytest.mark.parametrize(
    ("playground", "said"),
    [
        (True, 'See <a href="../playground/index.html#story=sink">the sink</a> and [more](../docs/playground.md).'),
        (False, "See [the sink](../docs/playground.md#sink) and [more](../docs/playground.md)."),
    ],
)
def test_a_link_to_a_story_leads_to_the_playground_where_there_is_one(playground, said):
    text = "See [the sink](../docs/playground.md#sink) and [more](../docs/playground.md)."
    page, pages = PurePosixPath("notebooks/01_baseline.ipynb"), {"docs/playground.md"}
    assert build_site.relinked(text, page, pages, REPOSITORY, playground) == said


def test_the_markers_become_the_way_to_the_stories_or_say_what_it_needs(tmp_path, monkeypatch):
    story = {"id": "sink", "title": "A & B", "question": "Why < here?", "minutes": 4}
    (tmp_path / "stories.json").write_text(json.dumps([story]), encoding="utf-8")
    monkeypatch.setattr(build_site, "STORIES", tmp_path / "stories.json")
    about, first = PurePosixPath("docs/playground.md"), PurePosixPath("index.md")
    made = build_site.with_playground("<!-- playground -->", about, True)
    assert '<a href="../playground/index.html">Open the playground</a>' in made
    assert '<a href="../playground/index.html#story=sink">A &amp; B</a>: Why &lt; here? <small>4 minutes' in made
    made = build_site.with_playground("<!-- stories -->", first, True)
    assert '<li><a href="playground/index.html#story=sink">A &amp; B</a></li>' in made
    assert "Node 20" in build_site.with_playground("<!-- playground -->", about, False)
    assert build_site.with_playground("a<!-- stories -->b", first, False) == "ab"


def test_a_table_says_which_cells_are_heads_and_which_columns_are_numbers():
    table = pd.DataFrame(
        {("all", "mean"): [1.5, -2.0], ("all", "name"): ["L0H1", "3"], ("books", "n"): [1000, None]},
        index=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")], names=["group", "row"]),
    )
    mended = build_site.mended(table.to_html())
    assert mended.replace(' class="number"', "").count("<th>") == 0
    assert re.findall(r'<th colspan="2"[^>]*>all', mended) == ['<th colspan="2" halign="left" scope="colgroup">all']
    assert '<th scope="col" class="number">mean</th>' in mended
    assert '<th scope="col">name</th>' in mended
    assert '<td class="number">-2.0</td>' in mended
    assert "<td>3</td>" in mended
    assert '<td class="number">NaN</td>' in mended
    assert re.search(r'<th rowspan="2" valign="top" scope="row">a</th>', mended)
    assert re.search(r"<th[^>]*></th>", mended) is None


def test_only_tables_of_pandas_and_of_markdown_are_changed():
    view = "<table><thead><tr><th></th></tr></thead><tbody></tbody></table>"
    assert build_site.TABLE.search(view) is None
    assert build_site.TABLE.search('<table class="table"><tr></tr></table>')


def notebook_with(*cells):
    made = nbformat.v4.new_notebook()
    first = "# 3 · Residual stream: who remembers?\n\n**Time** 75 minutes, and 135 for the exercises.\n"
    made.cells = [nbformat.v4.new_markdown_cell(first), *cells]
    return made


def figure(png, alt="", of_cell="", tags=()):
    """A cell with a figure, whose words stand at the output or at the cell."""
    metadata = {"image/png": {"alt": alt}} if alt else {}
    output = nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(png).decode()}, metadata=metadata)
    cell = nbformat.v4.new_code_cell("plot()", outputs=[output])
    cell.metadata |= {"tags": list(tags)} | ({"alt": of_cell} if of_cell else {})
    return cell


def test_a_card_holds_what_the_first_cell_says_and_the_figure_of_the_cell_tagged_cover(tmp_path):
    path = tmp_path / "03_residual_stream.ipynb"
    nbformat.write(notebook_with(figure(b"first", "a line"), figure(b"second", of_cell="a map", tags=["cover"])), path)
    (card,) = cards([path])
    assert (card.name, card.number, card.title, card.question) == (path.name, 3, "Residual stream", "Who remembers?")
    assert (card.minutes, card.exercise_minutes, card.picture, card.alt) == (75, 135, b"second", "a map")


def test_without_a_tag_the_first_figure_is_taken_and_without_a_figure_none(tmp_path):
    path = tmp_path / "03_residual_stream.ipynb"
    nbformat.write(notebook_with(figure(b"first", "a line"), figure(b"second")), path)
    assert [(card.picture, card.alt) for card in cards([path])] == [(b"first", "a line")]
    nbformat.write(notebook_with(), path)
    (card,) = cards([path])
    assert card.picture is None
    assert "<img" not in build_site.as_html(card)


def test_a_folded_solution_is_called_one_and_other_folded_code_is_not():
    solution = nbformat.v4.new_code_cell("### BEGIN SOLUTION\nx = 1\n### END SOLUTION")
    made = build_site.prepared(notebook_with(solution, figure(b"png", of_cell="a map")))
    assert made.cells[1].source == "x = 1"
    assert made.cells[1].metadata.mystnb.code_prompt_show == "One solution"
    assert made.cells[2].metadata.mystnb == {"image": {"alt": "a map"}}


def test_without_sphinx_one_line_says_what_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sphinx.cmd.build", None)
    with pytest.raises(SystemExit, match=r"^build_site: .+ is not installed\. The site needs Python 3\.11 or newer"):
        build_site.main()


@deep
def test_no_marker_of_the_editions_is_left(site):
    for path in (site / "notebooks").glob("*.html"):
        assert not re.search(r"(BEGIN|END) (SOLUTION|MARK SCHEME)", path.read_text(encoding="utf-8"))


@deep
def test_the_first_page_has_a_card_for_every_notebook_and_a_notebook_has_no_second_footer(site):
    index = (site / "index.html").read_text(encoding="utf-8")
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    cards_links = re.findall(r'<li><img src="covers/(\w+)\.png" alt="[^"]+"><h3><a href="notebooks/(\w+)\.html"', index)
    assert cards_links == [(name, name) for name in names]
    assert index.index('class="cards"') < index.index("make lab")
    assert all(
        "prev-next-footer" not in (site / f"notebooks/{name}.html").read_text(encoding="utf-8") for name in names
    )
    assert "prev-next-footer" in (site / "docs/glossary.html").read_text(encoding="utf-8")


@deep
def test_the_side_bar_has_claims_and_benchmarks_behind_one_link(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    bar = page[page.index('aria-label="Main"') : page.index("</nav>", page.index('aria-label="Main"'))]
    names = [re.sub(r"\s+", " ", name).strip() for name in re.findall(r"<a[^>]*>([^<]+)</a>", bar)]
    assert names[:4] == ["Start", "Getting started", "Playground", "1 · Baseline"]
    assert names[-1] == "For maintainers"
    assert {"Exercises", "Glossary", "API"} < set(names)
    assert not {"Claims", "Benchmarks", "Changelog", "Contributing"} & set(names)


TYPE = """(() => {
  const field = document.querySelector(".search-page input");
  field.value = %s;
  field.dispatchEvent(new Event("input", {bubbles: true}));
})()"""
RESULTS = """(() => {
  const page = document.querySelector(".search-page"), text = (element) => element?.textContent ?? "";
  const hits = [...page.querySelectorAll("ol li")].map((item) => [
    ...["a", "small", "p"].map((tag) => text(item.querySelector(tag))), [...item.querySelectorAll("mark")].map(text)]);
  return [hits, text(page.querySelector("[role=status]"))];
})()"""


def searched(tab, site, query):
    """[(title, page, sentence, marked words)] that the search page shows, and what it says."""
    tab.open((site / "search.html").as_uri())
    tab.run(TYPE % json.dumps(query))
    return tab.run(RESULTS)


@deep
@pytest.mark.parametrize(
    ("query", "title", "word"),
    [
        ("induction head", "induction head", "head"),  # several words, and the glossary first
        ("boots", "An interval that knows what a text is", "bootstrap"),  # while one types
        ("resid_post", "One vector for each token", "resid_post"),
        ("hook_resid", "Nats saturate", "hook_resid_post"),  # a part of a name
        ("load_model", "load_model", "load_model"),
        ("residul straem", "residual stream", "stream"),
    ],
)
def test_search_shows_sections_with_a_sentence_around_the_hit(query, title, word, site, tab):
    hits, _ = searched(tab, site, query)
    found = [hit for hit in hits if title in hit[0]]
    assert found, hits
    assert word in " ".join(found[0][3])
    assert found[0][2]


@deep
def test_search_puts_what_has_just_that_name_first(site, tab):
    hits, _ = searched(tab, site, "Induction head")
    assert hits[0][:2] == ["induction head", "Glossary"]


@deep
def test_search_says_so_when_there_is_nothing_and_knows_no_tables_of_claims(site, tab):
    hits, said = searched(tab, site, "xylophone zeppelin qqq")
    assert (hits, said[:40]) == ([], "Nothing here has the words “xylophone ze")
    documents = (site / "_static/search-documents.js").read_text(encoding="utf-8")
    assert '"page": "Glossary"' in documents
    assert '"page": "Claims"' not in documents
    assert '"page": "Benchmarks"' not in documents
    assert not (site / "searchindex.js").exists()


@deep
def test_every_place_that_search_knows_is_there(site, visits):
    documents = (site / "_static/search-documents.js").read_text(encoding="utf-8")
    places = {each["url"] for each in json.loads(documents[documents.index("[") : documents.rindex(";")])}
    missing = [
        place for place in places if dead((site / "index.html").as_uri()[: -len("index.html")] + place, visits, site)
    ]
    assert len(places) > 400
    assert not missing


@deep
def test_search_by_keyboard_and_from_another_page(site, tab):
    tab.open((site / "search.html").as_uri() + "?q=bootstrap")
    assert tab.run("document.activeElement.value") == "bootstrap"
    for key, is_it in [
        ("ArrowDown", "ol li:first-child a"),
        ("ArrowDown", "ol li:nth-child(2) a"),
        ("ArrowUp", "ol a"),
    ]:
        tab.press(key)
        assert tab.run(f"document.activeElement === document.querySelector('.search-page {is_it}')")
    tab.open((site / "docs/glossary.html").as_uri())
    assert tab.run("document.querySelector('form.bd-search').action") == (site / "search.html").as_uri()


# The focused element's outline, and its contrast to the page (WCAG 2).
OUTLINE = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const element = document.querySelector(%s);
  element.focus();
  const {outlineStyle, outlineWidth, outlineColor} = getComputedStyle(element);
  const ratio = light(outlineColor) / light(getComputedStyle(document.body).backgroundColor);
  return [outlineStyle, outlineWidth, Math.max(ratio, 1 / ratio)];
})()"""


@deep
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_has_the_focus_is_seen(theme, site, tab):
    tab.width(1280)
    tab.open((site / "notebooks/02_head_specialization.html").as_uri())
    tab.run(STILL)
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    tab.run(f"document.documentElement.dataset.theme = document.documentElement.dataset.mode = '{theme}'")
    for element in [".search-button-field", ".bd-links a", ".theme-switch-button", "article p a", "article summary"]:
        style, width, contrast = tab.run(OUTLINE % json.dumps(element))
        assert (style, width) == ("solid", "3px"), element
        assert contrast >= 3


@deep
def test_a_view_has_nothing_of_the_themes_type(site, tab):
    tab.open((site / "notebooks/02_head_specialization.html").as_uri())
    assert tab.wait(DRAWN)
    sizes = "[...document.querySelectorAll('[data-view] h4')].map((head) => getComputedStyle(head).fontSize)"
    assert set(tab.run(sizes)) == {"10px"}
    head = (
        "(({fontSize, boxSizing}) => [fontSize, boxSizing])(getComputedStyle(document.querySelector('[data-view] h3')))"
    )
    assert tab.run(head) == ["14px", "content-box"]  # the theme's: 28px, border-box
