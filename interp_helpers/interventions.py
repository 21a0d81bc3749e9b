"""Ablate heads and patch activations, and measure what that does to a metric.

`patch_heads`, `patch_stream`, `add_to_stream` and `permute_queries` give hooks for a bridge of `load_bridge`, lists of
(name, function) that can be added:

>>> with bridge.hooks(fwd_hooks=patch_heads(bridge, [(2, 5)]) + patch_stream(bridge, 4, vectors)):      # doctest: +SKIP
...     text_loss(bridge, batch)

A metric is a function of the bridge alone that returns a number or a tensor, `lambda bridge: text_loss(bridge, batch)`.
"""

from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial, wraps
from itertools import count, product
from unittest import mock

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from .attention import in_full, survey
from .errors import ArgumentError, ModelError, check_finite, checked
from .hooks import is_bridge
from .identities import require
from .models import prepare
from .progress import progress
from .visits import read


def token_losses(model, texts):
    """Loss of predicting each next token, in nats: `(text, position - 1)`, on the CPU.

    Entry i is the loss of token i + 1, which the model predicts at token i. Where that token is padding it is NaN.
    model: of transformers, or a bridge. texts: a Batch, or tokens.
    """
    batch, losses = prepare(model, texts), []
    for logits, tokens in zip(_logits(model, batch), batch.tokens.cpu()):  # text by text: the vocabulary is long
        losses.append(cross_entropy(logits[:-1].float(), tokens[1:].to(logits.device), reduction="none").cpu())
    return torch.stack(losses).where(batch.mask[:, 1:].cpu(), torch.nan)


def text_loss(model, texts):
    """Mean loss of predicting each next token, in nats, of every text: `(text,)`.

    model: of transformers, or a bridge. texts: a Batch, or tokens; NaN for a text of one token, which has no next one.
    """
    batch = prepare(model, texts)
    counted = batch.mask[:, 1:].cpu()
    return token_losses(model, batch).where(counted, 0).sum(1) / counted.sum(1)


def copy_losses(model, tokens):
    """Loss on the first copy of repeated tokens and on the second, in nats a token: two of `(sequence,)`.

    The first token of each copy is left out, because nothing announces it.

    tokens: `(sequence, 2 * length)`, as `repeated_random_tokens` gives them without a start token, else ArgumentError.
    """
    batch = prepare(model, tokens)
    first, second = batch.tokens.tensor_split(2, dim=1)
    if second.shape[1] < 2 or not torch.equal(first, second) or not batch.mask.all():
        raise ArgumentError("copy_losses: every sequence must be two tokens or more, and the same tokens again.")
    losses = token_losses(model, batch)
    return losses[:, : second.shape[1] - 1].mean(1), losses[:, second.shape[1] :].mean(1)


def second_copy_drop(model, tokens):
    """Drop in loss from the first copy of repeated tokens to the second, in nats a token: `(sequence,)`.

    The in-context learning score of Olsson et al. (2022, arXiv:2209.11895), loss late in a text less loss early in it,
    applied to copies and with the sign turned: positive for a model that makes use of the repetition. After an
    intervention, look at both `copy_losses`: a model that has become worse at the first copy has a larger drop without
    being any better at the second. tokens: as `copy_losses` takes them.
    """
    first, second = copy_losses(model, tokens)
    return first - second


