"""Checkers of notebook 06: replacements, patches, what they are compared with, and what they do not show."""

import torch

from ..attention import head_label, survey
from ..errors import TextError
from ..interventions import head_z, logit_difference, mean_z, patch_heads, second_copy_drop, sweep_heads
from ..models import context_length
from ..text import encode, encode_pair, repeated_random_tokens
from .judging import Wrong, choose, compare, fresh, head_of, parts, require, same, shown, watched

SURE = 1  # logits by which each text of a pair must prefer its own answer
LOOKS, LOOKS_AWAY = 0.5, 0.1  # induction scores of a head that looks at repetitions and of one that does not
MORE, MORE_AGAIN = 4 / 3, 1.15  # together against the sum of the single costs, and the same on new sequences
NATS = 0.5  # by how much together must exceed the sum
CARRIES = 0.2  # normalised patching effect that is worth tracing
ROUNDED = 2e-3  # answers that were read from three decimals


def a_third_way(prediction, zero, mean, third):
    """A third way to take a head away.

    prediction: "zero", "mean" or "between": near which the cost lies when a head is given its own z of another
    sequence. zero, mean, third: what is lost of the second copy's drop in loss with zeros, the mean, and that z.
    """
    found = choose(prediction, ["zero", "mean", "between"])
    zero, mean, third = map(float, (zero, mean, third))
    told = f"zeros cost {zero:.3f}, the mean {mean:.3f}, another sequence's values {third:.3f} nats of the drop in loss"
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


def mean_over_tokens(mean, bridge, batch):
    """What a head says on average.

    mean: z `(layer, head, text, position, d_head)`, mask `(text, position)`, True for tokens -> `(layer, head,
    d_head)`: the mean over all tokens of all texts. batch: a Batch, for the model's own z.
    """
    generator = fresh()
    # In the first two shapes some axes are as long as others, so that swapped axes still fit.
    for shape, lengths in [
        ((2, 3, 3, 5, 4), [5, 2, 3]),
        ((3, 3, 2, 3, 6), [1, 3]),
        ((1, 2, 1, 4, 3), [2]),
        ((2, 1, 3, 3, 2), [3, 3, 3]),
    ]:
        z = torch.randn(*shape, generator=generator) + torch.randn(*shape[:4], 1, generator=generator)
        mask = torch.arange(shape[3]) < torch.tensor(lengths)[:, None]
        given = f"z of shape {shape} and texts of {lengths} tokens"
        compare(mean(z, mask), _slow_mean(z, mask), _other_means(z, mask), given=given)
    found = mean(head_z(bridge, batch).cpu(), batch.mask.cpu())
    compare(found, mean_z(bridge, [batch]), {}, given="the model's own z", tolerance=1e-4)
    return "every token counts once, padding does not, and the library's mean agrees."


def _slow_mean(z, mask):
    """The answer of 6b by its definition, one token at a time."""
    total, count = 0, 0
    for text in range(z.shape[2]):
        for position in range(z.shape[3]):
            if mask[text, position]:
                total, count = total + z[:, :, text, position], count + 1
    return total / count


def _other_means(z, mask):
    """What known mistakes in 6b give: {message: value}."""
    right = _slow_mean(z, mask)
    kept = z * mask[..., None]
    of_text = kept.sum(3) / mask.sum(1)[:, None]
    mistakes = {
        "you averaged over padding too. z there is a number like all others, but stands for no "
        "token: leave out positions where the mask is False.": z.mean((2, 3)),
        "you left padding out of the sum but divided by all positions. Divide by the number of tokens.": kept.mean(
            (2, 3)
        ),
        "you averaged each text first, and then the texts. So a token of a short text counts for more than one of a "
        "long text; every token should count once.": of_text.mean(2),
        "that is one mean a text. A head gets the same mean for all texts.": of_text,
        "that is one mean a position. A head gets the same mean at every position.": kept.sum(2)
        / mask.sum(0)[:, None].clamp(min=1),
        "that is one number a head. z is a vector; keep the last axis, d_head.": right.mean(-1),
        "you averaged over heads too. Each head is replaced by a mean of its own.": right.mean(1),
        "you averaged over layers too. A head's mean is its own layer's.": right.mean(0),
        "that is the sum over tokens. Divide by how many there are.": kept.sum((2, 3)),
    }
    if len(mask) > 1:
        picked = z[:, :, mask.long()].flatten(2, -2).mean(2)  # rows 0 and 1 of the texts, again and again
        mistakes[
            "you indexed with a mask of whole numbers. That picks text 0 and text 1, again and again; a boolean mask "
            "picks what is True."
        ] = picked
    return mistakes


