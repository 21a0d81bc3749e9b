"""What can be read from a model's weights without running it.

`inventory`, `position_embedding`, `head_weights` and `token_ends` take what they need out of a model; all else is from
tensors to tensors. Matrices stand as TransformerLens has them: rows are what goes in, columns what comes out, so that
a vector x becomes `x @ W`.

A *circuit* is the product of two of a head's matrices, W_Q W_K^T or W_V W_O (Elhage et al. 2021, "A Mathematical
Framework for Transformer Circuits"). It is kept as its two factors: between tokens it would have as many rows and
columns as the vocabulary, but never a rank above d_head. Biases are left out of it, and so are rotations by position.
"""

from typing import NamedTuple

import numpy as np
import torch

from .capture import attention_modules, final_norm_name
from .errors import (
    ArgumentError,
    ModelError,
    broadcast,
    check_devices,
    check_model,
    check_seed,
    check_tensors,
    check_types,
    check_whole,
    checked_array,
    checked_ids,
    head_count,
)


class HeadWeights(NamedTuple):
    """W_Q: `(layer, head, d_model, d_head)`; W_K, W_V: the same, or with fewer heads where several queries share one
    (grouped queries); W_O: `(layer, head, d_head, d_model)`."""

    W_Q: torch.Tensor
    W_K: torch.Tensor
    W_V: torch.Tensor
    W_O: torch.Tensor


class Circuit(NamedTuple):
    """Two factors of one matrix, `left @ right`: left `(..., n, rank)`, right `(..., rank, m)`."""

    left: torch.Tensor
    right: torch.Tensor


class Components(NamedTuple):
    """shares: of the variance, `(component,)`, largest first, adding up to 1; places: where the rows stand along the
    components, `(row, component)`."""

    shares: torch.Tensor
    places: torch.Tensor


class Normality(NamedTuple):
    """Moments of numbers and their distance from a normal curve with the same mean and standard deviation.

    skewness: 0 for symmetric ones; kurtosis: in excess of the normal's, 0 for a normal, above it for longer tails; ks:
    the Kolmogorov-Smirnov statistic, the largest gap between the two cumulative distributions, 0 to 1; p: its p value,
    as if mean and standard deviation had been known beforehand: somewhat too large (Lilliefors 1967).
    """

    mean: float
    std: float
    skewness: float
    kurtosis: float
    ks: float
    p: float


class Agreement(NamedTuple):
    """index: the adjusted Rand index; null: the same for shuffled classes, `(shuffle,)`; p: the share of shuffles, the
    unshuffled one counted in, that reach it."""

    index: float
    null: np.ndarray
    p: float


def inventory(model):
    """Every tensor of a model, a row for each, in a table.

    Columns: tensor, its name; shape; category, one of "token embedding", "position embedding", "attention", "mlp" (all
    of a layer that is neither attention nor norm), "norm", "unembedding", "other"; layer, missing outside of layers;
    parameters; bytes; tied to, the name of an earlier tensor that is the same one, else "". Leave rows that are tied
    out of a total: they take no memory of their own. Works on `empty_model` too.
    """
    import pandas as pd

    check_model("inventory", model)
    attentions, positions = attention_modules(model), _position_module(model)
    categories, stack = {}, ""
    for name, module in model.named_modules():
        if module is model.get_input_embeddings():
            categories[name] = "token embedding"
        elif module is positions:
            categories[name] = "position embedding"
        elif module is model.get_output_embeddings():
            categories[name] = "unembedding"
        elif any(module is each for each in attentions):
            categories[name] = "attention"
            stack = stack or name.partition(".0.")[0]
        elif type(module).__name__.endswith("Norm"):
            categories[name] = "norm"
    first, rows = {}, []
    for name, tensor in model.named_parameters(remove_duplicate=False):
        parts = name.split(".")
        layer = int(name[len(stack) + 1 :].split(".")[0]) if name.startswith(f"{stack}.") else None
        owners = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]  # the innermost module first
        category = next(
            (categories[each] for each in owners if each in categories), "other" if layer is None else "mlp"
        )
        earlier = first.setdefault(id(tensor), name)
        rows.append(
            {
                "tensor": name,
                "shape": tuple(tensor.shape),
                "category": category,
                "layer": layer,
                "parameters": tensor.numel(),
                "bytes": tensor.numel() * tensor.element_size(),
                "tied to": "" if earlier == name else earlier,
            }
        )
    return pd.DataFrame(rows).astype({"layer": "Int64"})


