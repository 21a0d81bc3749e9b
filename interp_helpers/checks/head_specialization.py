"""Checkers of notebook 02: scores, targets, classes and what they rest on."""

import torch

from .judging import Wrong, as_tensor, choose, compare, fresh, random_pattern, require, shown, watched

# Of a text that gives a head a name: tokens, queries that count, the score, and what even attention may score there.
TOKENS, QUERIES, CLEARLY, EVEN = 30, 10, 0.6, 0.25
# A number of the project may be rounded to three decimals.
ROUNDED = 6e-4


def current_token_score(score):
    """A score for the current token.

    score: pattern `(..., query, key)` -> `(...,)`: mean attention from each token to itself, without the first.
    """
    generator = fresh()
    for shape in [(3, 3), (2, 4, 6, 6), (5, 2, 2)]:
        pattern = random_pattern(*shape, generator=generator)
        whole = pattern.diagonal(dim1=-2, dim2=-1)
        mistakes = {
            "you counted the first query. It can look at itself only, so it gives 1 whatever the head does; leave it "
            "out.": whole.mean(-1),
            "that is the diagonal below the main one: attention to the token before.": pattern.diagonal(
                -1, -2, -1
            ).mean(-1),
            "you divided by all queries. The first does not count, so divide by one less.": whole[..., 1:].sum(-1)
            / shape[-1],
            "you took the diagonal of the first two axes. `diagonal` does that by itself; name query and key with "
            "dim1=-2, dim2=-1.": pattern.diagonal()[..., 1:].mean(-1),
            "that is one number for all heads. Average over queries only: one number a head.": whole[..., 1:].mean(),
        }
        compare(score(pattern), whole[..., 1:].mean(-1), mistakes, given=f"a pattern of shape {shape}")
    return "heads, batches and short texts, all by the same line."


def induction_target(target):
    """The keys that induction looks at.

    target: ids `(..., position)` -> boolean `(..., query, key)`: what followed earlier occurrences of the
    query's token.
    """
    generator = fresh()
    for shape in [(14,), (2, 14), (2, 3, 14), (1,)]:
        ids = _letters(shape, generator)
        made = target(ids)
        mistakes = {
            "you marked the earlier occurrences themselves: that is the duplicate-token target. Induction looks at "
            "what came after them, one key further to the right.": _marked(
                ids, lambda ids, q, k: k < q and ids[k] == ids[q]
            ),
            "you marked what came *before* the earlier occurrences. Induction looks at what came after: shift the "
            "table the other way.": _marked(ids, lambda ids, q, k: k + 1 < q and ids[k + 1] == ids[q]),
            "your rows and columns are swapped: a row is a query, a column is a key.": _marked(
                ids, lambda ids, q, k: _follows(ids, k, q)
            ),
            "some of your targets lie after the query, where no head can look: the query's own occurrence, or a later "
            "one, was counted as an earlier one.": _marked(ids, lambda ids, q, k: k > 0 and ids[k - 1] == ids[q]),
            "a query's own position was counted among the earlier occurrences; what comes after it lies in the "
            "future.": _marked(ids, lambda ids, q, k: 0 < k <= q + 1 and ids[k - 1] == ids[q]),
            "one case is missing: in 'a a', what followed the first a is the second a, the query itself. A key may be "
            "the query.": _marked(ids, lambda ids, q, k: k < q and _follows(ids, q, k)),
            "you marked what followed the latest occurrence only. All earlier ones count.": _marked(
                ids, lambda ids, q, k: _follows(ids, q, k) and ids[q] not in ids[k:q]
            ),
            "you marked what followed the first occurrence only. All earlier ones count.": _marked(
                ids, lambda ids, q, k: _follows(ids, q, k) and ids[q] not in ids[: k - 1]
            ),
            "you looked for the token that comes *next* among the earlier ones. The head has not seen it yet; it goes "
            "by the token it stands on.": _marked(
                ids, lambda ids, q, k: k <= q and q + 1 < len(ids) and ids[k] == ids[q + 1]
            ),
        }
        right = _marked(ids, _follows)
        compare(made, right, mistakes, given=f"ids of shape {shape}, some of them in a row")
    return "neighbours that are alike, batches, and a single token that has no target at all."


