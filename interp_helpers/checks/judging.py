"""What all checkers share: watching a student's function, comparing with the right answer, naming known mistakes."""

import secrets

import torch


class Wrong(Exception):  # noqa: N818 - it names the answer, and reads well where it is raised
    """Raised by a checker: the message tells the student what is wrong, in terms of the subject."""


class Blank(Exception):  # noqa: N818
    """Raised when there is no answer yet."""


def _blank():
    """A function with a docstring and nothing else, as the student edition has them."""


def is_blank(answer):
    """Whether an answer is none: None, `...`, a collection of such, or a function with a docstring and no body.

    >>> is_blank(_blank), is_blank(None), is_blank({"layer": None}), is_blank(0), is_blank(lambda: 1)
    (True, True, True, False, False)
    """
    if isinstance(answer, dict):
        return is_blank(list(answer.values()))
    if isinstance(answer, (list, tuple)):
        return all(is_blank(each) for each in answer)
    if code := getattr(answer, "__code__", None):  # its instructions are those of `return None`
        return code.co_code == _blank.__code__.co_code and code.co_consts[-1] is None
    return answer is None or answer is ...


def watched(answer):
    """The answer; a function comes back as one that says what went wrong in it: errors and a missing `return`."""
    if not callable(answer) or isinstance(answer, torch.nn.Module):
        return answer

    def call(*given, **named):
        inputs = ", ".join(shown(each) for each in [*given, *named.values()])
        try:
            found = answer(*(_copy(each) for each in given), **named)
        except NotImplementedError:
            raise Blank from None
        except Exception as problem:
            raise Wrong(f"your function raised {type(problem).__name__} when given {inputs}: {problem}") from problem
        if found is None:
            raise Wrong(f"your function returned None when given {inputs}. Does it end with `return`?")
        return found

    return call


def _copy(value):
    """A tensor's copy, so that a function that changes its input in place changes nothing else."""
    return value.clone() if isinstance(value, torch.Tensor) else value


def shown(value):
    """A value in a message: small ones whole, others by kind and shape.

    >>> shown(torch.zeros(2, 8, 5, 5)), shown(torch.tensor([1.0, 0.25])), shown("a word")
    ('a tensor of shape (2, 8, 5, 5)', 'tensor([1.000, 0.250])', "'a word'")
    """
    if isinstance(value, torch.Tensor) and value.numel() <= 4:
        rounded = value.detach().cpu().tolist()
        return f"tensor({_three_decimals(rounded)})"
    if hasattr(value, "shape"):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (float, int, str)):
        return _three_decimals(value) if isinstance(value, float) else repr(value)
    return f"a {type(value).__name__}"


def _three_decimals(value):
    if isinstance(value, list):
        return "[" + ", ".join(_three_decimals(each) for each in value) + "]"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def fresh():
    """A random generator with a seed that nobody knows: no answer can be written for its numbers."""
    return torch.Generator().manual_seed(_seed())


def _seed():
    return secrets.randbits(63)


def random_pattern(*shape, generator):
    """A random causal attention pattern, `(..., query, key)`: rows sum to 1, nothing above the diagonal."""
    scores = torch.randn(*shape, generator=generator) * 2
    return scores.masked_fill(torch.ones(shape[-2:]).triu(1).bool(), -torch.inf).softmax(-1)


def as_tensor(found, what="your answer"):
    """A number, a list, an array or a tensor as a tensor of 64-bit floats, away from any device; Wrong otherwise."""
    try:
        tensor = torch.as_tensor(found).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} should be a number or a tensor; it is {shown(found)}.") from None
    return tensor


def same(found, wanted, tolerance=1e-5):
    """Whether two tensors have one shape and agree, relative to the largest number, NaN and infinities included.

    >>> same(torch.tensor([1.0, 2]), [1, 2]), same(torch.tensor([[1.0, 2]]), [1, 2]), same(1e-3, 0)
    (True, False, False)
    """
    found, wanted = as_tensor(found), as_tensor(wanted)
    if found.shape != wanted.shape:
        return False
    size = wanted[wanted.isfinite()].abs().max().clamp(min=1).item() if wanted.isfinite().any() else 1
    return torch.allclose(found, wanted, rtol=0, atol=tolerance * size, equal_nan=True)


def require(condition, message):
    """Raise Wrong with the message unless the condition holds."""
    if not condition:
        raise Wrong(message)


def choose(answer, options):
    """The answer, if it is one of the options, upper or lower case; Wrong with the options otherwise."""
    found = answer.strip().lower() if isinstance(answer, str) else answer
    listed = ", ".join(repr(each) for each in options)
    require(found in options, f"the options are {listed}; got {shown(answer)}.")
    return found


def compare(found, right, mistakes, *, given, tolerance=1e-5):
    """Raise Wrong unless the answer found is right: with the message of the mistake that gives just this answer.

    found: what the student's function gave; right: what it should give; mistakes: {message: what a function with this
    mistake gives}; given: what to call the input in the message. A mistake that gives the right answer on this input
    is not seen; try another input too.
    """
    found = as_tensor(found)
    if same(found, right, tolerance):
        return
    for closeness in (tolerance / 1000, tolerance):  # on random input, another mistake may give nearly this answer
        for message, value in mistakes.items():
            if same(found, value, closeness):
                raise Wrong(message)
    right = as_tensor(right)
    if found.shape != right.shape:
        raise Wrong(f"for {given} the answer has shape {tuple(right.shape)}; yours has {tuple(found.shape)}.")
    if found.isnan().any() and not right.isnan().any():
        raise Wrong(f"for {given} your answer holds NaN. Is something divided by zero?")
    worst = (found - right).abs().nan_to_num(torch.inf).argmax()
    raise Wrong(
        f"for {given} your answer is {found.flatten()[worst]:.3f} where it should be {right.flatten()[worst]:.3f}"
        + (f" (at {[each.item() for each in torch.unravel_index(worst, right.shape)]})" if right.dim() else "")
        + "."
    )
