"""A small attention-only transformer that learns to repeat while you watch: its heads are scored as it is trained.

The task: a piece of random tokens, again and again to the end of the sequence. Only the repetition can be predicted, so
the loss on later copies says how well the model repeats, and that on the first copy what guessing costs. Two layers
learn it with an induction head (Elhage et al. 2021, transformer-circuits.pub/2021/framework; Olsson et al. 2022,
arXiv:2209.11895); one layer cannot, unless all pieces have one length: then it learns the distance.

The recipe, a compromise between a clear jump and seconds on a laptop. Over seeds 0 to 9 the best induction score passes
one half at step 200 to 260 of 400 with two layers; with one it ends at 0.14 at most, even after 4000 (seeds 0, 1).

- VOCABULARY: of 128 tokens the jump comes later (step 320 for seed 0); of 32 earlier (160), but pieces repeat tokens.
- Embeddings of tokens and positions have standard deviation 1: positions twice as large delay the jump (420), smaller
  ones change little (0.5: 200, 0.2: 220). AdamW with a constant RATE: at 3e-3 it comes at 300.
- 64-bit floats: training multiplies rounding errors, and with 32 bits another processor could show other numbers.
"""

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import cross_entropy, layer_norm

from .attention import induction_target, previous_token_target, target_score
from .errors import ArgumentError, checked

VOCABULARY, LENGTH, PIECES = 64, 32, (8, 16)  # every sequence holds two copies at least, at one of nine distances
WIDTH, HEADS = 64, 4
RATE, SEQUENCES = 5e-3, 32
TEST_SEED, TEST_SEQUENCES = 2**31, 64  # never trained on; the same for every run


class AttentionOnly(torch.nn.Module):
    """Token and position embeddings, layers of attention without biases, and an unembedding; a LayerNorm before each
    layer and at the end. seed: of the starting weights. The global random state is neither read nor changed."""

    def __init__(self, layers=2, *, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def weights(*shape, inputs=1):
            return torch.nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64) / inputs**0.5)

        self.W_E, self.W_pos = weights(VOCABULARY, WIDTH), weights(LENGTH, WIDTH)
        self.W_Q, self.W_K, self.W_V, self.W_O = (weights(layers, WIDTH, WIDTH, inputs=WIDTH) for _ in range(4))
        self.W_U = weights(WIDTH, VOCABULARY, inputs=WIDTH)

    @checked
    def forward(self, tokens: Int[Tensor, "text position"], off=()):
        """Logits `(text, position, VOCABULARY)` and patterns `(layer, text, head, query, key)`.
        tokens: ids, at most LENGTH positions. off: pairs (layer, head) of heads that write nothing."""
        kept = torch.ones(len(self.W_Q), HEADS, 1, 1, dtype=torch.float64)
        for layer, head in off:
            kept[layer, head] = 0
        stream, patterns = self.W_E[tokens] + self.W_pos[: tokens.shape[1]], []
        future = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
        for W_Q, W_K, W_V, W_O, kept_heads in zip(self.W_Q, self.W_K, self.W_V, self.W_O, kept):
            normed = layer_norm(stream, [WIDTH])
            q, k, v = ((normed @ W).unflatten(-1, (HEADS, -1)).transpose(1, 2) for W in (W_Q, W_K, W_V))
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            patterns.append(scores.masked_fill(future, -torch.inf).softmax(-1))
            z = kept_heads * (patterns[-1] @ v)
            stream = stream + z.transpose(1, 2).flatten(2) @ W_O
        return layer_norm(stream, [WIDTH]) @ self.W_U, torch.stack(patterns)


def repeated_pieces(generator, sequences, pieces=PIECES):
    """Sequences that repeat one piece to their end: ids `(sequence, LENGTH)`, and the pieces' lengths `(sequence, 1)`.

    pieces: (shortest, longest) length, drawn evenly, as tokens are. Raises ArgumentError unless lengths are from 2 to
    LENGTH - 2: then some token of a later copy can be known."""
    shortest, longest = pieces
    if not 2 <= shortest <= longest <= LENGTH - 2:
        raise ArgumentError(f"Pieces are of 2 to {LENGTH - 2} tokens; got {shortest} to {longest}.")
    lengths = torch.randint(shortest, longest + 1, (sequences, 1), generator=generator)
    piece = torch.randint(VOCABULARY, (sequences, longest), generator=generator)
    return piece.gather(1, torch.arange(LENGTH) % lengths), lengths


@torch.no_grad()
def measure(model, *, pieces=PIECES, off=()):
    """Losses and scores on 64 test sequences that are the same in every call; off: heads to switch off.

    Returns a dict: "first_copy" and "later_copies", mean loss in nats on tokens of the first copy and on those that can
    be known, from the second token of the second copy on; "previous_token" and "induction", `(layer, head)`.
    Previous-token attention is scored in the first copy only: later ones can be predicted without it."""
    tokens, lengths = repeated_pieces(torch.Generator().manual_seed(TEST_SEED), TEST_SEQUENCES, pieces)
    logits, patterns = model(tokens, off)
    loss = cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    position = torch.arange(LENGTH)
    first = position < lengths
    previous = previous_token_target(tokens) & first[:, :, None]
    return {
        "first_copy": loss[first[:, 1:]].mean().item(),
        "later_copies": loss[(position > lengths)[:, 1:]].mean().item(),
        "previous_token": target_score(patterns, previous[:, None]).mean(1),
        "induction": target_score(patterns, induction_target(tokens)[:, None]).mean(1),
    }


def train(model, *, seed=0, steps=400, every=20, pieces=PIECES):
    """Train the model in place. Yields "step" and what `measure` returns, at step 0 and after every `every` steps.

    seed: of the sequences. The same model, seed and thread count give the same numbers, whatever the global random
    state, which does not change, and whether gradients are enabled outside."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for step in range(steps + 1):
        if step > 0:
            tokens, _ = repeated_pieces(generator, SEQUENCES, pieces)
            with torch.enable_grad():  # not around the yield: there, gradients are as the caller has them
                logits, _ = model(tokens)
                cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
        if step % every == 0:
            yield {"step": step, **measure(model, pieces=pieces)}
