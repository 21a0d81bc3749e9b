"""Exercises of notebook 02: scores, targets, classes and what they rest on."""

from types import SimpleNamespace

import torch

from ..attention import MAJORITY, TARGETS, classify, entropy_share, head_label, target_score
from ..errors import TextError
from ..models import context_length, prepare
from ..text import Batch, encode
from ..visits import read, visit_attention
from .judging import (
    Exercise,
    Wrong,
    as_tensor,
    choose,
    fresh,
    gives,
    head_of,
    is_blank,
    off,
    parts,
    random_pattern,
    require,
    shown,
    watched,
)

# The keys of each kind of head, in a sentence.
KEYS = {
    "previous_token": "the previous token",
    "first_token": "the first token",
    "current_token": "the current token",
    "duplicate_token": "earlier places of the same token",
    "induction": "what followed earlier places of the same token",
}

# 2a: guess the head. Answers: {letter of a panel: one of TARGETS, or "none"}.

# What a head of each kind draws into its pattern, where rows are queries and columns are keys, on the notebook's text:
# 12 tokens, twice.
DRAWS = {
    "previous_token": "a previous-token head draws a line just below the diagonal",
    "first_token": "a first-token head draws one column at the left edge",
    "current_token": "a current-token head draws the diagonal itself",
    "duplicate_token": "a duplicate-token head marks the earlier copy of the query's token, and on 12 tokens that come "
    "twice this is a line 12 below the diagonal, from row 12 on",
    "induction": "an induction head marks the key after the earlier copy of the query's token, and on 12 tokens that "
    "come twice this is a line 11 below the diagonal, from row 12 on",
}


def _named_panels(guess, *, patterns, tokens):
    """What the first panel with a wrong name gives to each kind of key, or the last panel when all are right.

    patterns: letter -> (query, key); tokens: (position,), the text of all of them.
    """
    _check_letters(guess, patterns)
    names = [choose(_spelled(each), [*DRAWS, "none"]) for each in parts(guess, patterns)]
    targets = {name: target for name, make in TARGETS.items() if (target := make(tokens.cpu())).any()}
    tops = {}
    for (panel, pattern), said in zip(patterns.items(), names):
        shares = {name: target_score(pattern.float().cpu(), target).item() for name, target in targets.items()}
        top = tops[panel] = max(shares.values(), default=0.0)
        # The kinds are measured over other queries, so that several can have over half: then each of them is right.
        right = shares.get(said, 0.0) > MAJORITY if top > MAJORITY else said == "none"
        if not right:
            break
    listed = ", ".join(f"{top:.2f} in {panel}" for panel, top in tops.items())
    chosen = {"draws": DRAWS.get(said), "key": KEYS.get(said), "share": shares.get(said, 0.0)}
    return SimpleNamespace(
        right=right, panel=panel, said=said, possible=said in shares, top=top, listed=listed, **chosen
    )


def _check_letters(guess, panels):
    """Raise Wrong for letters that no panel has, and for panels without a name."""
    letters = guess if isinstance(guess, dict) else {}
    listed = [", ".join(map(str, keys)) for keys in (panels, letters)]
    require(
        not letters.keys() - panels.keys(),
        f"the keys are capital letters, one for each panel: {listed[0]}; yours are {listed[1]}.",
    )
    empty = [f"`{letter}`" for letter, name in letters.items() if is_blank(name)]
    require(
        not empty,
        f'half filled in; still empty: {", ".join(empty)}. If a head looks nowhere in particular, write "none", in '
        "quotes.",
    )


def _spelled(name):
    """A name with the underscore that somebody may have left out."""
    return name.strip().replace(" ", "_").replace("-", "_") if isinstance(name, str) else name


