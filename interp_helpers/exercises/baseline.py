"""Exercises of notebook 01: the next token's probabilities, one head by hand, what patterns show, hooks and losses."""

import math
from types import SimpleNamespace

import torch

from ..errors import TextError
from ..models import context_length
from ..text import encode, token_labels
from .judging import (
    Exercise,
    Wrong,
    after,
    as_tensor,
    causal,
    choose,
    fresh,
    parts,
    random_pattern,
    require,
    require_function,
    same,
    shown,
)

# 1a: temperature and top-p. Answers: logits (..., vocabulary), temperature and top_p -> (..., vocabulary).


def _logits(generator):
    # Many rows, so that no two mistakes keep the same tokens in all of them.
    for shape, temperature, top_p in [((30, 9), 0.6, 0.6), ((2, 3, 5), 1.5, 0.5), ((4, 7), 2.0, 1.0)]:
        yield torch.randn(*shape, generator=generator), temperature, top_p
    # A token has more than top_p by itself, but not nearly 1, which would look like rounding on the card.
    peaked = torch.rand(8, generator=generator)
    peaked[torch.randint(8, (), generator=generator)] += 2
    yield peaked, 0.7, 0.3


def _token_by_token(logits, temperature, top_p):
    rows = (logits / temperature).softmax(-1).reshape(-1, logits.shape[-1])
    kept = torch.zeros_like(rows)
    for row, probabilities in zip(kept, rows):
        for token in probabilities.argsort(descending=True):
            if row.sum() < top_p:
                row[token] = probabilities[token]
    return _divided(kept).reshape(logits.shape)


def _softmax(logits, temperature):
    return (logits / temperature).softmax(-1)


def _divided(probabilities):
    return probabilities / probabilities.sum(-1, keepdim=True)


def _before(ordered):
    """Of sorted probabilities, how much the tokens before each one have together."""
    return ordered.cumsum(-1) - ordered


def _chosen(probabilities, rule, descending=True):
    """Which tokens a rule for the sorted probabilities keeps, in the order of the vocabulary."""
    ordered, order = probabilities.sort(-1, descending=descending)
    kept = rule(ordered)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _is_kept(probabilities, top_p):
    return _chosen(probabilities, lambda ordered: _before(ordered) < top_p)


def _cut(probabilities, top_p):
    return _divided(probabilities * _is_kept(probabilities, top_p))


def _keeping(rule):
    """The function that keeps tokens by a rule for (sorted probabilities, top_p)."""

    def answer(logits, temperature, top_p):
        probabilities = _softmax(logits, temperature)
        return _divided(probabilities * _chosen(probabilities, lambda ordered: rule(ordered, top_p)))

    return answer


def _longest_for_all(ordered, top_p):
    """Of sorted probabilities, as many in every row as the row with the longest set needs."""
    return torch.arange(ordered.shape[-1]).expand(ordered.shape) < (_before(ordered) < top_p).sum(-1).max()


def _least_for_all(logits, temperature, top_p):
    probabilities = _softmax(logits, temperature)
    return _divided(probabilities * (probabilities >= probabilities[_is_kept(probabilities, top_p)].min()))


def _least_probable(logits, temperature, top_p):
    probabilities = _softmax(logits, temperature)
    kept = _chosen(probabilities, lambda ordered: _before(ordered) < top_p, descending=False)
    return _divided(probabilities * kept)


def _zero_logits(logits, temperature, top_p):
    kept = _is_kept(_softmax(logits, temperature), top_p)
    return (logits / temperature * kept).softmax(-1)


def _divided_by_all(logits, temperature, top_p):
    probabilities = _softmax(logits, temperature)
    kept = probabilities * _is_kept(probabilities, top_p)
    return kept / kept.sum()


