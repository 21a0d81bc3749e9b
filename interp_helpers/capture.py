"""Recording what happens inside a model while it runs."""

import math
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real

import torch

from .errors import (
    ArgumentError,
    ModelError,
    TextError,
    check_model,
    check_readable,
    check_tensors,
    check_whole,
    head_count,
)
from .progress import progress
from .texts import check_tokenizer, checked_batch, checked_batches, encode


@dataclass(frozen=True)
class Generation:
    """What was kept of one greedy generation: P prompt tokens, then N new ones, one a step.

    At step 0 the model reads the whole prompt; at every later step it reads one token, the newest, and finds
    the keys and values of the earlier ones in its cache.

    tokens: (P + N,) ids, the prompt first.
    prompt_length: P.
    text: the new tokens as text.
    attentions: N tensors (layer, head, query, key): (L, H, P, P) at step 0, (L, H, 1, P + s) at step s.
    hidden_states: N tensors (layer + 1, position, d_model): P positions at step 0, 1 at later steps. The first
        is the embedding; the last has been through the final LayerNorm.
    logits: (N, vocabulary), what the model says about the token of each step.
    scores: (N, vocabulary), the same after the repetition penalty: their largest entry is the token chosen.
    """

    tokens: torch.Tensor
    prompt_length: int
    text: str
    attentions: list
    hidden_states: list
    logits: torch.Tensor
    scores: torch.Tensor

    def attention_by_step(self):
        """(layer, head, step, key): what the token that a step read last attended to.

        Row s belongs to the position that chose new token s; keys that did not exist yet are 0.
        """
        if not self.attentions:
            raise ArgumentError("attention_by_step: attentions is empty; record_generation fills it.")
        check_tensors(
            "attention_by_step",
            axes="(layer, head, query, key)",
            **{f"attentions[{step}]": each for step, each in enumerate(self.attentions)},
        )
        keys = self.attentions[-1].shape[-1]
        rows = [torch.nn.functional.pad(each[..., -1, :], (0, keys - each.shape[-1])) for each in self.attentions]
        return torch.stack(rows, dim=2)


@torch.no_grad()
def record_generation(model, tokenizer, prompt, max_new_tokens=40, repetition_penalty=1.0):
    """Continue a prompt greedily and keep attentions, hidden states and logits of every step.

    max_new_tokens: fewer come when the model ends the text itself.
    repetition_penalty: 1 leaves the logits alone; above 1, those of tokens that occurred before are divided by
        it when positive and multiplied by it when negative (Keskar et al. 2019, arXiv:1909.05858).

    Returns a Generation, on the CPU. Raises TextError when prompt and new tokens do not fit the context,
    ArgumentError when a number is out of range, and ModelError when the model is in train mode, is no causal language
    model of transformers, or hands out no attention patterns.
    """
    check_readable("record_generation", model, logits=True)
    check_tokenizer("record_generation", tokenizer)
    check_whole("record_generation", 1, max_new_tokens=max_new_tokens)
    if not isinstance(repetition_penalty, Real) or not 0 < repetition_penalty < math.inf:
        raise ArgumentError(
            f"record_generation: repetition_penalty is {repetition_penalty!r}; it must be a number above 0, and 1 to "
            "change nothing."
        )
    context = getattr(model.config, "max_position_embeddings", None)
    tokens = encode(tokenizer, prompt, context=context, room=max_new_tokens).to(model.device)
    out = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        repetition_penalty=float(repetition_penalty),  # transformers takes no whole number
        pad_token_id=tokenizer.eos_token_id,
        return_dict_in_generate=True,
        output_attentions=True,
        output_hidden_states=True,
        output_logits=True,
        output_scores=True,
    )
    if not out.attentions[0]:
        raise ModelError(
            "record_generation: the model hands out no attention patterns. Load it with load_model, or with "
            'attn_implementation="eager".'
        )
    length = tokens.shape[1]
    return Generation(
        tokens=out.sequences[0].cpu(),
        prompt_length=length,
        text=tokenizer.decode(out.sequences[0, length:]),
        attentions=[torch.cat(step).cpu() for step in out.attentions],
        hidden_states=[torch.cat(step).cpu() for step in out.hidden_states],
        logits=torch.cat(out.logits).cpu(),
        scores=torch.cat(out.scores).cpu(),
    )


