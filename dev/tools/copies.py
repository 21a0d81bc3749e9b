"""Make the student's own copies of the notebooks in work/: python dev/tools/copies.py, before `make lab` opens them.

A copy is made once and never written again, so that an update of the course costs nobody an answer. When the course has
a newer edition of a notebook, this says so. `python dev/tools/copies.py --newer` then takes it, with the answers of the
old copy in their places, and keeps the old copy beside it.
"""

import argparse
import re
import shutil
import sys
from itertools import count
from pathlib import Path

import frames
import nbformat
from ipykernel.ipkernel import IPythonKernel

from interp_helpers.files import write_whole

STUDENT, WORK = Path("notebooks/student"), Path("work")
GIVEN = ".given"  # in WORK: each notebook as it was when its copy was made
KERNEL = {  # JupyterLab writes this into a notebook that it opens, and calls the notebook changed if it was not there
    "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
    "language_info": IPythonKernel.language_info,
}
HEADING, TEXT = "Your notebooks", "These copies are yours: no update of the course writes into them."
OFFER = (
    "The course has a newer edition of {names} than your copies in `work/`. They stay as they are. To take the newer "
    "editions with your answers in them, and to keep the old copies beside them: `make newer` (without make: "
    "`python dev/tools/copies.py --newer`)."
)


def place(cell):
    """The mark by which nbgrader knows a cell for an answer; None for all other cells. A split cell has it twice."""
    about = cell.metadata.get("nbgrader", {})
    return about.get("grade_id") if about.get("solution") else None


def answers(notebook):
    """{mark: what stands there}, the parts of a split cell in one."""
    found = {}
    for cell in notebook.cells:
        if place(cell):
            found.setdefault(place(cell), []).append(cell.source)
    return {mark: "\n".join(dict.fromkeys(parts)) for mark, parts in found.items()}


def carried(newer, copy, given):
    """The newer edition with the answers of a copy: what stands there and did not stand in the edition as given.

    Returns it and the marks of answers that have no place in it any more.
    """
    stubs, there = answers(given), {place(cell): cell for cell in newer.cells}
    written = {mark: answer for mark, answer in answers(copy).items() if answer != stubs.get(mark)}
    for mark in written.keys() & there.keys():
        there[mark].source = written[mark]
    return newer, sorted(written.keys() - there.keys())


def editions():
    """The paths of the notebooks with blank exercises; whatever else was saved in their folder does not count."""
    return sorted(path for path in STUDENT.glob("*.ipynb") if re.fullmatch(r"\d\d_[a-z_]+", path.stem))


def put(notebook, name):
    """Write a notebook into the student's folder, as JupyterLab would save it."""
    notebook.metadata |= KERNEL
    write_whole(WORK / name, nbformat.writes(notebook) + "\n")
    shutil.copy(STUDENT / name, WORK / GIVEN / name)


def copies():
    """Copy the notebooks that are not there yet. Returns the names of those that have a newer edition."""
    (WORK / GIVEN).mkdir(parents=True, exist_ok=True)
    newer = []
    for path in editions():
        given = WORK / GIVEN / path.name
        if not (WORK / path.name).exists():
            put(nbformat.read(path, 4), path.name)
        elif not given.exists() or given.read_bytes() != path.read_bytes():
            newer.append(path.name)
    return newer


def take(name):
    """Put the newer edition of a notebook in the place of a copy, which is kept. Returns what to say about it."""
    copy, given = WORK / name, WORK / GIVEN / name
    old = next(each for number in count(1) if not (each := WORK / f"{copy.stem}_old{number}.ipynb").exists())
    edition = nbformat.read(given if given.exists() else STUDENT / name, 4)
    newer, lost = carried(nbformat.read(STUDENT / name, 4), nbformat.read(copy, 4), edition)
    shutil.copy(copy, old)
    put(newer, name)
    left = f" It has no place for what you wrote in {', '.join(lost)}: look there." if lost else ""
    return f"{copy} is the newer edition, with your answers. {old} is your old copy.{left}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--newer", action="store_true", help="take newer editions; the old copies are kept")
    take_newer = parser.parse_args().newer
    try:
        newer = copies()
    except OSError as problem:
        sys.exit(f"copies: {problem}. Your notebooks belong into {WORK.resolve()}. Put the course where you may write.")
    for name in newer if take_newer else []:
        try:
            print(take(name))
        except Exception as problem:  # whatever a student's file holds: the others are taken
            print(f"{WORK / name} stays as it is, because the newer edition could not be made: {problem}")
    if newer and take_newer:
        print("If one of them is open in JupyterLab, choose Revert there, or close it without saving.")
    offer = OFFER.format(names=", ".join(newer)) if newer and not take_newer else ""
    described = [frames.about(path.name, nbformat.read(path, 4)) for path in editions()]
    page = frames.contents(described, HEADING, "\n\n".join(part for part in (TEXT, offer) if part))
    (WORK / frames.CONTENTS).write_text(page, encoding="utf-8")
    if offer:
        print(offer)


if __name__ == "__main__":
    main()
