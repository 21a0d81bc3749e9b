"""Build the course as a static site, from the stored outputs: python dev/tools/build_site.py [--out build/site]

Sphinx needs its pages in one folder, so they are copied to one, each where it lies in the repository, with what a web
page needs changed on the way: alt texts where MyST-NB looks for them, no solution markers, no rubrics, and links to
files that are no page turned to the repository.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

import nbformat
from editions import RUBRIC, SOLUTION, replace

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
PAGES = ["README.md", "CHANGELOG.md", "docs/*.md", "docs/*.rst", "notebooks/[0-9]*.ipynb"]
PAGES += ["interp_helpers/data/storybook/README.md"]
PICTURES = ["docs/*.png", "docs/*.svg"]
STUDENT = "notebooks/student"  # which the site carries
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
FOLDER = re.compile(r"\[([^]]+)\]\(((?:\.\./)*(?:notebooks/)?student)/?\)")  # a link to it


def prepared(notebook):
    """The notebook as the site shows it."""
    for cell in notebook.cells:
        cell.source = replace(cell.source, RUBRIC, None)
        cell.source = re.sub(rf"^[ \t]*### (BEGIN|END) {SOLUTION}\n?", "", cell.source, flags=re.M).rstrip("\n")
        for output in cell.get("outputs", []):
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    return notebook


def relinked(text, page, pages, repository):
    """The text of a page with links to files of the repository that are no page of the site leading there.

    A link to the blank notebooks leads to the site's copy, in HTML: Sphinx does not know of that copy.
    """

    def link(found):
        target = PurePosixPath(os.path.normpath(page.parent / found[1])).as_posix()
        if target == "README.md":
            return "](" + os.path.relpath("index.md", page.parent).replace(os.sep, "/")
        if target in pages or not (ROOT / target).exists():  # Sphinx says what is missing
            return found[0]
        return f"]({repository}/{'tree' if (ROOT / target).is_dir() else 'blob'}/main/{target}"

    return LINK.sub(link, FOLDER.sub(r'<a href="\2/index.html">\1</a>', text))


def lay_out(source):
    """Copy all pages and pictures into the folder `source`, prepared for Sphinx."""
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    shutil.rmtree(source, ignore_errors=True)
    files = {}
    for path in (path for pattern in PAGES + PICTURES for path in sorted(ROOT.glob(pattern))):
        name = PurePosixPath(path.relative_to(ROOT).as_posix())
        files["index.md" if name.match("docs/index.md") else str(name)] = path
    for name, path in files.items():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            notebook = prepared(nbformat.read(path, 4))
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = relinked(cell.source, PurePosixPath(name), files, repository)
            nbformat.write(notebook, target)
        elif path.suffix == ".md":
            text = relinked(path.read_text(encoding="utf-8"), PurePosixPath(name), files, repository)
            target.write_text(text, encoding="utf-8")
        else:
            shutil.copy(path, target)


def add_student(out):
    """Copy the blank notebooks, with a page that lists them, for a folder has none when it is served."""
    shutil.copytree(ROOT / STUDENT, out / STUDENT, dirs_exist_ok=True)
    names = sorted(path.name for path in (ROOT / STUDENT).glob("*.ipynb"))
    items = "".join(f'<li><a href="{name}" download>{name}</a></li>' for name in names)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>Notebooks with blank exercises</title><style>:root{color-scheme:light dark}"
        "body{font:16px/1.6 sans-serif;margin:2em auto;max-width:50em;padding:0 1em}</style>"
        "<h1>Notebooks with blank exercises</h1>"
        f'<p>To open in JupyterLab. <a href="../../index.html">Back to the course</a></p><ul>{items}</ul></html>'
    )
    (out / STUDENT / "index.html").write_text(page, encoding="utf-8")


def main():
    try:
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError as missing:
        sys.exit(
            f"build_site: {missing.name} is not installed. The site needs Python 3.11 or newer; this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Make the environment anew: rm -rf .venv && make site "
            "PYTHON=python3.12"
        )

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=ROOT / "build/site-source", help="where the pages are laid out")
    parser.add_argument("--out", type=Path, default=ROOT / "build/site")
    given = parser.parse_args()
    lay_out(given.source)
    shutil.rmtree(given.out, ignore_errors=True)
    doctrees = given.source.with_name(given.source.name + "-doctrees")
    options = ["-q", "-W", "--keep-going", "-E", "-b", "html", "-d", doctrees, "-c", ROOT / "docs"]
    failed = build_main([str(each) for each in [*options, given.source, given.out]])
    add_student(given.out)
    sys.exit(failed or print(f"Open {(given.out / 'index.html').resolve()}"))


if __name__ == "__main__":
    main()
