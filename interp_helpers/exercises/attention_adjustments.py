"""Exercises of notebook 04: recording what attention adds, regressions of its length, and where it comes from."""

import operator
from contextlib import ExitStack
from types import SimpleNamespace

import torch

from .. import adjustments
from ..errors import TextError
from ..interventions import text_loss
from ..models import context_length, prepare
from ..text import Batch, encode
from ..visits import read, visit_attention
from .judging import Exercise, Wrong, call_hook, choose, parts, random_pattern, require, shown

READ = 30  # as in the notebook's regression, a slope is over positions 1 to 29

# 4a: a hook of your own. Answers: a model, some of its modules and tokens (batch, position) -> what each module puts
# out, (module, batch, position, d_model), in the order of the modules.


class Reader(torch.nn.Module):
    """A small network of token ids, which counts its runs."""

    def __init__(self, depth, width):
        super().__init__()
        self.embed = torch.nn.Embedding(9, width)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(depth))
        self.runs = 0

    def forward(self, tokens):
        self.runs += 1
        stream = self.embed(tokens)
        for layer in self.layers:
            stream = stream + layer(stream).tanh()
        return stream


def _networks(generator, model, modules, tokens):
    """Small networks, some of whose modules are given in another order than they run in, and then the notebook's model.

    What stands after a yield runs when the answer was right. Hooks that stay are found before the model gets any.
    """
    for depth, width, order in [(4, 6, [2, 0, 3]), (2, 3, [1, 0]), (1, 4, [0])]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            reader = Reader(depth, width)
        yield reader, [reader.layers[number] for number in order], torch.randint(9, (2, 5), generator=generator)
        runs = reader.runs - 1  # one was the reference's
        require(
            runs <= 1,
            f"your function ran the model {runs} times. One run is enough, because every module can have a hook at the "
            "same time.",
        )
        require(
            not any(module._forward_hooks or module._forward_pre_hooks for module in reader.modules()),
            "what you recorded is right, but hooks are still on the modules after your function returned. A hook that "
            "stays runs in every later cell too. Call `remove()` on each handle that you got when you registered them.",
        )
    yield model, modules, tokens.to(model.device)


@torch.no_grad()
def _passed(model, modules, tokens):
    """What passes the modules while the model runs, in the order in which they run: (number, input, output) each."""
    passed = []

    def note(number):
        return lambda module, inputs, output: passed.append((number, inputs[0], output))

    with ExitStack() as stack:
        for number, module in enumerate(modules):
            stack.enter_context(module.register_forward_hook(note(number)))
        model(tokens)
    return passed


def _in_order(passed, place=2):
    """What passed, as one tensor in the order of the modules; place: 1 for inputs and 2 for outputs."""
    return torch.stack([each[place] for each in sorted(passed, key=lambda each: each[0])])


OWN_HOOK = Exercise(
    "4a",
    "Catch what modules put out",
    kind="Build",
    difficulty=2,
    points=2,
    reference=lambda *given: _in_order(_passed(*given)),
    inputs=_networks,
    mistakes={
        "your outputs are in the order in which the modules ran. Return them in the order of `modules`, so that the "
        "caller knows which output belongs to which module.": lambda *given: torch.stack(
            [output for _, _, output in _passed(*given)]
        ),
        "you recorded what goes into the modules. `register_forward_hook` calls a hook with (module, inputs, output), "
        "and the output is the third of them.": lambda *given: _in_order(_passed(*given), 1),
        "you returned the output of one module, the last one that ran. Keep what every hook gets, and stack it.": (
            lambda *given: _passed(*given)[-1][2]
        ),
        "you returned what the model returned. Return what the hooks got while it ran.": (
            lambda model, modules, tokens: model(tokens)
        ),
        "your first axis is the batch. Stack the outputs so that the modules come first.": lambda *given: _in_order(
            _passed(*given)
        ).transpose(0, 1),
    },
    praise="every output is in its place, also where the modules run in another order, and no hook was left behind.",
)


