"""A small attention-only transformer that learns to repeat while you watch: its heads are scored as it is trained.

The task: a piece of different tokens, again and again to the end of the sequence. Only the repetition can be predicted,
so the loss on later copies says how well the model repeats, and the loss on the first copy what guessing costs. Two
layers learn it with an induction head (Elhage et al. 2021, transformer-circuits.pub/2021/framework; Olsson et al. 2022,
arXiv:2209.11895). One layer cannot, unless all pieces have one length: then it learns the distance.

The recipe is a compromise between a clear jump and seconds on a laptop. Over seeds 0 to 9 the best induction score
passes one half at step 170 to 250 with two layers; with one it ends at 0.24 at most, even after 600 (seeds 0 to 2).

- Pieces hold no token twice. With tokens that may come twice, the loss on later copies ends at 0.4 instead of 0.05.
- Embeddings of tokens and positions have standard deviation 1, and AdamW has a constant RATE.
- 64-bit floats: training multiplies rounding errors, and with 32 bits another processor could show other numbers.
"""

from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, layer_norm

from .attention import MAJORITY, induction_target, previous_token_target, target_score
from .errors import ArgumentError, checked

VOCABULARY, LENGTH, PIECES = 32, 24, (6, 12)  # every sequence holds two copies at least, at one of seven distances
WIDTH, HEADS = 64, 4
RATE, SEQUENCES = 5e-3, 16  # of AdamW, and in a step
TEST_SEED, TEST_SEQUENCES = 2**31, 64  # never trained on; the same for every run


class Run(NamedTuple):
    """What `AttentionOnly` gives: `logits` (text, position, VOCABULARY), `patterns` (layer, text, head, query, key),
    and for all heads the outputs before W_O `z`, queries `q` and keys `k` (layer, text, head, position, WIDTH / HEADS).
    """

    logits: Tensor
    patterns: Tensor
    z: Tensor
    q: Tensor
    k: Tensor


class AttentionOnly(torch.nn.Module):
    """Token and position embeddings, layers of attention without biases, and an unembedding; a LayerNorm before each
    layer and at the end. seed: of the starting weights. The global random state is neither read nor changed.

    `allowed` (layer, LENGTH, LENGTH) says which key a query may attend to: at first itself and all before it. Every
    query needs one key at least."""

    def __init__(self, layers=2, *, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def weights(*shape, inputs=1):
            return torch.nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64) / inputs**0.5)

        self.W_E, self.W_pos = weights(VOCABULARY, WIDTH), weights(LENGTH, WIDTH)
        self.W_Q, self.W_K, self.W_V, self.W_O = (weights(layers, WIDTH, WIDTH, inputs=WIDTH) for _ in range(4))
        self.W_U = weights(WIDTH, VOCABULARY, inputs=WIDTH)
        self.allowed = torch.ones(layers, LENGTH, LENGTH, dtype=torch.bool).tril()

    @checked
    def forward(
        self,
        tokens: Int[Tensor, "text position"],
        replaced: dict[tuple[int, int], Float[Tensor, "..."]] | None = None,
    ) -> Run:
        """tokens: ids, at most LENGTH positions. replaced: (layer, head) -> what stands in for that head's z, any shape
        that fits (text, position, WIDTH / HEADS): zeros, or its mean over texts for mean ablation. Raises ArgumentError
        for a head that the model does not have."""
        if absent := [place for place in replaced or {} if place not in product(range(len(self.W_Q)), range(HEADS))]:
            raise ArgumentError(f"There is no head {absent[0]}: {len(self.W_Q)} layers of {HEADS} heads count from 0.")
        positions = tokens.shape[1]
        stream, kept = self.W_E[tokens] + self.W_pos[:positions], []
        layers = zip(self.W_Q, self.W_K, self.W_V, self.W_O, self.allowed)
        for layer, (W_Q, W_K, W_V, W_O, allowed) in enumerate(layers):
            normed = layer_norm(stream, [WIDTH])
            q, k, v = ((normed @ W).unflatten(-1, (HEADS, -1)).transpose(1, 2) for W in (W_Q, W_K, W_V))
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            pattern = scores.masked_fill(~allowed[:positions, :positions], -torch.inf).softmax(-1)
            z = pattern @ v
            for (where, head), value in (replaced or {}).items():
                if where == layer:
                    z[:, head] = value
            kept.append((pattern, z, q, k))
            stream = stream + z.transpose(1, 2).flatten(2) @ W_O
        return Run(layer_norm(stream, [WIDTH]) @ self.W_U, *map(torch.stack, zip(*kept)))


def repeated_pieces(generator, sequences, pieces=PIECES):
    """Sequences that repeat one piece to their end: ids `(sequence, LENGTH)`. No token comes twice in a piece.

    pieces: (shortest, longest) length, drawn evenly, as tokens are. Raises ArgumentError unless lengths are from 2 to
    LENGTH - 2: then some token of a later copy can be known."""
    piece, lengths = _pieces(generator, sequences, pieces)
    return piece.gather(1, torch.arange(LENGTH) % lengths)


