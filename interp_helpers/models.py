"""A name becomes a model and its tokenizer: the bundled one, one from the Hugging Face hub, or a local folder."""

import gc
import math
import warnings
from contextlib import contextmanager

import torch

from .errors import ArgumentError, ModelError, TextError, explained
from .hub import find_folder
from .text import Batch

FULL = ("memoryerror", "allocate memory", "not enough memory", "out of memory")  # what backends say, each its own way


def load_model(name="storybook", *, revision=None, device=None, device_map=None, untrained=False):
    """Load a causal language model for looking inside it, and its tokenizer.

    name: "storybook" (bundled, needs no network), "smollm2" (a real model from the Python package index, see
        `interp_helpers.installed`), a Hugging Face hub id such as "gpt2" or "EleutherAI/gpt-neo-125M", or the path of a
        local folder.
    revision: a branch, tag or commit of a hub repository, as transformers takes it, such as "step1000" of
        "EleutherAI/pythia-70m"; by default its main branch.
    device: "cpu", "cuda", "mps" or a torch.device; by default the best one that is there, unless the model says
        something else there than on the processor, as with some versions of torch on "mps": then it stays on the
        processor, with a warning. A device that is asked for is taken as it is.
    device_map: for a model too large for one device, "auto" or a map as transformers takes it; instead of a device.
    untrained: give the untrained twin: the same configuration with fresh weights, always the same ones.

    Returns (model, tokenizer): the model in eval mode, in float32, with eager attention, so that it can hand
    out its attention patterns. Only safetensors are read and no code of the model's is run.

    Raises ModelError when there is no such model or device, the hub cannot be reached, the folder lacks a part, the
    weights are damaged, incomplete, not finite or too large for the memory, or the model is not causal. Raises
    FileError when "smollm2" is loaded for the first time and the cache cannot be written, and ArgumentError for a
    revision of a model that is not on the hub.

    >>> model, tokenizer = load_model("storybook", device="cpu")
    >>> model.training, model.dtype
    (False, torch.float32)
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    name, absent, options = str(name), [], {"dtype": torch.float32, "attn_implementation": "eager"}
    advice = "A file may be cut short or damaged: get it again. Or transformers has no causal language model for it."
    unasked = device is None and device_map is None
    gc.collect()  # models refer to themselves, so that those given up still hold their memory
    device = device or _best_device()
    with explained(ModelError, f"The device {str(device)!r} cannot be used", "Try 'cpu', 'cuda' or 'mps'."):
        device = torch.zeros(1, device=device).device
    with explained(ModelError, f"{name!r} cannot be loaded", advice), _memory_in_words(name):
        folder = find_folder(name, revision=None if revision is None else str(revision))
        config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        if untrained:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # manual_seed seeds CUDA too
                torch.manual_seed(0)
                model = AutoModelForCausalLM.from_config(config, **options)
        else:
            options |= {"use_safetensors": True, "device_map": device_map, "output_loading_info": True}
            with _no_loading_bar():
                model, report = AutoModelForCausalLM.from_pretrained(folder, **options)
            absent = sorted(report["missing_keys"])
        model.eval()
        if unasked and device.type != "cpu":
            _to_trusted(device, model, name)
        elif untrained or device_map is None:
            model.to(device)
        logits, stated = _first_logits(model), config.architectures or []
    if type(model).__name__ not in stated or not torch.allclose(*logits, atol=1e-4, equal_nan=True):
        about = f"{name!r} is not a causal language model: it is stated to be {' or '.join(stated) or 'nothing'}"
        raise ModelError(f"{about}, and a token's logits must not change with the next token, as an encoder's do.")
    if absent:  # they would silently be random ones
        raise ModelError(f"The weights of {name!r} lack {len(absent)} tensors, {absent[0]} first. Get them again.")
    if not all(tensor.is_meta or tensor.isfinite().all() for tensor in [logits, *model.parameters()]):
        raise ModelError(f"The weights of {name!r} hold NaN or infinity, or make them. Get them again.")
    return model, tokenizer


def context_length(model):
    """The longest text that a model can read, in tokens, as its configuration states it; infinity where it states none.

    Most state it as `max_position_embeddings`, MPT as `max_seq_len`. BLOOM, which can read any length, states none.

    >>> context_length(load_model("storybook", device="cpu")[0])
    128
    """
    config = getattr(model, "original_model", model).config
    return getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None) or math.inf


def prepare(model, texts):
    """A Batch for a model to read, on the device where the model takes tokens.

    model: of `load_model` or `load_bridge`. texts: a Batch, or tokens `(text, position)` without padding.
    Raises ModelError for another model or one in train mode, ArgumentError for foreign ids, TextError for long texts.
    """
    inner, batch = getattr(model, "original_model", model), Batch.of(texts)
    if not hasattr(inner, "get_input_embeddings"):
        raise ModelError(f"The model must come from load_model or load_bridge; got a {type(model).__name__}.")
    vocabulary, context, longest = inner.config.vocab_size, context_length(model), batch.tokens.shape[1]
    if model.training:
        raise ModelError("The model is in train mode, where dropout changes every answer; call model.eval() first.")
    if not ((batch.tokens >= 0) & (batch.tokens < vocabulary)).all():
        raise ArgumentError(f"The model's ids go from 0 to {vocabulary - 1}; make tokens with its own tokenizer.")
    if longest > context:
        raise TextError(f"The longest text has {longest} tokens; the model reads {context} at most.")
    return batch.to(inner.get_input_embeddings().weight.device)


def load_bridge(name="storybook", *, compatibility=False, device=None, untrained=False):
    """Load the same model as a TransformerLens bridge, whose every activation has a name, and its tokenizer.

    name, device, untrained: as for `load_model`, "smollm2" included; the bridge has a model of its own, which nothing
        else holds.
    compatibility: False for *raw* weights: they, activations and logits are those of transformers. True for
        *processed* weights: norms are folded into the matrices after them, value biases into output biases, and what
        is written and read is centred. Probabilities stay the same, logits move by a constant at each position, the
        residual stream and the weights are others. `bridge.compatibility_mode` says which a bridge has.

    Returns (bridge, tokenizer). Give the bridge token ids: of a string it makes its own, with a first token added.
    Raises what `load_model` raises, and ModelError when TransformerLens does not know the architecture.

    >>> bridge, tokenizer = load_bridge("storybook", device="cpu")
    >>> bridge.compatibility_mode, bridge.cfg.n_layers
    (False, 6)
    """
    from transformer_lens.model_bridge import TransformerBridge  # 1 s and 95 MB: here, for those who want it

    model, tokenizer = load_model(name, device=device, untrained=untrained)
    what, advice = f"TransformerLens cannot use {name!r} ({type(model).__name__})", "load_model opens it without it."
    with explained(ModelError, what, advice), _memory_in_words(name):
        path, device = str(model.config.name_or_path), str(model.device)
        bridge = TransformerBridge.boot_transformers(path, hf_model=model, tokenizer=tokenizer, device=device)
        if compatibility:
            bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge.eval(), tokenizer


def empty_model(config):
    """The model of a configuration without its weights: names and shapes of all tensors, and no memory for them.

    config: as transformers has them, such as GPT2Config(). The tensors are on torch's device "meta": they can be
    counted and cannot be read. Nothing is downloaded.

    >>> from transformers import GPT2Config
    >>> sum(tensor.numel() for tensor in empty_model(GPT2Config()).parameters())
    124439808
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _best_device():
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