@checked
def log_odds(logits: Float[Tensor, "*shape vocabulary"], tokens: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Log-odds of a token, log p / (1 - p): its logit less the logsumexp of all other logits.

    Where p is nearly 1, p and the loss hardly change when the token's logit falls. The log-odds fall with it.

    >>> log_odds(torch.tensor([[0.0, 0, 0], [50, 0, 0]]), torch.tensor([1, 0]))
    tensor([-0.6931, 49.3069])
    """
    logits = in_full(logits)
    others = logits.scatter(-1, tokens[..., None], -torch.inf)
    return logits.gather(-1, tokens[..., None])[..., 0] - others.logsumexp(-1)


@checked
def logit_difference(
    model, texts, right: int | Int[Tensor, " text"], wrong: int | Int[Tensor, " text"]
) -> Float[Tensor, " text"]:
    """Logit of `right` minus logit of `wrong` after the last token of every text, not after padding: `(text,)`.

    texts: a Batch, or tokens. right, wrong: an id, or one for every text. Raises ArgumentError for foreign ids and
    for another number of them.
    """
    batch = prepare(model, texts)
    last = _logits(model, batch)[range(len(batch)), batch.lengths - 1].cpu().float()
    right, wrong = (torch.as_tensor(ids).cpu() for ids in (right, wrong))
    for ids in (right, wrong):
        if ids.numel() not in (1, len(batch)) or not ((ids >= 0) & (ids < last.shape[1])).all():
            wanted = f"ids of the model, from 0 to {last.shape[1] - 1}"
            raise ArgumentError(f"right and wrong must be {wanted}: one, or one for each of the {len(batch)} texts.")
    right, wrong = right.expand(len(batch)), wrong.expand(len(batch))
    return (last.gather(1, right[:, None]) - last.gather(1, wrong[:, None]))[:, 0]


def head_z(bridge, texts):
    """z of every head, values weighted by attention, before W_O: `(layer, head, batch, position, d_head)`."""
    layers, _ = _needs(bridge, "values", "heads")
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(layers)]
    return _record(bridge, texts, names).permute(0, 3, 1, 2, 4)


def mean_z(bridge, batches):
    """Mean z of every head over all tokens of a reference set, for mean ablation: `(layer, head, d_head)`.

    Added up in float64, on the CPU because Apple's GPUs have none. The mean is float32 even where the model is not.
    """
    total, count = 0, 0
    for batch in (prepare(bridge, texts) for texts in batches):
        z = head_z(bridge, batch)[:, :, batch.mask]
        total, count = total + z.cpu().sum(2, dtype=torch.float64), count + z.shape[2]
    return (total / count).to(in_full(z[:0]))


def residual_streams(bridge, texts):
    """The residual stream before every layer, and after the last: `(layer + 1, batch, position, d_model)`."""
    layers, _ = _needs(bridge, "depths")
    return _record(bridge, texts, [_stream(bridge, layer) for layer in range(layers + 1)])


Vectors = Float[Tensor, " d_model"] | Float[Tensor, "batch position d_model"]
Z = int | float | Float[Tensor, "layer head d_head"] | Float[Tensor, "layer head batch position d_head"]


@checked
def patch_heads(bridge, heads, z: Z = 0.0):
    """Hooks that replace the z of heads. Weights stay as they are, and W_O and its bias still work on the new z.

    heads: a list of (layer, head). z: 0 for zero ablation, `mean_z` for mean ablation, `head_z` of another run for
    activation patching. Raises ModelError for a model that is no bridge or is built otherwise (`identities`),
    ArgumentError for a head that does not exist, for NaN, and, when the bridge runs, for texts of another number or
    length than those of z.
    """
    shape, hooks = _needs(bridge, "heads"), []
    z = z if isinstance(z, Tensor) else torch.full((*shape, 1), z, dtype=torch.float32)
    if z.shape[:2] != shape:
        raise ArgumentError(f"z must be (layer, head, ...) of {shape} layers and heads; got {tuple(z.shape)}.")
    for place in heads:
        layer, head = _existing(place, shape)
        new = z[layer, head][..., None, :]  # what passes hook_z is (batch, position, head, d_head)
        hooks.append((f"blocks.{layer}.attn.hook_z", _put(new, (..., head, slice(None)))))
    return hooks


@checked
def patch_stream(bridge, layer, vectors: Vectors, positions=None):
    """Hooks that replace the residual stream before a layer, or after the last: layer is then the number of layers.

    vectors: as `residual_streams` gives them for one layer, or one for all. positions: where it is replaced, a number
    or a list, from the end when negative; None for everywhere. Raises errors as `patch_heads` does, and for a layer or
    a position that does not exist.
    """
    layers, _ = _needs(bridge, "depths")
    if layer not in range(layers + 1) or vectors.shape[-1] != bridge.cfg.d_model:
        raise ArgumentError(f"Layers go from 0 to {layers}, after the last; vectors have {bridge.cfg.d_model} numbers.")
    return [(_stream(bridge, layer), _put(vectors, (slice(None), slice(None) if positions is None else positions)))]


@checked
def add_to_stream(bridge, layer, vector: Vectors):
    """Hooks that add a vector to the residual stream before a layer, or after the last, at every position: steering.

    vector: `(d_model,)`, or one for every text and position. One for all works while a bridge generates, too (Turner et
    al. 2023, arXiv:2308.10248; Rimsky et al. 2024, arXiv:2312.06681). Raises errors as `patch_stream` does.
    """
    [(name, put)] = patch_stream(bridge, layer, vector)
    return [(name, lambda stream, hook: stream + put(stream, hook))]


@checked
def streams_without(bridge, texts, heads, z: Z = 0.0):
    """The residual streams if heads wrote something else and nothing after them reacted: their *direct* effect.

    `(layer + 1, batch, position, d_model)`. From each head's layer on, what it writes with its own z is replaced by
    what it would write with another; all other parts write what they do now. For the *total* effect, in which the parts
    after the heads react, take `residual_streams` with the hooks of `patch_heads`. Path patching (Wang et al. 2022,
    arXiv:2211.00593; Goldowsky-Dill et al. 2023, arXiv:2304.05969) gives such streams to one channel of a later head,
    with `read_channels` and `patch_channel`. heads, z: as `patch_heads` takes them, and the same errors.
    """
    _needs(bridge, "stream")
    streams = residual_streams(bridge, texts)
    written = [f"blocks.{layer}.hook_attn_out" for layer in range(len(streams) - 1)]
    own, kept = _record(bridge, texts, written), _put_streams(bridge, streams)
    with bridge.hooks(fwd_hooks=kept + patch_heads(bridge, heads, z)):  # each layer reads what it did before
        streams[1:] += (_record(bridge, texts, written) - own).cumsum(0)
    return streams


@checked
def read_channels(bridge, streams: Float[Tensor, "depth batch position d_model"]):
    """What every layer makes of given residual streams: {"q": queries, "k": keys, "v": values}.

    Each is `(layer, batch, position, head, d_head)`, before rotary embeddings and before norms of queries and keys.
    Keys and values that several heads share stand there once, so their head axis may be shorter. streams: as
    `residual_streams` gives them, else ArgumentError. Positions mean nothing here, so a text may be a single position.
    """
    layers, _ = _needs(bridge, "values", "depths")
    if len(streams) != layers + 1:
        raise ArgumentError(f"streams must be as residual_streams gives them, {layers + 1} deep; got {len(streams)}.")
    names = {channel: [f"blocks.{layer}.attn.hook_{channel}" for layer in range(layers)] for channel in "qkv"}
    with bridge.hooks(fwd_hooks=_put_streams(bridge, streams)):
        tokens = torch.zeros(streams.shape[1:3], dtype=torch.long)  # any: the streams are replaced
        seen = _seen(bridge, tokens, [name for of_channel in names.values() for name in of_channel])
    return {channel: torch.stack([seen[name] for name in of_channel]) for channel, of_channel in names.items()}


@checked
def patch_channel(bridge, heads, channel: str, values: Float[Tensor, "layer batch position group d_head"]):
    """Hooks that replace the queries ("q"), keys ("k") or values ("v") of heads, and nothing else that they read.

    heads: a list of (layer, head). values: those of this channel, as `read_channels` gives them. Where several heads
    share keys and values, all of a group get the new ones. In OLMo 2 other heads change a little too, because its norm
    of queries or keys spans all heads. It does not work on latent attention (DeepSeek), whose channels have other axes.
    Raises ArgumentError for another channel, and errors as `patch_heads` does.
    """
    shape, hooks = _needs(bridge, "values" if channel == "v" else "rows"), []
    if channel not in ("q", "k", "v"):
        raise ArgumentError(f'There is no channel {channel!r}. A head reads through "q", "k" and "v".')
    if len(values) != shape[0]:
        raise ArgumentError(f"values must be as read_channels gives them, of {shape[0]} layers; got {len(values)}.")
    for place in heads:
        layer, head = _existing(place, shape)
        group = head * values.shape[3] // shape[1]
        hooks.append((f"blocks.{layer}.attn.hook_{channel}", _put(values[layer], (..., group, slice(None)))))
    return hooks


def z_gradient(bridge, metric):
    """The gradient of a metric with respect to the z of every head: `(layer, head, batch, position, d_head)`.

    One pass forwards and one backwards, for all heads together. metric: a function of the bridge that runs it once and
    returns a number with its gradient, so not one of this module's, which compute without: take `bridge(tokens)`.
    Raises ArgumentError for another metric.
    """
    layers, _ = _needs(bridge, "heads")
    kept = []

    def keep(z, hook):
        kept.append(z if z.requires_grad else z.detach().requires_grad_())
        return kept[-1]

    with torch.enable_grad(), bridge.hooks(fwd_hooks=[(f"blocks.{n}.attn.hook_z", keep) for n in range(layers)]):
        value = metric(bridge)
    if len(kept) != layers or not (isinstance(value, Tensor) and value.requires_grad and value.numel() == 1):
        problem = "z_gradient: the metric must run the bridge once, and return one number with its gradient."
        raise ArgumentError(f"{problem} Compute it from the logits of bridge(tokens), without .item() or .detach().")
    gradients = torch.autograd.grad(value, kept, materialize_grads=True)  # 0 for layers that the metric does not use
    return torch.stack(gradients).permute(0, 3, 1, 2, 4)


def permute_queries(bridge, factor=1.0, seed=0):
    """Hooks that permute the dimensions of every head's queries, and multiply the queries by a factor.

    A control for what heads look at. Each head has one permutation, drawn from the seed, for all positions. Its queries
    keep their norms, but no longer fit its keys; its matrix W_Q keeps its singular values. A factor above 1 makes
    attention sharper, because it multiplies all scores: `matching_factor` finds the one for a given entropy. What
    passes is hook_q, which stands before rotary embeddings, and before a norm of queries where a model has one. Raises
    ModelError for a model that is no bridge.
    """
    _needs(bridge, "rows")
    orders = _orders(bridge, seed)
    heads = torch.arange(orders.shape[1])[:, None]

    def permute(order, queries, hook):  # (batch, position, head, d_head)
        return queries[:, :, heads, order] * factor

    return [(f"blocks.{layer}.attn.hook_q", partial(permute, order)) for layer, order in enumerate(orders)]


def _orders(bridge, seed):
    """A random order of the dimensions of each head, `(layer, head, d_head)`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*_shape(bridge), bridge.cfg.d_head, generator=generator).argsort(-1)


