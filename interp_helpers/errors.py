"""What this package raises when it is given something that it cannot work with."""

import re
from numbers import Integral


class InterpError(Exception):
    """Base of every error that the package raises on purpose: catch this one to catch them all."""


class ModelError(InterpError):
    """A model cannot be found, reached, read or used."""


class TextError(InterpError):
    """A text is empty, or longer than the model can read."""


class ArgumentError(InterpError, ValueError):
    """An argument is out of range, has the wrong shape, or is not a finite number."""


class FileError(InterpError, OSError):
    """A file cannot be written."""


class ClaimError(InterpError, AssertionError):
    """A claim of the course does not hold on the model that the course carries."""


class CheckError(InterpError, AssertionError):
    """An exercise is wrong or missing while it is graded."""


def check_tensors(operation, *, of="numbers", axes="...", finite=True, **tensors):
    """Raise ArgumentError when an argument is no tensor that an analysis can work with. tensors: by argument's name.

    of: what they must hold, "numbers" (floating-point), "precise numbers" (of 32 bits or more, as linear algebra needs
    them), "complex numbers" (or real ones), "ids" (whole numbers) or "booleans". axes: their names, such as
    "(row, d_model)", or "(..., query, key)" when others may stand before. All must hold something and be on one device,
    and numbers must be finite unless `finite` is false.

    >>> import torch
    >>> check_tensors("norms", vectors=torch.tensor([1.0, torch.nan]))
    Traceback (most recent call last):
        ...
    interp_helpers.errors.ArgumentError: norms: vectors holds NaN or infinity. Look at the layer that it comes from.
    """
    import torch  # here: importing the package brings none

    precise = (torch.float32, torch.float64)
    words, dtypes = {
        "numbers": ("floating-point numbers", (*precise, torch.float16, torch.bfloat16)),
        "precise numbers": ("float32 or float64 numbers (.float() makes them)", precise),
        "complex numbers": ("real or complex numbers", (*precise, torch.complex64, torch.complex128)),
        "ids": ("whole numbers", (torch.int32, torch.int64)),
        "booleans": ("booleans", (torch.bool,)),
    }[of]
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ArgumentError(f"{operation}: {name} must be a tensor of {words}; got a {type(tensor).__name__}.")
        if tensor.dtype not in dtypes:
            raise ArgumentError(f"{operation}: {name} must hold {words}; got {tensor.dtype}.")
        if tensor.numel() == 0:
            raise ArgumentError(f"{operation}: {name} is empty; its shape is {tuple(tensor.shape)}.")
        if tensor.device.type == "meta":
            raise ArgumentError(f"{operation}: {name} has a shape and no numbers (it is on the device meta).")
        if finite and "numbers" in of and not tensor.isfinite().all():
            raise ArgumentError(f"{operation}: {name} holds NaN or infinity. Look at the layer that it comes from.")
        _check_axes(operation, name, tuple(tensor.shape), axes)
    check_devices(operation, **tensors)


def check_devices(operation, **tensors):
    """Raise ArgumentError when tensors are on different devices. tensors: by argument's name."""
    if len({tensor.device for tensor in tensors.values()}) > 1:
        places = ", ".join(f"{name} on {tensor.device}" for name, tensor in tensors.items())
        raise ArgumentError(f"{operation}: tensors must be on one device, and {places}. Move one with .to().")


def check_types(operation, **tensors):
    """Raise ArgumentError when tensors to be multiplied are of different types. tensors: by argument's name."""
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        types = ", ".join(f"{name} is {tensor.dtype}" for name, tensor in tensors.items())
        raise ArgumentError(f"{operation}: tensors must be of one type, and {types}. Turn one into it with .to().")


def check_attention(operation, pattern, counted=None):
    """Raise ArgumentError when rows of a pattern `(..., query, key)` are no weights: they sum to 1, none below 0.

    counted: booleans, broadcast with `(..., query)`, where rows are looked at: those of padding may be anything.
    """
    import torch

    half = pattern.dtype in (torch.float16, torch.bfloat16)  # bfloat16 keeps three digits of a weight
    sums = pattern.sum(-1, dtype=torch.float32 if half else pattern.dtype)
    bad = ((sums - 1).abs() > (1e-2 if half else 1e-3)) | (pattern.amin(-1) < 0)
    if counted is not None:
        bad = bad & counted
    if bad.any():
        place = bad.nonzero()[0].tolist()
        row = pattern.expand(*bad.shape, pattern.shape[-1])[tuple(place)]
        where = "head {}, query {}".format(*place) if len(place) == 2 else f"{place}, query last,"
        raise ArgumentError(
            f"{operation}: pattern's row of {where} sums to {row.sum():.4g}, its smallest weight is {row.min():.4g}; a "
            "row must sum to 1 with no weight below 0. Give the pattern after the softmax, with all its keys."
        )


