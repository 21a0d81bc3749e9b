"""Toy models of superposition: five features in two dimensions (Elhage et al. 2022, arXiv:2209.10652).

A model squeezes features x into the vector x W, and reads them back as ReLU(x W W^T + b). Many models are trained at
once: the first axis of everything is the model. Deviations from the paper: Adam's rate falls to zero along a cosine,
and 2000 steps have to do, so that sixty models take seconds.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .errors import checked

FEATURES, DIMENSIONS = 5, 2
SAMPLES, RATE, STEPS = 256, 1e-2, 2000  # in a step, of Adam at the start, and in all
KEPT = 0.5  # a feature of a longer row in W counts as kept; lost ones end near 0, kept ones near 1


def _sizes(generator, density):
    """How large each feature is where it is on: evenly from 0 to 1, `(model, sample, feature)`."""
    return torch.rand(len(density), SAMPLES, FEATURES, generator=generator)


def independent(generator, density):
    """Samples in which each feature is on by itself, with the probability `density` (model,)."""
    on = torch.rand(len(density), SAMPLES, FEATURES, generator=generator) < density[:, None, None]
    return _sizes(generator, density) * on


def together(generator, density):
    """Samples in which all features are on, or none: each is on as often as in `independent`."""
    on = torch.rand(len(density), SAMPLES, 1, generator=generator) < density[:, None, None]
    return _sizes(generator, density) * on


def one_at_a_time(generator, density):
    """Samples in which at most one feature is on: each as often as in `independent`. density: at most 1 / FEATURES."""
    which = (torch.rand(len(density), SAMPLES, 1, generator=generator) / density[:, None, None]).long()
    return _sizes(generator, density) * (which == torch.arange(FEATURES))


@checked
def reconstruct(
    W: Float[Tensor, "model feature dimension"],
    b: Float[Tensor, "model feature"],
    x: Float[Tensor, "model sample feature"],
    relu: bool = True,
) -> Float[Tensor, "model sample feature"]:
    """The features that a model reads back from the vector into which it squeezed them."""
    read = x @ W @ W.mT + b[:, None]
    return read.relu() if relu else read


def train(density, *, draw=independent, importance=0.9, relu=True, bias=True, steps=STEPS, seed=0):
    """Train a model for every density `(model,)`, how often features are on. Returns W (model, feature, dimension).

    draw: (generator, density) -> samples. importance: each feature counts this many times as much as the one before
    it. relu: whether the model reads with a ReLU. bias: whether b is learned, or stays 0. seed: of the starting weights
    and the samples.
    """
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(len(density), FEATURES, DIMENSIONS, generator=generator) / FEATURES**0.5
    W, b = W.requires_grad_(), torch.zeros(len(density), FEATURES, requires_grad=bias)
    weight = importance ** torch.arange(FEATURES)
    optimizer = torch.optim.Adam([W, b] if bias else [W], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        with torch.enable_grad():
            x = draw(generator, density)
            loss = (weight * (x - reconstruct(W, b, x, relu)).square()).mean((1, 2))
            loss.sum().backward()  # no model's weights are in another's loss
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return W.detach()


@checked
def kept(W: Float[Tensor, "model feature dimension"]) -> Float[Tensor, " model"]:
    """How many features each model kept, those whose rows are longer than KEPT.

    >>> kept(torch.tensor([[[1.0, 0], [0, 1], [0, 0.1], [0, 0], [0, 0]]]))
    tensor([2.])
    """
    return (W.norm(dim=-1) > KEPT).float().sum(-1)


@checked
def is_pentagon(W: Float[Tensor, "model feature 2"]) -> Bool[Tensor, " model"]:
    """Whether each model keeps all five features, at angles that differ from 72 degrees by less than 8."""
    angles = torch.atan2(W[..., 1], W[..., 0]).sort(-1).values.rad2deg()
    gaps = torch.cat([angles[:, 1:], angles[:, :1] + 360], 1) - angles
    return (kept(W) == FEATURES) & ((gaps - 72).abs() < 8).all(-1)
