"""Other models: every notebook runs to its end on those that lack what storybook has, and what docs/claims.md says."""

from pathlib import Path

import nbformat
import pytest
from claims import section, stale, stated
from execution import measure
from random_models import MODELS, make
from stored_outputs import arithmetic

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks" / "student").glob("[0-9]*.ipynb"))
WITHOUT_NOUNS = [("09_probes", name) for name in ("random lowercase", "random bare")]  # they cut most nouns


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """name -> the folder of that model, made when it is first asked for."""
    made = tmp_path_factory.mktemp("models")

    def find(name):
        if not (made / name).is_dir():
            make(name, made)
        return made / name

    return find


@pytest.mark.transfer
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", MODELS)
def test_a_notebook_runs_to_its_end_on_another_model(name, path, folder):
    record, notebook, problem = measure(path, {"INTERP_MODEL": str(folder(name))}, timeout=7200)
    if (path.stem, name) in WITHOUT_NOUNS:
        assert "We need nouns that the tokenizer keeps whole" in record["stopped"]
        return
    assert problem is None, record["stopped"]
    learned = stated(notebook)
    assert list(record["claims"]) == list(learned)
    for claim, each in record["claims"].items():
        if learned[claim] and each["value"] == "nan":
            assert each["because"], f"{claim} measured nothing and does not say why"


def test_the_page_of_claims_gives_a_cross_its_reason_and_a_dash_to_what_was_not_reached(tmp_path):
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


def test_a_record_that_differs_from_a_run_is_stale():
    kept = {"01.a": {"mark": "✓", "value": "2", "because": ""}, "01.b": {"mark": "✗", "value": "1", "because": "why"}}
    assert stale(kept, kept, arithmetic()) == []
    for other in [{"mark": "✗"}, {"value": "3"}, {"because": "why"}]:
        assert stale(kept, {**kept, "01.a": {**kept["01.a"], **other}}, arithmetic()) == ["01.a"]
    assert stale(kept, {"01.a": kept["01.a"]}, arithmetic()) == ["01.b"]
    assert stale({}, kept, arithmetic()) == ["01.a", "01.b"]