def _letters(shape, generator):
    """Ids `(..., 14)`: a planted sequence in which every mistake shows, under other ids in each row; `(1,)`: one id."""
    if shape == (1,):
        return torch.randint(1000, shape, generator=generator)
    planted = torch.tensor([0, 1, 1, 2, 0, 1, 3, 0, 2, 2, 1, 4, 0, 3])
    rows = torch.Size(shape[:-1]).numel()
    names = torch.stack([torch.randperm(1000, generator=generator)[:5] for _ in range(rows)])
    return names[:, planted].reshape(shape)


def _follows(ids, query, key):
    """Whether a key is what followed an earlier occurrence of a query's token."""
    return 0 < key <= query and ids[key - 1] == ids[query]


def _marked(ids, rule):
    """The target that a rule for (ids, query, key) makes, row by row; ids `(..., position)`."""
    length = ids.shape[-1]
    rows = [
        [[bool(rule(row, query, key)) for key in range(length)] for query in range(length)]
        for row in ids.reshape(-1, length).tolist()
    ]
    return torch.tensor(rows).reshape(*ids.shape, length)


def other_order(prediction, before, after):
    """The second copy in another order.

    prediction: "stays", "weakens" or "vanishes": what becomes of the best induction head's score when the tokens of the
    second copy come in another order. before, after: the score, measured both ways.
    """
    said = choose(prediction, ["stays", "weakens", "vanishes"])
    before, after = float(before), float(after)
    kept = after / before if before else 1.0
    measured = "stays" if kept >= 0.9 else "weakens" if kept > 0.1 else "vanishes"
    change = f"{before:.3f} became {after:.3f}"
    if before < 0.1:
        require(said == measured, f"{change}. No head of this model does induction: what could another order change?")
        return f"{change}. But no head of this model does induction, so there was nothing to lose."
    by_token = "it does find what followed an earlier occurrence, wherever that stands now."
    reasons = {
        ("weakens", "stays"): f"{change}. In the same order more agrees than the one token: every answer lies equally "
        "far back, and the tokens before agree too. The head made use of some of that.",
        ("weakens", "vanishes"): f"{change}. A head that only counts positions back would keep next to nothing. This "
        f"one keeps more: {by_token}",
        ("stays", "weakens"): f"{change}. The same distance and the tokens before were of no use to it: {by_token}",
        ("stays", "vanishes"): f"{change}. It does not count positions back: {by_token}",
        (
            "vanishes",
            "stays",
        ): f"{change}. It went by something that the order gave: the distance, or the tokens before.",
        ("vanishes", "weakens"): f"{change}. It went by the order alone: by the distance, or by the tokens before.",
    }
    require(said == measured, reasons.get((measured, said), ""))
    return {
        "weakens": f"{change}. The head goes by the token, for it finds the answer at another distance; and it goes by "
        "more than the token, for it is less sure. The order changed the distance and the tokens before at once, so "
        "this does not say which of the two it misses.",
        "stays": f"{change}. The head goes by the token: {by_token}",
        "vanishes": f"{change}. High on repeated texts, and yet the head does not look for the token: it goes by the "
        "order. One kind of text was too few to name it.",
    }[measured]


