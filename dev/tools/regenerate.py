"""Execute notebooks in place: python dev/tools/regenerate.py NOTEBOOK ..."""

import base64
import sys
from pathlib import Path

import nbformat
from arithmetic import fingerprint
from execution import execute
from pictures import smaller
from reading import require

from interp_helpers.files import write_whole


def shrink(notebook):
    """Store every figure in fewer bytes."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = base64.b64encode(smaller(base64.b64decode(png))).decode()


def main(paths):
    require(paths)
    for path in map(Path, paths):
        notebook, seconds, peak = execute(path)
        shrink(notebook)
        notebook.metadata["stored_with"] = {"arithmetic": fingerprint()}
        write_whole(path, nbformat.writes(notebook) + "\n")  # an interruption leaves the old notebook whole
        print(f"{path}: {seconds:.1f} s, {peak:.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
