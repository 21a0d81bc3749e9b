"""The weekly job that runs all student notebooks in the images of Colab and Binder: its script, on small notebooks."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "dev" / "classroom" / "students.py"


def executed(folder, **sources):
    """What the script says of notebooks with one cell each, and its exit status."""
    for name, source in sources.items():
        cell = nbformat.v4.new_code_cell(source)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{name}.ipynb")
    paths = [folder / f"{name}.ipynb" for name in sources]
    done = subprocess.run([sys.executable, SCRIPT, *paths], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.splitlines(), done.returncode


@pytest.mark.deep
def test_a_notebook_that_fails_is_named_and_stops_no_other(tmp_path):
    lines, status = executed(tmp_path, first="1 / 0", second="print(2)")
    assert lines[0] == "first.ipynb: ZeroDivisionError: division by zero"
    assert lines[1:] == ["second.ipynb: runs", "1 of 2 notebooks failed: first.ipynb"]
    assert status == 1
    assert executed(tmp_path, third="print(3)") == (["third.ipynb: runs", "0 of 1 notebooks failed: none"], 0)


def test_a_job_without_notebooks_fails(tmp_path):
    assert executed(tmp_path) == (["0 of 0 notebooks failed: none"], 1)


def test_the_workflow_runs_the_script_in_both_images_and_reports_failures():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "images.yml").read_text(encoding="utf-8"))["jobs"]
    for image, folder in (("colab", "/course/notebooks/student"), ("binder", "cd work ")):
        commands = " ".join(step.get("run", "") for step in jobs[image]["steps"])
        (script,) = set(re.findall(r"dev/classroom/\w+\.py", commands))
        assert (ROOT / script).is_file()
        assert f"{script} *.ipynb" in commands
        assert folder in commands
    assert set(jobs["report"]["needs"]) == {"colab", "binder"}
