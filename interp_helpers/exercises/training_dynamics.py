"""Exercises of notebook 07: a training loop, dates in a log, what a correlation is worth, and small models trained."""

from copy import deepcopy
from functools import partial
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from .. import live
from ..attention import MAJORITY, head_label
from ..errors import ArgumentError
from .judging import (
    Exercise,
    Wrong,
    as_tensor,
    choose,
    compare,
    drawn,
    fresh,
    head_of,
    not_expected,
    parts,
    require,
    require_function,
    same,
    shown,
    turned_out,
    watched,
)


def _is(name):
    """A condition on facts: what is wrong with the answer has this name."""
    return lambda facts: facts.fault == name


def _first_date(records):
    """The step of the first record with a head that gives more than half of its attention to induction, or None."""
    return next((record["step"] for record in records if record["induction"].max() > MAJORITY), None)


# 7a: the training loop. Answers: (model, batches, rate) -> the losses, one for each batch. The model is trained in
# place.


class TrainingExercise(Exercise):
    """An exercise whose answer trains a model. What it returns and the weights that it leaves are compared.

    Gradients are off outside the answer, as they are in the notebook.
    """

    @torch.no_grad()
    def __call__(self, answer):
        require_function(answer)
        for arguments in drawn(self.inputs):
            _, batches, rate = arguments
            right = _trained(self.reference, *arguments)
            try:
                found = _trained(answer, *arguments)
            except Wrong as problem:
                require("does not require grad" not in str(problem.__cause__), NO_GRADIENT)
                raise
            if same(found, right, self.tolerance):
                continue
            made = {message: _trained(mistake, *arguments) for message, mistake in self.mistakes.items()}
            if any(same(found, each, self.tolerance) for each in made.values()):
                compare(found, right, made, given="", tolerance=self.tolerance)
            losses, given = slice(len(batches)), f"{len(batches)} batches and a learning rate of {rate}"
            compare(found[losses], right[losses], {}, given=given, tolerance=self.tolerance)
            raise Wrong(OTHER_WEIGHTS)
        return self.praise


def _trained(train_on, model, batches, rate):
    """The losses and then all weights after training a copy of the model, in one vector."""
    model = deepcopy(model)
    losses = as_tensor(train_on(model, [tokens.clone() for tokens in batches], rate), "what your function returns")
    require(
        losses.shape == (len(batches),),
        f"for {len(batches)} batches your function should return {len(batches)} losses. What it returns has shape "
        f"{tuple(losses.shape)}.",
    )
    return torch.cat([losses, *(weights.detach().flatten() for weights in model.parameters())])


def _models_and_batches(generator):
    for layers, sequences, length, rate in [(1, 2, 10, 5e-3), (2, 3, 7, 2e-2)]:
        seed, *_ = torch.randint(2**31, (1,), generator=generator).tolist()
        batches = [torch.randint(live.VOCABULARY, (sequences, length), generator=generator) for _ in range(5)]
        yield live.AttentionOnly(layers, seed=seed), batches, rate


def _trained_slowly(model, batches, rate):
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=rate), []
    for tokens in batches:
        with torch.enable_grad():
            log_p, total = model(tokens).logits.log_softmax(-1), 0
            for text in range(tokens.shape[0]):
                for position in range(tokens.shape[1] - 1):
                    total -= log_p[text, position, tokens[text, position + 1]]
            loss = total / (tokens.shape[0] * (tokens.shape[1] - 1))
            loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    return losses


def _next_token(logits, tokens, **reduction):
    return cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], **reduction)


def _loop(loss_of=_next_token, *, optimizer=torch.optim.AdamW, zero=True, step=True, anew=False, after=False):
    """A training loop. after: losses are measured after the step; anew: every batch gets an optimizer of its own."""

    def train_on(model, batches, rate):
        chosen, losses = optimizer(model.parameters(), lr=rate), []
        for tokens in batches:
            chosen = optimizer(model.parameters(), lr=rate) if anew else chosen
            with torch.enable_grad():
                loss = loss_of(model(tokens).logits, tokens)
                loss.backward()
            if step:
                chosen.step()
            if zero:
                chosen.zero_grad()
            losses.append((loss_of(model(tokens).logits, tokens) if after else loss).item())
        return losses

    return train_on


