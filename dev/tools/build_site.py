"""Build the course as a static site, from the stored outputs: python dev/tools/build_site.py [--out build/site]

Sphinx needs its pages in one folder, so they are copied to one, each where it lies in the repository, with what a web
page needs changed on the way: alt texts where MyST-NB looks for them, no solution markers, no rubrics, and links to
files that are no page turned to the repository, or to plain text while the course has no address. The first page gets
a card for every notebook. In the finished pages, tables say which cells are heads and which are numbers. At the end,
where Node is there, the playground is added, a page of its own (playground.py).
"""

import argparse
import html
import json
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

import nbformat
from covers import cards
from editions import RUBRIC, SOLUTION, replace
from formulas import with_mathml
from frames import WAYS

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/*.rst", "notebooks/[0-9]*.ipynb"]
PAGES += ["interp_helpers/data/storybook/README.md"]
PICTURES = ["docs/*.png", "docs/*.svg", "docs/playground/pictures/*.png"]
COVERS = "covers"  # the pictures of the cards, in the site
CONTENTS = ["README.md", "notebooks/README.md"]  # whose place the first page takes
NOT_SHOWN = (
    "install",
    "report-text",
    "report",
)  # cells that are nothing on a page: an installer, and a student's progress
STUDENT = "notebooks/student"  # which the site carries
ABOUT = "docs/playground.md"  # the page of Sphinx that leads to the playground, or says what it needs
PLAYGROUND = "playground/index.html"  # in the site
STORIES = ROOT / "docs/playground/src/stories.json"
LINK = re.compile(r"(?<!!)\[((?:[^][]|\[[^][]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")

TABLE = re.compile(r'<table[^>]* class="(?:dataframe|table)\b[^>]*>.*?</table>', re.S)
ROW = re.compile(r"<tr\b.*?</tr>", re.S)
CELL = re.compile(r"<(t[hd])\b([^>]*)>(.*?)</\1>", re.S)
NUMBER = re.compile(r"[-−+±]?[\d.,]*\d(e[-+]?\d+)?\s?%?")
NO_NUMBER = ["", "nan", "NaN", "–", "-"]  # what stands in a column of numbers where there is none


def prepared(notebook):
    """The notebook as the site shows it."""
    for cell in notebook.cells:
        cell.source = replace(cell.source, RUBRIC, None)
        about = {}
        if f"BEGIN {SOLUTION}" in cell.source:
            about["code_prompt_show"] = about["code_prompt_hide"] = "One solution"
        cell.source = re.sub(rf"^[ \t]*### (BEGIN|END) {SOLUTION}\n?", "", cell.source, flags=re.M).rstrip("\n")
        for output in cell.get("outputs", []):
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt") or cell.metadata.get("alt"):
                about["image"] = {"alt": alt}
        cell.metadata["mystnb"] = about
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip() and cell.id not in NOT_SHOWN]
    return with_mathml(notebook)


def relinked(text, page, pages, repository, playground=True):
    """The text of a page with links to files of the repository that are no page of the site leading there.

    Without a repository such a link becomes its words. A link to the blank notebooks leads to the site's copy, and one
    to a story of the playground, docs/playground.md#name, to that story. Both are in HTML, since Sphinx does not know
    of them. Where there is no playground, the story's link leads to what the page about it says of the story.
    """

    def link(found):
        words, path, fragment = found.groups(default="")
        target = PurePosixPath(os.path.normpath(page.parent / path)).as_posix()
        if target in CONTENTS:
            return f"[{words}]({os.path.relpath('index.md', page.parent).replace(os.sep, '/')}{fragment})"
        if target == STUDENT:
            return f'<a href="{path.rstrip("/")}/index.html">{words}</a>'
        if target == ABOUT and fragment and playground:
            return f'<a href="{live(page)}#story={fragment[1:]}">{words}</a>'
        if target in pages or not (ROOT / target).exists():  # Sphinx says what is missing
            return found[0]
        if not repository:
            return words
        return f"[{words}]({repository}/{'tree' if (ROOT / target).is_dir() else 'blob'}/main/{target}{fragment})"

    return LINK.sub(link, text)


def as_html(card):
    """A notebook's card on the first page."""
    stem = Path(card.name).stem
    picture = f'<img src="{COVERS}/{stem}.png" alt="{html.escape(card.alt)}">' if card.picture else ""
    *first, last = map(str, card.builds_on or [""])
    builds_on = f"Builds on {', '.join(first)}{' and ' * bool(first)}{last}. " if last else ""
    minutes = f"{card.minutes} minutes to read, {card.exercise_minutes} for the exercises"
    return (
        f'<li>{picture}<h3><a href="notebooks/{stem}.html">{html.escape(card.label)}</a></h3>'
        f"<p>{html.escape(card.question)}</p>"
        f"<p><small>{builds_on}{minutes}</small></p></li>"
    )


def live(page):
    """The address of the playground, from a page."""
    return os.path.relpath(PLAYGROUND, page.parent).replace(os.sep, "/")


def with_playground(text, page, playground):
    """The text of a page with the way to the playground and its stories, where it has a marker for them.

    Without a playground, the page about it says what it needs, and no other page speaks of it.
    """
    if not playground:
        needs = "This copy of the course was built without it. To get it, install Node 20 or newer, and run `make site`"
        text = text.replace("<!-- playground -->", f"*{needs} again, the first time with a network.*")
        return text.replace("<!-- stories -->", "")
    told = json.loads(STORIES.read_text(encoding="utf-8"))
    links = [f'<a href="{live(page)}#story={each["id"]}">{html.escape(each["title"])}</a>' for each in told]
    about = [f"{html.escape(each['question'])} <small>{each['minutes']} minutes</small>" for each in told]
    full = "".join(f"<li>{link}: {what}</li>" for link, what in zip(links, about))
    opening = f'<p class="opening"><a href="{live(page)}">Open the playground</a></p><ul>{full}</ul>'
    short = "".join(f"<li>{link}</li>" for link in links)
    return text.replace("<!-- playground -->", opening).replace("<!-- stories -->", f'<ul class="stories">{short}</ul>')


def first_page(text, notebooks):
    """docs/index.md with the cards of the notebooks, ways through them, and their short titles in the side bar."""
    entries = "\n".join(f"{card.label} <notebooks/{Path(card.name).stem}>" for card in notebooks)
    listed = f'<ul class="cards">{"".join(map(as_html, notebooks))}</ul>'
    ways = WAYS.partition("\n\n")[2]  # without its heading
    return text.replace("<!-- cards -->", listed).replace("<!-- ways -->", ways).replace("<!-- notebooks -->", entries)


def lay_out(source, notebooks, repository, playground):
    """Copy all pages and pictures into the folder `source`, prepared for Sphinx. playground: whether there is one."""
    shutil.rmtree(source, ignore_errors=True)
    files = {}
    for path in (path for pattern in PAGES + PICTURES for path in sorted(ROOT.glob(pattern))):
        name = PurePosixPath(path.relative_to(ROOT).as_posix())
        files["index.md" if name.match("docs/index.md") else str(name)] = path
    for name, path in files.items():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            notebook = prepared(nbformat.read(path, 4))
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = relinked(cell.source, PurePosixPath(name), files, repository, playground)
            nbformat.write(notebook, target)
        elif path.suffix == ".md":
            text = relinked(path.read_text(encoding="utf-8"), PurePosixPath(name), files, repository, playground)
            text = with_playground(text, PurePosixPath(name), playground)
            target.write_text(first_page(text, notebooks) if name == "index.md" else text, encoding="utf-8")
        else:
            shutil.copy(path, target)


def columns(row):
    """[(first column, last column, tag, attributes, content)] of a row's cells, counted from the right.

    A cell of a row above may reach into the row from the left, never from the right.
    """
    cells, end = [], 0
    for tag, attributes, content in reversed(CELL.findall(row)):
        span = re.search(r'colspan="(\d+)"', attributes)
        start, end = end, end + (int(span[1]) if span else 1)
        cells.append((start, end - 1, tag, attributes, content))
    return cells[::-1]


def mended(table):
    """A table's HTML with the scope of its heads, without empty heads, and with columns of numbers marked as such."""
    head, _, body = table.partition("</thead>")
    values = {}
    for row in ROW.findall(body):
        for start, _, tag, _, content in columns(row):
            if tag == "td":
                values.setdefault(start, []).append(re.sub(r"<[^>]+>", "", content).strip())
    numbers = {
        start
        for start, texts in values.items()
        if any(map(NUMBER.fullmatch, texts)) and all(NUMBER.fullmatch(text) or text in NO_NUMBER for text in texts)
    }

    def cells(row, scope):
        made = iter(columns(row))

        def cell(found):
            start, end, tag, attributes, content = next(made)
            if tag == "th" and not content.strip():
                tag = "td"
            if tag == "th" and "scope=" not in attributes:
                attributes += f' scope="{scope}{"group" if end > start else ""}"'
            if numbers.issuperset(range(start, end + 1)):
                known = re.search(r'class="', attributes)
                attributes = (
                    attributes.replace('class="', 'class="number ') if known else f'{attributes} class="number"'
                )
            return f"<{tag}{attributes}>{content}</{tag}>"

        return CELL.sub(cell, row)

    head = ROW.sub(lambda row: cells(row[0], "col"), head)
    return f"{head}</thead>" + ROW.sub(lambda row: cells(row[0], "row"), body)


def mend(out):
    """Mend the tables of every page of the site, and let a folded cell be called what is written on it."""
    for path in out.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        page = TABLE.sub(lambda table: mended(table[0]), page)
        path.write_text(page.replace('<summary aria-label="Toggle hidden content">', "<summary>"), encoding="utf-8")


def add_covers(out, notebooks):
    """Write the pictures of the cards."""
    (out / COVERS).mkdir(exist_ok=True)
    for card in notebooks:
        if card.picture:
            (out / COVERS / Path(card.name).with_suffix(".png")).write_bytes(card.picture)


def add_student(out, notebooks):
    """Copy the blank notebooks, with a page that lists them, for a folder has none when it is served."""
    shutil.copytree(ROOT / STUDENT, out / STUDENT, dirs_exist_ok=True)
    items = "".join(
        f'<li><a href="{card.name}" download>{html.escape(card.label)}</a>: {html.escape(card.question)}</li>'
        for card in notebooks
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>Notebooks with blank exercises</title><style>:root{color-scheme:light dark}"
        "body{font:16px/1.6 system-ui,sans-serif;margin:2em auto;max-width:50em;padding:0 1em}"
        "h1{line-height:1.2}</style>"
        "<h1>Notebooks with blank exercises</h1>"
        "<p>A click downloads a notebook. It needs the course's package. <code>make lab</code> in the folder of the "
        'course installs the package and opens all notebooks. <a href="../../index.html">Back to the course</a></p>'
        f"<ul>{items}</ul></html>"
    )
    (out / STUDENT / "index.html").write_text(page, encoding="utf-8")


def main():
    try:
        import playground
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError as missing:
        sys.exit(
            f"build_site: {missing.name} is not installed. The site needs Python 3.11 or newer; this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Make the environment anew: rm -rf .venv && make site "
            "PYTHON=python3.12"
        )

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=ROOT / "build/site-source", help="where the pages are laid out")
    parser.add_argument("--out", type=Path, default=ROOT / "build/site")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    parser.add_argument("--repository", default=address, help="where the course lives; '': nowhere yet")
    parser.add_argument("--playground", type=Path, help="the folder of one that is built already")
    given = parser.parse_args()
    if given.playground and not given.playground.is_dir():
        parser.error(f"there is no folder {given.playground} with a playground; leave it out, and one is built.")
    for folder in (given.source, given.out):
        if folder.is_file():
            parser.error(f"{folder} is a file; name a folder, which is made where there is none.")
    notebooks = cards(sorted(ROOT.glob("notebooks/[0-9]*.ipynb")))
    missing = None if given.playground else playground.why_not()
    lay_out(given.source, notebooks, given.repository, playground=missing is None)
    shutil.rmtree(given.out, ignore_errors=True)
    doctrees = given.source.with_name(given.source.name + "-doctrees")
    options = ["-q", "-W", "--keep-going", "-E", "-b", "html", "-d", doctrees, "-c", ROOT / "docs"]
    options += ["-D", f"repository={given.repository}"]
    failed = build_main([str(each) for each in [*options, given.source, given.out]])
    mend(given.out)
    add_covers(given.out, notebooks)
    add_student(given.out, notebooks)
    if missing:
        print(f"The site has no playground. {missing}")
    elif given.playground:
        shutil.copytree(given.playground, given.out / PurePosixPath(PLAYGROUND).parent)
    else:
        playground.build(given.out / PurePosixPath(PLAYGROUND).parent)
    sys.exit(failed or print(f"Open {(given.out / 'index.html').resolve()}"))


if __name__ == "__main__":
    main()
