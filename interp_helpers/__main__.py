"""The command line: `interp-helpers survey`; for several processes `accelerate launch -m interp_helpers survey`."""

import argparse
import sys
from pathlib import Path

from .errors import InterpError

SHOWN = 20  # texts and files that are named when they are skipped


def _count(text):
    """An argument that is a whole number of 1 or more."""
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def _gigabytes(text):
    """An argument that is a number above 0."""
    try:
        if 0 < float(text) < float("inf"):
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, such as 2 or 0.5")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="interp-helpers", description="Looking inside language models, from a shell.")
    command = parser.add_subparsers(required=True, metavar="command").add_parser(
        "survey",
        help="score every head of a model over a corpus",
        description="Score every head of a model over a corpus, and write a table with a row for each head. Work is "
        "cut into shards; run the same command again after an interruption, and it goes on where it was.",
    )
    add = command.add_argument
    add("--model", dest="name", default="storybook", help="a name or a folder, as load_model takes them")
    add("--texts", required=True, help="a .txt (a text a line), .csv or .jsonl, or a folder of such")
    add("--out", required=True, type=Path, help="the table: a .parquet file")
    add("--column", default="text", help="of a .csv or .jsonl (default: text)")
    add("--context", type=_count, help="tokens in a piece of text (default: what the model reads, at most 1024)")
    add("--batch", type=_count, default=8, help="pieces read at once, at most (default: 8)")
    add(
        "--memory",
        type=_gigabytes,
        default=2.0,
        help="GB for a batch beside the model: long pieces come in smaller ones",
    )
    add("--shard", dest="size", type=_count, default=64, help="texts in a shard (default: 64)")
    add("--device-map", help="spread a large model over devices, as transformers does: auto")
    add("--cpu", action="store_true", help="use no GPU")
    options = vars(parser.parse_args(arguments))
    try:
        from accelerate import PartialState  # after the arguments: --help takes no seconds

        from .corpus import survey_corpus

        scores, totals = survey_corpus(**options)
        state = PartialState()
        if state.is_main_process:
            _report(scores, totals, options["out"], state.num_processes)
    except InterpError as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("Interrupted. The shards that are done are kept: the same command goes on from there.")


def _report(scores, totals, out, processes):
    for verb, left in {"skipped": totals["skipped"], "left out": totals["left out"]}.items():
        for where, why in left[:SHOWN]:
            print(f"{verb} {where}: {why}", file=sys.stderr)
        if len(left) > SHOWN:
            print(f"{verb} {len(left) - SHOWN} more", file=sys.stderr)
    read = f"{totals['texts']} texts, {totals['tokens']} tokens, {totals['cut']} cut, {len(totals['skipped'])} skipped"
    print(f"{read}; {len(scores)} heads in {out}; processes: {processes}")


if __name__ == "__main__":
    main()