def _one_step(model, batches, rate):
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    with torch.enable_grad():
        losses = torch.stack([_next_token(model(tokens).logits, tokens) for tokens in batches])
        losses.mean().backward()
    optimizer.step()
    return losses


NO_GRADIENT = (
    "`loss.backward()` found no gradients, because this notebook turns them off with `torch.set_grad_enabled(False)`. "
    "Put the forward pass and the loss under `with torch.enable_grad():`, because backward needs what they record."
)
OTHER_WEIGHTS = (
    "your losses are right, but the model ends with other weights. Does your loop take one step for each batch, also "
    "for the last one, with `torch.optim.AdamW` and nothing but its learning rate set?"
)
TRAINING_LOOP = TrainingExercise(
    "7a",
    "The training loop",
    kind="Build",
    difficulty=2,
    points=2,
    reference=_trained_slowly,
    inputs=_models_and_batches,
    mistakes={
        "the gradients are never set back to zero, so every step uses the sum of all gradients so far. Call "
        "`optimizer.zero_grad()` once for each batch.": _loop(zero=False),
        "you compared the logits of every position with the token at this same position, which the model has read "
        "already. They predict the next token, so leave out the last position of the logits and the first "
        "token.": _loop(lambda logits, tokens: cross_entropy(logits.transpose(1, 2), tokens)),
        "you left out the last position of the logits and also the last token, so each position is compared with its "
        "own token. Leave out the first token instead, because logits predict the next one.": _loop(
            lambda logits, tokens: cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, :-1])
        ),
        "you shifted in the wrong direction, so each position is compared with the token before it. Leave out the last "
        "position of the logits and the first token.": _loop(
            lambda logits, tokens: cross_entropy(logits[:, 1:].transpose(1, 2), tokens[:, :-1])
        ),
        "you used the last token of each sequence only. Every position but the last predicts a token, so take the mean "
        "over all of them.": _loop(lambda logits, tokens: cross_entropy(logits[:, -2], tokens[:, -1])),
        "you passed probabilities to the cross-entropy. It takes the softmax itself, so give it the logits.": _loop(
            lambda logits, tokens: _next_token(logits.softmax(-1), tokens)
        ),
        "your loss is the sum over all predicted tokens. Take their mean, so that batches of other sizes can be "
        "compared.": _loop(partial(_next_token, reduction="sum")),
        "your weights are right, but each loss is measured after the step that it causes. Keep the loss from which the "
        "gradients come.": _loop(after=True),
        "you made a new optimizer for every batch. AdamW keeps means of past gradients and their squares, and a new "
        "one has forgotten them: each of its steps is like a first step, which moves every weight by the whole "
        "learning rate. Make it once, before the loop.": _loop(anew=True),
        "your losses are right, but the given model has not changed. Did you train a copy of it? Train the model "
        "itself.": lambda model, *given: _trained_slowly(deepcopy(model), *given),
        "the model never changes, because your losses are all those of an untrained model. After `loss.backward()` "
        "comes `optimizer.step()`, and only then may the gradients be set back to zero.": _loop(step=False),
        "your loop makes one step, after the last batch. Make a step for each batch.": _one_step,
        "your steps are those of Adam. AdamW also makes all weights a little smaller in every step (weight decay), so "
        "use `torch.optim.AdamW`.": _loop(optimizer=torch.optim.Adam),
        "your steps are those of SGD, which follows the gradient as it is. Use `torch.optim.AdamW`, which scales the "
        "step of each weight.": _loop(optimizer=torch.optim.SGD),
        "your optimizer has its own default learning rate. Give it yours: `lr=rate`.": (
            lambda model, batches, rate: _trained_slowly(model, batches, 1e-3)
        ),
    },
    praise="your loop returns the right losses and leaves the right weights, with one layer and with two.",
    tolerance=1e-6,  # 64-bit floats: Adam and AdamW differ by 1e-4 only
)