GUESS_THE_HEAD = Exercise(
    "2a",
    "Guess the head",
    kind="Read",
    difficulty=1,
    points=1,
    measure=_named_panels,
    mistakes={
        "panel {panel} gives {top:.2f} of its attention to one of the five kinds of key. That is more than one half, "
        "so the head has a name. Does it draw a line along the diagonal, a column, or a second line in the lower "
        "half?": lambda facts: not facts.right and facts.said == "none",
        "{draws}. But in this text no query has such a key, so panel {panel} must show something else.": lambda facts: (
            not facts.right and not facts.possible
        ),
        "panel {panel} gives {share:.2f} of its attention to {key}. No other kind of key gets more, but a name needs "
        "more than one half.": lambda facts: not facts.right and facts.share == facts.top,
        "{draws}. Panel {panel} is different: where there is such a key, it gets {share:.2f} of the attention on "
        "average.": lambda facts: not facts.right,
    },
    praise="every panel has the right name. The kind of key that gets most attention gets {listed}. These numbers "
    "belong to one text, and on another text the same heads may look somewhere else.",
    later=tuple("ABCDEF"),  # `_check_letters` says more about empty ones
)


# 2b: the keys that induction looks at. Answers: tokens (..., position) -> boolean (..., query, key).


def _letters(generator):
    """Planted sequences, under other ids in each row.

    In the first, every mistake shows. The short ones are for the card, which takes the input with the fewest numbers.
    Texts of one token come last, and so many that the card shows them only if nothing else is wrong.
    """
    planted, abba, ababa, one = [0, 1, 1, 2, 0, 1, 3, 0, 2, 2, 1, 4, 0, 3], [0, 1, 1, 0], [0, 1, 0, 1, 0], [0]
    large = [((), planted), ((2,), planted), ((2, 3), planted)]
    for shape, text in [*large, ((), abba), ((), ababa), ((2,), abba), ((9,), one)]:
        names = [torch.randperm(1000, generator=generator)[:5] for _ in range(torch.Size(shape).numel())]
        yield (torch.stack(names)[:, text].reshape(*shape, len(text)),)
    # As long as the first, so that its target cannot be known by its length.
    yield (torch.randint(5, (len(planted),), generator=generator),)


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


def _one_column_more(ids):
    """The column of false in front, without dropping the last one."""
    return torch.nn.functional.pad(_marking(lambda ids, q, k: k < q and ids[k] == ids[q])(ids), (1, 0))


INDUCTION_TARGET = Exercise(
    "2b",
    "The keys that induction looks at",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_marking(_follows),
    inputs=_letters,
    single=("text", (1,)),
    mistakes={
        "you marked all equal tokens, the query's own and later ones too. First keep the earlier ones.": _marking(
            lambda ids, q, k: ids[k] == ids[q]
        ),
        "your table has one column too many: drop the last one.": _one_column_more,
        "you marked the earlier occurrences themselves: that is the duplicate-token target. Induction looks at what "
        "came after them, one key further to the right.": _marking(lambda ids, q, k: k < q and ids[k] == ids[q]),
        "you marked what came *before* the earlier occurrences. Induction looks at what came after: shift the table "
        "the other way.": _marking(lambda ids, q, k: k + 1 < q and ids[k + 1] == ids[q]),
        "your rows and columns are swapped: a row is a query, a column is a key.": _marking(
            lambda ids, q, k: _follows(ids, k, q)
        ),
        "some of your targets lie after the query, where no head can look. You counted the query's own occurrence, or "
        "a later one, as an earlier one.": _marking(lambda ids, q, k: k > 0 and ids[k - 1] == ids[q]),
        "you counted the query's own position among the earlier occurrences, but what comes after it lies in the "
        "future.": _marking(lambda ids, q, k: 0 < k <= q + 1 and ids[k - 1] == ids[q]),
        "one case is missing: in 'a a', what followed the first a is the second a, which is the query itself. The key "
        "may be the query.": _marking(lambda ids, q, k: k < q and _follows(ids, q, k)),
        "you marked what followed the latest occurrence only. All earlier occurrences count.": _marking(
            lambda ids, q, k: _follows(ids, q, k) and ids[q] not in ids[k:q]
        ),
        "you marked what followed the first occurrence only. All earlier occurrences count.": _marking(
            lambda ids, q, k: _follows(ids, q, k) and ids[q] not in ids[: k - 1]
        ),
        "you looked for the token that comes *next* among the earlier ones. The head has not seen that token yet, so "
        "it looks for the token at its own position.": _marking(
            lambda ids, q, k: k <= q and q + 1 < len(ids) and ids[k] == ids[q + 1]
        ),
    },
    praise="your function is right for equal neighbours, for batches, and for a single token, which has no target at "
    "all.",
)