def share_of_many(share):
    """The patching effect, over many pairs.

    share: patched `(..., pair)`, clean `(pair,)`, corrupted `(pair,)`, all logit differences -> `(...,)`: the mean way
    that a patch brings them from the corrupted to the clean run, over the mean way there is.
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
            "that is the mean of each pair's share. A pair whose two runs hardly differ has a share of nearly "
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
            "you divided by the clean logit difference. The way does not start at 0 but at the corrupted one, so "
            "the whole way is the difference between the two.": went.mean(-1) / clean.mean(),
            "you divided by the corrupted logit difference. The whole way is the difference between the two "
            "runs.": went.mean(-1) / corrupted.mean(),
            "that is the patched logit difference over the clean one. A patch that does nothing would not get 0: it "
            "leaves the corrupted one. Measure from there.": patched.mean(-1) / clean.mean(),
            "you took sizes. A patch that pushes further away counts against it, so keep the signs.": (
                went.abs().mean(-1) / gap.abs().mean()
            ),
            "that is the way itself, in logits. Divide by the gap between the two runs.": went.mean(-1),
            "that is one number for all patches. Average over pairs only, the last axis.": right.mean(),
        }
        given = f"patched logit differences of shape {shape}, {pairs} pair{'s' if pairs > 1 else ''}"
        compare(share(patched, clean, corrupted), right, mistakes, given=given)
        for what, patched, wanted in [("0 for a patch that changes nothing", corrupted, 0.0), ("1 for ", clean, 1.0)]:
            if pairs > 1:
                what = what if wanted == 0 else "1 for one that restores everything"
                require(same(share(patched, clean, corrupted), wanted), f"the share should be {what}.")
    return "0 for nothing, 1 for all, and no pair rules the others."


def at_one_position(patch, bridge, clean, corrupted, right, wrong, heads):
    """One head, at one position.

    patch: z `(layer, head, batch, position, d_head)`, layer, head, position -> a hook (values, hook) for `hook_z` of
    the layer, values `(batch, position, head, d_head)`: it puts `z[layer, head]` in at that position, and leaves all
    others alone, and the other heads. clean, corrupted: ids of a pair, `(1, position)`; right, wrong: ids of their
    answers; heads: (layer, head) of those to report.
    """
    generator = fresh()
    # Two axes are of one length each time: swapped axes still fit.
    for shape, position in [((3, 3, 4, 4, 6), 1), ((2, 2, 1, 7, 3), -1), ((2, 3, 2, 5, 4), -2), ((3, 2, 2, 6, 2), 0)]:
        z = torch.randn(*shape, generator=generator)
        for layer, head in [(0, 1), (1, 0)]:
            values = torch.randn(*shape[2:4], shape[1], shape[4], generator=generator)
            hook = patch(z, layer, head, position)
            require(
                callable(hook),
                f"your function should give back a function: a hook, which takes (values, hook). It gave "
                f"{shown(hook)}. Write a `def` inside, and return its name.",
            )
            found, wanted = watched(hook)(values, hook=None), values.clone()
            wanted[:, position, head] = z[layer, head][:, position]
            mistakes = _other_patches(values, z, layer, head, position)
            compare(found, wanted, mistakes, given=f"values of shape {tuple(values.shape)} and position {position}")
    both = {name: head_z(bridge, tokens) for name, tokens in {"clean": clean, "corrupted": corrupted}.items()}

    def difference(hooks=()):
        with bridge.hooks(fwd_hooks=list(hooks)):
            return logit_difference(bridge, corrupted, right, wrong)

    start, end = difference(), logit_difference(bridge, clean, right, wrong)
    told = []
    for layer, head in heads:
        null, at_end = (
            [(f"blocks.{layer}.attn.hook_z", watched(patch(both[name], layer, head, -1)))]
            for name in ("corrupted", "clean")
        )
        require(
            same(difference(null), start, 1e-4),
            f"putting z of {head_label(layer, head)} back in its own place changes the corrupted run. It must not.",
        )
        effects = [difference(hooks) for hooks in (patch_heads(bridge, [(layer, head)], both["clean"]), at_end)]
        everywhere, alone = (((effect - start) / (end - start)).item() for effect in effects)
        told.append(f"{head_label(layer, head)} {everywhere:.3f} and {alone:.3f}")
    return (
        "one position of every text, and its own values change nothing. Fraction of the logit difference recovered, at "
        f"all positions and at the end alone: {'; '.join(told)}. Heads whose fraction is gone at the end did their "
        "part elsewhere."
    )


def _other_patches(values, z, layer, head, position):
    """What known mistakes in 6d give: {message: value}."""
    new, texts = z[layer, head], slice(None)
    elsewhere = [each for each in range(values.shape[1]) if each != position % values.shape[1]]

    def assigned(where, what, start=values):
        changed = start.clone()
        changed[where] = what
        return changed

    mistakes = {
        "you replaced all positions, as `patch_heads` does. Keep the head's own z at the others.": assigned(
            (texts, texts, head), new
        ),
        "you gave back z of one head alone. A hook gets all heads of its layer, and gives all of them back.": new,
        "you replaced all positions but the one.": assigned((texts, elsewhere, head), new[:, elsewhere]),
        "nothing was replaced. Did you change a copy, and give back the old values?": values,
        "all other values are zero. They should stay as they are: start from `values`.": assigned(
            (texts, position, head), new[:, position], torch.zeros_like(values)
        ),
        "you replaced all heads at that position. The others keep theirs.": assigned(
            (texts, position), z[layer, :, :, position].transpose(0, 1)
        ),
        "you gave this head's z to all heads. The others keep theirs.": assigned((texts, position), new[:, [position]]),
    }
    if position >= 0:
        for words, part in {"behind": slice(position, None), "before": slice(position + 1)}.items():
            mistakes[f"you replaced that position and all {words} it. One position only."] = assigned(
                (texts, part, head), new[:, part]
            )
    if -len(values) <= position < len(values):
        mistakes[
            "you replaced a whole text. The axes are (batch, position, head, d_head): positions are the second."
        ] = assigned((position, texts, head), new[position])
    if head < len(z) and layer < z.shape[1]:
        mistakes["you took `z[head, layer]`. The layer comes first."] = assigned(
            (texts, position, head), z[head, layer][:, position]
        )
    return mistakes


def composition_of_keys(composition, bridge, reader, writers):
    """Keys that read what another head wrote.

    composition: W_V, W_Q, W_K `(..., d_model, d_head)` and W_O `(..., d_head, d_model)`, in the order W_V, W_O of the
    writer, W_Q, W_K of the reader -> `(...,)`: the size of W_V W_O W_K W_Q^T over those of W_V W_O and W_K W_Q^T.
    reader: (layer, head); writers: a list of such heads of earlier layers.
    """
    from transformer_lens.utilities.matrix import composition_scores

    generator = fresh()
    for shape, d_model, d_head in [((3,), 9, 2), ((2, 4), 7, 3), ((), 6, 2), ((2, 2), 5, 5)]:
        W_V, W_Q, W_K = torch.randn(3, *shape, d_model, d_head, generator=generator)
        W_O = torch.randn(*shape, d_head, d_model, generator=generator)
        # Mostly a writer that the keys read, so that keys and queries differ.
        W_O = W_O + 2 * W_K.mT
        given = f"matrices of {d_model} dimensions, heads of {d_head}, leading axes {shape}"
        found = composition(W_V, W_O, W_Q, W_K)
        compare(found, _slow_composition(W_V, W_O, W_Q, W_K), _other_compositions(W_V, W_O, W_Q, W_K), given=given)
    ov, qk = bridge.OV, bridge.QK  # their factors repeat keys and values that several heads share
    for writer in writers:
        if writer[0] >= reader[0]:
            continue  # in a model of one layer nothing is written before
        found = composition(ov.A[writer], ov.B[writer], qk.A[reader], qk.B[reader].mT)
        given = f"heads {head_label(*writer)} and {head_label(*reader)}"
        # Not all_composition_scores: for the 270 heads of SmolLM2 that takes 20 GB.
        compare(found, composition_scores(ov[writer], qk[reader].T), {}, given=given, tolerance=1e-4)
    return (
        f"for random heads, and for {head_label(*reader)} of the model, where it agrees with "
        "TransformerLens's `composition_scores`."
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


def more_than_the_sum(found, bridge, tokenizer, repeated, z):
    """More than the sum, and no stand-in.

    found: {"looks": (layer, head) with a high induction score, "other": one with none}, which together cost clearly
    more of the second copy's drop in loss than the sum of what each costs alone; on `repeated`, and on new random
    tokens. z: for `patch_heads`, what takes the place of theirs.
    """
    shape = (bridge.cfg.n_layers, bridge.cfg.n_heads)
    first, second = (head_of(head, shape) for head in parts(found, ["looks", "other"]))
    first_name, second_name = head_label(*first), head_label(*second)
    require(first != second, f"these are one head, {first_name}. Give two.")
    scores = survey(bridge, [repeated])["induction"]
    require(
        scores[first] > LOOKS,
        f'"looks" should be an induction head; the score of {first_name} is {scores[first]:.3f}, not above {LOOKS}.',
    )
    require(
        scores[second] < LOOKS_AWAY,
        f'"other" should not look at the repetition; the induction score of {second_name} is {scores[second]:.3f}, '
        f"above {LOOKS_AWAY}: it may well be a stand-in. Find one that cannot be.",
    )
    single, together = _costs(bridge, repeated, [first, second], z)
    told = (
        f"alone {first_name} costs {single[0]:.3f} and {second_name} {single[1]:.3f}, the sum is {sum(single):.3f}; "
        f"together they cost {together:.3f} nats of the drop in loss"
    )
    require(together > sum(single), f"{told}: less than the sum. Like links of a chain, one is spared by the other.")
    require(
        together > MORE * sum(single) and together > sum(single) + NATS,
        f"{told}. That is more, but not clearly; look for a third more than the sum, and half a nat or more beyond it.",
    )
    length = repeated.shape[1] // 2
    seed = int(torch.randint(2**31, (), generator=fresh()))
    again = repeated_random_tokens(tokenizer, length, sequences=len(repeated), seed=seed)
    single, both = _costs(bridge, again, [first, second], z)
    require(both > MORE_AGAIN * sum(single), f"{told}; but not on other random tokens. That may have been luck.")
    return (
        f"{told}; and so on other random tokens. {second_name} does not look where {first_name} looks, so more "
        "than the sum is no proof of a stand-in. What else would make the second blow worse than the first?"
    )


def _costs(bridge, tokens, heads, z):
    """What is lost of the second copy's drop in loss without each head alone, a list, and without all of them."""
    whole = second_copy_drop(bridge, tokens).mean().item()

    def cost(heads):
        with bridge.hooks(fwd_hooks=patch_heads(bridge, heads, z)):
            return whole - second_copy_drop(bridge, tokens).mean().item()

    return [cost([head]) for head in heads], cost(heads)


