"""Write notebooks/student/, the notebooks with blank exercises: python dev/tools/editions.py NOTEBOOK ...

Before that, every notebook gets its links to the others and to Binder and Colab anew: see frames.py.

One source, two editions. In a notebook, a solution stands between `### BEGIN SOLUTION` and `### END SOLUTION` and a
project's rubric between `BEGIN MARK SCHEME` and `END MARK SCHEME`: nbgrader's markers, so that nbgrader can make the
same edition by itself.
"""

import re
import sys
from pathlib import Path

import covers
import frames
import nbformat
from reading import require

from interp_helpers.files import write_whole

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PYPROJECT, STUDENT, TABLE = Path("pyproject.toml"), Path("notebooks/student"), Path("docs/exercises.md")
STUB = "# YOUR CODE HERE"
SOLUTION, RUBRIC = "SOLUTION", "MARK SCHEME"
HEADING = re.compile(
    r"### Exercise (?P<name>\d[a-l]) · (?P<title>.+)\n\n"
    r"\*(?P<kind>Read|Build|Investigate|Project) · difficulty (?P<difficulty>[1-5]) of 5 · (?P<minutes>\d+) minutes\*\n"
)
CHECK = re.compile(r'^exercises\.check\(\s*"(\d[a-l])"', re.M)
RUBRIC_POINTS = 10
BANNER = (
    f"> **Student edition.** Write your answers where a cell says `{STUB}`, and run the check below each. The notebook "
    "of the same name in the folder `notebooks`, if you have it, has one solution of every exercise."
)
COVERS = Path("docs/covers")  # small pictures of the notebooks
LISTS = {  # folder: what its page says of the notebooks in it, and where pictures of them are
    Path("notebooks"): (
        "The notebooks",
        "These are the notebooks as we ran them, with a solution of every exercise. To work through the course, run "
        "`make lab` in its folder: it opens the same notebooks with blank exercises.",
        f"../{COVERS.as_posix()}",
    ),
    STUDENT: ("The notebooks, with blank exercises", "Begin with the first one.", None),  # which is given out alone
}


def region(kind):
    """The lines from a marker of a kind to its end, with the indentation of the first."""
    return re.compile(rf"^([ \t]*)[^\n]*BEGIN {kind}[^\n]*$.*?^[^\n]*END {kind}[^\n]*$", re.S | re.M)


def replace(source, kind, stub):
    """A cell's source with every region of a kind replaced by a line, or by nothing when `stub` is None.

    Raises ValueError for a marker without its partner.

    >>> replace("def f(x):\\n    '''Twice.'''\\n    ### BEGIN SOLUTION\\n    return 2 * x\\n    ### END SOLUTION",
    ...     "SOLUTION", "# YOUR CODE HERE")
    "def f(x):\\n    '''Twice.'''\\n    # YOUR CODE HERE"
    """
    text = region(kind).sub(lambda found: "" if stub is None else found[1] + stub, source)
    if re.search(rf"(BEGIN|END) {kind}", text):
        raise ValueError(f"a marker without its partner in: {source}")
    return text if stub else text.rstrip("\n") if text != source else text


def exercises(notebook):
    """{name: what its heading says: title, kind, difficulty, minutes}, in order."""
    found = {}
    for cell in notebook.cells:
        heading = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
        if heading:
            found[heading["name"]] = heading.groupdict()
    return found


def mark(notebook):
    """Tell nbgrader, in the metadata, which cells hold solutions, checks and projects, and how many points they give.

    A check gives its exercise's difficulty; a rubric 10. The page of the site folds what is tagged hide-input.
    """
    points = {name: int(each["difficulty"]) for name, each in exercises(notebook).items()}
    name = None
    for cell in notebook.cells:
        heading = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
        name = heading["name"] if heading else name
        about = {"schema_version": 3, "cell_type": cell.cell_type, "solution": False, "grade": False, "task": False}
        if cell.cell_type == "code" and f"BEGIN {SOLUTION}" in cell.source:
            about |= {"grade_id": cell.id, "solution": True, "locked": False}
            cell.metadata["tags"] = sorted({*cell.metadata.get("tags", []), "hide-input"})
        elif cell.cell_type == "code" and (found := CHECK.search(cell.source)):
            about |= {"grade_id": f"check-{found[1]}", "grade": True, "locked": True, "points": points[found[1]]}
        elif cell.cell_type == "markdown" and f"BEGIN {RUBRIC}" in cell.source:
            about |= {"grade_id": f"project-{name}", "task": True, "locked": True, "points": RUBRIC_POINTS}
        else:
            continue
        cell.metadata["nbgrader"] = about


def blank(notebook):
    """A copy of a notebook with stubs for solutions, without rubrics and outputs, and with a banner that says so.

    nbgrader's marks and folds stay.
    """
    made = nbformat.from_dict(notebook)
    made.metadata.pop("stored_with", None)
    heading, links, text = made.cells[0].source.split("\n\n", 2)
    made.cells[0].source = "\n\n".join([heading, links, BANNER, text])
    for cell in made.cells:
        cell.source = replace(replace(cell.source, SOLUTION, STUB), RUBRIC, None)
        cell.metadata = {name: about for name, about in cell.metadata.items() if name in ("nbgrader", "jupyter")}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return made


def anchor(heading):
    """The place of a heading on its page, as GitHub and the site call it.

    >>> anchor("Exercise 1b · One attention head")
    'exercise-1b--one-attention-head'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def table(notebooks):
    """The page that lists the exercises of {path: notebook}, for a teacher to choose from."""
    lines = ["# The exercises\n", "All exercises of the course, with links to their notebooks."]
    for path, notebook in notebooks.items():
        found, link = exercises(notebook), f"../notebooks/{path.name}"
        minutes = sum(int(each["minutes"]) for each in found.values())
        lines += [f"\n## [{frames.about(path.name, notebook).label}]({link}), {minutes} minutes\n"]
        lines += ["| exercise | kind | difficulty | minutes |", "|---|---|---|--:|"]
        for name, each in found.items():
            place = f"{link}#{anchor(f'Exercise {name} · ' + each['title'])}"
            row = "| [{} · {title}]({}) | {kind} | {difficulty} of 5 | {minutes} |"
            lines.append(row.format(name, place, **each))
    return "\n".join(lines) + "\n"


def main(paths):
    paths = [Path(path) for path in paths]
    require(paths)
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    notebooks = {path: nbformat.read(path, 4) for path in paths}
    described = [frames.about(path.name, notebook) for path, notebook in notebooks.items()]
    write_whole(TABLE, table(notebooks))
    STUDENT.mkdir(exist_ok=True)
    for stale in {*STUDENT.glob("*.ipynb")} - {STUDENT / path.name for path in paths}:
        stale.unlink()
    for path, notebook in notebooks.items():
        frames.frame(notebook, path.name, described, frames.address_of(project), project["version"])
        write_whole(path, nbformat.writes(notebook) + "\n")
        write_whole(STUDENT / path.name, nbformat.writes(blank(notebook)) + "\n")
    for folder, (heading, text, pictures) in LISTS.items():
        write_whole(folder / frames.CONTENTS, frames.contents(described, heading, text, pictures))
    COVERS.mkdir(exist_ok=True)
    for card in covers.cards(paths):
        if card.picture:
            (COVERS / f"{Path(card.name).stem}.png").write_bytes(covers.small(card.picture))
    print(f"{len(paths)} notebooks with blank exercises in {STUDENT}/")


if __name__ == "__main__":
    main(sys.argv[1:])
