"""What an exercise is; watching a student's function, comparing with the right answer, naming known mistakes."""

import dis
import functools
import inspect
import io
import math
import operator
import secrets
import time
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from itertools import chain, islice, product

import numpy as np
import torch

from . import running
from .feedback import Folded, Note, number, table


class Wrong(Exception):  # noqa: N818 - it names the answer, and reads well where it is raised
    """Raised by a checker: the message tells the student what is wrong, in terms of the subject.

    details: what the card shows below the message, as `feedback` has them.
    """

    def __init__(self, message, details=()):
        super().__init__(message)
        self.details = tuple(details)


class Blank(Exception):  # noqa: N818
    """Raised when there is no answer yet."""


# For a smaller input on which an answer is wrong, an exercise draws anew so often, and for so many seconds at most.
DRAWS, SEARCH = 30, 1.5
LONGEST = 200  # characters of a value in a message
CLEAR = 0.05  # a difference, as a share of the largest number, that nobody takes for rounding


@dataclass(frozen=True)
class Exercise:
    """One exercise. Called with an answer, it gives the line that praises it, or raises Wrong with what is wrong.

    id, title, kind ("Build", "Read", "Investigate" or "Project"), difficulty (1 to 5) and points stand in the notebook
    too, where the tests compare them.
    praise: what the card of a pass says.

    An exercise that asks for a function has
        reference: a right answer, in its plainest form;
        inputs: `(generator, **context)` -> tuples of arguments for the answer, random numbers from the generator;
        mistakes: {message: a function that makes the mistake}. One may raise on inputs that it does not fit;
        tolerance: how far answers may differ, relative to the largest number, or absolutely where that is below 1;
        single: ("head", (2, None)) when arguments may hold several cases at once, here heads: the name of a case, and
            for each argument how many of its last axes belong to one case, or None when all cases share it;
        keeps: whether the answer may not change its arguments. It gets copies in any case.

    An exercise that asks for a finding has
        measure: `(answer, **context)` -> a namespace of facts. It raises Wrong for what cannot be measured;
        mistakes: {message: a condition on the facts}. The first that holds is told;
        praise: like mistakes where there are several, and messages are filled from the facts: "{score:.3f}";
        later: entries of the answer that may be empty while the others are already checked.
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
    single: tuple | None = None
    keeps: bool = False
    later: tuple = ()

    def __call__(self, answer, **context):
        if self.measure:
            facts = self.measure(answer, **context)
            for message, applies in self.mistakes.items():
                require(not applies(facts), message.format(**vars(facts)))
            praise = self.praise if isinstance(self.praise, dict) else {self.praise: lambda facts: True}
            return next(message for message, applies in praise.items() if applies(facts)).format(**vars(facts))
        require_function(answer)
        for arguments in drawn(self.inputs, **context):
            _check_parameters(answer, self.reference, arguments)
            with torch.random.fork_rng(devices=[]):  # what we draw is not missing from the notebook's random numbers
                right = self.reference(*arguments)  # before the answer, which might change what both are given
            try:
                found = answer(*arguments)
            except Wrong as problem:
                alone = self._right_alone(answer, arguments, right)
                raise Wrong(f"y{alone[1:]}", problem.details) if alone else problem from problem.__cause__
            with torch.random.fork_rng(devices=[]):
                mistakes = {} if same(found, right, self.tolerance) else self._made(arguments)
            try:
                compare(found, right, mistakes, given=_listed(answer, arguments), tolerance=self.tolerance)
            except Wrong as problem:
                alone = "" if str(problem) in mistakes else self._right_alone(answer, arguments, right)
                problem = self._on_small_input(problem, answer, (arguments, found, right), context)
                raise Wrong(f"{problem} {alone}".strip(), problem.details) from None
            if self.keeps:
                self._check_kept(answer, arguments)
        return self.praise

    def _right_alone(self, answer, arguments, right):
        """A sentence about an answer that fails on several cases at once and is right for each alone; else ''."""
        name, own = self.single or (None, [])
        shapes = [each.shape[: each.dim() - axes] for each, axes in zip(arguments, own) if axes is not None]
        cases = max(shapes, key=len, default=())
        if not cases:
            return ""
        try:
            with torch.random.fork_rng(devices=[]), redirect_stdout(io.StringIO()):
                found = [
                    as_tensor(answer(*(_case_of(each, axes, place) for each, axes in zip(arguments, own))))
                    for place in product(*map(range, cases))
                ]
                alone = torch.stack(found).unflatten(0, cases)
        except (Wrong, Blank, RuntimeError):  # the last for results of unlike shapes
            return ""
        if not same(alone, right, self.tolerance):
            return ""
        return (
            f"Your function is right for a single {name}, but not for several at once, as in "
            f"`{_names(answer, arguments)[0]}` of shape {tuple(arguments[0].shape)}. Count the axes from the end, as "
            "in `sum(-1)` and `x[..., 0]`, so that it does not matter how many stand in front."
        )

    def _check_kept(self, answer, arguments):
        """Raise Wrong when the answer changes what it is given."""
        changed = [
            f"`{name}`"
            for name, before, after in zip(_names(answer, arguments), arguments, answer.given)
            if isinstance(before, torch.Tensor) and not same(after, before, 0)
        ]
        require(
            not changed,
            f"what your function returns is right, but it also changes {', '.join(changed)}, which may be needed again "
            "as it was. Work on a copy, such as `.clone()`.",
        )

    def _on_small_input(self, problem, answer, case, context):
        """What is wrong, with the smallest input found on which it shows, the answer's result there, and the right one.

        case: (arguments, what the answer gives, what is right) of the first input on which the answer is wrong.
        """
        until = time.monotonic() + SEARCH
        # What a student's function prints belongs to the check, and would come thirty times here.
        with torch.random.fork_rng(devices=[]), redirect_stdout(io.StringIO()):
            for arguments in (drawn for _ in range(DRAWS) for drawn in self.inputs(fresh(), **context)):
                if time.monotonic() > until:
                    break
                with suppress(Wrong, Blank):  # an answer that raises here is wrong in another way
                    found, right = answer(*arguments), self.reference(*arguments)
                    if not same(found, right, self.tolerance):
                        case = min(case, (arguments, found, right), key=_unclear)
        arguments, found, right = case
        message = str(problem)
        if message not in self.mistakes:  # it speaks of the input, so let it be this one
            message = str(difference(found, right, given=_listed(answer, arguments)))
        return Wrong(message, _case(answer, *case))

    def _made(self, arguments):
        """{message: what the mistake gives}."""
        made = {}
        for message, mistake in self.mistakes.items():
            try:
                made[message] = mistake(*arguments)
            except Exception:  # shapes that do not fit: on this input nobody can have made this mistake
                continue
        return made


def _case_of(value, axes, place):
    """Of an argument that holds several cases, the one at a place; its last `axes` axes are the case's own."""
    return value if axes is None else value[place[: value.dim() - axes]]


