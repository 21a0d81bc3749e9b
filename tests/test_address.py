"""Where the course lives is said in one place, and until it is said no reader meets a link that leads nowhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import frames
import nbformat
import pytest
from checkout import listed

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = frames.address_of(PROJECT)
EDITIONS = sorted([*(ROOT / "notebooks").glob("0*.ipynb"), *(ROOT / "notebooks" / "student").glob("*.ipynb")])
PLACES = r"github\.com/|mybinder\.org/v2/gh/|colab\.research\.google\.com/github/"
LINK = re.compile(rf"(?:{PLACES})([\w.-]+/[\w.-]*\w)")
TEXT_FILES = {".ipynb", ".md", ".py", ".cff", ".toml", ".yml", ".rst", ".svg"}
OTHERS = {"TransformerLensOrg/CircuitsVis"}  # cited
TOOLS = {
    Path(name)
    for name in ("dev/tools/address.py", "dev/tools/frames.py", "Makefile", "CONTRIBUTING.md", "docs/classroom.md")
}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(ROOT)
    if not Path(".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout")


def strays(path):
    """Addresses of other repositories in a file. Those in the tools and their tests are examples."""
    if path in TOOLS or path.parts[0] == "tests":
        return set()
    return set(LINK.findall(path.read_text(encoding="utf-8"))) - {ADDRESS} - OTHERS


def test_no_link_leads_to_another_repository_or_to_a_placeholder(here):
    files = [path for path in listed() if path.suffix in TEXT_FILES]
    assert {str(path): found for path in files if (found := strays(path))} == {}


@pytest.mark.parametrize("path", EDITIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_notebook_has_the_cell_that_installs_and_opens_elsewhere_if_there_is_an_address(path):
    first, install = nbformat.read(path, 4).cells[:2]
    assert install.source == frames.install(ADDRESS, PROJECT["version"])
    assert ("colab.research.google.com" in first.source) == (ADDRESS is not None)


def test_the_readme_has_badges_if_there_is_an_address():
    readme = read("README.md")
    assert readme.count("<!-- badges -->\n") == readme.count("<!-- /badges -->\n") == 1
    assert ("mybinder.org" in readme) == (ADDRESS is not None)


def test_one_command_gives_every_link_its_address_and_another_one_moves_them(here, tmp_path):
    for path in [Path("pyproject.toml"), Path("README.md"), Path("docs/exercises.md"), *listed()]:
        if path.parts[0] in ("notebooks", "pyproject.toml", "README.md") or path.name == "exercises.md":
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / path)

    def move(url):
        command = [sys.executable, ROOT / "dev" / "tools" / "address.py", url]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    def linked():
        texts = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.suffix in TEXT_FILES}
        return {path: found for path, text in texts.items() if (found := set(LINK.findall(text)) - OTHERS)}

    assert "https://github.com/some-one/their.course" in move("https://github.com/some-one/their.course.git")
    found = linked()
    assert set().union(*found.values()) == {"some-one/their.course"}
    assert {path.name for path in found} == {"pyproject.toml", "README.md", *(path.name for path in EDITIONS)}
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert frames.address_of(project) == "some-one/their.course"
    for badge in re.findall(r"!\[[^\]]+\]\((docs/badge[^)]+)\)", (tmp_path / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / badge).is_file()
    move("https://github.com/me/mine")
    assert set().union(*linked().values()) == {"me/mine"}
    once = {path: path.read_bytes() for path in linked()}
    move("https://github.com/me/mine")
    assert {path: path.read_bytes() for path in linked()} == once


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
