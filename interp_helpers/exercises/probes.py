"""Exercises of notebook 09: a probe by hand, what the words alone tell, and whether what can be read is used."""

from types import SimpleNamespace

import numpy as np
import torch
from torch.nn.functional import normalize, softplus

from ..errors import TextError
from ..probes import auc
from ..text import inside_quotation
from .judging import (
    Exercise,
    Wrong,
    as_tensor,
    choose,
    drawn,
    fresh,
    not_expected,
    parts,
    random_pattern,
    require,
    require_function,
    same,
    shown,
    turned_out,
)

# 9a: a probe from nothing. Answers: x (token, d_model), y (token,), decay -> (weight (d_model,), bias).

CLOSE = 2e-2  # relative to the largest number: an answer may come from any method that gets near the minimum


def _minimum(x, y, decay, bias_decay=0.0):
    """Weight and bias in one vector, at the minimum, by Newton's method. bias_decay: infinity for no bias."""
    x, y = torch.cat([x, torch.ones(len(x), 1)], 1).double(), y.double()
    decays = torch.tensor([*[decay] * (x.shape[1] - 1), min(bias_decay, 1e12)], dtype=torch.double)
    found = torch.zeros(x.shape[1], dtype=torch.double)
    for _ in range(20):
        p = (x @ found).sigmoid()
        slope = x.T @ (p - y) / len(x) + decays * found
        curvature = x.T @ (x * (p * (1 - p))[:, None]) / len(x) + decays.diag()
        found = found - torch.linalg.solve(curvature, slope)
    return found


def _least_squares(x, y, decay):
    """The line through the labels, with decay / 2 * |weight|^2 added to the mean squared error."""
    x = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    decays = torch.tensor([*[decay / 2] * (x.shape[1] - 1), 0], dtype=torch.double)
    return torch.linalg.solve(x.T @ x / len(x) + decays.diag(), x.T @ y.double() / len(x))


# What other losses have as their minimum. Where there are several, the message is the same.
_OTHER_MINIMA = {
    "no decay": lambda x, y, decay: [_minimum(x, y, 0), _minimum(x, y, decay / len(x))],
    "twice the decay": lambda x, y, decay: [_minimum(x, y, 2 * decay)],
    "the bias decays": lambda x, y, decay: [_minimum(x, y, decay, by * decay) for by in (1, 2)],
    "no bias": lambda x, y, decay: [_minimum(x, y, decay, torch.inf)],
    "a line": lambda x, y, decay: [_least_squares(x, labels, by) for labels in (y, 2 * y - 1) for by in (0, decay)],
    "turned": lambda x, y, decay: [-_minimum(x, y, decay)],
}


def _samples(generator):
    """Tokens with uneven labels, for which no other loss has its minimum near the right one, or far from 0."""
    for tokens, width, decay in [(80, 3, 0.1), (120, 5, 0.05), (90, 6, 0.08)]:
        apart = False
        while not apart:
            x = torch.randn(tokens, width, generator=generator)
            x = (x - x.mean(0)) / x.std(0)
            chance = (x @ torch.randn(width, generator=generator) + 1).sigmoid()
            y = (torch.rand(tokens, generator=generator) < chance).float()
            right = _minimum(x, y, decay)
            others = [each for minima in _OTHER_MINIMA.values() for each in minima(x, y, decay)]
            near = any(same(each, right, 4 * CLOSE) for each in others)
            apart = not near and max(each.abs().max() for each in others) < 3
        yield x, y, decay


def _logistic_loss(found, x, y, decay):
    scores = x.double() @ found[:-1] + found[-1]
    return (softplus(torch.where(y == 1, -scores, scores)).mean() + decay / 2 * found[:-1].square().sum()).item()


def _joined(found, width):
    """Weight and bias of an answer in one vector; Wrong when it is of another kind."""
    require(
        isinstance(found, (tuple, list)) and len(found) == 2,
        f"return two things: (weight, bias). Yours is {shown(found)}.",
    )
    weight, bias = (as_tensor(part, f"the {name}") for part, name in zip(found, ["weight", "bias"]))
    require(
        weight.shape == (width,),
        f"the weight has one number for each dimension of x, so its shape is {(width,)}; yours has "
        f"{tuple(weight.shape)}.",
    )
    require(bias.numel() == 1, f"the bias is one number; yours has shape {tuple(bias.shape)}.")
    joined = torch.cat([weight, bias.flatten()])
    require(
        joined.isfinite().all(),
        "your weight or bias is not a finite number. If you go down the slope in steps, are they too large?",
    )
    return joined


