"""The exercises: whether an answer is right, and if not, what is wrong with it, in the subject's words.

`check("2b", answer)` shows a card that says whether the answer is right. `progress()` lists what was passed and
attempted in all notebooks, and keeps that in a file beside them, as `record` says. Nothing is sent anywhere.

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
the mistake that gives just what the answer gave, and shows its message, with a small input on which the two differ.
The tests feed every mistake back as an answer and expect its message, so a message cannot drift away from its mistake.

An exercise that asks for a finding (a prediction, a text, a project) has `measure` in place of reference and inputs:
it measures the finding and returns the facts, and a mistake is then a condition on the facts: {message: condition}.
Then the card shows nothing but the message, because the right numbers would be the answer. `Exercise` in `judging`
says the rest.
"""

import inspect
import os
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import import_module

from IPython.display import display

from ..errors import ArgumentError, CheckError, FileError, InterpError
from . import record
from .feedback import BLANK, PASSED, WRONG, Card, Note
from .judging import Blank, Wrong, is_blank, require, shown, still_empty, watched
from .running import never_run

__all__ = ["TOPICS", "check", "checkers", "grading", "progress"]

# One module a notebook, in their order, and the notebook's title.
TOPICS = {
    "baseline": "Baseline",
    "head_specialization": "Head specialization",
    "residual_stream": "Residual stream",
    "attention_adjustments": "Attention adjustments",
    "weight_exploration": "Weight exploration",
    "causal_tests": "Causal tests",
    "training_dynamics": "Training dynamics",
    "features": "Features",
    "probes": "Probes and steering",
}
_results = {}  # of this kernel, the best of each exercise
_said = set()  # why the record cannot be kept: once is enough


def checkers(notebook):
    """{exercise: its entry} of a notebook, 1 to 9, in their order: {"2a": ..., "2b": ...}."""
    if notebook not in range(1, len(TOPICS) + 1):
        raise ArgumentError(f"There is no notebook {notebook!r} with exercises; they go from 1 to {len(TOPICS)}.")
    topic = import_module(f"{__name__}.{list(TOPICS)[notebook - 1]}")
    return {exercise.id: exercise for exercise in topic.EXERCISES}


def grading():
    """Whether a cell that raises is counted as failed.

    That is so when the environment variable INTERP_GRADING is set, and in nbgrader's autograde and Validate, which set
    variables of their own. What was set when this module was imported counts for good: no cell can take it back.
    """
    return _graded_from_the_start or _asked_to_grade()


def _asked_to_grade():
    return any(name in os.environ for name in ("INTERP_GRADING", "NBGRADER_EXECUTION", "NBGRADER_VALIDATING"))


_graded_from_the_start = _asked_to_grade()


def check(exercise, answer, **context):
    """Check the answer to an exercise, and show a card: passed, what is wrong with it, or not attempted.

    exercise: its name, such as "2a". answer: a function, a number, a word, whatever the exercise asks for; a function
    without a body or with `raise NotImplementedError`, None, or a collection of None is no attempt. context: what the
    exercise needs beside it, such as the model; the exercise's cell gives it. A call of the answer that takes longer
    than `running.LIMIT` seconds is stopped.

    Raises ArgumentError when there is no such exercise, and when the context is not what it needs. A wrong answer
    raises nothing, so that a notebook runs to its end; but it raises CheckError, like a missing one, when the cell is
    graded, as `grading` says. The result goes into the student's own record (see `progress`), but not while grading.
    """
    name = str(exercise)
    known = checkers(int(name[0])) if name[:1] in map(str, range(1, len(TOPICS) + 1)) else {}
    if name not in known:
        raise ArgumentError(f"check: there is no exercise {exercise!r}. Exercises are named like '2a'.")
    checker, graded, ours = known[name], grading(), _own_modules()
    _check_context(name, checker, context)
    card = _judged(name, checker, answer, context)
    # What the answer put in the place of something here goes, or it could have judged itself.
    if changed := [each for each, before in ours if any(vars(each).get(key) is not before[key] for key in before)]:
        for module, before in ours:
            vars(module).update(before)
        listed = ", ".join(module.__name__ for module in changed)
        card = Card(name, WRONG, f"your answer changes what checks it ({listed}), so it was not judged.")
    _results[name] = record.better(_results, {name: card.result})[name]
    if not graded:
        card = _recorded(card)
    display(card)
    if card.result != PASSED and graded:
        raise CheckError(repr(card))


def _own_modules():
    """The modules of this package, each with what it holds."""
    return [(module, dict(vars(module))) for name, module in list(sys.modules.items()) if name.startswith(__name__)]


def _judged(name, checker, answer, context):
    """The card of an answer."""
    try:
        stale = never_run(name)
        require(not stale, stale)
        if is_blank(answer):
            raise Blank
        empty = still_empty(answer, checker.later)
        require(not empty, f"half filled in; still empty: {', '.join(empty)}.")
        return Card(name, PASSED, checker(watched(answer), **context))
    except Blank:
        return Card(name, BLANK)
    except Wrong as problem:
        return Card(name, WRONG, str(problem), problem.details)
    except Exception as problem:
        if checker.reference or isinstance(problem, InterpError):
            raise  # the answer's own errors are Wrong by now, so the call is at fault
        kind = f"{type(problem).__name__}: {problem}"
        # An answer of a kind that nobody thought of stops no notebook.
        return Card(name, WRONG, f"{shown(answer)} cannot be checked ({kind}). Is it what the exercise asks for?")


def _recorded(card):
    """The card, after this kernel's results went into the student's record; it says so once when they cannot."""
    try:
        record.keep(_results)
    except OSError as problem:
        why = f"Your progress is not kept: {problem}"
        if why not in _said:
            _said.add(why)
            return replace(card, details=(*card.details, Note(why)))
    return card


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


def progress():
    """An overview of all notebooks: how many of their exercises are passed, and which; it shows itself in a notebook.

    An exercise that was passed once counts as passed. What was passed earlier and in other notebooks comes from
    the student's record: the file `progress.json` beside the notebook, or the one that the environment variable
    INTERP_PROGRESS names. Nobody else gets it. To begin anew, delete it and restart the kernels. A file that cannot be
    read counts as empty, and while grading the results of this kernel are all.
    """
    results, note = dict(_results), ""
    if not grading():
        with suppress(OSError):
            record.keep(results)  # again, because another notebook may have overwritten them at the same moment
        try:
            results = record.better(record.read(), results)
        except FileError as problem:
            note = f"What was passed earlier is missing here: {problem}"
    rows = [
        record.Row(
            f"{number} · {title}",
            f"{number:02}_{topic}.ipynb",
            {name: results.get(name, BLANK) for name in checkers(number)},
        )
        for number, (topic, title) in enumerate(TOPICS.items(), 1)
    ]
    return record.Overview(rows, note)
