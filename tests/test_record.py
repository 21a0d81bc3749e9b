"""The student's own record of what was passed, and the overview of it."""

import html
import json
import re
from pathlib import Path

import pytest

from interp_helpers import CheckError, exercises
from interp_helpers.exercises import record
from interp_helpers.exercises.feedback import BLANK, PASSED, WRONG

GRADING = ["INTERP_GRADING", "NBGRADER_EXECUTION", "NBGRADER_VALIDATING"]
SCORES = {"before": 0.6, "after": 0.6}


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    """The path of the record, in an empty folder."""
    for name in GRADING:
        monkeypatch.delenv(name, raising=False)
    new_kernel(monkeypatch)
    monkeypatch.setenv("INTERP_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "progress.json"


def new_kernel(monkeypatch):
    monkeypatch.setattr(exercises, "_results", {})
    monkeypatch.setattr(exercises, "_said", set())


def answer(exercise, said):
    context = SCORES if exercise == "2c" else {}
    exercises.check(exercise, said, **context)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_results_are_kept_and_what_was_passed_once_stays(kept):
    answer("2c", "vanishes")
    assert read(kept) == {"2c": WRONG}
    answer("2c", "stays")
    assert read(kept) == {"2c": PASSED}
    answer("2c", "vanishes")
    answer("2c", None)
    assert read(kept) == {"2c": PASSED}


def test_the_file_is_beside_the_notebook_where_nothing_else_is_said(kept, monkeypatch):
    monkeypatch.delenv("INTERP_PROGRESS")
    answer("2c", "stays")
    assert read(Path("progress.json")) == {"2c": PASSED}


def test_blanks_write_no_file(kept):
    answer("2c", None)
    assert not kept.exists()


def test_nothing_is_kept_where_the_variable_is_empty(kept, monkeypatch):
    monkeypatch.setenv("INTERP_PROGRESS", "")
    answer("2c", "stays")
    assert not kept.exists()
    assert exercises.progress().total.startswith("1 of ")


def test_two_notebooks_do_not_lose_each_others_results(kept, monkeypatch):
    answer("2c", "stays")
    new_kernel(monkeypatch)
    answer("2b", lambda ids: ids)
    assert read(kept) == {"2b": WRONG, "2c": PASSED}
    overview = exercises.progress()
    assert overview.total.startswith("1 of ")
    assert overview.rows[1].results["2c"] == PASSED


def test_what_another_notebook_overwrote_at_the_same_moment_comes_back(kept):
    answer("2c", "stays")
    for again in (lambda: answer("2b", lambda ids: ids), exercises.progress):
        kept.write_text('{"1a": "passed"}', encoding="utf-8")
        again()
        assert read(kept).items() >= {"1a": PASSED, "2c": PASSED}.items()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b'"a"', b"null", b"\xff\xfe", b'{"2a": 3, "2b": ["passed"], "2d": "great"}']
)
def test_a_damaged_file_counts_as_empty(content, kept, capsys):
    kept.write_bytes(content)
    assert exercises.progress().total.startswith("0 of ")
    answer("2c", "stays")
    assert read(kept) == {"2c": PASSED}
    assert "progress" not in capsys.readouterr().out


def test_a_damaged_file_is_kept_beside_the_new_one(kept):
    kept.write_text('{"1a": "passed", "1b"', encoding="utf-8")
    answer("2c", "stays")
    assert kept.with_name("progress.json.damaged").read_text(encoding="utf-8") == '{"1a": "passed", "1b"'


def test_a_file_that_another_editor_saved_with_its_mark_is_read(kept):
    kept.write_text('{"1a": "passed"}', encoding="utf-8-sig")
    assert exercises.progress().total.startswith("1 of ")


def test_results_of_exercises_that_are_not_here_stay_in_the_file(kept):
    kept.write_text('{"99z": "passed"}', encoding="utf-8")
    answer("2c", "stays")
    assert read(kept) == {"2c": PASSED, "99z": PASSED}
    assert exercises.progress().total.startswith("1 of ")


def test_a_file_that_cannot_be_written_stops_nothing_and_is_told_once(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("INTERP_PROGRESS", str(tmp_path / "file" / "progress.json"))
    answer("2c", "stays")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("✓ 2c passed")
    assert second.startswith("Your progress is not kept: ")
    answer("2c", "stays")
    assert "is not kept" not in capsys.readouterr().out
    assert exercises.progress().total.startswith("1 of ")


def test_what_cannot_be_opened_is_not_replaced(kept, capsys):
    kept.mkdir()
    answer("2c", "stays")
    assert f"Your progress is not kept: {kept} cannot be read: " in capsys.readouterr().out
    assert kept.is_dir()
    note = exercises.progress().note
    assert note.startswith(f"What was passed earlier is missing here: {kept} cannot be read: ")
    assert note.endswith("Delete it, or name another file in the environment variable INTERP_PROGRESS.")
    assert note in repr(exercises.progress())
    assert html.escape(note) in exercises.progress()._repr_html_()


@pytest.mark.parametrize("variable", GRADING)
def test_while_grading_what_did_not_pass_raises_and_no_record_is_read_or_written(variable, kept, monkeypatch, capsys):
    kept.write_text('{"2b": "passed"}', encoding="utf-8")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(CheckError) as caught:
        answer("2c", "vanishes")
    assert f"{caught.value}\n" == capsys.readouterr().out
    with pytest.raises(CheckError, match="○ 2c not attempted"):
        answer("2c", None)
    answer("2c", "stays")
    assert read(kept) == {"2b": PASSED}
    assert exercises.progress().total.startswith("1 of ")
    assert exercises.progress().rows[1].results["2b"] == BLANK


# The overview.


def test_the_overview_as_text():
    results = {"1a": PASSED, "1b": WRONG, "1c": PASSED, "1d": BLANK}
    overview = record.Overview(
        [record.Row("1 · One", "01.ipynb", results), record.Row("2 · Other", "02.ipynb", {"2a": BLANK})]
    )
    assert repr(overview).splitlines() == [
        "2 of 5 passed",
        "1 · One    ■■□□  2 of 4  ✓ 1a 1c  ✗ 1b  ○ 1d",
        "2 · Other  □     0 of 1  ○ 2a",
    ]


def test_a_row_of_the_overview_links_its_notebook_where_it_is_there(tmp_path):
    (tmp_path / "02_head_specialization.ipynb").touch()
    source = exercises.progress()._repr_html_()
    assert re.findall(r'<a href="(.+?)">(.+?)</a>', source) == [
        ("02_head_specialization.ipynb", "2 · Head specialization")
    ]
    assert source.count('<th scope="row"') == 9
    assert source == exercises.progress()._repr_html_()


@pytest.mark.parametrize("row", exercises.progress().rows, ids=lambda row: row.file)
def test_files_and_titles_are_those_of_the_notebooks(row):
    path = Path(__file__).parents[1] / "notebooks" / row.file
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
    assert "".join(first).startswith(f"# {row.title}: ")
    assert list(row.results) == list(exercises.checkers(int(row.title[0])))
