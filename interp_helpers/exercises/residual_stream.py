"""Checkers of notebook 03: the residual stream as a sum, the logit lens, attribution, and questions with a control."""

import torch

from .. import residual
from ..errors import InterpError
from ..text import encode, token_labels
from .judging import Wrong, as_tensor, choose, compare, fresh, require, same, shown

REAL = 1e-4  # of the largest number: 32-bit sums over a whole model, in another order
SURE, SHORTEST = 0.5, 5  # 3f: the first word's probability, and tokens of a prompt
TAKEN, TIE = 1.0, 0.01  # 3g, in logits: what a control takes of the difference at least; gains nearer than this tie


def ten_times(prediction, *, before, after):
    """A stream ten times as long.

    prediction: 'surer', 'same' or 'less sure'; before, after: the first word's probability, after the last
    stream and after ten times that.
    """
    chosen = choose(prediction, ["surer", "same", "less sure"])
    before, after = as_tensor(before).item(), as_tensor(after).item()
    right = "same" if abs(after - before) < 0.01 * before else "surer" if after > before else "less sure"
    seen = f"the first word's probability was {before:.3f} and is {after:.3f} now"
    if right == "same":
        why = (
            "The final norm divides the stream by its own size before anything is read, so the factor drops out: what "
            "counts is the direction, and how long a part is beside the whole."
        )
    else:
        why = "This model does not divide all of the stream's size away."
    require(chosen == right, f"{seen}. {why}")
    return f"{seen}. {why}"


def streams_from_parts(rebuild, *, written, streams):
    """The stream at every depth.

    rebuild: written `(part, ..., d_model)`, layers -> `(layers + 1, ..., d_model)`: the stream before the first layer
    and after each; written, streams: the model's own parts and streams.
    """
    _require_function(rebuild)
    generator = fresh()
    for starts, layers, shape in [(2, 3, (4, 5, 6)), (1, 2, (7,)), (1, 4, (3, 5)), (2, 1, (6,))]:
        parts = torch.randn(starts + 2 * layers, *shape, generator=generator)
        start, attention, mlp = parts[:starts].sum(0), parts[starts::2], parts[starts + 1 :: 2]
        depths = range(layers + 1)
        right = torch.stack([parts[: starts + 2 * n].sum(0) for n in depths])
        middle = (
            "your rows stop in the middle of a layer, between attention and MLP. Not every model starts with equally "
            "many parts: some have an embedding alone, some a position too. How many of the parts belong to layers?"
        )
        mistakes = {
            "a row is missing: there is a stream before the first layer too.": right[1:],
            "a row is missing: the stream after the last layer.": right[:-1],
            "that is the stream after every part. One row a layer is asked for, after its attention and its MLP.": (
                parts.cumsum(0)
            ),
            "each of your rows holds only what its own layer wrote. The stream keeps what was there and adds.": (
                torch.stack([start, *(attention + mlp)])
            ),
            "the start is missing: layers add to an embedding, they do not begin at zero.": right - start,
            "the position is missing. This stream starts with two parts before any layer.": right - parts[starts - 1],
            middle: torch.stack([parts[: 3 - starts + 2 * n].sum(0) for n in depths]),
            middle + " Here you lost a row by it, too.": parts.cumsum(0)[2 - starts :: 2],
            "what the MLPs wrote is missing.": torch.stack([start + attention[:n].sum(0) for n in depths]),
            "what attention wrote is missing.": torch.stack([start + mlp[:n].sum(0) for n in depths]),
            "you added up along the vector's numbers. Parts are the first axis.": parts.cumsum(-1)[starts - 1 :: 2],
        }
        what = f"{starts} part{'s' * (starts > 1)} before {layers} layer{'s' * (layers > 1)}"
        compare(_stacked(rebuild(parts, layers)), right, mistakes, given=what)
    found = _stacked(rebuild(written, len(streams) - 1))
    compare(found, streams, {}, given="the model's own parts", tolerance=REAL)
    return f"from the model's {len(written)} parts you made all {len(streams)} of its streams."


