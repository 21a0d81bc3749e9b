"""The residual stream: what each part of a model adds to it, and how its last state becomes logits.

The last residual stream is a sum of *parts*: the embedding, and what every layer's attention and MLP add. Once the
scale of the final norm is held at the value that it has, every logit is a sum over parts too. Weights may be raw or
processed. TransformerLens itself gives the stream at every depth, `cache.accumulated_resid()`, and the logit lens.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import ArgumentError, checked
from .identities import require
from .models import prepare

_TOLERANCE = 1e-3  # of a vector's length: float32 sums of many layers stay far below, a forgotten part far above


class Unembedding(NamedTuple):
    """How the last residual stream x becomes logits: `((x - mean) / scale * weight + bias) @ W_U + b_U`.

    scale is the standard deviation of x when the final norm is a LayerNorm (`centred`). When it is an RMSNorm, scale is
    the root mean square, and the mean is not subtracted. epsilon is added to the square of scale.
    """

    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    epsilon: float
    centred: bool
    W_U: Float[Tensor, "d_model vocabulary"]
    b_U: Float[Tensor, " vocabulary"]  # noqa: N815 - the field's names

    @classmethod
    def of(cls, bridge):
        """The final norm and the unembedding of a bridge: its own tensors, not copies. Raises ModelError when they do
        not make its logits: Gemma 2 caps them, Granite scales them (`identities`)."""
        require(bridge, "logits")
        return cls.unchecked(bridge)

    @classmethod
    def unchecked(cls, bridge):
        """The same, whether or not it makes the bridge's logits."""
        weight, bias = bridge.ln_final.weight.detach(), getattr(bridge.ln_final, "bias", None)
        bias = torch.zeros_like(weight) if bias is None else bias.detach()
        centred = bridge.cfg.normalization_type.startswith("LN")
        return cls(weight, bias, float(bridge.cfg.eps), centred, bridge.W_U.detach(), bridge.b_U.detach())


def parts(cache, *, heads=False):
    """The parts of the last residual stream: (names, vectors), vectors `(part, batch, position, d_model)`.

    cache: as `bridge.run_with_cache` gives it, with all activations.
    heads: split attention into heads, which come first, with all attention biases as one part, "attention biases".

    Names: "embedding", "position" (where it is learned), "attention 0", "mlp 0", ..., in the order in which the model
    adds them; a head's is like "L2H5". Raises ModelError when what layers or heads write does not add up in this model
    (`identities`), and ArgumentError when the parts do not sum to the stream, as in a run with patches.
    """
    require(cache.model, "stream", *["heads", "adds"] * heads)
    if heads:
        vectors, labels = cache.get_full_resid_decomposition(expand_neurons=False, return_labels=True)
    else:
        vectors, labels = cache.decompose_resid(return_labels=True)
    return [_part_name(label) for label in labels], _complete(vectors, cache["resid_post", -1])


@torch.no_grad()
def final_parts(bridge, batches, *, heads=False):
    """`parts` at the last token of every text, where a text's continuation is predicted: (names, vectors), vectors
    `(part, text, d_model)`.

    batches: an iterable of Batches or tokens; the cache of one of them is in memory at a time. Raises errors as `parts`
    and `prepare` do.
    """
    of_batches = []
    for batch in (prepare(bridge, texts) for texts in batches):
        _, cache = bridge.run_with_cache(batch.tokens, attention_mask=batch.mask.long())
        names, vectors = parts(cache, heads=heads)
        of_batches.append(vectors[:, range(len(batch)), batch.lengths - 1])
    return names, torch.cat(of_batches, 1)


def _part_name(label):
    """TransformerLens's label in words, "attention 3" for "3_attn_out". A head's, such as "L2H5", stays."""
    if label.endswith("_out"):
        layer, kind, _ = label.split("_")
        return f"{kind.replace('attn', 'attention')} {layer}"
    return {"embed": "embedding", "pos_embed": "position", "bias": "attention biases"}.get(label, label)


@checked
def cosines(one: Float[Tensor, "*#batch d_model"], other: Float[Tensor, "*#batch d_model"]) -> Float[Tensor, "*batch"]:
    """Cosines between vectors: 1 in the same direction, -1 in opposite ones, 0 at a right angle and for zeros alone.
    Short vectors have their true cosine, which torch.cosine_similarity does not give.

    >>> cosines(torch.tensor([[1.0, 0], [1e-9, 1e-9]]), torch.tensor([0.0, 2]))
    tensor([0.0000, 0.7071])
    """
    return (_unit(one) * _unit(other)).sum(-1)


@checked
def cosine_matrix(vectors: Float[Tensor, "vector d_model"]) -> Float[Tensor, "vector vector"]:
    """Cosines between all pairs of vectors, as `cosines` gives them."""
    unit = _unit(vectors)
    return unit @ unit.mT


def _unit(vectors):
    """Vectors of length 1 in the same directions, and zeros for zeros."""
    largest = vectors.abs().amax(-1, keepdim=True)
    vectors = vectors / largest.where(largest > 0, 1)  # first, because squares of very small numbers are 0
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1)  # only a vector of zeros is shorter than 1 here