def _position_module(model):
    """The learned position embedding, found by structure; None in a model that has none."""
    rows = getattr(model.config, "max_position_embeddings", None)
    for module in model.modules():
        other = isinstance(module, torch.nn.Embedding) and module is not model.get_input_embeddings()
        if other and rows and module.num_embeddings >= rows:
            return module
    return None


@torch.no_grad()
def position_embedding(model):
    """The learned position embedding, `(position, d_model)`.

    Raises ModelError for a model without one, such as those that rotate queries and keys.
    """
    check_model("position_embedding", model)
    module = _position_module(model)
    if module is None:
        raise ModelError(
            f"position_embedding: {type(model).__name__} learns no position embedding; it marks positions inside "
            "attention. 'storybook', 'gpt2' and GPT-Neo learn one."
        )
    return module.weight.detach()[-model.config.max_position_embeddings :]  # OPT has two rows more, in front


@torch.no_grad()
def head_weights(model):
    """HeadWeights of all layers, copied, equal to TransformerLens's raw `bridge.W_Q`, `W_K`, `W_V` and `W_O`.

    Knows Q, K and V as one block each in a fused matrix (GPT-2), as three matrices (GPT-Neo, Llama and their like) and
    fused head by head (GPT-NeoX, BLOOM). Raises ModelError for other layouts, and for a model without heads.
    """
    heads, config = head_count("head_weights", model), model.config
    d_head = getattr(config, "head_dim", None) or config.hidden_size // heads
    layers = [_cut(model, module, d_head) for module in attention_modules(model)]
    return HeadWeights(*(torch.stack(each) for each in zip(*layers)))


def _cut(model, attention, d_head):
    """Q, K, V and O of one layer, each by head."""
    found = {name.split(".")[-1]: module for name, module in attention.named_modules() if hasattr(module, "weight")}
    width = model.config.num_attention_heads * d_head
    try:
        output = next(found[name] for name in ("c_proj", "out_proj", "o_proj", "dense") if name in found)
        if "c_attn" in found:
            inputs = _from_input(found["c_attn"]).split([width] * 3, dim=1)
        elif "query_key_value" in found and model.config.model_type in ("gpt_neox", "bloom"):
            inputs = _from_input(found["query_key_value"]).unflatten(1, (-1, 3, d_head)).unbind(2)
            inputs = [each.flatten(1) for each in inputs]
        else:
            inputs = [_from_input(found[name]) for name in ("q_proj", "k_proj", "v_proj")]
        by_head = [each.unflatten(1, (-1, d_head)).transpose(0, 1) for each in inputs]
        return *by_head, _from_input(output).unflatten(0, (-1, d_head))
    except (KeyError, StopIteration, RuntimeError) as problem:
        raise ModelError(
            f"head_weights: {type(attention).__name__} keeps Q, K, V and O in a layout that is not known here; its "
            f"matrices are {', '.join(found)}. GPT-2, GPT-Neo, GPT-NeoX, BLOOM and Llama-type models can be cut."
        ) from problem


def _from_input(module):
    """A module's matrix with rows as inputs: GPT-2's Conv1D keeps it so, torch's Linear the other way round."""
    return module.weight.detach() if type(module).__name__ == "Conv1D" else module.weight.detach().T


def side_by_side(cut):
    """Q, K and V of all heads as one matrix a layer, `(layer, d_model, columns)`: Q's columns, then K's, then V's.

    For GPT-2 that is `c_attn.weight`.
    """
    _check_cut("side_by_side", cut)
    return torch.cat([each.transpose(1, 2).flatten(2) for each in cut[:3]], 2)


