"""Make a folder that nbgrader takes as a course: python dev/tools/course.py FOLDER NOTEBOOK ...

Every notebook is an assignment of its own, with its solutions; `nbgrader generate_assignment 02_head_specialization` in
that folder then makes what students get, and dev/classroom/grade.py grades what they hand in.
"""

import shutil
import sys
from pathlib import Path

from reading import require

CONFIG = Path(__file__).parent.parent / "classroom" / "nbgrader_config.py"
ACTIVATE = Path(sys.executable).parent / "activate"  # nbgrader calls alembic by name


def main(folder, paths):
    require(paths)
    folder = Path(folder)
    (folder / "source").mkdir(parents=True, exist_ok=True)
    shutil.copy(CONFIG, folder / CONFIG.name)
    for path in map(Path, paths):
        (folder / "source" / path.stem).mkdir(exist_ok=True)
        shutil.copy(path, folder / "source" / path.stem / path.name)
    print(f"{len(paths)} assignments in {folder / 'source'}. Next:")
    print(f"source {ACTIVATE} && cd {folder} && nbgrader generate_assignment NAME")
    print(f"Collect into {folder / 'submitted'}/<student>/NAME/. Then: make grade COURSE={folder} NAME=NAME")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
