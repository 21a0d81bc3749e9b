"""The log of storybook's own training: what it could do, and what every head looked at, while it learned."""

import json

import numpy as np

from .models import STORYBOOK


def training_log():
    """storybook's training log as (measures, scores), from its first step to its last at log-spaced steps.

    measures: a table, a row for each measurement: step, tokens (trained on so far), validation_loss (held-out text,
        nats per token), repeat_gain (how much less the second copy of repeated random tokens surprises than the first,
        nats per token: above 0 when repetition helps, as in `patching.repeat_gain`), loop_share (of greedy text that
        repeats itself).
    scores: name -> array `(measurement, layer, head)`, mean attention in [0, 1]: previous_token and first_token on
        held-out text, induction and duplicate_token on repeated random tokens.

    >>> measures, scores = training_log()
    >>> int(measures["tokens"].iloc[-1]), scores["induction"].shape
    (47996928, (70, 6, 8))
    """
    import pandas as pd

    log = json.loads((STORYBOOK / "training_log.json").read_text(encoding="utf-8"))
    measures = pd.DataFrame([{name: value for name, value in each.items() if name != "scores"} for each in log])
    measures["repeat_gain"] *= -1  # the file has the second copy's loss minus the first's
    return measures, {name: np.array([each["scores"][name] for each in log]) for name in log[0]["scores"]}
