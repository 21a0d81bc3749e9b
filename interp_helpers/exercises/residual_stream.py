"""Exercises of notebook 03: the logit lens, who writes an answer into the stream, and where it was taken from."""

from collections import Counter
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import torch

from .. import residual
from ..attention import bootstrap_interval
from ..errors import TextError
from ..models import prepare
from ..text import Batch, encode, question, token_labels
from .judging import Exercise, Wrong, choose, parts, require, shown

REAL = 1e-4  # of the largest number: float32 sums over a whole model, in another order

# 3a: which pair is remembered better? Answers: {"better": one of PAIRS, "both": one of SHARES}.

PAIRS, SHARES = ["first", "second", "alike"], ["more than half", "less than half"]
ALIKE = 0.05  # shares that are nearer than this are alike


def _shares_right(reading, correct, asked_first, sentence):
    """Of the prompts about each pair, and of the sentences, the share that is answered right.

    correct, asked_first: booleans (prompt,); sentence: (prompt,), of one number for the two prompts of a sentence.
    """
    better, both = parts(reading, ["better", "both"])
    better, both = choose(better, PAIRS), choose(both, SHARES)
    correct, asked_first, sentence = (torch.as_tensor(each).cpu() for each in (correct, asked_first, sentence))
    first, second = (correct[asked].double().mean().item() for asked in (asked_first, ~asked_first))
    whole = sum(correct[sentence == number].all().item() for number in sentence.unique()) / len(sentence.unique())
    measured = "alike" if abs(first - second) < ALIKE else "first" if first > second else "second"
    right = whole == 0.5 or (whole > 0.5) == (both == "more than half")
    return SimpleNamespace(
        said=better, measured=measured, first=first, second=second, whole=whole, right=right, both=both
    )


_BY_PAIR = "of the prompts that ask about the first pair {first:.3f} are answered right, of the others {second:.3f}"
_BY_SENTENCE = "in {whole:.3f} of the sentences both questions are answered right"
REMEMBERED_PAIR = Exercise(
    "3a",
    "Which pair is remembered better?",
    kind="Read",
    difficulty=1,
    points=1,
    measure=_shares_right,
    mistakes={
        _BY_PAIR + f". These shares differ by less than {ALIKE}, which counts as alike here.": lambda facts: (
            facts.said != "alike" == facts.measured
        ),
        _BY_PAIR + f". These shares differ by {ALIKE} or more, so they are not alike.": lambda facts: (
            facts.said == "alike" != facts.measured
        ),
        _BY_PAIR + ". So it is the other pair about which the model is right more often.": lambda facts: (
            facts.said != facts.measured
        ),
        _BY_SENTENCE + ", which is not {both}. Group the prompts by sentence, and count the sentences of which both "
        "prompts are right.": lambda facts: not facts.right,
    },
    praise=_BY_PAIR + ", and " + _BY_SENTENCE + ". You need the last number too, because a high share for one pair "
    "does not show that the model remembers that pair. A model that always says the first noun is right in 1.000 of "
    "the prompts about the first pair, in 0.000 of the others, and about both in 0.000 of the sentences.",
)


# The final norm, in its parts, and what goes wrong in any function that applies it.


def _centred(vectors, unembedding):
    return vectors - vectors.mean(-1, keepdim=True) if unembedding.centred else vectors


def _scale(stream, unembedding, correction=0):
    """What the final norm divides a stream by, (..., 1)."""
    square = _centred(stream, unembedding).square().sum(-1, keepdim=True) / (stream.shape[-1] - correction)
    return (square + unembedding.epsilon).sqrt()


def _having(function, **changes):
    """The function, given another unembedding: each field is what its change makes of it."""

    def answer(*arguments):
        return function(*(_with_fields(each, changes) for each in arguments))

    return answer


def _with_fields(argument, changes):
    if not isinstance(argument, residual.Unembedding):
        return argument
    return argument._replace(**{name: change(getattr(argument, name)) for name, change in changes.items()})