def rank_of(rank, *, logits, token):
    """The rank of a word.

    rank: logits `(..., vocabulary)`, token id -> `(...)`: how many tokens have a larger logit; logits: the model's at
    every depth, `(depth, vocabulary)`; token: a word in them.
    """
    _require_function(rank)
    generator = fresh()
    for shape in [(9, 5, 8), (12,), (1, 10)]:
        scores = torch.randn(shape, generator=generator)
        word = int(torch.randint(shape[-1], (), generator=generator))
        own = scores[..., word, None]
        right = (scores > own).sum(-1)
        mistakes = {
            "you count from 1, or count the word itself as ahead of itself. Nothing is ahead of the first word: 0.": (
                right + 1
            ),
            "that is the *word* that stands at a place, as `argsort` gives it. Asked is the place of a word.": (
                scores.argsort(-1, descending=True)[..., word]
            ),
            "that is the word at a place counted from the smallest logit. Asked is the place of a word, from the "
            "largest.": scores.argsort(-1)[..., word],
            "you counted the words that are behind, not those that are ahead.": (scores < own).sum(-1),
            "that is one number for all predictions together. Count along the vocabulary only, the last axis.": (
                right.sum()
            ),
            "`logits[token]` indexes the first axis. The vocabulary is the last one.": (
                scores > scores[word % len(scores)]
            ).sum(-1),
            "that is a share of the vocabulary; asked is how many words.": right / shape[-1],
        }
        compare(_stacked(rank(scores, word)), right, mistakes, given=f"logits of shape {shape}")
    tied = torch.tensor([0.0, 2, 5, 2, 2, 1])[torch.randperm(6, generator=generator)]
    for word in (tied == 2).nonzero()[:, 0].tolist():
        found = as_tensor(rank(tied, word))
        require(
            same(found, 1),
            f"three words have the same logit, one word a larger one: all three have rank 1. Yours has {shown(found)}. "
            "A word with an equal logit is not ahead; sorting puts equal ones in some order.",
        )
    right = torch.tensor([int((row > row[token]).sum()) for row in logits])
    compare(_stacked(rank(logits, token)), right, {}, given="the model's logits at every depth")
    return f"at the end, {right[-1]} words are ahead of the other word of our question."