def qk_circuit(cut):
    """W_Q W_K^T of every head as a Circuit, `(layer, head, d_model, d_head)` and its right factor: which token, in the
    stream, looks for which. With grouped queries, keys are repeated for each query that shares them."""
    _check_cut("qk_circuit", cut)
    return Circuit(cut.W_Q, _for_queries(cut.W_K, cut).mT)


def ov_circuit(cut):
    """W_V W_O of every head as a Circuit, like `qk_circuit`: what a token that is looked at writes."""
    _check_cut("ov_circuit", cut)
    return Circuit(_for_queries(cut.W_V, cut), cut.W_O)


def _check_cut(operation, cut):
    """Shapes only: to put numbers beside each other is right whatever they are."""
    if not isinstance(cut, HeadWeights):
        raise ArgumentError(
            f"{operation}: cut must be HeadWeights, as head_weights gives them; got a {type(cut).__name__}."
        )
    matrices = {f"cut.{name}": each for name, each in cut._asdict().items()}
    check_tensors(operation, axes="(layer, head, row, column)", finite=False, **matrices)
    layers, heads, d_model, d_head = cut.W_Q.shape
    shared = cut.W_K.shape[1]
    inputs = [(layers, count, d_model, d_head) for count in (heads, shared, shared)]
    shapes = {name: tuple(each.shape) for name, each in matrices.items()}
    if heads % shared or list(shapes.values()) != [*inputs, (layers, heads, d_head, d_model)]:
        raise ArgumentError(f"{operation}: the shapes of cut do not go together, {shapes}; see HeadWeights.")


def _check_circuit(operation, axes="...", **circuit):
    ((name, circuit),) = circuit.items()
    if not isinstance(circuit, Circuit):
        raise ArgumentError(
            f"{operation}: {name} must be a Circuit, as ov_circuit and qk_circuit give them; got a "
            f"{type(circuit).__name__}."
        )
    left, right = circuit
    factors = {f"{name}.left": left, f"{name}.right": right}
    check_tensors(operation, of="precise numbers", axes=axes, **factors)
    check_types(operation, **factors)
    if left.shape[-1] != right.shape[-2] or not broadcast(left.shape[:-2], right.shape[:-2]):
        raise ArgumentError(
            f"{operation}: {name} has a left factor {tuple(left.shape)} and a right one {tuple(right.shape)}; there is "
            "no product of them. They must be (..., n, rank) and (..., rank, m)."
        )


def _for_queries(shared, cut):
    times = cut.W_Q.shape[1] // shared.shape[1]
    return shared[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)  # no copy when nothing is shared


def composition(ov, reads, layer, head, kind):
    """How strongly a head reads what every head writes, by Q- or K-composition: `(layer, head)`.

    ov: `ov_circuit` of all heads, the writers; reads: `qk_circuit` of all heads; layer, head: the reader. kind: "Q",
    what is written shapes the reader's queries, or "K", its keys. The size (Frobenius norm) of the product of both
    circuits over the sizes of the two (Elhage et al. 2021, "Q-, K- and V-Composition"). Only heads of earlier layers
    can compose in fact; the numbers of later ones are those of heads that never meet. Norms between the layers are left
    out. A part of every score is chance: compare with `random_composition`.

    Raises ArgumentError for another kind, for a head that does not exist, for NaN, and when a circuit is zero.
    """
    _check_circuit("composition", "(layer, head, row, column)", ov=ov)
    _check_circuit("composition", "(layer, head, row, column)", reads=reads)
    check_devices("composition", ov=ov.left, reads=reads.left)
    check_types("composition", ov=ov.left, reads=reads.left)
    widths = [ov.left.shape[-2], ov.right.shape[-1], reads.left.shape[-2], reads.right.shape[-1]]
    if len(set(widths)) > 1:
        raise ArgumentError(f"composition: ov and reads must be of one d_model; they have {widths}.")
    if kind not in ("Q", "K"):
        raise ArgumentError(f"composition: the kind is {kind!r}; it must be 'Q' or 'K'.")
    check_whole("composition", 0, layer=layer, head=head)
    layers, heads = reads.left.shape[:2]
    if layer >= layers or head >= heads:
        raise ArgumentError(
            f"composition: there is no head {layer}.{head}; reads has layer 0 to {layers - 1}, head 0 to {heads - 1}."
        )
    reader = Circuit(reads.left[layer, head], reads.right[layer, head])
    if kind == "K":
        reader = Circuit(reader.right.mT, reader.left.mT)
    sizes = _size(ov) * _size(reader)
    if (sizes == 0).any():
        raise ArgumentError("composition: a circuit is zero in ov or reads; nothing is written or read.")
    return _size(Circuit(ov.left, ov.right @ reader.left @ reader.right)) / sizes