def checked_array(operation, name, values, *, axes="...", finite=True):
    """Numbers of any kind, in a list, an array or a tensor on any device, as an array; refused as by `check_tensors`.

    >>> checked_array("cluster", "features", [[1, 2], [3, 4]], axes="(head, feature)").shape
    (2, 2)
    """
    import numpy as np
    import torch

    try:
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu()
            values = values.float() if values.dtype == torch.bfloat16 else values  # which numpy does not have
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as problem:  # rows of different lengths, a tensor without numbers
        raise ArgumentError(f"{operation}: {name} cannot be read as an array: {problem}") from problem
    if found.dtype.kind not in "fiub" or not found.size:
        raise ArgumentError(
            f"{operation}: {name} must hold numbers; got a {type(values).__name__} of {found.dtype}, {found.shape}."
        )
    if finite and not np.isfinite(found).all():
        raise ArgumentError(f"{operation}: {name} holds NaN or infinity. Look at what it comes from.")
    _check_axes(operation, name, found.shape, axes)
    return found


def _check_axes(operation, name, shape, axes):
    count = len(re.findall(r"\w+", axes))
    if len(shape) < count or (len(shape) > count and "..." not in axes):
        raise ArgumentError(f"{operation}: {name} must be {axes}; got {shape}.")


def broadcast(shape, other):
    """Whether two shapes can be broadcast.

    >>> broadcast((4, 1, 3), (2, 3)), broadcast((4,), (3,))
    (True, False)
    """
    return all(size == its or 1 in (size, its) for size, its in zip(shape[::-1], other[::-1]))


def check_whole(operation, least, most=None, **numbers):
    """Raise ArgumentError when an argument is no whole number from `least` to `most`. numbers: by argument's name."""
    for name, number in numbers.items():
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        if not whole or number < least or (most is not None and number > most):
            wanted = f"{least} or more" if most is None else f"from {least} to {most}"
            raise ArgumentError(f"{operation}: {name} is {number!r}; it must be a whole number, {wanted}.")


def check_model(operation, model):
    """Raise ModelError when `model` is none of transformers'."""
    if not hasattr(model, "named_modules") or not hasattr(model, "config"):
        raise ModelError(
            f"{operation}: model must be a model of transformers, as load_model gives it; got a {type(model).__name__}."
        )


def check_readable(operation, model, *, logits=False):
    """Raise ModelError when `model` is none that texts can be read with: none of transformers', or in train mode.

    logits: whether it has to predict, too: then a bare trunk, or a bridge of TransformerLens, will not do.
    """
    check_model(operation, model)
    if getattr(model, "training", False):
        raise ModelError(
            f"{operation}: the model is in train mode, where dropout makes every answer another one; call model.eval() "
            "first."
        )
    bridge = hasattr(model, "run_with_cache")
    if logits and (bridge or getattr(model, "base_model", None) is model):
        kind = "a bridge of TransformerLens" if bridge else "a model without its unembedding"
        raise ModelError(
            f"{operation}: the model must be a causal language model of transformers, as load_model gives it; got "
            f"{kind} ({type(model).__name__})."
        )


def head_count(operation, model):
    """How many heads each layer of a model has. Raises ModelError when it has none, as Mamba."""
    check_model(operation, model)
    count = getattr(model.config, "num_attention_heads", None)
    if not count:
        raise ModelError(
            f"{operation}: {type(model).__name__} has no attention heads: its configuration states no "
            "num_attention_heads. Take a transformer, such as load_model('gpt2') gives."
        )
    return count


def check_seed(operation, seed):
    """Raise ArgumentError when a seed is none that torch's generators take."""
    check_whole(operation, 0, 2**63 - 1, seed=seed)


def checked_ids(operation, ids, vocabulary, shape, name="ids"):
    """Token ids as a tensor of a shape. ids: one, for all of them, or a tensor of that shape, whole numbers.

    name: of the argument that they are. Raises ArgumentError when there are others, or some that are not below
    `vocabulary`.
    """
    import torch  # here: importing the package brings none

    if isinstance(ids, Integral) and not isinstance(ids, bool):
        fits = 0 <= ids < vocabulary  # before it is a tensor: 2 ** 63 would not fit into one
    else:
        fits = isinstance(ids, torch.Tensor) and ids.dtype in (torch.int32, torch.int64) and ids.numel() > 0
        fits = fits and ids.device.type != "meta" and ids.shape in ((), tuple(shape))
        fits = fits and ids.min() >= 0 and ids.max() < vocabulary
    if not fits:
        raise ArgumentError(
            f"{operation}: {name} must be token ids, whole numbers from 0 to {vocabulary - 1}, one or {tuple(shape)} "
            f"of them; got {ids!r}. encode turns a word into ids."
        )
    return torch.as_tensor(ids).long().expand(shape)