def lens_loss(loss, *, streams, unembedding, tokens):
    """The loss at every depth.

    loss: streams `(depth, position, d_model)`, unembedding, tokens `(position,)` -> `(depth,)`: the mean over positions
    of minus the log probability that the lens gives the next token. The rest: the model's own.
    """
    _require_function(loss)
    generator = fresh()
    for depths, length, size, vocabulary, centred in [(3, 6, 8, 11, True), (4, 5, 7, 12, False), (1, 2, 6, 9, True)]:
        made = _random_unembedding(size, vocabulary, centred, generator)
        vectors = torch.randn(depths, length, size, generator=generator) * 2 + 1
        ids = torch.randint(vocabulary, (length,), generator=generator)
        logits = _lens(vectors, made)
        right = _loss(logits, ids)
        logs = logits.log_softmax(-1)
        rows = torch.arange(length)
        surprise = -logs[:, rows[:-1], ids[1:]]
        plain = made._replace(weight=torch.ones(size), bias=torch.zeros(size))
        other_norm = made._replace(centred=not centred)
        mistakes = {
            "you scored each position for the token that stands there. The model has read that one; it predicts the "
            "next.": -logs[:, rows, ids].mean(-1),
            "you scored each position for the token that stands there (and left out the last). The model has read "
            "that one; it predicts the next.": -logs[:, rows[:-1], ids[:-1]].mean(-1),
            "you scored each position for the token before it. A model predicts forward: the token after it.": (
                -logs[:, rows[1:], ids[:-1]].mean(-1)
            ),
            "you let the last position predict the first token. What follows the last is not in the text: leave it "
            "out.": -logs[:, rows, ids.roll(-1)].mean(-1),
            "that is the sum over positions; asked is the mean.": surprise.sum(-1),
            "you divided by all positions. The last one predicts nothing that we know: divide by one less.": (
                surprise.sum(-1) / length
            ),
            "the sign is the other way: a log probability is below 0, and a loss above.": -right,
            "you averaged the probabilities and then took the log. Take the log at each position, then the mean.": (
                -(-surprise).exp().mean(-1).log()
            ),
            "that is one number for all depths together; asked is one a depth.": right.mean(),
            "the final norm is missing: you put the stream into the unembedding as it is.": (
                _loss(vectors @ made.W_U + made.b_U, ids)
            ),
            "the final norm's weight and bias are missing. After dividing by the scale, it multiplies and adds.": (
                _loss(_lens(vectors, plain), ids)
            ),
            "the final norm's weight is missing.": _loss(_lens(vectors, made._replace(weight=plain.weight)), ids),
            "the final norm's bias is missing.": _loss(_lens(vectors, made._replace(bias=plain.bias)), ids),
            "the unembedding's bias b_U is missing.": _loss(_lens(vectors, made._replace(b_U=0 * made.b_U)), ids),
            "the norm's epsilon is missing. It is added to the mean square, under the root.": (
                _loss(_lens(vectors, made._replace(epsilon=0.0)), ids)
            ),
            (
                "this norm subtracts the mean first (`unembedding.centred` is true); yours does not."
                if centred
                else "this norm subtracts no mean (`unembedding.centred` is false, an RMSNorm); yours does."
            ): _loss(_lens(vectors, other_norm), ids),
            "you used the last stream's scale at every depth. The lens reads each depth as if the model stopped there: "
            "each is divided by its own.": _loss(_lens(vectors, made, scaled_like=vectors[-1:]), ids),
            "you divided by torch's `std`, which divides by one number less than a LayerNorm. Give it "
            "correction=0, and mind epsilon.": _loss(_lens(vectors, made, correction=1), ids),
        }
        what = f"{depths} depth{'s' * (depths > 1)} of {length} tokens, a norm with weight, bias and a large epsilon"
        compare(_stacked(loss(vectors, made, ids)), right, mistakes, given=what)
    right = _loss(_lens(streams, unembedding), tokens)
    compare(_stacked(loss(streams, unembedding, tokens)), right, {}, given="the model's streams", tolerance=REAL)
    return f"from {right[0]:.3f} nats before the first layer to {right[-1]:.3f} at the end: the model's own loss."