def _fitted(answer):
    require_function(answer)
    for x, y, decay in drawn(_samples):
        found, right = _joined(answer(x, y, decay), x.shape[1]), _minimum(x, y, decay)
        others = [(name, each) for name, minima in _OTHER_MINIMA.items() for each in minima(x, y, decay)]
        name, nearest = min(others, key=lambda other: (other[1] - found).abs().max().item())
        loss, least = (_logistic_loss(each, x, y, decay) for each in (found, right))
        facts = SimpleNamespace(right=same(found, right, CLOSE), like=None, loss=loss, least=least)
        if not facts.right:
            facts.like = name if same(found, nearest, CLOSE) else None
            return facts
    return facts


def _like(name):
    return lambda facts: facts.like == name


PROBE = Exercise(
    "9a",
    "A probe from nothing",
    kind="Build",
    difficulty=3,
    points=3,
    measure=_fitted,
    mistakes={
        "your weights are as large as without the decay. Is it left out? Or did you add up the losses of the tokens? "
        "Take their mean, because next to a sum the decay is too small to matter.": _like("no decay"),
        "your decay is twice as strong as it should be. The loss has decay / 2 * |weight|², so its slope has decay * "
        "weight.": _like("twice the decay"),
        "your bias decays as well. Leave it free, because how frequent the label is should cost nothing.": _like(
            "the bias decays"
        ),
        "your bias is 0. Without it, the probe says one half where x is 0, however frequent the label is.": _like(
            "no bias"
        ),
        "you fitted a line to the labels by least squares. It punishes a token that is far on the right side as well. "
        "Use the logistic loss.": _like("a line"),
        "your signs are turned: the probe should give high scores to the tokens with label 1.": _like("turned"),
        "you are not at the minimum yet, because your loss is {loss:.6f} where {least:.6f} is possible. Take more "
        "steps, or look at whether the slopes are right.": lambda facts: not facts.right,
    },
    praise="your probe is at the minimum of its loss, for three sets of tokens.",
)


# 9b: what the words alone tell. Answers: tokens (text, position), labels (text, position) of 1, 0 and -1, new_tokens
# (text, position), back -> (text, position) of the new tokens.


def _texts(generator):
    """First texts in which every id stands at every distance before both labels, and then some in which the largest id
    is new. Ones and zeros are not equally frequent."""
    for texts, positions, new_texts, ids, back in [(14, 16, 14, 4, 3), (5, 9, 4, 9, 4)]:
        everywhere = False
        while not everywhere:
            tokens, new = (torch.randint(ids, (n, positions), generator=generator) for n in (texts, new_texts))
            labels = torch.randint(6, (texts, positions), generator=generator).clamp(max=3)  # half of them 3
            labels = torch.tensor([-1, 0, 1, 1])[labels]
            labels = torch.where((tokens == 1) & (labels >= 0), 0, labels)  # the words do tell something
            labels[:, ::5] = torch.where(labels[:, ::5] >= 0, 1, labels[:, ::5])
            everywhere = ids > 4 or all(
                _counted(tokens, labels, k, ids, label).all() for k in range(back) for label in (0, 1)
            )
        if ids > 4:
            new[0, 0] = new[-1, 2] = ids
        yield tokens, labels, new, back


def _counted(tokens, labels, distance, size, label):
    """How often each id stands so far before a token with this label: (id,)."""
    counts = torch.zeros(size)
    for ids, given in zip(tokens.tolist(), labels.tolist()):
        for position in range(len(ids)):
            if given[position] == label and 0 <= position - distance < len(ids):
                counts[ids[position - distance]] += 1
    return counts


def _log_shares(ones, zeros):
    return (ones / ones.sum()).log() - (zeros / zeros.sum()).log()


