"""Make the student's own copies of the notebooks in work/: python dev/tools/copies.py, before `make lab` opens them.

A copy is made once and never written again, so that an update of the course costs nobody an answer. When the course has
a newer edition of a notebook, this says so. `python dev/tools/copies.py --newer` then takes it, with the answers of the
old copy in their places, and keeps the old copy beside it.
"""

import argparse
import shutil
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
    "editions with your answers in them, and to keep the old copies beside them: `make newer`."
)


def answers(notebook):
    """{cell: its source} of the cells that are for answers."""
    return {cell.id: cell.source for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")}


def carried(newer, copy, given):
    """The newer edition with the answers of a copy: what stands there and did not stand in the edition as given."""
    stubs, written = answers(given), answers(copy)
    for cell in newer.cells:
        if cell.id in answers(newer) and written.get(cell.id) not in (None, stubs.get(cell.id)):
            cell.source = written[cell.id]
    return newer


def put(notebook, name):
    """Write a notebook into the student's folder, as JupyterLab would save it."""
    notebook.metadata |= KERNEL
    write_whole(WORK / name, nbformat.writes(notebook) + "\n")
    shutil.copy(STUDENT / name, WORK / GIVEN / name)


def copies():
    """Copy the notebooks that are not there yet. Returns the names of those that have a newer edition."""
    (WORK / GIVEN).mkdir(parents=True, exist_ok=True)
    newer = []
    for path in sorted(STUDENT.glob("*.ipynb")):
        given = WORK / GIVEN / path.name
        if not (WORK / path.name).exists():
            put(nbformat.read(path, 4), path.name)
        elif not given.exists() or given.read_bytes() != path.read_bytes():
            newer.append(path.name)
    return newer


def take(name):
    """Put the newer edition of a notebook in the place of a copy. Returns the name under which the copy is kept."""
    copy, given = WORK / name, WORK / GIVEN / name
    old = next(each for number in count(1) if not (each := WORK / f"{copy.stem}_old{number}.ipynb").exists())
    edition = nbformat.read(given if given.exists() else STUDENT / name, 4)
    newer = carried(nbformat.read(STUDENT / name, 4), nbformat.read(copy, 4), edition)
    copy.rename(old)
    put(newer, name)
    return old.name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--newer", action="store_true", help="take newer editions; the old copies are kept")
    newer = copies()
    if parser.parse_args().newer:
        for name in newer:
            try:
                old = take(name)
            except (OSError, ValueError) as problem:
                print(f"{WORK / name} stays as it is, because it cannot be read: {problem}")
            else:
                print(f"{WORK / name} is the newer edition, with your answers. {WORK / old} is your old copy.")
        newer = []
    offer = OFFER.format(names=", ".join(newer)) if newer else ""
    described = [frames.about(path.name, nbformat.read(path, 4)) for path in sorted(STUDENT.glob("*.ipynb"))]
    page = frames.contents(described, HEADING, "\n\n".join(part for part in (TEXT, offer) if part))
    (WORK / frames.CONTENTS).write_text(page, encoding="utf-8")
    if offer:
        print(offer)


if __name__ == "__main__":
    main()
