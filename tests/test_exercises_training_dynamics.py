"""Exercises of notebook 07: answers written in other ways than their entries have them, and what findings are told."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from judged import is_wrong
from torch.nn.functional import cross_entropy

from interp_helpers import ArgumentError, exercises, live, training_log
from interp_helpers.exercises import training_dynamics


def entry(exercise):
    return exercises.checkers(7)[exercise]


# 7a


def train_on(model, batches, rate):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=rate), []
    for tokens in batches:
        with torch.enable_grad():
            logits = model(tokens).logits
            loss = cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()  # at the beginning: the first batch has none
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def with_gradients_by_hand(model, batches, rate):
    optimizer, losses, weights = torch.optim.AdamW(model.parameters(), lr=rate), [], list(model.parameters())
    torch.set_grad_enabled(True)
    for tokens in batches:
        log_p = model(tokens).logits.log_softmax(-1)[:, :-1]
        loss = -log_p.gather(-1, tokens[:, 1:, None]).mean()
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights)):
            weight.grad = gradient
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("answer", [train_on, with_gradients_by_hand])
def test_7a_takes_right_answers_and_leaves_gradients_as_they_were(answer, enabled, says):
    with torch.set_grad_enabled(enabled):
        assert says("7a", answer).startswith("✓ 7a passed")
        assert torch.is_grad_enabled() == enabled


def without_gradients(model, batches, rate):
    loss = cross_entropy(model(batches[0]).logits[:, :-1].mT, batches[0][:, 1:])
    loss.backward()
    return [loss.item()] * len(batches)


def not_in_the_last(model, batches, rate):
    return [*train_on(model, batches[:-1], rate), entry("7a").reference(live_copy(model), batches[-1:], rate)[0]]


def live_copy(model):
    other = live.AttentionOnly(len(model.W_Q))
    other.load_state_dict(model.state_dict())
    return other


def transposed(model, batches, rate):
    return [cross_entropy(model(tokens).logits[:, :-1], tokens[:, 1:]).item() for tokens in batches]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (without_gradients, "this notebook turns them off with `torch.set_grad_enabled(False)`"),
        (not_in_the_last, "your losses are right, but the model ends with other weights"),
        (lambda model, *given: np.mean(train_on(model, *given)), "return 5 losses. What it returns has shape ()"),
        (lambda model, *given: np.add(train_on(model, *given), 1), "for 5 batches and a learning rate of 0.005, your"),
        (lambda model, *given: None, "returned None when given a AttentionOnly, a list, 0.005"),
        (lambda *given: "done", "what your function returns should be a number or a tensor"),
        (transposed, "your function raised RuntimeError"),
    ],
)
def test_7a_names_the_mistake(answer, message, enabled, says):
    with torch.set_grad_enabled(enabled):
        is_wrong(says("7a", answer), "7a", message)


def test_7a_by_hand():
    """AdamW's first step moves every weight by the rate against its gradient, after making it smaller by a hundredth of
    the rate; a position that no sequence reaches has no gradient."""
    model = live.AttentionOnly(1, seed=3)
    before, tokens = live_copy(model), torch.tensor([[1, 2, 1, 2]])
    (loss,) = entry("7a").reference(model, [tokens], 0.1)
    with torch.enable_grad():
        wanted = cross_entropy(before(tokens).logits[0, :-1], tokens[0, 1:])
        wanted.backward()
    assert loss == pytest.approx(wanted.item(), abs=1e-12)
    step = 0.1 * before.W_U.grad / (before.W_U.grad.abs() + 1e-8)  # the sign of the gradient, if it is not tiny
    torch.testing.assert_close(model.W_U, before.W_U * (1 - 0.1 * 0.01) - step)
    torch.testing.assert_close(model.W_pos[4:], before.W_pos[4:] * (1 - 0.1 * 0.01))


def test_7a_trains_as_live_does():
    model, other, generator = live.AttentionOnly(2, seed=5), live.AttentionOnly(2, seed=5), torch.Generator()
    list(live.train(model, seed=8, steps=4))
    generator.manual_seed(8)
    batches = [live.repeated_pieces(generator, live.SEQUENCES) for _ in range(4)]
    train_on(other, batches, live.RATE)
    torch.testing.assert_close(dict(other.named_parameters()), dict(model.named_parameters()))


# 7b

STEPS = np.arange(6) ** 2 / 10
CURVES = {"bumpy": [1, 6, 2, 5, 9, 10], "steady": [0, 1, 2, 3, 4, 5]}


def dated_by_loop(steps, series, share):
    goal, up = series[0] + share * (series[-1] - series[0]), series[-1] > series[0]
    for stop in reversed(range(len(series))):
        if (series[stop] < goal) if up else (series[stop] > goal):
            return [float(steps[stop]), float(steps[stop + 1])]


def dated_in_place(steps, series, share):
    series -= series[0]
    late = torch.as_tensor(series / series[-1] < share).nonzero()[-1].item()
    return torch.as_tensor(steps)[late : late + 2]


@pytest.mark.parametrize("answer", [dated_by_loop, dated_in_place])
def test_7b_takes_right_answers(answer, says):
    assert says("7b", answer, steps=STEPS, curves=CURVES).startswith("✓ 7b passed")
    steady = says("7b", answer, steps=STEPS, curves={"steady": CURVES["steady"]})
    assert "it agrees with the first stop on every curve" in steady


def test_7b_says_what_the_rule_changes(says):
    bumpy = {"bumpy": [1, 6, 1, 5, 9, 10]}
    assert "it dates bumpy at 0.900 instead of 0.100 million tokens" in says(
        "7b", dated_by_loop, steps=STEPS, curves=bumpy
    )
    live_steps = {"steps": [0, 10, 20, 30, 40, 50], "unit": "steps"}
    assert "it dates bumpy at 30 instead of 10 steps" in says("7b", dated_by_loop, curves=bumpy, **live_steps)


def dated_from(missing):
    return training_dynamics._last_missing(missing)


def from_the_range_unless_it_begins_at_zero(series, share):
    way = series / series[-1] if series[0] == 0 else (series - series.min()) / (series.max() - series.min())
    return way < share


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (dated_from(from_the_range_unless_it_begins_at_zero), "from the lowest to the highest"),
        (
            dated_from(lambda series, share: series < series[0] + share * (series[-1] - series[0])),
            "on a curve that falls, your function reads beyond the end of the list",
        ),
        (lambda *given: dated_by_loop(*given)[1], "has shape (2,)"),
        (lambda steps, series, share: steps[99], "your function raised IndexError"),
    ],
)
def test_7b_names_the_mistake(answer, message, says):
    is_wrong(says("7b", answer), "7b", message)


def test_7b_tries_the_log_too(says):
    def not_there(steps, series, share):
        return [9, 9] if len(steps) == 6 else dated_by_loop(steps, series, share)

    is_wrong(says("7b", not_there, steps=STEPS, curves=CURVES), "7b", "`share` = 0.100, your answer is")


# 7c

LOSSES = {4: 1.25, 6: 1.03, 9: 7.87, 12: 0.01}
PREDICTIONS = [
    ("guessing", LOSSES, "it still copies the one that stood 12 places before"),
    ("copied", LOSSES, "to be sure of a wrong token costs more than guessing"),
    ("worse", LOSSES | {9: 0.1}, "So it copies at this distance too"),
    ("copied", LOSSES | {9: 2.2}, "which tokens are in the piece, but not their order"),
    ("worse", LOSSES | {9: 3.4}, "does not expect any token much more than the others"),
    ("zero", LOSSES, "the options are 'copied', 'piece', 'guessing', 'worse'"),
]


@pytest.mark.parametrize(("loss", "right"), [(0.1, "copied"), (2.2, "piece"), (3.4, "guessing"), (7.87, "worse")])
def test_7c_takes_what_was_measured(loss, right, says):
    for prediction in ["copied", "piece", "guessing", "worse"]:
        printed = says("7c", f" {prediction.upper()}", losses=LOSSES | {9: loss}, trained=12, asked=9)
        assert printed.startswith("✓ 7c passed" if prediction == right else "✗ 7c not yet: you expected"), printed
        assert f"with pieces of 9, the model's loss on later copies is {loss:.3f} nats, and guessing" in printed


def test_7c_points_at_lengths_that_fit(says):
    assert "With pieces of 4 (1.250) and 6 (1.030) it does better" in says(
        "7c", "worse", losses=LOSSES, trained=12, asked=9
    )
    assert "it does better" not in says("7c", "worse", losses={9: 7.87, 12: 0.01}, trained=12, asked=9)


@pytest.mark.parametrize(("answer", "losses", "message"), PREDICTIONS)
def test_7c_names_the_mistake(answer, losses, message, says):
    is_wrong(says("7c", answer, losses=losses, trained=12, asked=9), "7c", message)


# 7d

BASELINE = [{"step": step, "induction": torch.full((2, 4), 0.93 if step >= 220 else 0.1)} for step in range(0, 330, 10)]
# What training with some pieces leads to, as it was measured: when a head comes, the best score and the loss on later
# copies in the end, and the best score on pieces like those of the training. Training here would take a minute.
OUTCOMES = {
    (2, 10): (150, 0.86, 0.16, 0.91),
    (3, 12): (180, 0.93, 0.03, 0.94),
    (4, 12): (190, 0.94, 0.02, 0.95),
    (6, 8): (180, 0.64, 1.39, 0.87),
    (2, 6): (None, 0.43, 2.58, 0.89),
    (12, 12): (None, 0.24, 5.97, 0.91),
    (22, 22): (None, 0.04, 3.4, 0.05),
}
NOT_EARLIER = [
    ((12, 12), "on pieces like those that it was trained on, the best induction score is 0.910"),
    ((2, 6), "its own distances only, which is a short cut"),
    ((22, 22), "no head passes one half on the notebook's test"),
    ((4, 12), "It should come 40 steps earlier"),
    ((4, 12), "the head comes at step 190, and at step 220 with the notebook's pieces"),
    ((6, 8), "Which distances of the test are not among them?"),
    ((6, 8), "the loss on later copies is 1.390 nats on the notebook's test"),
    (12, "two whole numbers, (shortest, longest)"),
    ((2.0, 12.0), "two whole numbers"),
    ((2, 6, 12), "two whole numbers"),
    ((1, 12), "pieces have 2 to 22 tokens"),
    ((12, 6), "the shortest comes first"),
    (live.PIECES, "the notebook's own pieces"),
]


@pytest.fixture
def outcomes(monkeypatch):
    def train(model, *, seed, draw):
        model.outcome = OUTCOMES[draw.keywords["pieces"]]
        came, score, loss, _ = model.outcome
        for step in range(0, 330, 10):
            reached = score if step == 320 else 0.6 if came and step >= came else 0.1
            yield {"step": step, "induction": torch.full((2, 4), reached), "later_copies": loss}

    monkeypatch.setattr(live, "train", train)
    monkeypatch.setattr(live, "measure", lambda model, draw: {"induction": torch.full((2, 4), model.outcome[3])})


@pytest.mark.usefixtures("outcomes")
@pytest.mark.parametrize("pieces", [(2, 10), [np.int64(3), 12]])
def test_7d_takes_what_comes_earlier(pieces, says):
    assert says("7d", pieces, baseline=BASELINE).startswith("✓ 7d passed: a head passes one half at step 1")


@pytest.mark.usefixtures("outcomes")
@pytest.mark.parametrize(("pieces", "message"), NOT_EARLIER)
def test_7d_names_the_mistake(pieces, message, says):
    is_wrong(says("7d", pieces, baseline=BASELINE), "7d", message)


def test_7d_trains_a_model(says):
    printed = says("7d", (2, 12), baseline=BASELINE)
    assert printed.startswith("✓ 7d passed: a head passes one half at step 160, which is 60 steps earlier than")


def test_7d_needs_a_run_to_compare_with():
    for records in (BASELINE[:3], [{"step": 10, "induction": torch.ones(2, 4)}]):
        with pytest.raises(ArgumentError, match="no head of `baseline` passes one half"):
            exercises.check("7d", (2, 12), baseline=records)


# 7e


def own_data(generator, sequences):
    return torch.cat([live.repeated_pieces(generator, 12), live.random_tokens(generator, 2)]).int()


def of_shape(*shape, value=0, dtype=torch.int64):
    return lambda generator, sequences: torch.full(shape, value, dtype=dtype)


def not_from_the_generator(generator, sequences):
    return torch.randint(live.VOCABULARY, (sequences, live.LENGTH))


IN_ADVANCE = {"draw": own_data, "dates": (200, 300)}
NOT_PREDICTED = [
    ({"dates": (300, 400)}, "The median, 250, lies before your interval, 300 to 400"),
    ({"dates": (150, 220)}, "The median, 250, lies after your interval, 150 to 220"),
    ({"dates": (300, 400)}, "the head comes earlier than you predicted"),
    ({"dates": (150, 220)}, "the head comes later than you predicted"),
    ({"dates": (150, 220)}, "comes at step 230, 290 and 250 (seeds 20, 21 and 22)"),
    ({"draw": of_shape(1, live.LENGTH)}, "So there is no head by 600 steps in most of the models"),
    ({"draw": of_shape(1, live.LENGTH)}, "comes at step 400, none by step 600 and none by step 600"),
    ({"dates": (10, 15)}, "so begin at step 20 or later"),
    ({"dates": (200, 301)}, "It may end at 1.5 times its begin at most, which is 300"),
    ({"dates": (300, 200)}, "with the lower one first"),
    ({"dates": 250}, "`dates` should be two steps, (low, high)"),
    ({"dates": (200, np.nan)}, "`dates` should be two steps"),
    ({"dates": "soon"}, "`dates` should be a number or a tensor"),
    ({"dates": None}, "still empty: `dates`"),
    ({"draw": live.repeated_pieces}, "the notebook's own data"),
    ({"draw": live.diluted(live.SEQUENCES)}, "the notebook's own data"),
    ({"draw": not_from_the_generator}, "gives other ids when it gets the same generator again"),
    ({"draw": "random"}, "`draw` should be a function of (generator, sequences)"),
    (
        {"draw": lambda generator, sequences: None},
        "your function returned None when given `generator` = a Generator, `sequences` = 16",
    ),
    ({"draw": lambda generator: None}, "your function raised TypeError"),
    ({"draw": lambda *given: [[0] * live.LENGTH]}, "of shape (sequence, 24), with one sequence or more; it returned a"),
    ({"draw": of_shape(16, 23)}, "it returned a tensor of shape (16, 23)"),
    ({"draw": of_shape(0, 24)}, "with one sequence or more; it returned tensor([])"),
    ({"draw": of_shape(16, 24, dtype=torch.float32)}, "your `draw` returned torch.float32"),
    ({"draw": of_shape(16, 24, dtype=torch.bool)}, "your `draw` returned torch.bool"),
    ({"draw": of_shape(16, 24, value=32)}, "ids go from 0 to 31; your `draw` returned ids from 32 to 32"),
    ({"draw": of_shape(16, 24, value=-1)}, "ids from -1 to -1"),
]


@pytest.fixture
def dates(monkeypatch):
    """`live.date` without training: what it takes is drawn once, and decides which dates it gives."""

    def date(model, *, seed, steps, draw):
        assert steps == 600
        tokens = draw(torch.Generator().manual_seed(seed), live.SEQUENCES)
        assert tokens.dtype == torch.int64
        torch.testing.assert_close(model.W_E, live.AttentionOnly(2, seed=seed).W_E)
        return ({20: 400} if len(tokens) == 1 else {20: 230, 21: 290, 22: 250}).get(seed)

    monkeypatch.setattr(live, "date", date)


@pytest.mark.usefixtures("dates")
@pytest.mark.parametrize("interval", [(200, 300), torch.tensor([250, 250]), [170.5, 255.7]])
def test_7e_takes_an_interval_with_the_median(interval, says):
    printed = says("7e", IN_ADVANCE | {"dates": interval})
    assert printed.startswith("✓ 7e passed: on your data the head comes at step 230, 290 and 250 (seeds 20, 21 and 22)")


@pytest.mark.usefixtures("dates")
@pytest.mark.parametrize(("change", "message"), NOT_PREDICTED)
def test_7e_names_the_mistake(change, message, says):
    is_wrong(says("7e", IN_ADVANCE | change), "7e", message)


def test_7e_watches_the_data_of_every_step(monkeypatch, says):
    monkeypatch.setattr(live, "date", lambda model, *, draw, **rest: [draw(torch.Generator(), 16) for _ in range(9)])
    calls = []

    def later_broken(generator, sequences):
        calls.append(sequences)
        return own_data(generator, sequences) + 99 * (len(calls) > 5)

    is_wrong(says("7e", IN_ADVANCE | {"draw": later_broken}), "7e", "ids go from 0 to 31")


def test_7e_trains_models(says):
    draw = partial(live.repeated_pieces, pieces=(2, 10))  # quick: a head comes at step 150 or so
    printed = says("7e", {"draw": draw, "dates": (120, 180)})
    assert printed.startswith("✓ 7e passed: on your data the head comes at step 1")


# 7f


def matches_by_hand(series):
    found = []
    for k in range(1, len(series)):
        share = 1 - k / len(series)  # of stops at which the step is 1
        height = series[k:].mean() - series[:k].mean()
        found.append(height * (share * (1 - share)) ** 0.5 / series.std())
    return found


@pytest.mark.parametrize("answer", [matches_by_hand, lambda series: torch.tensor(matches_by_hand(series))])
def test_7f_takes_right_answers(answer, says):
    assert says("7f", answer).startswith("✓ 7f passed")


def test_7f_reads_the_log(says):
    measures, _ = training_log()
    tokens = measures["tokens"].to_numpy() / 1e6
    printed = says("7f", matches_by_hand, tokens=tokens, series=measures["second_copy_drop"])
    assert "a step at 3.031 million tokens has a correlation of 0.9" in printed
    unmatched = np.array([0.0, 1, 0, 1, 0, 1, 0, 1])
    assert "over 0.9" not in says("7f", matches_by_hand, tokens=tokens, series=unmatched)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda series: matches_by_hand(series)[:-1], "the answer has shape"),
        (lambda series: series[99], "your function raised IndexError"),
    ],
)
def test_7f_names_the_mistake(answer, message, says):
    is_wrong(says("7f", answer), "7f", message)


# 7g


class Circuit:
    """Stands for a live model whose induction is gone when all heads of one of some sets give their means."""

    def __init__(self, *needed):
        self.needed = needed


@pytest.fixture
def circuits(monkeypatch):
    """`live.measure` for circuits: 0.9 with induction, 0.1 without."""

    def measure(model, replaced):
        assert all(value == means()[head] for head, value in replaced.items())
        gone = any({(0, head) for head in needed} <= set(replaced) for needed in model.needed)
        return {"induction": torch.tensor([[0.99] * 4, [0.0, 0.1 if gone else 0.9, 0.05, 0.1]])}

    monkeypatch.setattr(live, "measure", measure)


def means():
    """What stands in for each head; a number here, which says which head it is."""
    return torch.arange(8).reshape(2, 4)


TRAINED = {2: Circuit({1}, {3}), 3: Circuit({0, 2})}


def says_7g(says, answer, trained=TRAINED):
    return says("7g", answer, trained=trained, means={seed: means() for seed in trained})


def sets(off, control):
    return {
        kind: [(0, head) if isinstance(head, int) else head for head in heads] if isinstance(heads, list) else heads
        for kind, heads in {"off": off, "control": control}.items()
    }


def needs(off=(1,), control=(0,), last=([0, 2], [1, 3])):
    """An answer from numbers of heads of the first layer; what is no number stays as it is."""
    first = [list(heads) if isinstance(heads, tuple) else heads for heads in (off, control)]
    return {2: sets(*first), 3: sets(*last)}


def brute_force(trained, means):
    answer, heads = {}, [(0, head) for head in range(live.HEADS)]
    for seed, model in trained.items():
        scores = {}
        for count in range(live.HEADS + 1):
            for chosen in combinations(heads, count):
                measured = live.measure(model, replaced={head: means[seed][head] for head in chosen})
                scores[chosen] = measured["induction"][1].max().item()
        off = min((chosen for chosen in scores if scores[chosen] < 0.5), key=len)
        size = min(len(off), live.HEADS - len(off))
        others = [chosen for chosen in scores if len(chosen) == size and not {*chosen} & {*off}]
        best = max(others, key=scores.get)
        answer[seed] = {"off": list(off), "control": list(best) if size and scores[best] > 0.5 else None}
    return answer


NO_CONTROL = [({0, 1, 2, 3},), ({0, 1}, {2, 3}), ({0}, {1}, {2}, {3})]
CAUSES = [
    (needs(off=(0,), control=(2,)), TRAINED, "seed 2: without L0H0, the best induction score of the second layer is"),
    (needs(off=(0,), control=(2,)), TRAINED, "an induction head is left"),
    (needs(off=(1, 2), control=(0, 3)), TRAINED, "so these heads are enough, but fewer are enough too"),
    (needs(control=None), TRAINED, "a control of the right size"),
    (needs(control=[]), TRAINED, "a control of the right size (1) exists"),
    (needs([0, 1, 2, 3], (0,)), {2: Circuit({0, 1, 2, 3})}, "no others are left for a control"),
    (needs(control=(1,)), TRAINED, "a head is in both of your sets"),
    (needs([0, 1], [2, 3]), {2: Circuit({0, 1}, {2, 3})}, "without any set of other heads that is as large"),
    (needs(control=(0, 2)), TRAINED, "the size of your control should be"),
    (needs(control=(3,)), TRAINED, "so these heads are no control"),
    (needs(control=(3,)), TRAINED, "without L0H3, induction is gone as well (0.100)"),
    (needs(), {2: Circuit(set())}, "has no induction head that could be taken away"),
    (needs(last=([0, 2], [1])), TRAINED, "seed 3: the size of your control should be 2, and it is 1"),
    ([1, 3], TRAINED, "the answer is a dictionary, {seed: {...}}"),
    ({2: needs()[2]}, TRAINED, "seed 3 is missing"),
    ({2: [1], 3: [0, 2]}, TRAINED, "the answer is a dictionary with off"),
    ({2: {"control": [(0, 1)]}}, TRAINED, "still missing from the dictionary: off"),
    ({2: {"off": [(0, 1)]}}, TRAINED, "`control` is missing"),
    (needs(off=[]), TRAINED, "seed 2: `off` should be a list of heads"),
    (needs(off=7), TRAINED, "seed 2: `off` should be a list of heads"),
    (needs(off=["first"]), TRAINED, "seed 2, `off`: a head is a pair of numbers"),
    (needs(control=[0.1]), TRAINED, "seed 2, `control`: a head is a pair of numbers"),
    (needs(off=[(0, 4)]), TRAINED, "there is no head L0H4"),
    (needs(off=[(1, 1)]), TRAINED, "L1H1 is not in the first layer"),
]


@pytest.mark.usefixtures("circuits")
@pytest.mark.parametrize(
    "answer",
    [
        needs(),
        needs(off=(3,), control=(2,)),
        needs(off=[(0, np.int64(1))], control=[2, 2]),
        {seed: {kind: set(heads) for kind, heads in each.items()} for seed, each in needs().items()},
    ],
)
def test_7g_takes_every_smallest_set_with_a_control(answer, says):
    printed = says_7g(says, answer)
    assert printed.startswith("✓ 7g passed: the best induction score of the second layer is, for seed 2: 0.900 with")
    assert "seed 3: 0.900 with all heads, 0.100 without L0H0 and L0H2, and 0.900 without L0H1 and L0H3" in printed


@pytest.mark.usefixtures("circuits")
@pytest.mark.parametrize("needed", [*NO_CONTROL, ({0, 1, 2},), ({2},), ({0, 1}, {1, 2}, {0, 3})])
def test_7g_can_be_passed_whatever_a_model_needs(needed, says):
    trained = {5: Circuit(*needed)}
    printed = says_7g(says, brute_force(trained, {5: means()}), trained)
    assert printed.startswith("✓ 7g passed")
    assert ("no control exists" in printed) == (needed in NO_CONTROL)


@pytest.mark.usefixtures("circuits")
@pytest.mark.parametrize(("answer", "trained", "message"), CAUSES)
def test_7g_names_the_mistake(answer, trained, message, says):
    is_wrong(says_7g(says, answer, trained), "7g", message)


def trained_with_means(seeds):
    many, trained = live.repeated_pieces(torch.Generator().manual_seed(3), 256), {}
    for seed in seeds:
        trained[seed] = live.AttentionOnly(2, seed=seed)
        list(live.train(trained[seed], seed=seed, every=320))
    with torch.no_grad():
        return {"trained": trained, "means": {seed: model(many).z.mean(1) for seed, model in trained.items()}}


def passes_by_brute_force(context, says):
    printed = says("7g", brute_force(**context), **context)
    assert printed.startswith("✓ 7g passed")
    return printed


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(10))
def test_7g_can_be_passed_on_every_seed(seed, says):
    """A head that counts as a previous-token head need not be needed: L0H3 with seed 2, L0H2 with seed 7."""
    needed = {2: "without L0H1 and L0H2, and 0.8", 7: "without L0H1 and L0H3, and 0.8"}.get(seed, "")
    assert needed in passes_by_brute_force(trained_with_means([seed]), says)


# All


@pytest.mark.parametrize(
    ("exercise", "said"),
    [
        ("7c", [words for *_, words in PREDICTIONS]),
        ("7d", [words for *_, words in NOT_EARLIER]),
        ("7e", [words for *_, words in NOT_PREDICTED]),
        ("7g", [words for *_, words in CAUSES]),
    ],
)
def test_every_mistake_of_a_finding_was_made_above(exercise, said):
    assert all(any(words in message for words in said) for message in entry(exercise).mistakes)


@pytest.mark.parametrize("answer", [True, 3, "4.3", {}, lambda *given: 1, torch.ones(2), [(0, 0)], {"draw": 1}])
@pytest.mark.usefixtures("circuits", "dates")
def test_no_answer_of_another_kind_stops_a_check(answer, says):
    contexts = {
        "7c": {"losses": LOSSES, "trained": 12, "asked": 9},
        "7d": {"baseline": BASELINE},
        "7g": {"trained": TRAINED, "means": {seed: means() for seed in TRAINED}},
    }
    for exercise in exercises.checkers(7):
        assert says(exercise, answer, **contexts.get(exercise, {}))[0] in "✗○"
