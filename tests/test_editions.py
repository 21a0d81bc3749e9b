"""The exercises in their two editions: with solutions in notebooks/, blank in notebooks/student/."""

import re
import shutil
from collections import Counter
from pathlib import Path

import editions
import nbformat
import pytest

from interp_helpers import exercises

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
STUDENT = ROOT / "notebooks" / "student"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def read(path):
    return nbformat.read(path, 4)


def answers(notebook):
    """{id: cell} of the cells in which a student writes: answers, and before some of them room for functions."""
    return {cell.id: cell for cell in notebook.cells if re.match(r"(answer|tools)-\d[a-l]$", cell.id)}


def solution(source):
    """The lines between the markers, without indentation."""
    inside = re.search(r"BEGIN SOLUTION\n(.*?)\n[^\n]*END SOLUTION", source, re.S)[1]
    return [line.strip() for line in inside.splitlines() if line.strip()]


def leaks(blank, source):
    """What a student must not see and can: lines of solutions in their cells, rubrics, markers, outputs."""
    found = []
    for name, cell in answers(source).items():
        outside = editions.replace(cell.source, editions.SOLUTION, "")
        shown = [line.strip() for line in answers(blank)[name].source.splitlines()]
        found += [line for line in solution(cell.source) if line in shown and line not in outside]
    for cell in source.cells:
        if rubric := editions.region(editions.RUBRIC).search(cell.source):
            lines = rubric[0].splitlines()[1:-1]
            found += [line for line in lines if line.strip() and any(line in each.source for each in blank.cells)]
    kept = {"nbgrader", "jupyter"}  # marks of exercises, and which cells are folded
    marks = {cell.id: {key: cell.metadata[key] for key in kept & cell.metadata.keys()} for cell in source.cells}
    for cell in blank.cells:
        found += re.findall(r"(?:BEGIN|END) (?:SOLUTION|MARK SCHEME)", cell.source)
        found += [str(output) for output in cell.get("outputs", [])]
        found += [str(cell.metadata)] if cell.metadata != marks.get(cell.id, {}) or cell.get("execution_count") else []
    return found


def test_a_notebook_has_exercises_of_all_kinds_and_a_project_at_the_end(path):
    found = editions.exercises(read(path))
    kinds = [each["kind"] for each in found.values()]
    assert len(found) >= 6
    assert {"Read", "Build", "Investigate"} <= set(kinds)
    assert Counter(kinds)["Project"] == 1
    assert kinds[-1] == "Project"
    assert len({each["difficulty"] for each in found.values()}) >= 3
    minutes = sum(int(each["minutes"]) for each in found.values())
    assert 60 <= minutes <= 180
    assert f" minutes, and {minutes} for the exercises." in read(path).cells[0].source


def test_headings_answers_checks_and_checkers_belong_together(path):
    notebook = read(path)
    number = int(path.name[:2])
    found = editions.exercises(notebook)
    headings = [cell for cell in notebook.cells if cell.source.startswith("### Exercise")]
    assert [cell.id for cell in headings] == [f"exercise-{name}" for name in found]  # no heading in another form
    assert sorted(found) == list(exercises.checkers(number))  # 7b waits for the log that it reads
    assert {name: each["title"] for name, each in found.items()} == {
        name: checker.title for name, checker in exercises.checkers(number).items()
    }
    assert [each for each in answers(notebook) if each.startswith("answer-")] == [f"answer-{name}" for name in found]
    marked = [cell.id for cell in notebook.cells if f"BEGIN {editions.SOLUTION}" in cell.source]
    assert marked == list(answers(notebook))  # no solution stands anywhere else
    checked = [match[1] for cell in notebook.cells if (match := editions.CHECK.search(cell.source))]
    assert checked == list(found)


def test_an_exercise_has_two_hints_at_most_that_unfold_and_the_project_a_rubric(path):
    notebook = read(path)
    for cell in notebook.cells:
        if cell.id.startswith("exercise-"):
            hints = re.findall(r"<details><summary>Hint (\d)</summary>\n\n.+?\n\n</details>", cell.source, re.S)
            assert hints == [str(each + 1) for each in range(cell.source.count("<details>"))]
            assert len(hints) <= 2
            assert (f"BEGIN {editions.RUBRIC}" in cell.source) == ("*Project" in cell.source)


