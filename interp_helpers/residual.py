"""The residual stream: what every part of a model writes into it, and what it would predict at every depth.

The stream is one vector a token. The embedding starts it; each layer's attention and MLP add to it; the final norm
reads its last state, and the unembedding turns that into logits. So the last state is a sum of *parts*, and, once the
norm's scale is held at the value that it has, every logit is a sum over parts too.

`parts` and `readout` take what they need out of a TransformerLens cache and bridge, in raw or compatibility numerics;
all else is from tensors to tensors. Axes: `(..., d_model)`, for a cache `(batch, position, d_model)`.
"""

from typing import NamedTuple

import torch

from .errors import ArgumentError, ModelError, broadcast, check_devices, check_tensors, check_types, checked_ids

TOLERANCE = 1e-3  # of a vector's length: float32 sums of many layers stay far below, a forgotten part far above


class Parts(NamedTuple):
    """names: one a part; vectors: `(part, ..., d_model)`, which sum to the last stream."""

    names: list
    vectors: torch.Tensor


class Readout(NamedTuple):
    """How the last stream x becomes logits: `((x - mean) / scale * weight + bias) @ W_U + b_U`.

    scale is the standard deviation of x (epsilon added to its square) and the mean is subtracted, as in a LayerNorm,
    when centred is true; otherwise scale is the root mean square and nothing is subtracted, as in an RMSNorm.
    weight, bias: `(d_model,)`; W_U: `(d_model, vocabulary)`; b_U: `(vocabulary,)`.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float
    centred: bool
    W_U: torch.Tensor
    b_U: torch.Tensor  # noqa: N815 - the field's names


class Lens(NamedTuple):
    """What a stream would predict: three tensors, each `(...)`.

    rank: how many tokens are more probable than the one asked for, 0 for the most probable; probability: its
    probability; divergence: KL(final || here) in nats, of the last stream's prediction from this one's.
    """

    rank: torch.Tensor
    probability: torch.Tensor
    divergence: torch.Tensor


@torch.no_grad()
def readout(bridge):
    """The Readout of a bridge: tensors of its final norm and its unembedding, not copied.

    Raises ModelError when the model has no final norm, or does something else on the way to its logits (a soft cap or
    a scaling, as Gemma and Granite do), which is found by comparing the logits of one token.
    """
    if not hasattr(bridge, "run_with_cache"):
        raise ModelError(f"readout: bridge must be one of load_bridge; got a {type(bridge).__name__}.")
    norm = getattr(bridge, "ln_final", None)
    if norm is None or getattr(norm, "weight", None) is None:
        raise ModelError(f"readout: {type(bridge.original_model).__name__} has no final norm with a weight.")
    weight = norm.weight.detach()
    found = Readout(
        weight,
        torch.zeros_like(weight) if getattr(norm, "bias", None) is None else norm.bias.detach(),
        float(bridge.cfg.eps),
        bridge.cfg.normalization_type in ("LN", "LNPre"),
        bridge.W_U.detach(),
        bridge.b_U.detach(),
    )
    logits, cache = bridge.run_with_cache(torch.zeros(1, 1, dtype=torch.long, device=weight.device))
    check_tensors("readout", **{"what the bridge makes of a token": logits})
    off = (to_logits(cache["resid_post", bridge.cfg.n_layers - 1], found) - logits).abs().max()
    if off > TOLERANCE * logits.abs().max():
        raise ModelError(
            f"readout: the logits of {type(bridge.original_model).__name__} are not norm and unembedding of its last "
            "stream: it scales or caps them, or its norm is of another kind. Attribution would not add up."
        )
    return found


def parts(cache, *, heads=False):
    """The parts of the last stream in a cache: embedding, positions, and each layer's attention and MLP.

    cache: as `bridge.run_with_cache` gives it. heads: split each attention into its heads, named like "2.5", with the
        biases of all attention layers as one part, "attention biases".
    Names: "embedding", "position" (for models with learned ones), "attention 0", "mlp 0", "attention 1", ...

    Returns Parts, vectors `(part, batch, position, d_model)`. Without heads they come in the order in which they are
    written. Raises ArgumentError when the cache was filtered, and ModelError when the parts do not sum to the last
    stream, as in models that normalise what a head writes.
    """
    if not hasattr(cache, "decompose_resid"):
        raise ArgumentError(f"parts: cache must be one of bridge.run_with_cache; got a {type(cache).__name__}.")
    try:
        if heads:
            vectors, labels = cache.get_full_resid_decomposition(expand_neurons=False, return_labels=True)
        else:
            vectors, labels = cache.decompose_resid(return_labels=True)
        stream = cache["resid_post", cache.model.cfg.n_layers - 1]
    except KeyError as problem:
        raise ArgumentError(f"parts: the cache has no {problem}. Run run_with_cache without names_filter.") from problem
    check_tensors("parts", cache=stream)
    check_tensors("parts", cache=vectors)
    if not _add_up(vectors, stream):
        raise ModelError(
            f"parts: in this cache, what {type(cache.model.original_model).__name__} writes does not add up to its "
            "last stream; something stands between its parts and the stream, such as a norm after attention."
        )
    return Parts([_name(label) for label in labels], vectors)


def _name(label):
    """TransformerLens's label in words: "L2H5" to "2.5", "3_mlp_out" to "mlp 3"."""
    words = {"embed": "embedding", "pos_embed": "position", "bias": "attention biases"}
    if label in words:
        return words[label]
    if label.startswith("L"):
        return label[1:].replace("H", ".")
    layer, part, _ = label.split("_")
    return f"{part.replace('attn', 'attention')} {layer}"


