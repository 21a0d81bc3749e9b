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


def shown_number(value, interval=None):
    """How a claim's number is printed, with three digits.

    >>> shown_number(3.1949), shown_number(3.1949, (3.136, 3.252))
    ('3.19', '3.19 (3.14 to 3.25)')
    """
    ends = "" if interval is None else " ({:.3g} to {:.3g})".format(*(round(float(end), 3) for end in interval))
    return f"{round(float(value), 3):.3g}{ends}"


class Claims:
    """The claims of one run of one notebook.

    Call it with a claim's name, sentence, number and verdict: it prints one line and keeps the claim. One that fails
    gets a cross: on another model, on the untrained twin, on a reader's own texts, and after a reader has changed
    anything else, which findings carry over is a finding. It raises on the trained bundled model and the course's own
    texts alone, and only where the environment variable INTERP_STRICT is set, as by the tests of the notebooks: there
    the prose says that it holds. Each claim is also added, as one line of JSON, to the file that the environment
    variable INTERP_CLAIMS names.

    own_texts: whether the notebook reads the texts that its claims were written about.
    lacking: why nothing was measured on the reader's texts, as `draw_sentences` says it; then all claims get a cross.

    >>> claim = Claims("gpt2")
    >>> claim("00.example", "Seven is greater than six", 7, 7 > 6, learned=False)
    ✓ 00.example  Seven is greater than six  [7]
    >>> learns = {"the model learns no position embedding": True}
    >>> claim("00.other", "Neighbours are alike", float("nan"), False, learned=True, because=learns)
    ✗ 00.other  Neighbours are alike  [nan]  (the model learns no position embedding)
    """

    def __init__(self, model, *, untrained=False, own_texts=True, lacking=""):
        self.model, self.untrained, self.own_texts, self.lacking = str(model), untrained, own_texts, lacking
        self.made = {}  # by name

    @checked
    def __call__(
        self, name, sentence, value, holds: bool | np.bool_ | Bool[Tensor, ""], *, learned, because=None, interval=None
    ):
        """Print and keep a claim. One that is made again, as when a cell is run again, takes the place of the first.

        name: "01.short-name". learned: whether it needs training, so that it must not hold on the untrained twin; None
        for a claim about a training itself, which is the same whatever the model in use.
        interval: (low, high), the 95 % interval of the value, where it is a mean over texts, seeds or other draws.
        because: reason for which it may not hold on another model -> whether that applies here; those that do are
        printed after a cross. With one of them, a claim that fails may have the value NaN: there was nothing to
        measure. Any other value that is not finite raises ArgumentError.
        """
        if self.lacking:
            value, holds, because = math.nan, False, {self.lacking: True}
        value, holds, learned = float(value), bool(holds), None if learned is None else bool(learned)
        reason = "" if holds else " and ".join(each for each, applies in (because or {}).items() if applies)
        if not (math.isfinite(value) or (reason and math.isnan(value))):
            raise ArgumentError(f"The value of {name!r} is {value}; it must be a finite number.")
        interval = None if math.isnan(value) else interval
        if interval is not None and not interval[0] - 1e-6 <= value <= interval[1] + 1e-6:
            raise ArgumentError(f"The interval of {name!r} is {interval}, and the value {value} is outside of it.")
        shown = shown_number(value, interval)
        made = {"claim": name, "sentence": sentence, "value": round(value, 3), "holds": holds, "learned": learned}
        made["shown"] = shown
        self.made[name] = made | {"because": reason, "model": self.model, "untrained": self.untrained}
        if path := os.environ.get("INTERP_CLAIMS"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.made[name]) + "\n")
        print(f"{'✓' if holds else '✗'} {name}  {sentence}  [{shown}]" + (reason and f"  ({reason})"))
        own = self.model == "storybook" and self.own_texts and not self.untrained
        if not holds and own and "INTERP_STRICT" in os.environ:
            raise ClaimError(f"The claim {name!r} does not hold on storybook: {sentence} (value {made['value']}).")

    def table(self):
        """The claims made so far, one a row: claim, sentence, value, holds (✓ or ✗), needs training (`NEEDS`)."""
        table = pd.DataFrame(list(self.made.values()), columns=["claim", "sentence", "value", "holds", "learned"])
        table["holds"] = table["holds"].map({True: "✓", False: "✗"})
        table["needs training"] = [NEEDS[learned] for learned in table.pop("learned")]
        return table.set_index("claim")