def _words(score=_log_shares, distances=range, added=1, join=torch.sum, missing=0.0):
    """The answer, with another score of counts, other distances, or another way to join the distances' scores."""

    def scores(tokens, labels, new, back):
        size = int(max(tokens.max(), new.max())) + 1
        found = []
        for distance in distances(back):
            ones, zeros = (_counted(tokens, labels, distance, size, label) + added for label in (1, 0))
            ids_score = score(ones, zeros)
            found.append(torch.full(new.shape, missing))
            for text, position in np.ndindex(*new.shape):
                if 0 <= position - distance < new.shape[1]:
                    found[-1][text, position] = ids_score[new[text, position - distance]]
        return join(torch.stack(found), 0)

    return scores


_words_slowly = _words()


def _shifted(tokens, labels, new, back):
    """With `roll`: what has no token so far before it gets one from the end of the text."""
    ends = [torch.cat([ids[:, -back:], ids], 1) for ids in (tokens, new)]
    unlabelled = torch.full((len(labels), back), -1)
    return _words_slowly(ends[0], torch.cat([unlabelled, labels], 1), ends[1], back)[:, back:]


def _across(tokens, labels, new, back):
    joined = [each.reshape(1, -1) for each in (tokens, labels, new)]
    return _words_slowly(*joined, back).reshape(new.shape)


def _with_counted_only(tokens, labels, new, back):
    """Tokens that do not count are no words before others either: they get an id of their own, which scores 0."""
    size = int(max(tokens.max(), new.max())) + 1
    hidden = torch.where(labels >= 0, tokens, size)
    found = torch.zeros(new.shape)
    for distance in range(back):
        ones, zeros = (_counted(hidden, labels, distance, size + 1, label)[:size] + 1 for label in (1, 0))
        scores = _log_shares(ones, zeros)
        found[:, distance:] += scores[new[:, : new.shape[1] - distance]]
    return found


def _with_prior(tokens, labels, new, back):
    prior = ((labels == 1).sum() / (labels == 0).sum()).log()
    return _words_slowly(tokens, labels, new, back) + prior


WORDS = Exercise(
    "9b",
    "What the words alone tell",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_words_slowly,
    inputs=_texts,
    mistakes={
        "you used the token itself only. Add the scores of the ids up to back - 1 places before it.": _words(
            distances=lambda back: range(1)
        ),
        "you began with the token before. Begin with the distance 0, which is the token itself, and end with "
        "back - 1.": _words(distances=lambda back: range(1, back + 1)),
        "you left out the token itself, which is the distance 0.": _words(distances=lambda back: range(1, back)),
        "you went one place too far: the largest distance is back - 1.": _words(distances=lambda back: range(back + 1)),
        "you went back beyond the beginning of a text, into the text before it. A token with fewer than k tokens "
        "before it has none at distance k.": _across,
        "you went back beyond the beginning of a text, and came out at its end, as `roll` does. A token with fewer "
        "than k tokens before it has none at distance k.": _shifted,
        "you looked ahead: the ids that count stand *before* a token.": _words(
            distances=lambda back: range(0, -back, -1)
        ),
        "you added one to no count. An id that was never seen before one of the labels then has the share 0, which has "
        "no logarithm.": _words(added=0),
        "you added one after the total was taken, so the shares of all ids add up to more than 1. Add it to the counts "
        "first, and then divide by their sum.": _words(
            lambda ones, zeros: (ones / (ones - 1).sum()).log() - (zeros / (zeros - 1).sum()).log()
        ),
        "you counted the label -1 as 0. Tokens with -1 do not count on either side.": (
            lambda tokens, labels, *rest: _words_slowly(tokens, labels.clamp(min=0), *rest)
        ),
        "you counted the label -1 as 1. Tokens with -1 do not count on either side.": (
            lambda tokens, labels, *rest: _words_slowly(tokens, labels.abs(), *rest)
        ),
        "you left out the ids of tokens with label -1. Such a token is not classified itself, but it stands before "
        "others.": _with_counted_only,
        "you took the difference of the shares. Take that of their logarithms, because chances are multiplied.": _words(
            lambda ones, zeros: ones / ones.sum() - zeros / zeros.sum()
        ),
        "you took the logarithms of the counts. Take those of the shares, or the more frequent label is ahead at every "
        "distance.": _words(lambda ones, zeros: ones.log() - zeros.log()),
        "you multiplied the scores of the distances. They are logarithms, so add them.": _words(join=torch.prod),
        "you multiplied the scores of the distances, and those that are missing count as 1. They are logarithms, so "
        "add them.": _words(join=torch.prod, missing=1.0),
        "you took the mean over the distances. Add the scores up.": _words(join=torch.mean),
        "you added how frequent the label 1 is. This score is without a prior.": _with_prior,
        "your signs are turned: the score should be high where the words speak for label 1.": _words(
            lambda ones, zeros: _log_shares(zeros, ones)
        ),
        "you gave scores to the texts from which you learned. Give them to `new_tokens`.": (
            lambda tokens, labels, new, back: _words_slowly(tokens, labels, tokens, back)
        ),
        "you counted in `new_tokens`, but the labels belong to `tokens`.": (
            lambda tokens, labels, new, back: _words_slowly(new, labels, new, back)
        ),
    },
    praise="your scores are right, also for ids that were never seen, and for tokens at the beginning of a text.",
)