def taken_from_first(share, model, batch):
    """What a head takes from the first token.

    share: pattern `(text, head, query, key)`, values `(text, head, key, d_head)`, mask `(text, position)` ->
    `(text, head)`: the mean share of what a query takes that comes from the first token, values' norms counted, over
    the tokens but the first. model, batch: (tokens, mask), to run it on, beside random numbers.
    """
    generator = fresh()
    # In the first shape heads are as many as texts, and a value as long as a text, so that swapped axes still fit.
    for (texts, heads, length, d_head), lengths in [
        ((3, 3, 7, 7), [7, 4, 2]),
        ((2, 5, 9, 3), [5, 9]),
        ((1, 2, 4, 6), [3]),
    ]:
        pattern = random_pattern(texts, heads, length, length, generator=generator)
        values = torch.randn(texts, heads, length, d_head, generator=generator)
        values = values * torch.rand(texts, heads, length, 1, generator=generator).add(0.2)
        mask = torch.arange(length) < torch.tensor(lengths)[:, None]
        right, mistakes = _slow_share(pattern, values, mask), {}
        norms = values.norm(dim=-1)
        moved = pattern * norms[:, :, None]
        shares = moved[..., 0] / moved.sum(-1)
        chosen = mask[:, None, 1:]
        counts = chosen.sum(-1)

        def masked(numbers, chosen=chosen, counts=counts):
            return (numbers[..., 1:] * chosen).sum(-1) / counts

        mistakes = {
            "you averaged over padding too. Rows of padding hold numbers like all others, but no text: leave out the "
            "queries for which the mask is False.": shares[..., 1:].mean(-1),
            "you left padding out of the sum but divided by all queries. Divide by the number that count, text by "
            "text.": (shares[..., 1:] * chosen).sum(-1) / (length - 1),
            "you counted the first query. It can look at itself only, so it takes all from the first token; leave it "
            "out.": (shares * mask[:, None]).sum(-1) / mask.sum(-1)[:, None],
            "you divided by the number of tokens; the first does not count, so it is one less.": (
                shares[..., 1:] * chosen
            ).sum(-1)
            / mask.sum(-1)[:, None],
            "that is weight times norm, not yet a share: divide by the sum over all keys of the row.": masked(
                moved[..., 0]
            ),
            "that is attention alone. The norms are missing, or they went to queries, where they cancel: a value "
            "belongs to the *key* that it is taken from.": masked(pattern[..., 0]),
            "you squared the norms. A value twice as long moves twice as much.": masked(
                pattern[..., 0] * norms[..., :1] ** 2 / (pattern * norms[:, :, None] ** 2).sum(-1)
            ),
            "you added up over queries before you divided. Every query has a share of its own; their mean is asked "
            "for.": (moved[..., 1:, 0] * chosen).sum(-1) / (moved.sum(-1)[..., 1:] * chosen).sum(-1),
            "that is one number a head. Every text has its own.": right.mean(0),
            "that is one number a text. Every head has its own.": right.mean(1),
        }
        if texts == heads:
            across = mask[None, :, 1:]
            mistakes[
                "the mask's texts were laid over the heads. The mask has no axis for heads: put one in, by `None`."
            ] = (shares[..., 1:] * across).sum(-1) / across.sum(-1)
        if length == d_head:
            wrong = pattern * values.norm(dim=-2)[:, :, None]
            mistakes[
                "you took the norm over keys. Each key has one value vector; its norm runs over d_head, the last axis."
            ] = masked(wrong[..., 0] / wrong.sum(-1))
        given = f"a pattern of shape {tuple(pattern.shape)} and texts of {lengths} tokens"
        compare(share(pattern, values, mask), right, mistakes, given=given)
    _agrees_with_survey(share, model, batch)
    return "on random patterns, and for every head of the model it agrees with the survey."


def _slow_share(pattern, values, mask):
    """The answer of 2d by its definition, one query at a time."""
    found = torch.zeros(pattern.shape[:2])
    for text, head in torch.cartesian_prod(*map(torch.arange, pattern.shape[:2])).tolist():
        shares = []
        for query in range(1, int(mask[text].sum())):
            taken = [pattern[text, head, query, key] * values[text, head, key].norm() for key in range(query + 1)]
            shares.append(taken[0] / sum(taken))
        found[text, head] = sum(shares) / len(shares)
    return found


@torch.no_grad()
def _agrees_with_survey(share, model, batch):
    from ..capture import visit_attention
    from ..survey import survey

    tokens, mask = (each[:2] for each in batch)
    found = []

    def visit(layer, pattern, values):
        found.append(as_tensor(share(pattern.detach().cpu(), values.detach().cpu(), mask)))

    with visit_attention(model, visit):
        model.base_model(tokens.to(model.device), attention_mask=mask.long().to(model.device), use_cache=True)
    right = survey(model, [(tokens, mask)], per_text=True)["value_weighted_first_token"]
    for layer, each in enumerate(found):
        compare(each, right[:, layer], {}, given=f"layer {layer} of the model", tolerance=1e-4)