def matching_factor(bridge, batches, share, seed=0):
    """The factor for which `permute_queries` gives attention of a certain entropy, by bisection.

    batches: a list, as `survey` takes them. share: the mean entropy share of all heads, which is met within 0.005.
    Raises ArgumentError when no factor from 1/16 to 256 gives it. Every step surveys all batches, at most twelve times.
    """
    low, high = -4.0, 8.0  # exponents of 2
    for _ in range(12):
        factor = 2 ** ((low + high) / 2)
        with bridge.hooks(fwd_hooks=permute_queries(bridge, factor, seed)):
            found = survey(bridge, batches, targets={})["entropy_share"].mean().item()
        if abs(found - share) <= 0.005:
            return factor
        low, high = ((low + high) / 2, high) if found > share else (low, (low + high) / 2)
    tried = f"the last one that was tried, {factor:.3g}, gives {found:.3f}"
    raise ArgumentError(f"No factor from 1/16 to 256 gives an entropy share of {share}: {tried}. Take another share.")


def sweep_heads(bridge, metric, z=0.0, heads=None):
    """The metric with `patch_heads` of one head after another, by default all: `(layer, head, ...)`, others are NaN.

    Blocks below the head do the same for every head, so they run once and what they give is kept. The values are the
    same to the bit. That takes memory: for every forward pass in the metric about four times `(layer, batch, position,
    d_model)` numbers. The metric may read other texts in every call; it must leave the weights as they were.
    """
    shape = _shape(bridge)
    heads = list(product(*map(range, shape)) if heads is None else heads)
    values = _sweep(bridge, metric, patch_heads(bridge, heads, z), "head")
    swept = values.new_full((*shape, *values.shape[1:]), torch.nan)
    swept[tuple(zip(*heads))] = values
    return swept


