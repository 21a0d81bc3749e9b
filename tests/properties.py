"""What the property tests share: how many cases, arguments that are spoilt in known ways, and who may refuse what."""

import re

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from interp_helpers import InterpError

CASES = 300  # of every public function


def cases(**strategies):
    """Run a test on CASES draws, the same ones on every run: a failure in CI is one that everybody can repeat."""
    bounds = settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: bounds(given(**strategies)(test))


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


def refused(function, *arguments, naming, **options):
    """Whether a function refuses these arguments with an error of ours that begins with an operation and names one of
    `naming`, a string or several. Another error, or none, fails the test."""
    naming = [naming] if isinstance(naming, str) else naming
    try:
        found = function(*arguments, **options)
    except InterpError as problem:
        message = str(problem)
        assert re.match(r"\w+: ", message), message
        assert any(re.search(rf"\b{re.escape(each)}", message) for each in naming), (message, naming)
        return True
    raise AssertionError(f"{function.__name__} gave {found!r}")
