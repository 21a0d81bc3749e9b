"""Properties of heads, the stream, survey's tables and the checks of arguments: three hundred drawn cases a function.

Half of the cases are good input, against a slow loop, a formula written in another way, or an invariant; in the others
one argument is spoilt, and must be refused by name.
"""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from properties import BOOLEANS, IDS, SPOILT, cases, elsewhere, one_spoilt, refused, refuses, seeded, sizes, without

from interp_helpers import errors, heads, load_bridge, residual, survey

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def draw(generator, *shape, scale=1.0):
    return torch.randn(*shape, generator=generator) * scale


def ids(generator, high, *shape):
    return torch.randint(high, shape, generator=generator)


def drawn_pattern(generator, *shape):
    """Rows that sum to 1, with nothing after the query."""
    future = torch.ones(shape[-1], shape[-1], dtype=torch.bool).triu(1)
    return draw(generator, *shape, shape[-1], scale=2).masked_fill(future, -torch.inf).softmax(-1)


# Heads. A text that is all padding has no queries; the drawn masks keep one token at least, anywhere.

WANTED = {
    "previous_token": lambda tokens, query, key: key == query - 1,
    "first_token": lambda tokens, query, key: key == 0 < query,
    "current_token": lambda tokens, query, key: key == query > 0,
    "duplicate_token": lambda tokens, query, key: key < query and tokens[key] == tokens[query],
    "induction": lambda tokens, query, key: 0 < key <= query and tokens[key - 1] == tokens[query],
}
MASKS = without(BOOLEANS, "nothing")  # None: nothing is padding
PATTERNS = {**SPOILT, "not square": lambda pattern: torch.cat([pattern, pattern], -1), "a row": lambda p: p.flatten()}
TOKENS = {**IDS, "one id": lambda tokens: tokens.flatten()[0]}


def drawn_mask(generator, *shape):
    mask = torch.rand(*shape, generator=generator) < 0.8
    mask[..., ids(generator, shape[-1], 1)] = True
    return mask


def slow_target(name, tokens, mask):
    """tokens, mask: (text, position). Returns (text, query, key)."""
    target = torch.zeros(*tokens.shape, tokens.shape[1], dtype=torch.bool)
    for text, query, key in np.ndindex(*target.shape):
        there = mask[text, query] and mask[text, key]
        target[text, query, key] = bool(there and WANTED[name](tokens[text].tolist(), query, key))
    return target


def slow_score(pattern, target):
    """One text and head, (query, key) both."""
    rows = [sum(w for w, wanted in zip(row, which) if wanted) for row, which in zip(pattern, target) if any(which)]
    return sum(rows) / len(rows)


@pytest.mark.parametrize("name", WANTED)
@cases(
    generator=seeded(),
    texts=sizes(2, 3),
    length=sizes(1, 5),
    dtype=st.sampled_from([torch.int64, torch.int32]),
    padded=st.booleans(),
    fault=one_spoilt(
        tokens=TOKENS,
        mask={
            **MASKS,
            "other length": lambda mask: torch.cat([mask, mask], -1),
            "other texts": lambda mask: mask.new_ones(7, mask.shape[1]),
            "second device": elsewhere,
        },
    ),
)
def test_targets(name, generator, texts, length, dtype, padded, fault):
    make, tokens = heads.TARGETS[name], ids(generator, 3, texts, length).to(dtype)
    mask = drawn_mask(generator, texts, length)
    if fault:
        assert refuses(fault, make, tokens=tokens, mask=mask)
        return
    found = make(tokens, mask) if padded else make(tokens)
    assert torch.equal(found, slow_target(name, tokens, mask if padded else torch.ones_like(mask)))
    for axes in [tokens[:, None], tokens[None]]:  # leading axes are kept, whatever they are
        assert torch.equal(make(axes).flatten(0, 1), make(tokens))


@cases(
    generator=seeded(),
    texts=sizes(2, 3),
    length=sizes(1, 5),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
    fault=one_spoilt(
        pattern=PATTERNS,
        target={
            **BOOLEANS,
            "other length": lambda target: torch.cat([target, target], -1),
            "other texts": lambda target: target.new_ones(7, *target.shape[1:]),
            "no query": torch.zeros_like,
            "a row": lambda target: target[0, 0, 0],
            "second device": elsewhere,
        },
    ),
)
def test_target_score(generator, texts, length, dtype, fault):
    pattern = drawn_pattern(generator, texts, 3, length).to(dtype)
    target = torch.rand(texts, 1, length, length, generator=generator) < 0.4
    target[:, 0, ids(generator, length, 1), ids(generator, length, 1)] = True
    if fault:
        assert refuses(fault, heads.target_score, pattern=pattern, target=target)
        return
    found = heads.target_score(pattern, target)
    assert found.shape == (texts, 3)
    near = 5e-3 if dtype == torch.float16 else 1e-5
    for text, head in np.ndindex(texts, 3):
        slow = slow_score(pattern[text, head].tolist(), target[text, 0].tolist())
        assert found[text, head].item() == pytest.approx(slow, abs=near)
    # what is no target does not count: neither whole rows, nor on which keys the rest of a row is
    noise = torch.where(target.any(-1, keepdim=True), pattern, draw(generator, *pattern.shape).to(dtype))
    rest = torch.where(target, 0, pattern).sum(-1, keepdim=True) / (~target).sum(-1, keepdim=True).clamp_min(1)
    noise = torch.where(target | ~target.any(-1, keepdim=True), noise, rest)
    torch.testing.assert_close(heads.target_score(noise, target), found, atol=near, rtol=near)