def random_composition(cut, pairs=200, seed=0):
    """Composition scores of random circuits with the shapes of a model's heads: `(pair,)`, what chance gives.

    cut: of `head_weights`. Raises ArgumentError for fewer than one pair.
    """
    check_whole("random_composition", 1, pairs=pairs)
    check_seed("random_composition", seed)
    _check_cut("random_composition", cut)
    d_model, d_head = cut.W_Q.shape[-2:]
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(pairs):
        a, c = torch.randn(2, d_model, d_head, generator=generator)
        b, d = torch.randn(2, d_head, d_model, generator=generator)
        found.append(_size(Circuit(a, b @ c @ d)) / (_size(Circuit(a, b)) * _size(Circuit(c, d))))
    return torch.stack(found)


def _size(circuit):
    """Frobenius norm of `left @ right`, without the product: the root of tr(left^T left right right^T)."""
    return ((circuit.left.mT @ circuit.left) * (circuit.right @ circuit.right.mT)).sum((-2, -1)).clamp_min(0).sqrt()


def singular_values(circuit):
    """Singular values of `left @ right` that can differ from zero, largest first: `(..., rank)`.

    From the small matrix between the two factors' orthonormal bases (QR), so the product is never made.

    >>> singular_values(Circuit(torch.tensor([[3.0, 0], [0, 1], [0, 0]]), torch.tensor([[0.0, 2, 0], [1, 0, 0]])))
    tensor([6., 1.])
    """
    _check_circuit("singular_values", "(..., row, column)", circuit=circuit)
    left, right = torch.linalg.qr(circuit.left).R, torch.linalg.qr(circuit.right.mT).R
    return torch.linalg.svdvals(left @ right.mT)


def participation_ratio(singular_values):
    """How many directions share the work: (sum s^2)^2 / sum s^4, `(..., rank)` to `(...)`, from 1 to rank.

    The participation ratio of the variances s^2 (as in Gao et al. 2017, "A theory of multineuronal dimensionality").
    0 when all are zero. Raises ArgumentError for NaN.

    >>> participation_ratio(torch.tensor([[2.0, 2, 2], [5, 0, 0]]))
    tensor([3., 1.])
    """
    check_tensors("participation_ratio", of="precise numbers", axes="(..., rank)", singular_values=singular_values)
    tiny = torch.finfo(singular_values.dtype).tiny
    largest = singular_values.abs().amax(-1, keepdim=True).clamp_min(tiny)
    variances = (singular_values / largest).square()  # else fourth powers could be 0 or infinite
    return variances.sum(-1).square() / variances.square().sum(-1).clamp_min(tiny)