def _unclear(case):
    """A key by which cases are sorted: first those that one can see to be wrong, and of these the smallest input."""
    arguments, found, right = case
    size = sum(math.prod(each.shape) for each in arguments if hasattr(each, "shape"))
    return _distance(found, right) < CLEAR, size


def _check_parameters(answer, reference, arguments):
    """Raise Wrong when a function cannot take as many arguments as the exercise gives it."""
    try:
        signature = inspect.signature(answer)
    except ValueError:  # of some functions written in C
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        names, count = ", ".join(f"`{name}`" for name in _names(reference, arguments)), len(signature.parameters)
        takes = f"your function takes {count} {'input' if count == 1 else 'inputs'}"
        raise Wrong(f"{takes}; the exercise gives it {len(arguments)}: {names}.") from None


def _listed(function, arguments):
    """What a function was given, for a message; several arguments with their names, where they have some."""
    said = [shown(argument) for argument in arguments]
    names = _parameters(function, arguments) if len(said) > 1 else []
    return ", ".join([f"`{name}` = {each}" for name, each in zip(names, said)] or said)


def _case(answer, arguments, found, right):
    """An input and both results as details of a card: notes for single values, tables for tensors."""
    found, right = _plain(found), _plain(right)
    worst, decimals = (), 3
    if same_shape := found.shape == right.shape:
        worst = _worst(as_tensor(found), as_tensor(right))
        decimals = _telling(found[worst].double().item(), right[worst].double().item())
    given = list(zip(_names(answer, arguments), arguments))
    single = [f"`{name}` is {shown(value)}" for name, value in given if isinstance(value, (int, float, str))]
    tensors = [
        table(f"`{name}`", _plain(value), worst)
        for name, value in given
        if hasattr(value, "shape") and math.prod(value.shape) > 0
    ]
    results = [
        table(name, value, worst, marked=same_shape, decimals=decimals)
        if value.numel()
        else Note(f"{name}: empty, of shape {tuple(value.shape)}")
        for name, value in [("yours", found), ("right", right)]
    ]
    return [
        Note("A small input on which your answer differs from the right one:"),
        *([Note(", ".join(single))] if single else []),
        *(tensors if len(tensors) <= 2 else [Folded("The input", tuple(tensors))]),
        Note("Both answers, with the largest difference marked:" if same_shape else "Both answers:"),
        *results,
    ]


