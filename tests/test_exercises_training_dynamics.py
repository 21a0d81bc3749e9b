"""What the checkers of notebook 07 say to right answers, to known mistakes, and to blanks."""

import numpy as np
import pytest
import torch

from interp_helpers import exercises, interventions, live, repeated_random_tokens, training_log
from interp_helpers.attention import induction_target, target_score

STEPS = np.arange(6) ** 2 / 10
CURVES = {"bumpy": [1, 6, 2, 5, 9, 10], "steady": [0, 1, 2, 3, 4, 5]}


@pytest.fixture(scope="module")
def context():
    """What the notebook's check cells hand over, but for models: {exercise: keyword arguments}."""
    tokens, lengths = live.repeated_pieces(torch.Generator().manual_seed(3), 8)
    patterns = live.AttentionOnly(2)(tokens)[1].detach()
    losses = torch.rand(4, 9, generator=torch.Generator().manual_seed(0))
    wanted = (losses[:, :4] - losses[:, 5:]).mean()
    series = np.array([0, 0.1, 0, 0.2, 3, 5, 5.2, 5.1])
    return {
        "7a": {"steps": STEPS, "curves": CURVES},
        "7b": {"losses": losses, "wanted": wanted},
        "7c": {"tokens": np.arange(8.0), "series": series},
        "7d": {"losses": {8: 1.2, 12: 8.5, 16: 0.1}, "trained": 16, "asked": 12},
        "7e": {"patterns": patterns, "tokens": tokens, "lengths": lengths},
        "7f": {"baseline": [{"step": 0, "induction": torch.zeros(2, 4)}, {"step": 220, "induction": torch.ones(2, 4)}]},
        "7g": {"trained": {2: Circuit([{1}, {3}]), 3: Circuit([{0, 2}])}},
    }


class Circuit:
    """Stands for a live model whose induction is gone when all heads of one of some sets are off."""

    def __init__(self, needed):
        self.needed = needed


@pytest.fixture
def measured(monkeypatch):
    """`live.measure` for circuits: 0.9 with induction, 0.1 without."""

    def measure(model, off=()):
        gone = any({(0, head) for head in needed} <= set(off) for needed in model.needed)
        return {"induction": torch.tensor([[0.0] * 4, [0.1 if gone else 0.9] * 4])}

    monkeypatch.setattr(live, "measure", measure)


@pytest.fixture
def says(capsys, context):
    def call(exercise, answer, **more):
        exercises.check(exercise, answer, **(context[exercise] | more))
        return capsys.readouterr().out

    return call


def undone():
    """A docstring and no more."""


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("7a", undone),
        ("7b", undone),
        ("7c", undone),
        ("7d", None),
        ("7e", undone),
        ("7f", None),
        ("7g", {2: None, 3: None}),
    ],
)
def test_what_is_blank_is_not_attempted(exercise, answer, says):
    assert says(exercise, answer) == f"○ {exercise} not attempted\n"


def dated(steps, series, share):
    way = (series - series[0]) / (series[-1] - series[0])
    late = np.flatnonzero(way < share)[-1]
    return steps[late], steps[late + 1]


def dated_by_loop(steps, series, share):
    goal, up = series[0] + share * (series[-1] - series[0]), series[-1] > series[0]
    for stop in reversed(range(len(series))):
        if (series[stop] < goal) if up else (series[stop] > goal):
            return [float(steps[stop]), float(steps[stop + 1])]


def dated_from(way):
    """An answer to 7a with another notion of the way that is done."""

    def answer(steps, series, share):
        late = np.flatnonzero(way(series, share))[-1]
        return steps[late], steps[late + 1]

    return answer


def first_crossing(steps, series, share):
    stop = np.argmax((series - series[0]) / (series[-1] - series[0]) >= share)
    return steps[stop - 1], steps[stop]


def positions_only(steps, series, share):
    return dated(np.arange(len(steps)), series, share)


