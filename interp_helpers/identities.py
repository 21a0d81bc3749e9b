"""Whether a model is built as the package reads it: identities that are checked on the model itself, once.

Families give their parts other names, and some have gates, norms, factors or attention sinks where others have none.
Names cannot tell, but numbers can. On one short text, several sums must come out as the model itself has them. Where
one does not, `require` refuses in one sentence, and what does not rest on that sum goes on working.
"""

from contextlib import contextmanager
from functools import partial
from itertools import combinations
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch

from .errors import ModelError, explained
from .hooks import attended, hooked, is_bridge, layout, repeated
from .models import context_length

# Each with what is the case where it does not hold.
IDENTITIES = {
    "rows": "the rows of its attention patterns do not sum to 1",
    "values": "its patterns times its values do not give z, which its output matrices read",
    "heads": "what its heads write and the bias do not add up to what its attention writes",
    "adds": "what its heads write is not what is added to the residual stream: a norm or a factor stands behind",
    "stream": "what its attention and MLP write does not add up to the residual stream",
    "depths": "the residual stream that leaves a layer is not the one that the next layer reads",
    "logits": "the final norm and the unembedding of its last residual stream do not give its logits",
}
TEXTS, LENGTH = 3, 8  # a single token could not tell a norm from a factor


class Check(NamedTuple):
    """What one short run of a model has shown."""

    state: tuple  # of the model: another one may show something else
    off: dict  # identity -> how far it is off, as a share of what is compared; infinity where nothing can be
    tolerance: float
    outputs: list  # of a model of transformers: the output matrix of every layer's attention,
    factors: list  # and the number by which the model multiplies what that writes

    def holds(self, name):
        # What is added to the stream is not multiplied again, so that a nearly constant norm is told from a factor.
        exact = name == "stream" and self.tolerance == 1e-3
        return self.off[name] <= (1e-5 if exact else self.tolerance)  # NaN is not


_checks = WeakKeyDictionary()  # model -> Check


def check(model, *names):
    """The Check of a model of transformers or a bridge. It runs once, and again as long as one of the named fails.

    Raises ModelError for a model without weights, or in which not every layer has attention.
    """
    known, inner = _checks.get(model), getattr(model, "original_model", model)
    state = getattr(model, "compatibility_mode", None), inner.config._attn_implementation, inner.dtype
    if known is None or known.state != state or not all(map(known.holds, names)):
        if next(inner.parameters()).is_meta:
            raise ModelError(f"This {type(inner).__name__} has no weights: it is on the device 'meta', for counting.")
        with explained(ModelError, f"A {type(inner).__name__} cannot be run on a short text", "Look at its weights."):
            known = _checks[model] = _run(model, inner, state)
    return known


def holds(model, name):
    """Whether one of IDENTITIES holds in a model of `load_model` or `load_bridge`."""
    return check(model).holds(name)


def require(model, *names):
    """Raise ModelError, in one sentence, when one of the IDENTITIES that a result rests on does not hold in a model."""
    found = check(model, *names)
    for name in names:
        if not found.holds(name):
            inner, off = getattr(model, "original_model", model), found.off[name]
            family, attention = type(inner).__name__, inner.config._attn_implementation
            if off == torch.inf and name in ("rows", "values") and attention != "eager":
                raise ModelError(
                    f"A {family} hands out no attention pattern: load it with load_model (eager attention)."
                )
            size = f"they differ by {off:.2g} of their size" if off < torch.inf else "or nothing shows them, or NaN"
            raise ModelError(f"This needs another model than a {family}: {IDENTITIES[name]} ({size}).")