# 7b: a date that stays. Answers: (steps, series, share) -> (last step at which less than `share` of the way was done,
# the step after it).


class DateExercise(Exercise):
    """An exercise whose answer dates curves; then it is told what the dates are on curves of the notebook."""

    def __call__(self, between, steps=(), curves=None, unit="million tokens"):
        require_function(between)

        def tried(steps, series, share):
            try:
                return between(steps.copy(), series.copy(), share)
            except Wrong as problem:
                runs_off = isinstance(problem.__cause__, IndexError) and series[-1] < series[0]
                require(not runs_off, RUNS_OFF)
                raise

        praise = Exercise.__call__(self, tried, steps=steps, curves=curves)
        if not curves:
            return praise
        moved = []
        for name, series in curves.items():
            (_, stays), (_, first) = (rule(np.asarray(steps), np.asarray(series), 0.1) for rule in (_stays, _first))
            if stays != first:
                moved.append(f"{name} at {_number(stays)} instead of {_number(first)} {unit}")
        told = f"it dates {', '.join(moved)}" if moved else "it agrees with the first stop on every curve"
        return f"{praise} For a tenth of the way, {told}."


def _number(value):
    return f"{value:.3f}" if value % 1 else f"{value:.0f}"


def _curves(generator, steps=(), curves=None, unit=None):
    """Random curves that rise or fall, and then those of the log. unit: of the log's steps."""
    for scale, offset in [(1.0, 0.0), (2.0, 1.4), (-3.0, 9.0)]:
        way, stops = _wobbling(generator)
        for share in (0.5, 0.75):
            yield stops, offset + scale * way, share
    for series in (curves or {}).values():
        yield np.asarray(steps), np.asarray(series), 0.1


def _wobbling(generator):
    """A random way from 0 to 1, `(stop,)`, and steps: half of it is done, lost, done, lost and done; then it goes
    beyond 1 and comes back. Its parts are of random lengths, so that nobody can know the stops."""

    def values(low, high, count=1):
        return low + (high - low) * torch.rand(count, generator=generator).sort().values.double().numpy()

    first, later = (2 + int(torch.randint(5, (), generator=generator)) for _ in range(2))
    pieces = [[0.0], values(0.01, 0.1, first), values(0.8, 0.95), values(0.05, 0.12, later), values(0.78, 0.9)]
    pieces += [values(0.2, 0.3), values(0.6, 0.65), values(0.8, 0.88, 2), values(1.8, 1.95, 2), [1.0]]
    way = np.concatenate(pieces)
    return way, np.cumsum(torch.randint(3, 20, (len(way),), generator=generator).numpy())


def _way(series):
    return (series - series[0]) / (series[-1] - series[0])


def _last_missing(missing):
    """The answer with another notion of what is missing: (series, share) -> (stop,)."""

    def answer(steps, series, share):
        late = np.flatnonzero(missing(series, share))[-1]
        return steps[late], steps[late + 1]

    return answer


_stays = _last_missing(lambda series, share: _way(series) < share)


def _first(steps, series, share):
    stop = np.argmax(_way(series) >= share)
    return steps[stop - 1], steps[stop]


def _turned(*given):
    return _stays(*given)[::-1]


def _one_late(steps, series, share):
    stop = list(steps).index(_stays(steps, series, share)[1])
    return steps[stop], steps[stop + 1]


def _from_lowest(series, share):
    height = series - series.min() if series[-1] > series[0] else series.max() - series
    return height < share * np.ptp(series)


