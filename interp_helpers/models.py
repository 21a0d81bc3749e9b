"""A name becomes a model and its tokenizer: the bundled one, one from the Hugging Face hub, or a local folder."""

import hashlib
import json
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import torch

from .errors import ModelError
from .hub import checked_name, fetch, looks_like_path

STORYBOOK = Path(__file__).parent / "data" / "storybook"

# Models that the notebooks are written for; an unknown name is answered with the nearest of them.
KNOWN = [
    "storybook",
    "gpt2",
    "gpt2-medium",
    "gpt2-large",
    "gpt2-xl",
    "distilgpt2",
    "EleutherAI/gpt-neo-125M",
    "EleutherAI/gpt-neo-1.3B",
    "EleutherAI/pythia-70m",
    "EleutherAI/pythia-160m",
    "HuggingFaceTB/SmolLM2-135M",
]
TWIN_SEED = 0
UNSTATED = 1024  # tokens, GPT-2's
NO_TOKENIZER = (  # transformers would make one that knows a word or two
    "its tokenizer is missing (there is no tokenizer.json, no vocab.json with merges.txt, no vocab.txt, no .model); "
    "save it too: tokenizer.save_pretrained(folder)"
)
# What backends say when memory is short; Python and torch have classes for it too, which not all of them use.
FULL = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")


def load_model(name="storybook", *, device=None, device_map=None, untrained=False):
    """Load a causal language model for looking inside it, and its tokenizer.

    name: "storybook" (bundled, needs no network), a Hugging Face hub id such as "gpt2" or
        "EleutherAI/gpt-neo-125M", or the path of a local folder.
    device: "cpu", "cuda", "mps" or a torch.device; by default the best one that is there.
    device_map: for a model too large for one device, "auto" or a map as transformers takes it; instead of a device.
    untrained: give the untrained twin: the same configuration with fresh weights, always the same ones.

    Returns (model, tokenizer): the model in eval mode, in float32, with eager attention, so that it can hand
    out its attention patterns. Only safetensors are read and no code of the model's is run. Where a configuration
    states no longest text as `max_position_embeddings`, that becomes its `max_seq_len`, MPT's name for it, or else
    1024, as for BLOOM, whose attention falls with distance.

    Raises ModelError when there is no such model or device, the hub cannot be reached, the folder holds no usable
    model or no tokenizer, the weights are damaged, incomplete, not finite or too large for the memory, or the model is
    not causal.

    >>> model, tokenizer = load_model("storybook", device="cpu")
    >>> model.training, model.dtype
    (False, torch.float32)
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if device_map is not None and (device is not None or untrained):
        raise ModelError("load_model: device_map takes the place of a device, and the untrained twin has none.")
    checked_name("load_model", name, ModelError)
    device = _pick_device(device)
    try:
        folder = _find_folder(str(name))
        _check_sums(folder, name)
        config = AutoConfig.from_pretrained(folder)
        _check_causal(config, name)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if untrained:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(TWIN_SEED)
                model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
        else:
            with _no_loading_bar():
                model, report = AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=torch.float32,
                    attn_implementation="eager",
                    use_safetensors=True,
                    device_map=device_map,
                    output_loading_info=True,
                )
            _check_complete(report, name)
        model = model.eval() if device_map is not None else model.to(device).eval()
        _check_looks_back(model, name)
        if getattr(model.config, "max_position_embeddings", None) is None:
            model.config.max_position_embeddings = getattr(model.config, "max_seq_len", None) or UNSTATED
    except ModelError:
        raise
    except Exception as problem:  # transformers, tokenizers and safetensors each have errors of their own
        if _is_full(problem):
            raise ModelError(
                f"load_model: {name!r} does not fit into memory: {type(problem).__name__}: {problem} Take a smaller "
                "model, end what else holds memory, or spread it over several devices: load_model(..., "
                'device_map="auto").'
            ) from problem
        raise ModelError(
            f"load_model: {name!r} cannot be read: {type(problem).__name__}: {problem} "
            "A file may be cut short or damaged, or of a kind that transformers does not know. "
            "Copy or download the folder again."
        ) from problem
    return model, tokenizer


def load_bridge(name="storybook", *, compatibility=False, device=None, untrained=False):
    """Load the same model as a TransformerLens bridge, whose every activation has a name, and its tokenizer.

    name, device, untrained: as for `load_model`; the bridge has a model of its own, which nothing else holds.
    compatibility: choose the numerics. False, *raw*: weights, activations and logits are those of transformers.
        True, *compatibility*: norms are folded into the matrices after them, value biases into output biases, and
        what is written and read is centred. Probabilities stay the same, logits move by a constant a position,
        the stream and the weights are others. `bridge.compatibility_mode` says which one a bridge is in.

    Returns (bridge, tokenizer). Give the bridge token ids: of a string it makes its own, with a first token added.
    Raises ModelError as `load_model` does, and when TransformerLens does not know the architecture.

    >>> bridge, tokenizer = load_bridge("storybook", device="cpu")
    >>> bridge.compatibility_mode, bridge.cfg.n_layers
    (False, 6)
    """
    from transformer_lens.model_bridge import TransformerBridge  # 1 s and 95 MB: here, for those who want it

    checked_name("load_bridge", name, ModelError)
    device = _pick_device(device, "load_bridge")
    model, tokenizer = load_model(name, device=device, untrained=untrained)
    try:
        bridge = TransformerBridge.boot_transformers(
            str(_find_folder(str(name))), hf_model=model, tokenizer=tokenizer, device=str(model.device)
        )
        if compatibility:
            bridge.enable_compatibility_mode(disable_warnings=True)
    except Exception as problem:  # each adapter has errors of its own
        raise ModelError(
            f"load_bridge: TransformerLens cannot use {name!r} ({type(model).__name__})"
            f"{' in compatibility mode' if compatibility else ''}: {type(problem).__name__}: {problem} "
            "load_model opens it without TransformerLens."
        ) from problem
    return bridge.eval(), tokenizer


def empty_model(config):
    """The model of a configuration without its weights: names and shapes of all tensors, and no memory for them.

    config: as transformers has them, such as GPT2Config(). The tensors are on torch's device "meta": they can be
    counted and cannot be read. Nothing is downloaded.

    Raises ModelError when the configuration is not of a causal language model, or its numbers do not go together.

    >>> from transformers import GPT2Config
    >>> sum(tensor.numel() for tensor in empty_model(GPT2Config()).parameters())
    124439808
    """
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"empty_model: config is a {type(config).__name__}, which is not the configuration of a causal language "
            "model. The course needs one such as GPT2Config()."
        )
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception as problem:  # numbers that do not go together: each architecture has errors of its own
        raise ModelError(
            f"empty_model: no model can be built from this {type(config).__name__}: "
            f"{type(problem).__name__}: {problem} Look at the numbers in config."
        ) from problem


def _is_full(problem):
    said = isinstance(problem, (RuntimeError, OSError)) and any(each in str(problem).lower() for each in FULL)
    return said or isinstance(problem, (MemoryError, torch.OutOfMemoryError))


def _pick_device(device, operation="load_model"):
    if device is not None:
        try:
            torch.zeros(1, device=device).cpu()  # a name may be right, and no such device be there
        except Exception as problem:  # each backend has errors of its own
            raise ModelError(f"{operation}: there is no device {device!r}; try 'cpu', 'cuda' or 'mps'.") from problem
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _find_folder(name):
    """The local folder that holds the model called `name`; a hub model is fetched when it is not in the cache."""
    if name == "storybook":
        return STORYBOOK
    folder = Path(name).expanduser()
    if folder.is_dir():
        if missing := _missing_part(folder):
            raise ModelError(f"load_model: the folder {name!r} cannot be used: {missing}.")
        return folder
    if looks_like_path(name):
        raise ModelError(f"load_model: there is no folder {name!r}{_nearest(name)}. Check the path.")
    return fetch(
        name,
        kind="model",
        patterns=["*.json", "*.txt", "*.model", "*.safetensors"],
        missing=_missing_part,
        operation="load_model",
        bundled="storybook",
        error=ModelError,
        hint=_nearest(name),
    )


def _missing_part(folder):
    """What keeps a folder from being a model, in words; None when nothing does."""
    there = {path.name for path in folder.iterdir()}
    if "config.json" not in there:
        return "config.json is missing"
    if "model.safetensors.index.json" in there:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        absent = sorted(set(index["weight_map"].values()) - there)
        if absent:
            return f"{', '.join(absent)} missing"
    elif "model.safetensors" not in there:
        pickled = sorted(name for name in there if name.endswith((".bin", ".pt", ".ckpt")))
        return "model.safetensors is missing" + (
            f" (and {', '.join(pickled)} may run code when it is read, so it is not: "
            "save the model again with model.save_pretrained(folder), and tokenizer.save_pretrained(folder))"
            if pickled
            else ""
        )
    return None if _holds_tokenizer(there) else NO_TOKENIZER


def _holds_tokenizer(there):
    """Whether one of the forms in which tokenizers are saved is among the names of files."""
    whole = {"tokenizer.json", "tekken.json", "vocab.txt"} & there or any(name.endswith(".model") for name in there)
    return bool(whole or {"vocab.json", "merges.txt"} <= there)


def _nearest(name):
    """' (did you mean 'gpt2'?)' for 'gtp2'; empty when nothing is near or the name is a known one."""
    known = {each.lower(): each for each in KNOWN} | {each.split("/")[-1].lower(): each for each in KNOWN}
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f" (did you mean {known[near[0]]!r}?)" if near and known[near[0]] != name else ""


def _check_sums(folder, name):
    """Compare every file that the folder's SHA256SUMS lists, when it has one."""
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8").splitlines():
        expected, file = line.split(maxsplit=1)
        path = folder / file
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if found != expected:
            raise ModelError(
                f"load_model: {file} of {name!r} is damaged: its sha256 is {found[:12]}, SHA256SUMS says "
                f"{expected[:12]}. Get the file again, for example with git checkout or a new install."
            )


