"""`make run`: what a notebook of the run sees, and what is left of it."""

import nbformat
import pytest
import run


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A notebook that prints its environment, in a folder of its own, and an empty build folder."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    for name in ("INTERP_UNTRAINED", "INTERP_SENTENCES", "INTERP_MODEL", "INTERP_CLAIMS"):
        monkeypatch.delenv(name, raising=False)
    source = "import os\nprint({k: v for k, v in os.environ.items() if k in ('INTERP_MODEL', 'INTERP_SENTENCES')})"
    path = tmp_path / "notebooks" / "01_small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
    return path


def test_a_file_is_found_from_the_notebooks_folder(notebook, monkeypatch, capsys):
    (notebook.parent.parent / "mine.csv").write_text("text\nhello", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["run.py", "--model", "some/name", "--sentences", "mine.csv", str(notebook)])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert end.value.code is None
    shown = nbformat.read(run.BUILD / "01_small.ipynb", 4).cells[0].outputs[0].text
    assert eval(shown) == {
        "INTERP_MODEL": "some/name",
        "INTERP_SENTENCES": str(notebook.parent.parent / "mine.csv"),
    }
    assert 'href="01_small.html"' in (run.BUILD / "index.html").read_text(encoding="utf-8")


def test_a_cell_that_fails_is_reported_and_the_others_still_run(notebook, monkeypatch, capsys):
    broken = notebook.with_name("00_broken.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), broken)
    monkeypatch.setattr("sys.argv", ["run.py", str(broken), str(notebook)])
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        run.main()
    assert (run.BUILD / "01_small.ipynb").is_file()


def stops(notebook, monkeypatch, capsys, source):
    """(What the run says at its end when a first notebook has this cell, whether the second one was run)."""
    broken = notebook.with_name("00_broken.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), broken)
    monkeypatch.setattr("sys.argv", ["run.py", str(broken), str(notebook)])
    with pytest.raises(SystemExit) as end:
        run.main()
    assert "00_broken" in capsys.readouterr().out
    return end.value.code.removeprefix(f"{broken}: "), (run.BUILD / "01_small.ipynb").is_file()


def test_a_model_that_cannot_be_loaded_is_one_line_and_ends_the_run(notebook, monkeypatch, capsys):
    source = "import interp_helpers as ih\nih.load_model('./nowhere')"
    said, others = stops(notebook, monkeypatch, capsys, source)
    assert said.startswith("ModelError: There is no folder './nowhere'.")
    assert "\n" not in said
    assert not others


def test_another_error_of_the_package_is_one_line_and_the_others_still_run(notebook, monkeypatch, capsys):
    source = "import interp_helpers as ih\nraise ih.ModelError('This model has no position embedding.')"
    said, others = stops(notebook, monkeypatch, capsys, source)
    assert said == "ModelError: This model has no position embedding."
    assert others


def test_any_other_error_keeps_its_traceback_without_colours(notebook, monkeypatch, capsys):
    said, others = stops(notebook, monkeypatch, capsys, "1 / 0")
    assert "Traceback" in said
    assert "\x1b" not in said
    assert others