# 9c: tense. Answers: "the probe", "the words" or "neither".

AHEAD = 0.01  # areas that differ by less count as equal


def _tense(prediction, probe, words):
    """probe, words: AUC on new books of the best layer's probe, and of the last 16 tokens."""
    said = choose(prediction, list(_TENSE))
    right = "neither" if abs(probe - words) < AHEAD else "the probe" if probe > words else "the words"
    return SimpleNamespace(said=said, right=right, probe=float(probe), words=float(words))


_BOTH = "the probe has an AUC of {probe:.3f} on new books, and the words have {words:.3f}. "
_NO_MODEL = (
    "The label is made of words that stand in the text, and the last tokens hold most of them, so a classifier that "
    "counts words needs no model. Therefore the probe's score does not show that the model computes tense."
)
_TENSE = {
    "the probe": _BOTH + "So the stream tells more than the last 16 tokens do. A part of the probe's score still comes "
    "from words that stand there to be counted; only what it is ahead by needs another explanation.",
    "the words": _BOTH + "So counting is even better than reading the stream. " + _NO_MODEL,
    "neither": _BOTH + f"So they differ by less than {AHEAD}. " + _NO_MODEL,
}


TENSE = Exercise(
    "9c",
    "Predict: tense",
    kind="Read",
    difficulty=1,
    points=1,
    measure=_tense,
    mistakes={f"you expected {{said!r}}, but {why}": not_expected(name) for name, why in _TENSE.items()},
    praise={why: turned_out(name) for name, why in _TENSE.items()},
)


# 9d: take it out. Answers: x (token, d_model), mean, read, write (d_model,) -> (token, d_model).


def _directions(generator):
    """Directions that are neither alike nor at right angles, and then one for both. None has length 1."""
    for tokens, width, both in [(7, 4, False), (6, 5, False), (8, 3, True)]:
        overlap, read, write = 0.0, None, None
        while not 0.3 < abs(overlap) < 0.9:
            read, write = 2 * torch.randn(2, width, generator=generator)
            overlap = torch.cosine_similarity(read, write, dim=0).item()
        x, mean = torch.randn(tokens, width, generator=generator), torch.randn(width, generator=generator)
        yield x + mean, mean, read, read.clone() if both else write


def _erase_slowly(x, mean, read, write):
    moved = []
    for stream in x:
        along = sum((number - middle) * slope for number, middle, slope in zip(stream, mean, read))
        per_step = sum(step * slope for step, slope in zip(write, read))
        moved.append(torch.stack([number - along / per_step * step for number, step in zip(stream, write)]))
    return torch.stack(moved)


def _taken(x, mean, read, write, divisor=1.0):
    """What is taken out: how far each stream is from the mean along read, divided by something, times write."""
    return ((x - mean) @ read / divisor)[:, None] * write