TEMPERATURE_TOP_P = Exercise(
    "1a",
    "Temperature and top-p",
    kind="Build",
    difficulty=2,
    points=2,
    reference=_token_by_token,
    inputs=_logits,
    single=("row", (1, None, None)),
    mistakes={
        "you multiplied the logits by the temperature. Divide by it, so that a temperature above 1 makes the "
        "distribution flatter.": lambda logits, t, p: _cut(_softmax(logits, 1 / t), p),
        "you kept every token, so top_p changes nothing. In each row by itself, keep the most probable tokens until "
        "their sum reaches top_p.": lambda logits, t, p: _softmax(logits, t),
        "the temperature changes nothing: it is unused, or you divided probabilities by it and the last division undid "
        "that. Divide the logits.": lambda logits, t, p: _cut(_softmax(logits, 1), p),
        "you divided the probabilities by the temperature. Divide the logits, before the softmax.": (
            lambda logits, t, p: _divided(_softmax(logits, 1) * _is_kept(_softmax(logits, 1) / t, p))
        ),
        "you chose the tokens to keep before you applied the temperature. The temperature comes first, because it "
        "changes how many tokens are needed to reach top_p.": lambda logits, t, p: _divided(
            _softmax(logits, t) * _is_kept(_softmax(logits, 1), p)
        ),
        "you left out the token at which the sum reaches top_p. It belongs to the set that you keep. Without it "
        "nothing is left when the most probable token alone has more than top_p.": _keeping(
            lambda ordered, p: ordered.cumsum(-1) <= p
        ),
        "you kept one token too many: after the token at which the sum reaches top_p, no other is needed.": _keeping(
            lambda ordered, p: torch.nn.functional.pad(_before(ordered), (1, 0))[..., :-1] < p
        ),
        "you kept the tokens that have more than 1 - top_p by themselves. Top-p goes by a sum: add up the "
        "probabilities, the largest first, until they reach top_p.": _keeping(lambda ordered, p: ordered > 1 - p),
        "you kept the tokens that have top_p or more by themselves. Top-p goes by a sum: add up the probabilities, the "
        "largest first, until they reach top_p.": _keeping(lambda ordered, p: ordered >= p),
        "you kept the least probable tokens, because `sort` begins with the smallest unless you give it "
        "descending=True.": _least_probable,
        "the tokens that you kept do not sum to 1 any more. Divide them by their sum.": lambda logits, t, p: (
            _softmax(logits, t) * _is_kept(_softmax(logits, t), p)
        ),
        "your probabilities are in sorted order. Put them back to where their tokens are in the vocabulary.": (
            lambda logits, t, p: _cut(_softmax(logits, t).sort(-1, descending=True).values, p)
        ),
        "your softmax runs over the first axis. The tokens of the vocabulary share the probability, so it runs over "
        "the last axis.": lambda logits, t, p: _cut((logits / t).softmax(0), p),
        "you added up the sorted probabilities over the first axis. Every row has a set of its own, so add up over the "
        "last axis.": _keeping(lambda ordered, p: ordered.cumsum(0) - ordered < p),
        "you chose one set of tokens for the whole batch. Every row is a distribution, and has a set of its own.": (
            lambda logits, t, p: _cut(_softmax(logits, t).flatten(), p).reshape(logits.shape)
        ),
        "you kept equally many tokens in every row. Every row needs its own cut, where its own sum reaches top_p.": (
            _keeping(_longest_for_all)
        ),
        "you used the smallest probability that one row keeps as the limit for all rows. Every row needs its own "
        "limit.": _least_for_all,
        "you divided by the sum over the whole batch. Divide every row by its own sum.": _divided_by_all,
        "you set the logits of the other tokens to 0, but a logit of 0 still has a probability. Set their "
        "probabilities to 0, or their logits to minus infinity.": _zero_logits,
    },
    praise="it works for batches and for a single row, it keeps every token when top_p is 1, and it keeps the most "
    "probable token when that one alone has more than top_p.",
)


# 1b: one attention head. Answers: q, k and v (..., position, d_head), W_O (d_head, d_model) and scale -> what the head
# writes, (..., position, d_model).


def _heads(generator, heads=None):
    """Random heads, the last two small enough to read, and then those of the notebook: tuples (q, k, v, W_O, scale)."""
    for *leading, length, d_head, d_model, scale in [
        (7, 3, 5, 3**0.5),
        (2, 3, 6, 4, 8, 1.0),
        (2, 9, 8, 4, 8**0.5),
        (3, 2, 3, 1.0),
        (2, 2, 3, 2**0.5),
    ]:
        q, k, v = torch.randn(3, *leading, length, d_head, generator=generator)
        yield q, k, v, torch.randn(d_head, d_model, generator=generator), scale
    yield from heads or []


def _query_by_query(q, k, v, W_O, scale):
    rows = []
    for query in range(q.shape[-2]):
        keys, values = k[..., : query + 1, :], v[..., : query + 1, :]
        weights = ((keys * q[..., [query], :]).sum(-1) / scale).softmax(-1)
        rows.append((weights[..., None] * values).sum(-2))
    return torch.stack(rows, -2) @ W_O


def _scaled(q, k, scale):
    return q @ k.mT / scale


