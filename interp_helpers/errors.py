"""What this package raises when it is given something that it cannot work with."""


class InterpError(Exception):
    """Base of every error that the package raises on purpose: catch this one to catch them all."""


class ModelError(InterpError):
    """A model cannot be found, reached, read or used."""


class TextError(InterpError):
    """A text is empty, or longer than the model can read."""


class ArgumentError(InterpError, ValueError):
    """An argument is out of range, has the wrong shape, or is not a finite number."""


class ClaimError(InterpError, AssertionError):
    """A claim of the course does not hold on the model that the course carries."""


class CheckError(InterpError, AssertionError):
    """An exercise is wrong or missing while it is graded."""


def check_tensors(operation, *, of="numbers", finite=True, **tensors):
    """Raise ArgumentError when an argument is no tensor that an analysis can work with. tensors: by argument's name.

    of: what they must hold, "numbers" (floating-point), "ids" (whole numbers) or "booleans". All must hold something
    and be on one device, and numbers must be finite unless `finite` is false.

    >>> import torch
    >>> check_tensors("norms", vectors=torch.tensor([1.0, torch.nan]))
    Traceback (most recent call last):
        ...
    interp_helpers.errors.ArgumentError: norms: vectors holds NaN or infinity. Look at the layer that it comes from.
    """
    import torch  # here: importing the package brings none

    kinds = {
        "numbers": lambda dtype: dtype.is_floating_point,
        "ids": lambda dtype: dtype in (torch.int32, torch.int64),
        "booleans": lambda dtype: dtype == torch.bool,
    }
    devices = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ArgumentError(f"{operation}: {name} must be a tensor of {of}; got a {type(tensor).__name__}.")
        if not kinds[of](tensor.dtype):
            raise ArgumentError(f"{operation}: {name} must hold {of}; got {tensor.dtype}.")
        if tensor.numel() == 0:
            raise ArgumentError(f"{operation}: {name} is empty; its shape is {tuple(tensor.shape)}.")
        if tensor.device.type == "meta":
            raise ArgumentError(f"{operation}: {name} has a shape and no numbers (it is on the device meta).")
        devices[name] = tensor.device
        if len(set(devices.values())) > 1:
            places = ", ".join(f"{each} on {device}" for each, device in devices.items())
            raise ArgumentError(f"{operation}: tensors must be on one device, and {places}. Move one with .to().")
        if finite and of == "numbers" and not tensor.isfinite().all():
            raise ArgumentError(f"{operation}: {name} holds NaN or infinity. Look at the layer that it comes from.")


def check_finite(operation, what, *tensors):
    """Raise ArgumentError when a tensor holds NaN or infinity. what: what the tensors are, such as "the pattern"."""
    for tensor in tensors:
        if not tensor.isfinite().all():
            raise ArgumentError(f"{operation}: {what} holds NaN or infinity. Look at the layer that it comes from.")


def checked_ids(operation, ids, vocabulary, shape):
    """Token ids as a tensor of a shape. ids: one, for all of them, or a tensor of that shape, whole numbers.

    Raises ArgumentError when there are others, or some that are not below `vocabulary`.
    """
    import torch  # here: importing the package brings none

    whole = isinstance(ids, int) and not isinstance(ids, bool)
    if isinstance(ids, torch.Tensor):
        whole = ids.dtype in (torch.int32, torch.int64) and ids.shape in ((), tuple(shape)) and ids.numel() > 0
    found = torch.as_tensor(ids) if whole else None
    if found is None or found.min() < 0 or found.max() >= vocabulary:
        raise ArgumentError(
            f"{operation}: token ids are whole numbers from 0 to {vocabulary - 1}, one or {tuple(shape)} of them; got "
            f"{ids!r}. encode turns a word into ids."
        )
    return found.expand(shape)
