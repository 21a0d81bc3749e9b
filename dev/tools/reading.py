"""Read notebooks that someone has named, or say in a sentence why that cannot be done."""

import json
import sys
from difflib import get_close_matches
from pathlib import Path

import nbformat


class UnreadableError(Exception):
    """A path does not lead to a notebook that can be run: why, without a full stop."""


def read(path):
    """The notebook at a path, in format 4, which older ones are turned into. Raises UnreadableError."""
    path = Path(path)
    if path.is_dir():
        raise UnreadableError(f"it is a folder; name the notebooks in it, such as {path / '*.ipynb'}")
    if not path.exists():
        names = sorted(each.name for each in path.parent.glob("*.ipynb"))
        near = [name for name in names if name.startswith(path.stem)] or get_close_matches(path.name, names)
        hint = f" (did you mean {path.with_name(near[0])}?)" if near else ""
        raise UnreadableError(f"there is no such file{hint}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise UnreadableError(f"it cannot be read: {problem.strerror}") from problem
    except ValueError as problem:  # of bytes that are no text, and of text that is no JSON
        raise UnreadableError(f"it is no notebook, or it is damaged: {problem}") from problem
    if not isinstance(content, dict) or not isinstance(content.get("nbformat"), int):
        raise UnreadableError("it is no notebook: it does not say of which format it is")
    if content["nbformat"] > 4:
        raise UnreadableError(f"it is of format {content['nbformat']}, and this reads up to 4")
    try:
        notebook = nbformat.reads(json.dumps(content), 4)
        [(cell.cell_type, cell.source) for cell in notebook.cells]
    except Exception as problem:  # nbformat's own, and Python's of what is not there
        raise UnreadableError(f"its cells cannot be read: {problem}") from problem
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise UnreadableError(f"it is written in {language}, and only Python is run")
    return notebook


def require(paths):
    """End the tool, with a line for each, when some of these paths are no notebooks."""
    problems = []
    for path in paths:
        try:
            read(path)
        except UnreadableError as problem:
            problems.append(f"{path}: {str(problem).rstrip('.')}.")
    if problems:
        sys.exit("\n".join(problems))