# 2c: the second copy in another order. Answers: what becomes of the best induction head's score.


def _score_kept(prediction, before, after):
    said = choose(prediction, ["stays", "weakens", "vanishes"])
    kept = float(after) / float(before) if before else 1.0
    measured = "stays" if kept >= 0.9 else "weakens" if kept > 0.1 else "vanishes"
    case = (said, measured) if before >= 0.1 else "no induction"
    change = f"the head's score of {before:.3f} became {after:.3f}"
    by_token = "it finds what followed an earlier occurrence, wherever that stands now."
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
        "{change}. No head of this model does induction, so another order could not take it away.": lambda facts: (
            facts.case == "no induction" and facts.said != facts.measured
        ),
        "{change}. In the same order, more than the one token agrees: the answer is always equally far back, and the "
        "tokens before it agree too. The head used some of that.": _case("stays", "weakens"),
        "{change}. A head that only counts positions back would keep almost nothing. This head keeps more, because "
        "{by_token}": _case("vanishes", "weakens"),
        "{change}. The head needs neither the equal distance nor the tokens before, because {by_token}": _case(
            "weakens", "stays"
        ),
        "{change}. The head does not count positions back, because {by_token}": _case("vanishes", "stays"),
        "{change}. The head used something that depends on the order: the distance, or the tokens before.": _case(
            "stays", "vanishes"
        ),
        "{change}. The head used the order alone: the distance, or the tokens before.": _case("weakens", "vanishes"),
    },
    praise={
        "{change}. But no head of this model does induction, so there was nothing to lose.": lambda facts: (
            facts.case == "no induction"
        ),
        "{change}. The head uses the token, because it finds the answer at another distance. But it also uses more "
        "than the token, because it is less sure. The order changed the distance and the tokens before at once, so "
        "this does not say which of the two it misses.": _case("weakens", "weakens"),
        "{change}. The head uses the token, because {by_token}": _case("stays", "stays"),
        "{change}. The head scores high on repeated texts, but it does not look for the token: it uses the order. One "
        "kind of text was not enough to name it.": _case("vanishes", "vanishes"),
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
    single=("head", (2, 2, 1)),
    mistakes={
        "you averaged over padding too. Rows of padding hold numbers like all other rows, but they are not text. Leave "
        "out the queries for which the mask is False.": lambda p, v, mask: _shares(p, _norms(v))[..., 1:].mean(-1),
        "you left padding out of the sum but divided by all queries. Divide by the number of queries that count, which "
        "differs from text to text.": lambda p, v, mask: (_shares(p, _norms(v)) * mask[:, None])[..., 1:].mean(-1),
        "you counted the first query. It can look only at itself, so it takes everything from the first token. Leave "
        "it out.": lambda p, v, mask: (_shares(p, _norms(v)) * mask[:, None]).sum(-1) / mask.sum(-1)[:, None],
        "you divided by the number of tokens. The first query does not count, so divide by one "
        "less.": lambda p, v, mask: (_shares(p, _norms(v)) * mask[:, None])[..., 1:].sum(-1) / mask.sum(-1)[:, None],
        "you computed weight times norm, which is not yet a share. Divide it by the sum over all keys of the "
        "row.": lambda p, v, mask: _mean((p * _norms(v)[:, :, None])[..., 0], mask),
        "your result is attention alone, because the norms cancel: they are missing, the same for all keys, or given "
        "to the queries. A value belongs to the *key* that it is taken from.": lambda p, v, mask: _mean(
            p[..., 0], mask
        ),
        "you squared the norms. A value that is twice as long moves twice as much, not four "
        "times.": lambda p, v, mask: _mean(_shares(p, _norms(v) ** 2), mask),
        "you added up over queries before you divided. Every query has a share of its own, and the answer is the mean "
        "of these shares.": _sums_divided,
        "you returned one number for each head, but every text has numbers of its own. The shape is (text, "
        "head).": lambda p, v, mask: _slow_share(p, v, mask).mean(0),
        "you returned one number for each text, but every head has numbers of its own. The shape is (text, "
        "head).": lambda p, v, mask: _slow_share(p, v, mask).mean(1),
        "you matched the texts of the mask with the heads. The mask has no axis for heads, so add one with `None`.": (
            lambda p, v, mask: (_shares(p, _norms(v))[..., 1:] * mask[:, 1:]).sum(-1) / mask[:, 1:].sum(-1)
        ),
        "you took the norm over keys. Each key has one value vector, so take the norm over d_head, the last axis.": (
            lambda p, v, mask: _mean(_shares(p, v.norm(dim=-2)), mask)
        ),
    },
    praise="your function is right on random patterns, and for every head of the model it agrees with the survey.",
)