# 4b: changes inside the same sentences. Answers: values (layer, sentence, position) and mask (sentence, position) ->
# (layer, position - 1).


def _padded_sentences(generator):
    for lengths, padding in [([6, 3, 1, 5], None), ([4, 6, 2], torch.nan), ([2, 4, 1], None), ([6], None)]:
        mask = torch.arange(6) < torch.tensor(lengths)[:, None]
        # Long sentences have larger values, so that a mean changes when sentences end.
        values = torch.randn(2, *mask.shape, generator=generator, dtype=torch.double) + torch.tensor(lengths)[:, None]
        yield values if padding is None else values.masked_fill(~mask, padding), mask


def _step_by_step(values, mask):
    changes = torch.full((len(values), mask.shape[1] - 1), torch.nan, dtype=values.dtype)
    for position in range(1, mask.shape[1]):
        reaching = [row for row in range(len(mask)) if mask[row, position]]
        if reaching:
            steps = [values[:, row, position] - values[:, row, position - 1] for row in reaching]
            changes[:, position - 1] = torch.stack(steps).mean(0)
    return changes


def _mean_where(values, counted):
    """The mean over the sentences that count, with anything in the others."""
    return torch.where(counted, values, 0).sum(1) / counted.sum(0)


CHANGES_INSIDE = Exercise(
    "4b",
    "Changes inside the same sentences",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_step_by_step,
    inputs=_padded_sentences,
    mistakes={
        # Right unless the padding is NaN, where the next but two gives the same.
        "you multiplied by the mask. The padding may hold NaN, as it does in `logs`, and NaN times 0 is NaN. Put a 0 "
        "in its place with `torch.where` before you add up.": lambda values, mask: (
            (values.diff(dim=-1) * mask[:, 1:]).sum(1) / mask[:, 1:].sum(0)
        ),
        "you subtracted means. The later mean is over fewer sentences than the earlier one, so their difference also "
        "depends on which sentences are left. Subtract inside each sentence first, and then average.": (
            lambda values, mask: _mean_where(values, mask).diff(dim=-1)
        ),
        "you counted steps from the last token of a sentence into the padding. A step needs a token at both of its "
        "ends.": lambda values, mask: _mean_where(values.diff(dim=-1), mask[:, :-1]),
        "you counted padding as if it were tokens. The mask says where the tokens are.": lambda values, mask: (
            values.diff(dim=-1).mean(1)
        ),
        "you divided by the number of all sentences. Divide by the number of sentences that reach the position.": (
            lambda values, mask: torch.where(mask[:, 1:], values.diff(dim=-1), 0).mean(1)
        ),
        "your changes have the wrong sign. A change is the value at a position minus the value one position before.": (
            lambda values, mask: -_step_by_step(values, mask)
        ),
        "you averaged over layers too. Average over the sentences only, so that every layer has a row.": (
            lambda values, mask: _step_by_step(values, mask).mean(0)
        ),
        "your answer is 0 where no sentence reaches the position, as if nothing changed there. A mean over no "
        "sentences is not 0, so leave it NaN.": lambda values, mask: _step_by_step(values, mask).nan_to_num(0),
    },
    praise="every sentence is compared with itself, whatever stands in the padding.",
)


# 4c: a regression within sentences. Answers: y (row,), X (row, predictor) and sentence (row,) -> a number.


def _unlike_sentences(generator, rows, layer):
    """Rows of sentences that differ from each other in another way than their rows do; then the notebook's."""
    for sizes, names, predictors in [
        ([2, 7, 4, 6], [50256, 3, 11, 0], 2),
        ([1, 5, 3, 1, 4], [8, 0, 900, 4, 77], 1),
        ([9], [42], 1),
    ]:
        order = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        order = order[torch.randperm(len(order), generator=generator)]
        X, noise = (torch.randn(len(order), predictors, generator=generator, dtype=torch.double) for _ in range(2))
        y = 0.5 * X.sum(1) - 3 * order + noise[:, 0] + 4
        yield y, X + 2 * order[:, None], torch.tensor(names)[order]
    yield rows.y[layer], rows.X[layer], rows.sentence