def _norm_mistakes(right):
    """{message: the mistake}. right: takes `scale`, a function of (stream, unembedding), beside its arguments."""
    return {
        "the norm's weight is missing. After the division, the norm multiplies each number by its weight.": _having(
            right, weight=torch.ones_like
        ),
        "you did not divide by the norm's scale.": partial(right, scale=lambda stream, read: 1),
        "the norm's epsilon is missing. It is added to the mean square, under the root.": _having(
            right, epsilon=lambda epsilon: 0.0
        ),
        "you added the norm's epsilon after the root. Add it to the mean square, under the root.": partial(
            right, scale=lambda stream, read: _scale(stream, read._replace(epsilon=0.0)) + read.epsilon
        ),
        "you divided by the length of the vector. The norm divides by the root of the mean square, which is smaller by "
        "a factor of sqrt(d_model).": partial(
            right, scale=lambda stream, read: _centred(stream, read).norm(dim=-1, keepdim=True)
        ),
        "you added up the squares. The norm takes their mean.": partial(
            right,
            scale=lambda stream, read: (_centred(stream, read).square().sum(-1, keepdim=True) + read.epsilon).sqrt(),
        ),
        "you divided the sum of squares by d_model - 1, as torch's `std` and `var` do. The norm divides it by d_model, "
        "so give them correction=0.": partial(right, scale=partial(_scale, correction=1)),
        "this norm subtracts the mean, because `unembedding.centred` is true (a LayerNorm). Yours does not.": _having(
            right, centred=lambda centred: False
        ),
        "this norm subtracts no mean, because `unembedding.centred` is false (an RMSNorm). Yours does.": _having(
            right, centred=lambda centred: True
        ),
        "your scale is measured before the mean is subtracted. This norm (`unembedding.centred` is true) measures what "
        "is left after that.": partial(right, scale=lambda stream, read: _scale(stream, read._replace(centred=False))),
        "your scale is the standard deviation. The scale of this norm (`unembedding.centred` is false) is the root "
        "mean square, and no mean is subtracted for it.": partial(
            right, scale=lambda stream, read: _scale(stream, read._replace(centred=True))
        ),
    }


def _random_unembedding(size, vocabulary, centred, generator):
    """An Unembedding in which nothing is as an untouched norm has it, so that forgetting any of it shows."""
    return residual.Unembedding(
        1 + 0.6 * torch.randn(size, generator=generator),
        torch.randn(size, generator=generator),
        0.5 + torch.rand((), generator=generator).item(),
        centred,
        torch.randn(size, vocabulary, generator=generator),
        torch.randn(vocabulary, generator=generator),
    )


def _vectors(*shape, generator):
    """Random vectors (..., d_model) whose means are far from 0 and differ."""
    return 2 * torch.randn(*shape, generator=generator) + 2 * torch.randn(*shape[:-1], 1, generator=generator)


# 3b: the logit lens. Answers: streams (..., d_model) and an Unembedding -> logits (..., vocabulary).


def _streams(generator, streams, unembedding):
    """Random streams and unembeddings, and then those of the model."""
    for shape, vocabulary, centred in [((4, 3, 8), 11, True), ((5, 7), 12, False), ((6,), 9, True)]:
        made = _random_unembedding(shape[-1], vocabulary, centred, generator)
        yield _vectors(*shape, generator=generator), made
    yield streams, unembedding


def _stream_by_stream(streams, unembedding):
    rows = []
    for x in streams.reshape(-1, streams.shape[-1]):
        x = x - x.mean() if unembedding.centred else x
        normed = x / (x.square().mean() + unembedding.epsilon).sqrt()
        rows.append((normed * unembedding.weight + unembedding.bias) @ unembedding.W_U + unembedding.b_U)
    return torch.stack(rows).reshape(*streams.shape[:-1], -1)


def _lens(streams, unembedding, scale=_scale):
    normed = _centred(streams, unembedding) / scale(streams, unembedding)
    return (normed * unembedding.weight + unembedding.bias) @ unembedding.W_U + unembedding.b_U


def _bias_before_weight(streams, unembedding):
    normed = _centred(streams, unembedding) / _scale(streams, unembedding)
    return (normed + unembedding.bias) * unembedding.weight @ unembedding.W_U + unembedding.b_U


LENS = Exercise(
    "3b",
    "The logit lens",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_stream_by_stream,
    inputs=_streams,
    single=("stream", (1, None)),
    mistakes={
        "the final norm is missing: you multiplied the stream by W_U as it is.": lambda streams, read: (
            streams @ read.W_U + read.b_U
        ),
        "the norm's weight and bias are missing. After the division, the norm multiplies each number by its weight and "
        "adds its bias.": _having(_lens, weight=torch.ones_like, bias=torch.zeros_like),
        "the norm's bias is missing. The norm adds it last, before W_U.": _having(_lens, bias=torch.zeros_like),
        "the unembedding's bias b_U is missing. It is added to the logits.": _having(_lens, b_U=torch.zeros_like),
        "you added the norm's bias before you multiplied by the weight. Multiply first.": _bias_before_weight,
        "you divided every stream by the scale of the last one. The lens reads each stream as if the model stopped "
        "there, so each is divided by its own scale.": partial(
            _lens, scale=lambda streams, read: _scale(streams[-1:], read)
        ),
        "you divided all vectors by one scale. Each vector has its own, so take means over the last axis only.": (
            partial(
                _lens,
                scale=lambda streams, read: (_centred(streams, read).square().mean() + read.epsilon).sqrt(),
            )
        ),
        "you returned probabilities. Return the logits, before the softmax.": lambda streams, read: _lens(
            streams, read
        ).softmax(-1),
    }
    | _norm_mistakes(_lens),
    praise="your function reads any stream, behind a LayerNorm and behind an RMSNorm, and on the last stream it gives "
    "the model's own logits. It divides each stream by its own scale. Therefore a stream that is ten times as long has "
    "nearly the same logits, as long as epsilon is small beside the mean square.",
    tolerance=REAL,
)


