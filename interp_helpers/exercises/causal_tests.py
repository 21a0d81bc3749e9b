"""Exercises of notebook 06: replacements and patches, how to measure them, and what they do not show."""

from dataclasses import replace
from types import SimpleNamespace

import torch
from torch.nn.functional import cosine_similarity

from ..attention import head_label
from ..errors import TextError
from ..interventions import copy_losses, head_z, logit_difference, mean_z, patch_heads, sweep_heads, text_loss
from ..models import context_length
from ..text import encode, encode_pair, passages, question, repeated_random_tokens, token_batches
from .judging import (
    Exercise,
    Wrong,
    after,
    as_tensor,
    call_hook,
    causal,
    choose,
    fresh,
    gives,
    head_of,
    off,
    parts,
    require,
    require_function,
    same,
    shown,
)

# 6b: a third way to take a head away. Answers: "zero", "mean" or "between": near which the cost lies when a head is
# given its own z of another sequence.


def _third_way(prediction, zero, mean, third):
    """zero, mean, third: what is lost of the second copy's drop in loss with zeros, the mean, and that z."""
    said = choose(prediction, ["zero", "mean", "between"])
    zero, mean, third = map(float, (zero, mean, third))
    apart = abs(zero - mean) > 0.05
    place = (third - mean) / (zero - mean) if apart else 0.5  # 0 at the mean, 1 at zero
    near = "mean" if place < 0.25 else "zero" if place > 0.75 else "between"
    return SimpleNamespace(said=said, near=near, apart=apart, zero=zero, mean=mean, third=third)


_COSTS = (
    "zeros cost {zero:.3f} nats of the drop in loss, the mean costs {mean:.3f}, and the values of another sequence "
    "cost {third:.3f}"
)
_SHOWS = {
    "mean": ". So real values do little harm, although they are about other tokens. They share with the mean what the "
    "head writes whatever the tokens are, and zeros lack this part. The zeros did harm because this part was missing, "
    "and not because the layers above need what the head says about these very tokens.",
    "zero": ". So real values do as much harm as zeros, and the harm does not come from zeros being strange. Either "
    "the layers above need what the head says about these very tokens, or what it says about other tokens misleads "
    "them.",
    "between": ". So part of the harm is gone when the values are real ones, and this part came from zeros being "
    "strange. The rest remains because the values are about other tokens.",
}


def _near(where):
    return lambda facts: facts.near == where


def _missed(where):
    return lambda facts: facts.apart and facts.near == where != facts.said


THIRD_WAY = Exercise(
    "6b",
    "A third way to take a head away",
    kind="Read",
    difficulty=2,
    points=2,
    measure=_third_way,
    mistakes={f"you expected {{said!r}}, but {_COSTS}{shows}": _missed(where) for where, shows in _SHOWS.items()},
    praise={
        _COSTS + ". In this model zeros and the mean cost about the same for this head, so the third way cannot tell "
        "the two explanations apart, and every prediction passes.": lambda facts: not facts.apart,
        **{_COSTS + shows: _near(where) for where, shows in _SHOWS.items()},
    },
)


# 6a: take one head's output away. Answers: head, and new (d_head,) or (batch, position, d_head) -> a hook for
# "blocks.L.attn.hook_z".


class HookExercise(Exercise):
    """An exercise whose answer makes a hook. The reference and the mistakes make hooks too.

    Inputs are what the answer takes, and then the tensor that the hook gets. What the hook returns is compared.
    """

    def __call__(self, answer, *, bridge, tokens):
        require_function(answer)
        made = {message: _applied(mistake) for message, mistake in self.mistakes.items()}
        on_tensors = replace(self, reference=_applied(self.reference), mistakes=made)
        kept = []

        def tried(head, new, values):
            given = values.clone()
            found = _run(answer(head, new), given)
            kept.append(torch.equal(given, values))
            return found

        praise = Exercise.__call__(on_tensors, tried, bridge=bridge, tokens=tokens)
        require(all(kept), CHANGED_IN_PLACE)
        _agrees_with_patch_heads(answer, bridge, tokens)
        return praise