RUNS_OFF = (
    "on a curve that falls, your function reads beyond the end of the list. There the share is missing where the value "
    "is still too high."
)
DATE_THAT_STAYS = DateExercise(
    "7b",
    "A date that stays",
    kind="Build",
    difficulty=2,
    points=2,
    reference=_stays,
    inputs=_curves,
    mistakes={
        "you took the first stop at which the share was done, but it was lost again later. Look for the last stop at "
        "which it was missing.": _first,
        "you returned positions in the list. Return the steps that stand there, because stops are not evenly "
        "spaced.": lambda steps, *given: _stays(np.arange(len(steps)), *given),
        "your two steps are right, but in the wrong order. The earlier one comes first.": _turned,
        "your interval begins where the right one ends, and at this step the share was done already.": _one_late,
        "you measured the way from the lowest to the highest value. It goes from the first value to the last, and a "
        "curve may go beyond the last one and come back.": _last_missing(_from_lowest),
        "you took a share of the last value. The way begins at the first value, which need not be zero.": _last_missing(
            lambda series, share: series < share * series[-1]
        ),
    },
    praise="your rule is right for curves that rise and for curves that fall, and it does not take a bump for the "
    "event.",
)


# 7c: a copier at the wrong distance. Answers: "copied", "piece", "guessing" or "worse".


def _at_another_distance(prediction, losses, trained, asked):
    """losses: {length of the pieces: loss on later copies, nats}, of a model that was trained on pieces of one length,
    `trained`; the question is about those of length `asked`."""
    said = choose(prediction, list(_EXPLAINED))
    loss, among_piece, among_all = losses[asked], np.log(asked), np.log(live.VOCABULARY)
    limits = [("copied", among_piece / 2), ("piece", (among_piece + among_all) / 2), ("guessing", among_all + 1)]
    right = next((name for name, limit in limits if loss < limit), "worse")
    shorter = {length: loss for length, loss in losses.items() if length < trained and loss < among_all}
    divisors = " and ".join(f"{each} ({loss:.3f})" for each, loss in shorter.items() if trained % each == 0)
    also = f" With pieces of {divisors} it does better than guessing. How do these lengths fit {trained}?"
    return SimpleNamespace(
        said=said,
        right=right,
        asked=asked,
        trained=trained,
        loss=loss,
        among_all=among_all,
        also=also if divisors else "",
    )


_LOSS = (
    "with pieces of {asked}, the model's loss on later copies is {loss:.3f} nats, and guessing among all tokens costs "
    "{among_all:.3f}"
)
_EXPLAINED = {
    "copied": ". So it copies at this distance too.",
    "piece": ". So it knows which tokens are in the piece, but not their order.",
    "guessing": ". So it does not expect any token much more than the others.",
    "worse": ". So it expects a wrong token: it still copies the one that stood {trained} places before the next "
    "token. It is nearly as sure of it as before, and to be sure of a wrong token costs more than guessing.{also}",
}


WRONG_DISTANCE = Exercise(
    "7c",
    "A copier at the wrong distance",
    kind="Read",
    difficulty=1,
    points=1,
    measure=_at_another_distance,
    mistakes={f"you expected {{said!r}}, but {_LOSS}{why}": not_expected(name) for name, why in _EXPLAINED.items()},
    praise={_LOSS + why: turned_out(name) for name, why in _EXPLAINED.items()},
)


# 7d: earlier, and still an induction head. Answers: (shortest, longest) length of the pieces to train with.

EARLIER = 40  # steps: with the notebook's pieces, one of ten seeds comes this much before seed 0
COPIES = 0.5  # nats on later copies: below this, a model copies at all of the test's distances


def _with_pieces(pieces, baseline):
    """What training with these pieces leads to. baseline: the records of `live.train` with seed 0 and live.PIECES."""
    usual = _first_date(baseline)
    if usual is None or usual <= EARLIER:
        raise ArgumentError(
            f"check: no head of `baseline` passes one half after step {EARLIER}. Give the records of `live.train` for "
            "a model with two layers and seed 0."
        )
    require(
        isinstance(pieces, (tuple, list)) and [isinstance(each, (int, np.integer)) for each in pieces] == [True, True],
        f"the answer is two whole numbers, (shortest, longest); yours is {shown(pieces)}.",
    )
    shortest, longest = map(int, pieces)
    require(
        2 <= shortest <= longest <= live.LENGTH - 2,
        f"pieces have 2 to {live.LENGTH - 2} tokens, and the shortest comes first; yours is ({shortest}, {longest}).",
    )
    require((shortest, longest) != live.PIECES, "these are the notebook's own pieces. Choose other ones.")
    model, draw = live.AttentionOnly(2, seed=0), partial(live.repeated_pieces, pieces=(shortest, longest))
    records = list(live.train(model, seed=0, draw=draw))
    came = _first_date(records)
    return SimpleNamespace(
        usual=usual,
        limit=usual - EARLIER,
        came=came,
        earlier=usual - (came or usual),
        last=records[-1]["step"],
        score=records[-1]["induction"].max().item(),
        loss=records[-1]["later_copies"],
        own=live.measure(model, draw=draw)["induction"].max().item(),
    )