ERASE = Exercise(
    "9d",
    "Take it out",
    kind="Build",
    difficulty=2,
    points=2,
    reference=_erase_slowly,
    inputs=_directions,
    mistakes={
        "you did not subtract the mean. It is what all tokens should have along `read`, so measure from there.": (
            lambda x, mean, read, write: _erase_slowly(x, 0 * mean, read, write)
        ),
        "you subtracted the mean of `x`. Take the `mean` that is given, which may come from other tokens.": (
            lambda x, mean, read, write: _erase_slowly(x, x.mean(0), read, write)
        ),
        "you have exchanged `read` and `write`: measure along `read`, and change along `write`.": (
            lambda x, mean, read, write: _erase_slowly(x, mean, write, read)
        ),
        "you divided by |write|². One step along `write` changes the product with `read` by read @ write, so divide by "
        "that.": lambda x, mean, read, write: x - _taken(x, mean, read, write, write @ write),
        "you divided by |read|². One step along `write` changes the product with `read` by read @ write, so divide by "
        "that.": lambda x, mean, read, write: x - _taken(x, mean, read, write, read @ read),
        "you did not divide. One step along `write` changes the product with `read` by read @ write, so divide by "
        "that.": lambda x, mean, read, write: x - _taken(x, mean, read, write),
        "your answer is right only for directions of length 1 that are the same. One step along `write` changes the "
        "product with `read` by read @ write, so divide by that.": (
            lambda x, mean, read, write: x - _taken(x, mean, read, write, read.norm() * write.norm())
        ),
        "you changed the streams along `read`. Change them along `write`.": (
            lambda x, mean, read, write: _erase_slowly(x, mean, read, read)
        ),
        "you projected along `write` and did not use `read`. The product with `read` should become that of the "
        "mean.": lambda x, mean, read, write: _erase_slowly(x, mean, write, write),
        "you added where you should subtract, so every token is now twice as far from the mean along `read`.": (
            lambda *given: 2 * given[0] - _erase_slowly(*given)
        ),
        "you returned what is taken out. Subtract it from `x`.": lambda *given: given[0] - _erase_slowly(*given),
        "you left the mean subtracted. Return the streams where they were, and changed along `write` only.": (
            lambda x, mean, read, write: _erase_slowly(x, mean, read, write) - mean
        ),
        "you set one dimension to 0. A direction is spread over all dimensions.": (
            lambda x, mean, read, write: x * (torch.arange(len(read)) != read.abs().argmax())
        ),
    },
    praise="your function takes the property out, and with one direction for both it is the orthogonal projection.",
)


# 9e: make a head look elsewhere. Answers: pattern (text, head, query, key), head, key -> a pattern.


def _patterns(generator):
    for texts, heads, positions in [(2, 3, 6), (3, 4, 7)]:
        pattern = random_pattern(texts, heads, positions, positions, generator=generator)
        head = 1 + int(torch.randint(heads - 1, (), generator=generator))
        yield pattern, head, 2 + int(torch.randint(positions - 4, (), generator=generator))


def _look_slowly(pattern, head, key):
    new = pattern.clone()
    for row in new[:, head, -1]:
        row[key] = row[1:].sum()
        for other in range(1, len(row)):
            if other != key:
                row[other] = 0
    return new


def _rows(change, where=lambda head: (slice(None), head, slice(-1, None))):
    """A pattern in which some rows are changed by `change(rows, key)`, those of the head at the last query as usual."""

    def answer(pattern, head, key):
        new = pattern.clone()
        new[where(head)] = change(pattern[where(head)], key)
        return new

    return answer


def _moved(rows, key):
    return _look_slowly(rows.reshape(-1, 1, 1, rows.shape[-1]), 0, key).reshape(rows.shape)


def _with(rows, places, value):
    rows = rows.clone()
    rows[..., places] = value
    return rows


