"""Make every link point to where the course lives: python dev/tools/address.py [https://github.com/OWNER/REPOSITORY]

The address stands in pyproject.toml, [project.urls]. With a new one, it is written there first. All links to the
repository, to Binder, to Colab and to the wheel are derived from it.
"""

import re
import subprocess
import sys
from pathlib import Path

PYPROJECT = Path("pyproject.toml")
ADDRESS = re.compile(r'(?m)^Repository = "https://github\.com/([\w.-]+/[\w.-]+?)"')
PLACES = r"github\.com/|mybinder\.org/v2/gh/|colab\.research\.google\.com/github/"
OWN = [".ipynb", ".md", ".py", ".cff", ".toml", ".yml", ".rst", ".svg"]


def slug(pyproject):
    """OWNER/REPOSITORY, from the text of pyproject.toml."""
    return ADDRESS.search(pyproject)[1]


def moved(text, old, new):
    """A text whose links lead to the repository `new` instead of `old`.

    >>> moved("https://github.com/a/b/issues and https://github.com/a/bc", "a/b", "c/d")
    'https://github.com/c/d/issues and https://github.com/a/bc'
    """
    return re.sub(rf"({PLACES}){re.escape(old)}(?![\w.-]*\w)", rf"\g<1>{new}", text)


def listed():
    """All files of the course, as git lists them: tracked ones and new ones."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(each) for each in found if Path(each).is_file()]


def files():
    """Those that may hold links."""
    return [each for each in listed() if each.suffix in OWN]


def main(arguments):
    old = slug(PYPROJECT.read_text(encoding="utf-8"))
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git|/)?", arguments[0]) if arguments else None
    if not found:
        sys.exit(
            f"The course lives at https://github.com/{old}. To move it: make address URL=https://github.com/me/mine"
        )
    changed = 0
    for path in files():
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        if (new := moved(text, old, found[1])) != text:
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(new)
            changed += 1
    print(f"{changed} files now lead to https://github.com/{found[1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
