"""What can be read from a model's weights without running it.

The matrices of single heads come from TransformerLens: `bridge.W_Q`, `W_K`, `W_V`, `W_O`, and the circuits `bridge.QK`
and `bridge.OV` (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"). A circuit is a
`FactoredMatrix`, which keeps two factors and never makes their product. It knows its singular values (`.S`) and its
eigenvalues. This module adds what TransformerLens lacks: an inventory of all tensors, scores of circuits between
tokens, composition by chance, and agreement of groups of heads against chance.
"""

from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from .attention import in_full
from .errors import ModelError, check_finite, checked
from .hooks import layout, repeated
from .models import context_length


def inventory(model):
    """Every tensor of a model of transformers, one row for each, in a table. Works on `empty_model` too.

    Columns: tensor, its name; shape; category, one of "token embedding", "position embedding", "attention", "mlp" (all
    of a layer that is neither attention nor norm), "norm", "unembedding", "other"; layer, missing outside of layers;
    parameters; bytes; tied to, the name of an earlier tensor that is the same one, else "". Leave rows that are tied
    out of a total: they take no memory of their own. Raises ModelError for a family that `hooks.layout` does not know.
    """
    import pandas as pd

    parts = layout(model)
    layers = next(path for path, module in model.named_modules() if module is parts.layers[0]).removesuffix("0")
    known = dict.fromkeys(parts.attentions, "attention")
    known |= {parts.positions: "position embedding", model.get_output_embeddings(): "unembedding"}
    known[model.get_input_embeddings()] = "token embedding"
    categories = {}  # by tensor; a module comes before those inside it, so the innermost one decides
    for path, module in model.named_modules():
        category = "norm" if type(module).__name__.endswith("Norm") else known.get(module)
        if category:
            categories |= {name: category for name, _ in module.named_parameters(path, remove_duplicate=False)}
    first, rows = {}, []
    for name, tensor in model.named_parameters(remove_duplicate=False):
        layer = int(name.removeprefix(layers).split(".")[0]) if name.startswith(layers) else None
        category = categories.get(name, "other" if layer is None else "mlp")
        tied = "" if first.setdefault(tensor, name) == name else first[tensor]
        rows.append((name, tuple(tensor.shape), category, layer, tensor.numel(), tensor.nbytes, tied))
    columns = ["tensor", "shape", "category", "layer", "parameters", "bytes", "tied to"]
    return pd.DataFrame(rows, columns=columns).astype({"layer": "Int64"})


def position_embedding(model):
    """The learned position embedding `(position, d_model)` of a model of transformers, as `bridge.W_pos` has it.

    Raises ModelError for a model that learns none, such as those that rotate queries and keys.
    """
    module = layout(model).positions
    if module is None:
        raise ModelError(f"{type(model).__name__} learns no position embedding; it marks positions inside attention.")
    return module.weight.detach()[-context_length(model) :]  # OPT has two more rows, in front


