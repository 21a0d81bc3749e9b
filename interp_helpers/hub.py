"""A name becomes a folder: bundled, installed, local, or of the Hugging Face hub. No waiting for an absent network."""

import hashlib
import json
from contextlib import suppress
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path

from .errors import ArgumentError, ModelError, TextError, explained
from .installed import smollm2_folder

STORYBOOK = Path(__file__).parent / "data" / "storybook"
FILES = ("*.json", "*.txt", "*.model", "*.safetensors")  # what a model and its tokenizer are read from
TABLES = ("*.csv", "*.parquet", "*.json", "*.jsonl")  # what a data set is read from
FILE_NAMES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".xlsx", ".gz", ".ipynb", ".safetensors", ".gguf")
OTHERS = {  # what a folder without weights that can be read may hold instead -> what that is
    "adapter_config.json": "it is an adapter to another model; peft's merge_and_unload() makes a model of both",
    "*.gguf": "GGUF is read by llama.cpp alone; take the model in safetensors",
    "pytorch_model*.bin": "save it with model.save_pretrained(folder), because reading its .bin may run code",
    "*": "save it with model.save_pretrained(folder), other formats may run code",
}
TIMEOUT = 5  # seconds until the hub counts as not reachable
KNOWN = [  # models that the notebooks are written for; an unknown name is answered with the nearest of them
    "storybook",
    "smollm2",
    *("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"),
    *("EleutherAI/gpt-neo-125M", "EleutherAI/gpt-neo-1.3B", "EleutherAI/pythia-70m", "EleutherAI/pythia-160m"),
    "HuggingFaceTB/SmolLM2-135M",
]


def find_folder(name, kind="model", *, revision=None):
    """The local folder of a model or a data set. What is of the hub is fetched when the cache does not hold it whole.

    name: "storybook", "smollm2", a path, or a hub id; kind: "model" or "dataset", as the hub calls them.
    revision: a branch, tag or commit of a hub repository; by default its main branch.
    Raises ModelError, or TextError for a data set, when there is none, it is damaged, or the hub cannot be reached, and
    ArgumentError for a revision of one that is not on the hub.
    """
    own = {"storybook": lambda: STORYBOOK, "smollm2": smollm2_folder} if kind == "model" else {}
    if revision is not None and (name in own or Path(name).expanduser().is_dir()):
        what = f"Only hub repositories have revisions; {name!r} is none, but the revision is {revision!r}"
        raise ArgumentError(f"{what}. Leave it out, or take a hub id, such as 'EleutherAI/pythia-70m'.")
    folder = own.get(name, Path(name).expanduser)()
    defect, error = (_defect_of_model, ModelError) if kind == "model" else (_defect_of_data_set, TextError)
    if folder.is_file() and kind == "model":
        raise error(f"{name!r} is a file. A model is a folder with config.json, model.safetensors and a tokenizer.")
    if not folder.is_dir():
        hint = _nearest(name) if kind == "model" else ""
        if looks_like_path(name):
            place = "folder" if kind == "model" else "file or folder"
            raise error(f"There is no {place} {name!r}{hint}. Check the path.")
        folder = _fetch(name, kind, defect, error, hint, revision)
    if found := (kind == "model" and _foreign(folder)) or defect(folder):
        raise error(f"The folder of {name!r} cannot be used: {found}.")
    return folder


def looks_like_path(name):
    """Whether a name is meant as a path: no hub id begins so, has two slashes, or ends as a file does."""
    begins, ends = name.startswith((".", "/", "~")), name.lower().endswith(FILE_NAMES)
    return begins or ends or "\\" in name or name.count("/") > 1


def _nearest(name):
    """The known model whose name is most like this one, as what may stand behind it in a sentence."""
    known = {alias.lower(): model for model in KNOWN for alias in (model, model.split("/")[-1])}
    near = [known[alias] for alias in get_close_matches(name.lower(), known, n=1)]
    return f" (did you mean {near[0]!r}?)" if near and near != [name] else ""