ONE_HEAD = Exercise(
    "1b",
    "One attention head",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_query_by_query,
    inputs=_heads,
    single=("head", (2, 2, 2, None, None)),
    mistakes={
        "you did not divide the scores by `scale`.": lambda q, k, v, out, scale: causal(q @ k.mT) @ v @ out,
        "you multiplied the scores by `scale`. Divide by it, so that the scores of long vectors stay moderate.": (
            lambda q, k, v, out, scale: causal(q @ k.mT * scale) @ v @ out
        ),
        "you divided the scores by d_head. Divide them by `scale`, which is the square root of d_head in GPT-2.": (
            lambda q, k, v, out, scale: causal(_scaled(q, k, q.shape[-1])) @ v @ out
        ),
        "you divided the scores by the square root of d_head, whatever `scale` is. That is right for GPT-2, but "
        "GPT-Neo does not scale its scores. Divide by `scale`.": lambda q, k, v, out, scale: (
            causal(_scaled(q, k, q.shape[-1] ** 0.5)) @ v @ out
        ),
        "you did not mask the keys after the query, so your head looks at tokens that have not been written yet.": (
            lambda q, k, v, out, scale: _scaled(q, k, scale).softmax(-1) @ v @ out
        ),
        "your mask is on the wrong side: it hides the keys before the query, and the head sees those after it.": (
            lambda q, k, v, out, scale: (
                _scaled(q, k, scale).masked_fill(~after(q @ k.mT, 0), -torch.inf).softmax(-1) @ v @ out
            )
        ),
        "your mask hides the query's own position too. A token may look at itself, and the first has nothing else to "
        "look at.": lambda q, k, v, out, scale: causal(_scaled(q, k, scale), 0) @ v @ out,
        "your mask lets every query see one key after it. Hide all keys after the query.": (
            lambda q, k, v, out, scale: causal(_scaled(q, k, scale), 2) @ v @ out
        ),
        "you set the masked scores to 0, but the softmax still gives attention to a score of 0. Set them to minus "
        "infinity.": lambda q, k, v, out, scale: (
            _scaled(q, k, scale).masked_fill(after(q @ k.mT), 0).softmax(-1) @ v @ out
        ),
        "you masked after the softmax, so the keys after the query took their share and the rows do not sum to 1 any "
        "more. Mask the scores, before the softmax.": lambda q, k, v, out, scale: (
            _scaled(q, k, scale).softmax(-1).tril() @ v @ out
        ),
        "your softmax runs over the queries. Every query shares its attention among the keys, so the softmax runs over "
        "the last axis.": lambda q, k, v, out, scale: (
            _scaled(q, k, scale).masked_fill(after(q @ k.mT), -torch.inf).softmax(-2) @ v @ out
        ),
        "you forgot the softmax: the scores have to become weights that sum to 1.": lambda q, k, v, out, scale: (
            _scaled(q, k, scale).tril() @ v @ out
        ),
        "you swapped q and k. A row of the scores belongs to a query, and a column to a key.": (
            lambda q, k, v, out, scale: causal(_scaled(k, q, scale)) @ v @ out
        ),
        "you added up over the queries. Each query adds up the values of the keys, so multiply the pattern by v as it "
        "is, and not its transpose.": lambda q, k, v, out, scale: causal(_scaled(q, k, scale)).mT @ v @ out,
        "you took the value at the query's own position. A query adds up the values of the keys that it looks at.": (
            lambda q, k, v, out, scale: v @ out
        ),
        "you added up the keys. The attention decides where to look; what is added up are the values.": (
            lambda q, k, v, out, scale: causal(_scaled(q, k, scale)) @ k @ out
        ),
        "you returned z, the weighted sum of the values. Multiply it by W_O to get what the head writes.": (
            lambda q, k, v, out, scale: causal(_scaled(q, k, scale)) @ v
        ),
        "you returned the attention pattern. Add up the values with these weights, and multiply by W_O.": (
            lambda q, k, v, out, scale: causal(_scaled(q, k, scale))
        ),
    },
    praise="your head writes what it should, for every head that was tried, scaled or not.",
    tolerance=1e-4,  # of scores that are large in a real model, the softmax keeps fewer digits
)


# 1c: focus where not every key is in view. Answers: pattern (..., query, key) and visible (query, key) -> (...).


def _views(generator):
    """Patterns whose rows do not all see all that came before. In the first, every row sees several keys."""
    triangle = torch.ones(8, 8).tril().bool()
    prefix, padded = triangle.clone(), triangle.clone()
    prefix[:, :3] = True  # three tokens that see each other whole
    padded[:, :2] = False
    padded[0, 0] = padded[1, 1] = True  # padding on the left: these rows see themselves only
    window = triangle & torch.ones(8, 8).triu(-3).bool()
    for visible, leading in [
        (prefix, (2, 3)),
        (window, (4,)),
        (padded, (3, 2)),
        (triangle[-3:], (2, 3)),
        (triangle[:5, :5], ()),
    ]:
        yield _seen(visible, leading, generator), visible


