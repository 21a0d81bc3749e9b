"""Run every benchmark and write BENCHMARKS.md: python benchmarks/bench.py"""

import datetime
import sys

import adjustments
import interventions
import start
import survey
from measuring import ROOT, machine, table

sys.path.insert(0, str(ROOT / "tools"))
import environment  # noqa: F401 - one thread, no network, for this process and its kernels

from interp_helpers.files import write_whole

HEAD = """\
# Benchmarks

Made by `make bench` on {day}. One thread unless it says otherwise; the fastest of some rounds, so that what else the
machine does counts little. Numbers of different machines do not compare; ratios nearly do.

Machine: {machine}.
"""


def main():
    text = HEAD.format(day=datetime.date.today().isoformat(), machine=machine())
    for module in (start, survey, interventions, adjustments):
        about = module.__doc__.strip()
        text += f"\n# {module.__name__.capitalize()}\n\n{about}\n"
        for heading, rows in module.tables().items():
            text += f"\n## {heading}\n\n{table(rows)}"
            print(f"\n{heading}\n{table(rows)}", flush=True)
    write_whole(ROOT / "BENCHMARKS.md", text)


if __name__ == "__main__":
    main()
