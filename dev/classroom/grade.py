"""Grade with nbgrader what a class handed in, so that no submission stops another: python dev/classroom/grade.py ...

COURSE is the folder that `make course` made, ASSIGNMENT the name of a notebook, such as 02_head_specialization. Of
every submission in submitted/, a copy goes to checked/, in which damage is repaired where there is only one way to do
it. nbgrader then grades each copy in a run of its own. What was handed in is never changed.

Prints a line for every student: the points, or why there are none and what to do, and what was repaired. A second run
grades what is new or changed. The exit status is 1 when a submission could not be graded.
"""

import argparse
import contextlib
import copy
import glob
import importlib.util
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil

CHECKED = "checked"
ASK = "Ask the student for the notebook again (in JupyterLab: File, then Download)."


class SubmissionError(Exception):
    """Why a submission cannot be graded, and what to do about it."""


def read(path):
    """A notebook without outputs, with an id in every cell, and of a cell's metadata only what nbgrader needs.

    Raises SubmissionError for a file that is no notebook.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if not text.strip():
        raise SubmissionError(f"{path.name} is empty. {ASK}")
    try:
        found = nbformat.reads(text, 4)
        cells = []
        for number, cell in enumerate(found.cells, 1):
            name = cell.get("id", f"cell-number-{number}")  # older formats have none
            kept = {key: cell[key] for key in ("cell_type", "source", "attachments") if key in cell}
            about = cell.metadata.get("nbgrader")
            kept |= {"id": name, "metadata": {"nbgrader": about} if isinstance(about, dict) else {}}
            if cell.cell_type == "code":
                kept |= {"outputs": [], "execution_count": None}
            cells.append(nbformat.from_dict(kept))
        made = nbformat.v4.new_notebook(cells=cells, metadata=found.metadata)
        nbformat.validate(made)
    except Exception as problem:  # there may be anything in a file that somebody hands in
        reason = str(problem).splitlines()[0][:120] if str(problem) else type(problem).__name__
        raise SubmissionError(f"{path.name} is not a notebook ({reason}). {ASK}") from problem
    return made


def marks(cell):
    """What nbgrader keeps in a cell's metadata."""
    return cell.metadata.get("nbgrader", {})


def marked(notebook):
    """{grade_id: cell} of the cells that nbgrader keeps track of: answers, checks and projects."""
    return {marks(cell).grade_id: cell for cell in notebook.cells if "grade_id" in marks(cell)}


def copies(notebook, released):
    """{grade_id: the cells of a notebook that are this cell of the release, or parts or copies of it}, all in order.

    A cell is recognised by its metadata. Where no cell has it, the cell's id counts, and for checks and projects, which
    nobody should change, also the text.
    """
    originals = marked(released)
    found = {
        grade_id: [cell for cell in notebook.cells if marks(cell).get("grade_id") == grade_id] for grade_id in originals
    }
    rest = [cell for cell in notebook.cells if marks(cell).get("grade_id") not in originals]
    for grade_id, original in originals.items():
        fixed = not marks(original).solution
        found[grade_id] = found[grade_id] or [
            cell for cell in rest if cell.id == original.id or (fixed and text_of(cell) == text_of(original))
        ]
    return found


def text_of(cell):
    return cell.source.strip()


def called(grade_id):
    """How a cell is called in a sentence: "answer-2b" -> "the answer cell of 2b"."""
    kind, _, exercise = grade_id.partition("-")
    return f"the {kind} cell of {exercise}"


def defined(source):
    """The names that a cell defines at its top level, also when it does not parse."""
    found = re.findall(r"^(?:def|class)\s+(\w+)|^(\w+)\s*(?::[^=\n]+)?=(?!=)", source, re.M)
    return {function or variable for function, variable in found}


def is_blank(notebook, released):
    """Whether nothing stands in a notebook that does not stand in the release, too."""
    return {text_of(cell) for cell in notebook.cells} <= {text_of(cell) for cell in released.cells} | {""}


