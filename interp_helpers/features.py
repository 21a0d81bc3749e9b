"""Sparse autoencoders: directions of the residual stream of which a few at a time make up a token's vector.

`SparseAutoencoder` is the TopK autoencoder of Gao et al. (2024, arXiv:2406.04093) after Makhzani and Frey (2013,
arXiv:1312.5663). It leaves out what they do against features that never fire, and some never do. The streams
are centred and scaled by two constants that are measured once, in the place of a learned decoder bias.

The two that the package carries were trained by dev/training/features.py, with the recipe of the notebook and more
text. Their weights are stored in 8 bits. Tokens count along one axis here: the texts they come from do not matter.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from .errors import ArgumentError, check_finite, checked
from .models import prepare
from .views import Context

FOLDER = Path(__file__).parent / "data" / "features"
LAYER, FIRING = 3, 16  # after which layer of storybook the stored ones read, and how many features a token may have
RATE, TOKENS = 2e-3, 512  # of Adam, and in a step
PIECE = 4096  # tokens that are encoded at once: all features of all tokens would not fit into memory


class Firings(NamedTuple):
    """Which features fire at each token: `features` (token, k), their numbers, and `values` (token, k), how strongly.

    A value may be 0, when fewer than k features fire."""

    features: Int[Tensor, "token k"]
    values: Float[Tensor, "token k"]

    def of(self, feature):
        """How strongly one feature fires at every token: `(token,)`, 0 where it does not.

        >>> Firings(torch.tensor([[7, 2], [4, 7]]), torch.tensor([[0.5, 1.0], [3.0, 2.0]])).of(7)
        tensor([0.5000, 2.0000])
        """
        return self.values.where(self.features == feature, 0).sum(-1)

    def strongest(self, share, features):
        """The tokens at which each feature fires most strongly, as `strongest` gives them. features: how many."""
        fires = self.values.flatten() > 0
        feature, value = self.features.flatten()[fires], self.values.flatten()[fires]
        token = torch.arange(len(self.values)).repeat_interleave(self.values.shape[1])[fires]
        order = value.argsort(descending=True, stable=True)
        order = order[feature[order].argsort(stable=True)]  # by feature, and the strongest first
        counts = torch.bincount(feature, minlength=features).tolist()
        most = int(share * len(self.values))
        return [tokens[:most].sort().values for tokens in token[order].split(counts)]


class SparseAutoencoder(torch.nn.Module):
    """A TopK autoencoder: each stream becomes k positive numbers, and the sum of as many decoder rows.

    mean `(d_model,)` and scale: what is subtracted from a stream, and what it is then divided by. seed: of the starting
    weights. Row i of W_dec `(feature, d_model)` is feature i's direction, of length 1; column i of W_enc
    `(d_model, feature)` is what a stream is compared with, and starts as the same direction.
    """

    def __init__(self, mean, scale, features=1024, *, k=FIRING, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        directions = normalize(torch.randn(features, len(mean), generator=generator), dim=1)
        self.W_dec, self.W_enc = torch.nn.Parameter(directions), torch.nn.Parameter(directions.T.clone())
        self.b_enc = torch.nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", torch.as_tensor(scale).float())
        self.k = k

    @classmethod
    def for_streams(cls, streams, features=1024, **options):
        """One whose mean and scale are those of streams `(token, d_model)`: centred, and 1 is the mean square."""
        chosen = torch.randperm(len(streams), generator=torch.Generator().manual_seed(0))[:20_000]
        some = streams[chosen].float()  # at random: every n-th token may be the same position of every text
        return cls(some.mean(0), (some - some.mean(0)).square().mean().sqrt(), features, **options)

    def activations(self, x):
        """Activations of all features at centred and scaled streams: `(token, feature)`, at most k above 0 a token."""
        scores = x @ self.W_enc + self.b_enc
        top = scores.topk(self.k)
        return torch.zeros_like(scores).scatter(-1, top.indices, top.values.relu())

    def centred(self, streams):
        """Streams less the mean, divided by the scale."""
        return (streams.float() - self.mean) / self.scale

    @torch.no_grad()
    def encode(self, streams) -> Firings:
        """Which features fire at streams `(token, d_model)`."""
        tops = [(self.centred(piece) @ self.W_enc + self.b_enc).topk(self.k) for piece in streams.split(PIECE)]
        return Firings(torch.cat([top.indices for top in tops]), torch.cat([top.values.relu() for top in tops]))

    @torch.no_grad()
    def decode(self, firings) -> Tensor:
        """The streams `(token, d_model)` that firings stand for."""
        rows = torch.nn.functional.embedding_bag(
            firings.features, self.W_dec, per_sample_weights=firings.values, mode="sum"
        )
        return rows * self.scale + self.mean

    def direction(self, feature):
        """What one unit of a feature's activation adds to the stream: `(d_model,)`."""
        return self.W_dec[feature].detach() * self.scale

    def forward(self, streams):
        """Streams of any shape `(..., d_model)`, encoded and decoded."""
        return self.decode(self.encode(streams.reshape(-1, streams.shape[-1]))).reshape(streams.shape)