_ONE_KEY = slice(1, None)
LOOK = Exercise(
    "9e",
    "Make a head look elsewhere",
    kind="Build",
    difficulty=2,
    points=2,
    reference=_look_slowly,
    inputs=_patterns,
    keeps=True,
    mistakes={
        "you changed the rows of all queries. Change that of the last one only, because the answer is read there, and "
        "earlier queries may not even see the key.": _rows(_moved, lambda head: (slice(None), head)),
        "you changed all heads. Change the given one only.": _rows(
            _moved, lambda head: (slice(None), slice(None), slice(-1, None))
        ),
        "you changed all heads at all queries. Change the given head only, and only at the last query.": _rows(
            _moved, lambda head: ...
        ),
        "you moved the weight of the first key too. It should keep it, because much attention rests there when a head "
        "has nothing to do.": _rows(lambda rows, key: _with(torch.zeros_like(rows), key, 1.0)),
        "you set the key's weight to 1, and the first key has its weight as well. A row should sum to 1, so move what "
        "the other keys had.": _rows(lambda rows, key: _with(_with(rows, _ONE_KEY, 0.0), key, 1.0)),
        "you set the key's weight to 1 and left the others as they were. A row should sum to 1, so move what the other "
        "keys had.": _rows(lambda rows, key: _with(rows, key, 1.0)),
        "you gave the weight to the key, but did not take it from the others. A row should sum to 1.": _rows(
            lambda rows, key: _with(rows, key, rows[..., 1:].sum(-1))
        ),
        "you took the weight from the other keys, but did not give it to the key. A row should sum to 1.": _rows(
            lambda rows, key: _with(_with(rows, _ONE_KEY, 0.0), key, rows[..., key])
        ),
        "you left out the weight that the key had before. It keeps that and gets what the others had.": _rows(
            lambda rows, key: _with(_with(rows, _ONE_KEY, 0.0), key, rows[..., 1:].sum(-1) - rows[..., key])
        ),
        "you counted the weight that the key had before twice.": _rows(
            lambda rows, key: _with(_with(rows, _ONE_KEY, 0.0), key, rows[..., 1:].sum(-1) + rows[..., key])
        ),
        "you took the weight from the other keys and divided by the sum, so the first key got some of it. All of it "
        "should go to the key.": _rows(
            lambda rows, key: normalize(_with(_with(rows, _ONE_KEY, 0.0), key, rows[..., key]), p=1, dim=-1)
        ),
        "you have exchanged queries and keys: the last axis of a pattern is the key.": (
            lambda pattern, head, key: _look_slowly(pattern.mT, head, key).mT
        ),
    },
    praise="your pattern is right: one row of every text has changed, and it still sums to 1.",
)


# 9f: steer towards something of your own. Answers: {"toward", "away": texts, "dose": a number, "words": words}.

TEXTS, MOST_TEXTS, MOST_WORDS = 3, 20, 20
TIMES, COST, DIRECTIONS = 1.5, 0.2, 5  # what the words should gain, what it may cost in nats, and random directions


def _steered(answer, measure, streams, ids):
    """measure: what is added to the stream at every token of held-out books, or None -> (mean probabilities
    (vocabulary,), loss). streams: a text -> (token, d_model), without its first token. ids: a text -> list of ids."""
    toward, away, dose, words = parts(answer, ["toward", "away", "dose", "words"])
    for name, texts, least, most in [
        ("toward", toward, TEXTS, MOST_TEXTS),
        ("away", away, TEXTS, MOST_TEXTS),
        ("words", words, 1, MOST_WORDS),
    ]:
        require(
            isinstance(texts, (list, tuple))
            and least <= len(texts) <= most
            and all(isinstance(each, str) and each for each in texts),
            f"`{name}` should be a list of {least} to {most} texts in quotes; it is {_listed(texts)}.",
        )
    dose = as_tensor(dose, "`dose`")
    require(
        dose.numel() == 1 and dose.isfinite().all() and dose > 0,
        f"`dose` should be one number above 0, such as 1.5; it is {shown(answer['dose'])}. To go the other way, "
        "exchange `toward` and `away`.",
    )
    tokens = {word: _read(ids, word) for word in words}
    used = {token: text for text in toward for token in _read(ids, text)}
    facts = SimpleNamespace(
        long=next((f"{word!r} is {len(its)} tokens" for word, its in tokens.items() if len(its) != 1), None),
        used=next((f"{word!r} stands in {used[its[0]]!r}" for word, its in tokens.items() if its[0] in used), None),
    )
    if facts.long or facts.used:
        return facts
    direction = dose.item() * (_mean_stream(streams, toward) - _mean_stream(streams, away))
    chosen = sorted({its[0] for its in tokens.values()})
    (before, loss), (after, new_loss) = _asked(measure, None, chosen), _asked(measure, direction, chosen)
    generator = torch.Generator().manual_seed(0)  # not a fresh one: what they do is printed
    drawn = normalize(torch.randn(DIRECTIONS, len(direction), generator=generator), dim=1) * direction.norm()
    facts.random = max(_asked(measure, each, chosen)[0] for each in drawn) / before
    facts.before, facts.after, facts.times, facts.cost = before, after, after / before, new_loss - loss
    return facts


