"""Write docs/claims.md: the claims on storybook, and on its untrained twin or another model, which is run anew.

python dev/tools/claims.py NOTEBOOK ...                            the untrained twin
python dev/tools/claims.py --model gpt2 [--name NAME] NOTEBOOK ... another model, with a column called NAME
"""

import argparse
import ast
import json
import re
import sys
from pathlib import Path

import nbformat
from execution import absolute, edition, measure
from stored_outputs import same

from interp_helpers.files import write_whole

ROOT = Path(__file__).parent.parent.parent
LEDGER, RECORDS, TWIN = ROOT / "docs/claims.md", ROOT / "dev" / "claims", "untrained twin"
HEAD = """\
# Claims

Made by `make claims` and `make transfer`. The main findings of the course are claims, which cells check: a sentence,
the number it rests on, and whether it holds (✓) or not (✗). The untrained twin has storybook's configuration and fresh
random weights. What holds on both needs no training: it follows from the architecture, the tokenizer, the decoding, or
a definition. Fresh weights are small, so what falls on the twin needed weights that grew: not every such claim is about
a skill. And a claim that compares the model with its twin falls there by definition, for the twin is compared with
itself.

Every other model that was run has a column; a reason, where one is known, stands below the table. nan: there was
nothing to measure. –: the notebook did not get there.
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


def records():
    """{column: {notebook: record}}, the twin's first."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))}
    return {name: found[name] for name in sorted(found, key=lambda name: (name != TWIN, name))}


def stale(kept, found, stored_with):
    """The claims of one notebook whose mark, reason or value in a record is not what another run found.

    kept, found: {claim: {"mark", "value", "because"}}; stored_with: the notebook's digest, as `same` takes it.
    """
    return [
        name
        for name in {**kept, **found}
        if name not in kept
        or name not in found
        or any(kept[name][what] != found[name][what] for what in ("mark", "because"))
        or not same(found[name]["value"], kept[name]["value"], stored_with)
    ]


def section(path, columns):
    """The ledger's lines for one notebook, from its stored outputs and the records of other models."""
    notebook = nbformat.read(path, 4)
    learned = stated(notebook)
    lines = [f"\n## {path.stem}\n", "| claim | sentence | storybook | " + " | ".join(columns) + " | needs training |"]
    lines.append("|---" * (len(columns) + 4) + "|")
    known = {}  # reason -> claim -> columns
    for mark, name, sentence, value in stored(notebook):
        cells = [name, sentence, f"{mark} {value}"]
        for column, of in columns.items():
            record = of.get(path.stem, {"claims": {}, "stopped": "not run"})
            each = record["claims"].get(name)
            cells.append(f"{each['mark']} {each['value']}" if each else "–")
            if reason := each["because"] if each else record["stopped"]:
                known.setdefault(reason, {}).setdefault(name, []).append(column)
        lines.append("| " + " | ".join([*cells, "yes" if learned[name] else "no"]) + " |")
    for reason, claims in sorted(known.items()):
        together = {}  # claims that share their columns
        for name, of in claims.items():
            where = "all models but storybook" if of == list(columns) else ", ".join(of)
            together.setdefault(where, []).append(name)
        lines += [f"- {', '.join(names)} on {where}: {reason}." for where, names in together.items()]
    return "\n".join(lines).replace("|\n- ", "|\n\n- ") + "\n"


def costs(columns):
    """What running the other models took, in words; the twin takes what storybook takes."""
    lines = []
    for name, of in columns.items():
        seconds, peaks = ([each[what] for each in of.values() if each[what]] for what in ("seconds", "MiB"))
        if name != TWIN and seconds:
            size = f"{sum(seconds) / 60:.0f} minutes, {max(peaks)} MiB in the largest kernel"
            lines.append(f"- {name}: {len(seconds)} notebooks, {size}.")
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def ledger(paths):
    """The text of docs/claims.md, from stored outputs and records alone."""
    columns = records()
    return HEAD + costs(columns) + "".join(section(path, columns) for path in paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a name or a folder, as load_model takes them; the untrained twin without it")
    parser.add_argument("--name", help="what its column is called; without it, the last part of the name or path")
    parser.add_argument("notebooks", nargs="+", type=Path)
    given = parser.parse_args()
    if given.model == "storybook":
        parser.error("storybook's claims are those of the stored outputs; name another model, such as gpt2.")
    name = given.name or (Path(given.model).name if given.model else TWIN)
    variables = {"INTERP_MODEL": absolute(given.model)} if given.model else {"INTERP_UNTRAINED": "1"}
    RECORDS.mkdir(exist_ok=True)
    found = records().get(name, {})
    for path in given.notebooks:
        found[path.stem], _, _ = measure(edition(path, given.model), variables, timeout=7200)
        held = [each["mark"] for each in found[path.stem]["claims"].values()].count("✓")
        print(f"{path.stem}: {held} claims hold on {name}. {found[path.stem]['stopped']}".strip(), flush=True)
        write_whole(RECORDS / f"{name}.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write_whole(LEDGER, ledger(sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))))
    sys.exit(any(each["stopped"] for each in found.values()))


if __name__ == "__main__":
    main()