@torch.no_grad()
def _run(model, inner, state):
    """One short run, undisturbed by the hooks and modes that people have set, and without a trace."""
    embedding, window = inner.get_input_embeddings().weight, getattr(inner.config, "sliding_window", None)
    # A cache keeps one token less than the window.
    length = max(1, min(LENGTH, context_length(model), window - 1 if window else LENGTH))
    tokens = torch.arange(TEXTS * length, device=embedding.device).view(TEXTS, length) * 7919 % len(embedding)
    seen, devices = _Seen(torch.finfo(inner.dtype).eps), {each.device for each in inner.parameters() if each.is_cuda}
    with _undisturbed({*model.modules(), *inner.modules()}), torch.random.fork_rng(devices):
        (_see_bridge if is_bridge(model) else _see_model)(model, tokens, seen)
    off = {name: torch.tensor(each).max().item() if each else torch.inf for name, each in seen.off.items()}
    return Check(state, off, seen.tolerance, seen.outputs, seen.factors)


class _Seen:
    """What a run has shown so far."""

    def __init__(self, eps):
        self.eps = eps  # of the model's numbers
        # Of a length. Sums in half precision have two digits, those of float32 on some GPUs three.
        self.tolerance = max(4 * eps, 1e-3)
        self.off, self.outputs, self.factors = {name: [] for name in IDENTITIES}, [], []

    def compare(self, name, found, wanted, size=None, rounding=0.0):
        """Compare vectors: their distance as a share of their lengths or of `size`, less what rounding explains."""
        if found is None or wanted is None or (found.numel(), found.shape[-1]) != (wanted.numel(), wanted.shape[-1]):
            self.off[name].append(torch.inf)
            return
        found = found.reshape(wanted.shape)  # OPT's matrices read all texts as one
        size = torch.maximum(found.norm(dim=-1), wanted.norm(dim=-1)) if size is None else size
        far = ((found - wanted).norm(dim=-1) - 4 * self.eps * rounding).clamp_min(0)
        self.off[name].append((far / size.clamp_min(1e-30)).max().item())

    def compare_rows(self, pattern):
        sums = None if pattern is None else pattern.sum(-1, keepdim=True)
        self.compare("rows", sums, None if sums is None else torch.ones_like(sums))


def _see_model(model, tokens, seen):
    """Run a model of transformers, and compare what its modules read and write."""
    parts = layout(model)
    layers, inside = range(len(parts.layers)), [{*attention.modules()} for attention in parts.attentions]
    matrices = [(layer, part) for layer in layers for part in inside[layer] if _is_matrix(part)]
    outside = [(n, part) for n in layers for part in {*parts.layers[n].modules()} - inside[n] - {parts.layers[n]}]
    starts, ends, patterns, ran, writes = ([[] for _ in layers] for _ in range(5))
    last = []

    def enter(layer, module, inputs, options):
        starts[layer].append(_kept([*inputs, *options.values()]))

    def leave(layer, module, inputs, options, output):
        ends[layer].append(_kept(output))

    def attend(layer, module, inputs, options, output):
        patterns[layer].append([_kept(each) for each in attended(layer, inputs, options, output)])

    def multiply(number, module, inputs, options, output):
        ran[matrices[number][0]].append((module, _kept(inputs), _kept(output)))

    def write(number, module, inputs, options, output):
        writes[outside[number][0]].append(_kept(output))

    def norm(_, module, inputs, options, output):
        last[:] = _kept(inputs), output

    with (
        hooked(parts.layers, enter, before=True),
        hooked(parts.layers, leave),
        hooked(parts.attentions, attend),
        hooked([part for _, part in matrices], multiply),
        hooked([part for _, part in outside], write),
        hooked([] if parts.final_norm is None else [parts.final_norm], norm),
    ):
        logits = model(tokens, attention_mask=torch.ones_like(tokens), use_cache=True).logits
    if any(len(each) != 1 for each in [*starts, *ends, *patterns]) or not all(ran):
        return  # a layer does not run, or more than once: nothing is what it seems
    for layer in layers:
        (pattern, values), (matrix, z, added) = patterns[layer][0], ran[layer][-1]  # W_O comes last
        end = starts[layer + 1][0] if layer + 1 in layers else ends[layer][0]
        seen.compare_rows(pattern)
        seen.compare("values", _mixed(pattern, values), z)
        seen.compare("heads", _by_head(pattern, z, matrix, added), added)
        seen.compare("depths", ends[layer][0], end)
        seen.outputs.append(matrix)
        seen.factors.append(_compare_stream(starts[layer][0], end, added, writes[layer], seen))
    if last:
        seen.compare("logits", last[0], ends[-1][0])
        seen.compare("logits", _kept(_attempt(model.get_output_embeddings(), last[1])), _kept(logits))


