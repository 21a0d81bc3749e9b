"""Say where the course lives: python dev/tools/address.py https://github.com/OWNER/REPOSITORY

Until then no link leads to a repository, to Binder or to Colab. The address is kept in pyproject.toml, [project.urls];
README's badges and the notebooks' links are derived from it.
"""

import re
import sys
from pathlib import Path

import editions
from frames import ADDRESS, BINDER, COLAB

PYPROJECT, README = Path("pyproject.toml"), Path("README.md")
URLS = re.compile(r'(?m)^\[project\.urls\]\nRepository = "(.+)"\n\n')
BEFORE = "[project.optional-dependencies]"  # what stands after it in pyproject.toml
BADGES = re.compile(r"<!-- badges -->\n(.*?)<!-- /badges -->", re.S)


def with_address(pyproject, address):
    """The text of pyproject.toml with an address.

    >>> with_address('[project.optional-dependencies]', "me/mine")
    '[project.urls]\\nRepository = "https://github.com/me/mine"\\n\\n[project.optional-dependencies]'
    """
    line = f'[project.urls]\nRepository = "https://github.com/{address}"\n\n'
    return URLS.sub("", pyproject).replace(BEFORE, line + BEFORE)


def with_badges(readme, address):
    """README's text with badges that open the first notebook."""
    name = "01_baseline.ipynb"
    links = [("Binder", BINDER, "binder"), ("Colab", COLAB, "colab")]
    lines = [
        f"[![Open in {place}](docs/badge-{badge}.svg)]({link.format(address=address, name=name)})\n"
        for place, link, badge in links
    ]
    return BADGES.sub(f"<!-- badges -->\n{''.join(lines)}<!-- /badges -->", readme)


def main(arguments):
    old = URLS.search(PYPROJECT.read_text(encoding="utf-8"))
    found = ADDRESS.fullmatch(arguments[0]) if arguments else None
    if not found:
        lives = f"The course lives at {old[1]}." if old else "The course has no address yet."
        sys.exit(f"{lives} To give it one: make address URL=https://github.com/me/mine")
    for path, changed in ((PYPROJECT, with_address), (README, with_badges)):
        path.write_text(changed(path.read_text(encoding="utf-8"), found[1]), encoding="utf-8", newline="\n")
    editions.main(sorted(Path("notebooks").glob("0*.ipynb")))
    print(f"All links now lead to https://github.com/{found[1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
