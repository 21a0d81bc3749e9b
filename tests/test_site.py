"""The site, built once and opened from its folder, as its readers do: without a server and without a network."""

import re
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import build_site
import pytest
from browser import CHROMIUM, browser

import interp_helpers

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

deep = pytest.mark.deep
ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = [
    name for row in re.findall(r"(?m)^\| (`.+?`) \|", interp_helpers.__doc__) for name in re.findall(r"\w+", row)
]
KINDS = ["console", "request", "view", "alt", "link", "width", "axe"]

# What a page holds. A view is drawn when CircuitsVis has put its heading there and something on every canvas.
FACTS = """({
  links: [...document.links].map((link) => link.href),
  ids: [...document.querySelectorAll("[id]")].map((element) => element.id),
  images: [...document.images].map((image) => [image.src, image.alt]),
  views: document.querySelectorAll("[data-view]").length,
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
# Not the canvases of views, which CircuitsVis gives no names; preloading would be an error over file://.
AXE = """axe.run({exclude: "[data-view] canvas"}, {
  runOnly: %s, resultTypes: ["violations"], preload: false,
}).then((found) => found.violations.flatMap((rule) => rule.nodes.map(
  (node) => [rule.id, node.html.slice(0, 150), node.any[0]?.message].join(" "))))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site."""
    if find_spec("sphinx_book_theme") is None:
        pytest.skip("Sphinx and its theme are not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        ROOT / "dev/tools/build_site.py",
        "--source",
        folder / "source",
        "--out",
        folder / "site",
    ]
    made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def axe():
    """axe-core's source, from a copy in build/ or from npm; None where there is neither."""
    kept = ROOT / "build/axe"
    if not list(kept.glob("axe-core-*.tgz")) and shutil.which("npm"):
        kept.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", "axe-core@4"], cwd=kept, capture_output=True, timeout=120)
    packed = next(kept.glob("axe-core-*.tgz"), None)
    if packed is None:
        return None
    with tarfile.open(packed) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


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
    """Whether a link leads nowhere: in the site, or in the repository."""
    if url.startswith("file:"):
        file, fragment = target(url)
        inside = file.is_file() and folder in file.parents
        return not inside or bool(fragment and file in visits and fragment not in visits[file]["ids"])
    here = re.match(re.escape(PROJECT["urls"]["Repository"]) + r"/(?:blob|tree)/main/([^#]+)", url)
    return bool(here and not (ROOT / here[1]).exists())


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
        "<p style='color:#aaa;background:#fff'>pale</p></html>",
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


@deep
def test_launch_buttons_open_the_edition_with_blank_exercises(visits, site):
    for path in (site / "notebooks").glob("*.html"):
        name = f"notebooks/student/{path.stem}.ipynb"
        launched = [url for url in visits[path]["links"] if "mybinder" in url or "colab" in url]
        assert {url.split("/")[2] for url in launched} == {"mybinder.org", "colab.research.google.com"}
        assert all(url.endswith(name) for url in launched)
        assert (site / name).as_uri() in visits[path]["links"]


def test_without_sphinx_one_line_says_what_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sphinx.cmd.build", None)
    with pytest.raises(SystemExit, match=r"^build_site: .+ is not installed\. The site needs Python 3\.11 or newer"):
        build_site.main()


@deep
def test_no_marker_of_the_editions_is_left(site):
    for path in (site / "notebooks").glob("*.html"):
        assert not re.search(r"(BEGIN|END) (SOLUTION|MARK SCHEME)", path.read_text(encoding="utf-8"))


@deep
def test_search_finds_a_word(site, tab):
    tab.open((site / "search.html").as_uri() + "?q=bootstrap")
    found = "notebooks/02_head_specialization.html"  # results come one after the other
    links = "[...document.querySelectorAll('#search-results a')]"
    assert tab.wait(f"{links}.some((link) => link.href.includes('{found}'))")
