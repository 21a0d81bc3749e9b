"""Exercises of notebook 02: scores, targets, classes and what they rest on."""

from types import SimpleNamespace

import torch

from ..attention import MAJORITY, TARGETS, entropy_share, head_label, target_score
from ..errors import TextError
from ..hooks import read, visit_attention
from ..models import context_length, prepare
from ..text import Batch, encode
from .judging import Exercise, Wrong, as_tensor, choose, head_of, parts, random_pattern, require, shown, watched

# 2a: a score for the current token. Answers: pattern (..., query, key) -> (...).


def _patterns(generator):
    for shape in [(3, 3), (2, 4, 6, 6), (5, 2, 2)]:
        yield (random_pattern(*shape, generator=generator),)


def _diagonal(pattern):
    return pattern.diagonal(dim1=-2, dim2=-1)


CURRENT_TOKEN = Exercise(
    "2a",
    "A score for the current token",
    kind="Build",
    difficulty=2,
    points=2,
    reference=lambda pattern: sum(pattern[..., i, i] for i in range(1, pattern.shape[-1])) / (pattern.shape[-1] - 1),
    inputs=_patterns,
    mistakes={
        "you counted the first query. It can look at itself only, so it gives 1 whatever the head does; leave it "
        "out.": lambda pattern: _diagonal(pattern).mean(-1),
        "that is the diagonal below the main one: attention to the token before.": lambda pattern: pattern.diagonal(
            -1, -2, -1
        ).mean(-1),
        "you divided by all queries. The first does not count, so divide by one less.": lambda pattern: (
            _diagonal(pattern)[..., 1:].sum(-1) / pattern.shape[-1]
        ),
        "you took the diagonal of the first two axes. `diagonal` does that by itself; name query and key with "
        "dim1=-2, dim2=-1.": lambda pattern: pattern.diagonal()[..., 1:].mean(-1),
        "that is one number for all heads. Average over queries only: one number a head.": lambda pattern: _diagonal(
            pattern
        )[..., 1:].mean(),
    },
    praise="heads, batches and short texts, all by the same line.",
)


# 2b: the keys that induction looks at. Answers: tokens (..., position) -> boolean (..., query, key).


def _letters(generator):
    """A planted sequence in which every mistake shows, under other ids in each row; and a text of one token."""
    planted = torch.tensor([0, 1, 1, 2, 0, 1, 3, 0, 2, 2, 1, 4, 0, 3])
    for shape in [(), (2,), (2, 3)]:
        names = [torch.randperm(1000, generator=generator)[:5] for _ in range(torch.Size(shape).numel())]
        yield (torch.stack(names)[:, planted].reshape(*shape, len(planted)),)
    yield (torch.randint(1000, (1,), generator=generator),)


def _marking(rule):
    """The function that makes the target of a rule for (ids, query, key), row by row."""

    def target(tokens):
        length = tokens.shape[-1]
        rows = [
            [[bool(rule(ids, query, key)) for key in range(length)] for query in range(length)]
            for ids in tokens.reshape(-1, length).tolist()
        ]
        return torch.tensor(rows).reshape(*tokens.shape, length)

    return target


def _follows(ids, query, key):
    """Whether a key is what followed an earlier occurrence of a query's token."""
    return 0 < key <= query and ids[key - 1] == ids[query]


INDUCTION_TARGET = Exercise(
    "2b",
    "The keys that induction looks at",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_marking(_follows),
    inputs=_letters,
    mistakes={
        "you marked the earlier occurrences themselves: that is the duplicate-token target. Induction looks at what "
        "came after them, one key further to the right.": _marking(lambda ids, q, k: k < q and ids[k] == ids[q]),
        "you marked what came *before* the earlier occurrences. Induction looks at what came after: shift the table "
        "the other way.": _marking(lambda ids, q, k: k + 1 < q and ids[k + 1] == ids[q]),
        "your rows and columns are swapped: a row is a query, a column is a key.": _marking(
            lambda ids, q, k: _follows(ids, k, q)
        ),
        "some of your targets lie after the query, where no head can look: the query's own occurrence, or a later one, "
        "was counted as an earlier one.": _marking(lambda ids, q, k: k > 0 and ids[k - 1] == ids[q]),
        "a query's own position was counted among the earlier occurrences; what comes after it lies in the "
        "future.": _marking(lambda ids, q, k: 0 < k <= q + 1 and ids[k - 1] == ids[q]),
        "one case is missing: in 'a a', what followed the first a is the second a, the query itself. A key may be the "
        "query.": _marking(lambda ids, q, k: k < q and _follows(ids, q, k)),
        "you marked what followed the latest occurrence only. All earlier ones count.": _marking(
            lambda ids, q, k: _follows(ids, q, k) and ids[q] not in ids[k:q]
        ),
        "you marked what followed the first occurrence only. All earlier ones count.": _marking(
            lambda ids, q, k: _follows(ids, q, k) and ids[q] not in ids[: k - 1]
        ),
        "you looked for the token that comes *next* among the earlier ones. The head has not seen it yet; it goes by "
        "the token it stands on.": _marking(lambda ids, q, k: k <= q and q + 1 < len(ids) and ids[k] == ids[q + 1]),
    },
    praise="neighbours that are alike, batches, and a single token that has no target at all.",
)


