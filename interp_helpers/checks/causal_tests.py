"""Checkers of notebook 06: replacements, patches, what they are compared with, and what they do not show."""

import torch

from .judging import Wrong, choose, compare, fresh, require, same, shown, watched

SURE = 1  # logits by which each text of a pair must prefer its own answer
LOOKS, LOOKS_AWAY = 0.5, 0.1  # induction scores of a head that looks at repetitions and of one that does not
MORE, MORE_AGAIN = 4 / 3, 1.15  # together against the sum of the single costs, and the same on new sequences
NATS = 0.5  # by how much together must exceed the sum
CARRIES = 0.2  # share of the way back that is worth tracing
ROUNDED = 2e-3  # answers that were read from three decimals


def a_third_way(prediction, zero, mean, third):
    """A third way to take a head away.

    prediction: "zero", "mean" or "between": what the gain lost is near when a head is given its own values of another
    sequence. zero, mean, third: the gain lost with zeros, with the mean, and with those values.
    """
    found = choose(prediction, ["zero", "mean", "between"])
    zero, mean, third = map(float, (zero, mean, third))
    told = f"zeros cost {zero:.3f}, the mean {mean:.3f}, another sequence's values {third:.3f} nats of the gain"
    require(
        abs(zero - mean) > 0.05,
        f"on this model there is nothing to tell apart: {told}. Zeros and mean agree for every head above layer 0.",
    )
    place = (third - mean) / (zero - mean)  # 0 at the mean, 1 at zero
    right = "mean" if place < 0.25 else "zero" if place > 0.75 else "between"
    why = {
        "mean": "Every sequence's values, and so their mean, share what the head says always; zeros lack it. It was "
        "the constant that was missed, not what the head says about these tokens.",
        "zero": "Real values do as much harm as none, so zeros were not at fault: the layers above need what the head "
        "says about these very tokens, and the mean happened to keep enough of it.",
        "between": "Zeros were strange, but some of the harm remains with real values: part of it is what the head "
        "says about these very tokens.",
    }[right]
    require(found == right, f"{told}. That is not what {found!r} foretold. {why}")
    return f"{told}. {why}"


def mean_over_tokens(mean, model, batch):
    """What a head says on average.

    mean: outputs `(layer, head, text, position, head size)`, mask `(text, position)`, True for tokens -> `(layer,
    head, head size)`: the mean over all tokens of all texts. batch: (tokens, mask), for the model's own outputs.
    """
    from ..capture import head_outputs, mean_head_outputs

    generator = fresh()
    # In the first two shapes some axes are as long as others, so that swapped axes still fit.
    for shape, lengths in [
        ((2, 3, 3, 5, 4), [5, 2, 3]),
        ((3, 3, 2, 3, 6), [1, 3]),
        ((1, 2, 1, 4, 3), [2]),
        ((2, 1, 3, 3, 2), [3, 3, 3]),
    ]:
        outputs = torch.randn(*shape, generator=generator) + torch.randn(*shape[:4], 1, generator=generator)
        mask = torch.arange(shape[3]) < torch.tensor(lengths)[:, None]
        given = f"outputs of shape {shape} and texts of {lengths} tokens"
        compare(mean(outputs, mask), _slow_mean(outputs, mask), _other_means(outputs, mask), given=given)
    tokens, mask = batch
    found = mean(head_outputs(model, tokens, mask).cpu(), mask.cpu())
    right = mean_head_outputs(model, [batch]).cpu()
    compare(found, right, {}, given="the model's own outputs", tolerance=1e-4)
    return "every token counts once, padding does not, and the library's mean agrees."


def _slow_mean(outputs, mask):
    """The answer of 6b by its definition, one token at a time."""
    total, count = 0, 0
    for text in range(outputs.shape[2]):
        for position in range(outputs.shape[3]):
            if mask[text, position]:
                total, count = total + outputs[:, :, text, position], count + 1
    return total / count