def one_late(steps, series, share):
    stop = list(steps).index(dated(steps, series, share)[1])
    return steps[stop], steps[stop + 1]


def range_missing(series, share):
    return (series - series.min()) / (series.max() - series.min()) < share


def range_missing_unless_it_begins_at_zero(series, share):
    way = series / series[-1] if series[0] == 0 else (series - series.min()) / (series.max() - series.min())
    return way < share


def test_7a_takes_right_answers(says):
    for answer in (dated, dated_by_loop):
        assert says("7a", answer).startswith("✓ 7a passed")
    steady = says("7a", dated, curves={"steady": CURVES["steady"]})
    assert "agrees with the first crossing" in steady


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (first_crossing, "the first stop at which the share was done"),
        (positions_only, "positions in the list"),
        (lambda *given: dated(*given)[::-1], "in the wrong order"),
        (one_late, "begins where the right one ends"),
        (dated_from(range_missing), "from the lowest to the highest"),
        (dated_from(range_missing_unless_it_begins_at_zero), "from the lowest to the highest"),
        (dated_from(lambda series, share: series < share * series[-1]), "a share of the last value"),
        (
            dated_from(lambda series, share: series < series[0] + share * (series[-1] - series[0])),
            "On a curve that falls, the share is missing where the value is still too high",
        ),
        (lambda *given: dated(*given)[1], "has shape (2,)"),
    ],
)
def test_7a_names_the_mistake(answer, message, says):
    printed = says("7a", answer)
    assert printed.startswith("✗ 7a not yet: ")
    assert message in printed


def test_7a_says_what_the_rule_changes_in_the_log(says):
    line = says("7a", dated, curves={"bumpy": [1, 6, 1, 5, 9, 10]})
    assert "it dates bumpy at 0.900 instead of 0.100 million tokens" in line


def drop(losses, length):
    return (losses[:, : length - 1] - losses[:, length:]).mean(0)


def drop_by_loop(losses, length):
    pairs = [[row[each] - row[each + length] for each in range(length - 1)] for row in losses.tolist()]
    return [sum(each) / len(pairs) for each in zip(*pairs)]


def test_7b_takes_right_answers(says):
    for answer in (drop, drop_by_loop):
        assert says("7b", answer).startswith("✓ 7b passed")


def test_7b_agrees_with_the_library_on_a_model(storybook, says):
    model, tokenizer = storybook
    tokens = repeated_random_tokens(tokenizer, 10, sequences=3)
    with torch.no_grad():
        logits = model(tokens).logits.transpose(1, 2)
    losses = torch.nn.functional.cross_entropy(logits[..., :-1], tokens[:, 1:], reduction="none")
    wanted = interventions.second_copy_drop(model, tokens).mean()
    assert f"{wanted:.3f} nats" in says("7b", drop, losses=losses, wanted=wanted)
    assert "the mean of your drops is" in says("7b", drop, losses=losses, wanted=wanted + 1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda losses, length: -drop(losses, length), "the sign is turned"),
        (lambda losses, n: (losses[:, : n - 1] - losses[:, n - 1 : -1]).mean(0), "each token with another one"),
        (lambda losses, n: (losses[:, 1:n] - losses[:, n:]).mean(0), "begins one entry late"),
        (lambda losses, n: (losses[:, : n - 1] - losses[:, n:]).mean(1), "the tokens of each sequence"),
        (lambda losses, n: drop(losses, n).mean(), "that is one number"),
        (lambda losses, n: losses[:, : n - 1] - losses[:, n:], "average over the sequences"),
        (lambda losses, n: (losses[:, : n - 1] / losses[:, n:]).mean(0), "a ratio"),
        (lambda losses, n: drop(losses, n) * len(losses), "added the sequences up"),
        (lambda losses, n: losses[:, :n] - losses[:, n:], "RuntimeError"),
    ],
)
def test_7b_names_the_mistake(answer, message, says):
    printed = says("7b", answer)
    assert printed.startswith("✗ 7b not yet: ")
    assert message in printed