def reading_direction(direction, *, written, names, unembedding, words):
    """The direction that is read.

    direction: stream `(..., d_model)`, unembedding, token, other -> `(..., d_model)`: its dot product with any part of
    the stream is what the part adds to the logit difference of token and other. written: the model's parts
    `(part, d_model)`, and their names; words: two ids.
    """
    _require_function(direction)
    generator = fresh()
    for shape, vocabulary, centred in [((6,), 10, True), ((2, 3, 7), 11, True), ((4, 5), 9, False), ((1, 8), 12, True)]:
        made = _random_unembedding(shape[-1], vocabulary, centred, generator)
        stream = torch.randn(shape, generator=generator) * 2 + 1
        token, other = torch.randperm(vocabulary, generator=generator)[:2].tolist()
        right = _reading(stream, made, token, other)
        wanted = made.W_U[:, token] - made.W_U[:, other]
        scale = _scale(stream, made)
        weighed = wanted * made.weight
        mistakes = {
            "the sign is turned: subtract the other word's column from the answer's, not the other way round.": -right,
            "that is what is read for the one word. A logit difference needs the difference of two columns of W_U.": (
                _reading(stream, made, token, None)
            ),
            "the norm's weight is missing: it multiplies each number before W_U reads it.": (
                _reading(stream, made._replace(weight=torch.ones(shape[-1])), token, other)
            ),
            "the norm's scale is missing. A part is divided by it, so what reads the part must be.": right * scale,
            "you left the mean in. A part that writes 1 into every number is taken away by this norm, so it must get "
            "0; with yours it gets something."
            if centred
            else "this norm subtracts no mean (`unembedding.centred` is false, an RMSNorm); yours does.": (
                weighed / scale if centred else (weighed - weighed.mean()) / scale
            ),
            "you subtracted the mean before the weight. A part meets the norm first and W_U last: going back from W_U, "
            "the weight comes first, then the mean.": (wanted - wanted.mean()) * made.weight / scale,
            "you took the mean of the stream off the direction. What has to go is the direction's own mean.": (
                (weighed - stream.mean(-1, keepdim=True)) / scale
            ),
            "the norm's bias is in it. No part wrote the bias; it belongs to the constant beside the parts.": (
                right + made.bias * wanted
            ),
            "you divided by the whole stream's size with its mean still in it. This norm measures what is left after "
            "subtracting the mean.": right * scale / _scale(stream, made._replace(centred=False)),
            "the norm's epsilon is missing. It is added to the mean square, under the root.": (
                right * scale / _scale(stream, made._replace(epsilon=0.0))
            ),
            "you divided by torch's `std`, which divides by one number less than a LayerNorm. Give it "
            "correction=0, and mind epsilon.": right * scale / _scale(stream, made, correction=1),
            "you gave it length 1. Its length is part of the answer: dot products are to be logits.": (
                torch.nn.functional.normalize(right, dim=-1)
            ),
        }
        norm = "LayerNorm" if centred else "RMSNorm"
        compare(
            _stacked(direction(stream, made, token, other)),
            right,
            mistakes,
            given=f"a stream of shape {shape} and {'a' if centred else 'an'} {norm} with a large epsilon",
        )
    stream = written.sum(0)
    right = _reading(stream, unembedding, *words)
    compare(direction(stream, unembedding, *words), right, {}, given="the model's last stream", tolerance=REAL)
    adds, lengths = written @ right, written.norm(dim=-1)
    aims = residual.cosines(written, right)
    long, strong = lengths.argmax().item(), adds.argmax().item()
    told = (
        f"the longest write is {names[long]}'s, of length {lengths[long]:.3f}; at a cosine of {aims[long]:.3f} it adds "
        f"{adds[long]:.3f} logits"
    )
    if long == strong:
        return f"{told}, the most of all."
    better = f"that of {names[strong]} has length {lengths[strong]:.3f}, but a cosine of {aims[strong]:.3f}"
    return f"{told}; {better}, and adds most: {adds[strong]:.3f}."


def settled(prompts, *, bridge, tokenizer):
    """Settled early, settled late.

    prompts: {"early": a text, "late": a text}. A text is settled after the first n layers from which on the lens has
    the model's own first word first, up to the end: for early, half of the layers or fewer; for late, all of them.
    """
    require(
        isinstance(prompts, dict) and set(prompts) == {"early", "late"},
        f'give a dictionary with two texts, {{"early": ..., "late": ...}}; got {shown(prompts)}.',
    )
    layers, unembedding = bridge.cfg.n_layers, residual.Unembedding.of(bridge)
    found = {}
    for name, text in prompts.items():
        ids = _encoded(bridge, tokenizer, text, f"the {name} text")
        require(ids.shape[1] >= SHORTEST, f"the {name} text has {ids.shape[1]} tokens; give {SHORTEST} or more.")
        with torch.no_grad():
            logits, cache = bridge.run_with_cache(ids, names_filter=lambda each: "resid" in each)
            firsts = residual.to_logits(cache.accumulated_resid()[:, 0, -1], unembedding).argmax(-1).tolist()
        sure = logits[0, -1].softmax(-1).max().item()
        depth = layers
        while depth and firsts[depth - 1] == firsts[layers]:
            depth -= 1
        (word,) = token_labels(tokenizer, firsts[layers:])
        require(
            sure > SURE,
            f"after the {name} text the model's first word is '{word}' with probability {sure:.3f}. Take one where it "
            f"is over {SURE}: what it never settles on cannot be early or late.",
        )
        found[name] = depth, firsts.index(firsts[layers]), word
    half = layers // 2
    (early, seen, word), (late, _, last_word) = found["early"], found["late"]
    if late <= half and early == layers:
        raise Wrong(f"you have them the wrong way round: 'early' settles after {early} layers, 'late' after {late}.")
    if seen <= half < early:
        raise Wrong(
            f"in the early text '{word}' comes first after {seen} of {layers} layers, but another word overtakes it: "
            f"it is settled after {early} only. Settled means that it stays first to the end."
        )
    require(
        early <= half,
        f"the early text is settled on '{word}' after {early} of {layers} layers; early is {half} or fewer. What could "
        "a model know from the last word or two alone?",
    )
    require(
        late == layers,
        f"the late text is settled on '{last_word}' after {late} of {layers} layers already; late is {layers}. "
        "The last layer has to bring it to the front.",
    )
    return f"'{word}' is first from {early} of {layers} layers on; '{last_word}' not before the last has written."