def _other_means(outputs, mask):
    """What known mistakes in 6b give: {message: value}."""
    right = _slow_mean(outputs, mask)
    kept = outputs * mask[..., None]
    of_text = kept.sum(3) / mask.sum(1)[:, None]
    mistakes = {
        "you averaged over padding too. What a head brings there is a number like all others, but stands for no "
        "token: leave out positions where the mask is False.": outputs.mean((2, 3)),
        "you left padding out of the sum but divided by all positions. Divide by the number of tokens.": kept.mean(
            (2, 3)
        ),
        "you averaged each text first, and then the texts. So a token of a short text counts for more than one of a "
        "long text; every token should count once.": of_text.mean(2),
        "that is one mean a text. A head gets the same mean for all texts.": of_text,
        "that is one mean a position. A head gets the same mean at every position.": kept.sum(2)
        / mask.sum(0)[:, None].clamp(min=1),
        "that is one number a head. What a head brings is a vector; keep the last axis, head size.": right.mean(-1),
        "you averaged over heads too. Each head is replaced by a mean of its own.": right.mean(1),
        "you averaged over layers too. A head's mean is its own layer's.": right.mean(0),
        "that is the sum over tokens. Divide by how many there are.": kept.sum((2, 3)),
    }
    if len(mask) > 1:
        picked = outputs[:, :, mask.long()].flatten(2, -2).mean(2)  # rows 0 and 1 of the texts, again and again
        mistakes[
            "you indexed with a mask of whole numbers. That picks text 0 and text 1, again and again; a boolean mask "
            "picks what is True."
        ] = picked
    return mistakes


def share_of_many(share):
    """The way back, over many pairs.

    share: patched `(..., pair)`, clean `(pair,)`, corrupted `(pair,)`, all leads -> `(...,)`: the mean way that the
    lead went from the corrupted to the clean run, over the mean way there is.
    """
    generator = fresh()
    for shape in [(4, 3, 5), (6,), (3, 1), (2, 4, 4)]:
        pairs = shape[-1]
        corrupted = -2 - torch.rand(pairs, generator=generator)
        clean = 3 + 2 * torch.rand(pairs, generator=generator)
        if pairs > 1:
            clean[-1] = corrupted[-1] + 0.01  # a pair that tells its two answers hardly apart
        if pairs > 3:
            clean[0] = corrupted[0] - 1  # and one that has them the wrong way round
        patched = corrupted + (clean - corrupted) * torch.rand(*shape, generator=generator)
        patched = patched + 0.3 * torch.randn(*shape, generator=generator)
        went, gap = patched - corrupted, clean - corrupted
        right = went.mean(-1) / gap.mean()
        mistakes = {
            "that is the mean of each pair's share. A pair whose two leads hardly differ has a share of nearly "
            "anything, and rules the mean. Average over pairs first, the ways and the gaps, and divide then.": (
                went / gap
            ).mean(-1),
            "that is the median of each pair's share. It keeps odd pairs out, but is not what the text asks for: mean "
            "way over mean gap.": (went / gap).median(-1).values,
            "that is one share a pair. Average over pairs: one number for each patch.": went / gap,
            "that is what is still missing: 0 where all is restored. Start from the corrupted run, into which was "
            "patched.": (clean - patched).mean(-1) / gap.mean(),
            "the sign is wrong: you have a way one way round and the gap the other. Both go from the corrupted run to "
            "the clean one.": -right,
            "you divided by the clean lead. The way does not start at 0 but at the corrupted lead, so the whole way is "
            "the difference between the two.": went.mean(-1) / clean.mean(),
            "you divided by the corrupted lead. The whole way is the difference between the two runs.": went.mean(-1)
            / corrupted.mean(),
            "that is the patched lead over the clean one. A patch that does nothing would not get 0: its lead is the "
            "corrupted one. Measure from there.": patched.mean(-1) / clean.mean(),
            "you took sizes. A patch that pushes the lead further away counts against it, so keep the signs.": (
                went.abs().mean(-1) / gap.abs().mean()
            ),
            "that is the way itself, in logits. Divide by the gap between the two runs.": went.mean(-1),
            "that is one number for all patches. Average over pairs only, the last axis.": right.mean(),
        }
        given = f"patched leads of shape {shape}, {pairs} pair{'s' if pairs > 1 else ''}"
        compare(share(patched, clean, corrupted), right, mistakes, given=given)
        for what, lead, wanted in [("0 for a patch that changes nothing", corrupted, 0.0), ("1 for ", clean, 1.0)]:
            if pairs > 1:
                what = what if wanted == 0 else "1 for one that restores every lead"
                require(same(share(lead, clean, corrupted), wanted), f"the share should be {what}.")
    return "0 for nothing, 1 for all, and no pair rules the others."