@pytest.mark.parametrize("name", WANTED)
@cases(
    generator=seeded(),
    length=sizes(1, 5),
    padded=st.booleans(),
    fault=one_spoilt(
        pattern=PATTERNS,
        tokens={**TOKENS, "other length": lambda tokens: torch.cat([tokens, tokens], -1), "second device": elsewhere},
        mask={
            **MASKS,
            "other length": lambda mask: torch.cat([mask, mask], -1),
            "other texts": lambda mask: mask.new_ones(7, 1, mask.shape[-1]),
            "all padding": torch.zeros_like,
            "second device": elsewhere,
        },
    ),
)
def test_scores(name, generator, length, padded, fault):
    score = getattr(heads, f"{name}_score")
    pattern, tokens = drawn_pattern(generator, 2, 3, length), ids(generator, 3, 2, length)
    mask = drawn_mask(generator, 2, length)
    given = {"pattern": pattern, "mask": mask[:, None] if padded else None}
    if name in ("duplicate_token", "induction"):  # the others do not look at tokens
        given["tokens"] = tokens[:, None]
    if fault and fault[0] in given:
        given["mask"] = mask[:, None]
        # the targets look at tokens and mask in their own name; what goes together is seen at the end, where a target
        # is named for both
        assert refuses(fault, score, [fault[0], "tokens[:, None]"], rf"{name}_(score|target)", **given)
        return
    target = slow_target(name, tokens, mask if padded else torch.ones_like(mask))
    if not target.any(-1).any(-1).all():
        assert refused(score, naming="tokens", operation=score.__name__, **given)
        return
    found = score(**given)
    for text, head in np.ndindex(2, 3):
        slow = slow_score(pattern[text, head].tolist(), target[text].tolist())
        assert found[text, head].item() == pytest.approx(slow, abs=1e-5)
    order = torch.randperm(3, generator=generator)
    assert torch.equal(score(**{**given, "pattern": pattern[:, order]}), found[:, order])
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()


def bits(row):
    return -sum(weight * math.log2(weight) for weight in row if weight > 0)


FLOATS = st.sampled_from([torch.float32, torch.float64, torch.float16])


@cases(generator=seeded(), length=sizes(1, 6), dtype=FLOATS, fault=one_spoilt(pattern=without(PATTERNS, "not square")))
def test_entropy_bits(generator, length, dtype, fault):  # the rows need not be square: some of the queries are fine
    pattern = drawn_pattern(generator, 2, length).to(dtype)
    if fault:
        assert refuses(fault, heads.entropy_bits, pattern=pattern)
        return
    found, near = heads.entropy_bits(pattern), 0.02 if dtype == torch.float16 else 1e-5
    for head, query in np.ndindex(2, length):
        assert found[head, query].item() == pytest.approx(bits(pattern[head, query].tolist()), abs=near)
    mixed = pattern[..., torch.randperm(length, generator=generator)]  # which key has which weight does not matter
    torch.testing.assert_close(heads.entropy_bits(mixed), found, atol=near, rtol=near)
    torch.testing.assert_close(heads.entropy_bits(pattern[:, -1:]), found[:, -1:])


@cases(generator=seeded(), length=sizes(1, 6), dtype=FLOATS, fault=one_spoilt(pattern=PATTERNS))
def test_entropy_shares(generator, length, dtype, fault):
    pattern = drawn_pattern(generator, 2, length).to(dtype)
    if fault:
        assert refuses(fault, heads.entropy_shares, pattern=pattern)
        return
    found, near = heads.entropy_shares(pattern), 0.02 if dtype == torch.float16 else 1e-5
    assert (found[:, 0] == 0).all()  # no choice, whatever the rounding
    for head, query in np.ndindex(2, length - 1):
        slow = bits(pattern[head, query + 1].tolist()) / math.log2(query + 2)
        assert found[head, query + 1].item() == pytest.approx(slow, abs=near)
    even = (torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]).to(dtype)
    torch.testing.assert_close(heads.entropy_shares(even)[1:], torch.ones(length - 1, dtype=dtype), atol=near, rtol=0)