# 2e: an interval that knows what a text is. Answers: attention (text, query) and draws -> (low, high).


def _unlike_texts(generator):
    """Attention of texts that differ more than their queries do, around another mean each time."""
    for texts, queries, mean, spread in [(40, 30, 0.5, 0.02), (25, 60, 0.2, 0.015)]:
        of_text = torch.randn(texts, 1, generator=generator)
        mean = mean + 0.2 * torch.rand((), generator=generator)
        of_text = (of_text - of_text.mean()) / of_text.std() * spread * texts**0.5 + mean
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
        "every draw has the same mean, so your interval has no width. Draw with replacement, so that some texts come "
        "twice and others not at all.": lambda attention, draws: _ends(attention.mean().repeat(draws)),
        "your interval is too narrow, because you drew single tokens. The tokens of one text are alike, so they are "
        "not independent samples, and many tokens do not make up for few texts. Draw whole "
        "texts.": lambda attention, draws: _interval(attention.flatten(), draws),
        "your interval is too narrow, because you drew queries, the second axis, and kept all texts. Draw "
        "texts.": lambda attention, draws: _interval(attention.mean(0), draws),
        "your interval is too narrow: it reaches one standard error to either side, so it holds about two in three of "
        "the means. It should hold 95 in a hundred.": lambda attention, draws: _interval(
            attention.mean(1), draws, 0.683
        ),
        "your interval is too narrow: it holds 90 in a hundred of the means. To leave out 5 in a hundred, leave out "
        "2.5 at either end.": lambda attention, draws: _interval(attention.mean(1), draws, 0.9),
        "your interval is too wide: the *texts* lie between these ends, but the question is where their *mean* lies. "
        "Average over the texts of each draw.": lambda attention, draws: _ends(attention.mean(1)),
        "the lower end comes first: (low, high).": lambda attention, draws: _interval(attention.mean(1), draws).flip(0),
        "each end should be one number for all texts, but yours has a number for every "
        "query.": lambda attention, draws: torch.stack([attention.mean(0), attention.mean(0)]),
    },
    praise="your interval shows how much the texts differ, however many tokens they have.",
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
        f"your text has {length} tokens. In a short text the first token belongs to several kinds of key at once, so "
        f"take {TOKENS} tokens or more.",
    )
    pattern = _patterns_of(model, tokens[0])[layer, head]
    facts = []
    for name, make in TARGETS.items():
        target = make(tokens[0])
        queries = int(target.any(-1).sum())
        score, uniform = [target_score(each, target).item() if queries else 0.0 for each in (pattern, _uniform(length))]
        facts.append(SimpleNamespace(key=KEYS[name], score=score, uniform=uniform, queries=queries, length=length))
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


_GIVES = "head {head} gives {score:.3f} of its attention on your text to {key}"
NAME_FROM_TEXT = Exercise(
    "2f",
    "A text that names a nameless head",
    kind="Investigate",
    difficulty=3,
    points=3,
    measure=_name_on_text,
    mistakes={
        "head {head} has a name already, which is {kind}. Find a head that is diffuse or focused on the passages.": (
            lambda facts: facts.kind not in NAMELESS
        ),
        _GIVES
        + ", and less to every other kind of key. A name needs more than one half, so the head is {here} on your "
        "text too.": lambda facts: facts.score <= MAJORITY,
        _GIVES + ". But a head that looks at all keys alike would give {uniform:.3f}, because nearly every key of your "
        "text is such a key. Every head would get this name, so it says nothing.": lambda facts: (
            facts.uniform >= UNIFORM
        ),
        _GIVES + ". But only {queries} of {length} queries have such a key, so the score may be luck. At least "
        f"{QUERIES} queries are needed.": lambda facts: facts.queries < QUERIES,
        _GIVES + ". That is so near to one half that a similar text may give another result. Bring it above "
        f"{CLEARLY}.": lambda facts: facts.score <= CLEARLY,
    },
    praise="head {head} is {kind} on the passages, but on your text it gives {score:.3f} of its attention to {key}, "
    "over {queries} queries. A head that looks at all keys alike would give {uniform:.3f}. What in the text causes "
    "this? Change one thing at a time to find out.",
)


