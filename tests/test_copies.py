"""The student's own copies: made once, never written again, and a newer edition is offered."""

import sys

import copies
import nbformat
import pytest

NAME = "01_small.ipynb"
FIRST = "# 1 · Small: is it?\n\n**Time** 60 minutes, and 125 for the exercises."


def edition(*answers, text="Read this."):
    """A blank notebook with a cell for each answer."""
    cells = [nbformat.v4.new_markdown_cell(FIRST), nbformat.v4.new_markdown_cell(text)]
    for number, answer in enumerate(answers):
        marks = {"nbgrader": {"solution": True, "grade_id": f"answer-1{number}"}}
        cells.append(nbformat.v4.new_code_cell(answer, id=f"answer-1{number}", metadata=marks))
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with one notebook, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["copies.py"])
    copies.STUDENT.mkdir(parents=True)
    nbformat.write(edition("stub a", "stub b"), copies.STUDENT / NAME)
    copies.main()
    return tmp_path


def write(*answers):
    """Put answers into the student's copy."""
    copy = nbformat.read(copies.WORK / NAME, 4)
    for cell, answer in zip(copy.cells[2:], answers):
        cell.source = answer
    copy.cells.append(nbformat.v4.new_code_cell("a cell of my own"))
    nbformat.write(copy, copies.WORK / NAME)


def sources(name=NAME):
    return [cell.source for cell in nbformat.read(copies.WORK / name, 4).cells[1:]]


def test_a_copy_is_made_once_and_never_written_again(course, capsys):
    assert sources() == ["Read this.", "stub a", "stub b"]
    write("my a")
    mine = (copies.WORK / NAME).read_bytes()
    nbformat.write(edition("stub a", "stub b", text="Read this again."), copies.STUDENT / NAME)
    copies.main()
    assert (copies.WORK / NAME).read_bytes() == mine
    assert f"The course has a newer edition of {NAME} than your copies" in capsys.readouterr().out
    assert "make newer" in (copies.WORK / "README.md").read_text(encoding="utf-8")


def test_without_a_newer_edition_nothing_is_offered(course, capsys):
    write("my a")
    copies.main()
    assert capsys.readouterr().out == ""
    assert "make newer" not in (copies.WORK / "README.md").read_text(encoding="utf-8")


def test_a_newer_edition_comes_with_the_answers_and_the_old_copy_is_kept(course, capsys, monkeypatch):
    write("my a")
    mine = (copies.WORK / NAME).read_bytes()
    monkeypatch.setattr(sys, "argv", ["copies.py", "--newer"])
    nbformat.write(edition("stub a", "another stub b", "stub c", text="Read this again."), copies.STUDENT / NAME)
    copies.main()
    assert sources() == ["Read this again.", "my a", "another stub b", "stub c"]
    assert (copies.WORK / "01_small_old1.ipynb").read_bytes() == mine
    assert "01_small_old1.ipynb is your old copy" in capsys.readouterr().out
    nbformat.write(edition("stub a", "stub b", "stub c"), copies.STUDENT / NAME)
    copies.main()
    assert sources() == ["Read this.", "my a", "stub b", "stub c"]
    assert (copies.WORK / "01_small_old1.ipynb").read_bytes() == mine
    assert (copies.WORK / "01_small_old2.ipynb").is_file()
    copies.main()
    assert not (copies.WORK / "01_small_old3.ipynb").exists()


def test_a_copy_that_cannot_be_read_stays_as_it_is(course, capsys, monkeypatch):
    (copies.WORK / NAME).write_text("{ cut short", encoding="utf-8")
    nbformat.write(edition("stub a", text="Read this again."), copies.STUDENT / NAME)
    monkeypatch.setattr(sys, "argv", ["copies.py", "--newer"])
    copies.main()
    assert "stays as it is, because it cannot be read" in capsys.readouterr().out
    assert (copies.WORK / NAME).read_text(encoding="utf-8") == "{ cut short"
