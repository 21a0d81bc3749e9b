"""Small hooks on models of transformers, and the one place that knows how such models are built.

TransformerLens does all replacing and patching in this course (`interventions`). These hooks only read, and they hold
one layer at a time, where TransformerLens's cache holds every layer.
"""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from .errors import ModelError


@dataclass(frozen=True)
class Layout:
    """Parts of a model of transformers, which every family calls something else."""

    model: torch.nn.Module
    layers: list
    attentions: list  # the attention module of every layer
    final_norm: torch.nn.Module | None  # between the last layer and the unembedding
    positions: torch.nn.Embedding | None  # learned; None in a model that marks positions inside attention

    @property
    def outputs(self):
        """The module inside every attention that mixes what the heads have read (W_O), found by running the model.

        Raises ModelError where it neither reads what the heads have read nor writes what attention adds.
        """
        from .identities import check, holds, require  # here: they are built on this module

        if not holds(self.model, "values"):
            require(self.model, "stream")
        return check(self.model).outputs


def layout(model):
    """Where a model of transformers keeps its parts: a Layout. Raises ModelError where not every layer has attention.

    What the names of classes suggest. Whether numbers bear it out is for `identities` to check.

    >>> from transformers import AutoModelForCausalLM, GPT2Config
    >>> layout(AutoModelForCausalLM.from_config(GPT2Config(n_layer=1, n_embd=24))).positions
    Embedding(1024, 24)
    """
    if is_bridge(model):  # its modules wrap those of transformers, and have other tensors
        raise ModelError("layout takes a model of transformers, as load_model gives it, and not a bridge.")
    for holder in model.modules():
        for layers in holder.children():
            if not isinstance(layers, torch.nn.ModuleList) or not len(layers):
                continue
            attentions = [_attention(layer) for layer in layers]
            if None not in attentions:  # in hybrids only some have attention
                return Layout(model, [*layers], attentions, _final_norm(holder, model), _positions(holder))
    raise ModelError(f"It is not known where a {type(model).__name__} keeps its attention. Take GPT-2, Llama or alike.")


def _attention(layer):
    """The innermost module of a layer that is called an attention; the first, since cross-attention comes later."""
    named = [part for part in layer.modules() if "Attention" in type(part).__name__]
    return next((part for part in named if not {*part.modules()} & {*named} - {part}), None)


def _final_norm(holder, model):
    """The last norm among the children of a module that is as wide as the stream, or has no width of its own."""
    width = model.get_input_embeddings().weight.shape[1]
    norms = [part for part in holder.children() if type(part).__name__.endswith("Norm")]
    fitting = [norm for norm in norms if getattr(norm, "weight", None) is None or norm.weight.numel() == width]
    return fitting[-1] if fitting else None


def _positions(holder):
    """The learned embedding of positions among the children of a module. Those that are computed have no say in it."""
    for name, part in holder.named_children():
        learned = isinstance(part, torch.nn.Embedding) and "Sinusoidal" not in type(part).__name__
        if learned and (name == "wpe" or "position" in name):
            return part
    return None


@contextmanager
def hooked(modules, hook, *, before=False):
    """While the block lasts, call `hook(number, module, inputs, options, output)`; before modules, without output."""
    with ExitStack() as stack:
        for number, module in enumerate(modules):
            register = module.register_forward_pre_hook if before else module.register_forward_hook
            stack.callback(register(partial(hook, number), with_kwargs=True).remove)
        yield


@contextmanager
def record_inputs(modules):
    """Record the first input of each module's latest call, detached. Yields a list that holds None before any call."""
    recorded = [None] * len(modules)

    def record(number, module, inputs, options):
        recorded[number] = [*inputs, *options.values()][0].detach()  # some modules get it by its name

    with hooked(modules, record, before=True):
        yield recorded


def is_bridge(model):
    """Whether a model is a bridge of TransformerLens and not a model of transformers."""
    return hasattr(model, "run_with_cache")


def read(model, batch):
    """Run a model over a Batch for its hooks alone: without logits, which nobody asks for."""
    run, options = (model, {"return_type": None}) if is_bridge(model) else (model.base_model, {"use_cache": True})
    run(batch.tokens, attention_mask=batch.mask.long(), **options)


def visit_attention(model, visit, *, values=True):
    """Call `visit(layer, pattern, values)` for every layer, as it runs, while the block lasts.

    model: of transformers, or a bridge, which may have hooks that change it. Run it with `read`.
    pattern: (batch, head, query, key); values: (batch, head, key, d_head), those that several heads share repeated.
    With values=False they are None, for models whose heads do not read them as they stand: gates, latent attention.
    Raises ModelError when the model hands out no pattern, or not the values of all tokens, and where rows do not sum to
    1 or patterns times values do not give z (`identities`).
    """
    from .identities import require

    require(model, *["rows", "values"][: 1 + values])
    return _visit_attention(model, visit, values)


