"""What the property tests share: how many cases, arguments that are spoilt in known ways, and who may refuse what."""

import functools
import math
import re

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interp_helpers import InterpError

CASES = 300  # of every public function


class Faults(tuple):
    """Names of what can be wrong."""


def faults(*names):
    """For `cases(fault=...)`: None, for good input, in half of the cases; the names share the others evenly."""
    return Faults(names)


def cases(**strategies):
    """Run a test on CASES draws or some more, the same on every run: a failure in CI is one that all can repeat."""
    draws = [(CASES, strategies)]
    if isinstance(kinds := strategies.get("fault"), Faults):  # drawn by chance, some of many would be missed
        shares = [(CASES // 2, st.none()), *((math.ceil(CASES / 2 / len(kinds)), st.just(each)) for each in kinds)]
        draws = [(count, {**strategies, "fault": fault}) for count, fault in shares]

    def bounds(count):
        return settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )

    def all_of(test):
        runs = [bounds(count)(given(**drawn)(test)) for count, drawn in draws]

        @functools.wraps(runs[0])
        def run(*fixtures, **more):
            for each in runs:
                each(*fixtures, **more)

        return run

    return all_of


def sizes(low, high):
    return st.integers(low, high)


def seeded():
    """A torch generator: one number to draw and to shrink instead of one for each entry of a tensor."""
    return st.integers(0, 2**31 - 1).map(torch.Generator().manual_seed)


def _with(value):
    def spoil(tensor):
        spoilt = tensor.clone()
        spoilt.view(-1)[spoilt.numel() // 2] = value
        return spoilt

    return spoil


# What can be wrong with a tensor of finite numbers, whatever it means. "other device": no second one is needed to see
# that a function looks where its tensors are.
SPOILT = {
    "NaN": _with(torch.nan),
    "infinity": _with(torch.inf),
    "empty": lambda tensor: tensor[:0],
    "whole numbers": lambda tensor: tensor.long(),
    "booleans": lambda tensor: tensor > 0,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "other device": lambda tensor: tensor.to("meta"),
    "string": lambda tensor: "a string",
    "nothing": lambda tensor: None,
    "list": lambda tensor: tensor.tolist(),
}


# The same of token ids and of masks. NaN and infinity are floating-point numbers.
_ALWAYS = {kind: SPOILT[kind] for kind in ["empty", "complex", "other device", "string", "nothing", "list"]}
IDS = {**_ALWAYS, "numbers": lambda tensor: tensor.double(), "booleans": SPOILT["booleans"]}
BOOLEANS = {**_ALWAYS, "numbers": lambda tensor: tensor.double(), "whole numbers": SPOILT["whole numbers"]}


def without(kinds, *names):
    """Ways to spoil an argument, without those that are fine for it."""
    return {kind: spoil for kind, spoil in kinds.items() if kind not in names}


def one_spoilt(**wrong):
    """Draws None, for good input, in half of the cases, and in the others (argument, {what is wrong: how to spoil it}).

    wrong: by argument. All that can be wrong with one is tried: of many faults, three hundred draws would miss some.
    """
    return st.sampled_from([None] * len(wrong) + list(wrong.items()))


def refuses(fault, function, naming=None, operation=None, **arguments):
    """Whether a function refuses its arguments when one is spoilt in every way of a fault that `one_spoilt` drew, in
    the name of `operation`, its own by default, and with the argument's, or `naming`."""
    name, kinds = fault
    for kind, spoil in kinds.items():
        spoilt = {**arguments, name: spoil(arguments[name])}
        try:
            refused(function, naming=naming or name, operation=operation or function.__name__, **spoilt)
        except Exception as problem:
            raise AssertionError(f"{function.__name__}, {name}: {kind}") from problem
    return True


class _Elsewhere(torch.Tensor):
    device = torch.device("cuda", 0)


def elsewhere(tensor):
    """A tensor that says that it is on another device, for functions that must see that two are not on one."""
    return tensor.as_subclass(_Elsewhere)


def refused(function, *arguments, naming, operation=r"\w+", **options):
    """Whether a function refuses these arguments with an error of ours that begins with an operation (a pattern) and
    names one of `naming`, a string or several. Another error, or none, fails the test."""
    naming = [naming] if isinstance(naming, str) else naming
    try:
        found = function(*arguments, **options)
    except InterpError as problem:
        message = str(problem)
        assert re.match(f"{operation}: ", message), (message, operation)
        assert any(re.search(rf"\b{re.escape(each)}", message) for each in naming), (message, naming)
        return True
    raise AssertionError(f"{function.__name__} gave {found!r}")