def _applied(maker):
    return lambda head, new, values: maker(head, new)(values.clone(), hook=None)


def _run(hook, given, point=None):
    """What a student's hook returns, which may also have changed what was given; Wrong when it returns no tensor."""
    require(
        callable(hook),
        f"your function returned {shown(hook)}. It should return a hook, which is a function of (z, hook). Define the "
        "hook inside your function, and return its name.",
    )
    found = call_hook(hook, given, point)
    require(
        found is not None,
        "your hook returned nothing. Let it return the whole z, with one head replaced, because what it returns takes "
        "the place of the old z.",
    )
    return found


@torch.no_grad()
def _agrees_with_patch_heads(answer, bridge, tokens):
    """Raise Wrong unless the hooks do in a model what `patch_heads` does: with a mean, and with another run's z."""
    tokens = tokens.to(bridge.cfg.device)
    other, (layers, heads) = tokens.roll(1, dims=1), (bridge.cfg.n_layers, bridge.cfg.n_heads)
    for z in (mean_z(bridge, [other]), head_z(bridge, other)):
        for layer, head in {(0, heads - 1), (layers - 1, 0)}:
            made = answer(head, z[layer, head])
            own = [(f"blocks.{layer}.attn.hook_z", lambda values, hook, made=made: _run(made, values, hook))]
            ours = patch_heads(bridge, [(layer, head)], z)
            logits = [bridge.run_with_hooks(tokens, fwd_hooks=hooks) for hooks in (own, ours)]
            require(
                same(*logits, 1e-4),
                f"on random numbers your hook is right, but for {head_label(layer, head)} of the model it gives other "
                "logits than `interventions.patch_heads`. Does it depend on more than z, `head` and `new`?",
            )


def _values(generator, bridge, tokens):
    """Small z, in some of which axes are of one length, so that swapped ones fit. The model comes after them."""
    for batch, length, heads, d_head in [(3, 4, 4, 4), (2, 5, 3, 5), (1, 6, 2, 4)]:
        for shape in [(d_head,), (batch, length, d_head)]:
            new, values = (torch.randn(*each, generator=generator) for each in (shape, (batch, length, heads, d_head)))
            yield 1 + int(torch.randint(heads - 1, (), generator=generator)), new, values


def _putting(change):
    """The answer whose hook gives what `change` makes of a copy of z; it takes the copy, the head, and new."""

    def replace_head(head, new):
        def hook_of_answer(z, hook):
            return change(z.clone(), head, new)

        return hook_of_answer

    return replace_head


def _at(where):
    """The answer that assigns new to an index of z, which depends on the head."""

    def change(z, head, new):
        z[where(head)] = new
        return z

    return _putting(change)


def _in_place(head, new):
    def hook_of_answer(z, hook):
        z[:, :, head] = new
        return z

    return hook_of_answer


def _only_that_head(z, head, new):
    changed = torch.zeros_like(z)
    changed[:, :, head] = new
    return changed


def _all_heads(z, head, new):
    z[:] = new[..., None, :]  # the mean is (1, d_head) by this, and another run's z (batch, position, 1, d_head)
    return z


def _added(z, head, new):
    z[:, :, head] += new
    return z


ALL = slice(None)
CHANGED_IN_PLACE = (
    "your hook returns the right values, but it also changes the z that it is given. A cache keeps that same tensor, "
    "so its old numbers would be lost. Work on `z.clone()`."
)
REPLACE_HEAD = HookExercise(
    "6a",
    "Take one head's output away",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_at(lambda head: (ALL, ALL, head)),
    inputs=_values,
    mistakes={
        "you replaced the z of all heads. Only one head gets the new values, and all others keep theirs.": _putting(
            _all_heads
        ),
        "you replaced a position and not a head. The axes of z are (batch, position, head, d_head), so the "
        "head is the third.": _at(lambda head: (ALL, head)),
        "you replaced a text and not a head. The axes of z are (batch, position, head, d_head), so the head is "
        "the third.": _at(lambda head: head),
        "you replaced one dimension of every head. The axes of z are (batch, position, head, d_head), so the head is "
        "the third.": _at(lambda head: (..., head)),
        "your hook returned the z of one head. A hook gets the z of all heads of its layer, and it has to return all "
        "of them.": _putting(lambda z, head, new: _only_that_head(z, head, new)[:, :, head]),
        "the z of all other heads became 0. They should stay as they are, so start from a copy of z.": _putting(
            _only_that_head
        ),
        "your hook changed nothing. Does it change a copy, and then return the old z?": _putting(
            lambda z, head, new: z
        ),
        "you added the new values to the old ones. They should take their place.": _putting(_added),
        CHANGED_IN_PLACE: _in_place,
    },
    praise="your hook replaces one head for a mean and for another run's values, it leaves the z that it is given as "
    "it was, and in the model it gives the same logits as `interventions.patch_heads`.",
)


