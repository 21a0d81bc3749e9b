"""The command line: `interp-helpers survey`; for several processes `accelerate launch -m interp_helpers survey`."""

import argparse
import sys
from pathlib import Path

from .errors import ArgumentError, InterpError


def survey(given):
    """Survey a corpus and write its scores. Every process runs this; the first one writes."""
    from accelerate import PartialState

    from .files import write_whole
    from .models import load_model
    from .sharded import Shards, digest, reduce, survey_corpus

    state = PartialState(cpu=given.cpu)
    if given.device_map and state.num_processes > 1:
        raise ArgumentError("survey: --device-map spreads one model over all devices, so it takes one process.")
    with state.main_process_first():  # it fetches a hub model, the others find it in the cache
        device = {"device_map": given.device_map} if given.device_map else {"device": state.device}
        model, tokenizer = load_model(given.model, **device)
    reads = model.config.max_position_embeddings
    if given.context and given.context > reads:
        raise ArgumentError(
            f"survey: --context is {given.context}; {given.model} reads {reads} tokens at most. Give fewer, or leave "
            "it out."
        )
    context = given.context or reads
    settings = {
        "model": given.model,
        "weights": sum(parameter.double().sum().item() for parameter in model.parameters()),
        "texts": digest(given.texts),
        "column": given.column,
        "context": context,
        "shard": given.shard,
        "batch": given.batch,
    }
    shards = Shards(Path(f"{given.out}.shards"), settings)
    number = survey_corpus(
        model, tokenizer, given.texts, shards, column=given.column, context=context, batch=given.batch,
        size=given.shard, rank=state.process_index, processes=state.num_processes,
    )  # fmt: skip
    state.wait_for_everyone()
    if state.is_main_process:
        scores, total = reduce(shards, number)
        write_whole(given.out, scores.to_parquet)
        for where, wrong in total["skipped"]:
            print(f"skipped {where}: {wrong}", file=sys.stderr)
        read = f"{total['texts']} texts, {total['tokens']} tokens, {len(total['skipped'])} skipped"
        print(f"{read}; {len(scores)} heads in {given.out}; processes: {state.num_processes}")


def number(text):
    """An argument that is a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="interp-helpers", description="Looking inside language models, from a shell.")
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser(
        "survey",
        help="score every head of a model over a corpus",
        description="Score every head of a model over a corpus, and write a table with a row for each head. Work is "
        "cut into shards; run the same command again after an interruption, and it goes on where it was.",
    )
    command.add_argument("--model", default="storybook", help="a name or a folder, as load_model takes them")
    command.add_argument("--texts", required=True, help="a .txt (a text a line), .csv or .jsonl, or a folder of such")
    command.add_argument("--out", required=True, type=Path, help="the table: a .parquet file")
    command.add_argument("--column", default="text", help="of a .csv or .jsonl (default: text)")
    command.add_argument("--context", type=number, help="tokens in a piece of text (default: what the model can read)")
    command.add_argument("--batch", type=number, default=8, help="pieces read at once (default: 8)")
    command.add_argument("--shard", type=number, default=64, help="texts in a shard (default: 64)")
    command.add_argument("--device-map", help="spread a large model over devices, as transformers does: auto")
    command.add_argument("--cpu", action="store_true", help="use no GPU")
    command.set_defaults(run=survey)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except InterpError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
