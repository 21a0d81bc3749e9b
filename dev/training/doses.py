"""When the live model's induction head comes, by what it is trained on: python dev/training/doses.py FILE

Trains `live.AttentionOnly` on data of which a part repeats, with ten seeds each, and writes a list of
{"filler", "repeats", "dates"}: the step at which a head first passes one half on induction, or null when none has by
`STEPS`. An hour on one core; the course carries the result as interp_helpers/data/doses.json.
"""

import argparse
import json
from pathlib import Path

import torch
from tqdm.auto import tqdm

from interp_helpers import live

STEPS, SEEDS = 1000, range(10)
FILLERS = {
    "nothing": None,
    "shuffled copies": live.shuffled_copies,
    "random tokens": live.random_tokens,
    "different tokens": live.different_tokens,
}
REPEATS = (14, 12, 10, 8, 6, 4)  # of live.SEQUENCES sequences a step
FIRST = ("shuffled copies", "random tokens")  # trained on alone, before sequences that all repeat


def dates(draw):
    return [live.date(live.AttentionOnly(2, seed=seed), seed=seed, steps=STEPS, draw=draw) for seed in SEEDS]


def dates_after(draw, steps=100):
    """The dates of models that were trained on other sequences before, counted from where the repeats begin."""
    models = [live.AttentionOnly(2, seed=seed) for seed in SEEDS]
    for seed, model in zip(SEEDS, models):
        list(live.train(model, seed=500 + seed, steps=steps, every=steps, draw=draw))
    return [live.date(model, seed=seed, steps=STEPS) for seed, model in zip(SEEDS, models)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    torch.set_num_threads(1)  # these products are too small to share
    conditions = [(filler, repeats) for filler in FILLERS for repeats in REPEATS]
    found = [{"filler": "nothing", "repeats": live.SEQUENCES, "dates": dates(live.repeated_pieces)}]
    for before in FIRST:
        dated = dates_after(FILLERS[before])
        found.append({"filler": f"{before} first", "repeats": live.SEQUENCES, "dates": dated})
    for filler, repeats in tqdm(conditions):
        draw = live.diluted(repeats, FILLERS[filler])
        found.append({"filler": filler, "repeats": repeats, "dates": dates(draw)})
        file.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