def before(vectors):
    """The stream that each part was added to: the sum of the parts before it. `(part, ..., d_model)`, the same.

    >>> before(torch.tensor([[1.0, 0], [2, 0], [0, 5]]))
    tensor([[0., 0.],
            [1., 0.],
            [3., 0.]])
    """
    check_tensors("before", axes="(part, ..., d_model)", vectors=vectors)
    return vectors.cumsum(0) - vectors


def norms(vectors):
    """Lengths of vectors, the root of the sum of squares: `(..., d_model)` to `(...)`.

    >>> norms(torch.tensor([[3.0, 4], [0, 2]]))
    tensor([5., 2.])
    """
    check_tensors("norms", axes="(..., d_model)", vectors=vectors)
    return vectors.norm(dim=-1)


def cosines(vectors, others):
    """Cosines between vectors, `(..., d_model)` against `(..., d_model)`, broadcast: 1 same direction, -1 opposite.

    The cosine of a vector of zeros is 0. `cosine_matrix` gives all pairs of some vectors.

    >>> cosines(torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([0.0, 2]))
    tensor([0.0000, 0.7071])
    """
    check_tensors("cosines", axes="(..., d_model)", vectors=vectors, others=others)
    if not broadcast(vectors.shape, others.shape) or vectors.shape[-1] != others.shape[-1]:
        raise ArgumentError(
            f"cosines: vectors is {tuple(vectors.shape)} and others {tuple(others.shape)}; both must end in d_model, "
            "and the axes before must fit."
        )
    return torch.cosine_similarity(vectors, others, dim=-1)


def cosine_matrix(vectors):
    """Cosines between all pairs of vectors, `(vector, d_model)` to `(vector, vector)`; memory holds no more than that.

    >>> cosine_matrix(torch.tensor([[1.0, 0], [0, 2], [-3, 0]]))
    tensor([[ 1.,  0., -1.],
            [ 0.,  1.,  0.],
            [-1.,  0.,  1.]])
    """
    check_tensors("cosine_matrix", axes="(vector, d_model)", vectors=vectors)
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    return unit @ unit.mT


def to_logits(stream, readout):
    """Logits `(..., vocabulary)` of a stream `(..., d_model)`: final norm, then unembedding.

    Of a stream from the middle of the model this is the *logit lens* (nostalgebraist 2020, "interpreting GPT: the
    logit lens"): what the model would say if it stopped there.
    """
    check_tensors("to_logits", axes="(..., d_model)", stream=stream)
    _check_readout("to_logits", readout, stream=stream)
    return _logits("to_logits", stream, readout)


def _logits(operation, stream, readout):
    return _finite(operation, (_direct(stream, stream, readout) + readout.bias) @ readout.W_U + readout.b_U)


def logit_lens(streams, readout, tokens):
    """Rank and probability of tokens in every stream's prediction, and its distance from the last stream's.

    streams: `(layer, ..., d_model)`, such as `cache.accumulated_resid()`; tokens: an id, or ids `(...)`.
    Returns Lens, each `(layer, ...)`. Memory holds the logits of one layer at a time, and the last one's.
    Raises ArgumentError for NaN, and for a token that the vocabulary does not have.
    """
    check_tensors("logit_lens", axes="(layer, ..., d_model)", streams=streams)
    _check_readout("logit_lens", readout, streams=streams)
    tokens = _tokens("logit_lens", streams.shape[1:-1], readout, tokens=tokens)[..., None]
    final = _logits("logit_lens", streams[-1], readout).log_softmax(-1)
    found = []
    for stream in streams:
        logs = _logits("logit_lens", stream, readout).log_softmax(-1)
        log = logs.gather(-1, tokens)
        divergence = (final.exp() * (final - logs)).sum(-1)
        found.append(((logs > log).sum(-1), log[..., 0].exp(), divergence))
    return Lens(*(torch.stack(each) for each in zip(*found)))