@torch.no_grad()
def token_ends(model, tokens=None):
    """How tokens enter the stream and how it turns into logits: `(token, d_model)` and `(d_model, token)`.

    tokens: ids, `(token,)`; None takes the whole vocabulary.

    The first is the token embedding; the second the unembedding with the linear part of the final norm folded in, its
    weight and, for a LayerNorm, the subtraction of the mean. (The norm's scale multiplies all logits of a position
    alike.) From both, the mean over the vocabulary is taken away: what all tokens share does not tell one from another,
    and a number added to all logits changes no probability. The second equals `bridge.W_U` in TransformerLens's
    compatibility numerics. Biases are left out. Raises ModelError for a model without a final norm.
    """
    check_model("token_ends", model)
    if model.get_output_embeddings() is None:
        raise ModelError(f"token_ends: the model, a {type(model).__name__}, has no unembedding.")
    embedding, unembedding = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    check_tensors("token_ends", finite=False, model=embedding)
    if tokens is not None:
        check_tensors("token_ends", of="ids", axes="(token,)", tokens=tokens)
        tokens = checked_ids("token_ends", tokens, len(embedding), tokens.shape, "tokens")
    norm = model.get_submodule(final_norm_name(model))
    ones = torch.ones_like(embedding[0])
    signs = ones.clone()
    signs[1::2] = -1  # mean 0 and mean square 1: a norm of either kind gives its weight, with these signs, and its bias
    weight = (norm(1000 * signs) - norm(-1000 * signs)) / 2 * signs  # 1000: the norm's epsilon does not count
    centred = torch.allclose(norm(ones), norm(-ones), atol=1e-6)  # it subtracts the mean

    def fold(rows):
        rows = rows * weight
        return rows - rows.mean(-1, keepdim=True) if centred else rows

    chosen = slice(None) if tokens is None else tokens
    ends = embedding[chosen] - embedding.mean(0), (fold(unembedding[chosen]) - fold(unembedding.mean(0))).T
    for each in ends:
        check_tensors("token_ends", model=each)
    return ends


def token_eigenvalues(circuit, reads, writes):
    """Eigenvalues of `reads @ left @ right @ writes`, a matrix tokens x tokens, that can differ from zero.

    reads: `(token, d_model)`; writes: `(d_model, token)`. Returns `(..., rank)`, complex. AB and BA have the same ones,
    so the small matrix `right @ (writes @ reads) @ left` gives them.

    >>> one = Circuit(torch.tensor([[1.0], [0]]), torch.tensor([[3.0, 5]]))
    >>> token_eigenvalues(one, torch.eye(2), torch.eye(2))
    tensor([3.+0.j])
    """
    _check_ends("token_eigenvalues", circuit, reads, writes)
    return torch.linalg.eigvals(circuit.right @ (writes @ reads) @ circuit.left)


def _check_ends(operation, circuit, reads, writes):
    _check_circuit(operation, "(..., row, column)", circuit=circuit)
    check_tensors(operation, axes="(token, d_model)", reads=reads)
    check_tensors(operation, axes="(d_model, token)", writes=writes)
    check_devices(operation, circuit=circuit.left, reads=reads, writes=writes)
    check_types(operation, circuit=circuit.left, reads=reads, writes=writes)
    d_model, out = circuit.left.shape[-2], circuit.right.shape[-1]
    if reads.shape[1] != d_model or writes.shape != (out, len(reads)):
        raise ArgumentError(
            f"{operation}: for a circuit ({d_model}, {out}), reads must be (token, {d_model}) and writes ({out}, "
            f"token), of the same tokens; got {tuple(reads.shape)} and {tuple(writes.shape)}."
        )


def positive_share(eigenvalues):
    """Sum of eigenvalues over the sum of their sizes: `(..., rank)` to `(...)`, from -1 to 1.

    1 when all are positive, -1 when all are negative. Of an OV circuit between tokens it is Elhage et al.'s measure of
    copying: whether looking at a token raises that token's logit. Of a QK circuit it measures matching: whether a token
    looks for itself. 0 when all are zero.

    >>> positive_share(torch.tensor([[3.0, 1], [3, -1], [-2, -2]]))
    tensor([ 1.0000,  0.5000, -1.0000])
    """
    check_tensors("positive_share", of="complex numbers", axes="(..., rank)", eigenvalues=eigenvalues)
    sizes = eigenvalues.abs().sum(-1)
    return eigenvalues.sum(-1).real / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)


def own_ranks(circuit, reads, writes, tokens):
    """For some tokens, how many others the circuit gives more than the token itself: `(..., token)`, 0 for none.

    circuit: of one head or several, `(..., d_model, rank)`; reads, writes: as in `token_eigenvalues`; tokens: ids,
    `(token,)`. Memory holds a row of the vocabulary's length for each token and head: take a few hundred. Raises
    ArgumentError for NaN, and for a token that is not there.

    >>> swap = Circuit(torch.eye(2), torch.tensor([[0.0, 1], [1, 0]]))
    >>> own_ranks(swap, torch.eye(2), torch.eye(2), torch.tensor([0, 1]))
    tensor([1, 1])
    """
    _check_ends("own_ranks", circuit, reads, writes)
    check_tensors("own_ranks", of="ids", axes="(token,)", tokens=tokens)
    tokens = checked_ids("own_ranks", tokens, len(reads), tokens.shape, "tokens").to(reads.device)
    logits = reads[tokens] @ circuit.left @ (circuit.right @ writes)
    own = logits.gather(-1, tokens[:, None].expand(*logits.shape[:-1], 1))
    return (logits > own).sum(-1)