@contextmanager
def record_inputs(model, names):
    """Record what goes into named modules while the block runs.

    names: as `model.named_modules()` gives them, such as "transformer.ln_f".
    Yields a dict that fills as the model runs: name -> the first input of the module's latest call, a tensor,
    detached. The hooks are gone after the block, also after an exception.

    Raises ArgumentError for a name that the model does not have, and when a named module was never called.

    >>> with record_inputs(model, ["transformer.ln_f"]) as seen:      # doctest: +SKIP
    ...     model(tokens)
    >>> seen["transformer.ln_f"].shape                                # doctest: +SKIP
    torch.Size([1, 15, 256])
    """
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"record_inputs: model must be a module of torch; got a {type(model).__name__}.")
    names = names_of("record_inputs", "names", names)
    modules = dict(model.named_modules())
    if absent := [name for name in names if name not in modules]:
        raise ArgumentError(
            f"record_inputs: the model has no module {absent[0]!r}. dict(model.named_modules()) lists those it has; "
            f"the first are {', '.join(list(modules)[1:5])}."
        )
    seen = {}

    def keep(name):
        def hook(module, inputs, options):
            seen[name] = (inputs[0] if inputs else next(iter(options.values()))).detach()

        return hook

    handles = [modules[name].register_forward_pre_hook(keep(name), with_kwargs=True) for name in names]
    with _removed(handles):
        yield seen
    if silent := [name for name in names if name not in seen]:
        raise ArgumentError(f"record_inputs: {silent[0]!r} was not called in the block. Run the model inside it.")


