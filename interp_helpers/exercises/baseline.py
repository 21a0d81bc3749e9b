"""Checkers of notebook 01: patterns and their averages, the first position, logits by hand, and surprise."""

import math

import torch

from ..attention import head_label, top_head
from ..errors import TextError
from ..hooks import layout, record_inputs
from ..models import context_length
from ..text import encode, token_labels
from .judging import as_tensor, choose, compare, fresh, require, same, shown


def what_moves_the_mean(predictions, before, backwards, doubled):
    """What moves the mean.

    predictions: {"backwards": ..., "doubled": ...}, each 'lower', 'same' or 'higher': what becomes of the mean weight.
    before, backwards, doubled: patterns `(layer, head, query, key)` of the prompt, of its tokens in reverse order, and
    of the prompt twice over.
    """
    require(
        isinstance(predictions, dict) and {"backwards", "doubled"} <= set(predictions),
        "fill in both predictions: {'backwards': ..., 'doubled': ...}.",
    )
    start, measured = before.mean().item(), {"backwards": backwards.mean().item(), "doubled": doubled.mean().item()}
    for name, mean in measured.items():
        found = choose(predictions[name], ["lower", "same", "higher"])
        near = math.isclose(start, mean, rel_tol=1e-4)
        right = "same" if near else "lower" if mean < start else "higher"
        if name == "backwards":
            why = "Another order moves weights about within a row. Can it change what the row sums to, or its length?"
        elif found == "same":
            why = "There are twice as many rows, and each has twice as many columns to share its 1 among."
        else:
            why = "Each row still has a 1 to give away, no more and no less. Among how many columns?"
        require(found == right, f"{name}, the mean went from {start:.3f} to {mean:.3f}, and you said {found!r}. {why}")
    return (
        f"{start:.3f} as it was, {measured['backwards']:.3f} backwards, {measured['doubled']:.3f} doubled. Every row "
        "shares a 1 among T columns: the mean is 1/T, and the words have no say in it."
    )


def _views():
    """(name, visible `(query, key)`, leading axes) for texts of which not every row sees all that came before."""
    causal = torch.ones(8, 8).tril().bool()
    yield "a window of 4 keys", causal & torch.ones(8, 8).triu(-3).bool(), (4,)
    padded = causal.clone()
    padded[:, :2] = False
    padded[0, 0] = padded[1, 1] = True  # padding on the left: these rows see themselves only
    yield "a text with padding on its left", padded, (3, 2)
    yield "the last 3 rows of a text of 8 tokens", causal[-3:], (2, 3)
    yield "a single head without leading axes", causal[:5, :5], ()


def _seen(visible, leading, generator):
    """A random pattern with weight on keys in view only, but none on one of those where there are three or more."""
    scores = 2 * torch.randn(*leading, *visible.shape, generator=generator)
    least = scores.masked_fill(~visible, torch.inf).argmin(-1, keepdim=True)
    scores = torch.where(visible.sum(-1, keepdim=True) > 2, scores.scatter(-1, least, -torch.inf), scores)
    return scores.masked_fill(~visible, -torch.inf).softmax(-1)


def _why_nan(focus):
    """Why a focus is NaN: weights of 0, which this pattern has, or rows that see one key, which it has not."""
    pattern = torch.tensor([[0.5, 0.5, 0], [0.25, 0.75, 0], [0.25, 0.25, 0.5]])
    if as_tensor(focus(pattern, torch.tensor([[True, True, False]] * 2 + [[True] * 3]))).isnan().any():
        return (
            "your answer is NaN. A weight of 0 gives 0 times log 0, and that is NaN; such a weight adds nothing to the "
            "entropy."
        )
    return (
        "your answer is NaN when a row sees a single key: the most it could have is log 1 = 0, and 0 / 0 is NaN. Such "
        "a row has nothing to choose; leave it out."
    )


