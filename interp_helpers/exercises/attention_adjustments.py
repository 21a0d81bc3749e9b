"""Checkers of notebook 04: masks, averages over sentences of unequal length, regressions, and what they rest on."""

import torch

from .. import adjustments
from ..errors import InterpError
from ..models import context_length
from ..text import encode
from .judging import Wrong, as_tensor, choose, compare, fresh, require, same, shown

READ = 30  # as in the notebook's regression, a slope is over positions 1 to 29
FIRST, SHARE = 5, 0.1  # the project: the first position that is scored, and the share of the error that has to go


def token_values(pick):
    """The values of tokens alone.

    values `(layer, sentence, position)` and lengths `(sentence,)` -> `(layer, token)`: what stands where a token is,
    sentence after sentence. Padding stands on the right and may hold anything.
    """
    generator = fresh()
    for layers, lengths, width, padding in [(2, [4, 1, 6, 3], 7, None), (3, [5, 2], 5, 0.0), (1, [3], 3, None)]:
        lengths = torch.tensor(lengths)
        place = torch.arange(width).expand(len(lengths), width)
        mask = place < lengths[:, None]
        values = torch.randn(layers, *mask.shape, generator=generator, dtype=torch.double)
        values[:, 0, 1] = 0  # a token's value may be 0
        if padding is not None:
            values = values.masked_fill(~mask, padding)
        numbers = "your mask holds integers, not True and False. As an index they are row numbers: every 1 took all "
        numbers += "of row 1, every 0 all of row 0. Make it boolean."
        mistakes = {
            "padding is still there. Keep only what stands where a token is, with a boolean mask as an index.": values,
            "padding is still there, now in one row. Use a boolean mask as an index.": values.flatten(1),
            "you set padding to 0, but the cells are still there, and a mean would count them. Use the mask as an "
            "index, not as a factor.": values * mask,
            "padding became 0 and stayed. Use the mask as an index, not as a factor.": (values * mask).flatten(1),
            "you went by the values, and a token's value may be 0. Only the lengths say where tokens are.": values[
                values != 0
            ].view(layers, -1),
            numbers: values[:, mask.long() % len(lengths)],
            "every sentence brings a cell of padding, where there is one. Positions begin at 0: the last token stands "
            "at length - 1.": values[:, place <= lengths[:, None]],
            "every sentence lacks its last token. Positions begin at 0: those of tokens are below the length.": values[
                :, place < lengths[:, None] - 1
            ],
            "every sentence lacks its first token. Here position 0 counts.": values[:, mask & (place > 0)],
            "you kept the padding and left the tokens out: the mask is upside down.": values[:, ~mask],
            "you kept the last cells of every row; tokens stand on the left, padding on the right.": values[
                :, mask.flip(1)
            ],
            "you went through it position by position; sentence after sentence is asked for.": values.mT[:, mask.T],
        }
        right = torch.cat([values[:, row, :length] for row, length in enumerate(lengths.tolist())], 1)
        given = f"{layers} layers and sentences of {_listed(lengths)} tokens in rows of {width}"
        compare(pick(values, lengths), right, mistakes, given=given)
    return "every token once, in every layer, whatever stands in the padding."