EARLIER_HEAD = Exercise(
    "7d",
    "Earlier, and still an induction head",
    kind="Investigate",
    difficulty=3,
    points=3,
    measure=_with_pieces,
    mistakes={
        "on pieces like those that it was trained on, the best induction score is {own:.3f} at step {last}, but on the "
        f"notebook's test it is {{score:.3f}}, where pieces have {live.PIECES[0]} to {live.PIECES[1]} tokens. The "
        "model has learned its own distances only, which is a short cut.": lambda facts: (
            facts.came is None and facts.own > MAJORITY
        ),
        "by step {last} no head passes one half on the notebook's test, and the best score is {score:.3f}. The head "
        "should come by step {limit}. In which sequences is there more to copy?": lambda facts: facts.came is None,
        f"the head comes at step {{came}}, and at step {{usual}} with the notebook's pieces. It should come {EARLIER} "
        "steps earlier, so by step {limit}. In which sequences is there more to copy?": lambda facts: (
            facts.came > facts.limit
        ),
        "the head comes in time, at step {came}. But at step {last} the loss on later copies is {loss:.3f} nats on the "
        f"notebook's test, and it should be below {COPIES}. The model copies well at the distances that it was trained "
        "on. Which distances of the test are not among them?": lambda facts: facts.loss >= COPIES,
    },
    praise="a head passes one half at step {came}, which is {earlier} steps earlier than with the notebook's pieces "
    "(step {usual}). On the notebook's test, the loss on later copies ends at {loss:.3f} nats. This is one seed, so "
    "try others too: with the notebook's pieces, one of ten seeds comes 40 steps earlier as well.",
)


# 7e: other data, and the date in advance. Answers: {"draw": (generator, sequences) -> ids (any number of sequences,
# live.LENGTH), "dates": (low, high), steps between which the median date of three models lies}.

FROM_SEEDS, UNTIL = (20, 21, 22), 600
FACTOR, SOONEST = 1.5, 20  # an interval ends at FACTOR times its begin at most, and begins at SOONEST at least


def _in_advance(answer):
    draw, dates = parts(answer, ["draw", "dates"])
    require(callable(draw), f"`draw` should be a function of (generator, sequences); it is {shown(draw)}.")
    dates = as_tensor(dates, "`dates`")
    require(
        dates.shape == (2,) and dates.isfinite().all() and dates[0] <= dates[1],
        f"`dates` should be two steps, (low, high), with the lower one first; yours is {shown(dates)}.",
    )
    low, high = dates.tolist()
    require(
        low >= SOONEST,
        f"your interval begins at step {low:g}. The models are measured at every tenth step, so begin at step "
        f"{SOONEST} or later.",
    )
    require(
        high <= FACTOR * low,
        f"your interval goes from {low:g} to {high:g}, and such a wide one says little. It may end at {FACTOR} times "
        f"its begin at most, which is {FACTOR * low:g}.",
    )
    draw = _own_ids(watched(draw))
    seed = fresh().initial_seed()
    first, again, usual = (
        make(torch.Generator().manual_seed(seed), live.SEQUENCES) for make in (draw, draw, live.repeated_pieces)
    )
    require(
        torch.equal(first, again),
        "your `draw` gives other ids when it gets the same generator again. Take all random numbers from the "
        "generator, as in `torch.randint(..., generator=generator)`, so that a training can be repeated.",
    )
    require(
        not torch.equal(first, usual),
        "your `draw` gives the notebook's own data, whose dates you know already. Write data of your own.",
    )
    found = [live.date(live.AttentionOnly(2, seed=each), seed=each, steps=UNTIL, draw=draw) for each in FROM_SEEDS]
    median = sorted(step or UNTIL + 1 for step in found)[1]  # a head that has not come yet comes later than all others
    said = [str(step or f"none by step {UNTIL}") for step in found]
    return SimpleNamespace(low=low, high=high, median=median, dates=f"{said[0]}, {said[1]} and {said[2]}")