def load_autoencoder(name="storybook"):
    """A stored autoencoder of 2048 features for the residual stream after layer 3: "storybook", or "untrained twin".

    Trained on 2.5 million tokens of the books that storybook was trained on. Raises ArgumentError for another name.

    >>> load_autoencoder().W_dec.shape
    torch.Size([2048, 256])
    """
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        there = " and ".join(repr(file.stem) for file in sorted(FOLDER.glob("*.npz")))
        raise ArgumentError(f"There is no autoencoder for {name!r}. There are those for {there}.")
    with np.load(path) as file:
        stored = {key: torch.from_numpy(value.astype(np.float32)) for key, value in file.items()}
    loaded = SparseAutoencoder(stored["mean"], stored["scale"], len(stored["b_enc"]))
    with torch.no_grad():
        loaded.W_dec.copy_(normalize(stored["W_dec"], dim=1))
        loaded.W_enc.copy_(stored["W_enc"].T * stored["W_enc_scale"])
        loaded.b_enc.copy_(stored["b_enc"])
    return loaded.eval()


@checked
@torch.no_grad()
def capture(
    bridge,
    tokens: Int[Tensor, "text position"],
    layer: int = LAYER,
    *,
    what: str = "hook_resid_post",
    dtype: torch.dtype = torch.float32,
):
    """The residual stream after a layer: `(text, position, d_model)`. Later layers do not run.

    what: another hook of the layer, such as "mlp.hook_post" for its neurons, `(text, position, neuron)`. dtype: half
    precision takes half of the memory, and loses less than an autoencoder does. Raises errors as `prepare`, and
    ArgumentError for numbers that are not finite, or too large for the dtype.
    """
    name, captured, tokens = f"blocks.{layer}.{what}", None, prepare(bridge, tokens).tokens
    for part, place in zip(tokens.split(16), torch.arange(len(tokens)).split(16)):  # more at once are slower
        _, cache = bridge.run_with_cache(part, names_filter=[name], stop_at_layer=layer + 1)
        if captured is None:
            captured = torch.empty(*tokens.shape, cache[name].shape[-1], dtype=dtype)
        captured[place] = cache[name].to("cpu", dtype)
    check_finite(**{f"{name} in {dtype}": captured})  # float16 ends at 65504, and some streams go further
    return captured