# 6d: one channel at a time. Answers: x and other (batch, position, d_model), W_Q and W_K (d_model, d_head), b_Q and b_K
# (d_head,), in the order x, other, W_Q, b_Q, W_K, b_K -> (batch, query, key).


def _two_streams(generator):
    # In the first shape all axes but d_model are of one length, so that swapped axes still fit.
    for batch, length, d_model, d_head in [(4, 4, 6, 4), (2, 7, 5, 3), (1, 3, 8, 2), (2, 1, 4, 3)]:
        x, other = torch.randn(2, batch, length, d_model, generator=generator)
        W_Q, W_K = torch.randn(2, d_model, d_head, generator=generator)
        b_Q, b_K = torch.randn(2, d_head, generator=generator)
        yield x, other, W_Q, b_Q, W_K, b_K


def _scores(queries, keys):
    return queries @ keys.mT / queries.shape[-1] ** 0.5


def _with_keys(x, other, W_Q, b_Q, W_K, b_K):
    return causal(_scores(x @ W_Q + b_Q, other @ W_K + b_K))


def _of_scores(change):
    """The answer that makes the pattern from the right scores in another way."""
    return lambda x, other, W_Q, b_Q, W_K, b_K: change(_scores(x @ W_Q + b_Q, other @ W_K + b_K), W_Q)


KEYS_CHANNEL = Exercise(
    "6d",
    "One channel at a time",
    kind="Build",
    difficulty=4,
    points=4,
    reference=_with_keys,
    inputs=_two_streams,
    mistakes={
        "you made the queries from `other` and the keys from `x`. Here the keys are the channel that changes, so they "
        "are made from `other`.": lambda x, other, *weights: _with_keys(other, x, *weights),
        "you made both the queries and the keys from `other`. Then two channels change at once, so make the queries "
        "from `x`.": lambda x, other, *weights: _with_keys(other, other, *weights),
        "you made both the queries and the keys from `x`, so `other` changes nothing. Make the keys from it.": (
            lambda x, other, *weights: _with_keys(x, x, *weights)
        ),
        "you left out the bias of the queries. It is added to what W_Q makes of the stream.": (
            lambda x, other, W_Q, b_Q, W_K, b_K: _with_keys(x, other, W_Q, 0, W_K, b_K)
        ),
        "you exchanged the two biases. b_Q belongs to the queries, and b_K to the keys.": (
            lambda x, other, W_Q, b_Q, W_K, b_K: _with_keys(x, other, W_Q, b_K, W_K, b_Q)
        ),
        "you did not divide the scores by the square root of d_head. Without this they are too large, and the pattern "
        "is too sharp.": _of_scores(lambda scores, W: causal(scores * W.shape[1] ** 0.5)),
        "you divided the scores by d_head. Divide by its square root.": _of_scores(
            lambda scores, W: causal(scores / W.shape[1] ** 0.5)
        ),
        "you divided the scores by the square root of d_model. Queries and keys have d_head numbers, so use d_head.": (
            _of_scores(lambda scores, W: causal(scores * (W.shape[1] / W.shape[0]) ** 0.5))
        ),
        "your queries look at keys after them. Set these scores to minus infinity before the softmax.": _of_scores(
            lambda scores, W: scores.softmax(-1)
        ),
        "you set the weights of later keys to 0 after the softmax, so the rows do not add up to 1. Set the scores of "
        "these keys to minus infinity before the softmax.": _of_scores(lambda scores, W: scores.softmax(-1).tril()),
        "you set the scores of later keys to 0. The softmax still gives weight to a score of 0, so use minus "
        "infinity.": _of_scores(lambda scores, W: scores.tril().softmax(-1)),
        "you hid the query's own token too, so the first query has no key left. Hide only the keys after it: "
        "`triu(1)`.": _of_scores(lambda scores, W: causal(scores, 0)),
        "you took the softmax over queries, so the columns add up to 1. Every query spreads its attention over its "
        "keys, so take it over the last axis.": _of_scores(
            lambda scores, W: scores.masked_fill(after(scores), -torch.inf).softmax(-2)
        ),
        "your rows are keys and your columns are queries. Exchange them: (batch, query, key).": _of_scores(
            lambda scores, W: causal(scores).mT
        ),
        "you returned the scores. The pattern is what the softmax makes of them.": _of_scores(lambda scores, W: scores),
    },
    praise="your pattern is right whatever the two streams are. The bias of the keys changes nothing in it, because it "
    "adds the same number to all scores of a query.",
)


