"""The course as it is, in the hands of the real nbgrader: an assignment is generated, handed in, and graded."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import course
import editions
import nbformat
import pytest

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(not (Path(sys.executable).parent / "nbgrader").exists(), reason="nbgrader is not installed"),
]
ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_baseline.ipynb"
NAME = NOTEBOOK.stem


def nbgrader(folder, *words):
    command = [str(Path(sys.executable).parent / "nbgrader"), *words]
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


def test_what_nbgrader_releases_is_the_student_edition(graded):
    released = graded / "release" / NAME / NOTEBOOK.name
    for kind in ("code", "markdown"):
        assert sources(released, kind) == sources(ROOT / "notebooks" / "student" / NOTEBOOK.name, kind)
    assert not any(cell.get("outputs") for cell in nbformat.read(released, 4).cells)


def test_a_check_gives_its_points_for_a_right_answer_and_none_for_a_blank(graded):
    points = {
        f"check-{name}": int(each["difficulty"])
        for name, each in editions.exercises(nbformat.read(NOTEBOOK, 4)).items()
    }
    assert marks(graded) == {
        "blank": dict.fromkeys(points, 0),
        "one_short": {**points, next(iter(points)): 0},  # and the checks after one that failed still count
    }


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
    assert shutil.which("nbgrader", path=str(Path(sys.executable).parent))
