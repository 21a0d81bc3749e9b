"""The course as it is, in the hands of the real nbgrader: an assignment is generated, handed in, and graded."""

import copy
import importlib.util
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import course
import editions
import grade
import nbformat
import pytest

HAS_NBGRADER = importlib.util.find_spec("nbgrader") is not None
with_nbgrader = pytest.mark.skipif(not HAS_NBGRADER, reason="nbgrader is not installed: make grading")
ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_baseline.ipynb"
NAME = NOTEBOOK.stem


def nbgrader(folder, *words):
    command = [sys.executable, "-m", "nbgrader", *words]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it calls alembic by name
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def sources(path, kind):
    """The cells of a kind; nbgrader leaves the line break in front of a rubric."""
    return [cell.source.rstrip("\n") for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


def hand_in(folder, student, notebook, change):
    """A submission of a student: a blank notebook, with `change(cell, solution)` as the source of every answer."""
    solutions = {cell.metadata.nbgrader.grade_id: cell for cell in nbformat.read(NOTEBOOK, 4).cells
                 if cell.metadata.get("nbgrader", {}).get("solution")}  # fmt: skip
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = change(cell, solutions[cell.metadata.nbgrader.grade_id])
    place = folder / "submitted" / student / NAME
    place.mkdir(parents=True)
    nbformat.write(notebook, place / NOTEBOOK.name)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The course's folder after two submissions were graded: a blank one, and one with its first answer missing.

    The first is of what nbgrader released, the second of the student edition.
    """
    folder = tmp_path_factory.mktemp("course")
    course.main(folder, [NOTEBOOK])
    nbgrader(folder, "generate_assignment", NAME)
    first = next(iter(editions.exercises(nbformat.read(NOTEBOOK, 4))))
    released = folder / "release" / NAME / NOTEBOOK.name
    hand_in(folder, "blank", nbformat.read(released, 4), lambda cell, solution: cell.source)
    hand_in(folder, "one_short", editions.blank(nbformat.read(NOTEBOOK, 4)), lambda cell, solution: (
        cell if cell.metadata.nbgrader.grade_id == f"answer-{first}" else solution).source)  # fmt: skip
    nbgrader(folder, "autograde", NAME)
    return folder


def marks(folder):
    """{student: {check: points}} of the autograder, as nbgrader keeps them."""
    found = {}
    for student in ("blank", "one_short"):
        with sqlite3.connect(folder / "gradebook.db") as book:
            rows = book.execute(
                "select base_cell.name, grade.auto_score from grade join base_cell on grade.cell_id = base_cell.id"
                " join submitted_notebook n on grade.notebook_id = n.id"
                " join submitted_assignment a on n.assignment_id = a.id where a.student_id = ?",
                (student,),
            ).fetchall()
        found[student] = {name: score for name, score in rows if name.startswith("check-")}
    return found


@pytest.mark.deep
@with_nbgrader
def test_what_nbgrader_releases_is_the_student_edition_without_its_banner(graded):
    released = graded / "release" / NAME / NOTEBOOK.name
    for kind in ("code", "markdown"):
        edition = sources(ROOT / "notebooks" / "student" / NOTEBOOK.name, kind)
        assert sources(released, kind) == [each.replace(f"{editions.BANNER}\n\n", "") for each in edition]
    assert not any(cell.get("outputs") for cell in nbformat.read(released, 4).cells)


@pytest.mark.deep
@with_nbgrader
def test_a_check_gives_its_points_for_a_right_answer_and_none_for_a_blank(graded):
    points = {
        f"check-{name}": int(each["difficulty"])
        for name, each in editions.exercises(nbformat.read(NOTEBOOK, 4)).items()
    }
    assert marks(graded) == {
        "blank": dict.fromkeys(points, 0),
        "one_short": {**points, next(iter(points)): 0},  # and the checks after one that failed still count
    }


@pytest.mark.deep
@with_nbgrader
def test_a_teacher_can_give_points_for_the_project(graded):
    with sqlite3.connect(graded / "gradebook.db") as book:
        tasks = book.execute(
            "select base_cell.name, max_score from task_cells join base_cell on task_cells.id = base_cell.id"
        ).fetchall()
    assert tasks == [(f"project-{list(editions.exercises(nbformat.read(NOTEBOOK, 4)))[-1]}", editions.RUBRIC_POINTS)]


def test_a_course_can_be_made_twice(tmp_path):
    for _ in range(2):
        course.main(tmp_path, [NOTEBOOK])
    assert (tmp_path / "source" / NAME / NOTEBOOK.name).read_bytes() == NOTEBOOK.read_bytes()


# ---- a small assignment: two exercises and a project of notebook 01, none of which needs the model


SMALL = "small"
CELLS = ["exercise-1a", "answer-1a", "check-1a", "exercise-1d", "answer-1d", "check-1d", "exercise-1h", "tools-1h"]


def small():
    """The assignment with its solutions."""
    there = {cell.id: cell for cell in nbformat.read(NOTEBOOK, 4).cells}
    set_up = nbformat.v4.new_code_cell("import torch\n\nfrom interp_helpers import exercises", id="set-up")
    end = nbformat.v4.new_markdown_cell("The end.", id="end")
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[set_up, *(there[each] for each in CELLS), end], metadata=metadata)


def answered():
    """What a student hands in who has answered all."""
    notebook, solutions = released(), {cell.id: cell for cell in small().cells}
    for cell in notebook.cells:
        if cell.id.startswith("answer"):
            cell.source = editions.replace(solutions[cell.id].source.replace("### BEGIN", "#").replace("### END", "#"),
                                           "SOLUTION", None)  # fmt: skip
    return notebook


def released():
    """The assignment as students get it: the checked copy of a submission is to be of this kind."""
    notebook = small()
    for cell in notebook.cells:
        cell.source = editions.replace(editions.replace(cell.source, "SOLUTION", editions.STUB), "MARK SCHEME", None)
        cell.metadata = {name: about for name, about in cell.metadata.items() if name == "nbgrader"}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def at(notebook, name):
    return next(number for number, cell in enumerate(notebook.cells) if cell.id == name)


def twice(name, source=None):
    """The damage: a cell is there again right below, with another source when one is given."""

    def damage(notebook):
        again = copy.deepcopy(notebook.cells[at(notebook, name)])
        again.id, again.source = "again", again.source if source is None else source
        notebook.cells.insert(at(notebook, name) + 1, again)

    return damage


def split(name, lines):
    """The damage: a cell is split, as JupyterLab does it: the metadata are in both parts."""

    def damage(notebook):
        cell = notebook.cells[at(notebook, name)]
        rest = copy.deepcopy(cell)
        parts = cell.source.split("\n")
        cell.source, rest.source, rest.id = "\n".join(parts[:lines]), "\n".join(parts[lines:]), f"{name}-rest"
        notebook.cells.insert(at(notebook, name) + 1, rest)

    return damage


def as_text(name):
    """The damage: a code cell is turned into markdown."""

    def damage(notebook):
        cell = notebook.cells[at(notebook, name)]
        made = nbformat.v4.new_markdown_cell(cell.source, id=cell.id, metadata=cell.metadata)
        notebook.cells[at(notebook, name)] = made

    return damage


def copied(name, place):
    """The damage: a copy of a cell stands somewhere else, too."""

    def damage(notebook):
        again = copy.deepcopy(notebook.cells[at(notebook, name)])
        again.id = "again"
        notebook.cells.insert(place, again)

    return damage


def deleted(name):
    return lambda notebook: notebook.cells.pop(at(notebook, name))


def changed(name, source):
    return lambda notebook: notebook.cells[at(notebook, name)].update(source=source)


def stripped(notebook):
    for cell in notebook.cells:
        cell.metadata = {}


def foreign(notebook):
    """The damage: an answer of another notebook was pasted in, with its metadata."""
    cell = nbformat.v4.new_code_cell("x = 1", id="foreign")
    cell.metadata["nbgrader"] = {**notebook.cells[2].metadata["nbgrader"], "grade_id": "answer-9z"}
    notebook.cells.append(cell)


REPAIRS = {  # damage: what is said about it
    "nothing": (lambda notebook: None, None),
    "check twice": (twice("check-1a"), "the check cell of 1a was there 2 times, or in as many parts and was put back"),
    "check split": (split("check-1a", 0), "the check cell of 1a was there 2 times, or in as many parts"),
    "check as text": (as_text("check-1a"), "the check cell of 1a had been changed and was put back"),
    "check deleted": (deleted("check-1a"), "the check cell of 1a was missing and was put back"),
    "check changed": (changed("check-1a", ""), "the check cell of 1a had been changed and was put back"),
    "answer twice": (twice("answer-1a"), "the answer cell of 1a was there 2 times; one of them was kept"),
    "stub below": (
        twice("answer-1a", released().cells[2].source),
        "the answer cell of 1a was there 2 times; one of them was kept",
    ),
    "answer at the end": (copied("answer-1a", 9), "the answer cell of 1a was there 2 times; one of them was kept"),
    "check above": (copied("check-1a", 0), "the check cell of 1a was there 2 times, or in as many parts"),
    "answer split": (split("answer-1a", 5), "the answer cell of 1a was there 2 times; 2 parts were joined in"),
    "answer as text": (as_text("answer-1a"), "the answer cell of 1a had become a markdown cell and is code again"),
    "project twice": (twice("exercise-1h"), "the project cell of 1h was there 2 times, or in as many parts and was"),
    "no metadata": (stripped, "the answer cell of 1a had lost nbgrader's metadata"),
    "foreign cell": (foreign, None),
}


@pytest.fixture
def checked(tmp_path):
    """A function that gives what grade.repaired makes of a notebook: the copy, the repairs, the questions."""

    def check(notebook):
        for name, each in {"release": released(), "submitted": notebook}.items():
            nbformat.write(each, tmp_path / name)
        return grade.repaired(grade.read(tmp_path / "submitted"), grade.read(tmp_path / "release"))

    return check


@pytest.mark.parametrize("damage", REPAIRS)
def test_damage_that_can_be_repaired_in_one_way_is(damage, checked):
    intact = [cell.source for cell in answered().cells]
    marks = [cell.metadata.get("nbgrader") for cell in answered().cells]
    notebook = answered()
    REPAIRS[damage][0](notebook)
    before = copy.deepcopy(notebook)
    made, repairs, questions = checked(notebook)
    if damage == "foreign cell":
        assert made.cells.pop().metadata == {}
    assert [cell.source for cell in made.cells] == intact
    assert [cell.metadata.get("nbgrader") for cell in made.cells] == marks
    assert [cell.cell_type for cell in made.cells] == [cell.cell_type for cell in answered().cells]
    assert not questions
    assert notebook == before
    if REPAIRS[damage][1]:
        assert repairs[0].startswith(REPAIRS[damage][1])
    else:
        assert not repairs


def test_a_second_repair_finds_nothing_to_do(checked):
    notebook = answered()
    for damage in (split("check-1a", 0), split("answer-1d", 5), changed("exercise-1h", "My report."), stripped):
        damage(notebook)
    made, repairs, _ = checked(notebook)
    assert repairs
    assert checked(made)[:2] == (made, [])


def test_two_different_answers_are_left_to_the_teacher(checked):
    notebook = answered()
    twice("answer-1a", "def next_token_probabilities(logits, temperature, top_p):\n    return logits")(notebook)
    made, _, questions = checked(notebook)
    assert questions == ["the answer cell of 1a is there 2 times, with different answers. Leave the one that counts."]
    assert sum(cell.metadata.get("nbgrader", {}).get("grade_id") == "answer-1a" for cell in made.cells) == 2


def test_a_deleted_answer_does_not_come_back_over_an_answer_in_another_cell(checked):
    notebook = answered()
    cell = notebook.cells[at(notebook, "answer-1a")]
    cell.metadata, cell.id = {}, "mine"
    deleted("check-1a")(notebook)
    made, repairs, questions = checked(notebook)
    assert made.cells[at(made, "mine")].source == cell.source
    assert at(made, "check-1a") == at(made, "mine") + 1
    assert not questions
    assert repairs == [
        "the answer cell of 1a is missing; an answer that stands in another cell counts",
        "the check cell of 1a was missing and was put back",
    ]


def test_what_was_written_into_a_project_or_a_check_is_kept(checked):
    notebook = answered()
    changed("exercise-1h", "My report.")(notebook)
    changed("check-1a", "mine = 2")(notebook)
    made, repairs, _ = checked(notebook)
    assert [made.cells[at(made, name) - 1].source for name in ("check-1a", "exercise-1h")] == ["mine = 2", "My report."]
    assert all(each.endswith("what was written into it stands in front of it") for each in repairs)


def test_checks_and_projects_are_recognised_by_their_text_when_all_else_is_lost(checked):
    notebook = answered()
    stripped(notebook)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"other-{number}"
    made, repairs, questions = checked(notebook)
    assert [cell.source for cell in made.cells] == [cell.source for cell in answered().cells]
    marks = [cell.metadata.nbgrader.grade_id for cell in made.cells if "nbgrader" in cell.metadata]
    assert [name for name in marks if not name.startswith("tools")] == ["check-1a", "check-1d", "project-1h"]
    assert "the answer cell of 1d is missing; an answer that stands in another cell counts" in repairs
    assert not questions


def test_a_notebook_of_another_assignment_is_named(checked):
    other = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    assert checked(other)[2] == ["No cell of the assignment is in it. Was another notebook meant?"]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"cells": 1}', '{"nbformat": 4, "cells": [{}]}'])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "x.ipynb").write_text(text)
    with pytest.raises(grade.SubmissionError, match=r"x\.ipynb is (empty|not a notebook).*Ask the student"):
        grade.read(tmp_path / "x.ipynb")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"small (1).ipynb": answered}, "small (1).ipynb was taken for small.ipynb"),
        ({"small.ipynb": released, "mine.ipynb": answered}, "mine.ipynb was taken for small.ipynb"),
        ({"small.ipynb.txt": answered}, "small.ipynb.txt was taken for small.ipynb"),
    ],
)
def test_the_file_that_was_meant_is_found(tmp_path, files, said):
    for name, make in files.items():
        nbformat.write(make(), tmp_path / name)
    path, notebook, remarks = grade.chosen(tmp_path, SMALL, released())
    assert path.name == said.split(" was")[0]
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in answered().cells]
    assert remarks[0] == said


def test_a_notebook_of_an_older_format_gets_the_same_ids_every_time(tmp_path):
    notebook = answered()
    notebook.nbformat_minor = 4
    for cell in notebook.cells:
        del cell["id"]
    nbformat.write(notebook, tmp_path / "small.ipynb")
    made, repairs, questions = grade.repaired(grade.read(tmp_path / "small.ipynb"), released())
    assert made == grade.repaired(grade.read(tmp_path / "small.ipynb"), released())[0]
    assert [cell.metadata.get("nbgrader") for cell in made.cells] == [
        cell.metadata.get("nbgrader") for cell in answered().cells
    ]
    assert not repairs
    assert not questions


def test_a_byte_order_mark_in_front_of_a_notebook_does_no_harm(tmp_path):
    text = nbformat.writes(answered())
    (tmp_path / "small.ipynb").write_text(text, encoding="utf-8-sig")
    assert len(grade.read(tmp_path / "small.ipynb").cells) == len(answered().cells)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["small.ipynb", "mine.ipynb"], r"several notebooks with answers: mine\.ipynb and small\.ipynb"),
        (["report.txt"], r"no notebook but report\.txt\. Ask the student"),
        ([], "no notebook but nothing"),
    ],
)
def test_a_doubt_about_the_file_is_named(tmp_path, names, said):
    for name in names:
        nbformat.write(answered(), tmp_path / name)
    with pytest.raises(grade.SubmissionError, match=said):
        grade.chosen(tmp_path, SMALL, released())


# ---- the validator, which a student may call before handing in


def half_answered():
    """What a student hands in who has answered 1a wrongly and 1d not at all."""
    notebook = released()
    changed("answer-1a", "def next_token_probabilities(logits, temperature, top_p):\n    return logits.softmax(-1)")(
        notebook
    )
    return notebook


def by_command(path):
    return nbgrader(path.parent, "validate", path.name, f"--ExecutePreprocessor.timeout={VALIDATION_S}").stdout


def by_button(path):
    """What the Validate button of JupyterLab says."""
    from nbgrader.server_extensions.validate_assignment.handlers import ValidateAssignmentHandler
    from traitlets.config import Config

    config = Config({"Execute": {"timeout": VALIDATION_S}})
    server = SimpleNamespace(root_dir=path.parent, load_config=lambda: config, log=logging.getLogger())
    reply = ValidateAssignmentHandler.validate_notebook(server, path.name)
    assert reply["success"], reply["value"]
    return "\n".join(f"{kind}: {cell}" for kind, cells in reply["value"].items() for cell in cells) or "Success!"


VALIDATION_S = 240  # a cell, on a busy machine


@pytest.mark.deep
@with_nbgrader
@pytest.mark.parametrize("validate", [by_command, by_button])
def test_validate_passes_what_is_right_and_names_what_is_wrong_or_blank(tmp_path, monkeypatch, validate):
    monkeypatch.delenv("INTERP_GRADING", raising=False)
    nbformat.write(answered(), tmp_path / "right.ipynb")
    nbformat.write(half_answered(), tmp_path / "half.ipynb")
    assert validate(tmp_path / "right.ipynb").startswith("Success!")
    said = validate(tmp_path / "half.ipynb")
    assert "Success" not in said
    assert "1a not yet" in said
    assert "1d not attempted" in said


@pytest.mark.deep
@with_nbgrader
def test_validate_says_that_a_check_was_changed(tmp_path):
    from nbgrader.utils import compute_checksum

    notebook = answered()
    check = notebook.cells[at(notebook, "check-1a")]
    check.metadata.nbgrader.checksum = compute_checksum(check)  # as nbgrader's release has it
    check.source += "  # mine"
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    said = by_command(tmp_path / "changed.ipynb")
    assert "THE CONTENTS OF 1 TEST CELL(S) HAVE CHANGED" in said
    assert check.source in said


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["course"], "Say which folder: make course COURSE=folder"),
        (["grade", "NAME=x"], "Say which folder: make grade"),
        (["grade", "COURSE=x"], "Say which notebook: make grade"),
    ],
)
def test_make_asks_for_what_it_needs(words, said):
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stdout


# ---- a class of thirty


ENDLESS = "def attention_by_distance(rows, prompt_length):\n    while True:\n        pass"
MANY_MB = 50


def large(notebook):
    """The damage: outputs of 50 MB."""
    text = nbformat.v4.new_output("stream", text="x" * 1_000_000)
    notebook.cells[at(notebook, "check-1a")].outputs = [copy.deepcopy(text) for _ in range(MANY_MB)]


DAMAGED = {  # student: (the damage, points or the reason why there are none)
    "check_twice": (twice("check-1a"), "5 of 5 points"),
    "check_deleted": (deleted("check-1d"), "5 of 5 points"),
    "answer_split": (split("answer-1d", 5), "5 of 5 points"),
    "stripped": (stripped, "5 of 5 points"),
    "large": (large, "5 of 5 points"),
    "syntax": (changed("answer-1a", "def next_token_probabilities(:"), "3 of 5 points"),
    "endless": (changed("answer-1d", ENDLESS), "2 of 5 points"),  # the check stops it
    "spins": (changed("tools-1h", "while True:\n    pass"), "5 of 5 points"),  # nbgrader stops it
    "blank": (lambda notebook: notebook.update(released()), "0 of 5 points"),
    "wrong": (changed("answer-1d", ENDLESS.replace("while True:\n        pass", "return rows[0]")), "2 of 5 points"),
    "two_answers": (
        twice("answer-1a", "def next_token_probabilities(*_):\n    return 1"),
        "not graded. small.ipynb: the",
    ),
    # None of these answers 1d. The last two keep the check from running, or its error from showing.
    **{
        name: (changed("answer-1d", code), "2 of 5 points")
        for name, code in {
            "no_variable": 'import os\nos.environ.pop("INTERP_GRADING")',
            "no_check": "exercises.check = lambda *given, **named: None",
            "no_judge": "from interp_helpers.exercises import judging\njudging.compare = lambda *given, **named: None",
            "no_cell": "get_ipython().input_transformers_cleanup.append(\n"
            '    lambda lines: [] if "check(" in "".join(lines) else lines\n)',
            "no_error": "get_ipython().set_custom_exc((Exception,), lambda *given, **named: None)",
        }.items()
    },
    "killed": (changed("tools-1h", "import os\nos._exit(1)"), "not graded. Python ended in the cell that begins with"),
}
FILES = {  # student: ((name of the file, its text), the reason why there are no points)
    "empty": (("small.ipynb", ""), "not graded. small.ipynb is empty. Ask the student"),
    "no_json": (("small.ipynb", "<html>"), "not graded. small.ipynb is not a notebook"),
    "text_file": (("small.txt", "My answer: 42"), "not graded. There is no notebook but small.txt."),
}


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """(the course's folder, what grade.py prints, its exit status) of thirty submissions, half of them damaged."""
    folder = tmp_path_factory.mktemp("class")
    nbformat.write(small(), folder / "small.ipynb")
    course.main(folder, [folder / "small.ipynb"])
    config = folder / "nbgrader_config.py"
    config.write_text(config.read_text().replace("timeout = 600", "timeout = 40"))
    nbgrader(folder, "generate_assignment", SMALL)
    for number in range(30 - len(DAMAGED) - len(FILES) - 2):
        hand_in_small(folder, f"good_{number:02}", lambda notebook: None)
    for student, (damage, _) in DAMAGED.items():
        hand_in_small(folder, student, damage)
    for student, ((name, text), _) in FILES.items():
        (folder / "submitted" / student / SMALL).mkdir(parents=True)
        (folder / "submitted" / student / SMALL / name).write_text(text)
    hand_in_small(folder, "odd_date", lambda notebook: None)
    (folder / "submitted" / "odd_date" / SMALL / "timestamp.txt").write_text("yesterday")  # nbgrader stops at it
    hand_in_small(folder, "space ", lambda notebook: None, name="my small.ipynb")
    before = grade.contents(folder / "submitted")
    said = grade_class(folder)
    assert grade.contents(folder / "submitted") == before  # what was handed in is never changed
    return folder, *said


def hand_in_small(folder, student, damage, name="small.ipynb"):
    notebook = nbformat.read(folder / "release" / SMALL / "small.ipynb", 4)
    solutions = {cell.id: cell.source for cell in answered().cells}
    for cell in notebook.cells:
        cell.source = solutions[cell.id]
    damage(notebook)
    place = folder / "submitted" / student / SMALL
    place.mkdir(parents=True)
    nbformat.write(notebook, place / name)


def grade_class(folder):
    command = [sys.executable, ROOT / "dev" / "classroom" / "grade.py", folder, SMALL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def rows(said):
    """{student: what stands in the table}."""
    return dict(line.split(maxsplit=1) for line in said.splitlines()[:-1] if not line.startswith(" "))


@pytest.mark.deep
@with_nbgrader
def test_damaged_submissions_are_named_and_stop_no_other(batch):
    _, said, status = batch
    found, expected = rows(said), {student: row for student, (_, row) in {**DAMAGED, **FILES}.items()}
    expected["odd_date"] = "not graded. nbgrader stopped: "
    assert len(found) == 30
    for student, row in found.items():
        assert row.startswith(expected.get(student, "5 of 5 points")), (student, row)
    assert status == 1
    assert said.splitlines()[-1] == (
        "6 of 30 submissions were not graded: empty, killed, no_json, odd_date, text_file, two_answers"
    )
    assert 'ended in the cell that begins with "import os"' in found["killed"]
    assert "because they ran longer than nbgrader_config.py allows: 1" in said


@pytest.mark.deep
@with_nbgrader
def test_feedback_can_be_made_for_all_that_were_graded(batch):
    folder, _, _ = batch
    nbgrader(folder, "generate_feedback", SMALL)
    assert len([*folder.glob("feedback/*/small/small.html")]) == 24


@pytest.mark.deep
@with_nbgrader
def test_a_second_run_grades_what_is_new_only(batch):
    folder, _, _ = batch
    results = [*folder.glob("autograded/*/small/small.ipynb")]
    dates = {path: path.stat().st_mtime_ns for path in results}
    place = folder / "submitted" / "empty" / SMALL / "small.ipynb"
    nbformat.write(answered(), place)
    said, _ = grade_class(folder)
    assert rows(said)["empty"] == "5 of 5 points"
    assert {path: path.stat().st_mtime_ns for path in results} == dates


@pytest.mark.deep
@with_nbgrader
def test_a_submission_that_takes_too_long_is_stopped_and_leaves_no_result(batch):
    folder, _, _ = batch
    running = r'(its first cell|the cell that begins with "import torch")'  # a fast machine is one cell further by then
    with pytest.raises(grade.SubmissionError, match=rf"^It took longer than 2 seconds, and {running} was running"):
        grade.autograde(folder, "good_00", SMALL, 2)
    assert not (folder / "autograded" / "good_00" / SMALL).exists()