def _left(y, X):
    """The sum of squares that least squares on the columns of X leaves of y; X may have dependent columns."""
    solution = torch.linalg.lstsq(X, y[:, None], driver="gelsd").solution
    return (y - (X @ solution)[:, 0]).square().sum()


def _dummies(sentence, like):
    return (sentence[:, None] == sentence.unique()).to(like)


def _with_dummies(y, X, sentence):
    """A column for every sentence gives each its own mean, and the predictors explain a share of what that leaves."""
    columns = _dummies(sentence, y)
    return 1 - _left(y, torch.cat([X, columns], 1)) / _left(y, columns)


def _means(values, sentence):
    """For each row, the mean over the rows of its sentence."""
    columns = _dummies(sentence, values)
    return columns @ (columns.T @ values / columns.sum(0).view(-1, *[1] * (values.dim() - 1)))


def _centred(values, sentence):
    return values - _means(values, sentence)


def _with_intercept(X):
    return torch.cat([torch.ones_like(X[:, :1]), X], 1)


def _plain_r2(y, X):
    return 1 - _left(y, _with_intercept(X)) / (y - y.mean()).square().sum()


def _left_within(y, X, sentence):
    return _left(_centred(y, sentence), _centred(X, sentence))


_Y_ALONE = "you took the sentences' means out of y alone. Sentences differ in the predictors too, so take their means "
REGRESSION_WITHIN = Exercise(
    "4c",
    "A regression within sentences",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_with_dummies,
    inputs=_unlike_sentences,
    mistakes={
        "your regression compares rows of different sentences as well: it is the ordinary one, from which at most the "
        "mean over all rows was taken out. Take out of every row the mean of its own sentence.": (
            lambda y, X, sentence: _plain_r2(y, X)
        ),
        _Y_ALONE + "out of every column of X.": lambda y, X, sentence: (
            1 - _left(_centred(y, sentence), X) / _centred(y, sentence).square().sum()
        ),
        _Y_ALONE + "out of X as well. An intercept does not do this, because it is one number for all sentences.": (
            lambda y, X, sentence: _plain_r2(_centred(y, sentence), X)
        ),
        "you took the sentences' means out of X alone. The variance of y still holds the differences between "
        "sentences, which these predictors cannot explain.": lambda y, X, sentence: _plain_r2(y, _centred(X, sentence)),
        "your R² is that of the regression with a column for every sentence. It counts what the sentences' own means "
        "explain. Compare what is left with the variance inside sentences only.": lambda y, X, sentence: (
            1 - _left_within(y, X, sentence) / (y - y.mean()).square().sum()
        ),
        "you divided by the sum of squares of y itself. Take the means of the sentences out of y before you square "
        "it.": lambda y, X, sentence: 1 - _left_within(y, X, sentence) / y.square().sum(),
        "your regression is one of the sentences' means. It explains the differences between sentences, which should "
        "be left out.": lambda y, X, sentence: _plain_r2(_means(y, sentence), _means(X, sentence)),
        "you returned the share that is not explained. Subtract it from 1.": lambda *given: 1 - _with_dummies(*given),
    },
    praise="your R² is that of a regression in which every sentence has an intercept of its own, and it counts the "
    "variance inside sentences only.",
)


# 4d: the same evidence twice. Answers: {"ordinary": ..., "clustered": ..., "renamed": ...}, each "wider", "same" or
# "narrower": what becomes of an interval when every row comes twice.

WIDTHS = ["wider", "same", "narrower"]


def _doubled(prediction, *, once, twice, renamed, layer):
    """How wide the intervals became, and the first prediction that is wrong.

    once, twice, renamed: `regress(...).table` of the rows, of all rows twice, and of rows twice where the copies have
    new sentence numbers. "renamed" is about the clustered interval of the latter.
    """
    kinds = {"ordinary": (twice, ""), "clustered": (twice, "clustered "), "renamed": (renamed, "clustered ")}
    said = dict(zip(kinds, [choose(each, WIDTHS) for each in parts(prediction, kinds)]))
    ratios = {name: _width(table, layer, kind) / _width(once, layer, kind) for name, (table, kind) in kinds.items()}
    became = {name: "narrower" if r < 0.9 else "wider" if r > 1.1 else "same" for name, r in ratios.items()}
    return SimpleNamespace(wrong=next((name for name in kinds if said[name] != became[name]), None), **ratios)