def _see_bridge(bridge, tokens, seen):
    """Run a bridge with something else put into its streams, values and z, and compare what comes after these."""
    count, raw, put = bridge.cfg.n_layers, {}, {}
    changed = "hook_v", "hook_z", "hook_resid_pre", f"{count - 1}.hook_resid_post"

    def change(name, value, hook):
        raw[name] = put[name] = _kept(value)
        if name.endswith(changed):
            value = value + value.roll(1, -1) / 2
            put[name] = _kept(value)
        return value

    ends = "attn.hook_v", "attn.hook_pattern", "attn.hook_z", "attn.hook_out", "hook_attn_out", "hook_mlp_out"
    ends += "hook_resid_pre", "hook_resid_post"
    names = [f"blocks.{layer}.{end}" for layer in range(count) for end in ends]
    with bridge.hooks(fwd_hooks=[(name, partial(change, name)) for name in names if name in bridge.hook_dict]):
        logits = _kept(bridge(tokens, attention_mask=torch.ones_like(tokens)))
    for layer in range(count):
        v, pattern, z, written, attention, mlp, start, end = names[layer * len(ends) : (layer + 1) * len(ends)]
        seen.compare_rows(raw.get(pattern))
        values = put[v].transpose(1, 2) if v in put and put[v].ndim == 4 else None
        seen.compare("values", _mixed(raw.get(pattern), values), raw[z].flatten(2) if z in raw else None)
        by_head, added = _attempt(_by_matrices, bridge, layer, put.get(z)), raw.get(attention)
        seen.compare("adds", by_head, added)
        if seen.off["adds"][-1] <= seen.tolerance:  # BLOOM's attention itself adds the stream to what it writes
            seen.compare("heads", by_head, added)
        else:
            seen.compare("heads", by_head, raw.get(written))
        parts = [put[name] for name in (start, attention, mlp) if name in put]
        lengths = [part.norm(dim=-1) for part in parts]
        total = sum(parts) if len(parts) == 3 else None
        seen.compare("stream", total, raw.get(end), sum(lengths[1:]), sum(lengths))
        seen.compare("depths", put.get(end), raw.get(f"blocks.{layer + 1}.hook_resid_pre", put.get(end)))
    seen.compare("logits", _attempt(_readout, bridge, put.get(names[-1])), logits)


def _kept(value):
    """A tensor, or the first of several, as it is now: models write into what passes. None for anything else."""
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return first.detach().cpu().double().clone() if isinstance(first, torch.Tensor) else None


def _attempt(function, *arguments):
    """What a function returns, or None where it raises, as TransformerLens does for layers of different sizes."""
    try:
        return function(*arguments)
    except Exception:
        return None


def _is_matrix(module):
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim == 2 and not isinstance(module, torch.nn.Embedding)


def _mixed(pattern, values):
    """z, what all heads read with their patterns, side by side: (batch, query, head * d_head)."""
    if pattern is None or values is None or pattern.shape[-1] != values.shape[-2] or pattern.shape[1] % values.shape[1]:
        return None
    return (pattern @ repeated(values, pattern.shape[1])).transpose(1, 2).flatten(2)


