"""A training log made afterwards, from the checkpoints of a model that somebody else trained and stored."""

from itertools import pairwise

import numpy as np
import pandas as pd
import torch

from .attention import TARGETS, survey_sums
from .errors import ArgumentError
from .interventions import second_copy_drop, token_losses
from .models import context_length
from .progress import progress
from .text import passages, repeated_random_tokens, token_batches

ON_TEXT, ON_COPIES = ("previous_token", "first_token"), ("induction", "duplicate_token")
LONGEST = 60  # tokens in a copy


def checkpoint_log(load, steps):
    """Measure a model at some steps of its training: (measures, scores), in the form of `evidence.training_log`.

    load: step -> (model, tokenizer), as `load_model` gives them. steps: whole numbers that increase.

    measures: a table with a row for each step. Its columns are step, validation_loss (mean loss on the bundled
        passages, nats per token), and second_copy_drop (by how many nats per token the loss is lower on the second copy
        of repeated random tokens than on the first, mean of `interventions.second_copy_drop`).
    scores: name -> array `(checkpoint, layer, head)`, mean attention in [0, 1]: previous_token and first_token on the
        passages, induction and duplicate_token on the repeated tokens.

    There are 64 passages and 16 sequences of repeated tokens, with no start token, cut where the model cannot read so
    much. One model is in memory at a time. Raises ArgumentError when steps do not increase, and what `load` raises.

    Pythia's checkpoints (Biderman et al. 2023, arXiv:2304.01373) are revisions on the hub: "step0", "step1", "step2",
    "step4", and so on with doubled steps to "step512", then every 1000 steps from "step1000" to "step143000". Each of
    this model takes 0.2 GB:

    >>> load = lambda step: load_model("EleutherAI/pythia-70m", revision=f"step{step}")  # doctest: +SKIP
    >>> measures, scores = checkpoint_log(load, [0, 512, 1000, 2000, 4000, 143000])  # doctest: +SKIP
    """
    steps = list(steps)
    if not steps or any(later <= step for step, later in pairwise(steps)):
        raise ArgumentError(f"The steps must increase, such as [0, 512, 1000]; got {steps}.")
    rows, scores = zip(*(_measured(*load(step)) for step in progress(steps, "checkpoint")))
    measures = pd.DataFrame(rows, columns=["validation_loss", "second_copy_drop"])
    measures.insert(0, "step", steps)
    return measures, {name: np.stack([each[name] for each in scores]) for name in scores[0]}


def _measured(model, tokenizer):
    """One checkpoint: ((validation loss, second-copy drop), scores). It is given up on return, before the next."""
    context = context_length(model)
    texts = token_batches(tokenizer, passages(), context=context, cut=True)
    copies = repeated_random_tokens(tokenizer, int(min(2 * LONGEST, context)) // 2).split(4)
    loss = torch.cat([token_losses(model, batch).flatten() for batch in texts]).nanmean()  # NaN stands for padding
    drop = torch.cat([second_copy_drop(model, tokens) for tokens in copies]).mean()
    return (loss.item(), drop.item()), _scores(model, texts, ON_TEXT) | _scores(model, copies, ON_COPIES)


def _scores(model, batches, names):
    """As `attention.survey`, for these targets alone and without a bar of its own."""
    sums, counts = survey_sums(model, batches, targets={name: TARGETS[name] for name in names})
    return dict(zip(names, (sums / counts[:, None, None])[0].numpy().transpose(2, 0, 1)))