def another_behaviour(traced, bridge, tokenizer, known):
    """Another behaviour, with its control.

    traced: {"clean", "corrupted", "control": texts; "right", "wrong": the words they ask for; "head": (layer, head)
    above layer 0 whose clean z brings the corrupted run furthest back; "share": how far, as a fraction of the logit
    difference; "control_share": how far the same head's z of the control brings it}. known: texts that are taken.
    """
    wanted = ["clean", "corrupted", "control", "right", "wrong", "head", "share", "control_share"]
    *_, head, said_share, said_control = parts(traced, wanted)
    tokens, right, wrong = _checked_texts(traced, bridge, tokenizer, known)
    ends = {name: logit_difference(bridge, ids, right, wrong).item() for name, ids in tokens.items()}
    asked = ", ".join(f"{name} {difference:.3f}" for name, difference in ends.items())
    require(
        ends["clean"] > SURE and ends["corrupted"] < -SURE,
        f"the logit differences are {asked}. The model should prefer the right word by {SURE} logit or more on the "
        "clean text, and the wrong one on the corrupted text: what it does not do cannot be traced.",
    )
    require(
        ends["control"] < 0,
        f"the logit differences are {asked}. The control should ask for what the corrupted text asks for, "
        f"{traced['wrong']!r}: it is there to change something else.",
    )
    layers, heads = bridge.cfg.n_layers, bridge.cfg.n_heads
    head = head_of(head, (layers, heads))
    name = head_label(*head)
    require(head[0] > 0, f"{name} stands in layer 0, where the word itself is read. Take one of a later layer.")
    gap = ends["clean"] - ends["corrupted"]

    def recovered(source, heads):
        """Fraction of the logit difference recovered by every head, with its z of one of the texts."""
        z = head_z(bridge, tokens[source])
        patched = sweep_heads(
            bridge, lambda bridge: logit_difference(bridge, tokens["corrupted"], right, wrong)[0], z, heads
        )
        return (patched - ends["corrupted"]) / gap

    shares = recovered("clean", [(layer, number) for layer in range(1, layers) for number in range(heads)])
    best = shares.nan_to_num(-torch.inf).max().item()
    share, control = shares[head], recovered("control", [head])[head]
    compare(
        said_share,
        share,
        {
            "`share` is what is still missing. Count from the corrupted run.": 1 - share,
            "`share` is in logits. Divide by the whole way, from the corrupted logit difference to the clean "
            "one.": share * gap,
            "`share` has the clean logit difference below the line. The way starts at the corrupted one.": share
            * gap
            / ends["clean"],
            "`share` and `control_share` have changed places.": control,
        },
        given="`share`",
        tolerance=ROUNDED,
    )
    require(
        share > best - ROUNDED,
        f"{name} recovers {share:.3f} of the logit difference; another head above layer 0 recovers {best:.3f}. Take "
        "the one that recovers most.",
    )
    require(
        share > CARRIES,
        f"the best head recovers {share:.3f}, which is under {CARRIES}. Try another pair.",
    )
    compare(
        said_control,
        control,
        {
            "`control_share` is in logits. Divide by the same whole way.": control * gap,
            "`control_share` is the logit difference of the control text itself. Patch the *head* from the control "
            "into the corrupted run.": (ends["control"] - ends["corrupted"]) / gap,
        },
        given="`control_share`",
        tolerance=ROUNDED,
    )
    require(
        control.abs() < share / 3,
        f"the control recovers {control:.3f} of the logit difference, the clean text {share:.3f}. So near to it, "
        "either the head carries more than this behaviour, or the control changes what matters.",
    )
    return (
        f"logit differences {asked}; {name} recovers {share:.3f} from the clean text and {control:.3f} from the "
        "control. Now write what that shows, and what it does not."
    )


def _checked_texts(traced, bridge, tokenizer, known):
    """({name: ids} of clean, corrupted and control, id of right, id of wrong); Wrong when they make no experiment."""
    for name in ("clean", "corrupted", "control", "right", "wrong"):
        require(isinstance(traced[name], str), f"{name!r} should be a string; it is {shown(traced[name])}.")
    try:
        encode(tokenizer, traced["clean"], context=context_length(bridge))
        clean, corrupted = encode_pair(tokenizer, traced["clean"], traced["corrupted"])
        _, control = encode_pair(tokenizer, traced["corrupted"], traced["control"])
        words = {name: encode(tokenizer, traced[name])[0] for name in ("right", "wrong")}
    except TextError as problem:
        raise Wrong(str(problem)) from problem
    for name, ids in words.items():
        require(
            len(ids) == 1,
            f"the {name} word {traced[name]!r} is {len(ids)} tokens; the logit difference compares single ones. Words "
            "inside a text begin with a space.",
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


CHECKERS = [
    a_third_way,
    mean_over_tokens,
    share_of_many,
    at_one_position,
    composition_of_keys,
    more_than_the_sum,
    another_behaviour,
]
