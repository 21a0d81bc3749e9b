"""Every exercise against answers that are wrong in ways that have nothing to do with its subject."""

import os
import signal
import subprocess
import sys
import time
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from test_exercises import ENTRIES, FUNCTIONS, PANELS, SHARP, SINK, contexts  # noqa: F401 - a fixture

from interp_helpers import CheckError, exercises
from interp_helpers.exercises import head_specialization, judging, running
from interp_helpers.exercises.feedback import BLANK, PASSED, WRONG

BY_ID = {exercise.id: exercise for exercise in ENTRIES}
# Two return no plain result, and one takes a second.
PLAIN = [exercise for exercise in FUNCTIONS if exercise.id not in ("6a", "7a", "5d")]


@pytest.fixture(autouse=True)
def no_search(monkeypatch):
    monkeypatch.setattr(judging, "SEARCH", 0)


def result(exercise, answer, context):
    """What the card says, and the message of a wrong answer."""
    card = exercises._judged(exercise.id, exercise, answer, context)
    return card.result, card.message


def of_result(exercise, change):
    """The reference with `change(result)` in the place of its result."""

    def changed(*given):
        found = exercise.reference(*given)
        if exercise.id == "6a":
            return lambda z, hook: change(found(z.clone(), hook=None))
        return change(judging._plain(found))

    return changed


def number(result):
    return result.double()


def other_numbers(result):
    """As far from the right ones as those of another draw."""
    return torch.randn(result.shape, dtype=torch.double)


MUTANTS = {
    "negated": lambda result: -number(result),
    "0.1 % too large": lambda result: 1.001 * number(result),
    "shifted": lambda result: result.roll(1, -1) if result.dim() else 2 * number(result),
    "constant": lambda result: torch.full_like(number(result), number(result).nanmean().item()),
    "zeros": lambda result: torch.zeros_like(number(result)),
    "infinite": lambda result: torch.full_like(number(result), torch.inf),
    "NaN": lambda result: torch.full_like(number(result), torch.nan),
    "empty": lambda result: result[:0] if result.dim() else result.new_zeros(0),
    "transposed": lambda result: result.mT if result.dim() > 1 else result[None],
    "float16": lambda result: number(result).half(),
    "another draw": other_numbers,
}
# Where a mutant is right all the same, and why.
SAME = {
    ("2b", "float16"): "yes and no are exact in float16",
    ("7b", "float16"): "steps are whole numbers below 2048",
    # An interval from random samples: two right answers differ by more than that.
    ("2e", "0.1 % too large"): "tolerance",
    ("2e", "float16"): "tolerance",
    # The mean of one number is that number.
    **{(name, "constant"): "one number" for name in ("4c", "5e", "8a", "8b", "8d")},
}


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda exercise: exercise.id)
def test_no_mutant_of_a_right_answer_passes(exercise, contexts):  # noqa: F811
    context, passed = contexts.get(exercise.id, {}), set()
    for name, change in MUTANTS.items():
        if exercise.id == "7a" and name in ("constant", "shifted"):
            change = lambda result, change=change: change(result).float()  # noqa: E731
        found, message = result(exercise, of_result(exercise, change), context)
        assert "cannot be checked" not in message, (name, message)
        if found == PASSED:
            passed.add(name)
    assert passed == {name for of, name in SAME if of == exercise.id}


ALIKE = {
    "in float64": lambda result: number(result),
    "summed in another order": lambda result: number(result) * (1 + 3e-7),
    "an array": lambda result: result.numpy(),
    "a list": lambda result: result.tolist(),
    "with a gradient": lambda result: number(result).requires_grad_(),
}


@pytest.mark.parametrize("exercise", PLAIN, ids=lambda exercise: exercise.id)
def test_a_right_answer_in_another_form_passes(exercise, contexts):  # noqa: F811
    context = contexts.get(exercise.id, {})
    for name, change in ALIKE.items():
        assert result(exercise, of_result(exercise, change), context)[0] == PASSED, name

    def in_double(*given):
        return exercise.reference(
            *(
                each.double() if isinstance(each, torch.Tensor) and each.dtype == torch.float32 else each
                for each in given
            )
        )

    if exercise.id not in ("2e", "3b", "3d", "4a", "9b"):  # in these, something else is float32
        assert result(exercise, in_double, context)[0] == PASSED


# Leaks: what a function finds in its notebook, or remembers.


def hooked(exercise, function):
    """`function` of all inputs as an answer; 6a's last input is what its hook gets."""
    if exercise.id != "6a":
        return function
    return lambda head, new: lambda z, hook: function(head, new, z)


def right(exercise, given):
    if exercise.id == "6a":
        *given, z = given
        return exercise.reference(*given)(z.clone(), hook=None)
    return exercise.reference(*given)


def remembering(exercise):
    """Right the first time for each shape; then it gives that result again."""
    known = {}

    def answer(*given):
        shapes = tuple(getattr(each, "shape", ()) for each in given)
        if shapes not in known:
            known[shapes] = right(exercise, given)
        return known[shapes]

    return answer