# 2c: the second copy in another order. Answers: what becomes of the best induction head's score.


def _score_kept(prediction, before, after):
    said = choose(prediction, ["stays", "weakens", "vanishes"])
    kept = float(after) / float(before) if before else 1.0
    measured = "stays" if kept >= 0.9 else "weakens" if kept > 0.1 else "vanishes"
    case = (said, measured) if before >= 0.1 else "no induction"
    change = f"{before:.3f} became {after:.3f}"
    by_token = "it does find what followed an earlier occurrence, wherever that stands now."
    return SimpleNamespace(said=said, measured=measured, case=case, change=change, by_token=by_token)


def _case(said, measured):
    return lambda facts: facts.case == (said, measured)


OTHER_ORDER = Exercise(
    "2c",
    "The second copy in another order",
    kind="Read",
    difficulty=2,
    points=2,
    measure=_score_kept,
    mistakes={
        "{change}. No head of this model does induction: what could another order change?": lambda facts: (
            facts.case == "no induction" and facts.said != facts.measured
        ),
        "{change}. In the same order more agrees than the one token: every answer lies equally far back, and the "
        "tokens before agree too. The head made use of some of that.": _case("stays", "weakens"),
        "{change}. A head that only counts positions back would keep next to nothing. This one keeps more: "
        "{by_token}": _case("vanishes", "weakens"),
        "{change}. The same distance and the tokens before were of no use to it: {by_token}": _case("weakens", "stays"),
        "{change}. It does not count positions back: {by_token}": _case("vanishes", "stays"),
        "{change}. It went by something that the order gave: the distance, or the tokens before.": _case(
            "stays", "vanishes"
        ),
        "{change}. It went by the order alone: by the distance, or by the tokens before.": _case("weakens", "vanishes"),
    },
    praise={
        "{change}. But no head of this model does induction, so there was nothing to lose.": lambda facts: (
            facts.case == "no induction"
        ),
        "{change}. The head goes by the token, for it finds the answer at another distance; and it goes by more than "
        "the token, for it is less sure. The order changed the distance and the tokens before at once, so this does "
        "not say which of the two it misses.": _case("weakens", "weakens"),
        "{change}. The head goes by the token: {by_token}": _case("stays", "stays"),
        "{change}. High on repeated texts, and yet the head does not look for the token: it goes by the order. One "
        "kind of text was too few to name it.": _case("vanishes", "vanishes"),
    },
)


# 2d: what a head takes from the first token. Answers: pattern (text, head, query, key), values (text, head, key,
# d_head) and mask (text, position) -> (text, head).


def _padded_texts(generator, model, batch):
    """Random patterns and values of padded texts, and then those of every layer of the model."""
    # In the first shape heads are as many as texts, and a value as long as a text, so that swapped axes still fit.
    for (texts, heads, length, d_head), lengths in [
        ((3, 3, 7, 7), [7, 4, 2]),
        ((2, 5, 9, 3), [5, 9]),
        ((1, 2, 4, 6), [3]),
    ]:
        values = torch.randn(texts, heads, length, d_head, generator=generator)
        values = values * torch.rand(texts, heads, length, 1, generator=generator).add(0.2)
        mask = torch.arange(length) < torch.tensor(lengths)[:, None]
        yield random_pattern(texts, heads, length, length, generator=generator), values, mask
    layers, batch = [], prepare(model, Batch.of(batch)[:2])
    with torch.no_grad(), visit_attention(model, lambda _, pattern, values: layers.append((pattern, values))):
        read(model, batch)
    yield from [(pattern.cpu(), values.cpu(), batch.mask.cpu()) for pattern, values in layers]