def _width(table, layer, kind):
    row = table.loc[(layer, "position")]
    return row[kind + "high"] - row[kind + "low"]


def _about(name):
    return lambda facts: facts.wrong == name


SAME_TWICE = Exercise(
    "4d",
    "The same evidence twice",
    kind="Read",
    difficulty=2,
    points=2,
    measure=_doubled,
    mistakes={
        "the ordinary interval became {ordinary:.3f} times as wide. It takes every row for new evidence, and shrinks "
        "as 1 divided by the square root of their number. It cannot know that a row is a copy.": _about("ordinary"),
        "the clustered interval became {clustered:.3f} times as wide. It adds up all rows of a sentence before it "
        "counts anything as evidence. A copy with the same number as its original makes no new sentence.": _about(
            "clustered"
        ),
        "with renamed copies, the clustered interval became {renamed:.3f} times as wide. Clustered errors believe the "
        "sentence numbers. A copy with a new number counts as a new sentence that is independent of its original, "
        "although it is not.": _about("renamed"),
    },
    praise="with every row twice, the ordinary interval is {ordinary:.3f} times as wide, the clustered one "
    "{clustered:.3f} times, and the clustered one with renamed copies {renamed:.3f} times. No interval can find out "
    "which rows belong together: you have to say it.",
)


# 4e: an interval that draws sentences. Answers: x, y and sentence (row,), and draws (draw, n) of sentence numbers, with
# repeats -> (2,).


def _draws(generator):
    """Sentences of several lengths, each with a slope of its own. In the second, one has no rows."""
    for sizes, first in [([2, 9, 4, 3, 6, 2, 5, 7], 0), ([5, 0, 3, 8, 2, 4, 6, 3], 3)]:
        sentence = torch.repeat_interleave(torch.arange(len(sizes)) + first, torch.tensor(sizes))
        x, noise = torch.randn(2, len(sentence), generator=generator, dtype=torch.double)
        own = torch.randn(len(sizes) + first, generator=generator, dtype=torch.double)
        draws = torch.randint(len(sizes), (41, len(sizes)), generator=generator) + first  # 41: quantiles are draws
        draws[:, 0], draws[:, 1], draws[:, 3] = draws[:, 2], first, first + 2  # one comes twice, and two have rows
        yield x, 0.3 * x + own[sentence] * x + noise, sentence, draws


def _slope(x, y):
    return ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()


def _slopes(x, y, sentence, draws):
    """The slope of every draw, (draw,)."""
    rows = {number: (sentence == number).nonzero()[:, 0] for number in draws.unique().tolist()}
    drawn = [torch.cat([rows[number] for number in draw]) for draw in draws.tolist()]
    return torch.stack([_slope(x[each], y[each]) for each in drawn])


def _slopes_without_repeats(x, y, sentence, draws):
    return torch.cat([_slopes(x, y, sentence, draw.unique()[None]) for draw in draws])


def _mean_slopes(x, y, sentence, draws):
    own = {number: _slope(x[sentence == number], y[sentence == number]) for number in sentence.unique().tolist()}
    return torch.stack([torch.stack([own[n] for n in draw if n in own]).mean() for draw in draws.tolist()])


def _ends(slopes, low=0.025, high=0.975):
    return slopes.quantile(torch.tensor([low, high], dtype=slopes.dtype))


def _normal(slopes):
    return slopes.mean() + 1.96 * slopes.std() * torch.tensor([-1, 1])


