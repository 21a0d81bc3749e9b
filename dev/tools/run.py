"""Execute notebooks on a model into build/ and render them: python dev/tools/run.py --model storybook NOTEBOOK ..."""

import argparse
import html
import re
import sys
from pathlib import Path

import nbformat
from execution import absolute, edition, measure
from nbconvert import HTMLExporter

from interp_helpers import errors
from interp_helpers.errors import FileError, InterpError, ModelError
from interp_helpers.files import write_whole

BUILD = Path("build")
COLUMNS = ["notebook", "cells", "seconds", "peak MiB", "claims held"]
OWN = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, InterpError)}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LOADING = re.compile(r"\bin load_(model|bridge)\(")  # a line of a traceback


def render(notebook, title):
    """A self-contained page: what nbconvert would fetch from the network is left out, and nothing needs it."""
    exporter = HTMLExporter(require_js_url="", mathjax_url="", mermaid_js_url="")
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return re.sub(
        r'<script[^>]*src="[^"]*"[^>]*>\s*</script>|<script type="module">.*?mermaid.*?</script>', "", page, flags=re.S
    )


def said(path, problem):
    """What to print of a notebook that stopped: the sentence of one of the package's own errors, else the traceback."""
    if getattr(problem, "ename", None) in OWN:
        return f"{path}: {problem.ename}: {problem.evalue}"
    return f"{path}: {COLOURS.sub('', str(problem))}"


def unloadable(problem):
    """Whether the model could not be loaded, so that no other notebook can run on it either."""
    ename, traceback = getattr(problem, "ename", None), getattr(problem, "traceback", "")
    return ename == ModelError.__name__ and bool(LOADING.search(COLOURS.sub("", traceback)))


def run(path, variables):
    """Execute one notebook with these environment variables, and write its .ipynb and .html.

    Returns (row of the table, what stopped it or None).
    """
    record, notebook, problem = measure(edition(path, variables["INTERP_MODEL"]), variables)
    if problem:
        return [path.stem, "", "", "", "failed"], problem
    write_whole(BUILD / path.name, nbformat.writes(notebook))
    write_whole(BUILD / f"{path.stem}.html", render(notebook, path.stem))
    held = [each["mark"] for each in record["claims"].values()]
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    numbers = [str(cells), f"{record['seconds']:.1f}", str(record["MiB"]), f"{held.count('✓')} of {len(held)}"]
    return [path.stem, *numbers], None


def index(rows, title):
    """The index page: the table, with a link to every notebook."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    body = "".join(
        f'<tr><td><a href="{html.escape(row[0])}.html">{html.escape(row[0])}</a></td>'
        + "".join(f"<td>{html.escape(value)}</td>" for value in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>:root{{color-scheme:light dark}}body{{font:16px/1.6 sans-serif;"
        "margin:2em auto;max-width:50em;padding:0 1em}td,th{padding:.2em 1em .2em 0;text-align:left}</style>"
        f"<h1>{html.escape(title)}</h1><table><tr>{head}</tr>{body}</table></html>"
    )


def show(row, longest):
    """Print a row of the table as soon as it is known."""
    print(
        row[0].ljust(longest),
        *(value.rjust(len(column)) for value, column in zip(row[1:], COLUMNS[1:])),
        sep="  ",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="storybook", help="a name or a folder, as load_model takes them")
    parser.add_argument("--untrained", action="store_true", help="run on the model's untrained twin")
    parser.add_argument("--sentences", help="what load_sentences takes: a csv, a txt, or a data set of the hub")
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
        variables["INTERP_SENTENCES"] = absolute(given.sentences)
    rows, problems = [], []
    longest = max(len(path.stem) for path in given.notebooks)
    show(COLUMNS, longest)
    for path in given.notebooks:
        try:
            row, problem = run(path, variables)
        except FileError as refused:
            sys.exit(f"run: {refused}")
        show(row, longest)
        rows.append(row)
        problems += [said(path, problem)] if problem else []
        if unloadable(problem):
            break
    name = given.model + (" (untrained)" if given.untrained else "")
    write_whole(BUILD / "index.html", index(rows, f"The course on {name}"))
    print(f"Open {(BUILD / 'index.html').resolve()}")
    sys.exit("\n\n".join(problems) or None)


if __name__ == "__main__":
    main()