def _slow_share(pattern, values, mask):
    norms, scores = values.norm(dim=-1), torch.zeros(pattern.shape[:2])
    for text, head in torch.cartesian_prod(*map(torch.arange, pattern.shape[:2])).tolist():
        shares = []
        for query in range(1, int(mask[text].sum())):
            taken = pattern[text, head, query, : query + 1] * norms[text, head, : query + 1]
            shares.append(taken[0] / taken.sum())
        scores[text, head] = sum(shares) / len(shares)
    return scores


def _shares(pattern, norms):
    """The first token's share of what each query takes. norms: (text, head, key)."""
    moved = pattern * norms[:, :, None]
    return moved[..., 0] / moved.sum(-1)


def _norms(values):
    return values.norm(dim=-1)


def _mean(numbers, mask):
    """Of numbers (text, head, query), the mean over the queries that count."""
    counts = mask[:, None, 1:]
    return (numbers[..., 1:] * counts).sum(-1) / counts.sum(-1)


def _sums_divided(pattern, values, mask):
    moved, counts = pattern * _norms(values)[:, :, None], mask[:, None, 1:]
    return (moved[..., 1:, 0] * counts).sum(-1) / (moved.sum(-1)[..., 1:] * counts).sum(-1)


TAKEN_FROM_FIRST = Exercise(
    "2d",
    "What a head takes from the first token",
    kind="Build",
    difficulty=4,
    points=4,
    reference=_slow_share,
    inputs=_padded_texts,
    mistakes={
        "you averaged over padding too. Rows of padding hold numbers like all others, but no text: leave out the "
        "queries for which the mask is False.": lambda p, v, mask: _shares(p, _norms(v))[..., 1:].mean(-1),
        "you left padding out of the sum but divided by all queries. Divide by the number that count, text by "
        "text.": lambda p, v, mask: (_shares(p, _norms(v)) * mask[:, None])[..., 1:].mean(-1),
        "you counted the first query. It can look at itself only, so it takes all from the first token; leave it "
        "out.": lambda p, v, mask: (_shares(p, _norms(v)) * mask[:, None]).sum(-1) / mask.sum(-1)[:, None],
        "you divided by the number of tokens; the first does not count, so it is one less.": lambda p, v, mask: (
            (_shares(p, _norms(v)) * mask[:, None])[..., 1:].sum(-1) / mask.sum(-1)[:, None]
        ),
        "that is weight times norm, not yet a share: divide by the sum over all keys of the row.": lambda p, v, mask: (
            _mean((p * _norms(v)[:, :, None])[..., 0], mask)
        ),
        "that is attention alone. The norms are missing, or they went to queries, where they cancel: a value belongs "
        "to the *key* that it is taken from.": lambda p, v, mask: _mean(p[..., 0], mask),
        "you squared the norms. A value twice as long moves twice as much.": lambda p, v, mask: _mean(
            _shares(p, _norms(v) ** 2), mask
        ),
        "you added up over queries before you divided. Every query has a share of its own; their mean is asked "
        "for.": _sums_divided,
        "that is one number a head. Every text has its own.": lambda p, v, mask: _slow_share(p, v, mask).mean(0),
        "that is one number a text. Every head has its own.": lambda p, v, mask: _slow_share(p, v, mask).mean(1),
        "the mask's texts were laid over the heads. The mask has no axis for heads: put one in, by `None`.": (
            lambda p, v, mask: (_shares(p, _norms(v))[..., 1:] * mask[:, 1:]).sum(-1) / mask[:, 1:].sum(-1)
        ),
        "you took the norm over keys. Each key has one value vector; its norm runs over d_head, the last axis.": (
            lambda p, v, mask: _mean(_shares(p, v.norm(dim=-2)), mask)
        ),
    },
    praise="on random patterns, and for every head of the model it agrees with the survey.",
)


# 2e: an interval that knows what a text is. Answers: attention (text, query) and draws -> (low, high).