def mean_change(change, *, logs=None, mask=None):
    """Changes inside the same sentences.

    values `(layer, sentence, position)` and mask `(sentence, position)` -> `(layer, position - 1)`: the mean, over the
    sentences that reach a position, of the change to it from the position before; NaN where no sentence does.
    logs, mask: the notebook's, for what the message says about them.
    """
    generator = fresh()
    for lengths, padding in [([6, 3, 1, 5], None), ([4, 6, 2], torch.nan), ([2, 4, 1], None), ([6], None)]:
        here = torch.arange(6) < torch.tensor(lengths)[:, None]
        values = torch.randn(2, *here.shape, generator=generator, dtype=torch.double) + torch.tensor(lengths)[:, None]
        if padding is not None:
            values = values.masked_fill(~here, padding)
        right = torch.full((2, 5), torch.nan, dtype=torch.double)
        for position in range(1, max(lengths)):
            steps = [
                values[:, row, position] - values[:, row, position - 1]
                for row, length in enumerate(lengths)
                if length > position
            ]
            right[:, position - 1] = torch.stack(steps).mean(0)
        steps, both = values.diff(dim=-1), here[:, 1:]
        factor = "you multiplied by the mask. Padding holds NaN here, as it does in `logs`, and NaN times 0 is NaN. "
        mistakes = {  # the first is wrong where padding is NaN only
            factor + "Put a 0 in its place, with torch.where, before you add.": (steps * both).sum(1) / both.sum(0),
            "you subtracted means. The later mean is over fewer sentences than the earlier one, so the difference is "
            "partly about which sentences are left. Subtract inside each sentence, then average.": (
                torch.where(here, values, 0).sum(1) / here.sum(0)
            ).diff(dim=-1),
            "you counted steps from a last token into the padding. The sentence must have a token at both ends of a "
            "step.": torch.where(here[:, :-1], steps, 0).sum(1) / here[:, :-1].sum(0),
            "you counted padding as if it were tokens. The mask says which steps exist.": steps.mean(1),
            "you divided by the number of sentences. Divide by how many of them reach the position.": (
                torch.where(both, steps, 0).sum(1) / len(lengths)
            ),
            "the sign is the wrong way round: a change is the value here minus the value before.": -right,
            "that is one row for all layers. Average over sentences only.": right.mean(0),
            "no sentence reaches the last positions, and you say that nothing changes there. A mean of nothing is not "
            "0; leave it NaN.": right.nan_to_num(0),
        }
        given = f"sentences of {_listed(lengths)} tokens in rows of 6"
        compare(change(values, here), right, mistakes, given=given)
    return "every sentence is compared with itself." + _against_means(logs, mask)


def _listed(numbers):
    return ", ".join(str(int(each)) for each in numbers)


def _against_means(logs, mask):
    """How far changes and means part in the notebook's sentences, in the layer where they part most; "" without any."""
    if logs is None or len(mask) < 4:
        return ""
    late = int((mask.sum(0) >= len(mask) / 4).nonzero().max())
    early, both = late // 3, mask[:, 1:]
    if not 0 < early < late:
        return ""
    changes = torch.where(both, logs.diff(dim=-1), 0).sum(1) / both.sum(0)
    added = changes[:, early:late].sum(1)
    means = torch.where(mask, logs, 0).sum(1) / mask.sum(0)
    moved = means[:, late] - means[:, early]
    layer = int((added - moved).abs().argmax())
    ends, rows = mask.sum(1) - 1, torch.arange(len(mask))
    longer = ends > 0
    last = (logs[layer, rows, ends] - logs[layer, rows, (ends - 1).clamp(min=0)])[longer].mean()
    return (
        f" In layer {layer}, from position {early} to {late}, the means move by {moved[layer]:+.3f} and the changes "
        f"add up to {added[layer]:+.3f}. A sentence's last step is {last:+.3f} on average: after it, the sentence is "
        "gone from the means, but its step stays in the sum."
    )