def _own_ids(draw):
    """`draw`, which raises Wrong for what a live model cannot be trained on."""

    def checked_draw(generator, sequences):
        ids = draw(generator, sequences)
        require(
            isinstance(ids, torch.Tensor) and ids.dim() == 2 and len(ids) > 0 and ids.shape[1] == live.LENGTH,
            f"your `draw` should return ids of shape (sequence, {live.LENGTH}), with one sequence or more; it returned "
            f"{shown(ids)}.",
        )
        require(
            ids.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
            f"ids are whole numbers, such as torch.int64; your `draw` returned {ids.dtype}.",
        )
        low, high = ids.min().item(), ids.max().item()
        require(
            low >= 0 and high < live.VOCABULARY,
            f"ids go from 0 to {live.VOCABULARY - 1}; your `draw` returned ids from {low} to {high}.",
        )
        return ids.long()

    return checked_draw


_DATES = f"on your data the head comes at step {{dates}} (seeds {FROM_SEEDS[0]}, {FROM_SEEDS[1]} and {FROM_SEEDS[2]})"
DATE_IN_ADVANCE = Exercise(
    "7e",
    "Other data, and the date in advance",
    kind="Investigate",
    difficulty=4,
    points=4,
    measure=_in_advance,
    mistakes={
        _DATES + f". So there is no head by {UNTIL} steps in most of the models: choose data for which a date "
        "exists.": lambda facts: facts.median > UNTIL,
        _DATES + ". The median, {median}, lies before your interval, {low:g} to {high:g}: the head comes earlier than "
        "you predicted. What helps it in your data?": lambda facts: facts.median < facts.low,
        _DATES + ". The median, {median}, lies after your interval, {low:g} to {high:g}: the head comes later than you "
        "predicted. What holds it up in your data?": lambda facts: facts.median > facts.high,
    },
    praise=_DATES + ". The median, {median}, lies in your interval, {low:g} to {high:g}. If you chose the interval "
    "before you knew these dates, you know something about what decides them.",
)


# 7f: a curve that knows one date. Answers: series (stop,) -> (stop - 1,), its correlation with a curve that is 0 before
# stop k and 1 from it on, for every k from 1.


class MatchExercise(Exercise):
    """An exercise whose answer correlates curves; then it is told what the correlations are in a log."""

    def __call__(self, correlations, tokens=None, series=None):
        require_function(correlations)
        praise = Exercise.__call__(self, lambda curve: correlations(curve.copy()), tokens=tokens, series=series)
        if series is None:
            return praise
        found = _matches(np.asarray(series, dtype=float))
        best, near = int(found.argmax()), np.flatnonzero(found > 0.9) + 1
        told = f"a step at {tokens[best + 1]:.3f} million tokens has a correlation of {found[best]:.3f} with it"
        if len(near):
            told += f", and all {len(near)} steps from {tokens[near[0]]:.3f} to {tokens[near[-1]]:.3f} have over 0.9"
        return f"{praise} In the log's curve, {told}. These steps know nothing but a date."


def _noisy(generator, tokens=None, series=None):
    """Random curves, each with correlations of both signs, and then the log's. tokens: its stops, in millions."""
    for count, scale in [(7, 1.0), (12, -4.0), (4, 0.01)]:
        curve = np.zeros(count)
        while not (curve.any() and _matches(curve).min() < -0.1 < 0.1 < _matches(curve).max()):
            curve = scale * (3 + torch.randn(count, generator=generator).double().numpy())
        yield (curve,)
    if series is not None:
        yield (np.asarray(series, dtype=float),)