@checked
def participation_ratio(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """How many directions share the work, from 1 to rank (0 when all values are zero): (sum s^2)^2 / sum s^4.

    An effective rank: the participation ratio of the variances s^2 (Gao et al. 2017, "A theory of multineuronal
    dimensionality").

    >>> participation_ratio(torch.tensor([[2.0, 2, 2], [5, 0, 0]]))
    tensor([3., 1.])
    """
    largest = singular_values.abs().amax(-1, keepdim=True)
    variances = (singular_values / largest.where(largest > 0, 1)).square()  # else fourth powers could be 0 or infinite
    return variances.sum(-1).square() / variances.square().sum(-1).clamp_min(1)  # below 1 only where all are zero


@checked
def copying_score(eigenvalues: Inexact[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """The sum of the eigenvalues over the sum of their sizes, from -1 to 1 (Elhage et al. 2021).

    For an OV circuit between tokens, `W_E @ bridge.OV @ W_U`, it says whether attention to a token raises that token's
    logit. For a QK circuit, `W_E @ bridge.QK @ W_E.T`, it says whether a token looks for itself.

    >>> copying_score(torch.tensor([[3.0, 1], [3, -1], [-2, -2]]))
    tensor([ 1.0000,  0.5000, -1.0000])
    """
    sizes = eigenvalues.abs().sum(-1)
    return eigenvalues.sum(-1).real / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)


@checked
def own_rank(scores: Float[Tensor, "*batch token token"]) -> Float[Tensor, "*batch token"]:
    """For each row, the share of the other tokens that score higher than the row's own token; 0 when none does.

    A random table gives 0.5 on average. Raises ArgumentError for NaN or infinity.

    >>> own_rank(torch.tensor([[3.0, 1, 2], [3, 2, 1], [0, 0, 0]]))
    tensor([0.0000, 0.5000, 0.0000])
    """
    check_finite(scores=scores)
    higher = scores > scores.diagonal(dim1=-2, dim2=-1)[..., None]
    return higher.sum(-1) / max(scores.shape[-1] - 1, 1)


Values = Float[Tensor, "layer word group d_head"]
Outputs = Float[Tensor, "layer head d_head d_model"]
Unembedded = Float[Tensor, "d_model word"]


@checked
def copying_ranks(values: Values, W_O: Outputs, W_U: Unembedded) -> Float[Tensor, "layer head word"]:
    """`own_rank` of the logits that a head raises when it attends to a word. 0: it raises the word itself most.

    values: what the heads make of each word, as `interventions.read_channels` gives them for one word a text. What a
    head writes for all words alike says nothing about a word, so the mean over words is taken off first.
    W_U: the unembedding of the same words. Multiply the weight of the final norm into it, and then, where that norm is
    a LayerNorm, take its mean over d_model off. Raises ArgumentError for NaN or infinity.
    """
    values, W_O, W_U = map(in_full, (values, W_O, W_U))
    written = repeated((values - values.mean(1, keepdim=True)).transpose(1, 2), W_O.shape[1])
    return torch.stack([own_rank(of_layer @ (out @ W_U)) for of_layer, out in zip(written, W_O)])


@checked
def copying_scores(values: Values, W_O: Outputs, W_U: Unembedded) -> Float[Tensor, "layer head"]:
    """`copying_score` of every head's circuit from words to their logits. The arguments are those of `copying_ranks`.

    The circuit has a row and a column for every word. Its eigenvalues other than 0 are those of a matrix of the size of
    the head, because `A @ B` and `B @ A` share them. Raises ArgumentError for NaN or infinity.
    """
    values, W_O, W_U = map(in_full, (values, W_O, W_U))
    read = repeated((values - values.mean(1, keepdim=True)).transpose(1, 2), W_O.shape[1])
    circuits = W_O @ W_U @ read
    check_finite(circuits=circuits)  # MKL's eigenvalues of NaN may end the process
    return copying_score(torch.linalg.eigvals(circuits))


@checked
def matching_ranks(
    queries: Float[Tensor, "layer word head d_head"], keys: Float[Tensor, "layer word group d_head"]
) -> Float[Tensor, "layer head word"]:
    """`own_rank` of the score that each word's query gives its own key among the keys of all words.

    queries, keys: as `interventions.read_channels` gives them for one word a text, so without rotary embeddings and
    without norms of queries and keys. They may come from different streams, such as a word's query and the key at the
    position behind it. Keys that are the same for all words give 0 too, apart from rounding, because no key scores
    higher than another. Raises ArgumentError for NaN or infinity.
    """
    heads = queries.shape[2]
    looked_for, offered = (repeated(in_full(each).transpose(1, 2), heads) for each in (queries, keys))
    return torch.stack([own_rank(q @ k.mT) for q, k in zip(looked_for, offered)])


@checked
def normal_gap(samples: Float[Tensor, "*batch number"]) -> Float[Tensor, "*batch"]:
    """The Kolmogorov-Smirnov statistic of each sample against the normal distribution with its own mean and spread.

    The largest gap between the share of the sample up to a number and that of the normal distribution, in [0, 1].
    Because mean and spread are the sample's own, the usual p-values are too large. Lilliefors (1967, "On the
    Kolmogorov-Smirnov test for normality with mean and variance unknown") simulates them: compare with normal samples
    of the same size. NaN where a sample holds NaN or infinity, or only zeros.

    >>> normal_gap(torch.tensor([[-1.0, 0, 1], [0, 0, 3]]))
    tensor([0.1747, 0.3848])
    """
    samples = in_full(samples)  # half precision cannot count so far
    scaled = (samples - samples.mean(-1, keepdim=True)) / samples.std(-1, keepdim=True)
    normal, count = torch.special.ndtr(scaled.sort(-1).values), samples.shape[-1]
    steps = torch.arange(count + 1, dtype=normal.dtype, device=normal.device) / count  # the share jumps at each number
    return torch.maximum(steps[1:] - normal, normal - steps[:-1]).amax(-1)


def random_composition(d_model, d_head, pairs=200, seed=0):
    """Composition scores of random circuits: `(pair,)`, what TransformerLens's `composition_scores` gives by chance."""
    from transformer_lens import FactoredMatrix  # here: it takes a second and 95 MB
    from transformer_lens.utilities.matrix import composition_scores

    generator = torch.Generator().manual_seed(seed)
    sizes = (d_model, d_head), (d_head, d_model)
    drawn = [[torch.randn(2, *size, generator=generator) for size in sizes] for _ in range(pairs)]
    A, B = (torch.stack(factors, 1) for factors in zip(*drawn))  # (writer or reader, pair, row, column)
    return composition_scores(FactoredMatrix(A[0], B[0]), FactoredMatrix(A[1], B[1]), broadcast_dims=False)


def agreement(labels, classes, groups=None, shuffles=999, seed=0):
    """How well clusters and classes agree, against chance: their adjusted Rand index, and those of shuffled classes.

    labels, classes: a number or name for each head; classes are shuffled within each of `groups`, such as layers, when
    given. Returns (index, null): index, 1 for the same partition and 0 on average by chance (Hubert and Arabie 1985);
    null, `(shuffle,)`. The index is scikit-learn's `adjusted_rand_score`, which would take a second for all shuffles.

    >>> index, null = agreement([1, 1, 2, 2], ["a", "a", "b", "b"])
    >>> float(index), bool((null < index).any())
    (1.0, True)
    """
    labels, classes = (np.unique(names, return_inverse=True)[1] for names in (labels, classes))
    groups = np.zeros(len(classes)) if groups is None else np.asarray(groups)
    generator = np.random.default_rng(seed)
    shuffled = np.tile(classes, (1 + shuffles, 1))  # the first row stays as it is
    for row, group in product(shuffled[1:], np.unique(groups)):
        row[groups == group] = generator.permutation(row[groups == group])
    in_class, in_cluster = np.eye(classes.max() + 1)[shuffled], np.eye(labels.max() + 1)[labels]
    together = _pairs(in_class.swapaxes(1, 2) @ in_cluster).sum((1, 2))  # pairs of heads of one class in one cluster
    by_class, by_cluster = (_pairs(np.bincount(names)).sum() for names in (classes, labels))
    most, by_chance = (by_class + by_cluster) / 2, by_class * by_cluster / _pairs(len(classes))
    index, *null = 1 - (most - together) / (most - by_chance or 1)  # 1 too when both are one group, or all are alone
    return index, np.array(null)


def _pairs(counts):
    return counts * (counts - 1) / 2