def step(count, k):
    return (np.arange(count) >= k).astype(float)


def matches(series):
    return np.array([np.corrcoef(step(len(series), k), series)[0, 1] for k in range(1, len(series))])


def matches_by_hand(series):
    found = []
    for k in range(1, len(series)):
        share = 1 - k / len(series)  # of stops at which the step is 1
        height = series[k:].mean() - series[:k].mean()
        found.append(height * (share * (1 - share)) ** 0.5 / series.std())
    return found


def test_7c_takes_right_answers(says):
    for answer in (matches, matches_by_hand):
        printed = says("7c", answer)
        assert printed.startswith("✓ 7c passed")
        assert "a step at 4.000 million tokens, knowing nothing, correlates 0." in printed


def test_7c_reads_the_log(says):
    measures, _ = training_log()
    printed = says("7c", matches, tokens=measures["tokens"].to_numpy() / 1e6, series=measures["second_copy_drop"])
    assert "a step at 3.031 million tokens" in printed


def test_7c_is_silent_on_what_no_step_matches(says):
    assert "over 0.9" not in says("7c", matches, series=np.array([0.0, 1, 0, 1, 0, 1, 0, 1]))


def products(series, function):
    return np.array([function(step(len(series), k), series) for k in range(1, len(series))])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda series: -matches(series), "your steps go down"),
        (lambda series: np.append(np.nan, matches(series)), "stop 0 has no step"),
        (lambda series: np.append(matches(series)[1:], np.nan), "one stop late"),
        (
            lambda series: products(series, lambda a, b: a @ b / np.sqrt((a @ a) * (b @ b))),
            "the means are not taken off",
        ),
        (lambda series: products(series, lambda a, b: np.cov(a, b)[0, 1]), "those are covariances"),
        (lambda series: products(series, lambda a, b: np.cov(a, b, ddof=0)[0, 1]), "those are covariances"),
        (lambda series: matches(series) ** 2, "that is the square"),
        (lambda series: np.abs(matches(series)), "correlations have a sign"),
        (
            lambda series: products(series, lambda a, b: np.cov(a, b)[0, 1] / (a.std() * b.std())),
            "the same number in both",
        ),
        (lambda series: matches(series)[:-1], "the answer has shape"),
    ],
)
def test_7c_names_the_mistake(answer, message, says):
    printed = says("7c", answer)
    assert printed.startswith("✗ 7c not yet: ")
    assert message in printed


@pytest.mark.parametrize(("loss", "right"), [(0.1, "copied"), (2.6, "piece"), (4.3, "guessing"), (8.5, "worse")])
def test_7d_takes_the_option_that_was_measured(loss, right, says):
    losses = {8: 1.2, 12: loss, 16: 0.02}
    for prediction in ["copied", "piece", "guessing", "worse"]:
        printed = says("7d", prediction.upper(), losses=losses)
        assert printed.startswith("✓ 7d passed" if prediction == right else "✗ 7d not yet"), printed
        assert f"{loss:.3f} nats" in printed


def test_7d_explains_and_lists_the_options(says):
    printed = says("7d", "worse")
    assert "to be sure and wrong" in printed
    assert "better than guessing at 8 (1.200)" in printed
    assert "the options are" in says("7d", "zero")
    assert "What must a model believe" in says("7d", "guessing")


def by_length(patterns, lengths, *, first=1, future=False, shift=0, begin=0):
    """The right answer to 7e; with options, wrong ones."""
    positions = patterns.shape[-1]
    query, key = torch.arange(positions)[:, None], torch.arange(positions)
    length = lengths[:, :, None]
    target = (query >= length + begin) & (key >= first) & ((query + 1 + shift - key) % length == 0)
    if future:
        target = (key >= first) & ((query + 1 + shift - key) % length == 0)
    else:
        target &= key <= query - int(shift < 0)
    queries = target.any(-1).sum(-1)
    return ((patterns * target[:, None]).sum((-2, -1)) / queries[:, None]).mean(1)


