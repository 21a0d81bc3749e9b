"""What every notebook begins and ends with: links that lead to the others, and the cell that installs the package."""

import re
from pathlib import Path

import frames
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from PIL import Image

ROOT = Path(__file__).parent.parent
FOLDERS = [ROOT / "notebooks", ROOT / "notebooks" / "student"]
EDITIONS = [path for folder in FOLDERS for path in sorted(folder.glob("0*.ipynb"))]
FIRST = "# 1 · One: what is one?\n\n*A text.*\n\n**Time** 60 minutes, and 125 for the exercises."


def named(path):
    return f"{path.parent.name}-{path.stem}"


def notebook(number, first=FIRST):
    """A notebook with a title and the cell that installs."""
    cells = [nbformat.v4.new_markdown_cell(first.replace("1 · One", f"{number} · N{number}"))]
    cells.append(nbformat.v4.new_code_cell("", id="install"))
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture
def three():
    return {f"0{number}_n.ipynb": notebook(number) for number in (1, 2, 3)}


def framed(notebooks, address=None):
    described = [frames.about(name, each) for name, each in notebooks.items()]
    for name, each in notebooks.items():
        frames.frame(each, name, described, address, "1.0")
    return list(notebooks.values())


def test_a_notebook_leads_to_the_contents_and_to_its_neighbours(three):
    first, middle, last = framed(three)
    assert first.cells[0].source.split("\n\n")[1] == "[Contents](README.md) · [2 · N2\u00a0→](02_n.ipynb)"
    assert last.cells[-1].source == "[Contents](README.md) · [←\u00a02 · N2](02_n.ipynb)"
    assert middle.cells[-1].source.count("](") == 3
    assert "binder" not in str(three)
    assert middle.cells[0].source.endswith("*A text.*\n\n**Time** 60 minutes, and 125 for the exercises.")


def test_with_an_address_it_opens_elsewhere_and_colab_finds_the_neighbours(three):
    middle = framed(three, "me/mine")[1]
    for source in (middle.cells[0].source, middle.cells[-1].source):
        assert "https://mybinder.org/v2/gh/me/mine/HEAD?urlpath=lab/tree/work/02_n.ipynb" in source
        found = re.findall(r"https://colab\.research\.google\.com/github/me/mine/blob/HEAD/([^)]+)\)", source)
        assert found == [f"notebooks/student/0{number}_n.ipynb" for number in (2, 1, 3)]


def test_framing_twice_or_anew_leaves_nothing_of_the_first_time(three):
    framed(three)
    before = str(three)
    framed(three, "me/mine")
    assert "me/mine" in str(three)
    framed(three, "some-one/else.s")
    assert "me/mine" not in str(three)
    framed(three)
    assert str(three) == before


@pytest.mark.parametrize("first", ["# Untitled\n\n" + FIRST, FIRST.replace("**Time**", "Time")])
def test_a_notebook_that_says_nothing_of_itself_is_named(first):
    with pytest.raises(ValueError, match=r"02_n\.ipynb: the first cell needs"):
        frames.about("02_n.ipynb", notebook(2, first))


def test_the_contents_lists_all_with_their_questions(three):
    page = frames.contents([frames.about(name, each) for name, each in three.items()], "Heading", "Text.")
    assert page.startswith("# Heading\n\nText.\n\n")
    assert "| [2 · N2](02_n.ipynb) | What is one? | – | 60 | 125 |" in page
    assert "Together the notebooks take 3 hours to read, and 6 for the exercises." in page


def test_the_contents_draws_what_builds_on_what_and_shows_pictures_where_there_are_any():
    last = notebook(3, FIRST + " **Builds on** [1 · First](01_n.ipynb) and 2. **Needs** 4 GB.")
    described = [frames.about("03_n.ipynb", last), frames.about("01_n.ipynb", notebook(1))]
    assert described[0].builds_on == (1, 2)
    page = frames.contents(described, "Heading", "Text.", "../covers")
    assert page.endswith('```mermaid\ngraph LR\n    3["3 · N3"]\n    1["1 · N1"]\n    1 --> 3\n    2 --> 3\n```\n')
    assert '| <img src="../covers/03_n.png" width="160" alt=""><br>[3 · N3](03_n.ipynb) | What is one? | 1, 2 |' in page
    assert frames.WAYS in page


def test_every_section_that_a_way_through_the_course_names_is_there():
    named = [each.split(".") for each in re.findall(r"\b\d\.\d\b", frames.WAYS)]
    assert len(named) == 8
    for chapter, section in named:
        (path,) = (ROOT / "notebooks").glob(f"0{chapter}_*.ipynb")
        headings = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
        assert any(f"## {chapter}.{section} " in source for source in headings), f"{chapter}.{section}"


def test_every_small_picture_is_small():
    for path in EDITIONS[:9]:
        picture = Image.open(ROOT / "docs/covers" / f"{path.stem}.png")
        assert picture.width <= 320
        assert picture.width == 320 or picture.height == 240


@pytest.mark.parametrize("path", EDITIONS, ids=named)
def test_every_link_of_a_notebook_leads_to_a_file(path):
    """To another notebook from every folder; to a page of docs/ from notebooks/ and from work/, where students work."""
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", cell.source):
                folder = ROOT / "notebooks" if target.startswith("../docs/") else path.parent
                assert (folder / target).is_file(), target


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_line_of_a_contents_page_leads_to_its_notebook(folder):
    listed = re.findall(r"\]\(([^)]+)\)", (folder / frames.CONTENTS).read_text(encoding="utf-8"))
    assert listed == sorted(path.name for path in folder.glob("*.ipynb"))


def installing(source, monkeypatch, torch=True, **variables):
    """What pip is told by the cell in a Python without the package. torch: whether it is there."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: torch if name == "torch" else None)
    monkeypatch.delenv("INTERP_WHEEL", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    told = []

    class Shell:
        def run_line_magic(self, magic, line):
            told.append(f"{magic} {line}")

    scope = {"get_ipython": Shell}
    exec(TransformerManager().transform_cell(source), scope)
    values = {name: scope[name] for name in ("WHEEL", "keep")}
    return [line.format(**values) for line in told]


def test_where_the_package_is_missing_the_wheel_of_the_release_is_installed_and_torch_kept(monkeypatch):
    (line,) = installing(frames.install("me/mine", "1.0"), monkeypatch)
    wheel = "https://github.com/me/mine/releases/download/v1.0/interp_helpers-1.0-py3-none-any.whl"
    assert re.fullmatch(rf'pip install --quiet "{re.escape(wheel)}" torch==\S+', line)
    assert installing(frames.install("me/mine", "1.0"), monkeypatch, torch=None) == [f'pip install --quiet "{wheel}" ']
    assert (
        ' "other.whl" torch==' in installing(frames.install("me/mine", "1.0"), monkeypatch, INTERP_WHEEL="other.whl")[0]
    )


def test_without_an_address_a_sentence_says_what_to_do(monkeypatch):
    with pytest.raises(ModuleNotFoundError, match="Run `make lab` in the folder of the course"):
        installing(frames.install(None, "1.0"), monkeypatch)
    assert ' "my.whl" torch==' in installing(frames.install(None, "1.0"), monkeypatch, INTERP_WHEEL="my.whl")[0]
