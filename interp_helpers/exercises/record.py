"""A student's own record of which exercises were passed: a file beside the notebooks, and an overview of it.

The file is `progress.json` in the folder that the notebook runs in, or where the environment variable INTERP_PROGRESS
says; where that is empty, nothing is kept. It holds {"1a": "passed", "1b": "not yet"}. Nothing is sent anywhere.
"""

import html
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..files import write_whole
from .feedback import BLANK, PASSED, SIGNS, WRONG

RANKS = {BLANK: 0, WRONG: 1, PASSED: 2}
VARIABLE = "INTERP_PROGRESS"


def place():
    """The path of the file, or None where nothing is kept."""
    named = os.environ.get(VARIABLE, "progress.json")
    return Path(named) if named else None


def better(first, second):
    """The results of two records in one: what was passed once counts as passed.

    >>> better({"1a": "passed"}, {"1a": "not yet", "1b": "not attempted"})
    {'1a': 'passed', '1b': 'not attempted'}
    """
    both = {name: max(first.get(name, BLANK), second.get(name, BLANK), key=RANKS.get) for name in {**first, **second}}
    return dict(sorted(both.items()))


def read():
    """{exercise: result} of the file. What is damaged counts as empty. Raises OSError when it cannot be opened."""
    path = place()
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else []
    return {name: result for name, result in pairs if isinstance(result, str) and result in RANKS}


def keep(results):
    """Add this kernel's {exercise: result} to the file.

    The file is read again each time, because another notebook may have written it meanwhile. Raises OSError (FileError
    is one) when it cannot be read or written.
    """
    path = place()
    if path is None:
        return
    before = read()
    after = better(before, {name: result for name, result in results.items() if result != BLANK})
    if after != before:
        write_whole(path, json.dumps(after, indent=0) + "\n")


@dataclass(frozen=True)
class Row:
    """A notebook in the overview. results: of all its exercises, in their order."""

    title: str
    file: str
    results: dict[str, str]

    def names(self):
        """{result: the exercises that have it}, without those that none has."""
        found = {each: [name for name, result in self.results.items() if result == each] for each in SIGNS}
        return {result: names for result, names in found.items() if names}

    def passed(self):
        return len(self.names().get(PASSED, []))

    def bar(self):
        return "■" * self.passed() + "□" * (len(self.results) - self.passed())

    def count(self):
        return f"{self.passed()} of {len(self.results)}"


_CELL = "padding:.25em .7em;text-align:left;vertical-align:top;color:inherit;border:0"
_TABLE = "border-collapse:collapse;margin:.4em 0 0;width:auto;font-size:inherit;color:inherit;background:transparent"
_BOX = "font-family:system-ui,sans-serif;line-height:1.5;max-width:50em;color:inherit;overflow-x:auto"


class Overview:
    """How far the exercises of all notebooks have come. rows: a Row for each notebook."""

    def __init__(self, rows):
        self.rows = rows
        self.total = f"{sum(row.passed() for row in rows)} of {sum(len(row.results) for row in rows)} passed"

    def __repr__(self):
        widths = [max(map(len, column)) for column in zip(*((row.title, row.bar()) for row in self.rows))]
        lines = []
        for row in self.rows:
            listed = "  ".join(f"{SIGNS[result][0]} {' '.join(names)}" for result, names in row.names().items())
            lines.append(f"{row.title.ljust(widths[0])}  {row.bar().ljust(widths[1])}  {row.count()}  {listed}")
        return "\n".join([self.total, *lines])

    def _repr_html_(self):
        lines = []
        for row in self.rows:
            listed = [f"{SIGNS[result][0]} {result}: {', '.join(names)}" for result, names in row.names().items()]
            title = html.escape(row.title)
            if Path(row.file).is_file():  # a student may have one notebook alone
                title = f'<a href="{row.file}">{title}</a>'
            bar = f'<span aria-hidden="true" style="letter-spacing:.05em">{row.bar()}</span>'
            lines.append(
                f'<tr><th scope="row" style="{_CELL};font-weight:400">{title}</th>'
                f'<td style="{_CELL};white-space:nowrap">{bar}<br>{row.count()}</td>'
                f'<td style="{_CELL}">{"<br>".join(listed)}</td></tr>'
            )
        headings = "".join(
            f'<th scope="col" style="{_CELL}">{each}</th>' for each in ("Notebook", "Passed", "Exercises")
        )
        return (
            f'<div style="{_BOX}" tabindex="0"><strong>{self.total}</strong><table style="{_TABLE}">'
            f"<thead><tr>{headings}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        )
