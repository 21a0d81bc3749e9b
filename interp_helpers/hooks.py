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

    layers: list
    attentions: list  # the attention module of every layer
    final_norm: torch.nn.Module | None  # between the last layer and the unembedding
    positions: torch.nn.Embedding | None  # learned; None in a model that marks positions inside attention


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
                return Layout([*layers], attentions, _final_norm(holder, model), _positions(holder))
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