def slope_within(slope, *, rows=None, layer=None):
    """A slope within groups.

    x, y, group, all `(row,)` -> a number: the slope of y on x with an intercept for every group. rows, layer: the
    notebook's regression on position, for what the message says about its sentences.
    """
    generator = fresh()
    for sizes, names in [([2, 7, 4], [50256, 3, 11]), ([1, 5, 3, 1, 2], [8, 0, 900, 4, 77]), ([6], [42])]:
        group = torch.repeat_interleave(torch.tensor(names), torch.tensor(sizes))
        group = group[torch.randperm(len(group), generator=generator)]
        x, noise = (torch.randn(len(group), generator=generator, dtype=torch.double) for _ in range(2))
        order = (group[:, None] == torch.tensor(names)).double().argmax(1)
        x, y = x + 2 * order, 0.5 * x - 3 * order + noise + 20  # between groups it falls, within them it rises
        dummies = (group[:, None] == group.unique()).double()
        right = torch.linalg.lstsq(torch.cat([x[:, None], dummies], 1), y[:, None]).solution[0, 0]
        share = dummies / dummies.sum(0)
        x_means, y_means = share.T @ x, share.T @ y
        inner_x, inner_y = x - dummies @ x_means, y - dummies @ y_means
        own = [_slope(x[group == each], y[group == each]) for each in group.unique() if (group == each).sum() > 1]
        mistakes = {
            "that is the slope over all rows: groups with a larger x have a smaller y here, and you read that as if x "
            "did it. Compare each row with its own group only.": _slope(x, y),
            "you took the group means out of y alone. Groups differ in x too, and there they still do.": _slope(
                x, inner_y
            ),
            "you took the group means out of y alone, and centred x not at all.": (x * inner_y).sum()
            / x.square().sum(),
            "that is the slope of the groups' means: what is between the groups, just what should be left out.": (
                _slope(x_means, y_means)
            ),
            "that is the slope of the groups' means, each as often as it has rows: what is between the groups, just "
            "what should be left out.": _slope(x - inner_x, y - inner_y),
            "you averaged the groups' own slopes. One slope for all: a group of many rows says more than one of two.": (
                torch.stack(own).mean()
            ),
            "you took sums of groups out, not means: divide by how many rows a group has.": _slope(
                x - dummies @ (dummies.T @ x), y - dummies @ (dummies.T @ y)
            ),
            "that is the slope of x on y. y is what is explained.": _slope(inner_y, inner_x),
        }
        compare(slope(x, y, group), right, mistakes, given=f"groups of {_listed(sizes)} rows", tolerance=1e-4)
    message = "just what an intercept for every group gives."
    if rows is None:
        return message
    x, y = rows.X[layer, :, 0], rows.y[layer]
    found = as_tensor(slope(x, y, rows.sentence)).item()
    return (
        f"{message} With sentences as groups, the slope of layer {layer} is {100 * found:.3f} % per token, against "
        f"{100 * _slope(x, y):.3f} over all rows. There, long sentences are compared with short ones too."
    )


def _slope(x, y):
    return ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()


def doubled_rows(prediction, *, once, twice, renamed, layer):
    """The same evidence twice.

    prediction: {"ordinary": ..., "clustered": ..., "renamed": ...}, each "wider", "same" or "narrower": what happens to
    the interval of a slope when every row comes twice; "renamed": the clustered one, copies as new sentences. once,
    twice, renamed: `regress(...).table` of the rows, of all of them twice, of copies with new numbers. layer: whose.
    """
    kinds = {"ordinary": (twice, ""), "clustered": (twice, "clustered "), "renamed": (renamed, "clustered ")}
    asked = ", ".join(map(repr, kinds))
    require(isinstance(prediction, dict), f"the prediction is a dict with {asked}; it is {shown(prediction)}.")
    missing = [name for name in kinds if prediction.get(name) is None]
    require(not missing, f"there is no prediction yet for {', '.join(map(repr, missing))}.")
    why = {
        "ordinary": "an ordinary interval takes every row for new evidence and shrinks as one over the root of their "
        "number. It cannot know a copy from a new row.",
        "clustered": "all rows of a sentence are added up before anything is called evidence. A copy beside its "
        "original, under the same number, makes no new sentence.",
        "renamed": "clustered errors believe the sentence numbers. A copy under a new number counts as a new "
        "sentence, independent of its original, which it is not.",
    }
    ratios = {}
    for name, (table, prefix) in kinds.items():
        found = choose(prediction[name], ["wider", "same", "narrower"])
        ratios[name] = _width(table, layer, prefix) / _width(once, layer, prefix)
        measured = "narrower" if ratios[name] < 0.9 else "wider" if ratios[name] > 1.1 else "same"
        require(
            found == measured,
            f"{name}: the interval came out {ratios[name]:.3f} times as wide. {why[name][0].upper() + why[name][1:]}",
        )
    told = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
    return (
        f"width with every row twice over width with every row once: {told}. No interval can tell that you learned "
        "nothing new; you have to say which rows belong together."
    )


