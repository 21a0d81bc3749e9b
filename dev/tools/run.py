"""Execute notebooks on a model into build/ and render them: python dev/tools/run.py --model storybook NOTEBOOK ..."""

import argparse
import base64
import copy
import html
import re
import sys
from pathlib import Path

import covers
import nbformat
from claims import stored
from execution import COLUMNS, NotebookError, absolute, edition, measure, reason, row, show
from formulas import with_mathml
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbconvert import HTMLExporter

from interp_helpers import errors
from interp_helpers.errors import FileError, InterpError, ModelError
from interp_helpers.files import write_whole
from interp_helpers.hub import looks_like_path

BUILD = Path("build")
TIMEOUT = 600  # seconds that one cell may take
OWN_ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, InterpError)}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
UNLOADABLE = {ModelError.__name__, FileError.__name__}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 66em; padding: 0 1em }}
body > ul {{ display: grid; gap: 1em; padding: 0 }}
body > ul {{ grid-template-columns: repeat(auto-fill, minmax(min(19em, 100%), 1fr)) }}
body > ul > li {{ border: 1px solid #8888; border-radius: 6px; list-style: none; padding: 1em }}
li ul {{ list-style: none; margin: 0; padding: 0 }}
img {{ height: 11em; object-fit: contain; width: 100% }}
h2 {{ font-size: 1.15em; margin: .6em 0 0 }}
p {{ margin: .4em 0 0 }}
:focus-visible {{ outline: 3px solid #2a7fd4; outline-offset: 2px }}
</style><h1>{title}</h1><ul>{cards}</ul></html>
"""
NARROW = """@media (max-width: 600px) {
  .jp-InputArea-editor .highlight pre { white-space: pre-wrap; overflow-wrap: anywhere }
  .jp-OutputArea-output pre { word-break: normal; overflow-wrap: anywhere }
}"""
IMAGE = re.compile(r'<img alt="No description [^"]*"([^>]*? src="data:image/png;base64,)([^"]+)"')
LOADING = re.compile(r"\bin load_(model|bridge)\(")  # a line of a traceback


def render(notebook, title):
    """A self-contained page: what nbconvert would fetch from the network is left out, and nothing needs it.

    Links to other notebooks lead to their pages, figures have their alt texts, and the colours are those of the reader.
    """
    exporter = HTMLExporter(require_js_url="", mathjax_url="", mermaid_js_url="")
    shown = with_mathml(copy.deepcopy(notebook))
    shown.cells = [cell for cell in shown.cells if cell.id != "install"]
    page, _ = exporter.from_notebook_node(shown, resources={"metadata": {"name": title}})
    page = re.sub(
        r'<script[^>]*src="[^"]*"[^>]*>\s*</script>|<script type="module">.*?mermaid.*?</script>', "", page, flags=re.S
    )
    alts = {
        output.data["image/png"].replace("\n", ""): output.metadata.get("image/png", {}).get("alt", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }
    page = IMAGE.sub(lambda found: f'<img alt="{html.escape(alts.get(found[2], ""))}"{found[1]}{found[2]}"', page)
    page = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', page.replace('href="README.md"', 'href="index.html"'))
    dark, *_ = exporter.environment.loader.get_source(exporter.environment, "static/theme-dark.css")
    styles = f'<style media="(prefers-color-scheme: dark)">{dark}</style><style>{NARROW}</style>'
    return page.replace("</head>", f"{styles}</head>", 1)


def said(path, problem):
    """What to print of a notebook that failed: a sentence; below it the traceback of an error in a cell's own code."""
    cause = problem.__cause__
    if getattr(cause, "ename", None) in OWN_ERRORS:
        return f"{path}: {cause.ename}: {cause.evalue}"
    if isinstance(cause, CellExecutionError):
        return f"{path}: {problem}.\n{COLOURS.sub('', str(cause))}"
    advice = " Allow more with TIMEOUT=seconds." if isinstance(cause, CellTimeoutError) else ""
    return f"{path}: {problem}.{advice}"


def unloadable(problem):
    """Whether the model could not be loaded, so that no other notebook can run on it either."""
    ename, traceback = (getattr(problem.__cause__, name, "") for name in ("ename", "traceback"))
    return ename in UNLOADABLE and bool(LOADING.search(COLOURS.sub("", traceback)))


def run(path, variables, timeout):
    """Execute one notebook with these environment variables, and write its .ipynb and .html.

    Returns (row of the table, the executed notebook or None, the NotebookError that stopped it or None).
    """
    record, notebook, problem = measure(edition(path, variables["INTERP_MODEL"]), variables, timeout)
    if notebook:
        try:
            page = render(notebook, path.stem)
        except Exception as error:
            problem = NotebookError(f"its page cannot be made: {reason(error)}", record["seconds"])
            return row(path, record | {"stopped": str(problem)}, notebook), None, problem
        write_whole(BUILD / path.name, nbformat.writes(notebook))
        write_whole(BUILD / f"{path.stem}.html", page)
    return row(path, record, notebook), notebook, problem


def card(line, notebook):
    """A notebook's place on the index page. line: its row of the table; notebook: as executed, None if it failed."""
    values = dict(zip(COLUMNS, map(html.escape, line)))
    name = values["notebook"]
    if notebook is None:
        return f"<li><h2>{name}</h2><p>failed; the reason stands in the terminal</p></li>"
    facts = f"{values['seconds']} s · {values['claims held']} claims held"
    held = "".join(f"<li>{html.escape(f'{mark} {sentence}')}</li>" for mark, _, sentence, _ in stored(notebook))
    claims = f"<details><summary>The claims</summary><ul>{held}</ul></details>" if held else ""
    try:
        about = covers.card(f"{name}.ipynb", notebook)
    except ValueError:  # a notebook of somebody else's
        return f'<li><h2><a href="{name}.html">{name}</a></h2><p>{facts}</p>{claims}</li>'
    source = f"data:image/png;base64,{base64.b64encode(about.picture or b'').decode()}"
    picture = f'<img src="{source}" alt="{html.escape(about.alt)}">' if about.picture else ""
    minutes = f"{about.minutes} minutes to read, {about.exercise_minutes} for the exercises"
    return (
        f'<li>{picture}<h2><a href="{name}.html">{html.escape(about.label)}</a></h2>'
        f"<p>{html.escape(about.question)}</p><p>{minutes}<br>{facts}</p>{claims}</li>"
    )


def index(cards, title):
    """The index page. cards: as `card` makes them."""
    return PAGE.format(title=html.escape(title), cards="".join(cards))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="storybook", help="a name or a folder, as load_model takes them")
    parser.add_argument("--untrained", action="store_true", help="run on the model's untrained twin")
    parser.add_argument("--sentences", help="what load_sentences takes: a csv, a txt, or a data set of the hub")
    parser.add_argument("--timeout", type=int, default=TIMEOUT, help="seconds that one cell may take (%(default)s)")
    parser.add_argument("notebooks", nargs="+", type=Path)
    given = parser.parse_args()
    try:
        BUILD.mkdir(exist_ok=True)
    except OSError as problem:
        sys.exit(f"run: {BUILD.resolve()} cannot be made: {problem.strerror}. Copy the course to where you may write.")
    variables = {"INTERP_MODEL": absolute(given.model)}
    if given.untrained:
        variables["INTERP_UNTRAINED"] = "1"
    if given.sentences:
        if looks_like_path(given.sentences) and not Path(given.sentences).expanduser().exists():
            sys.exit(f"run: There is no file or folder {given.sentences!r} with sentences. Check the path.")
        variables["INTERP_SENTENCES"] = absolute(given.sentences)
    cards, problems = [], []
    longest = max(len(path.stem) for path in given.notebooks)
    show(COLUMNS, longest)
    for path in given.notebooks:
        try:
            line, notebook, problem = run(path, variables, given.timeout)
        except FileError as refused:
            sys.exit(f"run: {refused}")
        show(line, longest)
        cards.append(card(line, notebook))
        if problem:
            problems.append(said(path, problem))
            if unloadable(problem):
                break
    name = given.model + (" (untrained)" if given.untrained else "")
    try:
        write_whole(BUILD / "index.html", index(cards, f"The course on {name}"))
    except FileError as refused:
        sys.exit(f"run: {refused}")
    print(f"Open {(BUILD / 'index.html').resolve()}")
    sys.exit("\n\n".join(problems) or None)


if __name__ == "__main__":
    main()