@cases(
    generator=seeded(),
    length=sizes(1, 6),
    fault=one_spoilt(
        pattern=PATTERNS,
        mask={
            **MASKS,
            "other length": lambda mask: torch.cat([mask, mask], -1),
            "other texts": lambda mask: mask.new_ones(7, 1, mask.shape[-1]),
            "all padding": torch.zeros_like,
            "second device": elsewhere,
        },
    ),
)
def test_entropy_share(generator, length, fault):
    pattern, mask = drawn_pattern(generator, 2, 3, length), drawn_mask(generator, 2, 1, length)
    if fault:
        assert refuses(fault, heads.entropy_share, pattern=pattern, mask=mask)
        return
    shares = heads.entropy_shares(pattern)
    if not mask[..., 1:].any(-1).all():
        assert refused(heads.entropy_share, pattern, mask, naming="mask", operation="entropy_share")
        return
    found = heads.entropy_share(pattern, mask)
    for text, head in np.ndindex(2, 3):
        there = [shares[text, head, query].item() for query in range(1, length) if mask[text, 0, query]]
        assert found[text, head].item() == pytest.approx(sum(there) / len(there), abs=1e-5)
    noise = torch.where(mask[..., None], pattern, torch.rand(pattern.shape, generator=generator))
    torch.testing.assert_close(heads.entropy_share(noise, mask), found)  # what padding looks at does not count
    torch.testing.assert_close(heads.entropy_share(pattern), heads.entropy_share(pattern, torch.ones_like(mask)))


@cases(
    generator=seeded(),
    length=sizes(1, 5),
    fault=one_spoilt(
        pattern=PATTERNS,
        value_norms={
            **SPOILT,
            "negative": lambda norms: norms - 9,
            "nothing to bring": torch.zeros_like,
            "other length": lambda norms: torch.cat([norms, norms], -1),
            "other texts": lambda norms: norms.new_ones(7, norms.shape[-1]),
            "one number": lambda norms: norms[0, 0],
            "second device": elsewhere,
        },
    ),
)
def test_value_weighted(generator, length, fault):
    pattern, norms = drawn_pattern(generator, 3, length), torch.rand(3, length, generator=generator) + 0.1
    if fault:
        assert refuses(fault, heads.value_weighted, pattern=pattern, value_norms=norms)
        return
    found = heads.value_weighted(pattern, norms)
    for head, query in np.ndindex(3, length):
        moved = [weight * norm for weight, norm in zip(pattern[head, query].tolist(), norms[head].tolist())]
        assert found[head, query].tolist() == pytest.approx([each / sum(moved) for each in moved], abs=1e-5)
    torch.testing.assert_close(heads.value_weighted(pattern, 7 * norms), found)
    torch.testing.assert_close(heads.value_weighted(pattern, torch.ones(length)), pattern)


# Numbers of any kind, and lists of them, are fine for scores that are compared with one half. A pattern's are tensors.
ARRAYS = without(SPOILT, "whole numbers", "booleans", "list")
SCORES = [*heads.TARGETS, "entropy_share"]


def in_one(name, how):
    return lambda scores: {**scores, name: how(scores[name])}


NO_SCORES = {"string": str, "nothing": lambda _: None, "number": len, "list": list, "empty": lambda _: {}}


@cases(
    generator=seeded(),
    layers=sizes(1, 3),
    count=sizes(2, 4),
    make=st.sampled_from([lambda each: each, lambda each: each.numpy(), lambda each: each.tolist()]),
    fault=one_spoilt(
        scores={
            **NO_SCORES,
            **{f"{name} {kind}": in_one(name, how) for name in SCORES for kind, how in ARRAYS.items()},
            "an empty one": in_one("induction", lambda score: score[:0]),
            "other heads": in_one("induction", lambda score: score[:, 1:]),
            "words": in_one("entropy_share", lambda score: ["a", "b"]),
            "one missing": lambda scores: {name: scores[name] for name in SCORES[1:]},
        },
    ),
)
def test_classify(generator, layers, count, make, fault):
    found = {name: torch.rand(layers, count, generator=generator) ** 2 for name in SCORES}
    if fault:
        assert refuses(fault, heads.classify, scores=found)
        return
    names = heads.classify({name: make(each) for name, each in found.items()})
    assert names.shape == (layers, count)
    for layer, head in np.ndindex(layers, count):
        ranked = ["induction", "duplicate_token", "previous_token", "current_token", "first_token"]
        passed = [name for name in ranked if found[name][layer, head] > 0.5]
        rest = "focused" if found["entropy_share"][layer, head] < 0.5 else "broad"
        assert names[layer, head] == [*passed, rest][0]


