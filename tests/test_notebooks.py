"""Hygiene of every notebook, and its claims on the untrained twin. (nbval compares the outputs.)"""

import re
from pathlib import Path

import nbformat
import pytest
from claims import LEDGER, TWIN, ledger, records, stale, stated, stored
from editions import exercises
from execution import measure
from regenerate import PICTURE, picture

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LINES, LONG, DECIMALS = 8, 15, 3  # LONG: set-up and answers
# A number in prose that someone could take for a result: 0.98, 37 %, head 4.3.
RESULT = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)|(?<![\w.])\d+(?= ?%)")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    read = nbformat.read(request.param, 4)
    read.path = request.param
    return read


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(output):
    """All text of an output, its HTML included."""
    yield from [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    yield output.get("text", "")


def printed(cells):
    return "\n".join(text for cell in cells for output in cell.get("outputs", []) for text in texts(output))


def test_there_are_notebooks_and_readme_shows_a_figure_of_the_first():
    assert picture(nbformat.read(NOTEBOOKS[0], 4)) == (ROOT / PICTURE).read_bytes()
    assert f"]({PICTURE.as_posix()})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_valid_and_was_executed_from_top_to_bottom(notebook):
    nbformat.validate(nbformat.from_dict({key: notebook[key] for key in notebook if key != "path"}))
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))


def test_its_outputs_hold_no_error_warning_or_path(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", "".join(texts(output))
            for text in texts(output):
                assert not re.search(r"Warning|(?<![\w<])/(home|root|tmp|Users)/", text), text


def test_it_prints_three_decimals_at_most(notebook):
    found = re.findall(r"\d\.\d+", printed(code(notebook)))
    assert [number for number in found if len(number.partition(".")[2]) > DECIMALS] == []


def test_its_cells_are_short_and_show_their_figures(notebook):
    install, setup, *others = code(notebook)  # the first one is for Colab; test_address.py looks at it
    assert install.id == "install"
    for cell in code(notebook)[1:]:
        limit = LONG if cell is setup or "BEGIN SOLUTION" in cell.source else LINES
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= limit, cell.source
        assert "import *" not in cell.source
        assert "filterwarnings" not in cell.source
        if "plt.subplots" in cell.source:
            assert lines[-1] == "plt.show()", cell.source
    assert not any("import " in cell.source for cell in others), "imports stand in the set-up cell"


def test_its_markdown_is_prose_between_sips_of_code(notebook):
    for before, cell in zip(notebook.cells, notebook.cells[1:]):
        if before.id == "install":
            continue
        if cell.cell_type == before.cell_type == "code":  # two cells in a row: the second is a claim or a printout
            assert re.search(
                r"claim\(|^if |\.round\(|pd\.DataFrame|exercises\.check\(|evidence\.keep\(", cell.source
            ), cell.source


def test_every_figure_has_a_caption_and_an_alt_text(notebook):
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None]):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                assert re.match(r"\*Figure: .+?\*(\n\n|$)", following.source, re.S), cell.source
                assert cell.metadata["alt"], cell.source
                assert output.metadata["image/png"]["alt"] == cell.metadata["alt"], "run `make notebooks`"


def test_one_figure_of_it_is_its_cover(notebook):
    covers = [cell for cell in code(notebook) if "cover" in cell.metadata.get("tags", [])]
    assert len(covers) == 1
    assert any("image/png" in output.get("data", {}) for output in covers[0].outputs)


def test_its_prose_quotes_no_number_that_no_cell_above_printed(notebook):
    for index, cell in enumerate(notebook.cells):
        said = cell.source if cell.cell_type == "markdown" else cell.metadata.get("alt")
        if said:
            prose = re.sub(r"(?m)^#+ .*$|`[^`]*`|\$[^$]*\$", "", said)
            above = notebook.cells[: index + (cell.cell_type == "code")]
            shown = printed(above) + "\n".join(each.source for each in above if each.cell_type == "code")
            for number in RESULT.findall(prose):
                assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", shown), f"{number} in: {said}"


def test_its_claims_are_named_after_it_and_held_when_stored(notebook):
    names = list(stated(notebook))
    assert names
    assert all(name.startswith(notebook.path.name[:2] + ".") for name in names)
    assert [(mark, name) for mark, name, _, _ in stored(notebook)] == [("✓", name) for name in names]
    assert [cell.source for cell in code(notebook)[-2:]] == ["claim.table()", "exercises.progress()"]


@pytest.mark.deep
def test_on_the_untrained_twin_what_was_learned_is_gone(notebook):
    """A claim marked as learned that holds on the twin was not learned; one that is not must hold there too.

    This run is the student edition's, so that it also shows that with all exercises blank a notebook runs to its end.
    """
    record, blank, problem = measure(ROOT / "notebooks" / "student" / notebook.path.name, {"INTERP_UNTRAINED": "1"})
    assert problem is None
    said = re.findall(r"(?m)^. \d[a-l] .+$", printed(code(blank)))
    assert said == [f"○ {name} not attempted" for name in exercises(notebook)]
    assert {name: each["mark"] for name, each in record["claims"].items()} == {
        name: "✗" if learned else "✓" for name, learned in stated(notebook).items()
    }
    kept, digest = records()[TWIN][notebook.path.stem]["claims"], notebook.metadata["stored_with"]["arithmetic"]
    assert stale(kept, record["claims"], digest) == [], "run `make claims`"


def test_the_page_of_claims_says_what_notebooks_and_records_say():
    """Every column: a claim that a notebook has lost or gained since a model was run shows here."""
    assert LEDGER.read_text(encoding="utf-8") == ledger(NOTEBOOKS), "docs/claims.md is stale: run `make claims`"
    for name, of in records().items():
        assert list(of) == [path.stem for path in NOTEBOOKS], name
        for path in NOTEBOOKS:
            if not of[path.stem]["stopped"]:
                assert list(of[path.stem]["claims"]) == list(stated(nbformat.read(path, 4))), (name, path.stem)