def focus_with_a_view(focus):
    """Focus where not every key is in view.

    focus: pattern `(..., query, key)`, visible `(query, key)` of booleans -> `(...,)`: entropy of each row over the
    logarithm of how many keys it sees, mean over the rows that see two or more.
    """
    generator = fresh()
    for given, visible, leading in _views():
        pattern, rows = _seen(visible, leading, generator), visible.sum(-1)
        found = focus(pattern, visible)
        if as_tensor(found).isnan().any():
            require(False, _why_nan(focus))
        bits, chooses = torch.special.entr(pattern).sum(-1) / math.log(2), rows > 1
        most = rows.log2()
        shares = (bits / most)[..., chooses]
        right = shares.mean(-1)
        mistakes = {
            "that is the entropy itself. Divide each row by the most it could have: rows that see more keys can have "
            "more.": bits[..., chooses].mean(-1),
            "your share is negative: logarithms of weights are below 0. Entropy has a minus in front.": -right,
            "you measured the entropy in nats and its maximum in bits. Take one logarithm for both.": right
            * math.log(2),
            "you measured the entropy in bits and its maximum in nats. Take one logarithm for both.": right
            / math.log(2),
            "you divided every row by the logarithm of all keys. A row's maximum is for the keys it sees.": bits[
                ..., chooses
            ].mean(-1)
            / math.log2(visible.shape[1]),
            "you counted rows that see a single key. They have nothing to choose: with them, the average looks more "
            "focused than the head is.": shares.sum(-1) / len(rows),
            "you left the first row out. Here it sees many keys; the rows that do not count are those that see one.": (
                bits / most
            )[..., 1:][..., chooses[1:]].mean(-1),
            "you divided the sum of the entropies by the sum of their maxima, so long rows count more. Take each row's "
            "share first, then the mean.": bits[..., chooses].sum(-1) / most.sum(),
            "that is one number for all heads. Average over queries only: one number a head.": shares.mean(),
            "you divided row q by log2(q + 1), as if it saw all that came before. `visible` says what it sees.": (
                bits[..., 1:] / torch.arange(2, len(rows) + 1).log2()
            ).mean(-1),
            "you counted the keys that got some weight. The maximum is for those that the row could see, also when it "
            "gave them nothing.": (bits / (pattern > 0).sum(-1).clamp(min=2).log2())[..., chooses].mean(-1),
        }
        if visible.shape[0] == visible.shape[1]:
            columns = torch.special.entr(pattern).sum(-2) / math.log(2)
            mistakes["your entropy runs over queries, down a column. A row, over keys, is what sums to 1."] = (
                columns / most
            )[..., chooses].mean(-1)
        compare(found, right, mistakes, given=given, tolerance=1e-4)
    return "a window, padding, rows that see one key: each row was held against what it could see."


def sink_word_or_place(prediction, before, after):
    """The sink: a word or a place.

    prediction: 'place', 'word' or 'neither'. before: patterns `(layer, head, query, key)` of the prompt; after:
    `(text, layer, head, query, key)`, those of texts with one more token in front.
    """
    found = choose(prediction, ["place", "word", "neither"])
    reading = before[:, :, 1:, 0].mean(-1)
    layer, head = top_head(reading)
    place, word = (after[:, layer, head, 2:, key].mean().item() for key in (0, 1))
    right = "place" if place > 0.5 else "word" if word > 0.5 else "neither"
    seen = (
        f"head {head_label(layer, head)} gives {place:.3f} to the token that now stands in front and {word:.3f} to the "
        "one that stood there before"
    )
    if found != right:
        why = {
            ("place", "word"): "The word kept its place in the text's beginning, and lost the attention.",
            ("place", "neither"): "Over half goes to one of the two, whatever the token is.",
            ("word", "place"): "The attention moved along with the word.",
            ("word", "neither"): "Over half goes to one of the two, and it moved along.",
        }.get((right, found), "Neither gets over half, so nothing here deserves to be called a sink.")
        require(False, f"{seen}. You said {found!r}. {why}")
    return {
        "place": f"{seen}. Any token will do: the sink is the first place, and a start token takes it over.",
        "word": f"{seen}. Here it is the word that draws attention, and a start token will not relieve it.",
        "neither": f"{seen}. This model has no sink that survives one more token.",
    }[right]


