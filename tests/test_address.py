"""Every link to where the course lives comes from one place."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import address
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
SLUG = address.slug((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = re.search(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]
EDITIONS = sorted([*(ROOT / "notebooks").glob("0*.ipynb"), *(ROOT / "notebooks" / "student").glob("*.ipynb")])
LINK = re.compile(rf"(?:{address.PLACES})([\w.-]+/[\w.-]*\w)")
OTHERS = {"TransformerLensOrg/CircuitsVis"}  # cited
EXAMPLES = {"me/mine", "c/d", "a/b", "a/bc"}  # in the tool's own texts and in this file


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(ROOT)
    if not Path(".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout")


def strays():
    """{file: addresses of other repositories in it}."""
    found = {
        path: set(LINK.findall(path.read_text(encoding="utf-8"))) - {SLUG} - OTHERS - EXAMPLES
        for path in address.files()
    }
    return {str(path): others for path, others in found.items() if others}


def test_no_link_leads_to_another_repository(here):
    assert strays() == {}


@pytest.mark.parametrize("path", EDITIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_notebook_opens_its_student_edition_on_binder_and_colab(path):
    first = nbformat.read(path, 4).cells[0].source
    assert f"https://mybinder.org/v2/gh/{SLUG}/HEAD?urlpath=lab/tree/notebooks/student/{path.name}" in first
    assert f"https://colab.research.google.com/github/{SLUG}/blob/HEAD/notebooks/student/{path.name}" in first


def test_all_notebooks_have_one_and_the_same_cell_that_installs_the_wheel():
    found = {
        next(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code") for path in EDITIONS
    }
    assert len(found) == 1
    cell = found.pop()
    assert f'"https://github.com/{SLUG}/releases/download/v{VERSION}"' in cell
    assert f"/interp_helpers-{VERSION}-py3-none-any.whl" in cell


def test_the_readme_has_both_badges():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"](https://mybinder.org/v2/gh/{SLUG}/HEAD?urlpath=lab/tree/notebooks/student/01_baseline.ipynb)" in text
    assert f"](https://colab.research.google.com/github/{SLUG}/blob/HEAD/notebooks/student/01_baseline.ipynb)" in text
    for badge in re.findall(r"!\[[^\]]+\]\((docs/[^)]+\.svg)\)", text):
        assert (ROOT / badge).is_file()


def test_one_command_moves_everything(here, tmp_path):
    """On a copy: afterwards no link leads to the old place, and moving back gives the same bytes."""
    before = {path: path.read_bytes() for path in address.files()}
    for path, content in before.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def move(url):
        done = subprocess.run(
            [sys.executable, ROOT / "dev" / "tools" / "address.py", url],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    new = "some-one/their.course"  # not as a link in this file, or it would be moved back with the others
    assert re.match(rf"(?!0)\d+ files now lead to https://github.com/{new}", move(f"https://github.com/{new}"))
    assert [path for path in before if SLUG in LINK.findall((tmp_path / path).read_text(encoding="utf-8"))] == []
    move(f"https://github.com/{SLUG}")
    assert {path: (tmp_path / path).read_bytes() for path in before} == before


def test_a_wrong_address_changes_nothing(here, tmp_path):
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    done = subprocess.run(
        [sys.executable, ROOT / "dev" / "tools" / "address.py", "example.org"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "make address URL=" in done.stderr
    assert (tmp_path / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()
