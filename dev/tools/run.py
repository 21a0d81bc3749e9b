"""Execute notebooks on a model into build/ and render them: python dev/tools/run.py --model storybook NOTEBOOK ..."""

import argparse
import html
import re
import sys
from pathlib import Path

import nbformat
from execution import COLUMNS, NotebookError, absolute, edition, measure, reason, row, show
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbconvert import HTMLExporter

from interp_helpers import errors
from interp_helpers.errors import FileError, InterpError, ModelError
from interp_helpers.files import write_whole

BUILD = Path("build")
TIMEOUT = 600  # seconds that one cell may take
OWN = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, InterpError)}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
UNLOADABLE = {ModelError.__name__, FileError.__name__}
LOADING = re.compile(r"\bin load_(model|bridge)\(")  # a line of a traceback


def render(notebook, title):
    """A self-contained page: what nbconvert would fetch from the network is left out, and nothing needs it."""
    exporter = HTMLExporter(require_js_url="", mathjax_url="", mermaid_js_url="")
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return re.sub(
        r'<script[^>]*src="[^"]*"[^>]*>\s*</script>|<script type="module">.*?mermaid.*?</script>', "", page, flags=re.S
    )


def said(path, problem):
    """What to print of a notebook that failed: a sentence; below it the traceback of an error in a cell's own code."""
    cause = problem.__cause__
    if getattr(cause, "ename", None) in OWN:
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

    Returns (row of the table, the NotebookError that stopped it or None).
    """
    record, notebook, problem = measure(edition(path, variables["INTERP_MODEL"]), variables, timeout)
    if notebook:
        try:
            page = render(notebook, path.stem)
        except Exception as error:
            problem = NotebookError(f"its page cannot be made: {reason(error)}", record["seconds"])
            return row(path, record | {"stopped": str(problem)}, notebook), problem
        write_whole(BUILD / path.name, nbformat.writes(notebook))
        write_whole(BUILD / f"{path.stem}.html", page)
    return row(path, record, notebook), problem


def index(rows, title):
    """The index page: the table, with a link to every notebook that has a page."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    body = ""
    for name, *values in (map(html.escape, line) for line in rows):
        first = name if values[-1] == "failed" else f'<a href="{name}.html">{name}</a>'
        body += f"<tr>{''.join(f'<td>{value}</td>' for value in [first, *values])}</tr>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>:root{{color-scheme:light dark}}body{{font:16px/1.6 sans-serif;"
        "margin:2em auto;max-width:50em;padding:0 1em}td,th{padding:.2em 1em .2em 0;text-align:left}</style>"
        f"<h1>{html.escape(title)}</h1><table><tr>{head}</tr>{body}</table></html>"
    )


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
        variables["INTERP_SENTENCES"] = absolute(given.sentences)
    rows, problems = [], []
    longest = max(len(path.stem) for path in given.notebooks)
    show(COLUMNS, longest)
    for path in given.notebooks:
        try:
            line, problem = run(path, variables, given.timeout)
        except FileError as refused:
            sys.exit(f"run: {refused}")
        show(line, longest)
        rows.append(line)
        if problem:
            problems.append(said(path, problem))
            if unloadable(problem):
                break
    name = given.model + (" (untrained)" if given.untrained else "")
    write_whole(BUILD / "index.html", index(rows, f"The course on {name}"))
    print(f"Open {(BUILD / 'index.html').resolve()}")
    sys.exit("\n\n".join(problems) or None)


if __name__ == "__main__":
    main()