# 6c: nats saturate, log-odds do not. Answers: logits (..., vocabulary) and ids (...) -> (...).


def _sure_and_unsure(generator):
    """Ordinary logits, and then logits of tokens whose probability a computer rounds to 1."""
    for shape, size in [((6,), 7), ((), 5), ((2, 3), 11)]:
        token = torch.randint(size, shape, generator=generator)
        # 64-bit, so that what goes through the probability is right here, and is named at the sure tokens.
        yield 1.5 * torch.randn(*shape, size, generator=generator, dtype=torch.double), token
    for shape in [(4,), (2, 3)]:
        logits, token = torch.randn(*shape, 9, generator=generator), torch.randint(9, shape, generator=generator)
        ahead = 40 + 10 * torch.rand(*shape, 1, generator=generator)
        yield logits.scatter(-1, token[..., None], logits.amax(-1, keepdim=True) + ahead), token


def _own(logits, token):
    return logits.gather(-1, token[..., None])[..., 0]


def _others(logits, token):
    """The other logits, with minus infinity in the token's place."""
    return logits.scatter(-1, token[..., None], -torch.inf)


def _exact_log_odds(logits, token):
    return _own(logits.double(), token) - _others(logits.double(), token).logsumexp(-1)


def _probability(logits, token):
    return _own(logits.softmax(-1), token)


LOG_ODDS = Exercise(
    "6c",
    "Nats saturate, log-odds do not",
    kind="Build",
    difficulty=3,
    points=3,
    reference=_exact_log_odds,
    inputs=_sure_and_unsure,
    single=("token", (1, 0)),
    mistakes={
        "your answer goes through the probability. The computer rounds a probability so near to 1 to exactly 1, so "
        "1 - p is 0 and the log-odds are infinite. Stay with logits: take the token's own logit, and subtract the "
        "logsumexp of all other logits.": lambda logits, token: _probability(logits, token).logit(),
        "your answer is log p, which is minus the loss. It cannot rise above 0, however sure the model is. Leave the "
        "token itself out of the logsumexp.": lambda logits, token: _own(logits.log_softmax(-1), token),
        "your answer is the loss. It is never below 0, and the surer the model is, the nearer it comes to 0. Compare "
        "the token's logit with the logsumexp of all others.": lambda logits, token: (
            -_own(logits.log_softmax(-1), token)
        ),
        "your answer is the logit itself. A single logit says nothing, because the same number can be added to all "
        "logits without a change in p. Subtract the logsumexp of all others.": _own,
        "you subtracted the largest of the other logits. All other tokens have a share of 1 - p, so subtract the "
        "logsumexp of all of them.": lambda logits, token: _own(logits, token) - _others(logits, token).amax(-1),
        "you subtracted the mean of the other logits. Probabilities add up, and logits do not, so subtract their "
        "logsumexp.": lambda logits, token: (
            _own(logits, token) - (logits.sum(-1) - _own(logits, token)) / (logits.shape[-1] - 1)
        ),
        "your sign is wrong: your answer is log of (1 - p) / p. It should be higher when p is higher.": (
            lambda logits, token: -_exact_log_odds(logits, token)
        ),
        "you returned the odds, p / (1 - p). Take their logarithm.": lambda logits, token: _exact_log_odds(
            logits, token
        ).exp(),
        "you returned the probability. The answer is log of p / (1 - p).": _probability,
        "you returned a number for every token of the vocabulary. Return one for the token that is given.": (
            lambda logits, token: torch.stack(
                [_exact_log_odds(logits, torch.full_like(token, each)) for each in range(logits.shape[-1])], -1
            )
        ),
    },
    praise="your log-odds are right for tokens that the model hardly expects, and also for tokens whose probability "
    "the computer rounds to 1. There the loss is rounded to 0, but the log-odds still change.",
)