def _parameters(function, arguments):
    """The names of the parameters that take some arguments, or none where a function takes any number of them."""
    try:
        names = list(inspect.signature(function).bind(*arguments).arguments)
    except (TypeError, ValueError):  # of some functions written in C
        return []
    return names if len(names) == len(arguments) else []


def _names(function, arguments):
    """What to call each argument."""
    return _parameters(function, arguments) or [f"argument {i + 1}" for i in range(len(arguments))]


def _telling(first, second):
    """With how many decimals two numbers look different, from 3 on."""
    return next((places for places in (3, 6) if number(first, places) != number(second, places)), 9)


def _blank():
    """A function with a docstring and nothing else, as the student edition has them."""


def is_blank(answer):
    """Whether an answer is none: None, `...`, a collection of such, or a function that was not written yet.

    Such a function has a docstring and no body, or `...` or `raise NotImplementedError` for a body.

    >>> is_blank(_blank), is_blank(None), is_blank({"layer": None}), is_blank(0), is_blank(lambda: 1)
    (True, True, True, False, False)
    """
    if isinstance(answer, dict):
        return is_blank(list(answer.values()))
    if isinstance(answer, (list, tuple)):
        return all(is_blank(each) for each in answer)
    if code := getattr(answer, "__code__", None):  # its instructions are those of `return None`
        returns_none = code.co_code == _blank.__code__.co_code and code.co_consts[-1] is None
        never_returns = not any(each.opname.startswith("RETURN") for each in dis.get_instructions(code))
        return returns_none or (never_returns and code.co_names == ("NotImplementedError",))
    return answer is None or answer is ...


def still_empty(answer, later=()):
    """What is empty in an answer that is half filled in: keys, in backquotes, and places in a list.

    later: keys that do not count.

    >>> still_empty({"head": (0, None), "text": None}), still_empty([1, 2]), still_empty({"head": None})
    (['`head` (entry 2 of 2)', '`text`'], [], [])
    """
    if is_blank(answer) or not isinstance(answer, (dict, list, tuple)):
        return []
    if not isinstance(answer, dict):
        return [f"entry {i} of {len(answer)}" for i, value in enumerate(answer, 1) if value is None or value is ...]
    empty = []
    for name, value in answer.items():
        if is_blank(value) and name not in later:
            empty.append(f"`{name}`")
        elif isinstance(value, (list, tuple)):
            empty += [f"`{name}` ({entry})" for entry in still_empty(value)]
    return empty


@contextmanager
def _told(function, name, given, advice=""):
    """Raise Wrong for what goes wrong inside, where a student's function is called, with the line that failed.

    name: how the message speaks of the function; given: what it is called with; advice: a sentence at the end.
    """
    try:
        with running.limited():
            yield
    except NotImplementedError as problem:
        if not problem.args:
            raise Blank from None
        raise _raised(problem, function, name, given, advice) from problem  # torch's, of a kind of number
    except running.TooLong as problem:
        raise Wrong(
            f"{name} did not finish within {running.LIMIT} seconds when given {given}. Is there a loop that never "
            "ends?",
            running.failing_line(problem, function, "It was at work in"),
        ) from None
    except KeyboardInterrupt as problem:  # somebody may have interrupted the kernel, so it stays one
        raise KeyboardInterrupt(f"{name} was interrupted when given {given}.") from problem
    except BaseException as problem:  # SystemExit is none of Exception
        raise _raised(problem, function, name, given, advice) from problem


def _raised(problem, function, name, given, advice):
    """The Wrong that tells of an error in a student's function. The rest: as `_told` takes it."""
    said = f"{name} raised {type(problem).__name__} when given {given}: {problem}{advice}"
    return Wrong(said, running.failing_line(problem, function))


