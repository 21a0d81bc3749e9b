"""What an exercise is; watching a student's function, comparing with the right answer, naming known mistakes."""

import math
import operator
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import torch


class Wrong(Exception):  # noqa: N818 - it names the answer, and reads well where it is raised
    """Raised by a checker: the message tells the student what is wrong, in terms of the subject."""


class Blank(Exception):  # noqa: N818
    """Raised when there is no answer yet."""


@dataclass(frozen=True)
class Exercise:
    """One exercise. Called with an answer, it gives the line that praises it, or raises Wrong with what is wrong.

    id, title, kind ("Build", "Read", "Investigate" or "Project"), difficulty (1 to 5) and points stand in the notebook
    too, where the tests compare them.
    praise: what a pass prints.

    An exercise that asks for a function has
        reference: a right answer, in its plainest form;
        inputs: `(generator, **context)` -> tuples of arguments for the answer, random numbers from the generator;
        mistakes: {message: a function that makes the mistake}. One may raise on inputs that it does not fit;
        tolerance: how far answers may differ, relative to the largest number, or absolutely where that is below 1.

    An exercise that asks for a finding has
        measure: `(answer, **context)` -> a namespace of facts. It raises Wrong for what cannot be measured;
        mistakes: {message: a condition on the facts}. The first that holds is told;
        praise: like mistakes where there are several, and messages are filled from the facts: "{score:.3f}".
    """

    id: str
    title: str
    kind: str
    difficulty: int
    points: int
    mistakes: dict[str, Callable]
    praise: str | dict[str, Callable]
    reference: Callable | None = None
    inputs: Callable | None = None
    measure: Callable | None = None
    tolerance: float = 1e-5

    def __call__(self, answer, **context):
        if self.measure:
            facts = self.measure(answer, **context)
            for message, applies in self.mistakes.items():
                require(not applies(facts), message.format(**vars(facts)))
            praise = self.praise if isinstance(self.praise, dict) else {self.praise: lambda facts: True}
            return next(message for message, applies in praise.items() if applies(facts)).format(**vars(facts))
        require(callable(answer), f"{shown(answer)} cannot be checked: the exercise asks for a function.")
        for arguments in self.inputs(fresh(), **context):
            found = answer(*arguments)
            with torch.random.fork_rng(devices=[]):  # what we draw is not missing from the notebook's random numbers
                right = self.reference(*arguments)
                mistakes = {} if same(found, right, self.tolerance) else self._made(arguments)
            given = ", ".join(shown(argument) for argument in arguments)
            compare(found, right, mistakes, given=given, tolerance=self.tolerance)
        return self.praise

    def _made(self, arguments):
        """{message: what the mistake gives}."""
        made = {}
        for message, mistake in self.mistakes.items():
            try:
                made[message] = mistake(*arguments)
            except Exception:  # shapes that do not fit: on this input nobody can have made this mistake
                continue
        return made


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


def parts(answer, names):
    """The parts of an answer that is a dictionary, in the order of names; Wrong when some are missing."""
    require(isinstance(answer, dict), f"the answer is a dictionary with {', '.join(names)}; yours is {shown(answer)}.")
    missing = [name for name in names if answer.get(name) is None]
    require(not missing, f"still missing from the dictionary: {', '.join(missing)}.")
    return [answer[name] for name in names]


def head_of(answer, shape):
    """(layer, head) of an answer that names a head; Wrong when a model of this shape has no such head."""
    try:
        layer, head = map(operator.index, answer)
    except (TypeError, ValueError):
        raise Wrong(f"a head is a pair of numbers, (layer, head), such as (0, 1); yours is {shown(answer)}.") from None
    require(
        0 <= layer < shape[0] and 0 <= head < shape[1],
        f"there is no head L{layer}H{head}: layers go from 0 to {shape[0] - 1}, heads from 0 to {shape[1] - 1}.",
    )
    return layer, head


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
    return causal(torch.randn(*shape, generator=generator) * 2)


def causal(scores, by=1):
    """The attention pattern of scores `(..., query, key)`, in which keys `by` or more after the query are hidden."""
    return scores.masked_fill(after(scores, by), -torch.inf).softmax(-1)