def at_one_position(at_position, model, clean, corrupted, right, wrong, names):
    """One head, at one position.

    at_position: outputs `(layer, head, batch, position, head size)`, a position -> a replacement for `replace_heads`
    that puts `outputs[layer, head]` in at that position, and leaves the values alone at all others. clean, corrupted:
    ids of a pair, `(1, position)`; right, wrong: ids of their answers; names: heads to report.
    """
    from ..capture import head_outputs, replace_heads, taken_from
    from ..patching import logit_difference

    generator = fresh()
    # As many texts as positions, and as many layers as heads: swapped axes still fit.
    for shape, position in [((3, 3, 4, 4, 6), 1), ((2, 2, 1, 7, 3), -1), ((2, 3, 2, 5, 4), -2), ((3, 2, 2, 6, 2), 0)]:
        outputs = torch.randn(*shape, generator=generator)
        for layer, head in [(0, 1), (1, 0)]:
            values = torch.randn(*shape[2:], generator=generator)
            replacement = at_position(outputs, position)
            require(
                callable(replacement),
                "your function should give back a function: a replacement, which takes (values, layer, head). It gave "
                f"{shown(replacement)}. Write a `def` inside, and return its name.",
            )
            found = watched(replacement)(values, layer, head)
            right_values = values.clone()
            right_values[:, position] = outputs[layer, head][:, position]
            mistakes = _other_positions(values, outputs, layer, head, position)
            compare(found, right_values, mistakes, given=f"values of shape {shape[2:]} and position {position}")
    both = {name: head_outputs(model, each) for name, each in {"clean": clean, "corrupted": corrupted}.items()}

    def lead(name, replacement):
        with replace_heads(model, [name], replacement):
            return logit_difference(model, corrupted, right, wrong)

    ends = [logit_difference(model, each, right, wrong) for each in (corrupted, clean)]
    told = []
    for name in names:
        null = lead(name, watched(at_position(both["corrupted"], -1)))
        require(
            same(null, ends[0], 1e-4),
            f"putting head {name}'s own values back at the end changes the lead of the corrupted run. It must not.",
        )
        ways = [lead(name, each) for each in (taken_from(both["clean"]), at_position(both["clean"], -1))]
        shares = [((way - ends[0]) / (ends[1] - ends[0])).item() for way in ways]
        told.append(f"{name} {shares[0]:.3f} and {shares[1]:.3f}")
    return (
        "one position of every text, and its own values change nothing. Share of the way back, at all positions and at "
        "the end alone: "
        f"{'; '.join(told)}. Heads whose share is gone at the end did their part elsewhere."
    )


def _other_positions(values, outputs, layer, head, position):
    """What known mistakes in 6d give: {message: value}."""
    new, old = outputs[layer, head], values
    others = new.clone()
    others[:, position] = old[:, position]
    size = old[:, :1].shape[-1]
    mistakes = {
        "you replaced all positions, as `taken_from` does. Keep what the head brings at the others.": new,
        "you gave back the new vectors of one position only. They would be spread over all positions, and nothing "
        "would complain: give back values for every position.": new[:, [position]],
        "you gave back the new vectors of one position only, without an axis for positions. Give back values for "
        "every position.": new[:, position],
        "you replaced all positions but the one.": others,
        "nothing was replaced. Did you change a copy, and give back the old values?": old,
        "the other positions are zero. They should keep what they have: start from `values`.": torch.zeros_like(
            old
        ).index_copy(1, torch.tensor([position % old.shape[1]]), new[:, [position]]),
    }
    if position >= 0:
        after = old.clone()
        after[:, position:] = new[:, position:]
        upto = old.clone()
        upto[:, : position + 1] = new[:, : position + 1]
        mistakes["you replaced that position and all behind it. One position only."] = after
        mistakes["you replaced that position and all before it. One position only."] = upto
    if position < len(old) and -position <= len(old):
        text = old.clone()
        text[position] = new[position]
        mistakes[
            "you replaced a whole text. Inside, values are (batch, position, head size): positions are the second axis."
        ] = text
    if -size <= position < size:
        column = old.clone()
        column[..., position] = new[..., position]
        mistakes["you replaced one dimension of the head. Positions are the second axis of values."] = column
    if head < len(outputs) and layer < outputs.shape[1]:
        swapped = old.clone()
        swapped[:, position] = outputs[head, layer][:, position]
        mistakes["you took `outputs[head, layer]`. The layer comes first."] = swapped
    return mistakes


