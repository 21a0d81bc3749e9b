"""Checkers of notebook 07: dates in a log, drops in loss, what a correlation is worth, and a model trained live."""

from itertools import combinations, product

import numpy as np
import torch

from .. import live
from ..attention import MAJORITY, head_label, induction_target, target_score, top_head
from .judging import Wrong, as_tensor, choose, compare, fresh, random_pattern, require, same, shown

EARLIER = 40  # steps that 7f asks for: more than seeds move the jump towards the start
COPIES = 0.5  # nats: 7f counts a model as one that copies at all distances when its loss on later copies is below


def date_that_stays(between, steps, curves):
    """A date that stays.

    between: (steps, series, share) -> (last step at which less than `share` of the way was done, the step after it).
    steps, curves: the log's tokens and {name: series}, to show what the rule changes there.
    """
    generator = fresh()
    for scale, offset in [(1.0, 0.0), (2.0, 1.4), (-3.0, 9.0)]:
        way, stops = _wobbling(generator)
        series = offset + scale * way
        for share in (0.5, 0.75):
            right, mistakes = _dates(stops, series, share)
            direction = "falls" if scale < 0 else "rises"
            what = f"a curve that {direction} from {series[0]:.1f} to {series[-1]:.1f}, with share {share}"
            try:
                found = between(stops.copy(), series.copy(), share)
            except Wrong as problem:
                require(
                    scale > 0 or not isinstance(problem.__cause__, IndexError),
                    f"for {what} your function runs off the end of the list. On a curve that falls, the share is "
                    "missing where the value is still too high.",
                )
                raise
            compare(found, right, mistakes, given=what)
    moved = []
    for name, series in curves.items():
        (_, done), first = _dates(steps, np.asarray(series), 0.1)[0], _crossing(np.asarray(series), 0.1)
        if steps[first] != done:
            moved.append(f"{name} at {done:.3f} instead of {steps[first]:.3f} million tokens")
    found = f"it dates {', '.join(moved)}" if moved else "it agrees with the first crossing on every curve"
    return f"rising or falling, no bump is taken for the event. For a tenth of the way in the log, {found}."


def _wobbling(generator):
    """A random way from 0 to 1, `(stop,)`, and steps: half of it is done, lost, done, lost and done; then it goes
    beyond 1 and comes back."""

    def values(low, high, count=1):
        return low + (high - low) * torch.rand(count, generator=generator).sort().values.double().numpy()

    parts = [[0.0], values(0.01, 0.1, 3), values(0.8, 0.95), values(0.05, 0.12, 2), values(0.78, 0.9), values(0.2, 0.3)]
    parts += [values(0.6, 0.65), values(0.8, 0.88, 2), values(1.8, 1.95, 2), [1.0]]
    way = np.concatenate(parts)
    return way, np.cumsum(torch.randint(3, 20, (len(way),), generator=generator).numpy())


def _crossing(series, share):
    return int(np.argmax((series - series[0]) / (series[-1] - series[0]) >= share))


def _dates(steps, series, share):
    """The right pair of steps, and {message: the pair that a known mistake gives}."""

    def around(missing):
        """The last step at which the share is missing and the one after it, if there is one."""
        late = np.flatnonzero(missing)
        return (steps[late[-1]], steps[late[-1] + 1]) if len(late) and late[-1] + 1 < len(steps) else None

    way = (series - series[0]) / (series[-1] - series[0])
    late, first = np.flatnonzero(way < share)[-1], _crossing(series, share)
    right = (steps[late], steps[late + 1])
    height = series - series.min() if series[-1] > series[0] else series.max() - series
    mistakes = {
        "that is the first stop at which the share was done, and it was lost again later. Ask for the last stop at "
        "which it was missing.": (steps[first - 1], steps[first]),
        "those are positions in the list. Give the steps that stand there: stops are not evenly spaced.": (
            late,
            late + 1,
        ),
        "the two are right, in the wrong order: the earlier one first.": right[::-1],
        "your interval begins where the right one ends: at its first step the share was done already.": (
            (steps[late + 1], steps[late + 2]) if late + 2 < len(steps) else None
        ),
        "you measured the way from the lowest to the highest value. It goes from the first value to the last; a curve "
        "may go beyond.": around(height / np.ptp(series) < share),
        "you took a share of the last value. The way begins at the first value, which need not be zero.": around(
            series < share * series[-1]
        ),
    }
    return right, {message: pair for message, pair in mistakes.items() if pair is not None and pair != right}