def _seen(visible, leading, generator):
    """A random pattern with weight on keys in view only, but none on one of those where there are three or more."""
    scores = 2 * torch.randn(*leading, *visible.shape, generator=generator)
    least = scores.masked_fill(~visible, torch.inf).argmin(-1, keepdim=True)
    scores = torch.where(visible.sum(-1, keepdim=True) > 2, scores.scatter(-1, least, -torch.inf), scores)
    return scores.masked_fill(~visible, -torch.inf).softmax(-1)


def _row_by_row(pattern, visible):
    heads = []
    for head in pattern.reshape(-1, *visible.shape).tolist():
        shares = []
        for row, keys in zip(head, visible.sum(-1).tolist()):
            if keys > 1:
                shares.append(-sum(weight * math.log2(weight) for weight in row if weight > 0) / math.log2(keys))
        heads.append(sum(shares) / len(shares))
    return torch.tensor(heads).reshape(pattern.shape[:-2])


def _bits(pattern, axis=-1):
    return torch.special.entr(pattern).sum(axis) / math.log(2)


def _choosing(numbers, visible):
    """Of numbers (..., query), those of the rows that see two keys or more."""
    return numbers[..., visible.sum(-1) > 1]


def _most(visible):
    """The most bits that each row could have."""
    return visible.sum(-1).log2()


def _focus(pattern, visible):
    return _choosing(_bits(pattern) / _most(visible), visible).mean(-1)


def _from_second_row(pattern, visible):
    return (_bits(pattern)[..., 1:] / torch.arange(2, len(visible) + 1).log2()).mean(-1)


FOCUS_IN_VIEW = Exercise(
    "1c",
    "Focus where not every key is in view",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_row_by_row,
    inputs=_views,
    single=("head", (2, None)),
    mistakes={
        "your answer is NaN when a row sees a single key: the most it could have is log 1 = 0, and 0 / 0 is NaN. Such "
        "a row has nothing to choose, so leave it out.": lambda p, v: (_bits(p) / _most(v)).mean(-1),
        "your answer is NaN, because a weight of 0 gives 0 times log 0, which is NaN. Such a weight adds nothing to "
        "the entropy.": lambda p, v: _choosing(-(p * p.log2()).sum(-1) / _most(v), v).mean(-1),
        "you returned the entropy itself. Divide each row by the most that it could have, because rows that see more "
        "keys can have more.": lambda p, v: _choosing(_bits(p), v).mean(-1),
        "your share is negative, because the logarithms of weights are below 0. Entropy has a minus in front.": (
            lambda p, v: -_focus(p, v)
        ),
        "you measured the entropy in nats and its maximum in bits. Take the same logarithm for both.": (
            lambda p, v: _focus(p, v) * math.log(2)
        ),
        "you measured the entropy in bits and its maximum in nats. Take the same logarithm for both.": (
            lambda p, v: _focus(p, v) / math.log(2)
        ),
        "you divided every row by the logarithm of the number of all keys. Count only the keys that the row sees.": (
            lambda p, v: _choosing(_bits(p), v).mean(-1) / math.log2(v.shape[1])
        ),
        "you counted rows that see a single key. They have nothing to choose, so they make the head look more focused "
        "than it is.": lambda p, v: (_bits(p) / _most(v)).nan_to_num().mean(-1),
        "you left the first row out. Leave out the rows that see a single key; here the first row sees more.": (
            lambda p, v: _focus(p[..., 1:, :], v[1:])
        ),
        "you divided the sum of the entropies by the sum of their maxima, so that long rows count more. Take the share "
        "of each row first, and then the mean.": lambda p, v: (
            _choosing(_bits(p), v).sum(-1) / _choosing(_most(v), v).sum()
        ),
        "you returned one share for each query; take their mean.": lambda p, v: _choosing(_bits(p) / _most(v), v),
        "you returned one number for all heads. Average over the queries only, so that every head has a number.": (
            lambda p, v: _focus(p, v).mean()
        ),
        "you divided row q by log2(q + 1), as if it saw every token before it. Use `visible`, which says what "
        "it sees.": (_from_second_row),
        "you counted the keys that got some weight. Count those that the row could see, also when it gave them "
        "nothing.": lambda p, v: _choosing(_bits(p) / (p > 0).sum(-1).clamp(min=2).log2(), v).mean(-1),
        "you took the entropy over the queries, down each column. Take it over the keys, because it is the rows that "
        "sum to 1.": lambda p, v: _choosing(_bits(p, -2) / _most(v), v).mean(-1),
    },
    praise="with a window, with padding, and with rows that see one key, you compared each row with what it could see.",
    tolerance=1e-4,
)


