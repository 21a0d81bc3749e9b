"""A student's own record of which exercises were passed: a file beside the notebooks, and an overview of it.

The file is `progress.json` in the folder that the notebook runs in, or where the environment variable INTERP_PROGRESS
says; where that is empty, nothing is kept. It holds {"1a": "passed", "1b": "not yet"}. Nothing is sent anywhere.
"""

import html
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileError, explained
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
    """{exercise: result} of the file. What is damaged counts as empty. Raises FileError when it cannot be read."""
    return _read()[0]


def _read():
    """What `read` gives, and whether the file is damaged."""
    path = place()
    if path is None:
        return {}, False
    advice = f"Delete it, or name another file in the environment variable {VARIABLE}."
    with explained(FileError, f"{path} cannot be read", advice):
        try:
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            return {}, False
        except ValueError:
            found = None
    if not isinstance(found, dict):
        return {}, True
    return {name: result for name, result in found.items() if isinstance(result, str) and result in RANKS}, False


def keep(results):
    """Add this kernel's {exercise: result} to the file. A damaged one is kept beside it, with `.damaged` in its name.

    The file is read again each time, because another notebook may have written it meanwhile. Raises OSError (FileError
    is one) when it cannot be read or written.
    """
    path, attempted = place(), {name: result for name, result in results.items() if result != BLANK}
    if path is None or not attempted:
        return
    before, damaged = _read()
    if damaged:
        path.replace(path.with_name(f"{path.name}.damaged"))
    after = better(before, attempted)
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
    """How far the exercises of all notebooks have come. rows: a Row for each notebook; note: a sentence below them."""

    def __init__(self, rows, note=""):
        self.rows, self.note = rows, note
        self.total = f"{sum(row.passed() for row in rows)} of {sum(len(row.results) for row in rows)} passed"

    def __repr__(self):
        widths = [max(map(len, column)) for column in zip(*((row.title, row.bar()) for row in self.rows))]
        lines = []
        for row in self.rows:
            listed = "  ".join(f"{SIGNS[result][0]} {' '.join(names)}" for result, names in row.names().items())
            lines.append(f"{row.title.ljust(widths[0])}  {row.bar().ljust(widths[1])}  {row.count()}  {listed}")
        return "\n".join([self.total, *lines, *([self.note] if self.note else [])])

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
            f"<thead><tr>{headings}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
            f"{f'<p>{html.escape(self.note)}</p>' if self.note else ''}</div>"
        )
