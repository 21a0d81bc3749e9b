"""What the package raises on purpose, and `checked`, which compares calls with the types and shapes of a signature."""

import functools
import re
from contextlib import contextmanager


class InterpError(Exception):
    """Base of every error that the package raises on purpose: catch this one to catch them all."""


class ModelError(InterpError):
    """A model cannot be found, reached, read or used."""


class TextError(InterpError):
    """A text is empty, longer than the model can read, or in a file that cannot be read."""


class ArgumentError(InterpError, ValueError):
    """An argument is out of range, has the wrong type or shape, or is not a finite number."""


class FileError(InterpError, OSError):
    """A file cannot be written, or one of the course's own cannot be read."""


class ClaimError(InterpError, AssertionError):
    """A claim of the course does not hold on the model that the course carries."""


class CheckError(InterpError, AssertionError):
    """An exercise is wrong or missing while it is graded."""


@contextmanager
def explained(error, what, advice):
    """Raise `error` for whatever goes wrong inside: what could not be done, what was said of it, and what to do."""
    try:
        yield
    except InterpError:
        raise
    except Exception as problem:  # every library has errors of its own
        said = str(problem).strip().partition("\n")[0].rstrip(".")
        raise error(f"{what}: {said} ({type(problem).__name__}). {advice}") from problem


def checked(function):
    """Compare every call of a function with its jaxtyping annotations; raise ArgumentError where they do not fit."""
    from beartype import beartype  # here: importing the package's errors brings no torch
    from jaxtyping import TypeCheckError, jaxtyped

    compared = jaxtyped(typechecker=beartype)(function)

    @functools.wraps(function)
    def call(*arguments, **options):
        try:
            return compared(*arguments, **options)
        except TypeCheckError as problem:
            raise ArgumentError(f"{function.__qualname__}: {_in_words(str(problem))}") from None

    return call


def _in_words(message):
    """jaxtyping's report in one sentence. Sizes of axes that other arguments have set stand behind it."""
    name = re.search(r"parameter '(\w+)'", message)
    got = re.search(r"Actual value: (.+?)\nExpected type: (?:<class ')?(.+?)(?:'>)?\.\n-", message, re.S)
    if not got:
        return message
    sizes = re.search(r"annotation are as follows\.\n(.+)", message, re.S)
    known = f" (here {', '.join(sizes[1].split(chr(10)))})" if sizes else ""
    return f"{name[1] if name else 'the result'} must be {got[2]}; got {got[1].partition(chr(10))[0]:.120}.{known}"


def check_finite(**tensors):
    """Raise ArgumentError when a tensor holds NaN or infinity. tensors: by the name that the error gives them."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ArgumentError(f"{name} holds NaN or infinity. Look at what made it.")
