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
