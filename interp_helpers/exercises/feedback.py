"""What a check shows: a card, as HTML for notebooks and as plain text beside it, and small tables of tensors."""

import html
import re
from dataclasses import dataclass
from itertools import groupby

import torch

PASSED, WRONG, BLANK = "passed", "not yet", "not attempted"
# The sign of each result, and its colour: white on it has a contrast of 4.8 or more, and it has 3.7 or more itself on
# white and on the black of dark themes. All else takes the page's own colours.
SIGNS = {PASSED: ("✓", "#1a7f37"), WRONG: ("✗", "#b35900"), BLANK: ("○", "#6b7280")}
ROWS, COLUMNS, ONE_ROW = 8, 8, 16  # a table shows this much of a tensor at most; a vector is one row

# Styles stand in the tags, because JupyterLab takes <style> out of outputs that it does not trust.
_CARD = (
    "border-left:4px solid {colour};padding:.4em .9em;margin:.3em 0;max-width:50em;box-sizing:border-box;"
    "font-family:system-ui,sans-serif;line-height:1.5;color:inherit;overflow-wrap:break-word"
)
_BADGE = (
    "display:inline-block;width:1.4em;line-height:1.4;margin-right:.5em;border-radius:.3em;text-align:center;"
    "font-weight:700;color:#fff;background:{colour}"
)
_DETAIL = "margin:.5em 0 0"
_TABLES = "display:flex;flex-wrap:wrap;column-gap:1.5em"  # side by side where there is room
_BOX = "overflow-x:auto;max-width:100%;margin:.5em 0 0;padding:0 2px 2px"  # the mark reaches over the edge
_TABLE = (
    "border-collapse:collapse;margin:0;width:auto;font-size:.875em;font-variant-numeric:tabular-nums;color:inherit;"
    "background:transparent"
)
_CELL = "padding:.15em .45em;text-align:right;border:1px solid rgba(128,128,128,.35);color:inherit;white-space:nowrap"
_MARKED = _CELL + ";outline:2px solid;outline-offset:-2px;font-weight:700"


@dataclass(frozen=True)
class Note:
    """A sentence below the first line. What stands in backquotes is code."""

    text: str

    def __str__(self):
        return self.text

    def _repr_html_(self):
        return f'<p style="{_DETAIL}">{_inline(self.text)}</p>'


@dataclass(frozen=True)
class Code:
    """A line of code below the first line, and what it is."""

    caption: str
    code: str

    def __str__(self):
        return f"{self.caption}\n    {self.code}"

    def _repr_html_(self):
        code = f'<code style="display:block;white-space:pre-wrap;padding-left:1em">{html.escape(self.code)}</code>'
        return f'<div style="{_DETAIL}">{_inline(self.caption)}{code}</div>'


@dataclass(frozen=True)
class Table:
    """Part of a tensor: rows of strings, the numbers of the rows and columns shown, and the place of a marked cell.

    numbers: (of rows, of columns). The rows of a vector and of a number have no numbers: None.
    """

    caption: str
    rows: list[list[str]]
    numbers: tuple
    marked: tuple | None = None

    def __str__(self):
        row_numbers, column_numbers = self.numbers
        cells = [
            [f"[{cell}]" if (i, j) == self.marked else cell for j, cell in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]
        if column_numbers is not None:
            cells = [[f"{number}:" for number in column_numbers], *cells]
        if row_numbers is not None:
            cells = [[label, *row] for label, row in zip(["", *(f"{number}:" for number in row_numbers)], cells)]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in cells]
        return "\n".join([self.caption, *(f"    {line}" for line in lines)])

    def _repr_html_(self):
        row_numbers, column_numbers = self.numbers
        lines = []
        if column_numbers is not None:
            corner = [] if row_numbers is None else [f'<td style="{_CELL}"></td>']
            lines.append("".join([*corner, *(_heading(number, "col") for number in column_numbers)]))
        for i, row in enumerate(self.rows):
            label = [] if row_numbers is None else [_heading(row_numbers[i], "row")]
            cells = [
                f'<td style="{_MARKED if (i, j) == self.marked else _CELL}">{html.escape(cell)}</td>'
                for j, cell in enumerate(row)
            ]
            lines.append("".join([*label, *cells]))
        rows = "".join(f"<tr>{line}</tr>" for line in lines)
        # A box that may scroll sideways has to be reachable by keyboard.
        return (
            f'<div style="{_BOX}" tabindex="0"><div>{_inline(self.caption)}</div>'
            f'<table style="{_TABLE}"><tbody>{rows}</tbody></table></div>'
        )