def _by_head(pattern, z, matrix, added):
    """What all heads write, each through its slice of an output matrix, and the bias."""
    heads = 0 if pattern is None else pattern.shape[1]
    if not heads or z is None or added is None or z.shape[-1] % heads:
        return None
    weight, bias = _kept(matrix.weight), _kept(getattr(matrix, "bias", None))
    written = [
        sum(part @ rows for part, rows in zip(z.chunk(heads, -1), way.chunk(heads))) + (0 if bias is None else bias)
        for way in (weight.T, weight)  # GPT-2 keeps it turned
        if way.shape == (z.shape[-1], added.shape[-1])
    ]
    return min(written, key=lambda each: (each.reshape(added.shape) - added).norm(), default=None)


def _by_matrices(bridge, layer, z):
    """What all heads of a bridge write, by the matrices that it gives for each of them, and the bias."""
    written = torch.einsum("tphd,hdm->tpm", z, _kept(bridge.W_O[layer]))
    bias = _kept(getattr(bridge.blocks[layer].attn, "b_O", None))
    return written if bias is None else written + bias


def _readout(bridge, stream):
    from .residual import Unembedding, to_logits  # here: it is built on this module

    read = Unembedding.unchecked(bridge)
    return to_logits(stream, Unembedding(*(_kept(each) if isinstance(each, torch.Tensor) else each for each in read)))


def _compare_stream(start, end, added, writes, seen):
    """Compare what a layer adds with what its attention adds, times a factor, and its MLP. Returns the factor.

    What the MLP adds is the output of some module outside of attention, or of two, as with shared experts, times a
    factor too. Which module it is, and both factors, are found by least squares.
    """
    three = start, end, added
    if any(each is None or each.shape != start.shape or not each.isfinite().all() for each in three):
        seen.compare("stream", None, None)
        return torch.nan
    total, lengths = end - start, start.norm(dim=-1) + end.norm(dim=-1)
    parts = [added, *(each.reshape(end.shape) for each in writes if each is not None and each.numel() == end.numel())]
    rows = torch.stack([(part / lengths.clamp_min(1e-30)[..., None]).flatten() for part in [*parts, total]])
    products = rows @ rows.T
    noise = 4 * seen.eps / products[0, 0].sqrt()  # of a factor, in units of the stream's lengths
    best = torch.inf, torch.nan, None, None
    for others in (others for number in range(3) for others in combinations(range(1, len(parts)), number)):
        chosen = [0, *others]
        factors = torch.linalg.pinv(products[chosen][:, chosen], hermitian=True) @ products[chosen, -1]
        found = [factor * parts[part] for factor, part in zip(factors, chosen)]
        far = (sum(found) - total).norm() / total.norm()
        share = abs(factors[0]) * (products[0, 0] / products[-1, -1]).sqrt()
        if far < best[0] and (share > seen.tolerance or not added.any()):  # else another module's output holds it
            best = far.item(), factors[0].item(), sum(found), sum(part.norm(dim=-1) for part in found)
        if best[0] <= 4 * seen.eps:
            break
    _, factor, found, size = best
    seen.compare("stream", found, total, size, lengths)
    return 1.0 if abs(factor - 1) <= noise or not added.any() else float(f"{factor:.6g}")


# Whose hooks belong to a model. Others were put there by people: a check must neither see nor call them.
_OWN = ("transformer_lens.model_bridge.", "transformers.", "torch.", "accelerate.", "peft.")


@contextmanager
def _undisturbed(modules):
    """In eval mode, and without the hooks of people, while the block lasts."""
    training = [(module, module.training) for module in modules]
    kept = [(hooks, {**hooks}) for each in modules for hooks in (each._forward_hooks, each._forward_pre_hooks) if hooks]
    try:
        for module in modules:
            module.training = False
        for hooks, before in kept:
            for key, hook in before.items():
                if not str(hook.__module__).startswith(_OWN):
                    del hooks[key]
        yield
    finally:
        for module, was in training:
            module.training = was
        for hooks, before in kept:  # in their old order, and then those that a library has added
            added = {**hooks}
            hooks.clear()
            hooks.update({**before, **added})