def _listed(texts):
    return f"a list of {len(texts)}" if isinstance(texts, (list, tuple)) else shown(texts)


def _read(function, text):
    try:
        return function(text)
    except TextError as problem:
        raise Wrong(f"the text {text!r} cannot be read: {problem}") from problem


def _mean_stream(streams, texts):
    each = [_read(streams, text) for text in texts]
    short = next((text for text, of_text in zip(texts, each) if not len(of_text)), None)
    require(short is None, f"the text {short!r} has only one token, and the first one does not count. Make it longer.")
    return torch.cat(each).float().mean(0)


def _asked(measure, vector, chosen):
    """The probability of all chosen tokens together, and the loss."""
    probabilities, loss = measure(vector)
    return float(probabilities[chosen].sum()), float(loss)


_ROSE = "on held-out books your words have a mean probability of {before:.2%}, and with your direction {after:.2%}, "
STEER = Exercise(
    "9f",
    "Steer towards something of your own",
    kind="Investigate",
    difficulty=4,
    points=4,
    measure=_steered,
    mistakes={
        "{long}. Choose words that are one token each. Most words need their leading space: ' my' and not "
        "'my'.": lambda facts: facts.long is not None,
        "{used}, which is one of the texts in `toward`. Then the direction may say only this word. Take texts in which "
        "none of your words stands.": lambda facts: facts.used is not None,
        _ROSE + f"which is {{times:.2f}} times as much. It should be {TIMES} times or more. A larger dose does more, "
        "and so do texts that differ in nothing else.": lambda facts: not facts.times >= TIMES,
        _ROSE + f"{{times:.2f}} times as much. But one of {DIRECTIONS} random directions of the same length has "
        "{random:.2f}. So any push of this size may do it.": lambda facts: not facts.times > facts.random,
        _ROSE + f"{{times:.2f}} times as much. But the loss rises by {{cost:.3f}} nats, and {COST} are allowed. With "
        "such a dose, much else is disturbed.": lambda facts: not facts.cost <= COST,
    },
    praise=_ROSE
    + f"which is {{times:.2f}} times as much. The best of {DIRECTIONS} random directions of the same length has "
    "{random:.2f}, and the loss rises by {cost:.3f} nats. None of the words stands in your texts, so the direction "
    "is not made of these very words. Words that belong together, as she and her do, may still be alike in the "
    "embedding. Which words rise most, and did you expect them?",
)


# 9g: is it readable, and is it used? Answers: labels of a text -> 1, 0 or None for each of its tokens.

MANY, LEAD, SAME = 200, 0.03, 0.9  # tokens of each kind; what the probe should be ahead by; agreement with quotations
CUTS, AROUND = 2, 6  # at how many places each text is cut short; tokens that a message shows


def _own_property(answer, training, held_out, compare):
    """training, held_out: labels of texts of one length. compare: labels of 1, 0 and -1 of both, (text, position) ->
    {"probe": AUC on the second by depth, "words": that of the last 16 tokens}."""
    require(callable(answer), f"the answer is a function of a text's labels; yours is {shown(answer)}.")
    texts = {"training": training, "held-out": held_out}
    found = {part: torch.tensor([_asked_about(answer, labels) for labels in texts[part]]) for part in texts}
    places = [_looks_ahead(answer, *each) for part in texts for each in zip(texts[part], found[part])]
    ahead = next((each for each in places if each), None)
    for each in found.values():
        each[:, 0] = -1  # its stream holds nothing of the text yet
    counts = [((each == value).sum().item(), value, part) for part, each in found.items() for value in (0, 1)]
    facts = SimpleNamespace(ahead=ahead, quotations=_like_quotations(texts, found))
    facts.fewest, facts.value, facts.part = min(counts)
    if ahead or facts.fewest < MANY or facts.quotations > SAME:
        return facts
    compared = compare(found["training"], found["held-out"])
    by_depth, facts.words = [float(each) for each in compared["probe"]], float(compared["words"])
    facts.depths, facts.probe = ", ".join(f"{each:.3f}" for each in by_depth), max(by_depth)
    facts.depth, new = by_depth.index(facts.probe), found["held-out"]
    position = auc(torch.arange(new.shape[1]).expand(new.shape)[new >= 0].float(), new[new >= 0])
    facts.position = max(position, 1 - position)
    return facts