@dataclass(frozen=True)
class Folded:
    """Tables that are too many to stand open. The text has no more than their captions."""

    summary: str
    tables: tuple

    def __str__(self):
        return f"{self.summary}: " + "; ".join(each.caption.removesuffix(":") for each in self.tables)

    def _repr_html_(self):
        tables = "".join(each._repr_html_() for each in self.tables)
        summary = f"<summary>{self.summary}</summary>"
        return f'<details style="{_DETAIL}">{summary}<div style="{_TABLES}">{tables}</div></details>'


def _heading(number, scope):
    return f'<th scope="{scope}" style="{_CELL};font-weight:400;opacity:.75">{number}</th>'


@dataclass(frozen=True)
class Card:
    """The result of a check. Its text is one line, and what `details` have to say stands on lines below."""

    exercise: str
    result: str
    message: str = ""
    details: tuple = ()

    def __repr__(self):
        said = f": {self.message}" if self.message else ""
        return "\n".join([f"{SIGNS[self.result][0]} {self.exercise} {self.result}{said}", *map(str, self.details)])

    def _repr_html_(self):
        sign, colour = SIGNS[self.result]
        said = f": {_inline(self.message)}" if self.message else ""
        below = ""
        for are_tables, details in groupby(self.details, lambda detail: isinstance(detail, Table)):
            shown = "".join(detail._repr_html_() for detail in details)
            below += f'<div style="{_TABLES}">{shown}</div>' if are_tables else shown
        badge = f'<span style="{_BADGE.format(colour=colour)}">{sign}</span>'
        line = f"<div>{badge}<strong>{html.escape(self.exercise)} {self.result}</strong>{said}</div>"
        return f'<div style="{_CARD.format(colour=colour)}">{line}{below}</div>'


def _inline(text):
    """A message as HTML: what stands in backquotes is code, and lines stay lines.

    >>> _inline("is `a < b`?")
    'is <code>a &lt; b</code>?'
    """
    return re.sub("`([^`\n]+)`", r"<code>\1</code>", html.escape(text, quote=False)).replace("\n", "<br>")


def table(name, values, at=(), *, marked=False, decimals=3):
    """The part of a tensor around a place, as a Table whose caption says which part that is.

    values: a tensor of any shape. at: the place; of another tensor's place, as much is used as fits. marked: whether
    the cell at this place is marked. decimals: of floats.
    """
    at = [place if place < size else 0 for place, size in zip(at, values.shape)]
    at += [0] * (values.dim() - len(at))
    outer, inner = at[:-2], at[-2:]
    plane = values[tuple(outer)]
    most = {0: [], 1: [ONE_ROW], 2: [ROWS, COLUMNS]}[plane.dim()]
    parts = [_around(place, size, count) for place, size, count in zip(inner, plane.shape, most)]
    shown = plane[tuple(slice(part.start, part.stop) for part in parts)]
    as_rows = shown.reshape(-1, shown.shape[-1] if parts else 1)
    rows = [[number(cell, decimals) for cell in row] for row in as_rows.tolist()]
    numbers = [None] * (2 - len(parts)) + parts
    inside = [place - part.start for place, part in zip(inner, parts)]
    cell = tuple([0] * (2 - len(inside)) + inside) if marked else None
    return Table(f"{name}{_part(values.shape, outer, parts)}:", rows, tuple(numbers), cell)


def _around(place, size, most):
    """`most` numbers below `size` around a place, or all when there are fewer."""
    first = max(0, min(place - most // 2, size - most))
    return range(first, min(size, first + most))


def _part(shape, outer, parts):
    """Which part of a tensor is shown: '' for all of it.

    >>> _part((2, 9, 4), [1], [range(1, 9), range(4)])
    '[1], of shape (2, 9, 4), rows 1 to 8 only'
    """
    whole = shape[len(outer) :]
    names = ["columns"] if len(parts) == 1 else ["rows", "columns"]
    cut = [f"{name} {part[0]} to {part[-1]}" for name, part, size in zip(names, parts, whole) if len(part) < size]
    said = f"{outer}" if outer else ""
    said += f", of shape {tuple(shape)}" if outer or cut else ""
    return said + (f", {' and '.join(cut)} only" if cut else "")


def number(value, decimals=3):
    """A number in a message or a table.

    >>> number(True), number(3), number(-0.00001), number(1234567.0), number(float("nan"))
    ('1', '3', '0.000', '1.235e+06', 'nan')
    """
    if not isinstance(value, float):
        return str(int(value)) if isinstance(value, bool) else str(value)
    if 1e6 <= abs(value) < torch.inf:
        return f"{value:.{decimals}e}"
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # 0.0 has no sign to show