@contextmanager
def _visit_attention(model, visit, values):
    bridge_values, parts = {}, None if is_bridge(model) else layout(model)

    def keep_values(seen, hook):
        bridge_values[hook.layer()] = seen.transpose(1, 2)  # they are (batch, key, head, d_head)

    def visit_bridge(pattern, hook):
        visit_shared(hook.layer(), pattern, bridge_values.pop(hook.layer(), None))

    def visit_module(layer, module, inputs, options, outputs):
        visit_shared(layer, *attended(layer, inputs, options, outputs))

    def visit_shared(layer, pattern, seen):
        if values and (seen is None or seen.shape[-2] != pattern.shape[-1]):
            raise ModelError(f"Layer {layer} does not keep the values of all tokens, as in a sliding window.")
        visit(layer, pattern.detach(), repeated(seen, pattern.shape[1]) if values else None)

    by_name = {"attn.hook_v": keep_values, "attn.hook_pattern": visit_bridge}
    on_bridge = [(lambda name, end=end: name.endswith(end), hook) for end, hook in by_name.items()]
    with hooked(parts.attentions, visit_module) if parts else model.hooks(on_bridge):
        yield


def attended(layer, inputs, options, outputs):
    """(pattern, values) as a call of an attention module and its cache seem to hold them; None for what is not there.

    Keys and values that several heads share stand there once.
    """
    pattern = outputs[1] if isinstance(outputs, (tuple, list)) and len(outputs) > 1 else None
    given = [getattr(each, "self_attention_cache", each) for each in [*inputs, *options.values()]]
    layers = next((each.layers for each in given if hasattr(each, "layers")), [])
    values = getattr(layers[layer], "values", None) if layer < len(layers) else None
    return (each if isinstance(each, torch.Tensor) and each.ndim == 4 else None for each in (pattern, values))


def repeated(values, heads):
    """(batch, head, key, d_head): for every head the values of its group."""
    return values.repeat_interleave(heads // values.shape[1], dim=1)


def visit_attention_outputs(model, visit):
    """Call `visit(layer, output)` for every layer, as it runs, while the block lasts.

    output: (batch, position, d_model), what attention adds to the residual stream: W_O's output with its bias, times
    the factor by which some models (Granite, MiniCPM) scale what they add. Raises ModelError where something else is
    added, as behind a norm (Gemma 2, OLMo 2): then it does not add up (`identities`).
    """
    from .identities import check, require

    require(model, "stream")
    outputs, factors = check(model).outputs, check(model).factors

    def write(layer, module, inputs, options, output):
        visit(layer, output.detach() * factors[layer])

    # On the output matrices, not on the attention modules: BLOOM's add the residual stream themselves.
    return hooked(outputs, write)


@torch.no_grad()
def head_inputs(bridge, tokens, layer, head):
    """What one head works with on one text: (q, k, v, scale).

    bridge: of `load_bridge`. tokens: `(1, position)`. q, k, v: `(position, d_head)`, on the device of the bridge;
    queries and keys as they are compared, so that a model with rotary positions has them rotated already, and keys and
    values that several heads share are those of this head's group. scale: the number that scores are divided by before
    the softmax, as the pattern shows it: the square root of d_head in most models, 1 in GPT-Neo.

    Pythia rotates in a place that has no name in the bridge, BLOOM adds a number for the distance to every score, and
    Gemma 2 caps scores. There a softmax of q and k alone does not give the model's pattern, and scale is the square
    root of d_head. Raises ModelError where rows do not sum to 1 or patterns times values do not give z (`identities`).
    """
    from .identities import require

    require(bridge, "rows", "values")
    at, found = f"blocks.{layer}.attn.hook_", []
    wanted = [f"{at}{rotated}{name}" for name in "qkv" for rotated in ("", "rot_")]
    _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name in [*wanted, f"{at}pattern"])
    for name in "qkv":
        each = cache[f"{at}rot_{name}" if f"{at}rot_{name}" in cache else at + name]  # (1, position, head, d_head)
        found.append(each[0, :, head * each.shape[2] // bridge.cfg.n_heads])
    return *found, _scale(*found[:2], cache[f"{at}pattern"][0, head])


def _scale(q, k, pattern):
    """What scores are divided by: the number that makes a softmax of them the pattern, if there is one."""
    seen = pattern.double().cpu() > 1e-6  # not what is masked
    scores, logs = (q.double() @ k.double().T).cpu(), pattern.double().cpu().log()
    centred = []
    for each in (scores, logs):  # a softmax leaves out one number for each query
        each = each.where(seen, 0)
        centred.append((each - each.sum(1, keepdim=True) / seen.sum(1, keepdim=True)).where(seen, 0))
    scores, logs = centred
    sharpness = (scores * logs).sum() / scores.square().sum()
    fits = (logs - sharpness * scores).norm() <= 1e-2 * logs.norm() and sharpness > 0  # NaN for one token
    return float(f"{1 / sharpness.item():.6g}") if fits else q.shape[-1] ** 0.5