# 3c: settled early, settled late. Answers: {"early": a text, "late": a text}. A text is settled after the first n
# layers from which on the lens has the model's own first token first, up to the end.

SURE, SHORTEST = 0.5, 5  # the probability of the first token, and tokens of a text


def _settled(texts, bridge, tokenizer):
    """After how many layers each text is settled, and on what."""
    early, late = parts(texts, ["early", "late"])
    layers, unembedding = bridge.cfg.n_layers, residual.Unembedding.of(bridge)
    early, late = (
        _settling(text, f"the {name} text", bridge, tokenizer, unembedding)
        for name, text in [("early", early), ("late", late)]
    )
    return SimpleNamespace(early=early, late=late, layers=layers, half=layers // 2)


@torch.no_grad()
def _settling(text, name, bridge, tokenizer, unembedding):
    ids = torch.tensor([_encoded(bridge, tokenizer, text, name)])
    require(ids.shape[1] >= SHORTEST, f"{name} has {ids.shape[1]} tokens; it should have {SHORTEST} or more.")
    ids = prepare(bridge, ids).tokens
    logits, cache = bridge.run_with_cache(ids, names_filter=lambda each: "resid" in each)
    tops = residual.to_logits(cache.accumulated_resid()[:, 0, -1], unembedding).argmax(-1).tolist()
    sure, (token,) = logits[0, -1].softmax(-1).max().item(), token_labels(tokenizer, tops[-1:])
    require(
        sure > SURE,
        f"after {name} the model's most probable token is '{token}', with a probability of {sure:.3f}. Take a text "
        f"after which it has more than {SURE}, because a model that is not sure at the end has settled on nothing.",
    )
    depth = len(tops) - 1
    while depth and tops[depth - 1] == tops[-1]:
        depth -= 1
    return SimpleNamespace(depth=depth, seen=tops.index(tops[-1]), token=token)


SETTLED = Exercise(
    "3c",
    "Settled early, settled late",
    kind="Investigate",
    difficulty=3,
    points=3,
    measure=_settled,
    mistakes={
        "you have exchanged them: your early text is settled after {early.depth} of {layers} layers, and your late "
        "text after {late.depth}.": lambda facts: facts.late.depth <= facts.half < facts.early.depth == facts.layers,
        "in the early text '{early.token}' comes first after {early.seen} of {layers} layers, but then another token "
        "comes before it. It is settled only after {early.depth} layers, because settled means that it stays first up "
        "to the end.": lambda facts: facts.early.seen <= facts.half < facts.early.depth,
        "the early text is settled on '{early.token}' after {early.depth} of {layers} layers. It should be {half} or "
        "fewer. Which tokens could a model predict from the last word or two alone?": lambda facts: (
            facts.early.depth > facts.half
        ),
        "the late text is settled on '{late.token}' after {late.depth} of {layers} layers already. It should be "
        "settled only by the last layer.": lambda facts: facts.late.depth < facts.layers,
    },
    praise="'{early.token}' is first from {early.depth} of {layers} layers on, and '{late.token}' only after all "
    "{layers}. What the lens reads at an early depth is what W_U makes of that stream. It does not show that the model "
    "itself makes use of it there.",
)


# 3d: who wrote it? Answers: vectors (part, ..., d_model), their sum (..., d_model), an Unembedding, and two ids for
# every stream, (...) -> what each part adds to the logit difference, (part, ...).


def _written(generator, vectors, stream, unembedding, token, other):
    """Random parts of streams, and then those of the model."""
    for shape, vocabulary, centred in [((5, 3, 6), 10, True), ((4, 2, 3, 7), 11, False), ((3, 8), 9, True)]:
        made, written = (
            _random_unembedding(shape[-1], vocabulary, centred, generator),
            _vectors(*shape, generator=generator),
        )
        pairs = torch.rand(*shape[1:-1], vocabulary, generator=generator).argsort(-1)
        yield written, written.sum(0), made, pairs[..., 0], pairs[..., 1]
    yield vectors, stream, unembedding, token, other


def _part_by_part(vectors, stream, unembedding, token, other):
    written, size = vectors.reshape(len(vectors), -1, vectors.shape[-1]), vectors.shape[-1]
    columns = []
    for place, (x, right, wrong) in enumerate(zip(stream.reshape(-1, size), token.flatten(), other.flatten())):
        x = x - x.mean() if unembedding.centred else x
        scale = (x.square().mean() + unembedding.epsilon).sqrt()
        adds = []
        for part in written[:, place]:
            part = part - part.mean() if unembedding.centred else part
            adds.append(part / scale * unembedding.weight @ (unembedding.W_U[:, right] - unembedding.W_U[:, wrong]))
        columns.append(torch.stack(adds))
    return torch.stack(columns, -1).reshape(vectors.shape[:-1])


def _columns(unembedding, token, other):
    """What tells token from other, (..., d_model)."""
    return unembedding.W_U.T[token] - unembedding.W_U.T[other]


def _attributed(vectors, stream, unembedding, token, other, scale=_scale):
    normed = _centred(vectors, unembedding) / scale(stream, unembedding)
    return (normed * unembedding.weight * _columns(unembedding, token, other)).sum(-1)


def _added_bias(vectors, stream, unembedding, token, other):
    """What the norm's bias adds to the logit difference."""
    return (unembedding.bias * _columns(unembedding, token, other)).sum(-1)


def _mean_left_in(vectors, stream, unembedding, token, other):
    plain = unembedding._replace(centred=False)
    return _attributed(vectors, stream, plain, token, other, lambda stream, _: _scale(stream, unembedding))


def _less_stream_mean(vectors, stream, unembedding, *pair):
    mean = stream.mean(-1, keepdim=True) if unembedding.centred else 0
    return _mean_left_in(vectors - mean, stream, unembedding, *pair)


def _by_lens(vectors, stream, unembedding, token, other):
    biases = unembedding.b_U[token] - unembedding.b_U[other]
    own = _attributed(vectors, vectors, unembedding, token, other)
    return own + _added_bias(vectors, stream, unembedding, token, other) + biases


ATTRIBUTION = Exercise(
    "3d",
    "Who wrote it?",
    kind="Build",
    difficulty=4,
    points=4,
    reference=_part_by_part,
    inputs=_written,
    mistakes={
        "you read every part with the lens, which divides each part by its own scale and adds the biases each time. "
        "Divide all parts by the scale of the stream, and leave the biases out.": _by_lens,
        "you divided each part by its own scale, so a short part counts as much as a long one. The model divides their "
        "sum once, so divide all parts by the scale of the stream.": lambda vectors, stream, *rest: _attributed(
            vectors, vectors, *rest
        ),
        "you left the mean of the parts in. This norm (`unembedding.centred` is true) subtracts the mean of the "
        "stream, which is the sum of the parts' means. So subtract from each part its own mean.": _mean_left_in,
        "you subtracted the mean of the whole stream from every part. Subtract from each part its own mean: together "
        "these means are the mean of the stream.": _less_stream_mean,
        "you added the norm's bias to every part. No part wrote it, so leave it out.": lambda *given: (
            _attributed(*given) + _added_bias(*given)
        ),
        "you returned what each part adds to the logit of `token`. For the logit difference, subtract the column of "
        "W_U that belongs to `other`.": lambda vectors, stream, read, token, other: _attributed(
            vectors, stream, read._replace(W_U=torch.cat([read.W_U, 0 * read.W_U[:, :1]], 1)), token, -1
        ),
        "the sign is the wrong way round. Subtract the column of W_U that belongs to `other` from that of `token`.": (
            lambda *given: -_attributed(*given)
        ),
        "you added up all parts. Every part has a number of its own: the first axis stays.": lambda *given: _attributed(
            *given
        ).sum(0),
        "you used the ids of the first stream for all of them. Every stream has a `token` and an `other` of its own.": (
            lambda vectors, stream, read, token, other: _attributed(
                vectors, stream, read, token.flatten()[0], other.flatten()[0]
            )
        ),
    }
    | _norm_mistakes(_attributed),
    praise="your numbers are right for every part, and with the constant that the biases add they sum to the logit "
    "difference. The scale was held at the value that it has for the whole stream. Removing a part would change the "
    "scale, and also what later parts write, so these numbers do not say what would happen then.",
    tolerance=REAL,
)


# 3e: the direction that is read. Answers: stream (..., d_model), an Unembedding, token and other -> (..., d_model). Its
# dot product with any part of the stream is what the part adds to the logit difference of token and other.


def _one_stream(generator, stream, unembedding, token, other):
    """Random streams, and then one of the model."""
    for shape, vocabulary, centred in [((4, 3, 6), 10, True), ((5, 7), 11, False), ((8,), 12, True)]:
        made = _random_unembedding(shape[-1], vocabulary, centred, generator)
        pair = torch.randperm(vocabulary, generator=generator)[:2].tolist()
        yield _vectors(*shape, generator=generator), made, *pair
    yield stream, unembedding, token, other


def _number_by_number(stream, unembedding, token, other):
    """What is added by a part that is 1 in one number and 0 in the others, for each number."""
    ones = torch.eye(stream.shape[-1], dtype=stream.dtype, device=stream.device)
    return torch.stack([_attributed(one, stream, unembedding, token, other) for one in ones], -1)


def _reading(stream, unembedding, token, other, scale=_scale):
    direction = _columns(unembedding, token, other) * unembedding.weight
    return _centred(direction, unembedding) / scale(stream, unembedding)


def _uncentred(stream, unembedding, token, other):
    return _columns(unembedding, token, other) * unembedding.weight / _scale(stream, unembedding)


def _mean_before_weight(stream, unembedding, token, other):
    columns = _centred(_columns(unembedding, token, other), unembedding)
    return columns * unembedding.weight / _scale(stream, unembedding)


def _less_mean_of_stream(stream, unembedding, token, other):
    mean = stream.mean(-1, keepdim=True) if unembedding.centred else 0
    return (_columns(unembedding, token, other) * unembedding.weight - mean) / _scale(stream, unembedding)


# The function is checked by this one; READING_DIRECTION then measures with it, so that a pass tells something.
_DIRECTION = Exercise(
    "3e",
    "The direction that is read",
    kind="Build",
    difficulty=4,
    points=4,
    reference=_number_by_number,
    inputs=_one_stream,
    mistakes={
        "the sign is the wrong way round. Subtract the column of W_U that belongs to `other` from that of `token`.": (
            lambda *given: -_reading(*given)
        ),
        "your direction is that of one logit. For a logit difference, subtract the column of W_U that belongs to "
        "`other`.": lambda stream, read, token, other: (
            _centred(read.W_U[:, token] * read.weight, read) / _scale(stream, read)
        ),
        "you left the mean in your direction. This norm (`unembedding.centred` is true) takes away a part that is 1 in "
        "every number, so that part has to get 0, and with your direction it gets more or less.": _uncentred,
        "you subtracted the mean before you multiplied by the weight. A part meets the norm's mean first, then its "
        "weight, then W_U. On the way back from W_U the weight comes first, and then the mean.": _mean_before_weight,
        "you subtracted the mean of the stream from the direction. Subtract the direction's own mean.": (
            _less_mean_of_stream
        ),
        "the norm's bias is in your direction. No part wrote it, so leave it out.": lambda stream, read, *pair: (
            _reading(stream, read, *pair) + read.bias * _columns(read, *pair)
        ),
        "your direction has length 1. Its length is part of the answer, because its dot products are logits.": (
            lambda *given: torch.nn.functional.normalize(_reading(*given), dim=-1)
        ),
    }
    | _norm_mistakes(_reading),
    praise="",
    tolerance=REAL,
)


def _length_and_aim(direction, vectors, names, unembedding, token, other):
    """The longest part of a stream, and the one that adds most, when the direction is right.

    vectors: (part, d_model), with their names; token, other: ids.
    """
    stream = vectors.sum(0)
    _DIRECTION(direction, stream=stream, unembedding=unembedding, token=token, other=other)
    read = _reading(stream, unembedding, token, other)
    lengths, aims, adds = vectors.norm(dim=-1), residual.cosines(vectors, read), vectors @ read
    return SimpleNamespace(
        **{
            name: SimpleNamespace(
                name=names[place], length=lengths[place].item(), aim=aims[place].item(), adds=adds[place].item()
            )
            for name, place in [("longest", lengths.argmax()), ("strongest", adds.argmax())]
        }
    )


_LONGEST = "the longest part is {longest.name}. Its length is {longest.length:.2f} and its cosine to your direction is "
READING_DIRECTION = replace(
    _DIRECTION,
    reference=None,
    inputs=None,
    mistakes={},
    measure=_length_and_aim,
    praise={
        _LONGEST + "{longest.aim:.3f}, and it adds most of all parts: {longest.adds:.3f} logits.": lambda facts: (
            facts.longest.name == facts.strongest.name
        ),
        _LONGEST + "{longest.aim:.3f}, so it adds {longest.adds:.3f} logits. {strongest.name} adds most: with a "
        "length of {strongest.length:.2f} and a cosine of {strongest.aim:.3f} it adds {strongest.adds:.3f}. What a "
        "part adds is its length times its cosine times the length of your direction.": lambda facts: True,
    },
)


# 3f: which token did the head take it from? Answers: pattern (prompt, key), values (prompt, key, d_head),
# W_O (d_head, d_model) and direction (prompt, d_model) -> (prompt, key).


def _last_queries(generator):
    """Random heads. In the first all axes are of one size, so that exchanged axes fit."""
    for prompts, keys, d_head, d_model in [(5, 5, 5, 5), (4, 7, 3, 6), (1, 3, 2, 4)]:
        pattern = torch.randn(prompts, keys, generator=generator).softmax(-1)
        values = torch.randn(prompts, keys, d_head, generator=generator)
        yield pattern, values, *(torch.randn(rows, d_model, generator=generator) for rows in (d_head, prompts))


def _key_by_key(pattern, values, W_O, direction):
    taken = torch.zeros(pattern.shape)
    for prompt in range(pattern.shape[0]):
        for key in range(pattern.shape[1]):
            written = pattern[prompt, key] * (values[prompt, key] @ W_O)
            taken[prompt, key] = written @ direction[prompt]
    return taken


def _from_keys(pattern, values, W_O, direction):
    return pattern * torch.einsum("pkh,hm,pm->pk", values, W_O, direction)


def _length_of_output(pattern, values, W_O, direction):
    return pattern * (values @ W_O).norm(dim=-1)


BY_SOURCE = Exercise(
    "3f",
    "Which token did the head take it from?",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_key_by_key,
    inputs=_last_queries,
    mistakes={
        "you did not use the attention. The head takes from each key its value times the attention to it.": (
            lambda p, v, out, d: _from_keys(torch.ones_like(p), v, out, d)
        ),
        "you multiplied by the attention twice.": lambda p, v, out, d: _from_keys(p * p, v, out, d),
        "you returned the attention alone. It says where the head looks, but not what it takes from there.": (
            lambda p, v, out, d: p
        ),
        "you added up over the keys, which gives what the whole head adds. Keep one number for each key.": (
            lambda *given: _from_keys(*given).sum(-1)
        ),
        "you divided by the sum over the keys. Contributions may cancel, so leave them in logits.": (
            lambda *given: _from_keys(*given) / _from_keys(*given).sum(-1, keepdim=True)
        ),
        "you measured how long the vector is that the head takes from each key. The dot product with the direction "
        "says how much of it the logit difference gets.": _length_of_output,
        "your numbers have no sign. A key may lower the logit difference, and then its number is negative.": (
            lambda *given: _from_keys(*given).abs()
        ),
        "you used a direction of length 1. Its length turns the dot product into logits.": lambda p, v, out, d: (
            _from_keys(p, v, out, torch.nn.functional.normalize(d, dim=-1))
        ),
        "you used the direction of the first prompt for all prompts. Every prompt has a direction of its own.": (
            lambda p, v, out, d: _from_keys(p, v, out, d[:1].expand_as(d))
        ),
        "your directions are matched with the keys. A direction belongs to a prompt, so add an axis for the keys: "
        "`direction[:, None]`.": lambda p, v, out, d: p * (v @ out * d).sum(-1),
        "you exchanged the rows and columns of the attention. A row belongs to a prompt, and a column to a key.": (
            lambda p, v, out, d: _from_keys(p.T, v, out, d)
        ),
        "you multiplied by the transpose of W_O. Its rows belong to d_head, so it is `values @ W_O`.": (
            lambda p, v, out, d: _from_keys(p, v, out.T, d)
        ),
        "you did not send the values through W_O. A value has to be written into the stream before the direction can "
        "read it.": lambda p, v, out, d: p * (v * d[:, None]).sum(-1),
    },
    praise="your numbers are right for every key, whatever the sizes are. Together, the numbers of a prompt are what "
    "the head adds there. A number is large only if the head looks at the key and finds something in its value that "
    "the direction reads.",
    tolerance=REAL,
)


# 3g: an experiment of your own. Answers: {"prompts", "controls", "answers", "rivals": lists of texts, "part": the part
# that gains most, such as "L2H5"}.

LISTS = ["prompts", "controls", "answers", "rivals"]
PROMPTS, WORD_PAIRS = 16, 4  # that an experiment needs, and that an interval over pairs of words needs
TIE = 0.01  # logits: a part that gains less by no more than this is as good


def _experiment(answer, bridge, tokenizer, used):
    """What the cue does to the logit differences of an experiment, and to what each part adds to them."""
    lists = parts(answer, LISTS)
    asked = _designed(lists, bridge, tokenizer, used)
    (names, prompts), (_, controls) = (_last_attributions(bridge, *zip(*questions)) for questions in asked)
    units, unit = _units(lists[2:])
    # All means are over units, so that the parts' gains and the constant's sum to the gain that is told.
    with_cue, without = (torch.stack([each[:, rows].mean(1) for rows in units], 1) for each in (prompts, controls))
    gains, by_part = (with_cue - without).sum(0), (with_cue - without).mean(1)[:-1]
    low, high = bootstrap_interval(gains)
    part, adds = answer.get("part"), with_cue.mean(1)[:-1]
    known = isinstance(part, str) and part in names[:-1]
    here = names.index(part) if known else 0
    gain = gains.mean().item()
    return SimpleNamespace(
        prompts=len(lists[0]),
        units=len(units),
        unit=unit,
        right=(prompts.sum(0) > 0).double().mean().item(),
        right_without=(controls.sum(0) > 0).double().mean().item(),
        gain=gain,
        low=low,
        high=high,
        part=part,
        known=known,
        said=shown(part),
        example=names[0],
        part_gain=by_part[here].item(),
        part_adds=adds[here].item(),
        part_adds_without=without.mean(1)[here].item(),
        share=by_part[here].item() / gain if gain else 0.0,
        gains_most=by_part[here].item() >= by_part.max().item() - TIE,
        loses_most=by_part[here] == by_part.min(),
        adds_most=adds[here] == adds.max(),
    )


def _designed(lists, bridge, tokenizer, used):
    """(prompts, controls), of each text what is read before the words part, and the words' ids there; Wrong when they
    make no controlled experiment."""
    for name, texts in zip(LISTS, lists):
        require(isinstance(texts, (list, tuple)), f"'{name}' should be a list of texts; it is {shown(texts)}.")
    counts = ", ".join(f"{len(texts)} {name}" for name, texts in zip(LISTS, lists))
    require(len({len(texts) for texts in lists}) == 1, f"the four lists should be equally long; you have {counts}.")
    for name, texts in zip(LISTS, lists):
        for number, text in enumerate(texts):
            require(isinstance(text, str), f"{name}[{number}] should be a text; it is {shown(text)}.")
    different = len(set(lists[0]))
    require(
        different >= PROMPTS,
        f"you have {len(lists[0])} prompts, and {different} of them are different. Write {PROMPTS} different ones or "
        "more, because a few could come out this way by chance.",
    )
    prompts, controls, *_ = (
        [_encoded(bridge, tokenizer, text, f"{name}[{number}]") for number, text in enumerate(texts)]
        for name, texts in zip(LISTS, lists)
    )
    asked = [], []
    for number, (*texts, answer, rival) in enumerate(zip(*lists)):
        try:
            for questions, text in zip(asked, texts):
                ids, *words = question(tokenizer, text, answer, rival)
                questions.append((ids[0], *words))
        except TextError as problem:
            raise Wrong(f"answers[{number}] and rivals[{number}] cannot be compared: {problem}") from problem
    answers, rivals = (
        [
            encode(tokenizer, prompt + word)[0, len(ids) :].tolist()
            for prompt, ids, word in zip(lists[0], prompts, words)
        ]
        for words in lists[2:]
    )
    as_answer, as_rival = Counter(lists[2]), Counter(lists[3])
    for word in [*lists[2], *lists[3]]:
        require(
            as_answer[word] == as_rival[word],
            f"{word!r} is the answer of {as_answer[word]} prompts and the rival of {as_rival[word]}. Make it both "
            "equally often. Otherwise a model that likes the word for itself could seem to find the answer.",
        )
    for number, each in enumerate(zip(prompts, controls, answers, rivals)):
        problem = _uncontrolled(tokenizer, number, *each)
        require(problem is None, problem)
    for name, texts in zip(LISTS[:2], lists):
        taken = next((number for number, text in enumerate(texts) if text in used), None)
        require(taken is None, f"{name}[{taken}] is one of the notebook's prompts. Write your own.")
    for number, (prompt, control, *words) in enumerate(zip(prompts, controls, answers, rivals)):
        for name, word in zip(LISTS[2:], words):
            require(
                _places(word, prompt) == _places(word, control),
                f"{name}[{number}] stands at other places in controls[{number}] than in prompts[{number}]. Keep both "
                "words where they are and change only the cue, so that places cannot explain the difference.",
            )
    return asked


def _uncontrolled(tokenizer, number, prompt, control, answer, rival):
    """What keeps a prompt and its control, token ids, from being a comparison of one cue; None if nothing does."""
    for name, word in [("answers", answer), ("rivals", rival)]:
        for where, text in [("prompts", prompt), ("controls", control)]:
            if not _places(word, text):
                label = "".join(token_labels(tokenizer, word))
                return (
                    f"{name}[{number}], '{label}', does not occur in {where}[{number}] before its last token. Both the "
                    "answer and the rival should, so that the model has to choose. (A dot is a space. Without it, a "
                    "word is another token.)"
                )
    if len(prompt) != len(control):
        return (
            f"prompts[{number}] and controls[{number}] have {len(prompt)} and {len(control)} tokens. They should have "
            "equally many, so that everything stands at the same place in both."
        )
    if prompt[-1] != control[-1]:
        return (
            f"prompts[{number}] and controls[{number}] end with different tokens. Then the streams at the last token "
            "differ before any head has looked back. Change something earlier."
        )
    if prompt == control:
        return f"prompts[{number}] and controls[{number}] have the same tokens, so nothing was taken away."
    return None


def _places(word, text):
    """Where a word begins in a text before its last token. Both are token ids."""
    return [place for place in range(len(text) - len(word)) if text[place : place + len(word)] == word]


@torch.no_grad()
def _last_attributions(bridge, texts, answers, rivals):
    """(names, what each part adds to the logit difference at the last token, (part, text)); the constant comes last."""
    unembedding, adds, size = residual.Unembedding.of(bridge), [], 8
    for start in range(0, len(texts), size):
        batch = prepare(bridge, Batch.from_rows(texts[start : start + size]))
        token, other = (
            torch.tensor(ids[start : start + size], device=batch.tokens.device) for ids in (answers, rivals)
        )
        _, cache = bridge.run_with_cache(batch.tokens, attention_mask=batch.mask.long())
        names, vectors = residual.parts(cache, heads=True)
        vectors = vectors[:, range(len(batch)), batch.lengths - 1]
        adds.append(residual.logit_attribution(vectors, vectors.sum(0), unembedding, token, other).cpu().double())
    return [*names, "constant"], torch.cat(adds, 1)


def _units(words):
    """What an interval is over: ([rows], what they are). Rows of one pair of words, or single ones if pairs are few."""
    units = {}
    for row, pair in enumerate(zip(*words)):
        units.setdefault(frozenset(map(tuple, pair)), []).append(row)
    if len(units) >= WORD_PAIRS:
        return list(units.values()), "pairs of words"
    return [[row] for row in range(len(words[0]))], "prompts"


def _encoded(bridge, tokenizer, text, name):
    """A text's ids, a list; Wrong when it is no text, or one that a model cannot read as it was meant."""
    require(isinstance(text, str), f"{name} should be a text; it is {shown(text)}.")
    try:
        ids = encode(tokenizer, text, context=bridge.cfg.n_ctx)
    except TextError as problem:
        raise Wrong(f"{name} cannot be read: {problem}") from problem
    require(
        text == text.rstrip(" "),
        f"{name} ends with a space. A space belongs to the token after it, and a model has hardly ever seen one alone. "
        "Leave it out.",
    )
    return ids[0].tolist()


_INTERVAL = "(95% interval over {units} {unit}: {low:.3f} to {high:.3f})"
_GAIN = "the cue raises the logit difference by {gain:.3f} on average " + _INTERVAL
_ADDS = "{part} adds {part_adds:.3f} logits in the prompts and {part_adds_without:.3f} in the controls"
EXPERIMENT = Exercise(
    "3g",
    "An experiment of your own",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_experiment,
    later=("part",),
    mistakes={
        "the logit difference is higher in the controls: the cue changes it by {gain:.3f} on average "
        + _INTERVAL
        + ". Have you exchanged prompts and controls, or answers and rivals?": lambda facts: facts.high < 0,
        "the cue changes the logit difference by {gain:.3f} on average "
        + _INTERVAL
        + ". This interval holds 0, so the cue makes no difference that can be told from chance. Try "
        "another cue, or more prompts.": lambda facts: facts.low <= 0,
        _GAIN + ". Now measure which part gains most, because 'part' is still missing.": lambda facts: (
            facts.part is None
        ),
        "a part is named as `residual.parts(cache, heads=True)` names it, such as '{example}' or 'mlp 0'; yours is "
        "{said}.": lambda facts: not facts.known,
        _GAIN + ". But " + _ADDS + ". It loses most of all parts. Subtract the controls from the prompts.": (
            lambda facts: facts.loses_most and not facts.gains_most
        ),
        _GAIN + ". But " + _ADDS + ". No part adds more in the prompts, but another part gains more, because much of "
        "what {part} adds does not come from the cue.": lambda facts: facts.adds_most and not facts.gains_most,
        _GAIN + ". But " + _ADDS + ", a gain of {part_gain:.3f}. Another part gains more.": lambda facts: (
            not facts.gains_most
        ),
    },
    praise="with the cue the answer is ahead of its rival in {right:.3f} of {prompts} prompts, and without it in "
    "{right_without:.3f}. "
    + _GAIN[0].upper()
    + _GAIN[1:]
    + ". {part} carries {share:.3f} of this gain. But attribution has removed nothing, so you do not know yet what the "
    "model would do without this part.",
)

EXERCISES = [REMEMBERED_PAIR, LENS, SETTLED, ATTRIBUTION, READING_DIRECTION, BY_SOURCE, EXPERIMENT]