def stream_to_logits(logits_by_hand, model=None, tokens=None):
    """From the stream to the logits.

    logits_by_hand: stream `(..., size)`, weight and bias `(size,)` and eps of the final LayerNorm, unembedding
    `(vocabulary, size)` -> logits `(..., vocabulary)`. model, tokens `(1, position)`: to try it on, where the model has
    a LayerNorm at its end.
    """
    generator = fresh()
    size, vocabulary = 12, 9
    for shape, scale, shift in [((2, 5, size), 3, 2), ((size,), 1, -1), ((4, size), 3e-3, 0)]:
        stream = scale * torch.randn(*shape, generator=generator) + shift
        weight, bias = (torch.randn(size, generator=generator) for _ in range(2))
        unembedding = torch.randn(vocabulary, size, generator=generator)
        given = f"a stream of shape {shape}" + (" with small numbers" if scale < 1 else "")
        found = logits_by_hand(stream, weight, bias, 1e-5, unembedding)
        compare(found, *_logits(stream, weight, bias, 1e-5, unembedding), given=given, tolerance=1e-4)
    if model is None:
        return "random streams, one vector or many."
    norm = layout(model).final_norm
    with torch.no_grad(), record_inputs([norm]) as seen:
        said = model(tokens.to(model.device)).logits.cpu()
    if not isinstance(norm, torch.nn.LayerNorm) or norm.weight is None:
        return f"random streams, one vector or many. (This model ends in another norm, {type(norm).__name__}.)"
    bias = torch.zeros_like(norm.weight) if norm.bias is None else norm.bias
    unembedding = model.get_output_embeddings().weight
    *given, matrix = (each.detach().cpu() for each in (seen[0], norm.weight, bias, unembedding))
    right, mistakes = _logits(*given, norm.eps, matrix)
    if not same(right, said, 1e-3):  # logits that are scaled, capped or shifted on the way out
        return "random streams, one vector or many. (This model does more to its logits than multiply.)"
    found = logits_by_hand(*given, norm.eps, matrix)
    compare(found, said, mistakes, given="the model's own stream", tolerance=1e-3)
    return "random streams, and the model's own: your logits are the ones it gives."