def test_a_solution_explains_itself(path):
    for name, cell in answers(read(path)).items():
        assert any(line.startswith("#") for line in solution(cell.source)), name


def test_with_the_solutions_every_check_passes(path):
    """nbval runs the same cells and compares: so these stored lines are what they print today."""
    notebook = read(path)
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "\n".join(data.get("text/plain", "") for data in shown)
    assert re.findall(r"(?m)^(.) (\d[a-l]) ", printed) == [("✓", name) for name in editions.exercises(notebook)]


def test_the_student_edition_is_what_the_notebook_gives_and_filled_in_it_is_the_notebook(path):
    stored, source = STUDENT / path.name, read(path)
    assert stored.read_text(encoding="utf-8") == nbformat.writes(editions.blank(source)) + "\n", "stale: make student"
    filled = read(stored)
    solved = answers(source)
    for name, cell in answers(filled).items():
        region = editions.region(editions.SOLUTION).search(solved[name].source)
        assert cell.source.count(editions.STUB) == 1
        cell.source = cell.source.replace(region[1] + editions.STUB, region[0])
    code = [[cell.source for cell in each.cells if cell.cell_type == "code"] for each in (filled, source)]
    assert code[0] == code[1]


def test_the_table_of_exercises_is_up_to_date():
    assert (ROOT / editions.TABLE).read_text(encoding="utf-8") == editions.table(
        {path: read(path) for path in NOTEBOOKS}
    ), "stale: make student"


def test_nothing_leaks_into_the_student_edition(path):
    assert leaks(read(STUDENT / path.name), read(path)) == []


def doctored(notebook, kind):
    """A blank edition with one leak of a kind."""
    made = editions.blank(notebook)
    name, cell = next(iter(answers(notebook).items()))
    if kind == "solution":
        answers(made)[name].source += "\n    " + solution(cell.source)[-1]
    elif kind == "comment":
        answers(made)[name].source += "\n    " + solution(cell.source)[0]
    elif kind == "output":
        next(each for each in made.cells if each.id == name.replace("answer", "check")).outputs = [
            nbformat.v4.new_output("stream", text="✓ passed")
        ]
    elif kind == "rubric":
        made.cells[-2].source += "\n" + next(
            editions.region(editions.RUBRIC).search(each.source)[0].splitlines()[1]
            for each in notebook.cells
            if f"BEGIN {editions.RUBRIC}" in each.source
        )
    elif kind == "metadata":
        made.cells[0].metadata["nbgrader"] = {"points": 1}
    return made


@pytest.mark.parametrize("kind", ["solution", "comment", "output", "rubric", "metadata"])
def test_a_leak_is_seen(kind):
    notebook = read(NOTEBOOKS[0])
    assert leaks(editions.blank(notebook), notebook) == []
    assert leaks(doctored(notebook, kind), notebook)


@pytest.mark.parametrize("source", ["### BEGIN SOLUTION\nx = 1", "x = 1\n### END SOLUTION"])
def test_a_marker_without_partner_is_refused(source):
    with pytest.raises(ValueError, match="partner"):
        editions.replace(source, "SOLUTION", "#")


def test_the_student_edition_is_the_same_every_time_and_the_notebooks_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / editions.PYPROJECT, tmp_path)
    (tmp_path / editions.STUDENT).mkdir(parents=True)
    (tmp_path / editions.TABLE).parent.mkdir()
    paths = [Path(shutil.copy(path, "notebooks")) for path in NOTEBOOKS]
    written = []
    for _ in range(2):
        (tmp_path / editions.STUDENT / "99_gone.ipynb").write_text("{}")
        editions.main(paths)
        written.append({path.name: path.read_bytes() for path in editions.STUDENT.iterdir()})
    assert written[0] == written[1] == {path.name: path.read_bytes() for path in STUDENT.iterdir()}
    for path in [*NOTEBOOKS, ROOT / "notebooks" / "README.md"]:
        assert (tmp_path / "notebooks" / path.name).read_bytes() == path.read_bytes(), "stale: make student"


def test_a_student_edition_says_that_it_is_one(path):
    assert editions.BANNER in read(STUDENT / path.name).cells[0].source
    assert "tudent edition" not in read(path).cells[0].source