# 6f: attribution patching. Answers: the gradient of a metric, clean and corrupted z, all (layer, head, batch, position,
# d_head) -> (layer, head).


def _runs(generator):
    # In the first shape all axes are of one length.
    for shape in [(3, 3, 3, 3, 3), (2, 4, 3, 5, 2), (1, 2, 1, 4, 3)]:
        yield tuple(torch.randn(3, *shape, generator=generator))


def _estimate(gradient, clean, corrupted):
    return (gradient * (clean - corrupted)).sum((-2, -1)).mean(-1)


ATTRIBUTION_PATCHING = Exercise(
    "6f",
    "Attribution patching",
    kind="Build",
    difficulty=4,
    points=4,
    reference=_estimate,
    inputs=_runs,
    mistakes={
        "your sign is wrong. The patch goes from the corrupted to the clean z, so the change is clean - corrupted.": (
            lambda gradient, clean, corrupted: _estimate(gradient, corrupted, clean)
        ),
        "you took absolute values of the estimates. A patch may lower the metric, and then the estimate is negative.": (
            lambda *given: _estimate(*given).abs()
        ),
        "you took absolute values before you added up. Parts of a change may cancel, as they do in the model, so keep "
        "their signs.": lambda gradient, clean, corrupted: _estimate(
            gradient.abs(), clean.maximum(corrupted), clean.minimum(corrupted)
        ),
        "you multiplied the gradient by the clean z. A patch changes z by clean - corrupted, so multiply by this.": (
            lambda gradient, clean, corrupted: _estimate(gradient, clean, 0)
        ),
        "you multiplied the gradient by the corrupted z. A patch changes z by clean - corrupted, so multiply by "
        "this.": lambda gradient, clean, corrupted: _estimate(gradient, corrupted, 0),
        "you did not use the gradient. It says how much the metric changes with each number of z.": (
            lambda gradient, clean, corrupted: _estimate(1, clean, corrupted)
        ),
        "you added up over texts. The metric's change is wanted for one text on average, so take the mean over the "
        "batch.": lambda gradient, clean, corrupted: _estimate(gradient, clean, corrupted) * clean.shape[2],
        "you kept the texts apart. Average over them, so that every head has one number.": (
            lambda gradient, clean, corrupted: (gradient * (clean - corrupted)).sum((-2, -1))
        ),
        "you kept the positions apart. Add up over them, so that every head has one number.": (
            lambda gradient, clean, corrupted: (gradient * (clean - corrupted)).sum(-1).mean(-2)
        ),
        "you averaged over positions. The patch replaces z at all of them at once, so their changes add up.": (
            lambda gradient, clean, corrupted: _estimate(gradient, clean, corrupted) / clean.shape[3]
        ),
        "you averaged over texts, positions and dimensions. Only texts are averaged: the patch replaces all positions "
        "and dimensions at once, so their changes add up.": lambda gradient, clean, corrupted: (
            gradient * (clean - corrupted)
        ).mean((-3, -2, -1)),
        "you computed a cosine. It says only whether gradient and change point the same way. How far the metric moves "
        "depends on their lengths too, so use the plain product.": lambda gradient, clean, corrupted: cosine_similarity(
            gradient.flatten(-2), (clean - corrupted).flatten(-2), dim=-1
        ).mean(-1),
    },
    praise="your estimate is right for one text and for several. For all heads together it takes two forward passes "
    "and one backward pass, where exact patching takes one pass for every head. It assumes that the metric is a "
    "straight line in z, so compare it with exact patching before you trust it.",
)