def _width(table, layer, prefix=""):
    """How wide the interval of a layer's slope on position is; prefix: "" or "clustered "."""
    row = table.loc[(layer, "position")]
    return row[prefix + "high"] - row[prefix + "low"]


def slope_interval(interval, *, rows=None, fit=None, layer=None):
    """An interval that draws sentences.

    x, y, sentence `(row,)`, and draws `(draw, n)` of sentence numbers, with repeats -> `(2,)`: the 2.5 % and 97.5 %
    quantiles of the draws' slopes; a sentence drawn twice brings all its rows twice. rows, fit, layer: the notebook's
    regression on position, whose intervals the message compares with.
    """
    generator = fresh()
    for sizes, start in [
        ([2, 9, 4, 3, 6, 2, 5, 7], 0),
        ([5, 0, 3, 8, 2, 4, 6, 3], 3),
    ]:  # in the second, one without rows
        sentence = torch.repeat_interleave(torch.arange(len(sizes)) + start, torch.tensor(sizes))
        x = torch.randn(len(sentence), generator=generator, dtype=torch.double)
        trends = torch.randn(len(sizes) + start, generator=generator, dtype=torch.double)
        y = 0.3 * x + trends[sentence] * x + torch.randn(len(x), generator=generator, dtype=torch.double)
        draws = torch.randint(len(sizes), (41, len(sizes)), generator=generator) + start  # 41: quantiles are draws
        draws[:, 0], draws[:, 1], draws[:, 3] = draws[:, 2], start, start + 2  # one comes twice, two have rows
        by_sentence = {each: (x[sentence == each], y[sentence == each]) for each in range(start, start + len(sizes))}
        slopes = torch.stack([_drawn_slope(by_sentence, drawn) for drawn in draws])
        once = torch.stack([_drawn_slope(by_sentence, drawn.unique()) for drawn in draws])
        own = {each: _slope(*pair) for each, pair in by_sentence.items() if len(pair[0])}
        simple = torch.stack([torch.stack([own[int(i)] for i in drawn if int(i) in own]).mean() for drawn in draws])
        ends = torch.tensor([0.025, 0.975], dtype=torch.double)
        rows_drawn = torch.stack([_slope(x[drawn], y[drawn]) for drawn in draws])
        spread = 1.96 * slopes.std()
        mistakes = {
            "you used sentence numbers as row numbers: a draw brought single rows. Bring all rows of every sentence "
            "that is drawn.": rows_drawn.quantile(ends),
            "a sentence drawn twice brought its rows once. That it may count twice is what makes a bootstrap.": (
                once.quantile(ends)
            ),
            "you averaged slopes of single sentences. Fit one line to all rows of a draw: long sentences say more.": (
                simple.quantile(ends)
            ),
            "those are quantiles 5 % and 95 %, which hold nine in ten. Nineteen in twenty lie between 2.5 % and "
            "97.5 %.": slopes.quantile(torch.tensor([0.05, 0.95], dtype=torch.double)),
            "those are the smallest and the largest slope. They grow with the number of draws; take quantiles 2.5 % "
            "and 97.5 %.": torch.stack([slopes.min(), slopes.max()]),
            "that is the mean and 1.96 standard deviations either way, a normal curve. Take the quantiles of the "
            "slopes themselves.": torch.stack([slopes.mean() - spread, slopes.mean() + spread]),
            "high comes before low.": slopes.quantile(ends.flip(0)),
            "those are the slopes of all draws. Give two of their quantiles, 2.5 % and 97.5 %.": slopes,
        }
        found = interval(x, y, sentence, draws)
        compare(found, slopes.quantile(ends), mistakes, given=f"sentences of {_listed(sizes)} rows", tolerance=1e-4)
    message = "all rows of every sentence drawn, as often as it was drawn."
    if rows is None:
        return message
    numbers = rows.sentence.unique()
    draws = numbers[torch.randint(len(numbers), (300, len(numbers)), generator=torch.Generator().manual_seed(0))]
    low, high = as_tensor(interval(rows.X[layer, :, 0], rows.y[layer], rows.sentence, draws)).tolist()
    ordinary, clustered = (_width(fit.table, layer, prefix) for prefix in ["", "clustered "])
    return (
        f"{message} On the notebook's sentences, layer {layer}: {(high - low) / clustered:.2f} times as wide as the "
        f"clustered interval, {(high - low) / ordinary:.2f} times as wide as the ordinary one."
    )