def repaired(submitted, released):
    """A copy of a notebook as nbgrader needs it, what was repaired, and what only a teacher can decide, as sentences.

    submitted, released: notebooks as `read` gives them. Checks and project cells are those of the release again. What a
    student wrote into one of them stays, as an ordinary cell in front of it. Of several copies of an answer, the one
    with an answer is kept, and the parts of an answer are joined. Two different answers are left to the teacher.
    """
    notebook, repairs, questions = copy.deepcopy(submitted), [], []
    originals, found = marked(copy.deepcopy(released)), copies(notebook, released)
    if not any(found.values()):
        return notebook, [], ["No cell of the assignment is in it. Was another notebook meant?"]
    for cell in notebook.cells:
        if marks(cell).get("grade_id") not in originals:
            cell.metadata.pop("nbgrader", None)  # nbgrader stops at a mark that it does not know
    for grade_id, pieces in found.items():
        original, name = originals[grade_id], called(grade_id)
        if pieces:
            if not any(map(marks, pieces)):
                repairs.append(f"{name} had lost nbgrader's metadata")
            settle = _one_answer if marks(original).solution else _put_back
            cells, repair, question = settle(pieces, original, name)
            if not question:  # an answer belongs in front of everything that uses it, and a check behind it
                _replace(notebook, pieces, cells, pieces[0 if marks(original).solution else -1])
            repairs += [repair] if repair else []
            questions += [question] if question else []
    for grade_id in [grade_id for grade_id, pieces in found.items() if not pieces]:
        original, name = originals[grade_id], called(grade_id)
        if marks(original).solution:  # its stub could replace an answer that stands in another cell
            repairs.append(f"{name} is missing; an answer that stands in another cell counts")
        else:
            notebook.cells.insert(_place(original, notebook, released), original)
            repairs.append(f"{name} was missing and was put back")
    notebook.metadata = released.metadata
    return notebook, repairs, questions


def _put_back(pieces, original, name):
    """The cell of the release, behind what a student wrote into it; what was repaired; None."""
    own = [cell for cell in pieces if text_of(cell) not in original.source]
    for number, cell in enumerate(own, 1):
        cell.metadata, cell.id = {}, f"{original.id}-changed-{number}"
    same = text_of(pieces[0]) == text_of(original) and pieces[0].cell_type == original.cell_type
    if len(pieces) == 1 and same:
        return [original], None, None
    what = "had been changed" if len(pieces) == 1 else f"was there {len(pieces)} times, or in as many parts"
    kept = "; what was written into it stands in front of it" if own else ""
    return [*own, original], f"{name} {what} and was put back{kept}", None


def _one_answer(pieces, original, name):
    """The answer as one cell, what was repaired, and what the teacher has to decide.

    Parts that do not define a name of the stub twice belong together. So do copies without the stub's names, which were
    cells with tools for a project: joined, they do what they did apart.
    """
    texts = list(dict.fromkeys(cell.source.strip("\n") for cell in pieces if text_of(cell) != text_of(original)))
    if any(sum(each in defined(text) for text in texts) > 1 for each in defined(original.source)):
        return pieces, None, f"{name} is there {len(texts)} times, with different answers. Leave the one that counts."
    repair = None
    if len(pieces) > 1:
        joined = "one of them was kept" if len(texts) < 2 else f"{len(texts)} parts were joined in their order"
        repair = f"{name} was there {len(pieces)} times; {joined}"
    elif pieces[0].cell_type != "code":
        repair = f"{name} had become a {pieces[0].cell_type} cell and is code again"
    original.source = "\n".join(texts) or original.source
    return [original], repair, None


def _replace(notebook, old, new, place):
    """Put the cells `new` where one of the cells `old` stands, and take all of `old` away, in place."""
    cells = []
    for cell in notebook.cells:
        cells += new if cell is place else []
        cells += [] if any(cell is each for each in old) else [cell]
    notebook.cells = cells


def _place(original, notebook, released):
    """Where a missing cell belongs: in front of the first cell that follows it in the release and is still there.

    Behind whatever a student added after the answer, that is.
    """
    numbers = {cell.id: number for number, cell in enumerate(notebook.cells)}
    ids = [cell.id for cell in released.cells]
    return next((numbers[each] for each in ids[ids.index(original.id) :] if each in numbers), len(notebook.cells))