def by_slices(patterns, lengths, copies=99, pooled=False, divide=None, only=None):
    """The right answer to 7e, one sequence and one copy at a time; with options, wrong ones."""
    totals, counts = [], []
    for pattern, length in zip(patterns.unbind(1), lengths[:, 0].tolist()):
        count = pattern.shape[-1] - length
        total = 0
        for query in range(length, pattern.shape[-1]):
            keys = list(range(query - length + 1, 0, -length))[:copies]
            total = total + sum(pattern[:, :, query, key] for key in (keys if only is None else keys[only:]))
        totals.append(total if pooled else total / (divide or count))
        counts.append(count)
    return sum(totals) / (sum(counts) if pooled else len(totals))


def test_7e_takes_right_answers(says):
    for answer in (by_length, by_slices):
        assert says("7e", answer).startswith("✓ 7e passed: on the live model head L")


def test_7e_agrees_with_the_tokens_where_no_token_comes_twice():
    tokens = torch.tensor([[5, 3, 8, 1] * 4, [7, 2, 4, 9] * 4])
    patterns = torch.rand(2, 2, 3, 16, 16).tril()
    patterns /= patterns.sum(-1, keepdim=True)
    by_tokens = target_score(patterns, induction_target(tokens)[:, None]).mean(1)
    torch.testing.assert_close(by_length(patterns, torch.tensor([[4], [4]])), by_tokens)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda patterns, lengths: by_length(patterns, lengths, shift=-1), "the duplicate-token score"),
        (lambda patterns, lengths: by_length(patterns, lengths, shift=-1, first=0), "the duplicate-token score"),
        (lambda patterns, lengths: by_length(patterns, lengths, shift=1), "two tokens after"),
        (lambda patterns, lengths: by_length(patterns, lengths, first=0), "the key at position 0"),
        (lambda patterns, lengths: by_length(patterns, lengths, first=0, begin=-1), "the key at position 0"),
        (lambda patterns, lengths: by_length(patterns, lengths, future=True), "what comes after them they cannot see"),
        (lambda patterns, lengths: by_length(patterns, lengths, begin=1), "begin one late"),
        (lambda patterns, lengths: by_slices(patterns, lengths, copies=1), "the nearest earlier copy only"),
        (lambda patterns, lengths: by_slices(patterns, lengths, only=-1), "the first copy only"),
        (lambda patterns, lengths: by_slices(patterns, lengths, pooled=True), "all queries of all sequences"),
        (
            lambda patterns, lengths: by_slices(patterns, lengths, divide=patterns.shape[-1]),
            "divided by all positions",
        ),
        (
            lambda patterns, lengths: by_slices(patterns, lengths, divide=patterns.shape[-1] - 1),
            "divided by all positions",
        ),
        (lambda patterns, lengths: by_length(patterns, lengths[:1].expand_as(lengths)), "one length for all"),
        (lambda patterns, lengths: by_length(patterns, lengths[-1:].expand_as(lengths)), "one length for all"),
        (lambda patterns, lengths: by_length(patterns.transpose(-1, -2), lengths), "turned queries and keys round"),
        (lambda patterns, lengths: by_length(patterns, lengths) * len(lengths), "summed over sequences"),
        (lambda patterns, lengths: by_length(patterns, lengths).mean(), "the answer has shape"),
    ],
)
def test_7e_names_the_mistake(answer, message, says):
    printed = says("7e", answer)
    assert printed.startswith("✗ 7e not yet: ")
    assert message in printed


# What training with some pieces leads to, as measured: the score at step 180 on pieces of their own and on the
# notebook's, and the loss on later copies of the notebook's after 300 steps. Training itself would take half a minute.
OUTCOMES = {
    (2, 16): (0.82, 0.74, 0.31),
    (3, 16): (0.65, 0.57, 0.33),
    (4, 8): (0.91, 0.66, 2.25),
    (4, 12): (0.87, 0.74, 0.89),
    (8, 9): (0.54, 0.15, 5.91),
    (12, 16): (0.22, 0.16, 0.85),
}


