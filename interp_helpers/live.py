"""A small attention-only transformer that learns to repeat while you watch: its heads are scored as it is trained.

The task: a piece of random tokens, again and again to the end of the sequence. Nothing but the repetition can be
predicted, so the loss on later copies says how well the model repeats, and the loss on the first copy what guessing
costs. Two layers learn it with an induction head (Elhage et al. 2021, transformer-circuits.pub/2021/framework;
Olsson et al. 2022, arXiv:2209.11895); one layer cannot, unless all pieces have one length: then it learns the distance.

The recipe, a compromise between a clear jump and seconds on a laptop. Over seeds 0 to 9 the best induction score passes
one half at step 200 to 260 of 400 with two layers; with one it ends at 0.14 at most, even after 4000 (seeds 0, 1).

- VOCABULARY 64: with 128 tokens the jump comes later (step 320 for seed 0), with 32 earlier (160), but then a piece
  holds the same token twice more often, and "what followed it" is less clear.
- LENGTH 32, pieces of 8 to 16 tokens: every sequence holds two copies at least, at one of nine distances.
- 4 heads of 16 dimensions, no MLP, no biases. Token and position embeddings start alike, with standard deviation 1:
  positions twice as large delay the jump (420), smaller ones change little (0.5: 200, 0.2: 220).
- AdamW with a constant rate of 5e-3 and 32 sequences a step: at 3e-3 the jump comes at 300.
- 64-bit floats: training multiplies rounding errors, and with 32 bits another processor could show other numbers.
"""

from operator import index

import torch
from torch.nn.functional import cross_entropy, layer_norm

from .errors import ArgumentError, check_seed, check_tensors, check_whole
from .heads import induction_score, previous_token_score

VOCABULARY, LENGTH, PIECES = 64, 32, (8, 16)
WIDTH, HEADS = 64, 4
RATE, SEQUENCES = 5e-3, 32
TEST_SEED, TEST_SEQUENCES = 2**31, 64  # never trained on; the same for every run


class AttentionOnly(torch.nn.Module):
    """Token and position embeddings, layers of attention, an unembedding; LayerNorm before each layer and at the end.

    layers: how many; seed: of the starting weights. The global random state is neither read nor changed.
    Raises ArgumentError for fewer than one layer.
    """

    def __init__(self, layers=2, *, seed=0):
        super().__init__()
        check_whole("AttentionOnly", 1, layers=layers)
        check_seed("AttentionOnly", seed)
        generator = torch.Generator().manual_seed(seed)

        def weights(*shape, inputs=1):
            start = torch.randn(*shape, generator=generator, dtype=torch.float64)
            return torch.nn.Parameter(start / inputs**0.5)

        self.W_E, self.W_pos = weights(VOCABULARY, WIDTH), weights(LENGTH, WIDTH)
        self.W_Q, self.W_K, self.W_V, self.W_O = (weights(layers, WIDTH, WIDTH, inputs=WIDTH) for _ in range(4))
        self.W_U = weights(WIDTH, VOCABULARY, inputs=WIDTH)

    def forward(self, tokens, off=()):
        """Logits `(batch, position, VOCABULARY)` and patterns `(layer, batch, head, query, key)`.

        tokens: ids `(batch, position)`, at most LENGTH positions. off: pairs (layer, head) that write nothing.
        Raises ArgumentError when a sequence is too long, or there is no such head.
        """
        check_tensors("AttentionOnly", of="ids", axes="(batch, position)", tokens=tokens)
        positions = tokens.shape[1]
        if positions > LENGTH or tokens.min() < 0 or tokens.max() >= VOCABULARY:
            raise ArgumentError(
                f"AttentionOnly: tokens must be ids from 0 to {VOCABULARY - 1}, {LENGTH} in a sequence at most; got "
                f"{positions}, from {tokens.min()} to {tokens.max()}."
            )
        keep = torch.ones(len(self.W_Q), HEADS, 1, 1, dtype=torch.float64)
        heads = [(layer, head) for layer in range(len(keep)) for head in range(HEADS)]
        try:
            silent = {(index(layer), index(head)) for layer, head in off}
        except (TypeError, ValueError):  # no pairs, or not of whole numbers
            silent = {None}
        if not silent <= set(heads):
            raise ArgumentError(
                f"AttentionOnly: off must be pairs (layer, head), from {heads[0]} to {heads[-1]}; got {off!r}."
            )
        for layer, head in silent:
            keep[layer, head] = 0
        future = torch.ones(positions, positions, dtype=torch.bool).triu(1)
        stream, patterns = self.W_E[tokens] + self.W_pos[:positions], []
        for W_Q, W_K, W_V, W_O, on in zip(self.W_Q, self.W_K, self.W_V, self.W_O, keep):
            read = layer_norm(stream, [WIDTH])
            q, k, v = ((read @ W).unflatten(-1, (HEADS, -1)).transpose(1, 2) for W in (W_Q, W_K, W_V))
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            patterns.append(scores.masked_fill(future, -torch.inf).softmax(-1))
            stream = stream + (on * (patterns[-1] @ v)).transpose(1, 2).flatten(2) @ W_O
        return layer_norm(stream, [WIDTH]) @ self.W_U, torch.stack(patterns)


