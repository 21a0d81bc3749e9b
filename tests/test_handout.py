"""The handout works alone, and gives nothing away."""

import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import handout
import pytest

ROOT = Path(__file__).parent.parent
PROJECT_README = 'readme = "README.md"'


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The folder that a student unpacks."""
    folder, here = tmp_path_factory.mktemp("handout"), Path.cwd()
    os.chdir(ROOT)
    try:
        handout.write(folder / "course.zip")
    finally:
        os.chdir(here)
    ZipFile(folder / "course.zip").extractall(folder)
    return folder / "course"


def test_a_student_gets_copies_from_it(course):
    env = os.environ | {"PYTHONPATH": str(course)}
    subprocess.run([sys.executable, "dev/tools/copies.py"], cwd=course, env=env, check=True, capture_output=True)
    assert len(list((course / "work").glob("0*.ipynb"))) == 9


def test_it_holds_neither_solutions_nor_results(course):
    texts = [path.read_text(encoding="utf-8") for path in course.rglob("*") if path.suffix in {".ipynb", ".md", ".py"}]
    assert len(texts) > 60
    assert not any("BEGIN SOLUTION" in text for text in texts)
    names = {path.name for path in course.rglob("*")}
    assert not names & {"claims.md", "corrections.md", "answers.md", "teaching.md", "tests", ".git", "__pycache__"}


def test_it_holds_all_that_installing_reads(course):
    """What the rule of .venv/ready in the Makefile names, and the readme that pyproject.toml does."""
    for name in ("requirements.lock", "pyproject.toml", "dev/classroom/overrides.json", "dev/tools/check_python.py"):
        assert (course / name).is_file()
        assert name in (course / "Makefile").read_text(encoding="utf-8")
    assert PROJECT_README in (course / "pyproject.toml").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", (course / "README.md").read_text(encoding="utf-8"))
    assert links
    assert all((course / link).is_file() for link in links)
