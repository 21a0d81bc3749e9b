"""The exercises: whether an answer is right, and if not, what is wrong with it, in the subject's words.

`check("2b", answer)` prints one line; `report(2)` lists what was attempted and passed in notebook 2. Both work in this
kernel alone: nothing is stored or sent.

Every notebook has a module here, and an exercise is an entry in it. One that asks for a function looks like this:

    Exercise(
        "2b",
        "The keys that induction looks at",
        kind="Build",
        difficulty=3,
        points=3,
        reference=_marking(_follows),                 # a right answer, as slow and plain as it may be
        inputs=_letters,                              # generator -> tuples of arguments to try the answer on
        mistakes={
            "your rows and columns are swapped: ...": _marking(lambda ids, q, k: _follows(ids, k, q)),
        },
        praise="your function is right for equal neighbours, for batches, ...",
    )

`check` calls the answer and the reference on inputs that are drawn anew each time. Where the two differ, it looks for
the mistake that gives just what the answer gave, and prints its message. The tests feed every mistake back as an
answer and expect its message, so a message cannot drift away from its mistake.

An exercise that asks for a finding (a prediction, a text, a project) has `measure` in place of reference and inputs:
it measures the finding and returns the facts, and a mistake is then a condition on the facts: {message: condition}.
`Exercise` in `judging` says the rest.
"""

import inspect
import os
from importlib import import_module

from ..errors import ArgumentError, CheckError, InterpError
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
    "features",
    "probes",
]
PASSED, WRONG, BLANK = "passed", "not yet", "not attempted"
_results = {}


def checkers(notebook):
    """{exercise: its entry} of a notebook, 1 to 9, in their order: {"2a": ..., "2b": ...}."""
    if notebook not in range(1, len(TOPICS) + 1):
        raise ArgumentError(f"There is no notebook {notebook!r} with exercises; they go from 1 to {len(TOPICS)}.")
    topic = import_module(f"{__name__}.{TOPICS[notebook - 1]}")
    return {exercise.id: exercise for exercise in topic.EXERCISES}


def check(exercise, answer, **context):
    """Check the answer to an exercise, and print one line: passed, what is wrong with it, or not attempted.

    exercise: its name, such as "2a". answer: a function, a number, a word, whatever the exercise asks for; a function
    without a body or with `raise NotImplementedError`, None, or a collection of None is no attempt. context: what the
    exercise needs beside it, such as the model; the exercise's cell gives it.

    Raises ArgumentError when there is no such exercise, and when the context is not what it needs. A wrong answer
    raises nothing, so that a notebook runs to its end; but it raises CheckError, like a missing one, when the
    environment variable INTERP_GRADING is set, as it is for nbgrader, which counts a cell that raises as failed.
    """
    name = str(exercise)
    known = checkers(int(name[0])) if name[:1] in map(str, range(1, len(TOPICS) + 1)) else {}
    if name not in known:
        raise ArgumentError(f"check: there is no exercise {exercise!r}. Exercises are named like '2a'.")
    checker = known[name]
    _check_context(name, checker, context)
    try:
        if is_blank(answer):
            raise Blank
        result, line = PASSED, f"✓ {name} passed: {checker(watched(answer), **context)}"
    except Blank:
        result, line = BLANK, f"○ {name} not attempted"
    except Wrong as problem:
        result, line = WRONG, f"✗ {name} not yet: {problem}"
    except Exception as problem:
        if checker.reference or isinstance(problem, InterpError):
            raise  # the answer's own errors are Wrong by now, so the call is at fault
        kind = f"{type(problem).__name__}: {problem}"
        line = f"✗ {name} not yet: {shown(answer)} cannot be checked ({kind}). Is it what the exercise asks for?"
        result = WRONG  # an answer of a kind that nobody thought of stops no notebook
    _results[name] = result
    print(line)
    if result != PASSED and "INTERP_GRADING" in os.environ:
        raise CheckError(line)


def _check_context(name, checker, context):
    """Raise ArgumentError unless the context is what an exercise needs: that is the cell's part, not the answer's."""
    function = checker.measure or checker.inputs
    _, *taken = inspect.signature(function).parameters.values()  # the first is the answer, or the generator
    needed = [parameter.name for parameter in taken if parameter.default is parameter.empty]
    missing = [each for each in needed if each not in context]
    foreign = [each for each in context if each not in [parameter.name for parameter in taken]]
    if missing or foreign:
        says = f"needs {', '.join(missing)}" if missing else f"does not take {', '.join(foreign)}"
        call = ", ".join([repr(name), "answer", *(f"{each}=..." for each in needed)])
        raise ArgumentError(f"check: exercise {name} {says}. Call it as check({call}).")


def report(notebook):
    """A table of a notebook's exercises: its number, 1 to 9 -> exercise, what it is about, and its last result."""
    import pandas as pd

    rows = {name: (checker.title, _results.get(name, BLANK)) for name, checker in checkers(notebook).items()}
    print(f"{sum(result == PASSED for _, result in rows.values())} of {len(rows)} passed")
    return pd.DataFrame(rows, index=["about", "result"]).T.rename_axis("exercise")