def composition_of_keys(composition, cut, reader, writers):
    """Keys that read what another head wrote.

    composition: W_V, W_Q, W_K `(..., d_model, d_head)` and W_O `(..., d_head, d_model)`, in the order W_V, W_O of the
    writer, W_Q, W_K of the reader -> `(...,)`: the size of W_V W_O W_K W_Q^T over those of W_V W_O and W_K W_Q^T.
    cut: HeadWeights of the model; reader: a head's name; writers: names of earlier heads.
    """
    from ..weights import composition as by_library
    from ..weights import ov_circuit, qk_circuit

    generator = fresh()
    for shape, d_model, d_head in [((3,), 9, 2), ((2, 4), 7, 3), ((), 6, 2), ((2, 2), 5, 5)]:
        W_V, W_Q, W_K = torch.randn(3, *shape, d_model, d_head, generator=generator)
        W_O = torch.randn(*shape, d_head, d_model, generator=generator)
        # Mostly a writer that the keys read, so that keys and queries differ.
        W_O = W_O + 2 * W_K.mT
        given = f"matrices of {d_model} dimensions, heads of {d_head}, leading axes {shape}"
        found = composition(W_V, W_O, W_Q, W_K)
        compare(found, _slow_composition(W_V, W_O, W_Q, W_K), _other_compositions(W_V, W_O, W_Q, W_K), given=given)
    layer, head = map(int, reader.split("."))
    ov, qk = ov_circuit(cut), qk_circuit(cut)
    right = by_library(ov, qk, layer, head, "K")
    for name in writers:
        place = tuple(map(int, name.split(".")))
        found = composition(ov.left[place], ov.right[place], qk.left[layer, head], qk.right[layer, head].mT)
        compare(found, right[place], {}, given=f"head {name} and head {reader}", tolerance=1e-4)
    return (
        f"for random heads, and for head {reader} of the model, "
        "where it agrees with `weights.composition`, which never makes the product."
    )


def _slow_composition(W_V, W_O, W_Q, W_K):
    """The answer of 6e by its definition: all products made, in 64-bit, sizes as roots of sums of squares."""
    W_V, W_O, W_Q, W_K = (each.double() for each in (W_V, W_O, W_Q, W_K))
    writes, reads = W_V @ W_O, W_K @ W_Q.mT
    return _size(writes @ reads) / (_size(writes) * _size(reads))


def _size(matrix):
    return matrix.square().sum((-2, -1)).sqrt()


def _other_compositions(W_V, W_O, W_Q, W_K):
    """What known mistakes in 6e give: {message: value}."""
    W_V, W_O, W_Q, W_K = (each.double() for each in (W_V, W_O, W_Q, W_K))
    writes, reads = W_V @ W_O, W_K @ W_Q.mT
    sizes, product = _size(writes) * _size(reads), writes @ reads

    def largest(matrix):
        return torch.linalg.matrix_norm(matrix, 2)

    singles = _size(W_V) * _size(W_O) * _size(W_Q) * _size(W_K)
    mistakes = {
        "that is Q-composition: what was written meets W_Q. Keys read through W_K, so W_K stands next to W_O.": _size(
            writes @ reads.mT
        )
        / sizes,
        "the order is turned round: there the later head comes before the earlier one. What V takes in, O writes, and "
        "K reads.": _size(reads @ writes) / sizes,
        "W_V is missing. What a head writes went through V before O; both shape it.": _size(W_O @ reads)
        / (_size(W_O) * _size(reads)),
        "W_Q is missing. Keys only count where a query meets them: the reader's part is W_K W_Q^T.": _size(writes @ W_K)
        / (_size(writes) * _size(W_K)),
        "that is the size of the product alone. Large matrices have large products; divide by the sizes of the two "
        "circuits.": _size(product),
        "you divided by the sizes of the four matrices. The circuits, W_V W_O and W_K W_Q^T, are the two "
        "factors.": _size(product) / singles,
        "you took the largest singular value for the size (`torch.linalg.matrix_norm` with 2). The size here is the "
        "root of the sum of squares.": largest(product) / (largest(writes) * largest(reads)),
        "that is the square of the score. The size is the root of the sum of squares.": (_size(product) / sizes) ** 2,
    }
    if W_V.dim() > 2:
        mistakes[
            "that is one number for all heads: `norm()` without axes takes the size of everything at once. Take it "
            "over the last two."
        ] = product.norm() / (writes.norm() * reads.norm())
    return mistakes


