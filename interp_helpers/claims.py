"""Claims: a sentence, the number it rests on, and whether it holds on the model in use."""

import json
import math
import os

import numpy as np
import pandas as pd
from jaxtyping import Bool
from torch import Tensor

from .errors import ArgumentError, ClaimError, checked

NEEDS = {True: "yes", False: "no", None: "is about a training"}  # what a claim is marked with -> in words


class Claims:
    """The claims of one run of one notebook.

    Call it with a claim's name, sentence, number and verdict: it prints one line and keeps the claim. A claim that
    fails on the trained bundled model raises, because there the prose says that it holds; on another model, on the
    untrained twin, or on a reader's own texts it prints a cross: which findings carry over is a finding. Each claim is
    also added, as one line of JSON, to the file that the environment variable INTERP_CLAIMS names.

    own_texts: whether the notebook reads the texts that its claims were written about.

    >>> claim = Claims("gpt2")
    >>> claim("00.example", "Seven is greater than six", 7, 7 > 6, learned=False)
    ✓ 00.example  Seven is greater than six  [7]
    >>> learns = {"the model learns no position embedding": True}
    >>> claim("00.other", "Neighbours are alike", float("nan"), False, learned=True, because=learns)
    ✗ 00.other  Neighbours are alike  [nan]  (the model learns no position embedding)
    """

    def __init__(self, model, *, untrained=False, own_texts=True):
        self.model, self.untrained, self.own_texts = str(model), untrained, own_texts
        self.made = {}  # by name

    @checked
    def __call__(self, name, sentence, value, holds: bool | np.bool_ | Bool[Tensor, ""], *, learned, because=None):
        """Print and keep a claim. One that is made again, as when a cell is run again, takes the place of the first.

        name: "01.short-name". learned: whether it needs training, so that it must not hold on the untrained twin; None
        for a claim about a training itself, which is the same whatever the model in use.
        because: reason for which it may not hold on another model -> whether that applies here; those that do are
        printed after a cross. With one of them, a claim that fails may have the value NaN: there was nothing to
        measure. Any other value that is not finite raises ArgumentError.
        """
        value, holds, learned = float(value), bool(holds), None if learned is None else bool(learned)
        reason = "" if holds else " and ".join(each for each, applies in (because or {}).items() if applies)
        if not (math.isfinite(value) or (reason and math.isnan(value))):
            raise ArgumentError(f"The value of {name!r} is {value}; it must be a finite number.")
        made = {"claim": name, "sentence": sentence, "value": round(value, 3), "holds": holds, "learned": learned}
        self.made[name] = made | {"because": reason, "model": self.model, "untrained": self.untrained}
        if path := os.environ.get("INTERP_CLAIMS"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.made[name]) + "\n")
        print(f"{'✓' if holds else '✗'} {name}  {sentence}  [{made['value']:.3g}]" + (reason and f"  ({reason})"))
        if not holds and self.model == "storybook" and self.own_texts and not self.untrained:
            raise ClaimError(f"The claim {name!r} does not hold on storybook: {sentence} (value {made['value']}).")

    def table(self):
        """The claims made so far, one a row: claim, sentence, value, holds (✓ or ✗), needs training (`NEEDS`)."""
        table = pd.DataFrame(list(self.made.values()), columns=["claim", "sentence", "value", "holds", "learned"])
        table["holds"] = table["holds"].map({True: "✓", False: "✗"})
        table["needs training"] = [NEEDS[learned] for learned in table.pop("learned")]
        return table.set_index("claim")