def _drawn_slope(by_sentence, drawn):
    pairs = [by_sentence[int(each)] for each in drawn]
    return _slope(torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs]))


def two_texts(texts, *, model, tokenizer, layer, slope):
    """Two texts, one steep, one level.

    texts: {"steep": a text, "level": another}, of 30 tokens or more each: over positions 1 to 29 the steep one's slope
    in the layer has the sign of `slope`, the notebook's, and is at least twice the level one's in size. Many answers.
    """
    require(
        isinstance(texts, dict) and set(texts) == {"steep", "level"},
        "the answer is a dict with two texts, 'steep' and 'level'.",
    )
    found, kinds = {}, {}
    for name, text in texts.items():
        require(isinstance(text, str) and text.strip(), f"'{name}' should be a text; it is {shown(text)}.")
        try:
            tokens = encode(tokenizer, text, context=context_length(model))
        except InterpError as problem:
            raise Wrong(f"'{name}' cannot be read: {problem}") from problem
        require(
            tokens.shape[1] >= READ,
            f"'{name}' has {tokens.shape[1]} tokens. Give {READ} or more, so that both slopes are over the same "
            f"positions, 1 to {READ - 1}.",
        )
        y = adjustments.attention_outputs(model, tokens)[layer, 0, 1:READ].double().norm(dim=-1).cpu().log()
        require(bool(y.isfinite().all()), f"in '{name}' an adjustment is 0 or not finite; its logarithm says nothing.")
        found[name] = 100 * _slope(torch.arange(1, READ).double(), y).item()
        kinds[name] = len(set(tokens[0, :READ].tolist()))
    steep, level = found["steep"], found["level"]
    told = f"{steep:.3f} % per token for 'steep', {level:.3f} for 'level'"
    require(texts["steep"].split() != texts["level"].split(), "both texts are the same.")
    require(abs(level) <= abs(steep), f"the other way round, your 'level' text is the steeper one: {told}.")
    require(steep * slope > 0, f"your 'steep' text goes the other way than the notebook's sentences: {told}.")
    require(
        abs(steep) >= 2 * abs(level),
        f"not far enough apart: {told}, and twice is asked for. They have {kinds['steep']} and {kinds['level']} "
        f"different tokens among their first {READ}. What is averaged when a word comes again?",
    )
    return (
        f"in layer {layer}, {told}. They have {kinds['steep']} and {kinds['level']} different tokens among their first "
        f"{READ}."
    )