@checked
def sweep_stream(bridge, metric, streams: Float[Tensor, "layer batch position d_model"]):
    """The metric with `residual_streams` of another run at one layer and position a time: `(layer, position, ...)`.

    Blocks below the layer do not run again, as in `sweep_heads`.
    """
    places = product(range(len(streams)), range(streams.shape[2]))
    hooks = [hook for layer, position in places for hook in patch_stream(bridge, layer, streams[layer], position)]
    return _sweep(bridge, metric, hooks, "position").unflatten(0, (len(streams), -1))


@torch.no_grad()
def _sweep(bridge, metric, hooks, what):
    """The metric with one hook after another, on the CPU."""
    values, kept = [], {}
    for hook in progress(hooks, what):
        layer = int(hook[0].split(".")[1])  # of blocks.2.attn.hook_z
        with bridge.hooks(fwd_hooks=[hook]), _reused(bridge.blocks[:layer], kept):
            values.append(torch.as_tensor(metric(bridge)).float().cpu())
    return torch.stack(values)


@contextmanager
def _reused(blocks, kept):
    """Let the blocks of a bridge give what they gave before, without running, while the context lasts.

    A block does so when the same enters it as before, at the same forward pass of the context, and nothing inside it
    is hooked, because hooks must fire. kept: a dict for what enters and leaves, empty at first, for several contexts.
    """
    with ExitStack() as stack:
        for layer, block in enumerate(blocks):
            # The forward of transformers' block: the bridge's own around it always runs, with its hooks on the stream.
            stack.enter_context(mock.patch.object(block.original_component, "forward", _reusing(block, layer, kept)))
        yield