def _unlike_texts(generator):
    """Attention of texts that differ more than their queries do; their mean is known equally well each time."""
    for texts, queries in [(40, 30), (25, 60)]:
        of_text = torch.randn(texts, 1, generator=generator)
        of_text = (of_text - of_text.mean()) / of_text.std() * 0.02 * texts**0.5 + 0.5
        yield of_text + torch.randn(texts, queries, generator=generator) * 0.05, 4000


def _resampled(values, draws):
    """Means of samples with replacement."""
    return values[torch.randint(len(values), (draws, len(values)))].mean(1)


def _ends(means, inside=0.95):
    return means.quantile(torch.tensor([(1 - inside) / 2, (1 + inside) / 2]))


def _interval(values, draws, inside=0.95):
    return _ends(_resampled(values, draws), inside)


INTERVAL = Exercise(
    "2e",
    "An interval that knows what a text is",
    kind="Build",
    difficulty=3,
    points=3,
    reference=lambda attention, draws: _interval(attention.mean(1), 5 * draws),
    inputs=_unlike_texts,
    mistakes={
        "every draw has the same mean, so your interval has no width. Draw with replacement: some texts come twice, "
        "others not at all.": lambda attention, draws: _ends(attention.mean().repeat(draws)),
        "too narrow: you drew single tokens. The tokens of one text are alike, so they are no independent samples, and "
        "many of them do not make up for few texts. Draw whole texts.": lambda attention, draws: _interval(
            attention.flatten(), draws
        ),
        "too narrow: you drew queries, the second axis, and kept all texts. Draw texts.": lambda attention, draws: (
            _interval(attention.mean(0), draws)
        ),
        "too narrow: that is one standard error to either side, which holds about two in three of the means. 95 in a "
        "hundred are asked for.": lambda attention, draws: _interval(attention.mean(1), draws, 0.683),
        "too narrow: that interval holds 90 in a hundred of the means. To leave out 5 in a hundred, leave out 2.5 at "
        "either end.": lambda attention, draws: _interval(attention.mean(1), draws, 0.9),
        "too wide: between these ends lie the *texts*; the question is where their *mean* lies. Average over the texts "
        "of each draw.": lambda attention, draws: _ends(attention.mean(1)),
        "the lower end comes first: (low, high).": lambda attention, draws: _interval(attention.mean(1), draws).flip(0),
        "each end should be one number for all texts; yours has a number for every query.": lambda attention, draws: (
            torch.stack([attention.mean(0), attention.mean(0)])
        ),
    },
    praise="the interval is as wide as texts make it, whatever the number of tokens.",
    tolerance=0.0045,  # of a width of 0.078: the draws move an end by 0.0009, and 90 in a hundred by 0.0063
)


# 2f: a text that names a nameless head. Answers: {"head": (layer, head), "text": a text}.

NAMELESS = ("diffuse", "focused")
# Of a text that gives a head a name: tokens, queries that count, the score, and what even attention may score there.
TOKENS, QUERIES, CLEARLY, UNIFORM = 30, 10, 0.6, 0.25


def _name_on_text(found, model, tokenizer, kinds):
    """How the target that fits best fares on the text: the first that passes, or else the one with most attention."""
    head, text = parts(found, ["head", "text"])
    layer, head = head_of(head, kinds.shape)
    require(isinstance(text, str), f"the text should be a string; it is {shown(text)}.")
    try:
        tokens = encode(tokenizer, text, context=context_length(model))
    except TextError as problem:
        raise Wrong(str(problem)) from problem
    length = tokens.shape[1]
    require(
        length >= TOKENS,
        f"your text has {length} tokens. On short ones a sink passes for anything; take {TOKENS} or more.",
    )
    pattern = _patterns_of(model, tokens[0])[layer, head]
    facts = []
    for name, make in TARGETS.items():
        target = make(tokens[0])
        queries = int(target.any(-1).sum())
        score, uniform = [target_score(each, target).item() if queries else 0.0 for each in (pattern, _uniform(length))]
        facts.append(
            SimpleNamespace(target=name.replace("_", " "), score=score, uniform=uniform, queries=queries, length=length)
        )
    passing = [each for each in facts if each.score > CLEARLY and each.uniform < UNIFORM and each.queries >= QUERIES]
    best = passing[0] if passing else max(facts, key=lambda each: each.score)
    best.head, best.kind = head_label(layer, head), kinds[layer, head]
    best.here = "focused" if entropy_share(pattern) < MAJORITY else "diffuse"
    return best


