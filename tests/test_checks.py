"""The engine of the exercise checkers; what the checkers of a notebook say is in test_checks_<topic>.py."""

import pytest
import torch

from interp_helpers import ArgumentError, CheckError, checks
from interp_helpers.checks import judging


def right(pattern):
    return pattern.diagonal(dim1=-2, dim2=-1)[..., 1:].mean(-1)


def blank(pattern):
    """Not written yet."""


@pytest.fixture(autouse=True)
def no_results(monkeypatch):
    monkeypatch.setattr(checks, "_results", {})
    monkeypatch.delenv("INTERP_GRADING", raising=False)


@pytest.mark.parametrize("answer", [blank, None, ..., {"layer": None}, (None, None), []])
def test_no_answer_is_not_attempted(answer, capsys):
    checks.check("2a", answer)
    assert capsys.readouterr().out == "○ 2a not attempted\n"


def test_nbgraders_own_stub_is_not_attempted(capsys):
    def stub(pattern):
        raise NotImplementedError()

    checks.check("2a", stub)
    assert capsys.readouterr().out == "○ 2a not attempted\n"


def test_a_function_that_forgets_to_return_is_told_so(capsys):
    def forgets(pattern):
        pattern.sum()

    checks.check("2a", forgets)
    assert "returned None when given a tensor of shape (3, 3). Does it end with `return`?" in capsys.readouterr().out


def test_an_error_in_the_answer_is_shown_and_stops_nothing(capsys):
    checks.check("2a", lambda pattern: pattern[..., 99])
    printed = capsys.readouterr().out
    assert printed.startswith("✗ 2a not yet: your function raised IndexError when given a tensor of shape (3, 3)")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda pattern: "a word", "should be a number or a tensor"),
        (lambda pattern: torch.full(pattern.shape[:-2], torch.nan), "holds NaN"),
        (lambda pattern: right(pattern)[..., None], "has shape"),
        (lambda pattern: right(pattern) + 1e-3, "where it should be"),
    ],
)
def test_what_no_mistake_explains_gets_the_difference(answer, message, capsys):
    checks.check("2a", answer)
    printed = capsys.readouterr().out
    assert printed.startswith("✗ 2a not yet: ")
    assert message in printed


@pytest.mark.parametrize("answer", [3, "a word", [1, 2], torch.zeros(3)])
def test_an_answer_of_another_kind_stops_nothing(answer, capsys):
    checks.check("2a", answer)
    assert "cannot be checked" in capsys.readouterr().out


def test_an_answer_cannot_change_what_it_is_compared_with(capsys):
    def in_place(pattern):
        score = right(pattern)
        pattern.zero_()
        return score + 1

    checks.check("2a", in_place)
    assert capsys.readouterr().out.startswith("✗")


def test_the_report_lists_every_exercise_with_its_last_result(capsys):
    table = checks.report(2)
    assert list(table.index) == list(checks.checkers(2))
    assert set(table["result"]) == {"not attempted"}
    checks.check("2a", right)
    assert checks.report(2).loc["2a", "result"] == "passed"
    assert f"1 of {len(table)} passed" in capsys.readouterr().out
    checks.check("2a", lambda pattern: pattern.sum())
    assert checks.report(2).loc["2a", "result"] == "not yet"


def test_grading_makes_what_did_not_pass_raise(monkeypatch, capsys):
    monkeypatch.setenv("INTERP_GRADING", "1")
    checks.check("2a", right)
    for answer in (blank, lambda pattern: pattern.sum()):
        with pytest.raises(CheckError, match="2a"):
            checks.check("2a", answer)


@pytest.mark.parametrize("name", ["2z", "", "9a", None, 2, "a"])
def test_an_unknown_exercise_gets_an_error(name):
    with pytest.raises(ArgumentError):
        checks.check(name, right)


def test_random_inputs_differ_from_call_to_call_and_leave_the_global_seed_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (judging.random_pattern(4, 4, generator=judging.fresh()) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(first.sum(-1), torch.ones(4))
    assert first.triu(1).eq(0).all()


def test_nobody_knows_the_seeds_of_random_inputs(monkeypatch):
    monkeypatch.undo()  # the tests' own seeds
    assert len({judging.fresh().initial_seed() for _ in range(9)}) == 9


def test_options_are_named_when_an_answer_is_none_of_them():
    assert judging.choose(" Rises", ["rises", "falls"]) == "rises"
    with pytest.raises(judging.Wrong, match="'rises', 'falls'; got 'up'"):
        judging.choose("up", ["rises", "falls"])


def test_equal_is_equal_to_a_share_of_the_largest_number():
    nan, inf = float("nan"), float("inf")
    for found, wanted, equal in [
        ([1000.005, 1], [1000, 1], True),
        ([1000.02, 1], [1000, 1], False),
        (0.100009, 0.1, True),  # of small numbers, a share of 1
        (0.100015, 0.1, False),
        ([nan, 1, inf], [nan, 1, inf], True),
        ([nan, 1, inf], [nan, 1, -inf], False),
        ([nan, 1], [0, 1], False),
    ]:
        assert judging.same(found, wanted) == equal, (found, wanted)


def test_the_largest_difference_is_the_one_that_is_told():
    with pytest.raises(judging.Wrong, match=r"your answer is 2\.000 where it should be 1\.000 \(at \[0\]\)"):
        judging.compare([2.0, 5.5], [1.0, 5.0], {}, given="two numbers")


def test_a_mistake_that_gives_nearly_the_same_number_is_not_named_in_the_place_of_the_right_one():
    mistakes = {"the first": 1.00005, "the second": 1.0}
    for found, message in [(1.0, "the second"), (1.00005, "the first"), (1.00009, "the first")]:
        with pytest.raises(judging.Wrong, match=message):
            judging.compare(found, 5.0, mistakes, given="a number", tolerance=1e-4)


def test_small_tensors_are_shown_whole():
    assert judging.shown(torch.tensor([1.0, 2, 3, 4])) == "tensor([1.000, 2.000, 3.000, 4.000])"
    assert judging.shown(torch.zeros(5)) == "a tensor of shape (5,)"


@pytest.mark.parametrize("notebook", [0, 8, "2"])
def test_there_are_seven_notebooks(notebook):
    with pytest.raises(ArgumentError, match="notebook is"):
        checks.report(notebook)