# 1d: the distance of the stripe. Answers: rows (step, key) and prompt_length -> (distance,).
#
# Row s is the attention of the query at position prompt_length - 1 + s, so its key at distance d is at position
# prompt_length - 1 + s - d. The first token, key 0, is left out. Distances go from 0 to prompt_length - 2: for these,
# and no others, such a key exists at every step, because the first step has the fewest keys. So every distance is a
# mean over all steps.


def _steps(generator):
    """Rows of a continuation. There is one key more at every step."""
    for steps, prompt_length in [(6, 5), (3, 9), (4, 2), (1, 4)]:
        keys = prompt_length - 1 + steps
        yield random_pattern(keys, keys, generator=generator)[-steps:], prompt_length


def _distances(rows, prompt_length, count):
    """(step, distance): attention to the keys 0 to count - 1 positions before the query."""
    queries = range(prompt_length - 1, prompt_length - 1 + len(rows))
    return torch.stack([row[[query - distance for distance in range(count)]] for row, query in zip(rows, queries)])


def _stripe(rows, prompt_length):
    return _distances(rows, prompt_length, prompt_length - 1).mean(0)


def _where_it_exists(rows, prompt_length):
    """Distances that only some steps have too, each a mean over those steps."""
    by_distance = [[] for _ in range(rows.shape[1] - 1)]
    for step, row in enumerate(rows):
        query = prompt_length - 1 + step
        for key in range(1, query + 1):
            by_distance[query - key].append(row[key])
    return torch.stack([torch.stack(weights).mean() for weights in by_distance])


DISTANCE = Exercise(
    "1d",
    "The distance of the stripe",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_stripe,
    inputs=_steps,
    mistakes={
        "you counted back from the last column in every row. The last column is the query of the last step only: in "
        "row s, the query is at position prompt_length - 1 + s.": lambda rows, n: rows.mean(0).flip(0)[: n - 1],
        "your distances are counted from the new token. It is one position after the query, and the query is the token "
        "that looks, so distance 0 is the query itself.": lambda rows, n: torch.cat(
            [rows.new_zeros(1), _stripe(rows, n)[:-1]]
        ),
        "your first number is for distance 1. Begin with 0, the query itself: row s belongs to the query at position "
        "prompt_length - 1 + s.": lambda rows, n: _distances(rows, n, n).mean(0)[1:],
        "you left out distance 0, which is the attention of the query to itself.": lambda rows, n: _stripe(rows, n)[1:],
        "you went one distance too far: at distance prompt_length - 1, the key of the first step is the first token, "
        "which is left out.": lambda rows, n: _distances(rows, n, n).mean(0),
        "you went on to distances that only the later steps have. Stop at prompt_length - 2, so that every distance is "
        "a mean over the same steps.": _where_it_exists,
        "your distances are in reverse order. The first number is for distance 0.": lambda rows, n: _stripe(
            rows, n
        ).flip(0),
        "you divided by the number of keys. Every distance has one key in each step, so divide by the number of "
        "steps.": lambda rows, n: _stripe(rows, n) * len(rows) / rows.shape[1],
        "you added up over the steps. Divide by their number, so that each distance has a mean.": lambda rows, n: (
            _stripe(rows, n) * len(rows)
        ),
        "you averaged over the distances, so that you have a number for each step. Average over the steps.": (
            lambda rows, n: _distances(rows, n, n - 1).mean(1)
        ),
        "you averaged each column, which is one and the same token in all steps. The query moves on by one position in "
        "each step, so the key at a distance moves on too.": lambda rows, n: rows.mean(0),
        "you averaged over the steps and over the distances. Every distance has a number of its own.": (
            lambda rows, n: _stripe(rows, n).mean()
        ),
    },
    praise="you followed each query as it moved on, for prompts of many lengths, and even for a single step.",
)


# 1e: what a sink head finds the first token by. Answers: what becomes of the head's attention in three replacements.

STAYS, FALLS = "stays", "falls"


def _replacements(prediction, *, before, after):
    """Which predictions are right. before: the head's attention to the first token; after: the same, by replacement."""
    said = {name: choose(each, [STAYS, FALLS]) for name, each in zip(after, parts(prediction, list(after)))}
    measured = {name: STAYS if value > before / 2 else FALLS for name, value in after.items()}
    wrong = next((name for name in after if said[name] != measured[name]), None)
    facts = {"wrong": wrong, "said": said.get(wrong, ""), "now": after.get(wrong, before), "before": before}
    return SimpleNamespace(**facts, number=measured.get("one dimension"))


