"""What was found elsewhere: published figures of well-known models, and the log of storybook's own training."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from .hub import STORYBOOK

FIGURES = Path(__file__).parent / "data" / "published.json"


def published_figures(name):
    """What has been published about the model called `name`, as a dict; empty when nothing is kept here.

    >>> published_figures("gpt2")["config"]["parameters"]
    124439808
    >>> published_figures("storybook")
    {}
    """
    return json.loads(FIGURES.read_text(encoding="utf-8")).get(str(name), {})


def training_log():
    """storybook's training log as (measures, scores), from its first step to its last, at log-spaced steps.

    measures: a table with a row for each measurement. Its columns are step, tokens (trained on so far),
        validation_loss (on held-out text, nats per token), second_copy_drop (by how many nats per token the loss is
        lower on the second copy of repeated random tokens than on the first, as `interventions.second_copy_drop`), and
        loop_share (of greedy text that repeats itself).
    scores: name -> array `(measurement, layer, head)`, mean attention in [0, 1]: previous_token and first_token on
        held-out text, induction and duplicate_token on repeated random tokens.

    >>> measures, scores = training_log()
    >>> int(measures["tokens"].iloc[-1]), scores["induction"].shape
    (47996928, (70, 6, 8))
    """
    log = json.loads((STORYBOOK / "training_log.json").read_text(encoding="utf-8"))
    scores = {name: np.array([entry["scores"][name] for entry in log]) for name in log[0]["scores"]}
    measures = pd.DataFrame(log).drop(columns="scores")
    measures["repeat_gain"] *= -1  # the file has the second copy's loss minus the first's
    return measures.rename(columns={"repeat_gain": "second_copy_drop"}), scores
