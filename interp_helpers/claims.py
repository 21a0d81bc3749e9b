"""Claims: a sentence, the number it rests on, and whether it holds on the model in use."""

import json
import math
import os

import pandas as pd

from .errors import ArgumentError, ClaimError


def _is_truth(given):
    """Whether it is True or False, of Python, numpy or torch. Others would count as True: "False", NaN."""
    kind = str(getattr(given, "dtype", type(given).__name__))
    return kind in ("bool", "torch.bool") and getattr(given, "shape", ()) == ()


class Claims:
    """The claims of one run of one notebook.

    model: the name of the model in use; untrained: whether it is the untrained twin.

    Call it with a claim's name, sentence, number and verdict: it prints one line and keeps the claim. A claim
    that fails on the trained bundled model raises, because there the prose says that it holds; on any other
    model it prints a cross: which findings carry over is a finding.

    When the environment variable INTERP_CLAIMS names a file, each claim is also added to it, as one line of JSON.

    >>> claim = Claims("gpt2")
    >>> claim("00.example", "Seven is greater than six", 7, 7 > 6, learned=False)
    ✓ 00.example  Seven is greater than six  [7]
    >>> claim("00.other", "A sixth is more than a half", 1 / 6, 1 / 6 > 1 / 2, learned=False)
    ✗ 00.other  A sixth is more than a half  [0.167]
    >>> learns = {"the model learns no position embedding": True}
    >>> claim("00.third", "Neighbours are alike", float("nan"), False, learned=True, because=learns)
    ✗ 00.third  Neighbours are alike  [nan]  (the model learns no position embedding)
    """

    def __init__(self, model, *, untrained=False):
        if not isinstance(model, (str, os.PathLike)):
            raise ArgumentError(f"Claims: model must be the name of a model; got a {type(model).__name__}.")
        self.model = str(model)
        self.untrained = untrained
        self.made = {}  # name -> claim, in the order in which they were made first

    def __call__(self, name, sentence, value, holds, *, learned, because=None):
        """Print and keep a claim.

        name: "01.short-name"; value: one number; holds: True or False.
        learned: whether it needs training: then it must not hold on the untrained twin. What holds there too follows
            from the architecture, the tokenizer, the decoding or a definition.
        because: known reasons for which it may not hold on another model: dict, reason -> whether it applies here.
            Those that do are printed after a cross. With one of them, a claim that fails may have the value NaN:
            there was nothing to measure.

        The same claim made again takes the place of the first, as when a cell is run again. Raises ArgumentError when
        the name is that of another sentence or the value is no finite number, and ClaimError when the claim fails on
        the trained bundled model.
        """
        for argument, given in {"name": name, "sentence": sentence}.items():
            if not isinstance(given, str) or not given.strip():
                raise ArgumentError(f"claim: {argument} must be a string; got {given!r:.60}.")
        for argument, given in {"holds": holds, "learned": learned}.items():
            if not _is_truth(given):
                raise ArgumentError(f"claim: {argument} of {name!r} must be True or False; got {given!r:.60}.")
        if self.made.get(name, {"sentence": sentence})["sentence"] != sentence:
            raise ArgumentError(f"claim: {name!r} was made before in this notebook; give each claim its own name.")
        try:
            if isinstance(value, (str, bytes)):
                raise TypeError("float would read it")
            value, holds, learned = float(value), bool(holds), bool(learned)
        except (TypeError, ValueError, RuntimeError) as problem:
            raise ArgumentError(f"claim: the value of {name!r} must be one number; got {value!r:.60}.") from problem
        reason = "" if holds else " and ".join(each for each, applies in (because or {}).items() if applies)
        if not (math.isfinite(value) or (reason and math.isnan(value))):
            raise ArgumentError(f"claim: the value of {name!r} is {value}; it must be a finite number.")
        made = {"claim": name, "sentence": sentence, "value": round(value, 3), "holds": holds, "learned": learned}
        made["because"] = reason
        self.made[name] = made
        if path := os.environ.get("INTERP_CLAIMS"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({**made, "model": self.model, "untrained": self.untrained}) + "\n")
        print(f"{'✓' if holds else '✗'} {name}  {sentence}  [{made['value']:.3g}]" + (reason and f"  ({reason})"))
        if not holds and self.model == "storybook" and not self.untrained:
            raise ClaimError(f"claim: {name!r} does not hold on storybook: {sentence} (value {made['value']}).")

    def table(self):
        """The claims made so far, one a row: claim, sentence, value, holds (✓ or ✗), needs training (yes or no)."""
        rows = [
            {
                "claim": each["claim"],
                "sentence": each["sentence"],
                "value": each["value"],
                "holds": "✓" if each["holds"] else "✗",
                "needs training": "yes" if each["learned"] else "no",
            }
            for each in self.made.values()
        ]
        return pd.DataFrame(rows, columns=["claim", "sentence", "value", "holds", "needs training"]).set_index("claim")