DRAWN_SENTENCES = Exercise(
    "4e",
    "An interval that draws sentences",
    kind="Build",
    difficulty=4,
    points=4,
    reference=lambda *given: _ends(_slopes(*given)),
    inputs=_draws,
    mistakes={
        "you used the sentence numbers as row numbers, so a draw brought single rows. Bring all rows of every sentence "
        "that was drawn.": lambda x, y, sentence, draws: _ends(
            torch.stack([_slope(x[draw], y[draw]) for draw in draws])
        ),
        "a sentence that was drawn twice brought its rows only once. It has to bring them twice, because a bootstrap "
        "varies how often each sentence counts.": lambda *given: _ends(_slopes_without_repeats(*given)),
        "you averaged the slopes of single sentences. Fit one line to all rows of a draw, so that long sentences count "
        "more.": lambda *given: _ends(_mean_slopes(*given)),
        "you took the quantiles 0.05 and 0.95, between which nine in ten slopes lie. Nineteen in twenty lie between "
        "0.025 and 0.975.": lambda *given: _ends(_slopes(*given), 0.05, 0.95),
        "you took the smallest and the largest slope. They move apart as the number of draws grows, so take the "
        "quantiles 0.025 and 0.975.": lambda *given: _ends(_slopes(*given), 0, 1),
        "you took the mean and 1.96 standard deviations on both sides, as for a normal distribution. Take the "
        "quantiles of the slopes themselves, which assume no distribution.": lambda *given: _normal(_slopes(*given)),
        "you returned the high end before the low one.": lambda *given: _ends(_slopes(*given)).flip(0),
        "you returned the slopes of all draws. Return two of their quantiles, 0.025 and 0.975.": _slopes,
    },
    praise="every sentence brings all of its rows, as often as it was drawn.",
    tolerance=1e-4,
)


# 4f: take the output apart. Answers: pattern (head, query, key) and written (head, key, d_model) ->
# (3, query, d_model).


def _written(generator):
    for heads, length, d_model in [(3, 5, 4), (1, 3, 2), (2, 1, 3)]:
        pattern = random_pattern(heads, length, length, generator=generator)
        yield pattern, torch.randn(heads, length, d_model, generator=generator)


FIRST, OWN, OTHERS = range(3)


def _key_by_key(pattern, written):
    taken = torch.zeros(3, *written.shape[1:])
    for head, query, key in torch.cartesian_prod(*map(torch.arange, pattern.shape)).tolist():
        source = FIRST if key == 0 else OWN if key == query else OTHERS
        taken[source, query] += pattern[head, query, key] * written[head, key]
    return taken


def _of(first=None, own=None, others=None):
    """The answer that counts keys by other rules: each is a function (query, key) -> boolean, or None for the right
    one."""
    rules = [
        first or (lambda query, key: key == 0),
        own or (lambda query, key: (key == query) & (key > 0)),
        others or (lambda query, key: (key != query) & (key > 0)),
    ]

    def answer(pattern, written):
        place = torch.arange(pattern.shape[-1])
        return torch.stack([((pattern * rule(place[:, None], place)) @ written).sum(0) for rule in rules])

    return answer


