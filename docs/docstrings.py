"""The docstrings of the package are plain text; Sphinx wants reStructuredText."""

import inspect
import re


def literals(text):
    return re.sub(r"`+([^`]+)`+", r"``\1``", text)


def as_rst(app, what, name, obj, options, lines):
    """Docstrings are plain text: `code` becomes a literal, an indented block code, and a line that begins with a
    parameter's name a list item."""
    try:
        names = "|".join(inspect.signature(obj).parameters)
    except (TypeError, ValueError):  # a module, or a class without a signature
        names = ""
    parameter = re.compile(rf"((?:{names})(?:, (?:{names}))*): " if names else "(?!)")
    made, indent, doctest, code = [], None, False, False
    for line, before in zip(lines, ["", *lines]):
        doctest = bool(line) and (doctest or line.startswith(">>>"))
        if line.startswith("    ") and not before and not code:
            made += ["::", ""]
            code = True
        code = code and (not line or line.startswith("    "))
        if doctest or code or not line:
            made.append(line)
            indent = None  # a paragraph keeps its own
        elif found := parameter.match(line):
            made += ["", f"- ``{found[1]}``: {literals(line[found.end() :])}"]
            indent = "  "
        elif re.match("Returns|Raises|Yields", line):
            made += ["", literals(line)]
            indent = ""
        else:
            made.append(literals(line if indent is None else indent + line.strip()))
    lines[:] = made