def watched(answer):
    """The answer; a function comes back as one that says what went wrong in it.

    It raises Wrong for an error, for a missing `return`, and when a call takes too long.
    """
    if not callable(answer):
        return answer
    if isinstance(answer, torch.nn.Module):
        answer = answer.forward

    @functools.wraps(answer)
    def call(*given, **named):
        inputs = _listed(answer, [*given, *named.values()])
        call.given = _copy(given)
        with _told(answer, "your function", inputs):
            found = answer(*call.given, **_copy(named))
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
    """A copy of a value and all that it holds, so that a function that changes it changes nothing else. Models stay."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {name: _copy(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        copies = map(_copy, value)
        return type(value)(*copies) if hasattr(value, "_fields") else type(value)(copies)
    return value


def shown(value):
    """A value in a message: small ones whole, others by kind and shape.

    >>> shown(torch.zeros(2, 8, 5, 5)), shown(torch.tensor([1.0, 0.25])), shown("a word")
    ('a tensor of shape (2, 8, 5, 5)', 'tensor([1.000, 0.250])', "'a word'")
    """
    if isinstance(value, torch.Tensor) and value.numel() <= 4 and not value.is_meta:
        rounded = value.detach().cpu().tolist()
        return f"tensor({_three_decimals(rounded)})"
    if hasattr(value, "shape"):
        kinds = {torch.Tensor: "a tensor", np.ndarray: "an array"}
        kind = next((said for of, said in kinds.items() if isinstance(value, of)), f"a {type(value).__name__}")
        return f"{kind} of shape {tuple(value.shape)}"
    if isinstance(value, (float, int, str)):
        said = _three_decimals(value) if isinstance(value, float) else repr(value)
        return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
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
        return _plain(found).double()
    except Exception:  # torch, numpy and pandas each have their own for what is no number
        raise Wrong(f"{what} should be a number or a tensor; it is {shown(found)}.") from None


def _plain(value):
    """A value as a tensor of its own type, away from any device. numpy may hold one in an order that torch does not."""
    value = torch.as_tensor(value.copy() if isinstance(value, np.ndarray) else value).detach().cpu()
    return value.to_dense() if value.is_sparse else value


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


def require_function(answer):
    """Raise Wrong unless the answer can be called."""
    require(callable(answer), f"{shown(answer)} cannot be checked: the exercise asks for a function.")


def drawn(inputs, **context):
    """The inputs of an exercise. The first comes once more with other numbers, so that no call can be remembered."""
    return chain(inputs(fresh(), **context), islice(inputs(fresh(), **context), 1))


def call_hook(function, value, hook, name="your hook"):
    """What a student's hook returns for a value; Wrong when it raises or takes too long.

    name: how the message speaks of the hook.
    """
    with _told(function, name, shown(value), ". A hook is called as my_hook(value, hook=...)."):
        return function(value, hook=hook)


def choose(answer, options):
    """The answer, if it is one of the options, upper or lower case; Wrong with the options otherwise."""
    found = answer.strip().lower() if isinstance(answer, str) else answer
    listed = ", ".join(repr(each) for each in options)
    require(isinstance(found, str) and found in options, f"the options are {listed}; got {shown(answer)}.")
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
    raise difference(found, right, given=given)


def difference(found, right, *, given):
    """A Wrong that says where an answer differs most from the right one. given: as `compare` takes it."""
    whole = not _plain(right).is_floating_point()
    found, right = as_tensor(found), as_tensor(right)
    if found.shape != right.shape:
        return Wrong(f"for {given}, the answer has shape {tuple(right.shape)}; yours has {tuple(found.shape)}.")
    if found.isnan().any() and not right.isnan().any():
        return Wrong(f"for {given}, your answer holds NaN. Is something divided by zero?")
    worst = _worst(found, right)
    said, wanted = found[worst].item(), right[worst].item()
    decimals, at = _telling(said, wanted), f" (at {list(worst)})" if worst else ""
    if whole and math.isfinite(said) and said == round(said):
        said, wanted = int(said), int(wanted)
    return Wrong(
        f"for {given}, your answer is {number(said, decimals)} where it should be {number(wanted, decimals)}{at}."
    )


def _worst(found, right):
    """The place, a tuple, where two tensors of one shape differ most."""
    gaps = torch.where(found == right, 0, (found - right).abs())  # infinity less infinity is NaN
    gaps = gaps.masked_fill(found.isnan() & right.isnan(), 0).nan_to_num(torch.inf)
    return tuple(each.item() for each in torch.unravel_index(gaps.argmax(), right.shape))