FOUND_BY = Exercise(
    "1e",
    "What does the head find the first token by?",
    kind="Read",
    difficulty=2,
    points=2,
    measure=_replacements,
    mistakes={
        "with {wrong} replaced, the attention goes from {before:.3f} to {now:.3f}, so more than half of it stays.": (
            lambda facts: facts.wrong and facts.said == FALLS
        ),
        "with {wrong} replaced, the attention goes from {before:.3f} to {now:.3f}, so more than half of it is gone.": (
            lambda facts: facts.wrong
        ),
    },
    praise={
        "the head keeps looking at the first token when its largest number is replaced. Before you believe that it does"
        " not need this number, ask what stands between the stream and the head.": lambda facts: facts.number == STAYS,
        "the head looks away when the largest number is replaced.": lambda facts: True,
    },
)


# 1f: a hook of your own. Answers: a module and a function without arguments -> the module's first positional input.


class Mixer(torch.nn.Module):
    """What the answer is tried on. Its output looks like its first input, and nothing is drawn to make it."""

    def forward(self, first, second=0):
        return 2 * first.roll(1, -1) - second


def _record(record_input):
    """What the answer does with a run that goes well and calls the module twice, and with one that raises."""
    require_function(record_input)
    module, generator = Mixer(), fresh()
    inputs = [tuple(torch.randn(2, 3, 4, generator=generator)) for _ in range(2)]
    outputs = [module(*each) for each in inputs]
    found, given, left = _tried(record_input, module, inputs)
    if isinstance(found, Wrong):
        raise found if given else Wrong(f"{found} (It had not called run() before that.)")
    failure = RuntimeError("run() was made to fail.")
    failed, _, left_after_error = _tried(record_input, module, inputs, failure)
    return SimpleNamespace(
        runs=len(given),
        changed=any(not _equal(each["output"], outputs[-1]) for each in given),
        returned=_known(found, inputs, outputs, given),
        found=shown(found),
        left=left,
        left_after_error=left_after_error,
        hid_the_error=getattr(failed, "__cause__", None) is not failure,
    )


def _tried(record_input, module, inputs, failure=None):
    """(what the answer returned, or the Wrong that it caused; what each run gave; whether something is still there)."""
    given, forward = [], module.forward

    def run():
        given.append({"output": None})
        for each in inputs:
            given[-1]["output"] = module(*each)
        if failure:
            raise failure
        return given[-1]

    try:
        found = record_input(module, run)
    except Wrong as problem:
        found = problem
    return found, given, bool(module._forward_pre_hooks or module._forward_hooks) or module.forward != forward


def _equal(found, tensor):
    return isinstance(found, torch.Tensor) and same(found, tensor)


def _known(found, inputs, outputs, given):
    """What the answer returned, in a word."""
    if any(found is each for each in given):
        return "run"
    if isinstance(found, (tuple, list)):
        return "tuple"
    if not isinstance(found, torch.Tensor):
        return "no tensor"
    (earlier, _), (latest, second) = inputs
    known = {"right": latest, "output": outputs[-1], "earlier": earlier, "second": second, "first row": latest[0]}
    return next((name for name, tensor in known.items() if same(found, tensor)), "unknown")


def _returned(name):
    return lambda facts: facts.returned == name


OWN_HOOK = Exercise(
    "1f",
    "A hook of your own",
    kind="Build",
    difficulty=3,
    points=3,
    measure=_record,
    mistakes={
        "you never called run(). A hook is called only while the module runs.": lambda facts: facts.runs == 0,
        "you called run() {runs} times. Call it once, because a run of a large model takes long.": lambda facts: (
            facts.runs > 1
        ),
        "with your hook in place, the module computed something else. When a hook returns a value, PyTorch puts that "
        "value in the place of the input or the output. A hook that only records returns nothing.": lambda facts: (
            facts.changed
        ),
        "you returned what run() returned. Return the input that your hook got.": _returned("run"),
        "you returned {found}. A hook gets the positional inputs as a tuple, and it may be called several times. "
        "Return one tensor: the first input of the latest call.": _returned("tuple"),
        "you returned {found}. Return the first positional input of the module, which is a tensor.": _returned(
            "no tensor"
        ),
        "you returned the output of the module. Return its input: `register_forward_pre_hook` calls a hook with "
        "(module, inputs) before the module runs.": _returned("output"),
        "the module was called twice during run(), and you returned the input of its first call. Return that of the "
        "latest.": _returned("earlier"),
        "you returned the second positional input of the module. Return the first.": _returned("second"),
        "you returned the first row of the input. Return the whole tensor.": _returned("first row"),
        "you returned {found}, and it is not the first positional input of the module.": _returned("unknown"),
        "your hook is still on the module after your function returned, so it would run each time that the module is "
        "used. Call `remove()` on the handle that you got when you registered it.": lambda facts: facts.left,
        "your hook is still on the module when run() raises an error, because the line that removes it is never "
        "reached. Put that line under `finally`.": lambda facts: facts.left_after_error,
        "run() raised an error, and your function hid it. The one who calls your function has to see the error. Use "
        "`finally` without a `return` in it, and without `except`.": lambda facts: facts.hid_the_error,
    },
    praise="you recorded the input, the module computed what it always does, and the hook was gone afterwards, also "
    "when run() raised an error.",
)