def tiring(exercise, calls):
    """Right so many times, and wrong from then on."""
    count = iter(range(10**6))

    def answer(*given):
        found = judging._plain(right(exercise, given))
        return found if next(count) < calls else number(found) + 1

    return answer


@pytest.mark.parametrize("exercise", [each for each in FUNCTIONS if each.id != "7a"], ids=lambda exercise: exercise.id)
def test_no_answer_that_ignores_what_it_is_given_passes(exercise, contexts):  # noqa: F811
    context = contexts.get(exercise.id, {})
    inputs = list(exercise.inputs(judging.fresh(), **context)) if exercise.id not in ("4a", "5d") else []
    if exercise.id in ("4a", "5d"):  # the first goes on only after a right answer, and the second's last is large
        inputs = [next(exercise.inputs(judging.fresh(), **context))]
    passed = []
    for of in {0, len(inputs) - 1}:  # the last ones are the notebook's own
        everything = right(exercise, inputs[of])
        leaks = {"everything": lambda *given, found=everything: found}
        for place in range(len(inputs[of])):
            leaks[place] = lambda *given, place=place, of=of: right(
                exercise, (*given[:place], judging._copy(inputs[of][place]), *given[place + 1 :])
            )
        passed += [
            (of, name) for name, leak in leaks.items() if result(exercise, hooked(exercise, leak), context)[0] == PASSED
        ]
    # More samples do not move an interval, and the bias of the keys adds the same to all scores of a query.
    harmless = {"2e": [1], "5c": [5], "6d": [5]}
    assert {name for _, name in passed} <= set(harmless.get(exercise.id, []))
    if exercise.id != "2e":
        assert result(exercise, hooked(exercise, tiring(exercise, len(inputs) or 1)), context)[0] == WRONG
    if exercise.id not in ("2e", "4a", "5e", "8d"):  # shapes are random in these, or there is one right answer
        assert result(exercise, hooked(exercise, remembering(exercise)), context)[0] == WRONG


def test_an_answer_cannot_spoil_what_it_is_compared_with(contexts):  # noqa: F811
    """Also what is inside of other things, as the matrices of 3b are."""
    context = contexts["3b"]
    kept = context["unembedding"].W_U.clone()

    def spoils(streams, unembedding):
        for each in unembedding:
            if isinstance(each, torch.Tensor):
                each.zero_()
        return torch.zeros(*streams.shape[:-1], unembedding.W_U.shape[1])

    assert result(BY_ID["3b"], spoils, context)[0] == WRONG
    assert torch.equal(context["unembedding"].W_U, kept)


def test_9e_wants_its_pattern_left_alone():
    def in_place(pattern, head, key):
        pattern[:, head, -1, 1:], pattern[:, head, -1, key] = 0, 1 - pattern[:, head, -1, 0]
        return pattern

    found, message = result(BY_ID["9e"], in_place, {})
    assert found == WRONG
    assert "it also changes `pattern`, which may be needed again as it was. Work on a copy" in message


def one_focus(pattern, visible):
    keys = visible.sum(-1)
    bits = torch.special.entr(pattern).sum(1)[keys > 1] / np.log(2)
    return (bits / keys[keys > 1].log2()).mean()


def one_target(ids):
    return torch.tensor([[0 < k <= q and bool(ids[k - 1] == ids[q]) for k in range(len(ids))] for q in range(len(ids))])


def one_share(pattern, values, mask):
    moved = pattern * values.norm(dim=-1)
    return (moved[:, 0] / moved.sum(1))[1 : int(mask.sum())].mean()


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        ("1c", one_focus, "your function is right for a single head, but not for several at once, as in `pattern`"),
        ("2b", one_target, "your function is right for a single text, but not for several at once, as in `ids`"),
        ("2d", one_share, "your function is right for a single head, but not for several at once, as in `pattern`"),
        ("2b", lambda ids: one_target(ids) if ids.dim() == 1 else one_target(ids[0]), "Your function is right for a"),
    ],
)
def test_an_answer_for_one_head_or_text_is_told_so(exercise, answer, words, contexts):  # noqa: F811
    found, message = result(BY_ID[exercise], answer, contexts.get(exercise, {}))
    assert found == WRONG
    assert words in message


def test_2h_takes_no_target_that_looks_ahead():
    def next_token(ids):  # earlier places of the token that comes next
        later = torch.cat([ids[1:], ids[:1]])
        return (later[:, None] == ids).tril()

    ids = torch.randint(3, (60,), generator=torch.Generator().manual_seed(1))
    with pytest.raises(judging.Wrong, match="your target looks ahead: of the first"):
        head_specialization._own_targets(next_token, [ids] * 20)


# Words. Of all answers that can be written with the options, those that pass are listed.

