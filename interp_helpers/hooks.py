"""Small hooks on models of transformers, and the one place that knows how such models are built.

TransformerLens does all replacing and patching in this course (`interventions`). These hooks only read, and they hold
one layer at a time, where TransformerLens's cache holds every layer.
"""

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

import torch

from .errors import ModelError


class Layout(NamedTuple):
    """Parts of a model of transformers, which every family calls something else."""

    layers: list
    attentions: list  # the attention module of every layer
    outputs: list  # the module inside it that mixes what the heads have read (W_O)
    final_norm: torch.nn.Module  # between the last layer and the unembedding
    positions: torch.nn.Embedding | None  # learned; None in a model that marks positions inside attention


# Dotted paths of a Layout's parts, from model.base_model, from the layer and from the attention on.
_PATHS = (
    ("h", "attn", "c_proj", "ln_f", "wpe"),  # GPT-2
    ("h", "attn.attention", "out_proj", "ln_f", "wpe"),  # GPT-Neo
    ("h", "attn", "out_proj", "ln_f", ""),  # GPT-J, CodeGen
    ("h", "self_attention", "dense", "ln_f", ""),  # BLOOM, Falcon
    ("blocks", "attn", "out_proj", "norm_f", ""),  # MPT
    ("layers", "attention", "dense", "final_layer_norm", ""),  # Pythia
    ("layers", "self_attn", "o_proj", "norm", ""),  # Llama, SmolLM2, Mistral, Qwen, OLMo, Granite
    ("layers", "self_attn", "dense", "final_layernorm", ""),  # Phi
    ("decoder.layers", "self_attn", "out_proj", "decoder.final_layer_norm", "decoder.embed_positions"),  # OPT
)


def _at(module, path):
    """The submodule at a dotted path; None when there is none."""
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def layout(model):
    """Where a model of transformers keeps its parts: a Layout. Raises ModelError for a family that is not known.

    >>> from transformers import AutoModelForCausalLM, GPT2Config
    >>> layout(AutoModelForCausalLM.from_config(GPT2Config(n_layer=1, n_embd=24))).positions
    Embedding(1024, 24)
    """
    if is_bridge(model):  # its modules wrap those of transformers, and have other tensors
        raise ModelError("layout takes a model of transformers, as load_model gives it, and not a bridge.")
    for layers, attention, output, final_norm, positions in _PATHS:
        layers = list(_at(model.base_model, layers) or [])
        attentions = [_at(layer, attention) for layer in layers]  # all of them: in hybrids only some have attention
        outputs = [_at(module, output) for module in attentions]
        final_norm, positions = _at(model.base_model, final_norm), _at(model.base_model, positions)
        if layers and None not in [*outputs, final_norm]:
            return Layout(layers, attentions, outputs, final_norm, positions)
    raise ModelError(f"It is not known where a {type(model).__name__} keeps its attention. Take GPT-2, Llama or alike.")


@contextmanager
def _hooked(modules, hook, *, before=False):
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

    with _hooked(modules, record, before=True):
        yield recorded


def is_bridge(model):
    """Whether a model is a bridge of TransformerLens and not a model of transformers."""
    return hasattr(model, "run_with_cache")


def read(model, batch):
    """Run a model over a Batch for its hooks alone: without logits, which nobody asks for."""
    run, options = (model, {"return_type": None}) if is_bridge(model) else (model.base_model, {"use_cache": True})
    run(batch.tokens, attention_mask=batch.mask.long(), **options)