def _asked_about(property_of, labels):
    """1, 0 or -1 for every token."""
    found = property_of(list(labels))
    require(
        isinstance(found, (list, tuple)) and len(found) == len(labels),
        f"your function should return a list with 1, 0 or None for each token; for {len(labels)} tokens it returned "
        f"{_listed(found)}.",
    )
    other = next((each for each in found if each is not None and not _is_label(each)), None)
    require(other is None, f"your function should give 1, 0 or None to a token; it gave {shown(other)}.")
    return [-1 if each is None else int(each) for each in found]


def _is_label(value):
    return isinstance(value, (bool, np.bool_, int, np.integer)) and value in (0, 1)


def _looks_ahead(property_of, labels, found):
    """Where the function says something else when the text ends earlier, or None."""
    for end in torch.randint(1, len(labels), (CUTS,), generator=fresh()).tolist():
        for at, (before, whole) in enumerate(zip(_asked_about(property_of, labels[:end]), found.tolist())):
            if before != whole:
                last_words = "".join(labels[max(0, end - AROUND) : end]).replace("·", " ").strip()
                said, later = ({-1: "None"}.get(each, str(each)) for each in (before, whole))
                return f"{labels[at]!r} gets {said} when the text ends at {last_words!r}, and {later} when it goes on"
    return None


def _like_quotations(texts, found):
    """How well being inside a quotation, or outside, agrees with the property: the mean of the shares of both labels,
    so that one half is chance even where one label is rare."""
    inside = {0: [], 1: []}
    for part, of_part in texts.items():
        for labels, given in zip(of_part, found[part].tolist()):
            for state, label in zip(inside_quotation(labels) or [], given):
                inside.get(label, []).append(state)
    share = 0.5 + (np.mean(inside[1]) - np.mean(inside[0])) / 2 if all(inside.values()) else 0.5
    return max(share, 1 - share)


_READ = (
    "on the held-out books the best probe, at depth {depth}, has an AUC of {probe:.3f}, and the last 16 tokens have "
    "{words:.3f}"
)
PROPERTY = Exercise(
    "9g",
    "Is it readable, and is it used?",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_own_property,
    mistakes={
        "your function looks ahead: {ahead}. A model does not see what comes later, so the label of a token should "
        "follow from the text up to this token.": lambda facts: facts.ahead is not None,
        "only {fewest} tokens of the {part} texts have the label {value}, and "
        f"{MANY} of each kind are needed in both parts. The first token of a text does not count.": (
            lambda facts: facts.fewest < MANY
        ),
        "your property is nearly the same as being inside a quotation, or outside: they agree at {quotations:.3f} of "
        "the tokens, when both labels weigh the same. The notebook has this one, so choose another.": lambda facts: (
            facts.quotations > SAME
        ),
        _READ + f". The probe should be better by {LEAD}. So for this property, counting words does nearly as well as "
        "reading streams. Choose one for which it matters what stands further back, or in which order. By depth, from "
        "0 on, the probe has {depths}.": lambda facts: facts.probe < facts.words + LEAD,
        _READ + ". But the number of the token in its text alone has {position:.3f}, and the probe should be better by "
        f"{LEAD}. Choose a property that is not as good as said by how far into the text a token stands.": (
            lambda facts: facts.probe < facts.position + LEAD
        ),
    },
    praise=_READ
    + ". The number of the token in its text has {position:.3f}. By depth, from 0 on, the probe has {depths}. So the "
    "property can be read, and counting the last words does not explain it. Whether the model uses it is the second "
    "half of the project: change it, and look at something that is not the label itself.",
)

EXERCISES = [PROBE, WORDS, TENSE, ERASE, LOOK, STEER, PROPERTY]