# 2g: what would a sharpened control look like? Answers: {"focused": how many heads of the control are focused,
# "named": how many have a name}.

AMOUNTS = ["none", "fewer", "as many"]


def _names(scores):
    """The names of the heads, without first-token heads: whether the control has some depends on its seed."""
    counted = TARGETS.keys() - {"first_token"}
    return [kind.replace("_", " ") for kind in classify(scores).flat if kind in counted]


def _counts(scores):
    named = len(_names(scores))  # first, because `classify` checks the scores
    return {"focused": int((scores["entropy_share"] < MAJORITY).sum()), "named": named}


def _counted(prediction, *, model_scores, control_scores):
    """How many heads are focused, and how many have a name other than first token, in the model and in the control.

    model_scores, control_scores: name -> (layer, head), as `classify` takes them.
    """
    model, control, said = _counts(model_scores), _counts(control_scores), {}
    for name, amount in zip(model, parts(prediction, model)):
        said[name] = choose(amount, AMOUNTS)
    # Both hold when neither has any.
    true = {name: {"none": control[name] == 0, "as many": 2 * control[name] >= model[name]} for name in model}
    right = {name: true[name].get(said[name], not any(true[name].values())) for name in model}
    kept = ", ".join(sorted({*_names(control_scores)}))
    return SimpleNamespace(model=model, control=control, said=said, right=right, kept=kept)


def _wrong(name, condition):
    """Whether a prediction is wrong, and the condition on (what was said, heads of the model, of the control) holds."""
    return lambda facts: not facts.right[name] and condition(facts.said[name], facts.model[name], facts.control[name])


_FOCUSED = (
    "the number of heads with an entropy share below one half is {model[focused]} in the model and {control[focused]} "
    "in the control"
)
_NAMED = (
    "the number of heads with a name other than first token is {model[named]} in the model and {control[named]} in the "
    "control"
)
_BOTH = _FOCUSED + ", and " + _NAMED
SHARPENED_CONTROL = Exercise(
    "2g",
    "What would a sharpened control look like?",
    kind="Read",
    difficulty=2,
    points=2,
    measure=_counted,
    mistakes={
        _FOCUSED + ", so there was no focus to lose.": _wrong(
            "focused", lambda _, model, control: model == control == 0
        ),
        _FOCUSED + ". Focus alone needs only large scores, because softmax then gives most of the attention to a few "
        "keys, whichever these are.": _wrong("focused", lambda said, _, control: said != "as many" and control > 0),
        _FOCUSED + ". The mean entropy is the same in both, but in the control it is spread over the heads in another "
        "way, so that not as many fall below one half.": _wrong("focused", lambda *_: True),
        _NAMED + ", so there was no name to lose.": _wrong("named", lambda _, model, control: model == control == 0),
        _NAMED + ". These names need queries and keys that fit, because most of the attention has to go to one kind of "
        "key. The permuted queries do not fit the keys, however large the scores are.": _wrong(
            "named", lambda said, model, control: control == 0
        ),
        _NAMED + ". Most names are lost, because these names need queries and keys that fit. But some remain "
        "({kept}), so large scores alone may give a head such a name.": _wrong(
            "named", lambda said, model, control: 2 * control < model
        ),
        _NAMED
        + ". The queries of the control do not fit its keys, but its heads have names ({kept}). So such a name does "
        "not yet show that a head looks for its key.": _wrong("named", lambda *_: True),
    },
    praise={
        _BOTH + ". The model has no names that this control could test.": lambda facts: not facts.model["named"],
        _BOTH
        + ". Some heads of the control have a name ({kept}) although their queries do not fit their keys. So large "
        "scores alone may explain such names in this model.": lambda facts: facts.control["named"],
        _BOTH
        + ". Focus alone needs only large scores, but these names need queries and keys that fit. So large scores do "
        "not explain the names of this model. This is one control, and it leaves other explanations "
        "open.": lambda facts: facts.control["focused"],
        _BOTH + ". These names need queries and keys that fit. So large scores do not explain the names of this model. "
        "This is one control, and it leaves other explanations open.": lambda facts: True,
    },
)


