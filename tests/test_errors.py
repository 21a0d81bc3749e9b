"""What the package raises, and the one place that compares calls with annotations."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

import interp_helpers
from interp_helpers import ArgumentError, TextError, errors
from interp_helpers.errors import check_finite, checked, explained


@checked
def score(pattern: Float[Tensor, "*batch query key"], target: Bool[Tensor, "query key"]) -> Float[Tensor, "*batch"]:
    """What attention goes to the target."""
    return (pattern * target).sum((-1, -2))


@checked
def labels(tokens: Int[Tensor, " position"], names: list[str], *, first: int = 0) -> list:
    return names[first:]


PATTERN, TARGET = torch.zeros(2, 3, 3), torch.zeros(3, 3, dtype=torch.bool)


def test_a_call_that_fits_is_the_functions_own():
    assert score(PATTERN, TARGET).shape == (2,)
    assert score(pattern=PATTERN[0], target=TARGET).shape == ()
    assert (score.__name__, score.__doc__) == ("score", "What attention goes to the target.")
    assert score(PATTERN.double(), TARGET).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PATTERN[0, 0], TARGET), r"score: pattern must be Float\[Tensor, '\*batch query key'\]; got f32\[3\]"),
        ((PATTERN.long(), TARGET), r"score: pattern must be Float.* got i64\[2,3,3\]"),
        ((PATTERN.numpy(), TARGET), r"score: pattern must be Float.* got f32\[2,3,3\]\(numpy\)"),
        ((PATTERN, TARGET[:2]), r"score: target must be Bool.* got bool\[2,3\].*query=3"),
        ((PATTERN, TARGET.float()), r"score: target must be Bool.* got f32\[3,3\]"),
        ((None, TARGET), r"score: pattern must be Float.* got None"),
    ],
)
def test_a_call_that_does_not_fit_names_what_it_got_and_what_it_needs(arguments, message):
    with pytest.raises(ArgumentError, match=f"^{message}") as error:
        score(*arguments)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_types_that_are_no_tensors_are_compared_too():
    assert labels(torch.tensor([1]), ["a", "b"], first=1) == ["b"]
    for options, name in [({"first": "1"}, "first"), ({"names": "ab"}, "names")]:
        with pytest.raises(ArgumentError, match=f"labels: {name} must be "):
            labels(**{"tokens": torch.tensor([1]), "names": ["a"], **options})


def test_a_long_value_is_cut_short():
    with pytest.raises(ArgumentError) as error:
        labels(torch.tensor([1]), "x" * 9999)
    assert len(str(error.value)) < 400


def test_a_result_that_does_not_fit_is_named():
    @checked
    def wrong(pattern: Float[Tensor, "query key"]) -> Float[Tensor, " query"]:
        return pattern

    with pytest.raises(ArgumentError, match=r"wrong: the result must be Float\[Tensor, ' ?query'\]"):
        wrong(PATTERN[0])


def test_errors_inside_a_function_are_its_own():
    @checked
    def fails(pattern: Float[Tensor, "query key"]):
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fails(PATTERN[0])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_named(bad):
    check_finite(norms=PATTERN, values=torch.ones(2, dtype=torch.long), array=torch.tensor(np.ones(3)))
    check_finite(nothing=torch.ones(0))
    with pytest.raises(ArgumentError, match=r"^values holds NaN or infinity"):
        check_finite(norms=PATTERN, values=torch.tensor([1.0, bad]))


def test_what_libraries_raise_is_one_sentence_with_what_to_do():
    reading = explained(TextError, "a.csv cannot be read", "Mend it.")
    with pytest.raises(TextError, match=r"^a\.csv cannot be read: bad row \(ValueError\)\. Mend it\.$"), reading:
        raise ValueError("bad row.\nThe second line of hundreds")


@pytest.mark.parametrize("kind", [ArgumentError, KeyboardInterrupt])
def test_what_the_package_says_itself_and_an_interruption_stay_as_they_are(kind):
    with pytest.raises(kind, match=r"^ours$"), explained(TextError, "a.csv cannot be read", "Mend it."):
        raise kind("ours")


def test_one_class_catches_them_all_and_each_is_of_a_kind_that_python_knows():
    for name, kind in [("ArgumentError", ValueError), ("FileError", OSError), ("ClaimError", AssertionError)]:
        assert issubclass(getattr(errors, name), kind)
    raised = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(raised) == 7
    assert all(issubclass(each, interp_helpers.InterpError) for each in raised)


def test_errors_bring_no_torch():
    """A tool that catches them should start at once."""
    code = "import sys; from interp_helpers import errors; assert not {'torch', 'jaxtyping'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
