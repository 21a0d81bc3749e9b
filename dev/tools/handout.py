"""Write build/course.zip for students, the course without its solutions: python dev/tools/handout.py

It holds what `make lab` and `make newer` need, and the pages that the blank notebooks lead to.
"""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

HANDOUT = Path("build/course.zip")
FILES = """
LICENSE Makefile environment.yml pyproject.toml requirements.lock interp_helpers notebooks/student
dev/tools/check_python.py dev/tools/copies.py dev/tools/frames.py dev/classroom/overrides.json docs/start.md
docs/glossary.md docs/playground.md docs/playground/pictures docs/covers
"""
README = Path("dev/classroom/handout.md")
MADE = {"__pycache__", ".ipynb_checkpoints"}  # by Python and Jupyter, in passing


def write(file):
    """Write the archive: the files that students get, in order, and a README of their own."""
    found = [path for name in FILES.split() for path in sorted([Path(name), *Path(name).rglob("*")])]
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.write(README, "course/README.md")
        for path in found:
            if path.is_file() and not MADE & set(path.parts):
                archive.write(path, Path("course") / path)


def main():
    HANDOUT.parent.mkdir(exist_ok=True)
    write(HANDOUT)
    size = HANDOUT.stat().st_size / 1e6
    print(f"{HANDOUT.resolve()}: {size:.0f} MB. Students unpack it, and run `make lab` in the folder course/.")


if __name__ == "__main__":
    main()