@cases(
    generator=seeded(),
    texts=sizes(2, 5),
    level=st.sampled_from([0.5, 0.9, 0.95]),
    make=st.sampled_from([lambda each: each, lambda each: each.numpy(), lambda each: each.tolist()]),
    fault=one_spoilt(
        values={**ARRAYS, "empty": lambda values: values[:0], "one text": lambda values: values[:1], "number": len}
        | {"ragged": lambda values: [[1.0], [2.0, 3.0]], "words": lambda values: ["a", "b"]},
        level={"0": lambda _: 0, "1": lambda _: 1.0, "percent": lambda _: 95, "string": str, "nothing": lambda _: None},
        resamples={"1": lambda _: 1, "negative": lambda n: -n, "half": lambda _: 0.5, "string": str},
        seed={"negative": lambda _: -1, "string": str, "half": lambda _: 0.5},
    ),
)
def test_bootstrap_interval(generator, texts, level, make, fault):
    values = draw(generator, texts, 2).double()
    given = {"level": level, "resamples": 20, "seed": 3}
    if fault:
        assert refuses(fault, heads.bootstrap_interval, values=values, **given)
        return
    low, high = heads.bootstrap_interval(make(values), **given)
    assert low.shape == high.shape == (2,)
    chosen = np.random.default_rng(3).integers(0, texts, (20, texts))  # the definition: means of texts drawn again
    means = values.numpy()[chosen].mean(1)
    tails = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
    np.testing.assert_allclose([low, high], np.percentile(means, tails, axis=0), atol=1e-9)
    turned = heads.bootstrap_interval(1 - 2 * values.numpy(), **given)
    np.testing.assert_allclose(turned, [1 - 2 * high, 1 - 2 * low], atol=1e-9)


# Survey's scores


@cases(
    generator=seeded(),
    texts=sizes(1, 3),
    fault=one_spoilt(
        sums={**SPOILT, "without scores": lambda sums: sums[..., :3], "one layer": lambda sums: sums[:, 0]},
        counts={
            **SPOILT,
            "without scores": lambda counts: counts[:, :3],
            "other texts": lambda counts: torch.cat([counts, counts]),
            "one axis": lambda counts: counts[0],
            "second device": elsewhere,
        },
    ),
)
def test_mean_scores(generator, texts, fault):
    counts = ids(generator, 3, texts, len(survey.SCORES)).double()
    sums = torch.rand(texts, 2, 3, len(survey.SCORES), generator=generator).double() * counts[:, None, None]
    if fault:
        assert refuses(fault, survey.mean_scores, sums=sums, counts=counts)
        return
    found = survey.mean_scores(sums, counts)
    assert list(found) == [name for name, some in zip(survey.SCORES, counts.any(0)) if some]
    for index, name in enumerate(survey.SCORES):
        for text in range(texts if name in found else 0):
            queries = counts[text, index].item()
            wanted = sums[text, ..., index] / queries if queries else torch.full((2, 3), torch.nan).double()
            torch.testing.assert_close(found[name][text], wanted, equal_nan=True)


@cases(
    generator=seeded(),
    layers=sizes(1, 3),
    count=sizes(2, 4),
    make=st.sampled_from([lambda each: each, lambda each: each.numpy(), lambda each: each.tolist()]),
    fault=one_spoilt(
        scores={  # NaN and infinity stand in a table as they are: a text without a target has no score
            **NO_SCORES,
            **{kind: in_one("a", how) for kind, how in without(ARRAYS, "NaN", "infinity").items()},
            "other heads": in_one("a", lambda score: score[:, 1:]),
            "one axis": in_one("a", lambda score: score[0]),
            "texts": in_one("b", lambda score: score[None]),
        },
    ),
)
def test_table(generator, layers, count, make, fault):
    scores = {"a": draw(generator, layers, count), "b": ids(generator, 9, layers, count).bool()}
    if fault:
        assert refuses(fault, survey.table, scores=scores)
        return
    found = survey.table({name: make(each) for name, each in scores.items()})
    assert list(found.columns) == ["a", "b"]
    assert len(found) == layers * count
    for layer, head in np.ndindex(layers, count):
        row = found.loc[f"{layer}.{head}"]
        assert (row["a"], row["b"]) == (scores["a"][layer, head].item(), scores["b"][layer, head].item())


# The stream

VECTORS = {**SPOILT, "one number": lambda vectors: vectors.flatten()[0]}


@cases(
    generator=seeded(),
    parts=sizes(1, 4),
    d_model=sizes(1, 5),
    fault=one_spoilt(vectors={**VECTORS, "one": lambda v: v[0]}),
)
def test_before(generator, parts, d_model, fault):
    vectors = draw(generator, parts, d_model)
    if fault:
        assert refuses(fault, residual.before, vectors=vectors)
        return
    found = residual.before(vectors)
    for part in range(parts):
        wanted = sum(vectors[:part], torch.zeros(d_model))
        torch.testing.assert_close(found[part], wanted, **CLOSE)


@cases(generator=seeded(), rows=sizes(1, 4), d_model=sizes(1, 5), fault=one_spoilt(vectors=VECTORS))
def test_norms(generator, rows, d_model, fault):
    vectors = draw(generator, rows, d_model)
    if fault:
        assert refuses(fault, residual.norms, vectors=vectors)
        return
    found = residual.norms(vectors)
    assert found.tolist() == pytest.approx([math.hypot(*row) for row in vectors.tolist()], abs=1e-5)
    torch.testing.assert_close(residual.norms(-3 * vectors), 3 * found)


