"""What the property tests share: how many cases they draw, and how."""

import os

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("CASES", 25))  # `make test-deep` draws 300


def cases(**strategies):
    """Run a test on CASES draws, the same on every run: a failure in CI is one that all can repeat."""
    bounds = settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: bounds(given(**strategies)(test))


def seeded():
    """A torch generator: one number to draw and to shrink instead of one for each entry of a tensor."""
    return st.integers(0, 2**31 - 1).map(torch.Generator().manual_seed)


def random_pattern(generator, *shape):
    """Attention `(*shape, shape[-1])`: rows sum to 1, and nothing goes to a later key."""
    future = torch.ones(shape[-1], shape[-1], dtype=torch.bool).triu(1)
    scores = torch.randn(*shape, shape[-1], generator=generator) * 2
    return scores.masked_fill(future, -torch.inf).softmax(-1)