# 6e: as few heads as you can. Answers: a list of (layer, head), which are kept while all others get their means.

DRAWS = 4  # how often the checker draws new tokens, each time as many as the notebook has
PASSAGES = 6  # texts on which the loss on ordinary text is measured


def _kept_alive(kept, bridge, tokenizer, repeated, z, limit, most):
    """What the model does with these heads alone, on `repeated`, on new tokens, and on text. Losses in nats a token.

    repeated: (sequence, 2 * length), as `repeated_random_tokens` gives them; z: for `patch_heads`, what takes the place
    of all other heads' z. The loss on the second copy should be below `limit`, with at most `most` heads.
    """
    shape = (bridge.cfg.n_layers, bridge.cfg.n_heads)
    require(
        isinstance(kept, (list, tuple, set)),
        f"the answer is a list of heads, such as [(0, 0), (0, 1)]; yours is {shown(kept)}.",
    )
    named = [head_of(head, shape) for head in kept]
    for head in named:
        require(named.count(head) == 1, f"{head_label(*head)} stands in your list twice. Name every head once.")
    others = [(layer, head) for layer in range(shape[0]) for head in range(shape[1]) if (layer, head) not in named]
    length, generator = repeated.shape[1] // 2, fresh()
    seeds = torch.randint(2**31, (DRAWS,), generator=generator).tolist()
    drawn = [repeated_random_tokens(tokenizer, length, sequences=len(repeated), seed=seed) for seed in seeds]
    texts = token_batches(tokenizer, passages()[:PASSAGES], context=context_length(bridge), cut=True)
    facts = SimpleNamespace(count=len(named), heads=len(named) + len(others), limit=limit, most=most)
    _, facts.own = _copies(bridge, repeated)
    facts.own_text = _on_text(bridge, texts)
    with bridge.hooks(fwd_hooks=patch_heads(bridge, others, z)):
        facts.first, facts.second = _copies(bridge, repeated)
        facts.again = sum(_copies(bridge, tokens)[1] for tokens in drawn) / DRAWS
        facts.text = _on_text(bridge, texts)
    return facts


def _copies(bridge, tokens):
    """The mean loss on the first copy and on the second."""
    return [losses.mean().item() for losses in copy_losses(bridge, tokens)]


def _on_text(bridge, batches):
    return torch.cat([text_loss(bridge, batch) for batch in batches]).mean().item()


_KEPT = (
    "with the heads that you kept ({count}), the loss is {first:.3f} nats on the first copy and {second:.3f} on the "
    "second"
)
FEW_HEADS = Exercise(
    "6e",
    "As few heads as you can",
    kind="Investigate",
    difficulty=4,
    points=4,
    measure=_kept_alive,
    mistakes={
        "with all of its heads, this model has a loss of {own:.3f} nats on the second copy, which is not below "
        "{limit}. So no set of heads can be found here. Take a model that uses the repetition.": lambda facts: (
            facts.own >= facts.limit
        ),
        _KEPT + ". But you may keep {most} at most. Which of them can go with the least harm to the second copy?": (
            lambda facts: facts.count > facts.most
        ),
        _KEPT
        + ", so these heads do not use the repetition at all. The second copy should be below {limit}. Some heads "
        "look at what followed an earlier occurrence. Which ones are they, and which heads feed their queries, keys "
        "and values?": lambda facts: facts.second >= max(facts.limit, facts.first - 1),
        _KEPT + ", so they use the repetition, but the second copy should be below {limit}. Heads that cost little "
        "when one of them is removed may cost much when all of them are. Which head lowers the loss most when you add "
        "it?": lambda facts: facts.second >= facts.limit,
        _KEPT + ". But on other random tokens the second copy has {again:.3f}, which is not below {limit}. Your set "
        "fits these very tokens too closely. Keep one more head, so that there is room below the "
        "limit.": lambda facts: facts.again >= facts.limit,
    },
    # Without {again}, which depends on the tokens drawn: notebooks store what a pass prints.
    praise="with {count} of {heads} heads, the loss is {first:.3f} nats on the first copy, {second:.3f} on the second, "
    "and {text:.3f} on ordinary text. With all heads, the second copy has {own:.3f} and the text {own_text:.3f}. On "
    "other random tokens the second copy is below {limit} too. So these heads are enough for the repetition, while the "
    "others give their means. Enough is not the same as needed, because another set may be enough too.",
)