def repeated_pieces(generator, sequences, pieces=PIECES):
    """Sequences that repeat one piece to their end: ids `(sequence, LENGTH)`, and the pieces' lengths `(sequence, 1)`.

    pieces: (shortest, longest) length, drawn evenly; tokens are drawn evenly too. generator: a torch.Generator.
    Raises ArgumentError unless 2 <= shortest <= longest <= LENGTH - 2: then some token of a later copy can be known.
    """
    if not isinstance(generator, torch.Generator):
        raise ArgumentError(f"repeated_pieces: generator must be a torch.Generator; got a {type(generator).__name__}.")
    check_whole("repeated_pieces", 1, sequences=sequences)
    try:
        shortest, longest = map(index, pieces)
    except (TypeError, ValueError):  # no pair, or not of whole numbers
        shortest, longest = 0, 0
    if not 2 <= shortest <= longest <= LENGTH - 2:
        raise ArgumentError(
            f"repeated_pieces: pieces must be (shortest, longest), from 2 to {LENGTH - 2} tokens: others leave "
            f"nothing to predict within {LENGTH}; got {pieces!r}."
        )
    lengths = torch.randint(shortest, longest + 1, (sequences, 1), generator=generator)
    piece = torch.randint(VOCABULARY, (sequences, longest), generator=generator)
    return piece.gather(1, torch.arange(LENGTH) % lengths), lengths


@torch.no_grad()
def measure(model, *, pieces=PIECES, off=()):
    """Losses and scores on 64 test sequences that are the same in every call; off: heads to switch off.

    Returns a dict: "first_copy" and "later_copies", mean loss in nats on tokens of the first copy and on those that can
    be known, from the second token of the second copy on; "previous_token" and "induction", `(layer, head)`.
    Previous-token attention is scored in the first copy only: later ones can be predicted without it.
    """
    if not isinstance(model, AttentionOnly):
        raise ArgumentError(f"measure: model must be an AttentionOnly; got a {type(model).__name__}.")
    tokens, lengths = repeated_pieces(torch.Generator().manual_seed(TEST_SEED), TEST_SEQUENCES, pieces)
    logits, patterns = model(tokens, off)
    loss = cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    position = torch.arange(LENGTH)
    first = position < lengths
    return {
        "first_copy": loss[first[:, 1:]].mean().item(),
        "later_copies": loss[(position > lengths)[:, 1:]].mean().item(),
        "previous_token": previous_token_score(patterns, first[:, None]).mean(1),
        "induction": induction_score(patterns, tokens[:, None]).mean(1),
    }


def train(model, *, seed=0, steps=400, every=20, pieces=PIECES):
    """Train the model in place. Yields "step" and what `measure` returns, at step 0 and after every `every` steps.

    seed: of the sequences. The same model, seed and thread count give the same numbers. The global random state is
    neither read nor changed, and whether gradients are enabled outside makes no difference.
    Raises ArgumentError when steps or every is less than 1, at the first record, as generators do.
    """
    if not isinstance(model, AttentionOnly):
        raise ArgumentError(f"train: model must be an AttentionOnly; got a {type(model).__name__}.")
    check_whole("train", 1, steps=steps, every=every)
    check_seed("train", seed)
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
