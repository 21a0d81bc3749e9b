"""Write CLAIMS.md, all claims on storybook and on its untrained twin: python tools/claims.py NOTEBOOK ..."""

import ast
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from execution import execute

LEDGER = Path("CLAIMS.md")
HEAD = """\
# Claims

Made by `make claims`. The main findings of the course are claims, which cells check: a sentence, the number it rests
on, and whether it holds (✓) or not (✗). The untrained twin has the same configuration and fresh random weights. What
holds on both needs no training: it follows from the architecture, the tokenizer, the decoding, or a definition. Fresh
weights are small, so what falls on the twin needed weights that grew: not every such claim is about a skill. And a
claim that compares storybook with the twin falls there by definition, for the twin is compared with itself.
"""


def stated(notebook):
    """{claim: whether it is marked as learned}, from the calls in a notebook's source, in order."""
    found = {}
    for cell in notebook.cells:
        for node in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" and "claim(" in cell.source else []:
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim":
                learned = next(each.value.value for each in node.keywords if each.arg == "learned")
                found[node.args[0].value] = learned
    return found


def stored(notebook):
    """[(tick or cross, claim, sentence, value)] of a notebook's stored outputs, all as they were printed."""
    outputs = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    return re.findall(r"^([✓✗]) (\S+)  (.+)  \[(.+)\]$", "".join(outputs), re.M)


def on_twin(path):
    """Run the notebook at `path` on the untrained twin. Returns ({claim: (holds, value)}, the executed notebook)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "claims.jsonl"
        os.environ.update(INTERP_UNTRAINED="1", INTERP_CLAIMS=str(file))
        try:
            notebook, _, _ = execute(path)
        finally:
            del os.environ["INTERP_UNTRAINED"], os.environ["INTERP_CLAIMS"]
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {each["claim"]: (each["holds"], each["value"]) for each in lines}, notebook


def section(path, twin):
    """The ledger's lines for one notebook, from its stored outputs and its claims on the twin."""
    notebook = nbformat.read(path, 4)
    learned = stated(notebook)
    lines = [
        f"\n## {path.stem}\n",
        "| claim | sentence | storybook | untrained twin | needs training |",
        "|---|---|---|---|---|",
    ]
    for mark, name, sentence, value in stored(notebook):
        holds, number = twin[name]
        cells = [name, sentence, f"{mark} {value}", f"{'✓' if holds else '✗'} {number:.3g}"]
        lines.append("| " + " | ".join([*cells, "yes" if learned[name] else "no"]) + " |")
    return "\n".join(lines) + "\n"


def main(paths):
    text = HEAD + "".join(section(path, on_twin(path)[0]) for path in map(Path, paths))
    part = LEDGER.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, LEDGER)


if __name__ == "__main__":
    main(sys.argv[1:])