def principal_components(rows):
    """Components of rows `(row, d_model)`: the directions of most variance, one after the other (PCA).

    The singular value decomposition of the rows less their mean, as scikit-learn's PCA has it; each direction is turned
    so that its largest entry is positive. Raises ArgumentError for NaN and when all rows are the same.

    >>> shares, places = principal_components(torch.tensor([[3.0, 1], [7, 1]]))
    >>> shares, places[:, 0].round()
    (tensor([1., 0.]), tensor([-2.,  2.]))
    """
    check_tensors("principal_components", of="precise numbers", axes="(row, d_model)", rows=rows)
    if not _differ(rows):
        raise ArgumentError("principal_components: all rows are the same; there is no direction of most variance.")
    left, sizes, right = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    variances = sizes.square()
    turn = right.gather(1, right.abs().argmax(1, keepdim=True))[:, 0].sign()
    return Components(variances / variances.sum(), left * sizes * turn)


def _differ(rows):
    """Whether any row is another than the first; a mean of equal rows may round to another number."""
    return bool((rows != rows[0]).any())


def sinusoids(positions, d_model):
    """The fixed position embedding of Vaswani et al. 2017 (arXiv:1706.03762), `(position, d_model)`.

    >>> sinusoids(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    check_whole("sinusoids", 1, positions=positions, d_model=d_model)
    rates = 10000 ** -(torch.arange(0, d_model, 2) / d_model)
    angles = torch.arange(positions)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :d_model]


def power_spectrum(rows):
    """Share of the variance over positions by frequency, all dimensions together: `(position, d_model)` to
    `(frequency,)`, adding up to 1; frequency f stands for f + 1 periods over all positions.

    The periodogram of every column, added up. A column of noise has the same share everywhere, on average. Raises
    ArgumentError for NaN, for fewer than two rows, and when all rows are the same.

    >>> power_spectrum(torch.tensor([[1.0], [0], [-1], [0]]))
    tensor([1., 0.])
    """
    check_tensors("power_spectrum", of="precise numbers", axes="(position, d_model)", rows=rows)
    if len(rows) < 2 or not _differ(rows):
        raise ArgumentError(
            "power_spectrum: all rows are the same, or there is one only; nothing varies over positions."
        )
    power = torch.fft.rfft(rows, dim=0)[1:].abs().square().sum(1)
    both = torch.full_like(power, 2)  # a frequency and its mirror image,
    both[-1] = 1 if len(rows) % 2 == 0 else 2  # but the highest has none
    return power * both / (power * both).sum()


def normality(values):
    """Normality of all numbers in a tensor of any shape.

    Raises ArgumentError for NaN, for infinity, and when all numbers are the same.
    """
    from scipy import special, stats

    values = checked_array("normality", "values", values).astype(float).ravel()  # a copy
    mean, std = values.mean(), values.std()
    if values.min() == values.max():
        raise ArgumentError(
            f"normality: in values, all {len(values)} numbers are the same; a distribution needs some that differ."
        )
    values -= mean  # in place: a matrix of a large model takes much memory
    values /= std
    test = stats.kstest(values, special.ndtr)  # the normal's distribution function, without scipy's copies for "norm"
    found = mean, std, stats.skew(values), stats.kurtosis(values), test.statistic, test.pvalue
    return Normality(*map(float, found))


def cluster(features, count, method="average"):
    """Hierarchical clustering of heads: (links, labels).

    features: `(head, feature)`; each is put on the same scale first, mean 0 and standard deviation 1. count: how many
    clusters at most; method: how the distance between clusters is made of that between heads, as in
    `scipy.cluster.hierarchy.linkage`. links: as that gives them, for a dendrogram; labels: `(head,)`, from 1.
    Raises ArgumentError for NaN, for fewer than two heads, fewer than one cluster, and an unknown method.

    >>> cluster(torch.tensor([[0.0], [1], [10], [11]]), 2)[1].tolist()
    [1, 1, 2, 2]
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    features = checked_array("cluster", "features", features, axes="(head, feature)").astype(float)
    if len(features) < 2:
        raise ArgumentError(f"cluster: there are {len(features)} heads in features; a tree needs two or more.")
    check_whole("cluster", 1, count=count)
    spread = features.std(0)
    try:
        links = linkage((features - features.mean(0)) / np.where(spread > 0, spread, 1), method)
    except (ValueError, TypeError) as problem:
        raise ArgumentError(f"cluster: linkage refuses the method {method!r}: {problem}.") from problem
    return links, fcluster(links, count, "maxclust")


