"""Execute notebooks many times and compare with what is stored: python dev/tools/repeat.py [--times 20] NOTEBOOK ...

On one thread every output must be the stored one, figures included, to the last byte, on the machine that stored them.
With --threads 2 sums are made in another order, so text must agree within the tolerance of the tests, and figures are
counted only.
"""

import argparse
import os
import sys
from itertools import zip_longest
from pathlib import Path

import nbformat
from execution import execute
from reading import require
from stored_outputs import close


def shown(notebook):
    """[(cell, kind, text or picture)] of all outputs of a notebook, in order."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            for kind, content in sorted({"text": output.get("text", ""), **output.get("data", {})}.items()):
                yield number, kind, content


def parting(old, new):
    """Where two texts part, in a line."""
    lines = zip_longest(old.splitlines(), new.splitlines(), fillvalue="nothing")
    return next((f"{a.strip()[:100]!r} stored, {b.strip()[:100]!r} now" for a, b in lines if a != b), "line ends")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("notebooks", nargs="+", type=Path)
    given = parser.parse_args()
    require(given.notebooks)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    failed = False
    for path in given.notebooks:
        stored = list(shown(nbformat.read(path, 4)))
        same = near = figures = 0
        for _ in range(given.times):
            found = list(shown(execute(path)[0]))
            pairs = list(zip(stored, found, strict=True))
            other = [(old, new) for old, new in pairs if old != new]
            text = [(old, new) for old, new in other if old[1] != "image/png"]
            same += not other
            near += all(old[:2] == new[:2] and close(new[2], old[2]) for old, new in text)
            figures += sum(old[1] == "image/png" for old, new in other)
            for old, new in text:
                if given.threads == 1 or not close(new[2], old[2]):
                    print(f"{path.stem} cell {old[0]}: {parting(old[2], new[2])}", flush=True)
        print(
            f"{path.stem}: {given.times} executions, {same} identical to the last byte, {near} within the tolerance, "
            f"{figures} figures of other bytes",
            flush=True,
        )
        failed |= near < given.times or (given.threads == 1 and same < given.times)
    sys.exit(failed)


if __name__ == "__main__":
    main()