def _switches(series):
    """A row for every k from 1: 0 before stop k, and 1 from it on."""
    return (np.arange(len(series)) >= np.arange(1, len(series))[:, None]) * 1.0


def _matches(series):
    return np.array([np.corrcoef(switch, series)[0, 1] for switch in _switches(series)])


def _cosines(series):
    switches = _switches(series)
    return switches @ series / np.sqrt((switches**2).sum(1) * (series**2).sum())


CURVE_OF_ONE_DATE = MatchExercise(
    "7f",
    "A curve that knows one date",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_matches,
    inputs=_noisy,
    mistakes={
        "your steps go down, from 1 to 0, so all signs are wrong.": lambda series: -_matches(series),
        "at k = 0 the curve would be 1 everywhere. It does not vary, so nothing correlates with it. Begin with k = "
        "1.": lambda series: np.append(np.nan, _matches(series)),
        "your steps come one stop too late. The curve is 1 at stop k already, so use >= and not >. The last of your "
        "steps never comes, and gives NaN.": lambda series: np.append(_matches(series)[1:], np.nan),
        "you did not subtract the means. That gives the cosine between the curves, which is high for any two curves "
        "above zero.": _cosines,
        "you returned covariances. Divide by both standard deviations, so that the size of a curve does not "
        "count.": lambda series: np.array([np.cov(switch, series, ddof=0)[0, 1] for switch in _switches(series)]),
        "you returned the covariances of `np.cov`. Divide by both standard deviations, so that the size of a curve "
        "does not count.": lambda series: np.array([np.cov(switch, series)[0, 1] for switch in _switches(series)]),
        "you returned squares. A correlation has a sign.": lambda series: _matches(series) ** 2,
        "you returned absolute values. A correlation has a sign, and it is below zero where the step goes up and the "
        "curve goes down.": lambda series: np.abs(_matches(series)),
        "you divided by n - 1 in the standard deviations, but by n in the covariance. Use the same number in "
        "both.": lambda series: _matches(series) * (len(series) - 1) / len(series),
        "you divided by n in the standard deviations, but by n - 1 in the covariance. Use the same number in "
        "both.": lambda series: _matches(series) * len(series) / (len(series) - 1),
    },
    praise="your correlations are right, whether a curve rises or falls and however large it is.",
)


# 7g: a cause, with its control. Answers: {seed: {"off": heads, "control": heads or None}}, pairs (layer, head) of the
# first layer.


def _needed(needed, trained, means):
    """What is wrong with the first seed that has a fault, or what was measured for all.

    trained: {seed: a live model with two layers}. means: {seed: its z averaged over texts, (layer, head, position,
    WIDTH / HEADS)}, which takes the place of a head's own z.
    """
    require(isinstance(needed, dict), f"the answer is a dictionary, {{seed: {{...}}}}; yours is {shown(needed)}.")
    lines = []
    for seed, model in trained.items():
        facts = _of_one(seed, needed.get(seed), _scores(model, means[seed]))
        if facts.fault:
            break
        lines.append(facts.line)
    facts.lines = "; ".join(lines)
    return facts


def _scores(model, means):
    """{heads of the first layer: the best induction score of the second when these heads give their means}."""
    heads = [(0, head) for head in range(live.HEADS)]
    sets = [chosen for count in range(live.HEADS + 1) for chosen in combinations(heads, count)]
    replaced = {chosen: {head: means[head] for head in chosen} for chosen in sets}
    return {chosen: live.measure(model, replaced=replaced[chosen])["induction"][1].max().item() for chosen in sets}