TAKE_APART = Exercise(
    "4f",
    "Take the output apart",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_key_by_key,
    inputs=_written,
    mistakes={
        "you kept the heads apart. Attention adds the sum of what its heads write, so add them up.": lambda p, w: (
            torch.stack([_key_by_key(p[[head]], w[[head]]) for head in range(len(p))], 1)
        ),
        "you averaged over heads. Attention adds the sum of what its heads write.": lambda p, w: (
            _key_by_key(p, w) / len(p)
        ),
        "you counted the first query's own token twice, as the first token and as its own. Count it as the first token "
        "only, so that the parts add up to the whole.": _of(own=lambda query, key: key == query),
        "you counted the first query's own token as its own. It is the first token, so count it there.": _of(
            first=lambda query, key: (key == 0) & (query > 0), own=lambda query, key: key == query
        ),
        "your others hold the query's own token too, so it is counted twice.": _of(others=lambda query, key: key > 0),
        "your others hold the first token too, so it is counted twice.": _of(others=lambda query, key: key != query),
        "your third part is everything. Take the first token and the query's own token out of it.": _of(
            others=lambda query, key: key >= 0
        ),
        "you swapped queries and keys. A row of the pattern is a query, and its columns say how much the query takes "
        "from each key.": lambda p, w: _key_by_key(p.mT, w),
        "you did not weight by the attention. A head writes the vector of a key as often as it looks at that key.": (
            lambda p, w: _key_by_key((p > 0).float(), w)
        ),
        "your first axis is the query. Stack the three parts first: (3, query, d_model).": lambda p, w: _key_by_key(
            p, w
        ).transpose(0, 1),
        "your parts are in another order. The first token comes first, then the query's own token, and then all "
        "others.": lambda p, w: _key_by_key(p, w)[[OWN, FIRST, OTHERS]],
        "you returned lengths. Lengths do not add up as vectors do, so return the vectors.": lambda p, w: _key_by_key(
            p, w
        ).norm(dim=-1),
    },
    praise="the three parts add up to what the heads write, and every token is counted once.",
)


# 4g: a text on which it does not shrink. Answers: a text.

EARLY, LATE = 3, 28  # positions at which attention to the first token is told


@torch.no_grad()
def _level(text, model, tokenizer, layer, slope):
    """The slope of the layer's log norms on a text, in percent per token, and the attention to the first token.

    slope: the notebook's, in percent per token.
    """
    require(isinstance(text, str), f"the answer is a text in quotes; yours is {shown(text)}.")
    try:
        tokens = encode(tokenizer, text, context=context_length(model))[:, :READ]
    except TextError as problem:
        raise Wrong(f"this text cannot be read: {problem}") from None
    require(tokens.shape[1] == READ, f"your text has {tokens.shape[1]} tokens. It should have {READ} or more.")
    norms = adjustments.attention_outputs(model, tokens)[layer, 0, 1:].double().norm(dim=-1).cpu()
    patterns = {}
    with visit_attention(model, lambda number, pattern, values: patterns.update({number: pattern[0].mean(0)})):
        read(model, prepare(model, tokens))
    return SimpleNamespace(
        kinds=len(tokens.unique()),
        layer=layer,
        slope=slope,
        found=100 * _slope(torch.arange(1.0, READ).double(), norms.log()).item(),
        early=patterns[layer][EARLY, 0].item(),
        late=patterns[layer][LATE, 0].item(),
    )


def _steeper_than(share):
    """Whether the text's slope is more than a share of the notebook's, in the same direction."""
    return lambda facts: facts.found * facts.slope > share * facts.slope**2


_SLOPES = "in layer {layer}, the slope on your text is {found:+.2f} % per token, and {slope:+.2f} on the reviews"
_TO_FIRST = (
    f". The attention to the first token goes from {{early:.3f}} at position {EARLY} to {{late:.3f}} at position {LATE}"
)
DOES_NOT_SHRINK = Exercise(
    "4g",
    "A text on which it does not shrink",
    kind="Investigate",
    difficulty=3,
    points=3,
    measure=_level,
    mistakes={
        f"only {{kinds}} of the first {READ} tokens of your text are different ones, and {READ // 2} are needed. The "
        "notebook has a text of one word already, so find another reason.": lambda facts: facts.kinds < READ // 2,
        _SLOPES + ". It should be at most a third of that. The layer adds an average of vectors, and an average is "
        "short when they point in many directions. Which different words may have vectors that are alike?": (
            _steeper_than(1 / 2)
        ),
        _SLOPES + ". You are near, because it should be at most a third of that. Leave out the tokens that are least "
        "like the others.": _steeper_than(1 / 3),
    },
    praise={
        _SLOPES + _TO_FIRST + ". It fades all the same, so its fading alone does not make the slope.": lambda facts: (
            facts.late < facts.early / 2
        ),
        _SLOPES + _TO_FIRST + ". It does not fade to less than half, so your text may be level because the first token "
        "keeps its share. Compare it with a text on which the share fades.": lambda facts: True,
    },
)


