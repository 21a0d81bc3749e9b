"""Formulas on pages: MathML in their place, and a dollar that is none stays one."""

import re
from pathlib import Path

import formulas
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.ipynb"))


def test_a_formula_of_one_dollar_stands_in_the_line_and_of_two_by_itself():
    found = formulas.as_mathml("So $a_1$ is\n\n$$b = \\sum_l c_l\n+ d$$\n\nand $e$.")
    assert re.findall(r'display="(\w+)"', found) == ["inline", "block", "inline"]
    assert found.startswith("So <math")
    assert found.endswith("</math>.")
    assert "$" not in found


@pytest.mark.parametrize("text", ["It costs $5.", "`$a$`", "```\n$a$ and $$b$$\n```", "one $\n\nand another $"])
def test_what_is_no_formula_stays_as_it_is(text):
    assert formulas.as_mathml(text) == text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_formula_of_a_notebook_can_be_drawn(path):
    notebook = formulas.with_mathml(nbformat.read(path, 4))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert "$" not in re.sub(r"`[^`]*`", "", cell.source), cell.source