def own_question(question, *, bridge, tokenizer, used):
    """A question of your own, with a control.

    question: {"prompt", "control", "answer", "other": texts, "part": the part that gains most, such as "L2H5" or
    "mlp 3"}; used: prompts that are not your own.
    """
    keys = ["prompt", "control", "answer", "other", "part"]
    require(
        isinstance(question, dict) and sorted(question) == sorted(keys),
        f"give a dictionary with {', '.join(keys)}; got {shown(question)}.",
    )
    missing = [key for key in keys if question[key] is None]
    require(not missing, f"still missing: {', '.join(missing)}.")
    require(question["prompt"] not in used, "that prompt is the notebook's. Ask one of your own.")
    sides = [_encoded(bridge, tokenizer, question[key], f"the {key}") for key in ("prompt", "control")]
    lengths = [each.shape[1] for each in sides]
    require(
        lengths[0] == lengths[1],
        f"prompt and control have {lengths[0]} and {lengths[1]} tokens. With one length, the last word has the same "
        "position in both, and what differs is not where it stands.",
    )
    require(not torch.equal(*sides), "prompt and control have the same tokens: nothing was taken away.")
    require(
        sides[0][0, -1] == sides[1][0, -1],
        "prompt and control end with another word. Then the embedding differs at the last position before any layer "
        "has looked back. Change something further up.",
    )
    words = [_encoded(bridge, tokenizer, question[key], f"the {key}")[0, 0].item() for key in ("answer", "other")]
    require(
        words[0] != words[1],
        "answer and other begin with the same token: their logit difference is 0 whatever the model does.",
    )
    runs = []
    for ids in sides:
        with torch.no_grad():
            logits, cache = bridge.run_with_cache(ids)
        names, vectors = residual.parts(cache, heads=True)
        runs.append((logits[0, -1], vectors[:, 0, -1]))
    first = runs[0][0].argmax().item()
    if first != words[0]:
        spaced = encode(tokenizer, " " + question["answer"].lstrip())[0, 0].item()
        require(
            first != spaced,
            f"write the answer with the space that its token begins with: ' {question['answer'].lstrip()}'.",
        )
        (label,) = token_labels(tokenizer, [first])
        ahead = (runs[0][0] > runs[0][0][words[0]]).sum().item()
        raise Wrong(
            f"after your prompt the model says '{label}'; the answer has rank {ahead}. Ask something that it answers."
        )
    differences = [(logits[words[0]] - logits[words[1]]).item() for logits, _ in runs]
    told = f"the logit difference is {differences[0]:.3f} with the prompt and {differences[1]:.3f} with the control"
    if differences[0] - differences[1] < TAKEN:
        inside = " The answer stands in the control, too." if words[0] in sides[1] else ""
        raise Wrong(
            f"{told}. The control takes away less than {TAKEN:.0f}, so it does not change what the answer rests on."
            f"{inside}"
        )
    unembedding = residual.Unembedding.of(bridge)
    adds = [vectors @ _reading(vectors.sum(0), unembedding, *words) for _, vectors in runs]
    gains = adds[0] - adds[1]
    part = question["part"]
    require(
        part in names,
        f"a part is a text such as '{names[0]}' for a head or 'mlp 0', as `residual.parts(cache, heads=True)` names "
        f"them; got {shown(part)}.",
    )
    here = names.index(part)
    has = f"{part} has {adds[0][here]:.3f} with the prompt and {adds[1][here]:.3f} with the control"
    if gains[here] < gains.max() - TIE:
        if gains[here] == gains.min():
            raise Wrong(f"{has}: it loses most. Subtract the control from the prompt, not the other way round.")
        if adds[0][here] == adds[0].max():
            raise Wrong(f"{has}. It adds most with the prompt, but much of that would have been there anyway.")
        raise Wrong(f"{has}. Some other part gains more.")
    return f"{told}; {has}. Now write what that shows, and what it does not."