def _reusing(block, layer, kept):
    original, passes, own = block.original_component, count(), slice(layer, layer + 1)
    inside = set(block.modules()) - {block, block.hook_in, block.hook_out, original}
    run = original.forward

    @wraps(run)  # the bridge looks at the names of its arguments
    def forward(*args, **options):
        place = layer, next(passes)
        if block.training or torch.is_grad_enabled() or any(map(_has_hooks, inside)):
            return run(*args, **options)
        given = {**dict(enumerate(args)), **options}
        caches = [given.pop(name).layers for name in [*given] if hasattr(given[name], "layers")]
        given["cached"] = [vars(part) for cache in caches for part in cache[own]]
        if place not in kept or not _same(given, kept[place][0]):
            given = deepcopy(given)  # other hooks may write into what passes
            output = run(*args, **options)
            kept[place] = given, deepcopy((output, [cache[own] for cache in caches]))
            return output
        output, parts = deepcopy(kept[place][1])
        for cache, part in zip(caches, parts):
            cache[own] = part  # keys and values, which the next passes of a generation read
        return output

    return forward


def _has_hooks(module):
    """Whether a module has hooks, other than those with which TransformerLens and transformers do their own work."""
    own = ("transformer_lens.model_bridge.", "transformers.")
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return not all(str(hook.__module__).startswith(own) for hook in hooks)


def _same(one, other):
    """Whether two arguments of a block, or collections of them, are equal to the bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        one, other = [*one.items()], [*other.items()]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def _shape(bridge):
    """How many layers, and heads in each."""
    if not is_bridge(bridge):
        raise ModelError(f"Hooks need a bridge, as load_bridge gives it; got a {type(bridge).__name__}.")
    return bridge.cfg.n_layers, bridge.cfg.n_heads


def _needs(bridge, *names):
    """The same, of a bridge in which some of `identities.IDENTITIES` hold."""
    shape = _shape(bridge)
    require(bridge, *names)
    return shape


def _existing(place, shape):
    """A head, if there is one at this place: the number 0.10 is 0.1, which could mean two heads."""
    if place not in product(*map(range, shape)):
        raise ArgumentError(f"There is no head {place!r}. A head is (layer, head), of {shape} layers and heads.")
    return place


def _put_streams(bridge, streams):
    """Hooks that give every layer its own of the streams to read, whatever the layers below have written."""
    return [hook for layer in range(bridge.cfg.n_layers) for hook in patch_stream(bridge, layer, streams[layer])]


def _stream(bridge, layer):
    last = bridge.cfg.n_layers - 1
    return f"blocks.{layer}.hook_resid_pre" if layer <= last else f"blocks.{last}.hook_resid_post"


def _put(new, where):
    """A hook that puts a tensor, or what it broadcasts to, in the place of what passes, at an index of it alone."""
    check_finite(replacement=new)

    def put(old, hook):
        changed = old.clone()
        try:
            changed[where] = new.to(old).expand(old.shape)[where]
        except (RuntimeError, IndexError) as problem:
            what = f"{tuple(new.shape)} does not fit into {hook.name}, {tuple(old.shape)}, or a position is not there"
            raise ArgumentError(f"{what}. Texts of both runs must agree in number and length.") from problem
        return changed

    return put


def _record(bridge, texts, names):
    """What passes the named hooks while the bridge reads, stacked."""
    seen = _seen(bridge, texts, names)
    return torch.stack([seen[name] for name in names])


@torch.no_grad()
def _seen(bridge, texts, names):
    """What passes the named hooks while the bridge reads, by name, on the device of the tokens."""
    batch, seen = prepare(bridge, texts), {}

    def see(name, value, hook):  # hook.name may be another name of the same place
        seen[name] = value.to(batch.tokens.device)

    with bridge.hooks(fwd_hooks=[(name, partial(see, name)) for name in names]):
        read(bridge, batch)
    return seen


@torch.no_grad()
def _logits(model, batch):
    output = model(batch.tokens, attention_mask=batch.mask.long())
    return getattr(output, "logits", output)
