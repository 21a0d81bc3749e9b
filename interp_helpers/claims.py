"""Claims: a sentence, the number it rests on, and whether it holds on the model in use."""

import json
import math
import os

import pandas as pd

from .errors import ArgumentError, ClaimError


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
    """

    def __init__(self, model, *, untrained=False):
        self.model = model
        self.untrained = untrained
        self.made = []

    def __call__(self, name, sentence, value, holds, *, learned):
        """Print and keep a claim.

        name: "01.short-name"; value: one number; holds: True or False.
        learned: whether it needs training: then it must not hold on the untrained twin. What holds there too follows
            from the architecture, the tokenizer, the decoding or a definition.

        Raises ArgumentError when the name is taken or the value is no finite number, and ClaimError when the
        claim fails on the trained bundled model.
        """
        if any(each["claim"] == name for each in self.made):
            raise ArgumentError(f"claim: {name!r} was made before in this notebook; give each claim its own name.")
        value = float(value)
        if not math.isfinite(value):
            raise ArgumentError(f"claim: the value of {name!r} is {value}; it must be a finite number.")
        made = {"claim": name, "sentence": sentence, "value": round(value, 3), "holds": bool(holds), "learned": learned}
        self.made.append(made)
        if path := os.environ.get("INTERP_CLAIMS"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({**made, "model": self.model, "untrained": self.untrained}) + "\n")
        print(f"{'✓' if holds else '✗'} {name}  {sentence}  [{made['value']:.3g}]")
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
            for each in self.made
        ]
        return pd.DataFrame(rows, columns=["claim", "sentence", "value", "holds", "needs training"]).set_index("claim")
