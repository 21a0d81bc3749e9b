"""Run every benchmark and write docs/benchmarks.md: python dev/benchmarks/bench.py [start survey ...]

With names, only those are run, and the sections of the others stay as they are.
"""

import datetime
import sys

import adjustments
import interventions
import start
import survey
from measuring import ROOT, machine, table

sys.path.insert(0, str(ROOT / "dev/tools"))
import environment  # noqa: F401 - one thread, no network, for this process and its kernels

from interp_helpers.files import write_whole

PAGE = ROOT / "docs/benchmarks.md"
HEAD = """\
# Benchmarks

Made by `make bench`, but for "In short" and "Tests". One thread unless it says otherwise. Short things are the fastest
of some rounds, so that what else the machine did counts little; notebooks run once. Each section says when and where it
was measured: numbers of different machines do not compare, and ratios vary by a fifth.
"""


def section(module):
    """What one module measured, as Markdown; printed as it comes."""
    text = f"# {module.__name__.capitalize()}\n\n*{datetime.date.today().isoformat()}; {machine()}.*\n"
    text += f"\n{module.__doc__.strip()}\n"
    for heading, rows in module.tables().items():
        text += f"\n## {heading}\n\n{table(rows)}"
    print(text, flush=True)
    return text


def main():
    modules = [start, survey, interventions, adjustments]
    before = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    found = {part.partition("\n")[0]: f"# {part}".rstrip("\n") for part in before.split("\n# ")[1:]}
    for module in modules:
        if module.__name__ in (sys.argv[1:] or [each.__name__ for each in modules]):
            found[module.__name__.capitalize()] = section(module).rstrip("\n")
            write_whole(PAGE, HEAD + "\n" + "\n\n".join(found.values()) + "\n")


if __name__ == "__main__":
    main()