def angle(one, other):
    """The cosine, written out."""
    dot, sizes = sum(a * b for a, b in zip(one, other)), math.hypot(*one) * math.hypot(*other)
    return dot / sizes if sizes else 0.0


@cases(
    generator=seeded(),
    rows=sizes(2, 4),
    d_model=sizes(2, 5),
    fault=one_spoilt(
        vectors=VECTORS,
        others={
            **VECTORS,
            "other width": lambda others: others[..., :1],
            "other rows": lambda others: others.new_ones(7, others.shape[-1]),
            "second device": elsewhere,
        },
    ),
)
def test_cosines(generator, rows, d_model, fault):
    vectors, others = draw(generator, rows, d_model), draw(generator, rows, d_model)
    if fault:
        assert refuses(fault, residual.cosines, vectors=vectors, others=others)
        return
    vectors[0] = 0  # no direction: the cosine is 0
    found = residual.cosines(vectors, others)
    wanted = [angle(*pair) for pair in zip(vectors.tolist(), others.tolist())]
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)
    torch.testing.assert_close(residual.cosines(others, -0.2 * vectors), -found)
    one = [angle(vectors[1].tolist(), other) for other in others.tolist()]
    assert residual.cosines(vectors[1], others).tolist() == pytest.approx(one, abs=1e-5)


@cases(
    generator=seeded(),
    rows=sizes(1, 4),
    d_model=sizes(1, 5),
    fault=one_spoilt(vectors={**VECTORS, "a row": lambda v: v[0], "batch": lambda v: v[None]}),
)
def test_cosine_matrix(generator, rows, d_model, fault):
    vectors = draw(generator, rows, d_model)
    if fault:
        assert refuses(fault, residual.cosine_matrix, vectors=vectors)
        return
    found = residual.cosine_matrix(vectors)
    for one, other in np.ndindex(rows, rows):
        assert found[one, other].item() == pytest.approx(
            angle(vectors[one].tolist(), vectors[other].tolist()), abs=1e-5
        )
    torch.testing.assert_close(
        residual.cosine_matrix(vectors * torch.rand(rows, 1, generator=generator).add(0.1)), found
    )


def drawn_readout(generator, d_model, vocabulary):
    centred = bool(ids(generator, 2, 1))
    weight, bias = draw(generator, 2, d_model)
    W_U, b_U = draw(generator, d_model, vocabulary), draw(generator, vocabulary)
    return residual.Readout(weight, bias, 1e-5, centred, W_U, b_U)


def slow_logits(stream, readout):
    """The Readout's definition on one vector of numbers, with numpy's mean and standard deviation in float64."""
    x = stream.double().numpy()
    mean = x.mean() if readout.centred else 0.0
    scale = np.sqrt(np.mean((x - mean) ** 2) + readout.epsilon)
    normed = (x - mean) / scale * readout.weight.double().numpy() + readout.bias.double().numpy()
    return normed @ readout.W_U.double().numpy() + readout.b_U.double().numpy()


def other_field(name, how):
    return lambda readout: readout._replace(**{name: how(getattr(readout, name))})


READOUTS = {
    "string": lambda readout: "a string",
    "nothing": lambda readout: None,
    "W_U alone": lambda readout: readout.W_U,
    "NaN": other_field("W_U", lambda W_U: W_U * torch.nan),
    "infinity": other_field("b_U", lambda b_U: b_U + torch.inf),
    "another model's": lambda readout: drawn_readout(torch.Generator().manual_seed(0), 9, 4),
    "float64": lambda readout: residual.Readout(
        *(each.double() if isinstance(each, torch.Tensor) else each for each in readout)
    ),
    "second device": lambda readout: readout._replace(weight=elsewhere(readout.weight), W_U=elsewhere(readout.W_U)),
}
STREAMS = {**VECTORS, "float64": lambda stream: stream.double(), "other width": lambda stream: stream[..., 1:]}
BAD_IDS = {
    "negative": lambda tokens: tokens - 9,
    "too large": lambda tokens: tokens + 9,
    "one too large": lambda _: 5,
    "below 0": lambda _: -1,
    "fraction": lambda _: 0.5,
    "truth": lambda _: True,
    "other shape": lambda tokens: torch.cat([tokens, tokens]),
    **IDS,
}