@torch.no_grad()
def _patterns_of(model, ids):
    """(layer, head, query, key) of one text."""
    tokens = ids[None].to(model.device)
    return torch.cat([pattern.cpu() for pattern in model.base_model(tokens, output_attentions=True).attentions])


def _uniform(length):
    """The pattern of a head that looks at all keys alike, (query, key)."""
    return torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]


_GETS = "{target} gets {score:.3f} of head {head}'s attention on your text"
NAME_FROM_TEXT = Exercise(
    "2f",
    "A text that names a nameless head",
    kind="Investigate",
    difficulty=3,
    points=3,
    measure=_name_on_text,
    mistakes={
        "head {head} has a name already: {kind}. Find one that is diffuse or focused on the passages.": lambda facts: (
            facts.kind not in NAMELESS
        ),
        _GETS + ", more than any other target does: that gives it no name. It is {here} here too.": lambda facts: (
            facts.score <= MAJORITY
        ),
        _GETS + ", but even attention would give it {uniform:.3f}: on this text nearly every key is such a "
        "key, so every head gets the name, and it says nothing.": lambda facts: facts.uniform >= UNIFORM,
        _GETS + ", but so few queries have such a key ({queries} of {length}) that the score is luck; "
        f"{QUERIES} are needed.": lambda facts: facts.queries < QUERIES,
        _GETS + f". So near to one half, another text like yours may say otherwise; bring it above {CLEARLY}.": (
            lambda facts: facts.score <= CLEARLY
        ),
    },
    praise="head {head}, {kind} on the passages, gives {score:.3f} to {target} on your text, over {queries} queries; "
    "even attention would give {uniform:.3f}. What about the text calls for it? Change one thing at a time.",
)


# 2g: a kind of head of your own. Answers: {"target": tokens (position,) -> boolean (query, key), "head": the one that
# scores highest on it, "score": its score, "chance": what even attention would score, "shuffled": the head's score
# on shuffled texts}.

ROUNDED = 6e-4  # a number of the project may be rounded to three decimals
NUMBERS = ["score", "chance", "shuffled"]


def _own_kind(project, model, texts, mixed):
    """The project measured again. texts, mixed: lists of ids (position,); scores are means over texts with a target."""
    make, head, *numbers = parts(project, ["target", "head", *NUMBERS])
    require(callable(make), f"the target should be a function; it is {shown(make)}.")
    pairs = _own_targets(watched(make), texts)
    own, known = _scores(model, pairs)
    layer, head = head_of(head, own.shape)
    elsewhere = [(ids, target) for ids in mixed if (target := watched(make)(ids)).any()]
    require(elsewhere, "in the shuffled texts your target never occurs, so nothing can be compared there.")
    shuffled, _ = _scores(model, elsewhere)
    queries = torch.tensor([target.any(-1).sum() for _, target in pairs])
    marked = [(_uniform(len(ids)) * target).sum() for ids, target in pairs]
    chances = torch.stack(marked) / queries
    facts = SimpleNamespace(
        head=head_label(layer, head),
        said={name: as_tensor(number, f"`{name}`").item() for name, number in zip(NUMBERS, numbers)},
        top=own.max().item(),
        score=own[layer, head].item(),
        mean_score=own.mean().item(),
        named=known[layer, head].item(),
        shuffled=shuffled[layer, head].item(),
        top_shuffled=shuffled.max().item(),
        chance=chances.mean().item(),
        chance_all_keys=torch.stack([target.sum() / target.any(-1).sum() / len(ids) for ids, target in pairs]).mean(),
        chance_all_queries=torch.stack([each / len(ids) for each, (ids, _) in zip(marked, pairs)]).mean(),
        chance_all_texts=(chances * queries).sum() / queries.sum(),
    )
    facts.verdict = _verdict(facts.score, facts.chance, facts.shuffled, facts.named)
    return facts