def chosen(folder, name, released):
    """The notebook in a student's folder that is to be graded, the path to it, and what is worth saying about that.

    A file counts by what is in it and not by its name. Raises SubmissionError when it is not clear which one was meant.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".ipynb_checkpoints" not in path.parts]
    notebooks, reasons = {}, []
    for path in [each for each in files if ".ipynb" in each.name.lower()]:
        try:
            notebook = read(path)
        except SubmissionError as problem:
            reasons.append(str(problem))
        else:
            if any(copies(notebook, released).values()):
                notebooks[path] = notebook
            else:
                reasons.append(f"{path.name} holds no cell of the assignment. Was another notebook meant?")
    answered = [path for path, notebook in notebooks.items() if not is_blank(notebook, released)]
    if len(answered) > 1:
        names = " and ".join(path.name for path in answered)
        raise SubmissionError(f"There are several notebooks with answers: {names}. Leave the one that counts.")
    if not notebooks or (reasons and not answered):
        there = ", ".join(path.name for path in files) or "nothing"
        raise SubmissionError(" ".join(reasons) or f"There is no notebook but {there}. {ASK}")
    path = (answered or sorted(notebooks, key=lambda each: each.name != f"{name}.ipynb"))[0]
    remarks = [f"{path.name} was taken for {name}.ipynb"] if path.name != f"{name}.ipynb" else []
    others = [each.name for each in files if ".ipynb" in each.name.lower() and each != path]
    return path, notebooks[path], remarks + ([f"left out: {', '.join(others)}"] if others else [])


def contents(folder):
    """{path: bytes} of all files in a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prepare(folders, place, name, released):
    """Write the checked copy of a student's submission into a folder. Returns what was repaired, and whether it is new.

    folders: where it was found. Raises SubmissionError when it cannot be graded as it is.
    """
    if len(folders) > 1:
        names = " and ".join(f'"{folder.parent.name}/{folder.name}"' for folder in folders)
        raise SubmissionError(f"There are several folders: {names}. Leave the one that counts.")
    path, notebook, remarks = chosen(folders[0], name, released)
    notebook, repairs, questions = repaired(notebook, released)
    if questions:
        raise SubmissionError(f"{path.name}: {' '.join(questions)}")
    before = contents(place) if place.exists() else None
    shutil.rmtree(place, ignore_errors=True)
    skipped = shutil.ignore_patterns("*.ipynb*", "*.IPYNB*")
    shutil.copytree(folders[0], place, ignore=skipped, copy_function=shutil.copyfile)
    nbformat.write(notebook, place / f"{name}.ipynb")
    return remarks + repairs, contents(place) != before