@cases(
    generator=seeded(),
    positions=sizes(1, 3),
    d_model=sizes(2, 5),
    fault=one_spoilt(stream=STREAMS, readout=READOUTS),
)
def test_to_logits(generator, positions, d_model, fault):
    stream, readout = draw(generator, positions, d_model), drawn_readout(generator, d_model, 5)
    if fault:
        assert refuses(fault, residual.to_logits, stream=stream, readout=readout)
        return
    found = residual.to_logits(stream, readout)
    for position in range(positions):
        np.testing.assert_allclose(found[position], slow_logits(stream[position], readout), atol=1e-3)
    # no norm sees the length of the stream, but for its epsilon, and none that is centred sees its mean
    longer = residual.to_logits(50 * stream + (9 if readout.centred else 0), readout._replace(epsilon=2500e-5))
    torch.testing.assert_close(longer, found, atol=1e-2, rtol=1e-2)


@cases(
    generator=seeded(),
    layers=sizes(1, 3),
    d_model=sizes(2, 5),
    dtype=st.sampled_from([torch.int64, torch.int32]),
    fault=one_spoilt(streams={**STREAMS, "a vector": lambda streams: streams[0, 0]}, readout=READOUTS, tokens=BAD_IDS),
)
def test_logit_lens(generator, layers, d_model, dtype, fault):
    streams, readout = draw(generator, layers, 2, d_model), drawn_readout(generator, d_model, 5)
    tokens = ids(generator, 5, 2).to(dtype)
    if fault:
        assert refuses(fault, residual.logit_lens, streams=streams, readout=readout, tokens=tokens)
        return
    lens = residual.logit_lens(streams, readout, tokens)
    for layer, position in np.ndindex(layers, 2):
        here, last = (slow_logits(streams[each, position], readout) for each in (layer, -1))
        p, q = (np.exp(each - each.max()) / np.exp(each - each.max()).sum() for each in (last, here))
        token = tokens[position].item()
        assert lens.rank[layer, position] == (q > q[token]).sum()
        assert lens.probability[layer, position].item() == pytest.approx(q[token], abs=1e-3)
        assert lens.divergence[layer, position].item() == pytest.approx((p * np.log(p / q)).sum(), abs=1e-2)
    same = residual.logit_lens(streams, readout, 3)  # one id for all
    assert torch.equal(same.rank, residual.logit_lens(streams, readout, torch.tensor([3, 3])).rank)


@cases(
    generator=seeded(),
    parts=sizes(1, 4),
    d_model=sizes(2, 5),
    two=st.booleans(),
    fault=one_spoilt(
        vectors={
            **without(STREAMS, "float64"),
            "not all": lambda vectors: vectors[:-1] * 2,
            "one part": lambda vectors: vectors[0],
        },
        stream={**STREAMS, "another": lambda stream: stream + 1, "second device": elsewhere},
        readout=READOUTS,
        token=BAD_IDS,
        other=without(BAD_IDS, "nothing"),  # None: the logit itself, not its lead
    ),
)
def test_attribution(generator, parts, d_model, two, fault):
    vectors, readout = draw(generator, parts, 2, d_model), drawn_readout(generator, d_model, 5)
    stream, (token, other) = vectors.sum(0), ids(generator, 5, 2, 2)
    given = {"vectors": vectors, "stream": stream, "readout": readout, "token": token, "other": other}
    if fault:
        assert refuses(fault, residual.attribution, **given)
        return
    found = residual.attribution(vectors, stream, readout, token, other if two else None)
    assert found.shape == (parts + 1, 2)
    for position in range(2):
        logits = slow_logits(stream[position], readout)
        wanted = logits[token[position]] - (logits[other[position]] if two else 0)
        assert found[:, position].sum().item() == pytest.approx(wanted, abs=1e-3, rel=1e-3)
    # linear: half of each part is half of what it adds, twice
    halves = residual.attribution(torch.cat([vectors, vectors]) / 2, stream, readout, token, other if two else None)
    torch.testing.assert_close(halves[:parts] + halves[parts:-1], found[:-1], **CLOSE)
    if two:
        torch.testing.assert_close(residual.attribution(vectors, stream, readout, other, token), -found, **CLOSE)


# Bridges, built once. What a case changes in the last norm, the next one changes again.


@pytest.fixture(scope="module")
def bridges(folders):
    return {family: load_bridge(str(folders[family]), device="cpu")[0] for family in ["gpt2", "gpt-neo", "llama"]}


def with_norm(bridge, weight):
    with torch.no_grad():
        bridge.ln_final.weight.copy_(weight)
    return bridge


@cases(
    generator=seeded(),
    family=st.sampled_from(["gpt2", "gpt-neo", "llama"]),
    fault=one_spoilt(
        bridge={
            "string": str,
            "nothing": lambda bridge: None,
            "the model": lambda bridge: bridge.original_model,
            "a tensor": lambda bridge: bridge.W_U,
            "NaN": lambda bridge: with_norm(bridge, torch.full((32,), torch.nan)),
            "infinity": lambda bridge: with_norm(bridge, torch.full((32,), torch.inf)),
        }
    ),
)
def test_readout(bridges, generator, family, fault):
    bridge = with_norm(bridges[family], draw(generator, 32))
    if fault:
        assert refuses(fault, residual.readout, bridge=bridge)
        return
    found = residual.readout(bridge)
    assert found.centred == (family != "llama")
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(ids(generator, 8192, 1, 2))
    for position in range(2):
        wanted = slow_logits(cache["resid_post", 1][0, position], found)
        np.testing.assert_allclose(logits[0, position], wanted, atol=1e-3)