def interval_over_texts(interval):
    """An interval that knows what a text is.

    interval: attention `(text, query)`, draws -> (low, high): the middle 95 per cent of the means of `draws` samples of
    texts, each of as many texts as there are, drawn with replacement.
    """
    generator, draws = fresh(), 4000
    for texts, queries in [(40, 30), (25, 60)]:
        of_text = torch.randn(texts, 1, generator=generator) * 0.12 + 0.5
        attention = of_text + torch.randn(texts, queries, generator=generator) * 0.05
        found = interval(attention, draws)
        try:
            low, high = found
        except (TypeError, ValueError):
            raise Wrong(f"the answer is two numbers, (low, high); yours is {shown(found)}.") from None
        low, high = (as_tensor(each, "each end of the interval") for each in (low, high))
        require(
            low.numel() == high.numel() == 1,
            "each end should be one number for all texts; yours are tensors of shape "
            f"{tuple(low.shape)} and {tuple(high.shape)}.",
        )
        low, high = low.item(), high.item()
        require(low <= high, "the lower end comes first: (low, high).")
        _judge_interval(attention.double(), low, high, generator)
    return "the interval is as wide as texts make it, whatever the number of tokens."


def _judge_interval(attention, low, high, generator):
    """Raise Wrong unless the interval is that of the mean over texts; name the mistake by how wide it is."""
    means = attention.mean(1)
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    drawn = means[torch.randint(len(means), (20000, len(means)), generator=generator)].mean(1)
    wanted = drawn.quantile(ends)
    width = (wanted[1] - wanted[0]).item()
    ratio = (high - low) / width
    error = means.std(correction=0) / len(means) ** 0.5  # of the mean over texts
    widths = {  # mistake: (its width as a share of the right one, how far off it may be)
        "every draw has the same mean, so your interval has no width. Draw with replacement: some texts come twice, "
        "others not at all.": (0.0, 1e-3),
        "too narrow: you drew single tokens. The tokens of one text are alike, so they are no independent samples, and "
        "many of them do not make up for few texts. Draw whole texts.": (
            (attention.std() / attention.numel() ** 0.5 / error).item(),
            0.02,
        ),
        "too narrow: you drew queries, the second axis, and kept all texts. Draw texts.": (
            (attention.mean(0).std() / attention.shape[1] ** 0.5 / error).item(),
            0.02,
        ),
        "too narrow: that is one standard error to either side, which holds about two in three of the means. 95 in a "
        "hundred are asked for.": (1 / 1.96, 0.05),
        "too narrow: that interval holds 90 in a hundred of the means. To leave out 5 in a hundred, leave out 2.5 at "
        "either end.": (1.645 / 1.96, 0.05),
        "too wide: between these ends lie the *texts*; the question is where their *mean* lies. Average over the texts "
        "of each draw.": (((means.quantile(ends)[1] - means.quantile(ends)[0]) / width).item(), 1.0),
    }
    if not 0.9 < ratio < 1.12:
        for message, (share, tolerance) in widths.items():
            require(abs(ratio - share) > tolerance, message)
        raise Wrong(f"your interval is {ratio:.2f} times as wide as it should be.")
    off = abs((low + high) / 2 - means.mean().item()) / width
    require(
        off < 0.2, f"your interval has the right width, but its middle, {(low + high) / 2:.3f}, is not near the mean."
    )