def more_than_the_sum(found, model, tokenizer, repeated, replacement):
    """More than the sum, and no stand-in.

    found: {"looks": a head with a high induction score, "other": one with none}, names, which together cost clearly
    more of the gain than the sum of what each costs alone; on `repeated`, and on new random tokens. replacement: for
    `replace_heads`, what takes their place.
    """
    from ..survey import survey
    from ..texts import repeated_random_tokens

    found = _parts(found, ["looks", "other"])
    count = (model.config.num_hidden_layers, model.config.num_attention_heads)
    (first, first_name), (second, second_name) = (_head(found[each], count) for each in ("looks", "other"))
    require(first != second, f"these are one head, {first_name}. Give two.")
    scores = survey(model, [repeated])["induction"]
    require(
        scores[first] > LOOKS,
        f'"looks" should be an induction head; the score of {first_name} is {scores[first]:.3f}, not above {LOOKS}.',
    )
    require(
        scores[second] < LOOKS_AWAY,
        f'"other" should not look at the repetition; the induction score of {second_name} is {scores[second]:.3f}, '
        f"above {LOOKS_AWAY}: it may well be a stand-in. Find one that cannot be.",
    )
    names = [first_name, second_name]
    single, together = _costs(model, repeated, names, replacement)
    told = (
        f"alone {first_name} costs {single[0]:.3f} and {second_name} {single[1]:.3f}, the sum is {sum(single):.3f}; "
        f"together they cost {together:.3f} nats of the gain"
    )
    require(together > sum(single), f"{told}: less than the sum. Like links of a chain, one is spared by the other.")
    require(
        together > MORE * sum(single) and together > sum(single) + NATS,
        f"{told}. That is more, but not clearly; look for a third more than the sum, and half a nat or more beyond it.",
    )
    length = repeated.shape[1] // 2
    seed = int(torch.randint(2**31, (), generator=fresh()))
    again = repeated_random_tokens(tokenizer, length, sequences=len(repeated), seed=seed)
    single, both = _costs(model, again, names, replacement)
    require(both > MORE_AGAIN * sum(single), f"{told}; but not on other random tokens. That may have been luck.")
    return (
        f"{told}; and so on other random tokens. {second_name} does not look where {first_name} looks, so more "
        "than the sum is no proof of a stand-in. What else would make the second blow worse than the first?"
    )


def _costs(model, tokens, names, replacement):
    """Gain lost without each head alone, a list, and without all of them."""
    from ..capture import replace_heads
    from ..patching import repeat_gain

    whole = repeat_gain(model, tokens).mean().item()

    def cost(heads):
        with replace_heads(model, heads, replacement):
            return whole - repeat_gain(model, tokens).mean().item()

    return [cost([name]) for name in names], cost(names)


def another_behaviour(traced, model, tokenizer, known):
    """Another behaviour, with its control.

    traced: {"clean", "corrupted", "control": texts; "right", "wrong": the words they ask for; "head": the head above
    layer 0 whose clean values bring the corrupted run furthest back; "share": how far; "control_share": how far the
    same head's values from the control bring it}. known: texts that are taken.
    """
    from ..capture import head_outputs, taken_from
    from ..patching import logit_difference, sweep_heads

    wanted = ["clean", "corrupted", "control", "right", "wrong", "head", "share", "control_share"]
    traced = _parts(traced, wanted)
    tokens, right, wrong = _checked_texts(traced, model, tokenizer, known)
    leads = {name: logit_difference(model, each, right, wrong).item() for name, each in tokens.items()}
    asked = ", ".join(f"{name} {lead:.3f}" for name, lead in leads.items())
    require(
        leads["clean"] > SURE and leads["corrupted"] < -SURE,
        f"the leads are {asked}. The model should prefer the right word by {SURE} logit or more on the clean text, and "
        "the wrong one on the corrupted text: what it does not do cannot be traced.",
    )
    require(
        leads["control"] < 0,
        f"the leads are {asked}. The control should ask for what the corrupted text asks for, {traced['wrong']!r}: it "
        "is there to change something else.",
    )
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    place, name = _head(traced["head"], (layers, heads))
    require(place[0] > 0, f"head {name} stands in layer 0, where the word itself is read. Take one of a later layer.")
    gap = leads["clean"] - leads["corrupted"]

    def ways(source, names=None):
        """Share of the way back for every head, with its values from one of the texts."""
        outputs = taken_from(head_outputs(model, tokens[source]))
        lead = sweep_heads(
            model, lambda model: logit_difference(model, tokens["corrupted"], right, wrong)[0], outputs, names
        )
        return (lead - leads["corrupted"]) / gap

    upper = [f"{layer}.{head}" for layer in range(1, layers) for head in range(heads)]
    shares = ways("clean", upper)
    best = shares.nan_to_num(-torch.inf).max().item()
    share, control = shares[place], ways("control", [name])[place]
    compare(
        traced["share"],
        share,
        {
            "`share` is what is still missing. Count from the corrupted run.": 1 - share,
            "`share` is in logits. Divide by the whole way, from the corrupted lead to the clean one.": share * gap,
            "`share` has the clean lead below the line. The way starts at the corrupted lead.": share
            * gap
            / leads["clean"],
            "`share` and `control_share` have changed places.": control,
        },
        given="`share`",
        tolerance=ROUNDED,
    )
    require(
        share > best - ROUNDED,
        f"head {name} brings the lead {share:.3f} of the way back; another above layer 0 brings it {best:.3f}. Take "
        "the one that brings most.",
    )
    require(share > CARRIES, f"the best head brings back {share:.3f} of the way, under {CARRIES}. Try another pair.")
    compare(
        traced["control_share"],
        control,
        {
            "`control_share` is in logits. Divide by the same whole way.": control * gap,
            "`control_share` is the lead of the control text itself. Patch the *head* from the control into the "
            "corrupted run.": (leads["control"] - leads["corrupted"]) / gap,
        },
        given="`control_share`",
        tolerance=ROUNDED,
    )
    require(
        control.abs() < share / 3,
        f"the control brings {control:.3f} of the way, the clean text {share:.3f}. So near to it, either the head "
        "carries more than this behaviour, or the control changes what matters.",
    )
    return (
        f"leads {asked}; head {name} carries {share:.3f} of the way from the clean text and {control:.3f} from the "
        "control. Now write what that shows, and what it does not."
    )


