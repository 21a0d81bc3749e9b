"""Formulas as MathML, which browsers draw by themselves: a page needs neither a script nor a network for them."""

import re

from latex2mathml.converter import convert

# A formula between one dollar or two, and before it the code in which a dollar is a dollar.
FORMULA = re.compile(r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|(?<!\$)\$([^$\n]+?)\$(?!\$)", re.S)


def as_mathml(markdown):
    """A text in Markdown with its formulas as MathML.

    >>> as_mathml("`$x$` and $x$")
    '`$x$` and <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>x</mi></mrow></math>'
    """

    def formula(found):
        code, shown, inline = found.groups()
        return code or convert(shown or inline, display="block" if shown else "inline")

    return FORMULA.sub(formula, markdown)


def with_mathml(notebook):
    """The notebook, changed: its formulas as MathML."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = as_mathml(cell.source)
    return notebook
