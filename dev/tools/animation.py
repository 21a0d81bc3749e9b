"""Draw README's picture, an induction head that forms while a small model is trained: python dev/tools/animation.py

It trains the model of notebook 07 that has two layers, with the seed that it has there, and writes docs/stripe.png, an
animated PNG, and docs/stripe_still.png for readers who asked their system for less motion. That takes half a minute.
"""

from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from interp_helpers import attention, live, plots

MOVING, STILL = Path("docs/stripe.png"), Path("docs/stripe_still.png")
LETTERS = "abcdefghijklmnopqrstuvwxyzαβγδεζ"
MILLISECONDS, HOLD = 120, 3000  # for each measurement, and for the last one


@torch.no_grad()
def training():
    """A training, measured every ten steps: (tokens, steps, patterns of its best induction head, its scores)."""
    tokens = live.repeated_pieces(torch.Generator().manual_seed(2), 3)[0]  # the sequence of notebook 07
    model, records, patterns = live.AttentionOnly(2, seed=0), [], []
    for record in live.train(model, seed=0):
        records.append(record)
        patterns.append(model(tokens[None]).patterns[:, 0])
    best = attention.top_head(records[-1]["induction"])
    scores = [float(np.asarray(record["induction"])[best]) for record in records]
    layer, head = best
    return tokens, [record["step"] for record in records], torch.stack(patterns)[:, layer, head], scores


def frame(tokens, steps, patterns, scores, at):
    """The picture of one measurement, RGBA without a background, so that it suits light pages and dark ones."""
    letters = [LETTERS[token] for token in tokens]
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.7), width_ratios=[1, 1.15], dpi=100)
    left.imshow(patterns[at], vmin=0, vmax=1, cmap=plots.BLUES)
    left.set_xticks(range(len(letters)), letters, fontsize=8)
    left.set_yticks(range(len(letters)), letters, fontsize=8)
    left.tick_params(length=0)
    left.set(xlabel="token looked at", ylabel="current token", title=f"training step {steps[at]}")
    right.plot(steps[: at + 1], scores[: at + 1], linewidth=2.5)
    right.plot(steps[at], scores[at], "o", markersize=7, color="C0")
    right.set(xlim=(0, steps[-1] * 1.03), ylim=(-0.02, 1.02), xlabel="training step")
    right.set_title("attention to what followed before")
    file = BytesIO()
    fig.savefig(file, format="png", transparent=True)
    plt.close(fig)
    return Image.open(file).convert("RGBA")


def main():
    plt.rcParams.update(plots.STYLE)
    measured = training()
    frames = [frame(*measured, at) for at in range(len(measured[1]))]
    durations = [MILLISECONDS] * (len(frames) - 1) + [HOLD]
    animated = {"append_images": frames[1:], "duration": durations, "loop": 0, "blend": 0, "disposal": 1}
    frames[0].save(MOVING, save_all=True, optimize=True, **animated)
    frames[-1].save(STILL, optimize=True)


if __name__ == "__main__":
    main()