def after(scores, by=1):
    """Which keys come `by` or more positions after the query, in the shape of the scores."""
    return torch.ones_like(scores).triu(by).bool()


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
    return _distance(found, wanted) <= tolerance


def _distance(found, wanted):
    """The largest difference of two tensors, relative to the largest number wanted; infinity for other shapes."""
    found, wanted = as_tensor(found), as_tensor(wanted)
    if found.shape != wanted.shape:
        return math.inf
    size = wanted[wanted.isfinite()].abs().max().clamp(min=1).item() if wanted.isfinite().any() else 1
    equal = (found == wanted) | (found.isnan() & wanted.isnan())
    gaps = (found - wanted).abs().masked_fill(equal, 0).nan_to_num(nan=math.inf, posinf=math.inf)
    return gaps.max().item() / size if gaps.numel() else 0.0


def require(condition, message):
    """Raise Wrong with the message unless the condition holds."""
    if not condition:
        raise Wrong(message)


def call_hook(function, value, hook, name="your hook"):
    """What a student's hook returns for a value; Wrong when it raises. name: how the message speaks of the hook."""
    try:
        return function(value, hook=hook)
    except Exception as problem:
        raise Wrong(
            f"{name} raised {type(problem).__name__} when given {shown(value)}: {problem}. A hook is called as "
            "my_hook(value, hook=...)."
        ) from problem


def choose(answer, options):
    """The answer, if it is one of the options, upper or lower case; Wrong with the options otherwise."""
    found = answer.strip().lower() if isinstance(answer, str) else answer
    listed = ", ".join(repr(each) for each in options)
    require(found in options, f"the options are {listed}; got {shown(answer)}.")
    return found


def turned_out(name):
    """For a prediction: whether `name` is what came out. facts.right: what came out; facts.said: the prediction."""
    return lambda facts: facts.right == name


def not_expected(name):
    """For a prediction: whether `name` came out, and something else was said. facts: as `turned_out` takes them."""
    return lambda facts: facts.right == name != facts.said


def off(number, rounded):
    """A condition on facts: a number of the answer, `facts.said[number]`, is not the fact of that name. NaN is off."""
    return lambda facts: not abs(facts.said[number] - getattr(facts, number)) <= rounded


def gives(number, wrong, rounded):
    """A condition on facts: such a number is off, and it is the fact called `wrong`."""
    return lambda facts: off(number, rounded)(facts) and abs(facts.said[number] - getattr(facts, wrong)) <= rounded


def compare(found, right, mistakes, *, given, tolerance=1e-5):
    """Raise Wrong unless the answer found is right: with the message of the mistake that gives just this answer.

    found: what the student's function gave; right: what it should give; mistakes: {message: what a function with this
    mistake gives}; given: what to call the input in the message. A mistake that gives the right answer on this input
    is not seen; try another input too.
    """
    found = as_tensor(found)
    if same(found, right, tolerance):
        return
    # On random input several mistakes may give nearly this answer. The nearest is named, and of equals the first.
    distances = {message: _distance(found, value) for message, value in mistakes.items()}
    distances = {message: max(gap, tolerance / 1000) for message, gap in distances.items() if gap <= tolerance}
    if distances:
        raise Wrong(min(distances, key=distances.get))
    right = as_tensor(right)
    if found.shape != right.shape:
        raise Wrong(f"for {given} the answer has shape {tuple(right.shape)}; yours has {tuple(found.shape)}.")
    if found.isnan().any() and not right.isnan().any():
        raise Wrong(f"for {given} your answer holds NaN. Is something divided by zero?")
    gaps = torch.where(found == right, 0, (found - right).abs())  # infinity less infinity is NaN
    worst = gaps.nan_to_num(torch.inf).argmax()
    raise Wrong(
        f"for {given} your answer is {found.flatten()[worst]:.3f} where it should be {right.flatten()[worst]:.3f}"
        + (f" (at {[each.item() for each in torch.unravel_index(worst, right.shape)]})" if right.dim() else "")
        + "."
    )