def with_entry(cache, name, change):
    return type(cache)({**cache.cache_dict, name: change(cache[name])}, cache.model)


@cases(
    generator=seeded(),
    family=st.sampled_from(["gpt2", "gpt-neo", "llama"]),
    texts=sizes(1, 2),
    length=sizes(1, 3),
    heads=st.booleans(),
    fault=one_spoilt(
        cache={
            "string": lambda cache: "a string",
            "nothing": lambda cache: None,
            "a dict": lambda cache: cache.cache_dict,
            "a tensor": lambda cache: cache["resid_post", 1],
            "filtered": lambda cache: type(cache)({"ln_final.hook_in": cache["resid_post", 1]}, cache.model),
            "NaN": lambda cache: with_entry(cache, "blocks.0.hook_mlp_out", lambda each: each * torch.nan),
            "NaN at the end": lambda cache: with_entry(cache, "blocks.1.hook_resid_post", lambda each: each / 0),
            "a part twice": lambda cache: with_entry(cache, "blocks.0.hook_mlp_out", lambda each: each * 2),
        }
    ),
)
def test_parts(bridges, generator, family, texts, length, heads, fault):
    bridge = bridges[family]
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids(generator, 8192, texts, length))
    if fault:
        assert refuses(fault, residual.parts, cache=cache, heads=heads)
        return
    names, vectors = residual.parts(cache, heads=heads)
    torch.testing.assert_close(vectors.sum(0), cache["resid_post", 1], **CLOSE)
    assert len(names) == len(set(names)) == len(vectors)
    by_name = dict(zip(names, vectors))
    for layer in range(2):
        torch.testing.assert_close(by_name[f"mlp {layer}"], cache["mlp_out", layer], **CLOSE)
        attention = cache["attn_out", layer]
        if heads:  # a head's z through its own rows of the output matrix
            z, W_O = cache[f"blocks.{layer}.attn.hook_z"], bridge.W_O[layer]
            for head in range(4):
                torch.testing.assert_close(by_name[f"{layer}.{head}"], z[:, :, head] @ W_O[head], **CLOSE)
        else:
            torch.testing.assert_close(by_name[f"attention {layer}"], attention, **CLOSE)


# The checks themselves


KINDS = {
    "numbers": [torch.float16, torch.bfloat16, torch.float32, torch.float64],
    "precise numbers": [torch.float32, torch.float64],
    "complex numbers": [torch.float32, torch.float64, torch.complex64, torch.complex128],
    "ids": [torch.int32, torch.int64],
    "booleans": [torch.bool],
}
DTYPES = [*KINDS["numbers"], *KINDS["complex numbers"][2:], *KINDS["ids"], torch.bool]
DTYPES += [torch.int8, torch.uint8, torch.int16, torch.float8_e5m2]


@cases(
    generator=seeded(),
    of=st.sampled_from([*KINDS]),
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(sizes(0, 3), max_size=3),
    axes=st.sampled_from(["...", "(row,)", "(row, column)", "(..., row)", "(part, ..., d_model)"]),
    value=st.sampled_from([0.0, torch.nan, torch.inf, -torch.inf]),
    finite=st.booleans(),
    place=st.sampled_from(["cpu", "meta", "cuda"]),
)
def test_check_tensors(generator, of, dtype, shape, axes, value, finite, place):
    """Every reason to refuse is known beforehand: with none of them, the tensor is taken."""
    tensor = torch.rand(shape, generator=generator)
    if tensor.numel():
        tensor.view(-1)[-1] = value
    whole = not (dtype.is_floating_point or dtype.is_complex)
    tensor = (tensor.nan_to_num(1, 1, 1) if whole else tensor).to(dtype)
    named = [each for each in axes.strip("()").split(",") if each.strip() not in ("", "...")]
    wrong = [
        dtype not in KINDS[of],
        tensor.numel() == 0,
        place == "meta",
        value != 0 and not whole and finite,
        len(shape) < len(named),
        len(shape) > len(named) and "..." not in axes,
        place == "cuda",
    ]
    tensor = {"cpu": tensor, "meta": tensor.to("meta"), "cuda": elsewhere(tensor)}[place]
    arguments = {"of": of, "axes": axes, "finite": finite}
    other = torch.ones([1] * len(named), dtype=KINDS[of][0])  # which nothing is wrong with
    if any(wrong):
        assert refused(errors.check_tensors, "norms", **arguments, other=other, mine=tensor, naming="mine")
    else:
        errors.check_tensors("norms", **arguments, other=other, mine=tensor)
    for thing in ["a string", None, 3, [1.0]]:
        assert refused(errors.check_tensors, "norms", of=of, mine=thing, naming="mine", operation="norms")