# 1g: worse than knowing nothing. Answers: a text.

TOKENS = 12


def _easy_but_one(text, model, tokenizer):
    """What the text costs, and its most surprising token, in nats."""
    require(isinstance(text, str), f"the answer is a text in quotes; yours is {shown(text)}.")
    ids, losses, logits = _read(model, tokenizer, text)
    worst = losses.argmax().item()
    even = math.log(logits.shape[-1])
    return SimpleNamespace(
        length=len(ids),
        token=token_labels(tokenizer, ids)[worst + 1],
        cost=losses[worst].item(),
        mean=losses.mean().item(),
        even=even,
        half=even / 2,
        expected=token_labels(tokenizer, logits[worst].argmax()[None])[0],
    )


@torch.no_grad()
def _read(model, tokenizer, text):
    """A text's token ids `(position,)`, their losses but the first's, and the logits `(position, vocabulary)`."""
    try:
        ids = encode(tokenizer, text, context=context_length(model))
    except TextError as problem:
        raise Wrong(f"this text cannot be read: {problem}") from None
    require(ids.shape[1] > 1, f"{text!r} is a single token, and no token before it predicts it.")
    logits = model(ids.to(model.device)).logits[0].float().cpu()
    losses = -logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return ids[0], losses, logits


_COSTS = "the most surprising token, {token!r}, costs {cost:.2f} nats"
WORSE_THAN_NOTHING = Exercise(
    "1g",
    "Worse than knowing nothing",
    kind="Investigate",
    difficulty=2,
    points=2,
    measure=_easy_but_one,
    mistakes={
        f"your text has {{length}} tokens. It should have {TOKENS} or more.": lambda facts: facts.length < TOKENS,
        _COSTS + ", and uniform guessing costs {even:.2f}. A token costs more than that only when the model was nearly "
        "sure that it would not come. Where is the model sure of something else?": lambda facts: (
            facts.cost < facts.even - 2
        ),
        _COSTS + ", and uniform guessing costs {even:.2f}. You are near. Which token fits there even less?": (
            lambda facts: facts.cost <= facts.even
        ),
        _COSTS + ", which is more than uniform guessing costs, but the whole text is hard for the model: its mean is "
        "{mean:.2f}, and it should be below {half:.2f}. Write a text in which all tokens but one are what the model "
        "expects.": lambda facts: facts.mean >= facts.half,
    },
    praise=_COSTS + ", where uniform guessing costs {even:.2f}; the mean of the text is {mean:.2f}. The model expected "
    "{expected!r} in its place. A model that gives every token the same probability pays {even:.2f} each time. A model "
    "that is sure of one token pays more when another one comes.",
)


# 1h: seen before, or better told. Answers: {"pairs": [(seen, unseen), ...], "gain": a number}. The texts of a pair have
# the same last token, which occurs earlier in the first text and not in the second; otherwise they are the same. The
# gain is by how many nats the last token costs less in the first, on average.

PAIRS, ROUNDED = 4, 0.006  # pairs that are needed; two decimals of the gain are enough