def _require_function(answer):
    require(callable(answer), f"the answer should be a function, not what it returns; it is {shown(answer)}.")


def _stacked(found):
    """A list of tensors as one tensor; anything else as it is."""
    tensors = isinstance(found, (list, tuple)) and all(isinstance(each, torch.Tensor) for each in found)
    return torch.stack(list(found)) if tensors and len({each.shape for each in found}) == 1 else found


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


def _scale(stream, unembedding, correction=0):
    """What the final norm divides a stream by, `(..., 1)`."""
    if unembedding.centred:
        stream = stream - stream.mean(-1, keepdim=True)
    mean_square = stream.square().sum(-1, keepdim=True) / (stream.shape[-1] - correction)
    return (mean_square + unembedding.epsilon).sqrt()


def _lens(streams, unembedding, *, scaled_like=None, correction=0):
    """Logits of streams by the formula of the notebook."""
    scale = _scale(streams if scaled_like is None else scaled_like, unembedding, correction)
    centred = streams - streams.mean(-1, keepdim=True) if unembedding.centred else streams
    return (centred / scale * unembedding.weight + unembedding.bias) @ unembedding.W_U + unembedding.b_U


def _loss(logits, tokens):
    """Mean of -log p of the next token, one a depth, position by position."""
    logs = logits.log_softmax(-1)
    each = [-logs[:, position, tokens[position + 1]] for position in range(len(tokens) - 1)]
    return torch.stack(each).mean(0)


def _reading(stream, unembedding, token, other):
    """What a part gets that writes 1 into one number and 0 into the rest: that for every number, `(..., d_model)`."""
    wanted = unembedding.W_U[:, token] - (0 if other is None else unembedding.W_U[:, other])
    ones = torch.eye(stream.shape[-1], device=stream.device, dtype=stream.dtype)
    if unembedding.centred:
        ones = ones - ones.mean(-1, keepdim=True)
    return (ones * unembedding.weight) @ wanted / _scale(stream, unembedding)


def _encoded(bridge, tokenizer, text, what):
    """A text's ids, where the bridge is; Wrong when it is no text, or one that a model cannot read as it was meant."""
    require(isinstance(text, str), f"{what} should be a text; it is {shown(text)}.")
    try:
        ids = encode(tokenizer, text, context=bridge.cfg.n_ctx)
    except InterpError as problem:
        raise Wrong(f"{what} cannot be used. {problem}") from problem
    require(
        text == text.rstrip(" "),
        f"{what} ends with a space. A space belongs to the token after it; alone at the end it is a token that the "
        "model hardly ever saw. Leave it off.",
    )
    return ids.to(bridge.W_U.device)


CHECKERS = [ten_times, streams_from_parts, rank_of, lens_loss, reading_direction, settled, own_question]