def _defect_of_model(folder):
    """What a folder lacks for a model, in words; None when it is whole."""
    there = {path.name for path in folder.iterdir()}
    needed, index = {"model.safetensors"}, folder / "model.safetensors.index.json"
    if index.is_file():  # of weights in several files
        needed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    if absent := sorted({"config.json", *needed} - there):
        kind = next(about for files, about in OTHERS.items() if any(fnmatch(file, files) for file in {*there, ""}))
        return f"{', '.join(absent)} missing; {kind}"
    tokenizers = [{"tokenizer.json"}, {"tekken.json"}, {"vocab.txt"}, {"vocab.json", "merges.txt"}]
    if not any(files <= there for files in tokenizers) and not any(file.endswith(".model") for file in there):
        return "its tokenizer is missing; save it too: tokenizer.save_pretrained(folder)"  # else one without words
    sums = (folder / "SHA256SUMS").read_text(encoding="utf-8") if "SHA256SUMS" in there else ""
    for expected, file in (line.split(maxsplit=1) for line in sums.splitlines()):
        if hashlib.sha256((folder / file).read_bytes()).hexdigest() != expected:
            return f"{file} is damaged, its sha256 is not that of SHA256SUMS; get it again"
    return None


def _foreign(folder):
    """Why a folder is no model that the course can open, by its configuration; None when nothing speaks against it.

    Known before it is loaded: transformers would ask whether to run its code, or name a class of its own.
    """
    from transformers import CONFIG_MAPPING, __version__
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    file = folder / "config.json"
    try:
        config = dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
    except (ValueError, TypeError):
        return "config.json is cut short or damaged; get it again"
    if config is None:
        return None
    kind, stated = config.get("model_type"), " or ".join(config.get("architectures") or ["nothing"])
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method", "an unknown method")
        return f"its weights are quantized ({method}); take the model with the weights that they were made from"
    if kind not in CONFIG_MAPPING:
        if kind is None:
            return "its config.json states no model type; save the model anew: model.save_pretrained(folder)"
        if config.get("auto_map"):
            return f"it ({stated}) needs code of its own, and no code of a model's is run; take one that needs none"
        return f"transformers {__version__} does not know the model type {kind!r} ({stated}); a newer one may know it"
    if other := [each for each in ("vision_config", "audio_config") if each in config]:
        reads = " and ".join({"vision_config": "images", "audio_config": "sound"}[each] for each in other)
        return f"it ({stated}) reads {reads} beside text; take a model of its family that reads text alone"
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return f"it is not a causal language model: it is stated to be {stated}; take one that writes text on, as gpt2"
    return None


def _defect_of_data_set(folder):
    return None if any(any(folder.rglob(pattern)) for pattern in TABLES) else f"it holds none of {', '.join(TABLES)}"


def _fetch(name, kind, defect, error, hint, revision):
    """The cache folder of a hub repository. The network is asked only when the cache does not hold it whole."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if kind == "model":  # from its top folder alone: below are copies of the weights in other formats
        offline, wanted = "load_model('storybook')", {"allow_patterns": list(FILES), "ignore_patterns": ["*/*"]}
    else:
        offline, wanted = "load_sentences('reviews')", {"allow_patterns": ["*.md", *TABLES]}
    version = {"repo_type": kind, "revision": revision}
    lacks = None
    which = f"{name!r}{hint}" if revision is None else f"revision {revision!r} of {name!r}{hint}"
    try:
        with suppress(LocalEntryNotFoundError):
            cached = Path(snapshot_download(name, local_files_only=True, **version, **wanted))
            if (lacks := defect(cached)) is None:
                return cached
        HfApi().repo_info(name, **version, timeout=TIMEOUT)  # one question, no retries: 23 s of them are spared
    except (HFValidationError, RepositoryNotFoundError) as problem:
        raise error(f"The hub has no {kind} {name!r}{hint}, or it is private.") from problem
    except RevisionNotFoundError as problem:
        raise error(f"{name!r} has no revision {revision!r}. See its branches on its page on the hub.") from problem
    except Exception as problem:  # no network, a proxy, a time-out, HF_HUB_OFFLINE: each has its own error
        unreached = f"the Hugging Face hub cannot be reached ({type(problem).__name__})"
        if lacks is not None:
            what = f"The copy of {which} on this machine is not whole ({lacks.partition(';')[0]}), and {unreached}"
            advice = f"Try again with a network, which fetches the rest, or go on with {offline}"
            raise error(f"{what}. {advice}.") from problem
        what = f"{which} is not on this machine and {unreached}"
        raise error(f"{what}. Go on with {offline}, which needs no network.") from problem
    with explained(error, f"The download of {which} broke off", f"Try again, or go on with {offline}."):
        return Path(snapshot_download(name, **version, **wanted))