@pytest.fixture
def trained(monkeypatch):
    """`live.train` and `live.measure` for 7f, without training."""

    def train(model, *, seed, steps, pieces):
        model.outcome = OUTCOMES[tuple(map(int, pieces))]
        for step in range(0, steps + 1, 20):
            yield {"step": step, "induction": torch.full((2, 4), model.outcome[0])}

    def measure(model):
        return {"induction": torch.full((2, 4), model.outcome[1]), "later_copies": model.outcome[2]}

    monkeypatch.setattr(live, "train", train)
    monkeypatch.setattr(live, "measure", measure)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("pieces", [(2, 16), [np.int64(3), np.int64(16)]])
def test_7f_takes_what_forms_earlier(pieces, says):
    assert says("7f", pieces).startswith("✓ 7f passed: by step 180 ")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (16, "two whole numbers"),
        ((8.0, 16.0), "two whole numbers"),
        ((8, 31), "of 2 to 30 tokens"),
        ((12, 8), "the shortest first"),
        (live.PIECES, "the notebook's own"),
        ((8, 9), "a short cut"),
        ((12, 16), "40 steps earlier"),
        ((4, 8), "must be among them"),
        ((4, 12), "must be among them"),
    ],
)
def test_7f_names_the_mistake(pieces, message, says):
    printed = says("7f", pieces)
    assert printed.startswith("✗ 7f not yet: ")
    assert message in printed


def test_7f_needs_a_run_to_compare_with(says):
    assert "late enough" in says("7f", (2, 16), baseline=[{"step": 0, "induction": torch.ones(2, 4)}])


def needs(off=(1,), control=(0,), last=([0, 2], [1, 3])):
    """An answer, from numbers of heads of the first layer; what is no number stands as it is."""
    sets = [[(0, head) if isinstance(head, int) else head for head in heads] for heads in (off, control, *last)]
    return {2: {"off": sets[0], "control": sets[1]}, 3: {"off": sets[2], "control": sets[3]}}


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    "answer",
    [needs(), needs(off=[3], control=[2]), needs(off=[(0, np.int64(1))], control=[2, 2])],
)
def test_7g_takes_every_smallest_set_with_a_control(answer, says):
    printed = says("7g", answer)
    assert printed.startswith("✓ 7g passed")
    assert "seed 3: 0.900, without L0H0 and L0H2 0.100, without L0H1 and L0H3 0.900" in printed


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1, 3], "give a dictionary"),
        ({2: needs()[2]}, "seed 3 is missing"),
        ({2: [1], 3: [0, 2]}, "each with one head or more"),
        (needs(off=[]), "each with one head or more"),
        (needs(off=["first"]), "is no head"),
        (needs(off=["0.1"]), "is no head"),
        (needs(off=[0.1]), "is no head"),
        (needs(off=[(1, 1)]), "L1H1 is not in the first layer"),
        (needs(off=[4]), "(0, 4) is no head"),
        (needs(off=[0], control=[2]), "an induction head still"),
        (needs(off=[1, 2], control=[0, 3]), "not the smallest"),
        (needs(control=[1]), "in both sets"),
        (needs(control=[0, 2]), "Switch off as many (1)"),
        (needs(control=[3]), "no control"),
    ],
)
def test_7g_names_the_mistake(answer, message, says):
    printed = says("7g", answer)
    assert printed.startswith("✗ 7g not yet: ")
    assert message in printed


@pytest.mark.usefixtures("measured")
def test_7g_takes_the_heads_that_are_left_for_a_control(says):
    answer = needs(off=[0, 1, 2], control=[3])
    assert says("7g", answer, trained={2: Circuit([{0, 1, 2}])}).startswith("✓ 7g passed")


@pytest.mark.usefixtures("measured")
def test_7g_needs_an_induction_head(says):
    assert "no induction head to take away" in says("7g", needs(), trained={2: Circuit([set()])})