def shuffled_copies(generator, sequences, pieces=PIECES):
    """As `repeated_pieces`, but every copy after the first has an order of its own: the content repeats, the order
    does not."""
    piece, lengths = _pieces(generator, sequences, pieces)
    copy, within = (torch.arange(LENGTH + pieces[1]) // lengths, torch.arange(LENGTH + pieces[1]) % lengths)
    place = torch.rand(copy.shape, generator=generator, dtype=torch.float64)
    place = torch.where(copy == 0, within / pieces[1], place)  # between 0 and 1: every token stays in its copy
    order = (copy + place).argsort(1)[:, :LENGTH]  # longer first, so that the last copy is cut after it was shuffled
    return piece.gather(1, within.gather(1, order))


def random_tokens(generator, sequences):
    """Sequences `(sequence, LENGTH)` of tokens drawn evenly: nothing in them can be predicted."""
    return torch.randint(VOCABULARY, (sequences, LENGTH), generator=generator)


def different_tokens(generator, sequences):
    """As `random_tokens`, but no token comes twice in a sequence: a token that was seen never comes again."""
    return torch.rand(sequences, VOCABULARY, generator=generator, dtype=torch.float64).argsort(1)[:, :LENGTH]


def diluted(repeats, filler=None):
    """A way to draw for `train` in which the first `repeats` sequences of every step repeat a piece.

    filler: a way to draw the others, such as `random_tokens`; without it they are left out, and the steps are smaller.

    >>> diluted(12)(torch.Generator(), 16).shape, diluted(12, random_tokens)(torch.Generator(), 16).shape
    (torch.Size([12, 24]), torch.Size([16, 24]))
    """

    def draw(generator, sequences):
        if repeats > sequences:
            raise ArgumentError(f"{repeats} sequences cannot repeat when a step has {sequences}.")
        tokens = repeated_pieces(generator, repeats)
        return tokens if filler is None else torch.cat([tokens, filler(generator, sequences - repeats)])

    return draw


def _pieces(generator, sequences, pieces):
    """A piece of the longest length for every sequence, and how much of it counts, `(sequence, 1)`."""
    shortest, longest = pieces
    if not 2 <= shortest <= longest <= LENGTH - 2:
        raise ArgumentError(f"Pieces are of 2 to {LENGTH - 2} tokens; got {shortest} to {longest}.")
    lengths = torch.randint(shortest, longest + 1, (sequences, 1), generator=generator)
    return different_tokens(generator, sequences)[:, :longest], lengths


@torch.no_grad()
def measure(model, *, draw=repeated_pieces, replaced=None):
    """Losses and scores on 64 test sequences that are the same in every call.

    draw: (generator, sequences) -> ids. replaced: as `AttentionOnly` takes it.

    Returns a dict: "first_copy" and "later_copies", mean loss in nats on tokens that have not come before and on those
    that follow one that has; "previous_token" and "induction", mean attention in [0, 1], `(layer, head)`.
    Previous-token attention is scored at first occurrences only: what comes later can be predicted without it."""
    tokens = draw(torch.Generator().manual_seed(TEST_SEED), TEST_SEQUENCES)
    run = model(tokens, replaced)
    loss = cross_entropy(run.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    induction = induction_target(tokens)
    known = induction.any(-1)  # (text, query): its token has come before
    previous = previous_token_target(tokens) & ~known[:, :, None]
    return {
        "first_copy": loss[~known[:, 1:]].mean().item(),
        "later_copies": loss[known[:, :-1]].mean().item(),
        "previous_token": target_score(run.patterns, previous[:, None]).mean(1),
        "induction": target_score(run.patterns, induction[:, None]).mean(1),
    }


def train(model, *, seed=0, steps=320, every=10, draw=repeated_pieces):
    """Train the model in place. Yields "step" and what `measure` returns, at step 0 and after every `every` steps.

    seed: of the sequences. draw: (generator, sequences) -> ids `(sequence, LENGTH)` to train on, such as
    `repeated_pieces`; the measurement stays on repeated pieces. The same model, seed and thread count give the same
    numbers, whatever the global random state, which does not change, and whether gradients are enabled outside."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for step in range(steps + 1):
        if step > 0:
            tokens = draw(generator, SEQUENCES)
            with torch.enable_grad():  # not around the yield: there, gradients are as the caller has them
                logits = model(tokens).logits
                cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
        if step % every == 0:
            yield {"step": step, **measure(model)}


def date(model, *, seed=0, steps=320, draw=repeated_pieces):
    """Train the model in place until a head gives more than half of its attention to induction: the step, among every
    tenth one, at which one first does; None when none has after `steps`. seed, steps, draw: as for `train`."""
    records = train(model, seed=seed, steps=steps, draw=draw)
    return next((record["step"] for record in records if record["induction"].max() > MAJORITY), None)
