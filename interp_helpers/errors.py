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