# 2h: a kind of head of your own. Answers: {"target": tokens (position,) -> boolean (query, key), "head": the one that
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
            target.dtype == torch.bool,
            f"a target says yes or no, so it holds torch.bool; yours holds {target.dtype}. Make it from comparisons.",
        )
        require(
            torch.equal(target, again), "your target differs from call to call: the same ids must give the same keys."
        )
        require(
            not target.triu(1).any(),
            "your target marks keys after the query, where no head can look. Rows are queries and columns are keys.",
        )
        end = 1 + int(torch.randint(len(ids), (), generator=fresh()))
        require(
            torch.equal(make(ids[:end]), target[:end, :end]),
            f"your target looks ahead: of the first {end} ids alone it marks other keys than of the whole text. No "
            "head sees what comes after its query, so go by the ids up to the query.",
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
            f"your target is the {name.replace('_', ' ')} target, which the course has already. Think of another kind "
            "of key.",
        )
    chance = sum(target_score(_uniform(len(ids)), target) for ids, target in pairs) / len(pairs)
    require(
        chance < MAJORITY,
        f"your target marks so many keys that a head that looks at all keys alike gives it {chance:.3f}. Heads that "
        "look nowhere in particular would get its name, so mark fewer keys.",
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


def _verdict(score, chance, shuffled, named):
    if score < 2 * chance:
        return "no head stands out. That is a finding too, so report it as one."
    order = (
        "its score changes when the tokens are shuffled"
        if abs(shuffled - score) > 0.1 * score
        else "the head does the same when the tokens are shuffled"
    )
    if named <= score / 2:
        return f"{order}. All but {named:.3f} of this attention goes to keys that none of the five names covers."
    return (
        f"{order}. Of this attention {named:.3f} goes to keys that a name covers already, so say what your name adds."
    )


OWN_KIND = Exercise(
    "2h",
    "A kind of head of your own",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_own_kind,
    mistakes={
        "head {head} gives your target {score:.3f} of its attention, but another head gives it {top:.3f}. Take "
        "the head that gives most.": lambda facts: facts.score <= facts.top - ROUNDED,
        "your `score` is the mean over all heads. Give the score of your head.": gives("score", "mean_score", ROUNDED),
        "your `score` was measured on the shuffled texts. Give the score on the texts in order.": gives(
            "score", "shuffled", ROUNDED
        ),
        "your `chance` spreads attention over all keys of the text. A query sees no key after it, so spread the "
        "attention over the keys up to the query.": gives("chance", "chance_all_keys", ROUNDED),
        "you divided `chance` by all queries. Only the queries that have a target count, as in the score.": gives(
            "chance", "chance_all_queries", ROUNDED
        ),
        "your `chance` is one mean over the queries of all texts. Average it within each text first, as `score_all` "
        "does, so that the two can be compared.": gives("chance", "chance_all_texts", ROUNDED),
        "your `shuffled` is the highest score of any head on the shuffled texts. Take the same head as before.": gives(
            "shuffled", "top_shuffled", ROUNDED
        ),
        "your `shuffled` is the score on the texts in order. Measure it on the shuffled texts.": gives(
            "shuffled", "score", ROUNDED
        ),
    }
    | {
        f"for `{name}` your answer is {{said[{name}]:.3f}} where it should be {{{name}:.3f}}.": off(name, ROUNDED)
        for name in NUMBERS
    },
    praise="head {head} gives your target {score:.3f} of its attention. A head that looks at all keys alike would give "
    "{chance:.3f}, and on the shuffled texts this head gives {shuffled:.3f}: {verdict}",
)

EXERCISES = [
    GUESS_THE_HEAD,
    INDUCTION_TARGET,
    OTHER_ORDER,
    TAKEN_FROM_FIRST,
    INTERVAL,
    NAME_FROM_TEXT,
    SHARPENED_CONTROL,
    OWN_KIND,
]