@checked
def to_logits(stream: Float[Tensor, "*batch d_model"], unembedding: Unembedding) -> Float[Tensor, "*batch vocabulary"]:
    """The logits of a residual stream: the final norm, then the unembedding. At the last depth they are the model's. At
    an earlier one they are the *logit lens* (nostalgebraist 2020, "interpreting GPT: the logit lens"): what the model
    would predict if it stopped there."""
    centred = stream - stream.mean(-1, keepdim=True) if unembedding.centred else stream
    normed = centred / _scale(stream, unembedding) * unembedding.weight + unembedding.bias
    return normed @ unembedding.W_U + unembedding.b_U


@checked
def logit_attribution(
    vectors: Float[Tensor, "part *batch d_model"],
    stream: Float[Tensor, "*batch d_model"],
    unembedding: Unembedding,
    token: int | Int[Tensor, "*#batch"],
    other: int | Int[Tensor, "*#batch"] | None = None,
) -> Float[Tensor, " part+1 *batch"]:
    """Direct logit attribution: what each part adds to the logit of `token`, or to its logit difference to `other`.

    vectors: all parts of the stream. Last comes the constant that the norm's bias and b_U add. All numbers sum to the
    logit or the logit difference, because the final norm is linear once its scale is known (Elhage et al. 2021, "A
    Mathematical Framework for Transformer Circuits"). The scale is held, so removing a part may do something else.
    TransformerLens's `cache.logit_attrs` is right with processed weights, and silently wrong with raw ones: it leaves
    out the norm's weight and bias, which processing folds into the unembedding. This function suits both.

    Raises ArgumentError when the parts do not sum to the stream, and for a token that the vocabulary does not have.

    >>> plain = Unembedding(torch.ones(2), torch.zeros(2), 0.0, False, torch.eye(2), torch.zeros(2))
    >>> logit_attribution(torch.tensor([[3.0, 0], [0, 3]]), torch.tensor([3.0, 3]), plain, 0)
    tensor([1., 0., 0.])
    """
    by_part = (_complete(vectors, stream) * reading_direction(stream, unembedding, token, other)).sum(-1)
    column, bias = _column(unembedding, token, other)
    constant = (unembedding.bias * column).sum(-1) + bias
    return torch.cat([by_part, constant.expand_as(by_part[:1])])


@checked
def reading_direction(
    stream: Float[Tensor, "*batch d_model"],
    unembedding: Unembedding,
    token: int | Int[Tensor, "*#batch"],
    other: int | Int[Tensor, "*#batch"] | None = None,
) -> Float[Tensor, "*batch d_model"]:
    """The vector whose dot product with a part of the stream is what the part adds to the logit of `token`, or to its
    logit difference to `other`: a column of W_U, or a difference of two, taken back through the final norm.

    The norm's scale is the one that it has for the stream. Raises ArgumentError as `logit_attribution` does for tokens.

    >>> plain = Unembedding(torch.ones(2), torch.zeros(2), 0.0, False, torch.eye(2), torch.zeros(2))
    >>> reading_direction(torch.tensor([3.0, 3]), plain, 0, 1)
    tensor([ 0.3333, -0.3333])
    """
    direction = _column(unembedding, token, other)[0] * unembedding.weight
    if unembedding.centred:  # (part - its mean) . direction = part . (direction - its mean)
        direction = direction - direction.mean(-1, keepdim=True)
    return direction / _scale(stream, unembedding)


def _column(unembedding, token, other=None):
    """What W_U and b_U hold for token ids, or for the difference of two."""
    token, size = torch.as_tensor(token, device=unembedding.b_U.device), len(unembedding.b_U)
    if token.min() < 0 or token.max() >= size:  # a negative index would count from the end
        raise ArgumentError(f"Token ids go from 0 to {size - 1} here; got {token.min()} to {token.max()}.")
    column, bias = unembedding.W_U.T[token], unembedding.b_U[token]
    if other is None:
        return column, bias
    other_column, other_bias = _column(unembedding, other)
    return column - other_column, bias - other_bias


def _scale(stream, unembedding):
    """What the final norm divides a stream by, `(..., 1)`."""
    centred = stream - stream.mean(-1, keepdim=True) if unembedding.centred else stream
    return (centred.square().mean(-1, keepdim=True) + unembedding.epsilon).sqrt()


def _complete(vectors, stream):
    """The vectors, if they sum to the stream, position by position: a long one must not hide what a short one lacks."""
    size = torch.maximum(stream.norm(dim=-1), vectors.norm(dim=-1).amax(0))  # long parts may cancel
    tolerance = max(_TOLERANCE, 8 * torch.finfo(stream.dtype).eps)  # half precision rounds the stream at every layer
    if not ((vectors.sum(0) - stream).norm(dim=-1) <= tolerance * size).all():  # NaN is not
        raise ArgumentError("The parts do not sum to the stream: one is missing or NaN, or a hook has changed it.")
    return vectors