# 6g: another behaviour, with its control. Answers: {"clean", "corrupted", "control": texts; "right", "wrong": the words
# that clean and corrupted ask for; "head": (layer, head) above layer 0 whose clean z brings the corrupted run furthest
# back; "share": how far, as a fraction of the logit difference; "control_share": how far the same head's z of the
# control brings it}.

SURE = 1  # logits by which each text of a pair must prefer its own answer
CARRIES = 0.2  # a normalised patching effect that is worth tracing
ROUNDED = 2e-3  # numbers may have been read from three decimals
TEXTS = ["clean", "corrupted", "control"]


def _traced(traced, bridge, tokenizer, known):
    """The experiment measured again. known: the notebook's own texts, which are taken."""
    *texts, right, wrong, head, share, control_share = parts(
        traced, [*TEXTS, "right", "wrong", "head", "share", "control_share"]
    )
    shape = (bridge.cfg.n_layers, bridge.cfg.n_heads)
    layer, head = head_of(head, shape)
    said = {
        name: as_tensor(number, f"`{name}`")
        for name, number in {"share": share, "control_share": control_share}.items()
    }
    for name, number in said.items():
        require(number.numel() == 1, f"`{name}` should be one number; it is {shown(number)}.")
    tokens, right_id, wrong_id = _checked_texts(texts, (right, wrong), bridge, tokenizer, known)
    ends = {name: logit_difference(bridge, ids, right_id, wrong_id)[0] for name, ids in tokens.items()}
    gap = ends["clean"] - ends["corrupted"]

    def recovered(source, heads):
        """The fraction of the logit difference that every head recovers, with its z of one of the texts."""

        def difference(bridge):
            return logit_difference(bridge, tokens["corrupted"], right_id, wrong_id)[0]

        patched = sweep_heads(bridge, difference, head_z(bridge, tokens[source]), heads)
        return (patched - ends["corrupted"]) / gap

    later = [(number, each) for number in range(1, shape[0]) for each in range(shape[1])]
    shares = recovered("clean", [*later, *([] if layer else [(layer, head)])])
    facts = SimpleNamespace(
        **ends,
        layer=layer,
        head=head_label(layer, head),
        wrong=wrong,
        said={name: number.item() for name, number in said.items()},
        best=max((shares[each] for each in later), default=torch.tensor(torch.nan)),
        share=shares[layer, head],
        control_share=recovered("control", [(layer, head)])[layer, head],
    )
    facts.missing, facts.in_logits = 1 - facts.share, facts.share * gap
    facts.over_clean, facts.control_in_logits = facts.in_logits / facts.clean, facts.control_share * gap
    facts.of_control_text = (facts.control - facts.corrupted) / gap
    return facts


