"""What every attention layer of a model reads and writes, as it runs: for one layer at a time, and for one head.

Only for models that have passed the checks of `identities` on which a measurement rests.
"""

from contextlib import contextmanager

import torch

from .errors import ModelError
from .hooks import attended, hooked, is_bridge, layout, repeated
from .identities import check, holds, require


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


def visit_attention_outputs(model, visit):
    """Call `visit(layer, output)` for every layer, as it runs, while the block lasts.

    output: (batch, position, d_model), what attention adds to the residual stream: W_O's output with its bias, times
    the factor by which some models (Granite, MiniCPM) scale what they add. Raises ModelError where something else is
    added, as behind a norm (Gemma 2, OLMo 2): then it does not add up (`identities`).
    """
    require(model, "stream")
    outputs, factors = check(model).outputs, check(model).factors

    def write(layer, module, inputs, options, output):
        visit(layer, output.detach() * factors[layer])

    # On the output matrices, not on the attention modules: BLOOM's add the residual stream themselves.
    return hooked(outputs, write)


def output_matrices(model):
    """The module inside every attention that mixes what the heads have read (W_O), found by running the model.

    model: of transformers. Raises ModelError where it neither reads what the heads have read nor writes what attention
    adds (`identities`).
    """
    if not holds(model, "values"):
        require(model, "stream")
    return check(model).outputs


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