def better_predictors(predictors, *, logs, mask, ids):
    """What else predicts an adjustment.

    own `(sentence, position)`, below `(layer, sentence, position)`, ids `(sentence, position)` -> {name: `(sentence,
    position)`}: predictors of the last layer's log norms, `own`, from what came before: own before t, the layers below
    up to t, any ids, and no other sentence. They must leave a tenth less squared error than two lags, on sentences that
    the fit has not seen, from position 5 on. logs `(layer, sentence, position)`, mask, ids: the notebook's.
    """
    own, below = logs[-1], logs[:-1]
    here = mask & (torch.arange(mask.shape[1]) >= FIRST)
    require(bool(here.any()), f"the notebook's sentences have no token at position {FIRST} or later; take longer ones.")
    found = _read_predictors(predictors(own, below, ids), mask, here)
    again = _read_predictors(predictors(own, below, ids), mask, here)
    _unchanged(found, again, here, "'{}' is another one each time. Predictors have to be the same for the same input.")
    _no_leak(predictors, found, own, below, ids, mask, here)
    lags = {f"t-{lag}": own.roll(lag, -1) for lag in (1, 2)}
    scores, inside = {}, {}
    for name, each in [("two lags", lags), ("yours", found)]:
        sentence, position = here.nonzero(as_tuple=True)
        X = torch.stack([values[sentence, position] for values in each.values()], -1)
        try:
            rows = adjustments.Rows(own[sentence, position][None], X[None], sentence, position, list(each))
            scores[name] = adjustments.held_out_r2(rows)[0]
            inside[name] = adjustments.regress(rows).r2[0]
        except ValueError as problem:
            raise Wrong(f"{name} cannot be fitted: {problem}") from problem
    gone = 1 - (1 - scores["yours"]) / (1 - scores["two lags"])
    told = f"R2 on unseen sentences is {scores['yours']:.3f}, with two lags {scores['two lags']:.3f}"
    require(
        gone > 0,
        f"no better than two lags: {told}. In sample yours is {inside['yours']:.3f}, but there any predictor helps, "
        "even one of chance. What do your predictors know that the tokens before do not?",
    )
    require(
        gone >= SHARE,
        f"better than two lags, but not by enough: {told}. That is {gone:.3f} of the squared error; a tenth is asked "
        "for. Where else could you look: further back, in the layers below, at the word itself?",
    )
    return f"{told}, with {len(found)} predictors; {gone:.3f} of the squared error is gone."


def _read_predictors(found, mask, here):
    """{name: (sentence, position), float64} of what the function gave, or Wrong."""
    require(isinstance(found, dict) and found, "your function should return a dict: a name for each predictor.")
    read = {str(name): as_tensor(values, f"'{name}'") for name, values in found.items()}
    for name, values in read.items():
        require(
            values.shape == mask.shape,
            f"'{name}' has shape {tuple(values.shape)}; a predictor is (sentence, position), here {tuple(mask.shape)}. "
            "Give every layer, or every lag, a name of its own.",
        )
        require(
            bool(values[here].isfinite().all()),
            f"'{name}' is NaN or infinite at a token from position {FIRST} on. Does it read padding, or divide by 0?",
        )
    return read


def _unchanged(found, again, where, message):
    for name, values in found.items():
        require(name in again and same(again[name][where], values[where]), message.format(name))


def _no_leak(predictors, found, own, below, ids, mask, here):
    """Change what a predictor may not read, and see whether it changes."""
    generator = fresh()

    def noisy(values, where):
        return torch.where(where, values + torch.randn(values.shape, generator=generator, dtype=values.dtype), values)

    def changed(own_where, below_where, seen, message):
        given = noisy(own, own_where), noisy(below, below_where)
        _unchanged(found, _read_predictors(predictors(*given, ids), mask, here), seen, message)

    long = here.any(1).nonzero()[:, 0]
    sentence = int(long[torch.randint(len(long), (1,), generator=generator)])
    others = (torch.arange(len(mask)) != sentence)[:, None].expand_as(mask)
    changed(
        others,
        others,
        here & ~others,
        "'{}' reads other sentences: it changed when only their values did. A sentence that the fit has not seen must "
        "not be known from others, nor the others from it; stay within each row.",
    )
    reached = here.sum(0).nonzero()[:, 0]
    common = reached[: max(1, len(reached) // 2)]
    position = int(common[torch.randint(len(common), (1,), generator=generator)])
    place = torch.arange(mask.shape[1]).expand_as(mask)
    at, after, never = here & (place == position), place > position, torch.zeros_like(mask)
    changed(
        after,
        after,
        at,
        "'{}' reads the future: it changed when only later tokens did. Does it shift the wrong way, or average whole "
        "sentences? values.roll(1, -1) puts the token before in a token's place.",
    )
    changed(
        place == position,
        never,
        at,
        "'{}' reads the value that it should predict. From `own` only tokens before may be used; is it shifted?",
    )


CHECKERS = [
    token_values,
    mean_change,
    slope_within,
    doubled_rows,
    slope_interval,
    two_texts,
    better_predictors,
]
