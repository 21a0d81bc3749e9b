"""Execute notebooks in place, and renew README's picture: python dev/tools/regenerate.py NOTEBOOK ..."""

import base64
import sys
from pathlib import Path

import nbformat
from arithmetic import fingerprint
from execution import execute
from pictures import smaller

from interp_helpers.files import write_whole

PICTURE = Path("docs/generation.png")  # in README.md; a figure of notebook 01


def picture(notebook):
    """The PNG of the cell that draws the whole generation; None in a notebook without one."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "generation_map" in cell.source and "image/png" in output.get("data", {}):
                return base64.b64decode(output.data["image/png"])
    return None


def shrink(notebook):
    """Store every figure in fewer bytes."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = base64.b64encode(smaller(base64.b64decode(png))).decode()


def main(paths):
    for path in map(Path, paths):
        notebook, seconds, peak = execute(path)
        shrink(notebook)
        notebook.metadata["stored_with"] = {"arithmetic": fingerprint()}
        write_whole(path, nbformat.writes(notebook) + "\n")  # an interruption leaves the old notebook whole
        if png := picture(notebook):
            PICTURE.write_bytes(png)
        print(f"{path}: {seconds:.1f} s, {peak:.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