def _checked_texts(traced, model, tokenizer, known):
    """({name: ids} of clean, corrupted and control, id of right, id of wrong); Wrong when they make no experiment."""
    from ..errors import TextError
    from ..texts import encode, encode_pair

    for name in ("clean", "corrupted", "control", "right", "wrong"):
        require(isinstance(traced[name], str), f"{name!r} should be a string; it is {shown(traced[name])}.")
    context = model.config.max_position_embeddings
    try:
        clean, corrupted = encode_pair(tokenizer, traced["clean"], traced["corrupted"], context=context)
        _, control = encode_pair(tokenizer, traced["corrupted"], traced["control"], context=context)
        words = {name: encode(tokenizer, traced[name])[0] for name in ("right", "wrong")}
    except TextError as problem:
        raise Wrong(str(problem)) from problem
    for name, ids in words.items():
        require(
            len(ids) == 1,
            f"the {name} word {traced[name]!r} is {len(ids)} tokens; the lead compares single ones. Words inside a "
            "text begin with a space.",
        )
    right, wrong = (ids[0].item() for ids in words.values())
    require(right != wrong, "the right and the wrong word are the same.")
    require(
        not {traced["clean"], traced["corrupted"]} & set(known),
        "that is the notebook's own pair. Trace another behaviour.",
    )
    require(
        right not in clean and wrong not in corrupted,
        "the answer stands in the text already, so that copying it would do: that is the behaviour of 6.5. Trace "
        "another one.",
    )
    changed, other = clean != corrupted, control != corrupted
    require(
        not (changed & other).any(),
        "the control changes a word that the clean text changes too. Leave that word as in the corrupted text, and "
        "change another.",
    )
    return {"clean": clean, "corrupted": corrupted, "control": control}, right, wrong


def _parts(found, wanted):
    """The answer, if it is a dictionary with these keys."""
    listed = ", ".join(repr(each) for each in wanted)
    require(isinstance(found, dict), f"the answer is a dictionary with {listed}; yours is {shown(found)}.")
    missing = [each for each in wanted if found.get(each) is None]
    require(not missing, f"{', '.join(map(repr, missing))}: missing; the answer is a dictionary with {listed}.")
    return found


def _head(name, shape):
    """((layer, head), "layer.head") of a head's name."""
    layer, _, head = str(name).strip().partition(".")
    require(
        layer.isdecimal() and head.isdecimal() and int(layer) < shape[0] and int(head) < shape[1],
        f"there is no head {shown(name)}. Names go from '0.0' to '{shape[0] - 1}.{shape[1] - 1}', layer first.",
    )
    return (int(layer), int(head)), f"{int(layer)}.{int(head)}"


CHECKERS = [
    a_third_way,
    mean_over_tokens,
    share_of_many,
    at_one_position,
    composition_of_keys,
    more_than_the_sum,
    another_behaviour,
]