def train(autoencoder, streams, *, seed=0, steps=None, every=50):
    """Train the autoencoder in place. Yields {"tokens", "explained_variance"} of the current step, after every `every`.

    streams: `(token, d_model)`, of any precision; steps: by default as many as give each token once. The learning rate
    rises over 20 steps and falls to 0 over the last quarter. seed: of the order of tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = steps or len(streams) // TOKENS
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=RATE)
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < TOKENS:
            order = torch.randperm(len(streams), generator=generator)
        x, order = autoencoder.centred(streams[order[:TOKENS]]), order[TOKENS:]
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 20, (steps - step) / (steps / 4))
        with torch.enable_grad():
            loss = (x - autoencoder.activations(x) @ autoencoder.W_dec).square().mean()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():  # otherwise small activations and long rows would do the same as the other way round
            autoencoder.W_dec.copy_(normalize(autoencoder.W_dec, dim=1))
        if (step + 1) % every == 0 or step + 1 == steps:
            explained = 1 - loss.item() / x.var(0, correction=0).mean().item()
            yield {"tokens": (step + 1) * TOKENS, "explained_variance": explained}


@checked
def explained_variance(streams: Float[Tensor, "token d_model"], reconstructed: Float[Tensor, "token d_model"]) -> float:
    """Share of the variance of streams that a reconstruction keeps: 1 when it is exact, 0 for the mean of all tokens.

    >>> streams = torch.tensor([[1.0, 0], [3, 0], [2, 3]])
    >>> explained_variance(streams, streams), explained_variance(streams, streams.mean(0).expand(3, 2))
    (1.0, 0.0)
    """
    mean, sums = streams.cpu().mean(0, dtype=torch.float64), 0
    for pair in zip(streams.split(PIECE), reconstructed.split(PIECE)):
        x, found = (piece.cpu().double() for piece in pair)  # on the CPU: Apple's GPUs have no float64
        sums += torch.stack([(x - found).square().sum(), (x - mean).square().sum()])
    return 1 - (sums[0] / sums[1]).item()


@checked
def strongest(activations: Float[Tensor, "token unit"], share: float):
    """The tokens at which each unit is most active, the `share` of them: a list of sorted indices `(token,)` a unit.

    Only tokens count at which a unit is above 0, so a unit may have fewer.

    >>> strongest(torch.tensor([[0.1, 0], [0.5, 2], [0.9, 0], [0.7, 0]]), 0.5)
    [tensor([2, 3]), tensor([1])]
    """
    fired = []
    for piece in activations.split(128, 1):
        top = piece.float().topk(int(share * len(activations)), 0)
        fired += [tokens[values > 0].sort().values for values, tokens in zip(top.values.T, top.indices.T)]
    return fired


@checked
def rule_score(fired: Int[Tensor, " firing"], labels: Int[Tensor, " token"], learning: Bool[Tensor, " token"]) -> float:
    """How well a rule "fires at these labels" predicts where a unit fires on other text: F1 in [0, 1].

    fired: tokens at which the unit fires. labels: a number for every token, such as its id, or that of the token before
    it. learning: the tokens from which the rule is learned; the score is that on all others. The rule takes labels in
    the order of how often the unit fires at them, as many as give the best F1 where it is learned. 0 where the unit
    never fires.

    >>> labels, learning = torch.tensor([5, 6, 5, 6, 7, 5, 6, 7]), torch.arange(8) < 5
    >>> rule_score(torch.tensor([0, 2, 5]), labels, learning)
    1.0
    """
    learned, tested = fired[learning[fired]], fired[~learning[fired]]
    if not len(learned) or not len(tested):
        return 0.0
    size = int(labels.max()) + 1
    counts = torch.bincount(labels[learning], minlength=size)
    seen, hits = labels[learned].unique(return_counts=True)
    order = (hits / counts[seen]).argsort(descending=True, stable=True)
    f1 = 2 * hits[order].cumsum(0) / (counts[seen[order]].cumsum(0) + len(learned))
    rule = torch.zeros(size, dtype=torch.bool)
    rule[seen[order[: f1.argmax() + 1]]] = True
    predicted = rule[labels[~learning]].sum().item()
    return 2 * rule[labels[tested]].sum().item() / (predicted + len(tested))


@checked
def contexts(
    labels: list[list[str]],
    activations: Float[Tensor, "text position"],
    number: int,
    *,
    seed: int | None = None,
    before: int = 12,
    after: int = 4,
):
    """Pieces of text around tokens at which a unit is active, one from each text: a list of `views.Context`.

    labels: of the tokens of every text. activations: of the unit, 0 or less where it does not fire. Without a seed they
    are the `number` strongest, in this order; with one, they are drawn at random from all tokens at which it fires.
    """
    fires = activations > 0
    chance = torch.rand(fires.shape, generator=torch.Generator().manual_seed(seed or 0))
    best = torch.where(fires, activations if seed is None else chance, -torch.inf).max(1)
    texts = [text for text in best.values.argsort(descending=True, stable=True).tolist() if fires[text].any()]
    found = []
    for text, at in [(text, best.indices[text].item()) for text in texts[:number]]:
        piece = slice(max(0, at - before), at + after + 1)
        values = activations[text, piece].clamp(min=0).tolist()
        found.append(Context(labels[text][piece], values, at - piece.start))
    return found