def attribution(vectors, stream, readout, token, other=None):
    """Direct logit attribution: what each part adds to the logit of `token`, or to its lead over `other`.

    vectors: `(part, ..., d_model)`, which must sum to stream, `(..., d_model)`; token, other: ids, or tensors `(...)`.
    Returns `(part + 1, ...)`: a number a part, and last what the readout adds whatever the stream holds, the norm's
    bias and b_U. They sum to the logit, or to the difference of the two logits.

    Exact, because a norm is linear once its scale is known (Elhage et al. 2021, "A Mathematical Framework for
    Transformer Circuits"); that scale is the stream's, so it is no prediction of what removing a part would do.
    Raises ArgumentError when the parts do not sum to the stream, and as `logit_lens` does.

    >>> plain = Readout(torch.ones(2), torch.zeros(2), 0.0, False, torch.eye(2), torch.zeros(2))
    >>> attribution(torch.tensor([[3.0, 0], [0, 3]]), torch.tensor([3.0, 3]), plain, 0)
    tensor([1., 0., 0.])
    """
    check_tensors("attribution", axes="(..., d_model)", vectors=vectors, stream=stream)
    _check_readout("attribution", readout, stream=stream)
    if vectors.shape[1:] != stream.shape or not _add_up(vectors, stream):
        raise ArgumentError(
            f"attribution: the vectors {tuple(vectors.shape)} do not sum to the stream {tuple(stream.shape)}. Give all "
            "parts, biases included, and the stream that they make."
        )
    token = _tokens("attribution", stream.shape[:-1], readout, token=token)
    direction, constant = readout.W_U.T[token], readout.b_U[token]
    if other is not None:
        other = _tokens("attribution", stream.shape[:-1], readout, other=other)
        direction, constant = direction - readout.W_U.T[other], constant - readout.b_U[other]
    by_part = (_direct(vectors, stream, readout) * direction).sum(-1)
    return _finite("attribution", torch.cat([by_part, ((readout.bias * direction).sum(-1) + constant)[None]]))


def _direct(vectors, stream, readout):
    """Vectors through the final norm without its bias, at the scale that the norm has for the stream."""
    if readout.centred:
        vectors = vectors - vectors.mean(-1, keepdim=True)
        stream = stream - stream.mean(-1, keepdim=True)
    scale = (stream.square().mean(-1, keepdim=True) + readout.epsilon).sqrt()
    return vectors / scale * readout.weight


def _add_up(vectors, stream):
    """Whether parts sum to a stream, vector by vector: a long one elsewhere must not hide what a short one lacks."""
    size = torch.maximum(stream.norm(dim=-1), vectors.norm(dim=-1).amax(0))  # long parts may cancel
    return ((vectors.sum(0) - stream).norm(dim=-1) <= TOLERANCE * size).all()


def _tokens(operation, shape, readout, **tokens):
    ((name, ids),) = tokens.items()
    return checked_ids(operation, ids, len(readout.b_U), shape, name).to(readout.W_U.device)


def _check_readout(operation, readout, **stream):
    if not isinstance(readout, Readout):
        raise ArgumentError(
            f"{operation}: readout must be a Readout, as residual.readout(bridge) gives it; got a "
            f"{type(readout).__name__}."
        )
    ((name, vectors),) = stream.items()
    together = {**stream, "readout.weight": readout.weight, "readout.W_U": readout.W_U}
    check_devices(operation, **together)
    check_types(operation, **together)
    if vectors.shape[-1] != len(readout.weight):
        raise ArgumentError(
            f"{operation}: {name} must be (..., {len(readout.weight)}) for this readout; got {tuple(vectors.shape)}."
        )


def _finite(operation, logits):
    """Logits, when they are finite. Looking at them is less work than at every weight of the readout."""
    if not logits.isfinite().all():
        raise ArgumentError(
            f"{operation}: NaN or infinity comes out. The readout holds some, or a stream without length met a norm "
            "without epsilon."
        )
    return logits