def _gain(project, model, tokenizer):
    """The gain of the project's pairs, and what common mistakes make of it."""
    require(
        isinstance(project, dict) and {"pairs", "gain"} <= set(project),
        "the answer is a dictionary, {'pairs': [(seen, unseen), ...], 'gain': a number}.",
    )
    pairs = project["pairs"]
    listed = isinstance(pairs, (list, tuple)) and all(isinstance(each, (list, tuple)) for each in pairs)
    require(
        listed and all(len(each) == 2 and all(isinstance(text, str) for text in each) for each in pairs),
        "'pairs' should be a list of pairs of texts: [('... cat ... cat', '... dog ... cat'), ...].",
    )
    both = []
    for number, pair in enumerate(pairs, 1):
        seen, unseen = (_read(model, tokenizer, text) for text in pair)
        problem = _uncontrolled(tokenizer, seen[0].tolist(), unseen[0].tolist())
        require(problem is None, f"in pair {number}, {problem}")
        both.append((seen, unseen))
    words = {seen[0][-1].item() for seen, _ in both}
    require(
        len(words) >= PAIRS,
        f"the number of your pairs is {len(pairs)}, and the number of different last tokens is {len(words)}. One word "
        f"proves nothing, so take {PAIRS} different last tokens or more.",
    )
    require(project["gain"] is not None, "your pairs are controlled, but 'gain' is still None. Measure it now.")
    said = as_tensor(project["gain"], "'gain'")
    require(said.numel() == 1, f"'gain' should be one number, the mean over pairs; yours is {shown(said)}.")

    def mean_gain(cost):
        return sum(float(cost(*unseen)) - float(cost(*seen)) for seen, unseen in both) / len(both)

    gains = [(unseen[1][-1] - seen[1][-1]).item() for seen, unseen in both]
    gain = sum(gains) / len(gains)
    return SimpleNamespace(
        said=said.item(),
        gain=gain,
        pairs=len(pairs),
        above=sum(each > 0 for each in gains),
        first_seen=both[0][0][1][-1].item(),
        first_unseen=both[0][1][1][-1].item(),
        turned=-gain,
        total=sum(gains),
        bits=gain / math.log(2),
        whole_texts=mean_gain(lambda ids, losses, logits: losses.mean()),
        unshifted=mean_gain(lambda ids, losses, logits: -logits[-1].log_softmax(-1)[ids[-1]]),
        probabilities=mean_gain(lambda ids, losses, logits: -(-losses[-1]).exp()),
    )


def _uncontrolled(tokenizer, seen, unseen):
    """What keeps two texts, lists of token ids, from being a controlled comparison; None if nothing does."""
    if len(seen) != len(unseen):
        return (
            f"the texts have {len(seen)} and {len(unseen)} tokens, so that all tokens after the change stand at other "
            "positions. Then the positions could explain the difference too. Find a word of as many tokens."
        )
    last = seen[-1]
    labels, others = token_labels(tokenizer, seen), token_labels(tokenizer, unseen)
    if unseen[-1] != last:
        return f"the texts end with {labels[-1]!r} and {others[-1]!r}. Compare the loss of one and the same token."
    if last not in seen[:-1]:
        return (
            f"the first text ends with {labels[-1]!r}, which does not occur in it before. (A dot is a space: with and "
            "without a space before it, a word is another token.)"
        )
    if last in unseen[:-1]:
        return f"{labels[-1]!r} occurs earlier in the second text too. There it should be new."
    for place, (one, other) in enumerate(zip(seen, unseen)):
        if one != other and one != last:
            return (
                f"the texts differ at token {place} too ({labels[place]!r} and {others[place]!r}). With two changes "
                "you cannot say which of them made the difference."
            )
    return None


def _said(wrong):
    """Whether the gain is not right, and is the fact called `wrong`."""
    return lambda facts: _off(facts) and abs(facts.said - getattr(facts, wrong)) <= ROUNDED


def _off(facts):
    return not abs(facts.said - facts.gain) <= ROUNDED  # NaN is off


SEEN_OR_TOLD = Exercise(
    "1h",
    "Seen before, or better told",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_gain,
    later=("gain",),
    mistakes={
        "the sign of your gain is the wrong way round. The gain is what the token costs unseen, minus what it costs "
        "seen.": _said("turned"),
        "your gain is the sum over pairs. Take the mean.": _said("total"),
        "your gain is in bits. Take the natural logarithm, so that it is in nats.": _said("bits"),
        "your gain is the difference between the mean losses of the whole texts. Take the loss of the last token "
        "only, because another token of the two texts differs.": _said("whole_texts"),
        "you used the logits at the last token itself, but those predict the token after it. The logits one position "
        "earlier predict the last token.": _said("unshifted"),
        "your gain is a difference of probabilities. Take the difference of losses, which are negative logarithms of "
        "probabilities.": _said("probabilities"),
        "your gain of {said:.2f} is not that of your pairs. In the first pair, the last token costs {first_seen:.2f} "
        "seen and {first_unseen:.2f} unseen; find out first why your numbers differ from these.": _off,
    },
    praise="you have {pairs} controlled pairs. The gain of having been seen is {gain:.2f} nats on average, and it is "
    "above 0 in {above} of {pairs}. What follows from that is for you to write.",
)

EXERCISES = [
    TEMPERATURE_TOP_P,
    ONE_HEAD,
    FOCUS_IN_VIEW,
    DISTANCE,
    FOUND_BY,
    OWN_HOOK,
    WORSE_THAN_NOTHING,
    SEEN_OR_TOLD,
]