def agreement(labels, classes, *, groups=None, shuffles=999, seed=0):
    """Agreement between clusters and classes: the adjusted Rand index (Hubert and Arabie 1985), against chance.

    labels, classes: `(head,)`. 1 means the same partition, 0 what chance gives on average. Chance is a permutation
    test: the classes are shuffled `shuffles` times, within each of `groups`, `(head,)`, when given (such as layers).
    Raises ArgumentError for fewer than two heads, lengths that differ, and a negative number of shuffles.

    >>> agreement([1, 1, 2, 2], ["a", "a", "b", "b"]).index
    1.0
    """
    check_whole("agreement", 0, shuffles=shuffles)
    check_seed("agreement", seed)
    labels, classes = _names("labels", labels), _names("classes", classes)
    groups = np.zeros(len(classes)) if groups is None else _names("groups", groups)
    if not len(labels) == len(classes) == len(groups) >= 2:
        raise ArgumentError(
            f"agreement: {len(labels)} labels, {len(classes)} classes and {len(groups)} groups; there must be one for "
            "each of two heads or more."
        )
    generator = np.random.default_rng(seed)
    places = [np.flatnonzero(groups == each) for each in np.unique(groups)]
    mixed = np.tile(classes, (1 + shuffles, 1))  # the first row stays as it is
    for row in mixed[1:]:
        for where in places:
            row[where] = generator.permutation(classes[where])
    index, *null = _adjusted_rand_index(mixed, labels)
    reached = (np.array(null) >= index - 1e-12).sum()  # equal ones may differ in the last bit
    return Agreement(float(index), np.array(null), float((1 + reached) / (1 + shuffles)))


def _names(name, values):
    """What `agreement` compares, `(head,)`: numbers, strings, or anything that can be sorted and is equal to itself."""
    try:
        found = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
        if found.ndim == 1 and (found == found).all():
            np.unique(found)
            return found
    except (TypeError, ValueError, RuntimeError):  # no array, or values that cannot be sorted
        pass
    raise ArgumentError(
        f"agreement: {name} must be a list or array with a name or number for each head; got {values!r}."
    )


def _adjusted_rand_index(many, labels):
    """Of many classifications with the same classes, `(shuffle, head)`, with one clustering; `(shuffle,)`.

    scikit-learn has it for one at a time: a thousand take more than a second.
    """
    in_class = (many[..., None] == np.unique(many)).astype(float)
    in_cluster = (labels[:, None] == np.unique(labels)).astype(float)

    def pairs(counts):
        return (counts * (counts - 1) / 2).sum((-2, -1))

    together = pairs(in_class.swapaxes(1, 2) @ in_cluster)  # heads of one class in one cluster
    by_class, by_cluster = pairs(in_class.sum(1, keepdims=True)), pairs(in_cluster.sum(0, keepdims=True))
    by_chance = by_class * by_cluster / pairs(np.array([[many.shape[1]]]))
    most = (by_class + by_cluster) / 2
    same = most == by_chance  # both put all heads into one group, or each into its own
    return np.where(same, 1.0, (together - by_chance) / np.where(same, 1, most - by_chance))