def _own_targets(make, texts):
    """(ids, target) of the texts that have one; Wrong when the student's targets are none, or none of their own."""
    targets = []
    for ids in texts:
        target, again = make(ids), make(ids)
        require(
            isinstance(target, torch.Tensor) and target.shape == (len(ids), len(ids)),
            f"for {len(ids)} ids the target has a row for each query and a column for each key, {(len(ids),) * 2}; "
            f"yours is {shown(target)}.",
        )
        require(
            target.dtype == torch.bool, f"a target says yes or no; yours holds {target.dtype}. Compare, don't weigh."
        )
        require(
            torch.equal(target, again), "your target differs from call to call: the same ids must give the same keys."
        )
        require(
            not target.triu(1).any(),
            "your target marks keys after the query, where no head can look. Rows are queries and columns are keys.",
        )
        targets.append(target)
    pairs = [(ids, target) for ids, target in zip(texts, targets) if target.any()]
    require(
        len(pairs) >= min(8, len(texts)),
        f"only {len(pairs)} of {len(texts)} texts have your target: too few to score heads by. Choose keys that are "
        "there more often.",
    )
    for name, known in TARGETS.items():
        require(
            not all(torch.equal(target, known(ids)) for ids, target in zip(texts, targets)),
            f"that is the {name.replace('_', ' ')} target, which the course has already. Think of another kind of key.",
        )
    chance = sum(target_score(_uniform(len(ids)), target) for ids, target in pairs) / len(pairs)
    require(
        chance < MAJORITY,
        f"your target marks so many keys that even attention gives it {chance:.3f}. A name by majority would go to "
        "heads that look nowhere in particular; mark fewer keys.",
    )
    return pairs


def _scores(model, pairs):
    """(layer, head) twice: mean attention to the targets, and to those of their keys that one of the names covers."""
    scores = []
    for ids, target in pairs:
        patterns, queries = _patterns_of(model, ids), target.any(-1).sum()
        named = target & torch.stack([make(ids) for make in TARGETS.values()]).any(0)
        scores.append(torch.stack([(patterns * marked).sum((-2, -1)) / queries for marked in (target, named)]))
    return torch.stack(scores).double().mean(0)


def _gives(number, wrong):
    """Whether a number of the project is another one than it should be: the fact called `wrong`."""
    return lambda facts: _off(number)(facts) and abs(facts.said[number] - getattr(facts, wrong)) <= ROUNDED


def _off(number):
    return lambda facts: abs(facts.said[number] - getattr(facts, number)) > ROUNDED


def _verdict(score, chance, shuffled, named):
    if score < 2 * chance:
        return "no head stands out. That is a finding too; report it as one."
    order = (
        "the order of the words matters to it" if abs(shuffled - score) > 0.1 * score else "it goes on when shuffled"
    )
    if named <= score / 2:
        return f"{order}. And all but {named:.3f} of it goes to keys that none of the five names covers."
    return f"{order}. And {named:.3f} of it goes to keys that a name covers already, so say what your name adds."


OWN_KIND = Exercise(
    "2g",
    "A kind of head of your own",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_own_kind,
    mistakes={
        "head {head} gives your target {score:.3f} of its attention, but another gives it {top:.3f}. Take the one that "
        "gives most.": lambda facts: facts.score <= facts.top - ROUNDED,
        "`score` is the mean over all heads; give that of your head.": _gives("score", "mean_score"),
        "`score` is your head's on the shuffled texts.": _gives("score", "shuffled"),
        "`chance` spreads attention over all keys of the text. A query sees no key after it: spread it over the keys "
        "up to the query.": _gives("chance", "chance_all_keys"),
        "`chance` was divided by all queries; only those that have a target count, as in the score.": _gives(
            "chance", "chance_all_queries"
        ),
        "`chance` is one mean over the queries of all texts. Take it text by text, as `score_all` does, so that the "
        "two can be compared.": _gives("chance", "chance_all_texts"),
        "`shuffled` is the highest score of any head there. Take the same head as before.": _gives(
            "shuffled", "top_shuffled"
        ),
        "`shuffled` is the score on the texts in order once more.": _gives("shuffled", "score"),
    }
    | {
        f"for `{name}` your answer is {{said[{name}]:.3f}} where it should be {{{name}:.3f}}.": _off(name)
        for name in NUMBERS
    },
    praise="head {head} gives your target {score:.3f}, where even attention gives {chance:.3f} and shuffled words "
    "{shuffled:.3f}: {verdict}",
)

EXERCISES = [CURRENT_TOKEN, INDUCTION_TARGET, OTHER_ORDER, TAKEN_FROM_FIRST, INTERVAL, NAME_FROM_TEXT, OWN_KIND]