def _of_one(seed, sets, scores):
    """The facts about one seed, with the name of what is wrong, and a line for the praise."""
    facts = SimpleNamespace(seed=seed, fault=None, whole=scores[()])
    if facts.whole <= MAJORITY:
        facts.fault = "no head"
        return facts
    require(sets is not None, f"seed {seed} is missing. One training is one case, so do all of them.")
    (off,) = parts(sets, ["off"])
    require("control" in sets, f"seed {seed}: `control` is missing. It is a list of heads, or None when none exists.")
    off = _heads(seed, "off", off)
    control = _heads(seed, "control", sets["control"]) if sets["control"] else ()
    count = min(len(off), live.HEADS - len(off))
    controls = [each for each in scores if len(each) == count > 0 and not {*each} & {*off} and scores[each] > MAJORITY]
    facts.smallest = min((len(each) for each in scores if scores[each] <= MAJORITY), default=live.HEADS)
    facts.off, facts.count, facts.lowest = _names(off), count, scores[off]
    facts.control, facts.given = _names(control), len(control)
    facts.kept = scores[control]  # without a control, no head is taken away
    conditions = {
        "not enough": facts.lowest > MAJORITY,
        "not smallest": len(off) > facts.smallest,
        "exists": not control and controls,
        "none left": control and not count,
        "in both": control and {*off} & {*control},
        "none exists": control and not controls,
        "number": control and len(control) != count,
        "no control": control and facts.kept <= MAJORITY,
    }
    facts.fault = next((name for name, applies in conditions.items() if applies), None)
    without = f"{facts.kept:.3f} without {facts.control}" if control else "no control exists"
    facts.line = f"seed {seed}: {facts.whole:.3f} with all heads, {facts.lowest:.3f} without {facts.off}, and {without}"
    return facts


def _heads(seed, kind, heads):
    """The heads that an answer names, in order; Wrong when they are no heads of the first layer."""
    require(
        isinstance(heads, (list, tuple, set)) and len(heads) > 0,
        f"seed {seed}: `{kind}` should be a list of heads, such as [(0, 1)]; it is {shown(heads)}.",
    )
    try:
        named = {head_of(head, (2, live.HEADS)) for head in heads}
    except Wrong as problem:
        raise Wrong(f"seed {seed}, `{kind}`: {problem}") from problem
    for layer, head in named:
        require(
            layer == 0,
            f"seed {seed}: {head_label(layer, head)} is not in the first layer. Take away only what lies below the "
            "induction heads.",
        )
    return tuple(sorted(named))


def _names(heads):
    return " and ".join(head_label(*head) for head in heads)


_WITHOUT = "seed {seed}: without {off}, the best induction score of the second layer is {lowest:.3f}"
CAUSE = Exercise(
    "7g",
    "A cause, with its control",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_needed,
    mistakes={
        "the model of seed {seed} has no induction head that could be taken away, because its best score is "
        "{whole:.3f}. Make a new model with this seed and train it for more steps, for example with `live.train(model, "
        "seed={seed}, steps=600)`.": _is("no head"),
        _WITHOUT + ", so an induction head is left. A head's name does not tell whether it is needed.": _is(
            "not enough"
        ),
        _WITHOUT + ", so these heads are enough, but fewer are enough too ({smallest}). Begin with single heads.": _is(
            "not smallest"
        ),
        _WITHOUT + ". Your `control` is None, but a control of the right size ({count}) exists. Try all sets of other "
        "heads.": _is("exists"),
        _WITHOUT + ". All heads of the layer are in `off`, so no others are left for a control. Its value is None, and "
        "that limits what you can conclude.": _is("none left"),
        "seed {seed}: a head is in both of your sets. A control leaves the heads that are tested as they are.": _is(
            "in both"
        ),
        "seed {seed}: without any set of other heads that is as large ({count}), the score falls below one half. So no "
        "control exists for {off}. Its value is None, and that limits what you can conclude.": _is("none exists"),
        "seed {seed}: the size of your control should be {count}, and it is {given}. If the sizes differ, the size "
        "could be the reason for the difference.": _is("number"),
        "seed {seed}: without {control}, induction is gone as well ({kept:.3f}), so these heads are no control. Try "
        "others.": _is("no control"),
    },
    praise="the best induction score of the second layer is, for {lines}. Now write what this shows, and what it does "
    "not show.",
)

EXERCISES = [
    TRAINING_LOOP,
    DATE_THAT_STAYS,
    WRONG_DISTANCE,
    EARLIER_HEAD,
    DATE_IN_ADVANCE,
    CURVE_OF_ONE_DATE,
    CAUSE,
]