def _checked_texts(texts, words, bridge, tokenizer, known):
    """({name: what is read before the words part} of clean, corrupted and control, id of right, id of wrong); Wrong
    when they make no experiment."""
    for name, text in zip([*TEXTS, "right", "wrong"], [*texts, *words]):
        require(isinstance(text, str), f"{name!r} should be a text in quotes; it is {shown(text)}.")
    first, second, third = texts
    require(words[0] != words[1], "the right and the wrong word are the same.")
    try:
        encode(tokenizer, first, context=context_length(bridge))
        clean, corrupted = encode_pair(tokenizer, first, second)
        _, control = encode_pair(tokenizer, second, third)
        questions = {name: question(tokenizer, text, *words) for name, text in zip(TEXTS, texts)}
        lengths = [encode(tokenizer, first + word).shape[1] for word in words]
    except TextError as problem:
        raise Wrong(f"these texts cannot be compared: {problem}") from problem
    read, right, wrong = questions["clean"]
    for name, word, length in zip(["right", "wrong"], words, lengths):
        require(
            length == read.shape[1] + 1,
            f"the {name} word {word!r} is {length - read.shape[1]} tokens, but a logit difference compares single "
            "tokens. A word inside a text begins with a space.",
        )
    require(not {first, second} & set(known), "this is the notebook's own pair of texts. Trace another behaviour.")
    require(
        right not in clean and wrong not in corrupted,
        "the answer stands in the text already, so the model could copy it. The notebook has traced copying, so trace "
        "something else.",
    )
    require(
        not ((clean != corrupted) & (control != corrupted)).any(),
        "the control changes a word that the clean text changes too. Leave that word as it is in the corrupted text, "
        "and change another one.",
    )
    return {name: tokens for name, (tokens, *_) in questions.items()}, right, wrong


_ASKED = "the logit differences are {clean:.3f} (clean), {corrupted:.3f} (corrupted) and {control:.3f} (control)"
TRACED = Exercise(
    "6g",
    "Another behaviour, with its control",
    kind="Project",
    difficulty=5,
    points=5,
    measure=_traced,
    mistakes={
        _ASKED + f". The model should prefer the right word by more than {SURE} logit in the clean text, and the wrong "
        "word in the corrupted text. A behaviour that the model does not have cannot be traced.": lambda facts: (
            not (facts.clean > SURE and facts.corrupted < -SURE)
        ),
        _ASKED + ". The control should ask for {wrong!r}, as the corrupted text does, because only something else is "
        "meant to change.": lambda facts: facts.control >= 0,
        "{head} stands in layer 0, where the heads help to build the vector of the word itself. Take a head of a later "
        "layer.": lambda facts: facts.layer == 0,
        "your `share` is what is still missing. Start from the corrupted run, into which the head was patched.": gives(
            "share", "missing", ROUNDED
        ),
        "your `share` is in logits. Divide it by the whole way, from the corrupted logit difference to the clean "
        "one.": gives("share", "in_logits", ROUNDED),
        "you divided `share` by the clean logit difference. The way starts at the corrupted one, so divide by the "
        "difference between the two.": gives("share", "over_clean", ROUNDED),
        "your `share` was measured with the control. Patch the head from the clean text.": gives(
            "share", "control_share", ROUNDED
        ),
        "for `share` your answer is {said[share]:.3f} where it should be {share:.3f}.": off("share", ROUNDED),
        "{head} recovers {share:.3f} of the logit difference, but another head above layer 0 recovers {best:.3f}. Take "
        "the head that recovers most.": lambda facts: facts.share < facts.best - ROUNDED,
        "{head} recovers most of all heads above layer 0, but that is {share:.3f} of the logit difference, and "
        f"{CARRIES} is needed. Try other texts.": lambda facts: facts.share <= CARRIES,
        "your `control_share` is in logits. Divide it by the same whole way as `share`.": gives(
            "control_share", "control_in_logits", ROUNDED
        ),
        "your `control_share` is made from the logit difference of the control text itself. Patch the head from the "
        "control into the corrupted run.": gives("control_share", "of_control_text", ROUNDED),
        "for `control_share` your answer is {said[control_share]:.3f} where it should be {control_share:.3f}.": off(
            "control_share", ROUNDED
        ),
        "{head} recovers {share:.3f} with the clean text and {control_share:.3f} with the control, which should be "
        "less than a third of that. Either the head carries more than this behaviour, or the control changes a word "
        "that matters for it.": lambda facts: abs(facts.control_share) >= facts.share / 3,
    },
    praise=_ASKED
    + ". {head} recovers {share:.3f} of the way from the corrupted to the clean one when it gets its clean "
    "values, and {control_share:.3f} with those of the control. Now write what this shows, and what it does not show.",
)

EXERCISES = [REPLACE_HEAD, THIRD_WAY, LOG_ODDS, KEYS_CHANNEL, FEW_HEADS, ATTRIBUTION_PATCHING, TRACED]