# 4h: an explanation, and the experiment that could refute it. Answers: {"layer": another layer than the notebook's,
# "hooks": [(name, function), ...] for the bridge, which take a supposed cause of the layer's slope away, "verdict":
# "survives", "not removed" or "unclear"}. A slope may stay because the hooks put something else in the cause's place
# (4.9), so that it stays is not called a refutation.

SENTENCES, AT_ONCE = 60, 10  # sentences that are read, and how many in one run


def _experiment(answer, bridge, batches, layer):
    """The layer's slope without the hooks and with them, in percent per token, and the loss on the sentences."""
    own, hooks, verdict = parts(answer, ["layer", "hooks", "verdict"])
    own, verdict = (
        _other_layer(own, bridge.cfg.n_layers, layer),
        choose(verdict, ["survives", "not removed", "unclear"]),
    )
    rows = [row[mask][:READ] for batch in batches for row, mask in zip(batch.tokens.cpu(), batch.mask.cpu())]
    sentences = Batch.from_rows(rows[:SENTENCES])
    before, loss = _log_norms(bridge, sentences, own, [])
    _check_hooks(hooks, bridge, sentences[:1], own)
    told = [(name, _told(name, function)) for name, function in hooks]
    after, loss_after = _log_norms(bridge, sentences, own, told)
    later = sentences.mask.clone()
    later[:, 0] = False
    require(
        bool(after[later].isfinite().all()),
        f"with your hooks, what attention adds in layer {own} is 0 or not finite at some token. Did a query lose all "
        "of its keys? The first query has only one.",
    )
    require(
        after[later].std() > 1e-5,
        f"with your hooks, attention in layer {own} adds a vector of the same length at every token, so every slope is "
        "gone, whatever its cause was. Take away less.",
    )
    facts = SimpleNamespace(layer=own, verdict=verdict, loss=loss, more=loss_after - loss)
    facts.unchanged = bool((after - before)[later].abs().max() < 1e-6)
    facts.before, facts.low, facts.high = _percent(before, sentences.mask)
    facts.after, facts.low_after, facts.high_after = _percent(after, sentences.mask)
    turned = facts.after * facts.before < 0  # a slope as large the other way: the hooks did more than take it away
    facts.measured = "survives" if abs(facts.after) < abs(facts.before) / 2 else "unclear" if turned else "not removed"
    return facts


def _other_layer(own, layers, layer):
    try:
        own = operator.index(own)
    except TypeError:
        raise Wrong(f"`layer` is the number of a layer; yours is {shown(own)}.") from None
    require(0 <= own < layers, f"there is no layer {own}: layers go from 0 to {layers - 1}.")
    require(own != layer, f"layer {own} is the one that the notebook explained. Choose another layer.")
    return own


def _check_hooks(hooks, bridge, sentence, layer):
    """Raise Wrong unless the hooks are pairs, and each stands where it can change what the layer's attention adds."""
    pairs = isinstance(hooks, (list, tuple)) and all(isinstance(each, (list, tuple)) for each in hooks)
    require(
        pairs and all(len(each) == 2 and isinstance(each[0], str) and callable(each[1]) for each in hooks),
        "`hooks` is a list of pairs, each of a hook's name and a function: [('blocks.0.attn.hook_pattern', my_hook)].",
    )
    for name, _ in hooks:
        require(name in bridge.hook_dict, f"the bridge has no hook {name!r}. `bridge.hook_dict` lists those it has.")
    # The last place that is allowed is what the heads read, before W_O. It comes last, as it may have two names.
    latest, passed = f"blocks.{layer}.attn.hook_z", []
    names = [*(name for name, _ in hooks), latest]
    try:
        with torch.no_grad(), bridge.hooks([(name, lambda _, hook, name=name: passed.append(name)) for name in names]):
            read(bridge, sentence)
    except ValueError as problem:  # some places have to be switched on
        raise Wrong(f"one of your hooks cannot be used: {problem} Or take another hook.") from None
    for name, _ in hooks:
        require(name in passed, f"nothing passes {name!r} when this bridge reads a text. Take another hook.")
        require(
            passed.index(name) <= passed.index(latest),
            f"your hook {name!r} comes too late: it replaces what attention adds in layer {layer}, or stands after it. "
            f"Replacing the result is no explanation, so change something that it is made from, up to {latest!r}.",
        )


