"""The student's own copies: made once, never written again, and a newer edition is offered."""

import shutil
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


def test_a_copy_holds_what_jupyterlab_would_write_into_it(course):
    about = nbformat.read(copies.WORK / NAME, 4).metadata
    assert about.language_info.version == ".".join(map(str, sys.version_info[:3]))
    assert about.kernelspec.name == "python3"


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
    said = capsys.readouterr().out
    assert "01_small_old1.ipynb is your old copy." in said
    assert "choose Revert" in said
    nbformat.write(edition("stub a", "stub b", "stub c"), copies.STUDENT / NAME)
    copies.main()
    assert sources() == ["Read this.", "my a", "stub b", "stub c"]
    assert (copies.WORK / "01_small_old1.ipynb").read_bytes() == mine
    assert (copies.WORK / "01_small_old2.ipynb").is_file()
    copies.main()
    assert not (copies.WORK / "01_small_old3.ipynb").exists()


@pytest.mark.parametrize("text", ["{ cut short", "{}", "[]"])
def test_a_copy_that_cannot_be_read_stays_as_it_is(text, course, capsys, monkeypatch):
    (copies.WORK / NAME).write_text(text, encoding="utf-8")
    nbformat.write(edition("stub a", text="Read this again."), copies.STUDENT / NAME)
    monkeypatch.setattr(sys, "argv", ["copies.py", "--newer"])
    copies.main()
    assert "stays as it is, because the newer edition could not be made" in capsys.readouterr().out
    assert (copies.WORK / NAME).read_text(encoding="utf-8") == text


def test_answers_are_known_by_their_mark_also_where_a_cell_was_split_or_pasted(course, monkeypatch):
    copy = nbformat.read(copies.WORK / NAME, 4)
    first, second = copy.cells[2:]
    first.source = "the lower half"
    upper = nbformat.v4.new_code_cell("the upper half", metadata=first.metadata)
    second.id, second.source = "another-id", "my b"
    copy.cells.insert(2, upper)
    nbformat.write(copy, copies.WORK / NAME)
    nbformat.write(edition("stub a", "stub b", text="Read this again."), copies.STUDENT / NAME)
    monkeypatch.setattr(sys, "argv", ["copies.py", "--newer"])
    copies.main()
    assert sources() == ["Read this again.", "the upper half\nthe lower half", "my b"]


def test_an_answer_without_a_place_in_the_newer_edition_is_named(course, capsys, monkeypatch):
    write("my a", "my b")
    nbformat.write(edition("stub a", text="Read this again."), copies.STUDENT / NAME)
    monkeypatch.setattr(sys, "argv", ["copies.py", "--newer"])
    copies.main()
    assert "It has no place for what you wrote in answer-11: look there." in capsys.readouterr().out


def test_when_the_newer_edition_cannot_be_written_the_copy_is_still_there(course, capsys, monkeypatch):
    def full(path, text):
        raise OSError("No space left on device")

    write("my a")
    mine = (copies.WORK / NAME).read_bytes()
    nbformat.write(edition("stub a", "stub b", text="Read this again."), copies.STUDENT / NAME)
    monkeypatch.setattr(sys, "argv", ["copies.py", "--newer"])
    monkeypatch.setattr(copies, "write_whole", full)
    copies.main()
    assert (copies.WORK / NAME).read_bytes() == mine
    assert "could not be made: No space left on device" in capsys.readouterr().out


def test_what_else_was_saved_beside_the_blank_notebooks_is_none_of_them(course):
    for name in ("Untitled.ipynb", "01_small-Copy1.ipynb"):
        nbformat.write(nbformat.v4.new_notebook(), copies.STUDENT / name)
    copies.main()
    assert sorted(path.name for path in copies.WORK.glob("*.ipynb")) == [NAME]


def test_where_nothing_can_be_written_a_sentence_says_so(course, monkeypatch):
    monkeypatch.setattr(copies, "WORK", copies.STUDENT / NAME / "work")  # inside of a file
    with pytest.raises(SystemExit, match="Put the course where you may write"):
        copies.main()


def test_asking_for_help_makes_nothing(course, monkeypatch):
    shutil.rmtree(copies.WORK)
    monkeypatch.setattr(sys, "argv", ["copies.py", "--help"])
    with pytest.raises(SystemExit):
        copies.main()
    assert not copies.WORK.exists()