def drop_by_token(drop, losses, wanted):
    """The second-copy drop, token by token.

    drop: (losses `(sequence, 2 * length - 1)`, length) -> `(length - 1,)`: mean over sequences of first minus second.
    losses, wanted: those of a model and its mean `interventions.second_copy_drop`, found in another way.
    """
    generator = fresh()
    for sequences, length in [(5, 4), (3, 9), (1, 2), (2, 2)]:
        random = torch.rand(sequences, 2 * length - 1, generator=generator) * 9
        first, second = random[:, : length - 1], random[:, length:]
        mistakes = {
            "the sign is turned: the drop is the loss on the first copy minus that on the second, above zero when the "
            "repetition helps.": (second - first).mean(0),
            "you compared each token with another one: the loss in the middle is that on the first token of the second "
            "copy, which nothing announces. It belongs to neither side.": (first - random[:, length - 1 : -1]).mean(0),
            "your first copy begins one entry late. Entry i is the loss on token i + 1: the first token of a sequence "
            "has no entry.": (random[:, 1:length] - second).mean(0),
            "you averaged over the tokens of each sequence. Average over sequences, and keep the tokens.": (
                first - second
            ).mean(1),
            "that is one number. Keep the tokens of the piece apart: the drop of each.": (first - second).mean(),
            "average over the sequences: one drop for each token of the piece but the first.": first - second,
            "that is a ratio. The drop is a difference of losses, in nats.": (first / second).mean(0),
            "you added the sequences up. Divide by how many they are.": (first - second).sum(0),
        }
        what = f"losses of {sequences} sequences of two copies of {length} tokens"
        compare(drop(random, length), (first - second).mean(0), mistakes, given=what)
    drops = as_tensor(drop(losses, (losses.shape[1] + 1) // 2))
    mean, wanted = drops.mean().item(), float(wanted)
    require(
        abs(mean - wanted) < 1e-3 + 1e-4 * abs(wanted),
        f"on the model's losses the mean of your drops is {mean:.3f}, and second_copy_drop says {wanted:.3f}.",
    )
    return (
        f"their mean is what `interventions.second_copy_drop` finds in this model, {wanted:.3f} nats. The loss on the "
        f"second token of the piece drops by {drops[0].item():.3f}, that on the last by {drops[-1].item():.3f}."
    )


def steps_that_match(correlations, tokens, series):
    """A curve that knows one date.

    correlations: series `(stop,)` -> `(stop - 1,)`: its correlation with a curve that is 0 before stop k and 1 from it
    on, for every k from 1. tokens, series: the log's, to say how far off a date may be.
    """
    generator = fresh()
    for count, scale in [(7, 1.0), (12, -4.0), (4, 0.01)]:
        switches = (np.arange(count) >= np.arange(1, count)[:, None]) * 1.0
        parts, right = switches - switches.mean(1, keepdims=True), np.zeros(1)
        while not right.min() < -0.1 < 0.1 < right.max():  # both signs
            random = scale * (3 + torch.randn(count, generator=generator).double().numpy())
            changes = random - random.mean()
            products = parts @ changes
            right = products / np.sqrt((parts**2).sum(1) * (changes**2).sum())
        mistakes = {
            "your steps go down, from 1 to 0: all signs are turned.": -right,
            "stop 0 has no step: a curve that is 1 everywhere does not vary, and nothing correlates with it. Begin "
            "with k = 1.": np.append(np.nan, right),
            "your steps come one stop late: the curve is 1 at stop k already (>=, not >). So the last one never comes, "
            "and gives NaN.": np.append(right[1:], np.nan),
            "the means are not taken off: that is the cosine between the curves, which is high for any two curves "
            "above zero.": (switches @ random) / np.sqrt((switches**2).sum(1) * (random**2).sum()),
            "those are covariances. Divide by both standard deviations, so that a curve's scale does not count.": (
                products / count
            ),
            "those are covariances: divide by both standard deviations, so that a curve's scale does not count.": (
                products / (count - 1)
            ),
            "that is the square: correlations have a sign.": right**2,
            "correlations have a sign; a step up against a curve that falls is below zero.": np.abs(right),
            "you divided sums over stops by n and standard deviations by n - 1, or the other way round.": (
                right * (count - 1) / count
            ),
            "you divided sums over stops by n - 1 and standard deviations by n: the same number in both.": (
                right * count / (count - 1)
            ),
        }
        compare(correlations(random.copy()), right, mistakes, given=f"a curve of {count} stops")
    found = as_tensor(correlations(np.asarray(series, dtype=float))).numpy()
    best, near = int(found.argmax()), np.flatnonzero(found > 0.9) + 1
    line = (
        f"a step at {tokens[best + 1]:.3f} million tokens, knowing nothing, correlates {found[best]:.3f} with the curve"
    )
    if len(near):
        line += f", and over 0.9 at all {len(near)} stops from {tokens[near[0]]:.3f} to {tokens[near[-1]]:.3f}"
    return line + "."


def wrong_distance(prediction, losses, trained, asked):
    """A copier at the wrong distance.

    prediction: "copied", "piece", "guessing" or "worse". losses: {length of the piece: the model's loss on later
    copies}, nats; trained, asked: the length it was trained at, and the one the question is about.
    """
    prediction = choose(prediction, ["copied", "piece", "guessing", "worse"])
    loss, piece, everything = losses[asked], np.log(asked), np.log(live.VOCABULARY)
    if loss < piece / 2:
        right = "copied"
    elif loss < (piece + everything) / 2:
        right = "piece"
    else:
        right = "guessing" if loss < everything + 1 else "worse"
    why = {
        "copied": "it copies here too",
        "piece": "it knows which tokens the piece holds, and no more",
        "guessing": "it no longer bets on anything",
        "worse": f"it is as sure as ever of what it copies, the token that stood {trained} steps before the one to "
        "come, and that is the wrong one: to be sure and wrong costs more than to guess",
    }[right]
    measured = (
        f"with pieces of {asked} its loss on later copies is {loss:.3f} nats, where guessing costs {everything:.3f}"
    )
    require(prediction == right, f"{measured}. What must a model believe to get that?")
    parts = [length for length in losses if length != trained and trained % length == 0]
    twice = [f"{length} ({losses[length]:.3f})" for length in parts if losses[length] < everything]
    line = f"{measured}: {why}."
    if twice and right == "worse":
        line += f" It does better than guessing at {' and '.join(twice)}: {trained} is a multiple of it."
    return line


def induction_by_length(score, patterns, tokens, lengths):
    """Induction without reading the tokens.

    score: (patterns `(layer, sequence, head, query, key)`, lengths `(sequence, 1)`) -> `(layer, head)`: mean attention
    to what followed earlier copies of the query, from the second copy on. patterns, tokens, lengths: of a trained
    model, where `attention.target_score` finds the same from the tokens.
    """
    generator = fresh()
    cases = [(2, 4, 3, 13, (3, 5)), (1, 3, 2, 9, (2, 4)), (3, 1, 4, 12, (5, 5)), (2, 2, 1, 17, (5, 8))]
    for layers, sequences, count, positions, options in cases:
        random = random_pattern(layers, sequences, count, positions, positions, generator=generator).double()
        given = torch.randint(options[0], options[1] + 1, (sequences, 1), generator=generator)
        given[0], given[-1] = options  # unequal ones
        right, mistakes = _by_length(random, given)
        found = score(random, given)
        # A mistake may give one of several answers: the one that was found, if it is among them.
        mistakes = {
            text: next((each for each in some if same(found, each)), some[0]) for text, some in mistakes.items()
        }
        what = f"patterns {tuple(random.shape)} with pieces of {', '.join(map(str, given[:, 0].tolist()))}"
        compare(found, right, mistakes, given=what)
    found = as_tensor(score(patterns, lengths))
    by_tokens = target_score(patterns, induction_target(tokens)[:, None]).mean(1)
    best = top_head(by_tokens)
    return (
        f"on the live model head {head_label(*best)} has {found[best].item():.3f} by the lengths and "
        f"{by_tokens[best].item():.3f} by the tokens. They part where a piece holds a token twice."
    )


def _by_length(patterns, lengths):
    """The right scores, and {message: [those that a known mistake may give]}, by loops."""
    positions = patterns.shape[-1]

    def scores(key_of=0, first=1, copies=99, divide=None, pooled=False, queries=0, one=None, turned=False, only=None):
        """Scores with everything as it should be, but for what is named."""
        each, weights = [], []
        for pattern, (length,) in zip(patterns.transpose(0, 1), lengths.tolist()):
            length = one or length
            pattern = pattern.transpose(-1, -2) if turned else pattern
            total = torch.zeros(pattern.shape[:2], dtype=pattern.dtype)
            for query in range(length + queries, positions):
                keys = [query - copy * length + 1 + key_of for copy in range(1, copies + 1)]
                keys = [key for key in keys if key >= first]
                total += pattern[..., query, keys if only is None else keys[only:]].sum(-1)
            count = divide or positions - length - queries
            each.append(total if pooled else total / count)
            weights.append(count)
        return torch.stack(each).sum(0) / (sum(weights) if pooled else len(each))

    mistakes = {
        "you look at the earlier copies of the query's own token: that is the duplicate-token score. Induction looks "
        "one token further on.": [scores(key_of=-1, first=0), scores(key_of=-1), scores(key_of=-1, queries=1)],
        "you look two tokens after the earlier copy. What followed it is one token on.": [scores(key_of=1)],
        "you counted the key at position 0. It followed nothing: no token stands before it.": [
            scores(first=0),
            scores(first=0, queries=-1),  # then the last query of the first copy seems to have a target
        ],
        "you counted the nearest earlier copy only. A token of the third copy has two earlier ones, and what followed "
        "either counts.": [scores(copies=1)],
        "you counted the first copy only. What followed the copies in between counts, too.": [scores(only=-1)],
        "you divided by all positions. Queries of the first copy have no target: nothing like them came before, and "
        "what comes after them they cannot see.": [scores(divide=positions), scores(divide=positions - 1)],
        "you took the mean over all queries of all sequences. Then a sequence with a short piece counts more; average "
        "each sequence, then the sequences.": [scores(pooled=True)],
        "your queries begin one late: the first token of the second copy has a target, too, the second token of the "
        "sequence.": [scores(queries=1)],
        "you used one length for all sequences. Every sequence has its own.": [
            scores(one=int(each)) for each in (lengths[0], lengths[-1])
        ],
        "you turned queries and keys round. Rows are queries, and what they look back at are keys.": [
            scores(turned=True)
        ],
        "you summed over sequences. Divide by how many they are.": [scores() * len(lengths)],
    }
    return scores(), mistakes


def earlier_head(pieces, baseline):
    """Earlier, and still an induction head.

    pieces: (shortest, longest) length of the pieces to train with. baseline: the records of the notebook's own run,
    seed 0, with `live.PIECES`. The checker trains a model with two layers and seed 0, for 300 steps.
    """
    require(
        isinstance(pieces, (tuple, list))
        and len(pieces) == 2
        and all(isinstance(each, (int, np.integer)) for each in pieces),
        f"give two whole numbers, (shortest, longest); got {shown(pieces)}.",
    )
    shortest, longest = pieces
    require(
        2 <= shortest <= longest <= live.LENGTH - 2,
        f"pieces are of 2 to {live.LENGTH - 2} tokens, the shortest first; got ({shortest}, {longest}).",
    )
    require(tuple(pieces) != live.PIECES, "those are the notebook's own pieces: nothing comes earlier.")
    usual = next((each["step"] for each in baseline if each["induction"].max() > MAJORITY), None)
    require(usual is not None and usual > EARLIER, "no head of the run to compare with passed one half late enough.")
    limit = (usual - EARLIER) // 20 * 20  # steps at which training is measured
    model = live.AttentionOnly(2, seed=0)
    for record in live.train(model, seed=0, steps=max(300, usual), pieces=(shortest, longest)):
        if record["step"] == limit:
            own, everywhere = record["induction"].max().item(), live.measure(model)["induction"].max().item()
            require(
                everywhere > MAJORITY or own <= MAJORITY,
                f"on its own pieces a head has passed one half by step {limit} (score {own:.3f}), but not at the "
                f"notebook's distances ({everywhere:.3f}). It knows the distances it was trained at: a short cut.",
            )
            require(
                everywhere > MAJORITY,
                f"at step {limit} the best induction score is {everywhere:.3f}; in the notebook's run it passed "
                f"one half at step {usual}, and this one should be {EARLIER} steps earlier. In which sequences is "
                "there more to copy?",
            )
    found = live.measure(model)
    require(
        found["induction"].max() > MAJORITY and found["later_copies"] < COPIES,
        f"the head comes in time, but at the notebook's distances the model ends with a loss of "
        f"{found['later_copies']:.3f} nats on later copies. It copies well where it was trained to; the piece of "
        f"{live.PIECES[1]} tokens must be among them.",
    )
    return (
        f"by step {limit} a head has passed one half at distances of {live.PIECES[0]} to {live.PIECES[1]}, where the "
        f"notebook's run took until {usual}, and the loss on later copies ends at {found['later_copies']:.3f} nats."
    )


def cause_with_control(needed, trained):
    """A cause, with its control.

    needed: {seed: {"off": heads, "control": heads}}, pairs (layer, head) of the first layer. trained: {seed: a live
    model with two layers}; every one is measured with each of its subsets of heads switched off.
    """
    require(isinstance(needed, dict), f"give a dictionary, {{seed: {{...}}}}; got {shown(needed)}.")
    sizes = []
    for seed, model in trained.items():
        require(needed.get(seed), f"seed {seed} is missing. One run is one case; that is why there are {len(trained)}.")
        off, control = (_heads(needed[seed], kind, seed) for kind in ("off", "control"))
        lowest, whole = _induction(model, off), _induction(model, ())
        require(
            whole > MAJORITY,
            f"the model of seed {seed} has no induction head to take away: its best score is {whole:.3f}.",
        )
        require(
            lowest < MAJORITY,
            f"seed {seed}: without {_names(off)} the best induction score of the second layer is {lowest:.3f}, so "
            "there is an induction head still. What a head is called does not tell whether it is needed.",
        )
        smaller = [
            subset
            for size in range(len(off))
            for subset in combinations([(0, head) for head in range(live.HEADS)], size)
            if _induction(model, subset) < MAJORITY
        ]
        require(
            not smaller,
            f"seed {seed}: {_names(off)} are enough, but not the smallest set: fewer heads will do. Try each alone.",
        )
        require(
            not set(off) & set(control), f"seed {seed}: a head is in both sets. A control leaves alone what it tests."
        )
        most = min(len(off), live.HEADS - len(off))
        require(
            len(control) == most,
            f"seed {seed}: {len(off)} off against {len(control)} in the control. Switch off as many ({most}): else the "
            "number could be the reason.",
        )
        kept = _induction(model, control)
        require(
            kept > MAJORITY,
            f"seed {seed}: without {_names(control)} induction is gone as well ({kept:.3f}), so they are no control.",
        )
        sizes.append(
            f"seed {seed}: {whole:.3f}, without {_names(off)} {lowest:.3f}, without {_names(control)} {kept:.3f}"
        )
    return "the best induction score is, in " + "; ".join(sizes) + ". Now write what that shows, and what it does not."


def _induction(model, off):
    return live.measure(model, off=off)["induction"][1:].max().item()


def _heads(needed, kind, seed):
    """The heads of the first layer that an answer names, pairs (layer, head)."""
    require(
        isinstance(needed, dict) and isinstance(needed.get(kind), (list, tuple, set)) and len(needed[kind]) > 0,
        f"seed {seed}: give {{'off': [...], 'control': [...]}}, each with one head or more of the first layer.",
    )
    for head in needed[kind]:
        require(
            head in product([0, 1], range(live.HEADS)),
            f"seed {seed}: {head!r} is no head. Give pairs (layer, head), from (0, 0) to (0, {live.HEADS - 1}).",
        )
        require(
            head[0] == 0,
            f"seed {seed}: {head_label(*head)} is not in the first layer. What is below the induction heads?",
        )
    return sorted(set(needed[kind]))


def _names(heads):
    return " and ".join(head_label(*head) for head in heads)


CHECKERS = [
    date_that_stays,
    drop_by_token,
    steps_that_match,
    wrong_distance,
    induction_by_length,
    earlier_head,
    cause_with_control,
]