@contextmanager
def visit_attention(model, visit):
    """Call `visit(layer, pattern, values)` for every layer, as it runs, while the block lasts.

    model: of transformers, or a bridge, which may have hooks that change it. Run it with `read`.
    pattern: (batch, head, query, key); values: (batch, head, key, d_head), those that several heads share repeated.
    Raises ModelError when the model hands out no pattern, or not the values of every head and token.
    """
    bridge_values, parts = {}, None if is_bridge(model) else layout(model)

    def keep_values(values, hook):
        bridge_values[hook.layer()] = values.transpose(1, 2)  # they are (batch, key, head, d_head)

    def visit_bridge(pattern, hook):
        visit_shared(hook.layer(), pattern, bridge_values.pop(hook.layer()))

    def visit_module(layer, module, inputs, options, outputs):
        pattern = outputs[1] if isinstance(outputs, tuple) and len(outputs) > 1 else None
        cache = options.get("past_key_values", options.get("layer_past"))
        if pattern is None or cache is None:
            raise ModelError("The model hands out no attention pattern. Load it with load_model (eager attention).")
        values, d_heads = cache.layers[layer].values, parts.outputs[layer].weight.numel() // model.config.hidden_size
        if values.shape[-2:] != (pattern.shape[-1], d_heads // pattern.shape[1]):  # DeepSeek's are compressed
            raise ModelError(f"Layer {layer} does not keep each token's values, as in a sliding window or compressed.")
        visit_shared(layer, pattern, values)

    def visit_shared(layer, pattern, values):
        visit(layer, pattern.detach(), values.repeat_interleave(pattern.shape[1] // values.shape[1], dim=1))

    by_name = {"attn.hook_v": keep_values, "attn.hook_pattern": visit_bridge}
    on_bridge = [(lambda name, end=end: name.endswith(end), hook) for end, hook in by_name.items()]
    with _hooked(parts.attentions, visit_module) if parts else model.hooks(on_bridge):
        yield


@contextmanager
def visit_attention_outputs(model, visit):
    """Call `visit(layer, output)` for every layer, as it runs, while the block lasts.

    output: (batch, position, d_model), what attention adds to the residual stream: W_O's output with its bias, times
    the factor by which some models (Granite, MiniCPM) scale what they add. Raises ModelError where something else is
    added, as behind a norm (Gemma 2, OLMo 2): it shows at the next norm of the layer, which should read the sum.
    """
    layers, _, outputs, *_ = layout(model)
    running = {}  # the stream that the running layer has read, and what attention adds to it

    def enter(layer, module, inputs, options):
        running.update(stream=[*inputs, *options.values()][0], added=None)

    def write(layer, module, inputs, options, output):
        factor = getattr(layers[layer], "residual_multiplier", getattr(layers[layer], "residual_scale", 1.0))
        running["added"] = output.detach() * factor
        visit(layer, running["added"])

    def compare(_, module, inputs, options):
        added, running["added"] = running["added"], None
        if added is None:  # this norm is not the first one after attention
            return
        stream, entered = running["stream"].to(added.device), inputs[0].flatten()  # OPT reads all texts as one
        # A norm may read the old stream too: in models whose attention and MLP run side by side.
        sums = [stream, stream + added] if stream.shape == added.shape and stream.numel() == entered.numel() else []
        if not any(torch.allclose(entered, total.flatten(), 1e-3, 1e-5, equal_nan=True) for total in sums):
            what = f"A {type(model).__name__} does not add to the residual stream what its attention writes"
            raise ModelError(f"{what}: see its {type(module).__name__}. Take a model such as GPT-2 or Llama.")

    norms = [part for layer in layers for part in layer.modules() if type(part).__name__.endswith("Norm")]
    # On the output matrices, not on the attention modules: BLOOM's add the residual stream themselves.
    with _hooked(layers, enter, before=True), _hooked(outputs, write), _hooked(norms, compare, before=True):
        yield


@torch.no_grad()
def head_inputs(bridge, tokens, layer, head):
    """What one head works with on one text: (q, k, v, scale).

    bridge: of `load_bridge`. tokens: `(1, position)`. q, k, v: `(position, d_head)`, on the device of the bridge;
    queries and keys as they are compared, so that a model with rotary positions has them rotated already, and keys and
    values that several heads share are those of this head's group. scale: the number that scores are divided by before
    the softmax, the square root of d_head, and 1 in GPT-Neo.

    Pythia rotates in a place that has no name in the bridge, and BLOOM adds a number for the distance to every score.
    There a softmax of q and k alone does not give the model's pattern.
    """
    at, found = f"blocks.{layer}.attn.hook_", []
    wanted = [f"{at}{rotated}{name}" for name in "qkv" for rotated in ("", "rot_")]
    _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name in wanted)
    for name in "qkv":
        each = cache[f"{at}rot_{name}" if f"{at}rot_{name}" in cache else at + name]  # (1, position, head, d_head)
        found.append(each[0, :, head * each.shape[2] // bridge.cfg.n_heads])
    scale = 1.0 if bridge.original_model.config.model_type == "gpt_neo" else found[0].shape[-1] ** 0.5
    return *found, scale