def names_of(operation, name, given):
    """Names of modules or heads as a list. A string is one name, and would be taken letter by letter."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ArgumentError(f"{operation}: {name} must be a list of names; got {given!r:.60}.")
    return list(given)


def final_norm_name(model):
    """The name of the norm between the last layer and the unembedding: "transformer.ln_f" for GPT-2.

    Found by structure: beside the list of layers, the last module whose class is called a norm. Raises ModelError when
    there is none, and as `layer_modules` does.
    """
    trunk, _ = _trunk(model)
    norms = [module for module in trunk.children() if _is_norm(module)]
    if not norms:
        raise ModelError(f"final_norm_name: {type(trunk).__name__} has no norm after its layers.")
    return next(name for name, module in model.named_modules() if module is norms[-1])


def layer_modules(model):
    """The modules of the layers, first layer first.

    Found by structure: the list of as many modules as the configuration has layers, each with one direct child whose
    class is called an attention. Raises ModelError when there is no such list.
    """
    return _trunk(model)[1]


def _trunk(model):
    """The module that holds the list of layers, and that list."""
    check_model("layer_modules", model)
    count = model.config.num_hidden_layers
    for module in model.modules():
        for child in module.children():
            listed = isinstance(child, torch.nn.ModuleList) and len(child) == count
            if listed and all(len(_attentions(layer)) == 1 for layer in child):
                return module, list(child)
    raise ModelError(
        f"layer_modules: {type(model).__name__} has no list of {count} layers with one attention module each."
    )


def attention_modules(model):
    """The attention module of every layer, first layer first. Raises ModelError as `layer_modules` does."""
    return [_attentions(layer)[0] for layer in layer_modules(model)]


def output_projections(model):
    """The matrix module of every layer that mixes what its heads bring, first layer first.

    Found by structure: the last of the attention's matrices. Its input holds all heads side by side. Raises ModelError
    when an attention has no matrix, and as `layer_modules` does.
    """
    found = []
    for attention in attention_modules(model):
        matrices = [each for each in attention.modules() if getattr(getattr(each, "weight", None), "ndim", 0) == 2]
        if not matrices:
            raise ModelError(f"output_projections: {type(attention).__name__} has no matrix that mixes its heads.")
        found.append(matrices[-1])
    return found


def _is_norm(module):
    return type(module).__name__.endswith("Norm")


def _attentions(layer):
    return [each for each in layer.children() if "Attention" in type(each).__name__]


@contextmanager
def visit_attention(model, visit):
    """Call `visit(layer, pattern, values)` for every layer, as it runs, while the block lasts.

    pattern: (batch, head, query, key); values: (batch, head, key, head size), those that several heads share repeated.
    Both may be freed after the call: memory holds the patterns of one layer at a time. Run the model with
    `use_cache=True`, from whose cache the values come. The hooks are gone after the block, also after an exception.

    Raises ModelError when the model hands out no patterns or no cache.
    """
    check_calls("visit_attention", visit=visit)

    def hook(layer):
        def seen(module, inputs, options, outputs):
            pattern = outputs[1] if isinstance(outputs, tuple) and len(outputs) > 1 else None
            cache = options.get("past_key_values", options.get("layer_past"))
            if pattern is None or cache is None:
                raise ModelError(
                    "visit_attention: the model hands out no "
                    + (
                        'attention pattern. Load it with load_model, or with attn_implementation="eager".'
                        if pattern is None
                        else "values: use_cache=True."
                    )
                )
            values = cache.layers[layer].values
            if values.shape[-2] != pattern.shape[-1]:
                raise ModelError(
                    f"visit_attention: layer {layer} keeps {values.shape[-2]} values of {pattern.shape[-1]} tokens (a "
                    "sliding window). Give texts that fit the window."
                )
            visit(layer, pattern.detach(), values.repeat_interleave(pattern.shape[1] // values.shape[1], dim=1))

        return seen

    with _after(attention_modules(model), hook):
        yield


@contextmanager
def visit_attention_outputs(model, visit):
    """Call `visit(layer, output)` for every layer, as it runs, while the block lasts.

    output: (batch, position, d_model), what the layer's attention adds to the residual stream, output matrix and bias
    included. It may be freed after the call. The hooks are gone after the block, also after an exception. Raises
    ModelError as `output_projections` does, and when a norm stands between attention and the stream, as in Gemma 2:
    such models add something else.
    """
    check_calls("visit_attention_outputs", visit=visit)
    written = []  # by the latest attention, until the next norm has read something

    def hook(layer):
        def seen(module, inputs, options, output):
            written[:] = [output]
            visit(layer, output.detach())

        return seen

    def norm_hook(_):
        def seen(module, inputs):
            # Names do not tell: Llama's post_attention_layernorm reads the stream, Gemma 2's what attention wrote.
            if written and inputs and inputs[0].data_ptr() == written.pop().data_ptr():
                raise ModelError(
                    f"visit_attention_outputs: {type(model).__name__} puts a norm ({type(module).__name__}) on what "
                    "attention writes before it adds it to the stream, so that its output matrix does not say what is "
                    "added. Take a model without such a norm, such as GPT-2, Pythia or Llama."
                )

        return seen

    norms = [each for layer in layer_modules(model) for each in layer.modules() if _is_norm(each)]
    # The whole attention module of BLOOM adds the stream itself: its last matrix does not.
    with _after(output_projections(model), hook), _before(norms, norm_hook):
        yield


def checked_tokens(operation, model, tokens, mask=None):
    """(tokens, mask) as `checked_batch` gives them, for a model to read. tokens may be such a pair.

    Raises ArgumentError as it does, and for ids that the model does not have; TextError for more than it can read;
    ModelError when the model is in train mode.
    """
    check_readable(operation, model)
    tokens, mask = checked_batch(operation, tokens if mask is None else (tokens, mask))
    vocabulary, context = model.config.vocab_size, getattr(model.config, "max_position_embeddings", None)
    if (largest := tokens.max()) >= vocabulary:
        raise ArgumentError(
            f"{operation}: tokens holds {largest}; this model's ids go from 0 to {vocabulary - 1}. Make them with its "
            "own tokenizer."
        )
    if context is not None and tokens.shape[1] > context:
        raise TextError(
            f"{operation}: tokens has {tokens.shape[1]} positions; the model reads {context} at most. Shorten them."
        )
    return tokens, mask


def check_calls(operation, **functions):
    """Raise ArgumentError when an argument cannot be called. functions: by argument's name."""
    for name, function in functions.items():
        if not callable(function):
            raise ArgumentError(f"{operation}: {name} must be a function; got {function!r:.60}.")