def _told(name, function):
    """A student's hook that says what went wrong in it."""

    def hook_of_answer(value, hook):
        shape = value.shape
        new = call_hook(function, value, hook, f"your hook on {name!r}")
        require(
            new is None or (isinstance(new, torch.Tensor) and new.shape == shape),
            f"your hook on {name!r} returned {shown(new)}, but what passes there has shape {tuple(shape)}.",
        )
        return new

    return hook_of_answer


@torch.no_grad()
def _log_norms(bridge, sentences, layer, hooks):
    """Log norms of what the layer's attention adds, (sentence, position), and the mean loss in nats."""
    norms, losses = [], []
    recording = (f"blocks.{layer}.hook_attn_out", lambda value, hook: norms.append(value.double().norm(dim=-1).cpu()))
    with bridge.hooks(fwd_hooks=[*hooks, recording]):
        for first in range(0, len(sentences), AT_ONCE):
            losses.append(text_loss(bridge, sentences[first : first + AT_ONCE]))
    return torch.cat(norms).log(), torch.cat(losses).nanmean().item()


def _percent(logs, mask):
    """The slope on position with its clustered interval, in percent per token."""
    table = adjustments.regress(adjustments.position_rows(logs[None], mask, last=READ)).table
    return 100 * table.loc[(0, "position"), ["coefficient", "clustered low", "clustered high"]]


_BEFORE = "in layer {layer}, the slope is {before:+.2f} % per token ({low:+.2f} to {high:+.2f})"
_AFTER = _BEFORE + " without your hooks and {after:+.2f} ({low_after:+.2f} to {high_after:+.2f}) with them"
_LOSS = _AFTER + ", and the loss rises by {more:.3f} nats from {loss:.3f}"
EXPLANATION = Exercise(
    "4h",
    "An explanation, and the experiment that could refute it",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_experiment,
    mistakes={
        _BEFORE
        + ". The interval holds 0, so there is nothing to explain. Choose a layer with a slope.": lambda facts: (
            facts.low <= 0 <= facts.high
        ),
        "your hooks change nothing in what attention adds in layer {layer}. Does each of them return the new value?": (
            lambda facts: facts.unchanged
        ),
        _AFTER
        + ". More than half of it is left, so this experiment has not removed it: the verdict is 'not removed'.": (
            lambda facts: facts.verdict != facts.measured == "not removed"
        ),
        _AFTER + ". At least half of it is gone, as your explanation says, so it survives this "
        "experiment.": lambda facts: facts.verdict != facts.measured == "survives",
        _AFTER + ". The slope goes the other way now, and by more than half as much. So your hooks did more than take "
        "the slope away, and the experiment is unclear.": lambda facts: facts.verdict != facts.measured == "unclear",
    },
    praise={
        _LOSS + ". Your explanation survives. Surviving one experiment is no proof, because the hooks may have changed "
        "something else that makes the slope.": lambda facts: facts.measured == "survives",
        _LOSS + ". The experiment is unclear, because the slope goes the other way now: your hooks did more than take "
        "the supposed cause away. Find out what else, and try a gentler removal.": lambda facts: (
            facts.measured == "unclear"
        ),
        _LOSS
        + ". The slope is not removed by this, and this is a result. It speaks against your explanation, unless your "
        "hooks put something else in the place of the cause, as a mask does. Remove the cause in a second way before "
        "you call the explanation refuted.": lambda facts: True,
    },
)

EXERCISES = [
    OWN_HOOK,
    CHANGES_INSIDE,
    REGRESSION_WITHIN,
    SAME_TWICE,
    DRAWN_SENTENCES,
    TAKE_APART,
    DOES_NOT_SHRINK,
    EXPLANATION,
]