def _check_causal(config, name):
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    causal = {
        each
        for value in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        for each in (value if isinstance(value, (tuple, list)) else [value])
    }
    architectures = config.architectures or []
    if not causal.intersection(architectures):
        raise ModelError(
            f"load_model: {name!r} is not a causal language model (its architecture: "
            f"{', '.join(architectures) or 'not stated'}). The course needs one that predicts the next token "
            "from the tokens before it, such as 'gpt2'."
        )


@torch.no_grad()
def _check_looks_back(model, name):
    """The first token's logits must ignore the second: configurations of some encoders claim to be causal models."""
    pairs = torch.tensor([[1, 2], [1, 3], [2, 1], [2, 3]], device=model.device)  # one of them may be padding
    first = model(pairs % model.config.vocab_size).logits[:, 0]
    if not first.isfinite().all():
        raise ModelError(f"load_model: the weights of {name!r} hold NaN or infinity, or make them. Get them again.")
    if not torch.allclose(first[::2], first[1::2], atol=1e-4):
        raise ModelError(f"load_model: {name!r} is not causal: what it says of a token changes with the next one.")


def _check_complete(report, name):
    """Weights that are missing would silently be random ones."""
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ModelError(
            f"load_model: the weights of {name!r} lack {len(lacking)} of the model's tensors, {lacking[0]} first. "
            "Copy or download the folder again."
        )


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