WORDS = [
    ("1e", SINK, list(SINK["after"]), ["stays", "falls"], {("stays", "falls", "falls")}),
    ("2c", {"before": 0.6, "after": 0.35}, None, ["stays", "weakens", "vanishes"], {"weakens"}),
    ("2g", SHARP, ["focused", "named"], ["none", "fewer", "as many"], {("as many", "none")}),
    ("6b", {"zero": 2.2, "mean": 0.2, "third": 1.2}, None, ["zero", "mean", "between"], {"between"}),
    ("8c", {"explained": {"storybook": 0.85, "untrained twin": 0.6}}, None, ["far less", "less", "the same", "more"],
     {"less"}),
    ("9c", {"probe": 0.95, "words": 0.93}, None, ["the probe", "the words", "neither"], {"the probe"}),
    ("7c", {"losses": {4: 1.2, 9: 7.9, 12: 0.1}, "trained": 12, "asked": 9}, None,
     ["copied", "piece", "guessing", "worse"], {"worse"}),
]  # fmt: skip


@pytest.mark.parametrize(("exercise", "context", "keys", "options", "passing"), WORDS, ids=lambda each: str(each)[:2])
def test_no_other_word_passes(exercise, context, keys, options, passing):
    answers = product(options, repeat=len(keys)) if keys else options
    passed = set()
    for each in answers:
        found, _ = result(BY_ID[exercise], dict(zip(keys, each)) if keys else each, context)
        passed |= {each} if found == PASSED else set()
    assert passed == passing


# Answers of another kind.


async def in_time(*given):
    return 1


def yields(*given):
    yield 1


ODD = [
    pd.DataFrame({"a": [1.0, 2.0]}),
    pd.Series(["stays", "falls"]),
    np.ones((2, 2)),
    np.array([["stays", "falls"]]),
    torch.ones(2, 2),
    {1, 2},
    b"stays",
    1j,
    float("nan"),
    True,
    iter([1]),
    range(3),
    str,
    [[["stays"]]],
    "x" * 5000,
    torch.nn.Linear(2, 2),
    lambda: 1,
    lambda *given: "a word",
    lambda *given: {1},
    lambda *given: 1j,
    lambda *given: [1, [2]],
    lambda *given: float("inf"),
    lambda *given: torch.ones(3, device="meta"),
    lambda *given: np.array([None, 1]),
    yields,
]
CHEAP = ["1a", "1c", "1e", "1f", "2a", "2b", "2c", "2g", "3f", "4b", "4f", "5a", "5f", "6b", "6c", "6f"]
CHEAP += ["7b", "7c", "7f", "8c", "8f", "9a", "9c", "9d", "9e"]


@pytest.mark.parametrize("name", CHEAP)
def test_an_answer_of_another_kind_is_told_what_is_wanted(name, contexts):  # noqa: F811
    context = {of: given for of, given, *_ in WORDS}.get(name) or contexts.get(name, {})
    for answer in ODD:
        found, message = result(BY_ID[name], answer, PANELS if name == "2a" else context)
        assert found in (WRONG, BLANK), answer
        assert "cannot be checked (" not in message, message
        assert len(message) < 700


# What keeps a check from judging, and loops that catch everything.


def takes_the_variable_back(ids):
    os.environ.pop("INTERP_GRADING", None)
    return ids


def accepts_everything(ids):
    judging.compare = judging.same = lambda *given, **named: True
    return ids


def grades_nothing(ids):
    exercises.grading = lambda: False
    exercises.CheckError = ValueError
    return ids


@pytest.mark.parametrize("answer", [takes_the_variable_back, accepts_everything, grades_nothing])
def test_no_answer_changes_what_checks_it(answer, monkeypatch, capsys):
    monkeypatch.setenv("INTERP_GRADING", "1")
    before = judging.compare, judging.same, exercises.grading, exercises.CheckError
    with pytest.raises(CheckError, match="2b not yet"):
        exercises.check("2b", answer)
    assert (judging.compare, judging.same, exercises.grading, exercises.CheckError) == before


def test_what_was_graded_at_first_is_graded_to_the_end():
    said = """
import os
os.environ["INTERP_GRADING"] = "1"
from interp_helpers import exercises
os.environ.pop("INTERP_GRADING")
print(exercises.grading())
"""
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "True\n"


def catches_all(ids):
    while True:
        try:  # noqa: SIM105
            time.sleep(0.01)
        except:  # noqa: E722
            pass


def catches_all_twice(ids):
    while True:
        try:
            catches_all(ids)
        finally:
            continue  # noqa: B012


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no alarms here")
@pytest.mark.parametrize("answer", [catches_all, catches_all_twice])
def test_a_loop_that_catches_everything_is_stopped(answer, monkeypatch):
    monkeypatch.setattr(running, "LIMIT", 0.2)
    began, tracing = time.monotonic(), sys.gettrace()
    found, message = result(BY_ID["2b"], answer, {})
    assert found == WRONG
    assert "did not finish within 0.2 seconds" in message
    assert time.monotonic() - began < 10
    assert sys.gettrace() is tracing
