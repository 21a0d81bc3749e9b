"""Flip digits in stored outputs. Does nbval notice each? python dev/tools/flips.py [--flips 200] NOTEBOOK ...

One flip a cell, and one run for all: a cell's check reads its own stored output only, so a flip is noticed when its
cell fails. A cell that fails without a flip would be a false alarm. The notebooks are copied; nothing here is changed.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from reading import require

ROOT = Path(__file__).parent.parent.parent
# A digit of a number; colours and sizes in HTML are no results.
DIGIT = re.compile(r"(?<![#\w])-?\d+(?:\.\d+)?(?![\w%])")


def places(notebook):
    """[(cell, output, key, start, end)]: where numbers stand in what is compared, in text and in tables."""
    for number, cell in enumerate(notebook.cells):
        for index, output in enumerate(cell.get("outputs", [])):
            texts = {"text": output.text} if "text" in output else output.get("data", {})
            for key, text in texts.items():
                if key in ("text", "text/plain") and not text.startswith(("<Figure", "<IPython")):
                    for found in DIGIT.finditer(text):
                        yield number, index, key, *found.span()


def flipped(text, start, end, draw):
    """The text with one digit of the number at start to end changed."""
    where = draw.choice([i for i in range(start, end) if text[i].isdigit()])
    new = draw.choice([each for each in "0123456789" if each != text[where]])
    return text[:where] + new + text[where + 1 :]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("notebooks", nargs="+", type=Path)
    given = parser.parse_args()
    require(given.notebooks)
    draw = random.Random(given.seed)
    read = {path: nbformat.read(path, 4) for path in given.notebooks}
    cells = {}
    for path, notebook in read.items():
        for number, *place in places(notebook):
            cells.setdefault((path, number), []).append(place)
    chosen = draw.sample(sorted(cells, key=str), min(given.flips, len(cells)))
    for path, number in chosen:
        index, key, start, end = draw.choice(cells[path, number])
        output = read[path].cells[number].outputs[index]
        of = output if key == "text" else output.data
        of[key] = flipped(of[key], start, end, draw)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "build"))
        for path, notebook in read.items():
            nbformat.write(notebook, copy / path)
        command = [sys.executable, "-m", "pytest", *map(str, given.notebooks), "--tb=no", "-rf"]
        ran = subprocess.run(command, cwd=copy, text=True, capture_output=True)
    failed = {(Path(path), int(cell)) for path, cell in re.findall(r"FAILED (\S+\.ipynb)::Cell (\d+)", ran.stdout)}
    # nbval counts code cells only
    place = {path: [n for n, cell in enumerate(each.cells) if cell.cell_type == "code"] for path, each in read.items()}
    failed = {(path, place[path][cell]) for path, cell in failed}
    missed, false = set(chosen) - failed, failed - set(chosen)
    print(f"{len(chosen)} flips, {len(chosen) - len(missed)} noticed; {len(false)} cells failed without a flip")
    for path, number in sorted(missed, key=str):
        print(f"missed: {path} cell {number}")
    sys.exit(bool(missed or false))


if __name__ == "__main__":
    main()
