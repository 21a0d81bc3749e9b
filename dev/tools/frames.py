"""What every notebook begins and ends with: the way to the others, and the cell that installs the package.

`make student` writes these into all notebooks, so that a new title or address appears everywhere at once.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

TITLE = re.compile(r"# (?P<number>\d) · (?P<title>[^:\n]+): (?P<question>[^\n]+)\n")
TIME = re.compile(r"\*\*Time\*\* (?P<minutes>\d+) minutes, and (?P<exercises>\d+) for the exercises\.")
CONTENTS = "README.md"  # beside the notebooks, in every folder that holds them
BINDER = "https://mybinder.org/v2/gh/{address}/HEAD?urlpath=lab/tree/work/{name}"
COLAB = "https://colab.research.google.com/github/{address}/blob/HEAD/notebooks/student/{name}"
# Colab has a torch for its own machine, so pip is told to keep that one.
INSTALL = """\
import importlib.util
import os
from importlib.metadata import version

{wheel}
if importlib.util.find_spec("interp_helpers") is None:{otherwise}
    keep = f"torch=={{version('torch')}}" if importlib.util.find_spec("torch") else ""
    %pip install --quiet "{{WHEEL}}" {{keep}}"""
FROM_RELEASE = """\
RELEASE = "https://github.com/{address}/releases/download/v{version}"
WHEEL = os.environ.get("INTERP_WHEEL", f"{{RELEASE}}/interp_helpers-{version}-py3-none-any.whl")"""
OTHERWISE = """
    if WHEEL is None:
        raise ModuleNotFoundError(
            "This Python lacks the course's package. Run `make lab` in the folder of the course: "
            "it installs the package and opens this notebook."
        )"""


# For the page that lists the notebooks. Section numbers are those of their headings.
WAYS = """\
## Ways through it

- **In two hours**, without exercises: how attention is made (1.1 to 1.3), heads and their names (2.1 to 2.4), the story
  of the wooden leg (3.1 to 3.6), and why damage is not function (6.1 to 6.3).
- **In two days**: on the first, notebooks 1, 2 and 3, with the exercises that ask you to predict. On the second,
  notebook 6, which takes from notebook 5 only the circuit that it reads from the weights, and then the question that
  you like best: how it was learned (7), what single units mean (8), or what can be read and steered (9).
- **In a term**: a notebook a week with all its exercises, in their order, and one of the projects at the end."""


ADDRESS = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git|/)?")


def address_of(project):
    """OWNER/REPOSITORY, from the table `project` of pyproject.toml; None when `make address` has given none yet.

    >>> address_of({"urls": {"Repository": "https://github.com/me/mine"}}), address_of({})
    ('me/mine', None)
    """
    found = ADDRESS.fullmatch(project.get("urls", {}).get("Repository", ""))
    return found and found[1]


@dataclass(frozen=True)
class About:
    """What the first cell of a notebook says of it. name: of its file."""

    name: str
    number: int
    title: str
    question: str
    minutes: int
    exercise_minutes: int
    builds_on: tuple[int, ...]  # numbers of notebooks

    @property
    def label(self):
        return f"{self.number} · {self.title}"


def about(name, notebook):
    """What a notebook says of itself: title, question, the minutes that it takes, and which others it builds on."""
    source = notebook.cells[0].source
    heading, time = TITLE.match(source), TIME.search(source)
    if not heading or not time:
        raise ValueError(f"{name}: the first cell needs '# 1 · Title: question' and '{TIME.pattern}'")
    question = heading["question"][0].upper() + heading["question"][1:]
    builds_on = tuple(map(int, re.findall(r"\b\d\b", source.partition("**Builds on**")[2].partition("**Needs**")[0])))
    return About(name, int(heading["number"]), heading["title"], question, int(time[1]), int(time[2]), builds_on)


def ways(name, all_about):
    """The links of a notebook to the contents, the one before and the one after, as Markdown."""
    at = [each.name for each in all_about].index(name)
    links = [f"[Contents]({CONTENTS})"]
    links += [f"[←\u00a0{each.label}]({each.name})" for each in all_about[max(at - 1, 0) : at]]
    links += [f"[{each.label}\u00a0→]({each.name})" for each in all_about[at + 1 : at + 2]]
    return " · ".join(links)


def launches(name, all_about, address):
    """Links that open a notebook on Binder and Colab; '' without an address. Colab follows no link between files."""
    if address is None:
        return ""
    at = [each.name for each in all_about].index(name)
    near = [each for each in all_about[max(at - 1, 0) : at + 2] if each.name != name]
    colab = [f"[{each.label}]({COLAB.format(address=address, name=each.name)})" for each in near]
    return (
        f"Open with blank exercises [in Binder]({BINDER.format(address=address, name=name)}) or "
        f"[in Colab]({COLAB.format(address=address, name=name)}). Beside it in Colab: {', '.join(colab)}."
    )


def install(address, version):
    """The source of the cell that installs the package where it is missing, or says what to do without an address."""
    if address is None:
        return INSTALL.format(wheel='WHEEL = os.environ.get("INTERP_WHEEL")', otherwise=OTHERWISE)
    return INSTALL.format(wheel=FROM_RELEASE.format(address=address, version=version), otherwise="")


def frame(notebook, name, all_about, address, version):
    """Give a notebook its links under the title and in a last cell, and the cell that installs the package."""
    first, *rest = notebook.cells
    heading, _, text = first.source.partition("\n\n")
    while text.startswith(("[Contents](", "Open with blank exercises")):
        text = text.partition("\n\n")[2]
    links, launch = ways(name, all_about), launches(name, all_about, address)
    first.source = "\n\n".join(part for part in (heading, links, launch, text) if part)
    next(cell for cell in rest if cell.id == "install").source = install(address, version)
    rest = [cell for cell in rest if cell.id != "nav-bottom"]
    bottom = nbformat.v4.new_markdown_cell("\n\n".join(part for part in (links, launch) if part), id="nav-bottom")
    notebook.cells = [first, *rest, bottom]


def contents(all_about, heading, text, pictures=None):
    """The page that lists the notebooks in a folder. pictures: the folder of their covers, seen from there."""
    lines = [f"# {heading}", "", text, "", "| notebook | the question | builds on | minutes | for the exercises |"]
    lines.append("|---|---|---|--:|--:|")
    for each in all_about:
        shown = f'<img src="{pictures}/{Path(each.name).stem}.png" width="160" alt=""><br>' if pictures else ""
        above = ", ".join(map(str, each.builds_on)) or "–"
        name = f"{shown}[{each.label}]({each.name})"
        lines.append(f"| {name} | {each.question} | {above} | {each.minutes} | {each.exercise_minutes} |")
    arrows = [f"    {below} --> {each.number}" for each in all_about for below in each.builds_on]
    boxes = [f'    {each.number}["{each.label}"]' for each in all_about]
    reading, writing = (sum(minutes) for minutes in zip(*((each.minutes, each.exercise_minutes) for each in all_about)))
    total = f"Together the notebooks take {reading / 60:.0f} hours to read, and {writing / 60:.0f} for the exercises."
    return (
        "\n".join(
            [
                *lines,
                "",
                total,
                "",
                WAYS,
                "",
                "## What builds on what",
                "",
                "```mermaid",
                "graph LR",
                *boxes,
                *arrows,
                "```",
            ]
        )
        + "\n"
    )