def _logits(stream, weight, bias, eps, unembedding):
    """The logits of a stream, and {message: what a mistake makes of them}."""
    centred = stream - stream.mean(-1, keepdim=True)
    variance = centred.pow(2).mean(-1, keepdim=True)
    normal = centred / (variance + eps).sqrt()
    size = stream.shape[-1]
    mistakes = {
        "you did not normalise. The stream goes through the final LayerNorm before the unembedding.": stream,
        "you scaled and shifted the stream, but did not subtract its mean and divide by its standard deviation.": stream
        * weight
        + bias,
        "the LayerNorm's weight and bias are forgotten. After normalising, every dimension is multiplied and shifted "
        "by learned numbers.": normal,
        "the LayerNorm's bias is forgotten: the shift after the weight.": normal * weight,
        "the LayerNorm's weight is forgotten: every dimension is multiplied by a learned number, then shifted.": normal
        + bias,
        "you added the bias before you multiplied. The weight comes first, the bias after it.": (normal + bias)
        * weight,
        "the mean is not subtracted. (Dividing by the root of the mean square alone is another norm, RMSNorm.)": stream
        / (stream.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        * weight
        + bias,
        "you divided by the standard deviation without subtracting the mean.": stream / (variance + eps).sqrt() * weight
        + bias,
        "you divided by the variance. LayerNorm divides by its root, the standard deviation.": centred
        / (variance + eps)
        * weight
        + bias,
        "your variance divides by one less than the size, as for a sample. LayerNorm divides by the size: "
        "correction=0.": centred / (variance * size / (size - 1) + eps).sqrt() * weight + bias,
        "eps is forgotten: it is added to the variance, and matters when the stream is small.": centred
        / variance.sqrt()
        * weight
        + bias,
        "eps belongs under the root, added to the variance, not to the standard deviation.": centred
        / (variance.sqrt() + eps)
        * weight
        + bias,
    }
    if stream.dim() > 1:
        across = stream - stream.mean(-2, keepdim=True)
        mistakes[
            "you normalised each dimension over the positions. LayerNorm takes one position at a time, over its "
            "dimensions: dim=-1."
        ] = across / (across.pow(2).mean(-2, keepdim=True) + eps).sqrt() * weight + bias
    mistakes = {message: each @ unembedding.T for message, each in mistakes.items()}
    mistakes["that is the normalised stream. One more step: a dot product with every token's vector."] = (
        normal * weight + bias
    )
    mistakes["those are probabilities. Logits come before the softmax."] = (
        (normal * weight + bias) @ unembedding.T
    ).softmax(-1)
    return (normal * weight + bias) @ unembedding.T, mistakes


def padded_losses(text_losses):
    """Losses of a padded batch.

    text_losses: logits `(text, position, vocabulary)`, tokens and mask `(text, position)` -> `(text,)`: the mean
    loss of each text over its tokens but the first, in nats.
    """
    generator = fresh()
    vocabulary = 11
    for lengths in [(7, 4, 2), (5,), (3, 6)]:
        width = max(lengths)
        mask = torch.arange(width) < torch.tensor(lengths)[:, None]
        tokens = torch.randint(1, vocabulary, mask.shape, generator=generator) * mask
        logits = 2 * torch.randn(*mask.shape, vocabulary, generator=generator)

        def loss(logits, tokens):
            return -logits.gather(-1, tokens[..., None])[..., 0]

        def mean(losses, counts):
            return (losses * counts).sum(1) / counts.sum(1)

        said, wanted, counts = logits[:, :-1], tokens[:, 1:], mask[:, 1:]
        losses = loss(said.log_softmax(-1), wanted)
        right, total = mean(losses, counts), (losses * counts).sum(1)
        given = f"{len(lengths)} texts of {', '.join(map(str, lengths))} tokens" if len(lengths) > 1 else "one text"
        found = text_losses(logits, tokens, mask)
        for position_softmax in (said.log_softmax(1), logits.log_softmax(1)[:, :-1]):
            require(
                not same(found, mean(loss(position_softmax, wanted), counts)),
                "your softmax runs over the positions. At each position the tokens of the vocabulary compete: take "
                "the last axis.",
            )
        unshifted = loss(logits.log_softmax(-1), tokens)
        mistakes = {
            "you held each position's logits against the token that stands there. They are about the next one: logits "
            "lose their last position, tokens their first.": [
                mean(unshifted, mask),
                mean(unshifted[:, 1:], counts),
                mean(unshifted[:, :-1], mask[:, :-1]),
            ],
            "you shifted the wrong way: each position was held against the token before it.": mean(
                loss(logits[:, 1:].log_softmax(-1), tokens[:, :-1]), counts
            ),
            "you took the logits as they are. A softmax makes probabilities of them first.": mean(
                loss(said, wanted), counts
            ),
            "the sign is missing: the logarithm of a probability is below 0, and a loss above.": -right,
            "that is in bits. A loss in nats takes the natural logarithm.": right / math.log(2),
            "you counted the padding: nobody wrote it, and nobody should be scored on it.": losses.mean(1),
            "you divided by the width of the batch. The padding does not count, so divide by the tokens that do.": total
            / (width - 1),
            "you divided by all tokens of the text. The first one is predicted by nobody, so divide by one less.": total
            / mask.sum(1),
            "your mask still belongs to the positions that predict. A loss counts if the token it is about is real: "
            "shift the mask with the tokens.": mean(losses, mask[:, :-1]),
            "those are sums. Divide by the number of tokens that were predicted.": total,
            "that is one number for all texts. Give every text its own.": [
                (losses * counts).sum() / counts.sum(),
                right.mean(),
            ],
            "you averaged the probabilities before the logarithm. Take the loss of each token, then the mean.": -mean(
                (-losses).exp(), counts
            ).log(),
        }
        if not same(found, right):
            for message, values in mistakes.items():  # some mistakes can be made in more than one way
                for value in values if isinstance(values, list) else [values]:
                    require(not same(found, value), message)
        compare(found, right, {}, given=given)
    return "every text has its own mean, and the padding none of it."


def worse_than_knowing_nothing(text, model, tokenizer):
    """Worse than knowing nothing.

    text: 12 tokens or more, with a mean loss below half of even guessing, in which one token costs more than even
    guessing. model, tokenizer: those that read it.
    """
    require(isinstance(text, str), f"the answer is a text in quotes; yours is {shown(text)}.")
    ids, losses, logits = _read(model, tokenizer, text)
    require(len(ids) >= 12, f"your text has {len(ids)} tokens; it should have 12 or more.")
    even, mean = math.log(logits.shape[-1]), losses.mean().item()
    worst = losses.argmax().item()
    label = token_labels(tokenizer, ids)[worst + 1]
    at = f"the most surprising token, {label!r}, costs {losses[worst]:.2f} nats"
    if losses[worst] <= even:
        advice = (
            "To pay more than even guessing, a model must have ruled the token out. Where is it sure of something else?"
            if losses[worst] < even - 2
            else "Almost. What fits there even less?"
        )
        require(False, f"{at}, and even guessing {even:.2f}. {advice}")
    require(
        mean < even / 2,
        f"{at}, but the text is hard all over: its mean is {mean:.2f}, and half of even guessing {even / 2:.2f}. Let "
        "everything but one word be what the model expects.",
    )
    expected = token_labels(tokenizer, logits[worst].argmax()[None])[0]
    return (
        f"{at}, where even guessing costs {even:.2f}; the text's mean is {mean:.2f}. There the model expected "
        f"{expected!r}. Who spreads the bets evenly cannot lose more than that; who is sure of something can."
    )


def seen_before_or_better_told(project, model, tokenizer):
    """Seen before, or better told.

    project: {"pairs": [(seen, unseen), ...], "gain": number}: four or more pairs of texts with the same last token,
    which occurs earlier in the first text and not in the second; otherwise they are the same. gain: by how many nats
    the last token costs less in the first, on average. model, tokenizer: those that read them.
    """
    require(
        isinstance(project, dict) and {"pairs", "gain"} <= set(project),
        "the answer is {'pairs': [(seen, unseen), ...], 'gain': a number}.",
    )
    pairs = project["pairs"]
    listed = isinstance(pairs, (list, tuple)) and all(isinstance(each, (list, tuple)) for each in pairs)
    require(
        listed and all(len(each) == 2 and all(isinstance(text, str) for text in each) for each in pairs),
        "'pairs' should be a list of pairs of texts: [('... cat ... cat', '... dog ... cat'), ...].",
    )
    read, unpaired = [], "pair {}: {}"
    for number, pair in enumerate(pairs, 1):
        seen, unseen = (_read(model, tokenizer, text) for text in pair)
        problem = _uncontrolled(tokenizer, seen[0].tolist(), unseen[0].tolist())
        require(problem is None, unpaired.format(number, problem))
        read.append((seen, unseen))
    words = {seen[0][-1].item() for seen, _ in read}
    require(
        len(words) >= 4,
        f"you have {len(pairs)} pairs with {len(words)} different last tokens. One word proves nothing: take four or "
        "more.",
    )
    require(project["gain"] is not None, "the pairs are in order. Now measure: 'gain' is still None.")
    given = as_tensor(project["gain"], "'gain'")
    require(given.numel() == 1, f"'gain' should be one number, the mean over pairs; yours is {shown(given)}.")
    gains = torch.tensor([(unseen[1][-1] - seen[1][-1]).item() for seen, unseen in read]).double()
    right, found, close = gains.mean().item(), given.item(), 0.006  # two decimals are enough
    if not abs(found - right) <= close:
        for message, value in {
            "the sign is turned: a gain is what the token costs unseen, less what it costs seen.": -right,
            "that is the sum over pairs. Take the mean.": gains.sum().item(),
            "that is in bits. Take the natural logarithm, as everywhere in this section.": right / math.log(2),
            "that is the difference of the whole texts' mean losses. Ask for the last token's only: elsewhere stands "
            "another word.": _mean(unseen[1].mean() - seen[1].mean() for seen, unseen in read),
            "you read the last token's own logits. They are about the token after it; those before say how much it "
            "costs.": _mean(_unshifted(unseen) - _unshifted(seen) for seen, unseen in read),
            "that is a difference of probabilities. A loss is the negative logarithm of one.": _mean(
                (-seen[1][-1]).exp() - (-unseen[1][-1]).exp() for seen, unseen in read
            ),
        }.items():
            require(not abs(found - value) <= close, message)
        seen, unseen = read[0]
        require(
            False,
            f"your gain of {found:.2f} is not that of your pairs. In the first, the last token costs {seen[1][-1]:.2f} "
            f"seen and {unseen[1][-1]:.2f} unseen; begin there.",
        )
    return (
        f"{len(read)} pairs, each controlled; the gain of having been seen is {right:.2f} nats on average, and above 0 "
        f"in {(gains > 0).sum().item()} of {len(read)}. What follows from that is for you to write."
    )


def _mean(values):
    values = [float(each) for each in values]
    return sum(values) / len(values)


def _unshifted(read):
    ids, _, logits = read
    return -logits[-1].log_softmax(-1)[ids[-1]]


def _uncontrolled(tokenizer, seen, unseen):
    """What keeps two texts, lists of token ids, from being a controlled comparison; None if nothing does."""
    if len(seen) != len(unseen):
        return (
            f"the texts have {len(seen)} and {len(unseen)} tokens. Then everything after the change stands elsewhere, "
            "and you compare positions, too. Find a word of as many tokens."
        )
    last = seen[-1]
    labels, others = token_labels(tokenizer, seen), token_labels(tokenizer, unseen)
    if unseen[-1] != last:
        return f"they end with {labels[-1]!r} and {others[-1]!r}. Compare the loss of one and the same token."
    if last not in seen[:-1]:
        return (
            f"the first text ends with {labels[-1]!r}, which does not occur in it before. (A dot is a space: with and "
            "without one, a word is another token.)"
        )
    if last in unseen[:-1]:
        return f"{labels[-1]!r} occurs earlier in the second text, too. There it should be new."
    for place, (one, other) in enumerate(zip(seen, unseen)):
        if one != other and one != last:
            return (
                f"they differ at token {place}, too ({labels[place]!r} and {others[place]!r}). With two changes you "
                "cannot say which of them did it."
            )
    return None


@torch.no_grad()
def _read(model, tokenizer, text):
    """A text's token ids `(position,)`, their losses but the first's, and the logits `(position, vocabulary)`."""
    try:
        ids = encode(tokenizer, text, context=context_length(model))
    except TextError as problem:
        require(False, f"this text cannot be read: {problem}")
    require(ids.shape[1] > 1, f"{text!r} is a single token; nothing predicts it.")
    logits = model(ids.to(model.device)).logits[0].float().cpu()
    losses = -logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return ids[0], losses, logits


CHECKERS = [
    what_moves_the_mean,
    focus_with_a_view,
    sink_word_or_place,
    stream_to_logits,
    padded_losses,
    worse_than_knowing_nothing,
    seen_before_or_better_told,
]