@cases(dtypes=st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3), far=st.lists(st.booleans(), max_size=3))
def test_check_devices_and_types(dtypes, far):
    tensors = {f"t{index}": torch.zeros(2).to(dtype) for index, dtype in enumerate(dtypes)}
    for name, away in zip(tensors, far):
        tensors[name] = elsewhere(tensors[name]) if away else tensors[name]
    away = sum(far[: len(dtypes)])
    for check, alike in [(errors.check_devices, away in (0, len(dtypes))), (errors.check_types, len(set(dtypes)) == 1)]:
        if alike:
            check("norms", **tensors)
        else:
            assert refused(check, "norms", **tensors, naming=["t0"], operation="norms")


@cases(
    generator=seeded(),
    rows=sizes(1, 3),
    make=st.sampled_from(
        [torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16]
    ),
    fault=one_spoilt(
        values={
            **without(SPOILT, "whole numbers", "booleans", "list"),
            "ragged": lambda values: [[1.0], [2.0, 3.0]],
            "words": lambda values: [["a", "b"]],
            "one axis": lambda values: values[0],
            "numbers of python": lambda values: [[1, None]],
        }
    ),
)
def test_checked_array(generator, rows, make, fault):
    values = ids(generator, 9, rows, 2).double().requires_grad_()
    given = {"name": "values", "axes": "(head, feature)"}
    if fault:
        take = functools.partial(errors.checked_array, "cluster")
        take.__name__ = "cluster"
        assert refuses(fault, take, values=values.detach(), **given)
        return
    found = errors.checked_array("cluster", values=make(values.detach()), **given)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == values.tolist()  # small whole numbers are the same in every type
    assert errors.checked_array("cluster", values=values, **given).tolist() == values.tolist()
    assert np.isnan(errors.checked_array("cluster", values=values * torch.nan, **given, finite=False)).all()


@cases(shape=st.lists(sizes(0, 4), max_size=4), other=st.lists(sizes(0, 4), max_size=4))
def test_broadcast(shape, other):
    try:
        np.broadcast_shapes(shape, other)
        wanted = True
    except ValueError:
        wanted = False
    assert errors.broadcast(shape, other) == wanted
    assert errors.broadcast(torch.Size(other), torch.Size(shape)) == wanted


@cases(
    number=st.integers(-5, 5)
    | st.integers()
    | st.integers(-5, 5).map(np.int64)
    | st.sampled_from([True, 0.5, 2.0, math.nan, "3", None, [1], 1j, torch.tensor(1)]),
    least=sizes(-2, 2),
    most=st.none() | sizes(2, 4),
)
def test_check_whole(number, least, most):
    whole = type(number) in (int, np.int64)
    if whole and least <= number and (most is None or number <= most):
        errors.check_whole("cut", least, most, layer=number)
    else:
        assert refused(errors.check_whole, "cut", least, most, layer=number, naming="layer", operation="cut")


THINGS = st.text(max_size=5) | st.integers() | st.sampled_from([None, torch.ones(2), torch.nn.Linear(2, 2), {}, errors])


@cases(thing=THINGS, good=st.booleans())
def test_check_model(thing, good):
    if good:  # whatever its configuration is
        model = torch.nn.Linear(2, 2)
        model.config = thing
        errors.check_model("inventory", model)
    else:
        assert refused(errors.check_model, "inventory", thing, naming="model", operation="inventory")


@cases(
    generator=seeded(),
    vocabulary=sizes(1, 6),
    count=sizes(1, 3),
    dtype=st.sampled_from([torch.int32, torch.int64]),
    one=st.booleans(),
    fault=one_spoilt(
        ids={
            **IDS,
            "below 0": lambda _: -1,
            "negative": lambda each: each - 9,
            "too large": lambda each: each + 9,
            "one too large": lambda _: 9,
            "far too large": lambda _: 2**70,
            "other shape": lambda each: torch.cat([each, each]),
            "fraction": lambda _: 0.5,
            "truth": lambda _: True,
        }
    ),
)
def test_checked_ids(generator, vocabulary, count, dtype, one, fault):
    drawn = ids(generator, vocabulary, count).to(dtype)
    given = {"vocabulary": vocabulary, "shape": (count,), "name": "token"}
    if fault:
        take = functools.partial(errors.checked_ids, "logit_lens")
        take.__name__ = "logit_lens"
        assert refuses(fault, take, "token must", ids=drawn, **given)
        return
    for each in [drawn[0], drawn[0].item(), np.int64(drawn[0])] if one else [drawn]:
        found = errors.checked_ids("logit_lens", ids=each, **given)
        assert found.dtype == torch.int64  # which gather needs
        assert found.tolist() == ([drawn[0].item()] * count if one else drawn.tolist())