def a_name_from_one_text(found, model, tokenizer, kinds):
    """A text that names a nameless head.

    found: {"head": "layer.head", "text": a text}: a head that is broad or focused in `kinds` `(layer, head)`, and a
    text of 30 tokens or more on which one target gets clearly more than half of its attention, though even attention
    would give it little, and many queries have one.
    """
    from ..errors import TextError
    from ..heads import TARGETS, entropy_share
    from ..texts import encode

    found = _parts(found, ["head", "text"])
    layer, head, name = _head(found["head"], kinds.shape)
    require(isinstance(found["text"], str), f"the text should be a string; it is {shown(found['text'])}.")
    require(
        kinds[layer, head] in ("broad", "focused"),
        f"head {name} has a name already: {kinds[layer, head]}. Find one that is broad or focused on the passages.",
    )
    try:
        ids = encode(tokenizer, found["text"], context=model.config.max_position_embeddings)
    except TextError as problem:
        raise Wrong(str(problem)) from problem
    length = ids.shape[1]
    require(
        length >= TOKENS,
        f"your text has {length} tokens. On short ones a sink passes for anything; take {TOKENS} or more.",
    )
    with torch.no_grad():
        pattern = model(ids.to(model.device), output_attentions=True).attentions[layer][0, head].cpu()
    rows = {}
    for kind, make in TARGETS.items():
        target = make(ids[0])
        rows[kind] = [_mean_to(each, target) for each in (pattern, _even(length))] + [int(target.any(-1).sum())]
    kind = next((each for each in TARGETS if rows[each][0] > CLEARLY and _counts(rows[each])), None)
    if kind is None:
        kind = max(rows, key=lambda each: rows[each][0])
        score, even, queries = rows[kind]
        what = f"{kind.replace('_', ' ')} gets {score:.3f} of head {name}'s attention on your text"
        require(
            score > 0.5,
            f"{what}, more than any other target does: that gives it no name. It is "
            f"{'focused' if entropy_share(pattern) < 0.5 else 'broad'} here too.",
        )
        require(
            even < EVEN,
            f"{what}, but even attention would give it {even:.3f}: on this text nearly every key is such a key, so "
            "every head gets the name, and it says nothing.",
        )
        require(
            queries >= QUERIES,
            f"{what}, but so few queries have such a key ({queries} of {length}) that the score is luck; "
            f"{QUERIES} are needed.",
        )
        raise Wrong(
            f"{what}. So near to one half, another text like yours may say otherwise; bring it above {CLEARLY}."
        )
    score, even, queries = rows[kind]
    return (
        f"head {name}, {kinds[layer, head]} on the passages, gives {score:.3f} to {kind.replace('_', ' ')} on your "
        f"text, over {queries} queries; even attention would give {even:.3f}. What about the text calls for it? Change "
        "one thing at a time."
    )


def _counts(row):
    _, even, queries = row
    return even < EVEN and queries >= QUERIES


def own_kind(project, model, texts, mixed):
    """A kind of head of your own.

    project: {"target": ids `(position,)` -> boolean `(query, key)`, "head": the one that scores highest on it,
    "layer.head", "score": its score on texts, "chance": what even attention would score there, "shuffled": the same
    head's score on mixed}. texts, mixed: lists of ids `(position,)`; scores are means over the texts that have a
    target.
    """
    project = _parts(project, ["target", "head", "score", "chance", "shuffled"])
    require(callable(project["target"]), f"the target should be a function; it is {shown(project['target'])}.")
    targets = _checked_targets(watched(project["target"]), texts)
    scores, known = _scores(model, texts, targets)
    layer, head, name = _head(project["head"], scores.shape)
    top = scores.max().item()
    require(
        scores[layer, head] > top - ROUNDED,
        f"head {name} gives your target {scores[layer, head]:.3f} of its attention, but another gives it {top:.3f}. "
        "Take the one that gives most.",
    )
    other, _ = _scores(model, mixed, [watched(project["target"])(ids) for ids in mixed])
    pairs = _having(texts, targets)
    queries = torch.tensor([target.any(-1).sum() for _, target in pairs])
    chances = torch.stack([_mean_to(_even(len(ids)), target) for ids, target in pairs])
    all_queries = torch.stack([_mean_to(_even(len(ids)), target, all_queries=True) for ids, target in pairs])
    all_keys = torch.stack([target.sum() / target.any(-1).sum() / len(ids) for ids, target in pairs])
    score, shuffled = scores[layer, head], other[layer, head]
    compare(
        project["score"],
        score,
        {
            "`score` is the mean over all heads; give that of your head.": scores.mean(),
            "`score` is your head's on the shuffled texts.": shuffled,
        },
        given="`score`",
        tolerance=ROUNDED,
    )
    compare(
        project["chance"],
        chances.mean(),
        {
            "`chance` spreads attention over all keys of the text. A query sees no key after it: spread it over the "
            "keys up to the query.": all_keys.mean(),
            "`chance` was divided by all queries; only those that have a target count, as in the "
            "score.": all_queries.mean(),
            "`chance` is one mean over the queries of all texts. Take it text by text, as `score_all` does, so that "
            "the two can be compared.": (chances * queries).sum() / queries.sum(),
        },
        given="`chance`",
        tolerance=ROUNDED,
    )
    compare(
        project["shuffled"],
        shuffled,
        {
            "`shuffled` is the highest score of any head there. Take the same head as before.": other.max(),
            "`shuffled` is the score on the texts in order once more.": score,
        },
        given="`shuffled`",
        tolerance=ROUNDED,
    )
    return _verdict(name, score.item(), chances.mean().item(), shuffled.item(), known[layer, head].item())


