"""Helpers of the notebook course on looking inside GPT-style language models.

Importing the package loads nothing else: a name brings its module, and torch with it, when it is first used.
"""

from importlib import import_module
from importlib.metadata import version

_HOME = {  # public name -> module
    "ArgumentError": "errors",
    "CheckError": "errors",
    "ClaimError": "errors",
    "FileError": "errors",
    "InterpError": "errors",
    "ModelError": "errors",
    "TextError": "errors",
    "empty_model": "models",
    "load_bridge": "models",
    "load_model": "models",
    "encode": "texts",
    "encode_pair": "texts",
    "load_sentences": "texts",
    "pair_for": "texts",
    "passages": "texts",
    "prompt_for": "texts",
    "question_for": "texts",
    "repeated_random_tokens": "texts",
    "shuffled": "texts",
    "token_batches": "texts",
    "token_labels": "texts",
    "Generation": "capture",
    "attention_modules": "capture",
    "attention_output_norms": "capture",
    "attention_outputs": "capture",
    "final_norm_name": "capture",
    "head_outputs": "capture",
    "mean_head_outputs": "capture",
    "read_streams": "capture",
    "record_generation": "capture",
    "record_inputs": "capture",
    "replace_heads": "capture",
    "replace_stream": "capture",
    "taken_from": "capture",
    "zeros": "capture",
    "bootstrap_interval": "heads",
    "classify": "heads",
    "Claims": "claims",
    "published_figures": "published",
    "training_log": "log",
}
_MODULES = sorted(
    {
        *_HOME.values(),
        "adjustments",
        "checks",
        "files",
        "live",
        "patching",
        "plots",
        "residual",
        "sharded",
        "survey",
        "views",
        "weights",
    }
)

__all__ = ["__version__", *_MODULES, *_HOME]
__version__ = version("interp-helpers")


def __getattr__(name):
    if name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # later uses skip this function
    return value


def __dir__():
    return sorted(__all__)
