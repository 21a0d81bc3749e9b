"""Linear probes: what can be read from vectors along one direction, and how to take it out of them again.

A probe is a logistic regression (Alain and Bengio 2017, arXiv:1610.01644). What it says about a model is less than it
seems: `word_scores` is a baseline without any model, and Hewitt and Liang (2019, arXiv:1909.03368) is why one needs it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .attention import as_array, in_full
from .errors import ArgumentError, checked


class Probe(NamedTuple):
    """A linear classifier: it says 1 where `x @ weight + bias` is above 0. weight: `(d_model,)`."""

    weight: Tensor
    bias: float

    def __call__(self, x):
        """How strongly it says 1, of vectors `(..., d_model)`, in nats of log-odds: `(...)`."""
        return x.float() @ self.weight + self.bias


@checked
def fit(x: Float[Tensor, "token d_model"], y: Int[Tensor, " token"], decay: int | float = 0.01) -> Probe:
    """The probe with the smallest mean logistic loss of labels y, 0 and 1, plus half the decay times the
    squared length of the weight.

    The decay is of the weights of standardised vectors, each dimension with mean 0 and variance 1, so that large
    dimensions are not favoured; those of the probe are for the vectors as they are. Raises ArgumentError where y is not
    made of both 0 and 1, as do the other functions that take y.

    >>> probe = fit(torch.tensor([[0.0, 1], [0, 2], [1, 1], [1, 2]]), torch.tensor([0, 0, 1, 1]))
    >>> probe(torch.tensor([[0.2, 9], [0.8, 9]])) > 0
    tensor([False,  True])
    """
    from sklearn.linear_model import LogisticRegression

    _check_labels(y)
    device, x = x.device, x.cpu().double()  # or a dimension that is always 1000.1 would seem to vary, by rounding
    mean, scale = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
    regression = LogisticRegression(C=1 / (decay * len(y)), solver="newton-cholesky", max_iter=100)
    regression.fit(((x - mean) / scale).float().numpy(), y.cpu().numpy())
    weight = torch.tensor(regression.coef_[0]) / scale
    return Probe(weight.float().to(device), regression.intercept_.item() - (weight @ mean).item())


def _check_labels(y):
    if set(y.tolist()) != {0, 1}:
        raise ArgumentError("Labels must be 0 and 1, and there must be tokens of both kinds. Leave out the others.")


@checked
def auc(scores: Float[Tensor, " token"], y: Int[Tensor, " token"]) -> float:
    """The chance that a token with label 1 has a higher score than one with label 0; a tie counts one half.

    1 when the scores part them without an error, and one half when they know nothing (the area under the ROC curve).

    >>> auc(torch.tensor([0.1, 0.4, 0.3, 0.9]), torch.tensor([0, 0, 1, 1]))
    0.75
    """
    from sklearn.metrics import roc_auc_score

    _check_labels(y)
    return float(roc_auc_score(y.cpu().numpy(), as_array(scores)))


@checked
def word_scores(
    tokens: Int[Tensor, "text position"],
    labels: Int[Tensor, "text position"],
    new: Int[Tensor, "other length"],
    back: int,
) -> Float[Tensor, "other length"]:
    """A baseline without any model: how strongly the last `back` tokens of each place speak for label 1.

    labels: 1, 0, or -1 where a token does not count. For every distance, from the token itself on, each token id has a
    score: the log of its share among the ids that stand so far before a token with label 1, less that for label 0,
    where 1 is added to every count. A place gets the sum of these scores. This is naive Bayes without a prior.

    >>> tokens, labels = torch.tensor([[0, 1, 2, 1]]), torch.tensor([[0, 1, 0, 1]])
    >>> word_scores(tokens, labels, torch.tensor([[1, 2]]), 1)
    tensor([[ 1.0986, -0.6931]])
    """
    size = int(max(tokens.max(), new.max())) + 1
    scores = torch.zeros(new.shape)
    for distance in range(min(back, tokens.shape[1], new.shape[1])):  # further back there is nothing to learn or score
        ids, after = tokens[:, : tokens.shape[1] - distance], labels[:, distance:]
        counts = torch.stack([torch.bincount(ids[after == label], minlength=size) + 1.0 for label in (0, 1)])
        against, for_one = (counts / counts.sum(1, keepdim=True)).log()
        scores[:, distance:] += (for_one - against)[new[:, : new.shape[1] - distance]]
    return scores


@checked
def difference_of_means(x: Float[Tensor, "token d_model"], y: Int[Tensor, " token"]) -> Float[Tensor, " d_model"]:
    """Mean of the vectors with label 1 less mean of those with label 0.

    >>> difference_of_means(torch.tensor([[0.0, 1], [2, 1], [4, 4]]), torch.tensor([0, 0, 1]))
    tensor([3., 3.])
    """
    _check_labels(y)
    one, zero = (x[y == label].cpu().mean(0, dtype=torch.float64) for label in (1, 0))
    return (one - zero).float().to(x.device)


@checked
def discriminant(x: Float[Tensor, "token d_model"], y: Int[Tensor, " token"]) -> Float[Tensor, " d_model"]:
    """Fisher's linear discriminant: the inverse of the covariance times the difference of means.

    It is the direction to *read* the label along, where the difference of means is the one to *write* it along (Haufe
    et al. 2014, doi:10.1016/j.neuroimage.2013.10.067). With these two, `erase` is LEACE.
    """
    device, x, y = x.device, x.cpu().double(), y.cpu()
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    small = covariance.diagonal().mean() * 1e-4 * torch.eye(x.shape[1], dtype=torch.double)  # it may be singular
    return torch.linalg.solve(covariance + small, difference_of_means(x, y).double()).float().to(device)


@checked
def erase(
    x: Float[Tensor, "*batch d_model"],
    mean: Float[Tensor, " d_model"],
    read: Float[Tensor, " d_model"],
    write: Float[Tensor, " d_model"],
) -> Float[Tensor, "*batch d_model"]:
    """Vectors changed along `write` so that along `read` all of them are as the mean is.

    With read and write the same direction this is the orthogonal projection. With the discriminant and the difference
    of means it is LEACE (Belrose et al. 2023, arXiv:2306.03819): both means are then equal, so that no linear probe has
    a smaller loss than a constant, and no other affine map achieves this with a smaller mean square of changes. Raises
    ArgumentError for directions at right angles.

    >>> erase(torch.tensor([[3.0, 1]]), torch.zeros(2), torch.tensor([1.0, 0]), torch.tensor([1.0, 1]))
    tensor([[ 0., -2.]])
    """
    x, mean, read, write = map(in_full, (x, mean, read, write))
    overlap = read @ write
    if overlap.abs() <= 1e-6 * read.norm() * write.norm():
        raise ArgumentError(
            "erase: moving along `write` changes nothing along `read`, because they are at right angles."
        )
    return x - ((x - mean) @ read)[..., None] * write / overlap
