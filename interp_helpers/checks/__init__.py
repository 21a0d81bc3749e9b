"""Checkers of the exercises: whether an answer is right, and if not, what is wrong with it, in the subject's words.

`check("2a", answer)` prints one line; `report(2)` lists what was attempted and passed in notebook 2. Both work in this
kernel alone: nothing is stored or sent. Every notebook's checkers are a module of this package.
"""

import os
from importlib import import_module

from ..errors import ArgumentError, CheckError, check_whole
from .judging import Blank, Wrong, is_blank, shown, watched

# One module a notebook, in their order.
TOPICS = [
    "baseline",
    "head_specialization",
    "residual_stream",
    "attention_adjustments",
    "weight_exploration",
    "causal_tests",
    "training_dynamics",
]
PASSED, WRONG, BLANK = "passed", "not yet", "not attempted"
_results = {}


def checkers(notebook):
    """{exercise: its checker} of a notebook, 1 to 7, in the order of its exercises: {"2a": ..., "2b": ...}."""
    check_whole("checks", 1, len(TOPICS), notebook=notebook)
    functions = import_module(f"{__name__}.{TOPICS[notebook - 1]}").CHECKERS
    return {f"{notebook}{letter}": function for letter, function in zip("abcdefghijkl", functions)}


def check(exercise, answer, **context):
    """Check the answer to an exercise, and print one line: passed, what is wrong with it, or not attempted.

    exercise: its name, such as "2a". answer: a function, a number, a word, whatever the exercise asks for; a function
    without a body, None, or a collection of None is no attempt. context: what the checker needs beside it, such as the
    model; the exercise's cell says what.

    Raises ArgumentError when there is no such exercise. A wrong answer raises nothing, so that a notebook runs to its
    end; but it raises CheckError, like a missing one, when the environment variable INTERP_GRADING is set, as it is
    for nbgrader, which counts a cell that raises as failed.
    """
    name = str(exercise)
    known = checkers(int(name[0])) if name[:1] in map(str, range(1, len(TOPICS) + 1)) else {}
    if name not in known:
        raise ArgumentError(f"check: there is no exercise {exercise!r}. Exercises are named like '2a'.")
    try:
        if is_blank(answer):
            raise Blank
        result, line = PASSED, f"✓ {name} passed: {known[name](watched(answer), **context)}"
    except Blank:
        result, line = BLANK, f"○ {name} not attempted"
    except Wrong as problem:
        result, line = WRONG, f"✗ {name} not yet: {problem}"
    except Exception as problem:  # an answer of a kind that the checker cannot handle stops no notebook
        kind = f"{type(problem).__name__}: {problem}"
        line = f"✗ {name} not yet: {shown(answer)} cannot be checked ({kind}). Is it what the exercise asks for?"
        result = WRONG
    _results[name] = result
    print(line)
    if result != PASSED and "INTERP_GRADING" in os.environ:
        raise CheckError(line)


def report(notebook):
    """A table of a notebook's exercises: its number, 1 to 7 -> exercise, what it is about, and its last result."""
    import pandas as pd

    rows = {name: (title(function), _results.get(name, BLANK)) for name, function in checkers(notebook).items()}
    print(f"{sum(result == PASSED for _, result in rows.values())} of {len(rows)} passed")
    return pd.DataFrame(rows, index=["about", "result"]).T.rename_axis("exercise")


def title(checker):
    """What an exercise is about: the first line of its checker's docstring, without the full stop."""
    if not callable(checker) or not (checker.__doc__ or "").strip():
        raise ArgumentError(f"title: checker must be a function with a docstring; got {checker!r:.60}.")
    return checker.__doc__.strip().splitlines()[0].rstrip(".")