@torch.no_grad()
def attention_outputs(model, tokens, mask=None):
    """What every layer's attention adds to the stream, kept whole: (layer, batch, position, d_model).

    tokens: (batch, position); mask: the same, True for tokens, False for padding, whose outputs mean nothing.
    Raises ModelError as `visit_attention_outputs` does, and ArgumentError as `checked_tokens` does.
    """
    checked_tokens("attention_outputs", model, tokens, mask)
    kept = []
    with visit_attention_outputs(model, lambda layer, output: kept.append(output)):
        _read(model, tokens, mask)
    return torch.stack(kept)


@torch.no_grad()
def attention_output_norms(model, batches):
    """Norms of what attention adds, for every layer and token of any number of texts, one layer at a time.

    batches: (tokens, mask) pairs, each (text, position), padded on the right, as `token_batches` gives them.
    Memory holds one layer's outputs of one batch, and the norms: give smaller batches where that is too much.

    Returns (norms, mask): (layer, text, position), float64 on the CPU, NaN where there is no token; (text, position).
    Raises ArgumentError when an output holds NaN or infinity, when there is no batch, and as `checked_batch` does;
    ModelError as `visit_attention_outputs` does.
    """
    found, masks = [], []
    for batch in progress(checked_batches("attention_output_norms", batches), "batch"):
        tokens, mask = checked_tokens("attention_output_norms", model, batch)
        mask, norms = mask.cpu(), []

        def visit(layer, output, mask=mask, norms=norms):
            norm = output.norm(dim=-1).cpu().double()
            check_tensors("attention_output_norms", **{f"what layer {layer} adds": norm[mask]})
            norms.append(norm.masked_fill(~mask, torch.nan))

        with visit_attention_outputs(model, visit):
            _read(model, tokens, mask)
        found.append(torch.stack(norms))
        masks.append(mask)
    if not found:
        raise ArgumentError("attention_output_norms: there are no texts. Give at least one batch of tokens.")
    width = max(mask.shape[1] for mask in masks)
    pad = torch.nn.functional.pad
    return (
        torch.cat([pad(each, (0, width - each.shape[-1]), value=torch.nan) for each in found], 1),
        torch.cat([pad(each, (0, width - each.shape[-1])) for each in masks]),
    )


def _read(model, tokens, mask):
    """Run the trunk: no logits, nobody asks for them."""
    mask = None if mask is None else mask.long().to(model.device)
    model.base_model(tokens.to(model.device), attention_mask=mask, use_cache=False)