def _verdict(name, score, chance, shuffled, known):
    measured = f"head {name} gives your target {score:.3f}, where even attention gives {chance:.3f}"
    if score < 2 * chance:
        return f"{measured}: no head stands out. That is a finding too; report it as one."
    order = (
        "the order of the words matters to it" if abs(shuffled - score) > 0.1 * score else "it goes on when shuffled"
    )
    new = (
        f"{known:.3f} of it goes to keys that one of the five names covers, so say what your name adds."
        if known > score / 2
        else f"all but {known:.3f} of it goes to keys that none of the five names covers."
    )
    return f"{measured} and shuffled words {shuffled:.3f}: {order}. And {new}"


def _having(texts, targets):
    """(ids, target) of the texts that have a target."""
    return [(ids, target) for ids, target in zip(texts, targets) if target.any()]


def _checked_targets(make, texts):
    """The student's targets of all texts, boolean; Wrong when they are none, or none of their own."""
    from ..heads import TARGETS

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
        targets.append(target.cpu())
    having = sum(bool(target.any()) for target in targets)
    require(
        having >= min(8, len(texts)),
        f"only {having} of {len(texts)} texts have your target: too few to score heads by. Choose keys that are "
        "there more often.",
    )
    for name, known in TARGETS.items():
        require(
            not all(torch.equal(target, known(ids)) for ids, target in zip(texts, targets)),
            f"that is the {name.replace('_', ' ')} target, which the course has already. Think of another kind of key.",
        )
    even = sum(_mean_to(_even(len(ids)), target) for ids, target in _having(texts, targets)) / having
    require(
        even < 0.5,
        f"your target marks so many keys that even attention gives it {even:.3f}. A name by majority would go to heads "
        "that look nowhere in particular; mark fewer keys.",
    )
    return targets


@torch.no_grad()
def _scores(model, texts, targets):
    """(layer, head): mean attention to the targets, over the texts that have one; and what of it is of a known kind."""
    from ..heads import TARGETS

    found = []
    for ids, target in _having(texts, targets):
        patterns = torch.cat(model.base_model(ids[None].to(model.device), output_attentions=True).attentions).cpu()
        named = torch.stack([make(ids) for make in TARGETS.values()]).any(0)
        queries = target.any(-1).sum()
        found.append(torch.stack([(patterns * each).sum((-2, -1)) / queries for each in (target, target & named)]))
    require(found, "in the shuffled texts your target never occurs, so nothing can be compared there.")
    return torch.stack(found).double().mean(0)


def _even(length):
    """The pattern of a head that looks at all keys alike, `(query, key)`."""
    return torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]


def _mean_to(pattern, target, all_queries=False):
    """Mean attention to a target `(query, key)`, over the queries that have one; 0 where none has."""
    queries = len(target) if all_queries else target.any(-1).sum().clamp(min=1)
    return (pattern * target).sum() / queries


def _parts(found, names):
    """The parts of an answer that is a dictionary; Wrong when it is none, or parts are missing."""
    require(isinstance(found, dict), f"the answer is a dictionary with {', '.join(names)}; yours is {shown(found)}.")
    missing = [name for name in names if found.get(name) is None]
    require(not missing, f"still missing from the dictionary: {', '.join(missing)}.")
    return found


def _head(name, shape):
    """(layer, head, its name) from "layer.head"; Wrong when there is no such head."""
    try:
        layer, head = (int(each) for each in name.split("."))
    except (AttributeError, ValueError):
        raise Wrong(f'a head is named by layer and head in quotes, like "0.1"; yours is {shown(name)}.') from None
    require(
        0 <= layer < shape[0] and 0 <= head < shape[1],
        f"there is no head {name}: layers go from 0 to {shape[0] - 1}, heads from 0 to {shape[1] - 1}.",
    )
    return layer, head, f"{layer}.{head}"


CHECKERS = [
    current_token_score,
    induction_target,
    other_order,
    taken_from_first,
    interval_over_texts,
    a_name_from_one_text,
    own_kind,
]
