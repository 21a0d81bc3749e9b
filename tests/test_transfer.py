"""`make transfer`: every notebook runs to its end on models that lack what storybook has."""

from pathlib import Path

import nbformat
import pytest
from claims import section, stated
from execution import measure
from random_models import MODELS, make

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "student").glob("[0-9]*.ipynb"))
LIVE = "07_training_dynamics"  # trains for most of a minute, on no matter which model


def cases():
    for name in MODELS:
        for path in NOTEBOOKS:
            quick = name == "random bare" and path.stem != LIVE
            yield pytest.param(name, path, id=f"{name}-{path.stem}", marks=[] if quick else pytest.mark.transfer)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """name -> the folder of that model, made when it is first asked for."""
    made = tmp_path_factory.mktemp("models")

    def find(name):
        if not (made / name).is_dir():
            make(name, made)
        return made / name

    return find


@pytest.mark.parametrize(("name", "path"), list(cases()))
def test_a_notebook_runs_to_its_end_on_another_model(name, path, folder):
    record, notebook, problem = measure(path, {"INTERP_MODEL": str(folder(name))}, timeout=7200)
    assert problem is None, record["stopped"]
    learned = stated(notebook)
    assert list(record["claims"]) == list(learned)
    for claim, each in record["claims"].items():
        if learned[claim] and each["value"] == "nan":
            assert each["because"], f"{claim} measured nothing and does not say why"


def test_the_ledger_gives_a_cross_its_reason_and_a_dash_to_what_was_not_reached(tmp_path):
    path = tmp_path / "01_small.ipynb"
    cells = [f'claim("01.{name}", "Sentence {name}", 1, True, learned=True)' for name in "abc"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    for name, cell in zip("abc", made.cells):
        cell.outputs = [nbformat.v4.new_output("stream", text=f"✓ 01.{name}  Sentence {name}  [1]\n")]
    nbformat.write(made, path)
    found = {
        "01.a": {"mark": "✓", "value": "2", "because": ""},
        "01.b": {"mark": "✗", "value": "nan", "because": "it has one layer"},
    }
    columns = {"tiny": {path.stem: {"claims": found, "stopped": "ValueError: empty"}}, "other": {}}
    lines = section(path, columns).splitlines()
    assert lines[5:] == [
        "| 01.a | Sentence a | ✓ 1 | ✓ 2 | – | yes |",
        "| 01.b | Sentence b | ✓ 1 | ✗ nan | – | yes |",
        "| 01.c | Sentence c | ✓ 1 | – | – | yes |",
        "",
        "- 01.c on tiny: ValueError: empty.",
        "- 01.b on tiny: it has one layer.",
        "- 01.a, 01.b, 01.c on other: not run.",
    ]