@torch.no_grad()
def _to_trusted(device, model, name):
    """Move a model from the processor to a device that nobody asked for, if it says the same there."""
    tokens = torch.arange(2 * min(32, context_length(model))).view(2, -1) * 7919 % model.config.vocab_size
    wanted = model(tokens).logits
    found = model.to(device)(tokens.to(model.device)).logits.cpu()
    off = ((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max()
    if not off <= 1e-3:  # of their length; NaN is not. Other orders of sums in float32 give a hundredth of that.
        model.to("cpu")
        where, ask = f"On {device.type!r}, {name!r} gives other logits than on the processor", f"device={device.type!r}"
        said = f"{where} (off by {off:.2g} of their size), so it stays on the processor: newer versions of torch may"
        warnings.warn(f"{said} do better there, and {ask} takes it all the same.", stacklevel=4)


@torch.no_grad()
def _first_logits(model):
    """Logits of a first token before another and before a third, `(2, token, vocabulary)`: the same if it is causal."""
    pairs = torch.tensor([[1, 2], [2, 1], [1, 3], [2, 3]], device=model.device)  # one of them may be padding
    return model(pairs % model.config.vocab_size).logits[:, 0].unflatten(0, (2, 2))


@contextmanager
def _memory_in_words(name):
    """Say of a model that it is too large: a damaged one needs other advice."""
    try:
        yield
    except Exception as problem:
        said = f"{type(problem).__name__}: {problem}"
        if not any(words in said.lower() for words in FULL):
            raise
        advice = "Take a smaller model, end what else holds memory, or spread it over devices with device_map='auto'."
        raise ModelError(f"{name!r} does not fit into memory: {said.rstrip('.')}. {advice}") from problem


@contextmanager
def _no_loading_bar():
    """Hide transformers' bar for reading weights; a second's work needs none, and notebooks would store it."""
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()