def autograde(course, student, name, seconds):
    """Let nbgrader grade one checked submission.

    Raises SubmissionError when nbgrader fails, or needs more seconds than it may take.
    """
    # nbclient names the cell that it runs when asked for details, and student_id is a pattern
    command = [sys.executable, "-m", "nbgrader", "autograde", name, "--force", "--log-level=DEBUG"]
    command += [f"--CourseDirectory.student_id={glob.escape(student)}"]
    command += [f"--CourseDirectory.submitted_directory={CHECKED}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by name
    log = (course / CHECKED / student / name).with_suffix(".log")
    with log.open("wb") as said:
        process = psutil.Popen(
            command, cwd=course, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            status = process.wait(seconds)
        except psutil.TimeoutExpired:
            status = None
            for each in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait()
    if status != 0:  # what is left there would pass for a result
        shutil.rmtree(course / "autograded" / student / name, ignore_errors=True)
    text = log.read_text(encoding="utf-8", errors="replace")
    running = re.findall(r"Executing cell:\n(.*)", text)
    cell = f'the cell that begins with "{running[-1].strip()}"' if running else "its first cell"
    if status is None:
        raise SubmissionError(
            f"It took longer than {seconds} seconds, and {cell} was running. Does that cell ever end?"
        )
    if "DeadKernelError" in text:
        raise SubmissionError(f"Python ended in {cell}: it calls exit, or it needs more memory than there is.")
    if status:
        errors = re.findall(r"^\s*([\w.]+(?:Error|Exception): .*)", text, re.M) or ["it gives no reason"]
        raise SubmissionError(f"nbgrader stopped: {errors[-1].strip()}. All that it said is in {log}.")


def interrupted(log):
    """What is worth saying about a submission by the log of its grading: cells that were stopped, if any."""
    cells = log.read_text(encoding="utf-8", errors="replace").count("Timeout waiting for execute reply")
    return (
        [f"cells that were stopped, because they ran longer than nbgrader_config.py allows: {cells}"] if cells else []
    )


def points(course, student, name):
    """(points, most points) of a student's checks in an assignment, as nbgrader keeps them."""
    with contextlib.closing(sqlite3.connect(course / "gradebook.db")) as book:
        return book.execute(
            "select sum(grade.auto_score), sum(grade_cells.max_score) from grade"
            " join grade_cells on grade.cell_id = grade_cells.id"
            " join submitted_notebook on grade.notebook_id = submitted_notebook.id"
            " join submitted_assignment on submitted_notebook.assignment_id = submitted_assignment.id"
            " join assignment on submitted_assignment.assignment_id = assignment.id"
            " where submitted_assignment.student_id = ? and assignment.name = ?",
            (student, name),
        ).fetchone()


def submissions(course, name):
    """{student: folders with a submission of an assignment}; spaces around a folder's name do not count."""
    found = {}
    for student in sorted(path for path in (course / "submitted").iterdir() if path.is_dir()):
        if not student.name.startswith("."):
            folders = [path for path in sorted(student.iterdir()) if path.is_dir() and path.name.strip() == name]
            found[student.name.strip()] = found.get(student.name.strip(), []) + folders
    return found


def main(course, name, seconds, jobs):
    if importlib.util.find_spec("nbgrader") is None:
        sys.exit("nbgrader is not installed. Run `make grading`; nbgrader needs Python 3.11 or newer.")
    release = course / "release" / name / f"{name}.ipynb"
    if not release.exists():
        sys.exit(f"There is no {release}. Make it first: in {course}, nbgrader generate_assignment {name}")
    if not (course / "submitted").is_dir():
        sys.exit(f"There is no {course / 'submitted'}. Submissions belong into submitted/<student>/{name}/ there.")
    released, found = read(release), submissions(course, name)
    rules = max(path.stat().st_mtime for path in (release, *course.glob("nbgrader_config.py")))

    def graded(student):
        """(points or the reason why there are none, what was repaired, whether it was graded)."""
        if not found[student]:
            return "nothing handed in", [], True
        place, result = course / CHECKED / student / name, course / "autograded" / student / name / f"{name}.ipynb"
        notes = []
        try:
            notes, new = prepare(found[student], place, name, released)
            stale = not result.exists() or result.stat().st_mtime < rules
            if new or stale or None in points(course, student, name):
                autograde(course, student, name, seconds)
            notes += interrupted(place.with_suffix(".log"))
            return "{:g} of {:g} points".format(*points(course, student, name)), notes, True
        except SubmissionError as problem:
            return f"not graded. {problem}", notes, False
        except Exception as problem:  # whatever is odd about one submission, the others are graded
            return f"not graded. {type(problem).__name__}: {problem}", notes, False

    width, failed = max(map(len, found), default=0) + 2, []
    with ThreadPoolExecutor(jobs) as pool:
        for student, (result, notes, fine) in zip(found, pool.map(graded, found)):
            print(f"{student:{width}}{result}", *(f"{'':{width}}  {note}" for note in notes), sep="\n", flush=True)
            failed += [] if fine else [student]
    print(f"{len(failed)} of {len(found)} submissions were not graded: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("course", type=Path)
    parser.add_argument("assignment")
    parser.add_argument("--seconds", type=int, default=1800, help="that one submission may take")
    parser.add_argument("--jobs", type=int, default=2, help="submissions graded at the same time, about 1 GB each")
    given = parser.parse_args()
    sys.exit(main(given.course.resolve(), given.assignment, given.seconds, given.jobs))