@contextmanager
def _removed(handles):
    """Hooks for the block: they are gone after it, also after an exception."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before(modules, hook):
    """Forward pre-hooks `hook(number)` on modules, gone after the block."""
    return _removed([module.register_forward_pre_hook(hook(number)) for number, module in enumerate(modules)])


def _after(modules, hook):
    """Forward hooks `hook(number)` on modules, which get named inputs too, gone after the block."""
    return _removed(
        [module.register_forward_hook(hook(number), with_kwargs=True) for number, module in enumerate(modules)]
    )


def _inputs(operation, model, modules, tokens, mask):
    """What goes into each of the modules, stacked: `(module, ...)`."""
    checked_tokens(operation, model, tokens, mask)
    kept = {}

    def hook(number):
        def seen(module, inputs):
            kept[number] = inputs[0].detach()

        return seen

    with _before(modules, hook):
        _read(model, tokens, mask)
    return torch.stack([kept[number] for number in range(len(modules))])


@torch.no_grad()
def head_outputs(model, tokens, mask=None):
    """What every head brings before the output matrix mixes it, TransformerLens's z: values weighted by attention.

    tokens: (batch, position); mask: the same, True for tokens, False for padding.
    Returns (layer, head, batch, position, head size): `found[layer, head]` can stand in for that head. Raises
    ModelError as `output_projections` does, and ArgumentError as `checked_tokens` does.
    """
    found = _by_head(model, _inputs("head_outputs", model, output_projections(model), tokens, mask))
    return found.permute(0, 3, 1, 2, 4)


def mean_head_outputs(model, batches):
    """The mean of `head_outputs` over all tokens of a reference set: (layer, head, head size).

    batches: (tokens, mask) pairs, each (text, position). Raises ArgumentError when there is none, and as
    `checked_batch` does.
    """
    total, count = 0, 0
    for batch in checked_batches("mean_head_outputs", batches):
        tokens, mask = checked_tokens("mean_head_outputs", model, batch)
        found = head_outputs(model, tokens, mask)[:, :, mask.to(model.device)]
        total, count = total + found.sum(2), count + found.shape[2]
    if count == 0:
        raise ArgumentError("mean_head_outputs: there are no texts. Give at least one batch of tokens.")
    return total / count


@torch.no_grad()
def read_streams(model, tokens, mask=None):
    """The residual stream before every layer, and after the last: (layer + 1, batch, position, d_model).

    tokens: (batch, position); mask: the same, True for tokens, False for padding. Raises ModelError as
    `final_norm_name` does, and ArgumentError as `checked_tokens` does.
    """
    return _inputs("read_streams", model, _stream_readers(model), tokens, mask)


def zeros(values, layer, head):
    """A replacement for `replace_heads`: nothing."""
    check_tensors("zeros", finite=False, values=values)
    return torch.zeros_like(values)


def taken_from(outputs):
    """A replacement for `replace_heads`: `outputs[layer, head]`, of `head_outputs` or `mean_head_outputs`.

    Raises ArgumentError when the outputs are no such tensor, or have no such head when it is replaced.
    """
    check_tensors("taken_from", axes="(layer, head, ..., size)", outputs=outputs)

    def take(values, layer, head):
        layers, heads = outputs.shape[:2]
        if not (0 <= layer < layers and 0 <= head < heads):
            raise ArgumentError(f"taken_from: outputs has {layers} layers of {heads} heads; it lacks {layer}.{head}.")
        return outputs[layer, head]

    return take


@contextmanager
def replace_heads(model, heads, replacement):
    """Replace what heads bring, while the block lasts. Yields the list of their names.

    heads: names such as ["2.5"], layer 2 head 5, and "2.10", head 10: strings, as the number 2.10 would be 2.1.
    replacement: called with (values, layer, head), values (batch, position, head size), it returns what takes their
        place, of the same shape or one that broadcasts to it: `zeros`, `taken_from(...)`, or a function of your own.

    The output matrix and its bias still work, weights are never edited, and all is undone after the block, also after
    an exception. Numerics are raw: TransformerLens's compatibility mode counts value biases elsewhere.

    Raises ArgumentError when no head is named, one does not exist, what replaces it has another shape or holds NaN,
    and when the model was not run in the block; ModelError when the model has no attention heads.

    >>> with replace_heads(model, ["2.5"], zeros) as sites:           # doctest: +SKIP
    ...     model(tokens)
    """
    check_calls("replace_heads", replacement=replacement)
    by_layer, heads = {}, names_of("replace_heads", "heads", heads)
    for name in heads:
        layer, head = _head(model, name)
        by_layer.setdefault(layer, []).append(head)
    if not by_layer:
        raise ArgumentError("replace_heads: no head is named; give at least one, such as ['2.5'].")
    done = set()

    def hook(layer):
        def seen(module, inputs):
            if layer not in by_layer:
                return None
            values = _by_head(model, inputs[0]).clone()
            for head in by_layer[layer]:
                old = values[:, :, head]
                values[:, :, head] = _fitting("replace_heads", "replacement", replacement(old, layer, head), old)
            done.add(layer)
            return (values.flatten(2), *inputs[1:])

        return seen

    with _before(output_projections(model), hook):
        yield heads
    if missed := sorted(set(by_layer) - done):
        raise ArgumentError(f"replace_heads: layer {missed[0]} did not run in the block. Run the model inside it.")


@contextmanager
def replace_stream(model, layer, vectors, positions=None):
    """Replace the residual stream before a layer, while the block lasts. Yields (layer, positions).

    layer: 0 for what the first layer reads, up to the number of layers, for what the final norm reads.
    vectors: (batch, position, d_model), as `read_streams` gives them for one layer, or what broadcasts to it.
    positions: which positions are replaced, a number or a list of them, from the end when negative; None for all.

    Undone after the block. Raises ArgumentError when the layer or a position does not exist, no position is given, the
    shape does not fit, a vector holds NaN, and when the model was not run in the block.
    """
    readers = _stream_readers(model)
    check_whole("replace_stream", 0, len(readers) - 1, layer=layer)
    try:
        chosen = None if positions is None else torch.as_tensor(positions).ravel()
    except (TypeError, ValueError, RuntimeError):
        chosen = torch.empty(0)
    if chosen is not None and (chosen.dtype != torch.long or len(chosen) == 0 or chosen.is_meta):
        raise ArgumentError(f"replace_stream: positions are whole numbers, one or more; got {positions!r:.60}.")
    done = []

    def hook(_):
        def seen(module, inputs):
            stream = inputs[0].clone()
            length = stream.shape[1]
            where = list(range(length)) if chosen is None else chosen.tolist()
            if any(not -length <= each < length for each in where):
                raise ArgumentError(f"replace_stream: there are no positions {where} in a text of {length} tokens.")
            stream[:, where] = _fitting("replace_stream", "vectors", vectors, stream)[:, where]
            done.append(True)
            return (stream, *inputs[1:])

        return seen

    with _before([readers[layer]], hook):
        yield layer, positions
    if not done:
        raise ArgumentError("replace_stream: the model did not run in the block. Run it inside.")


def _head(model, name):
    """("2.5") to (2, 5), when there is such a head."""
    heads, layers = head_count("replace_heads", model), model.config.num_hidden_layers
    names = f"Names go from '0.0' to '{layers - 1}.{heads - 1}', layer first"
    if not isinstance(name, str):
        raise ArgumentError(
            f"replace_heads: the head {name!r} is no string. {names}: write '0.10' in quotes, the number 0.10 is 0.1."
        )
    layer, _, head = name.partition(".")
    numbers = (layer, head)
    plain = all(each.isdecimal() and each == str(int(each)) for each in numbers)  # '0.01' may be meant as head 10 or 1
    if not (plain and int(layer) < layers and int(head) < heads):
        raise ArgumentError(f"replace_heads: there is no head {name!r}. {names}, without further zeros.")
    return int(layer), int(head)


def _by_head(model, values):
    """(batch, position, all heads side by side) to (batch, position, head, head size)."""
    return values.unflatten(-1, (model.config.num_attention_heads, -1))


def _fitting(operation, name, new, old):
    """What takes the place of a tensor, in its shape. name: the argument's that it comes from."""
    try:
        if isinstance(new, torch.Tensor) and new.is_complex():
            raise TypeError("half of each number would be lost")
        fitting = torch.as_tensor(new, dtype=old.dtype, device=old.device).expand(old.shape)
    except (TypeError, ValueError, RuntimeError) as problem:
        got = f"the shape {tuple(new.shape)}" if isinstance(new, torch.Tensor) else f"{type(new).__name__}"
        raise ArgumentError(
            f"{operation}: {tuple(old.shape)} is to be replaced by {got}, which does not fit. Give {name} a tensor of "
            "that shape, or of one that broadcasts to it: texts must agree in number and length."
        ) from problem
    check_tensors(operation, **{name: fitting})
    return fitting


def _stream_readers(model):
    """The modules whose input is the stream: every layer, then the final norm."""
    return [*layer_modules(model), model.get_submodule(final_norm_name(model))]
