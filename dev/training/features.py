"""Train the autoencoders that the package carries: python dev/training/features.py --corpus books.jsonl.xz

One reads storybook's residual stream after layer 3, and one its untrained twin's. Both see the same 2.5 million tokens,
from random places in the books that storybook was trained on, 57 windows a book. The weights are stored in 8 bits, each
direction with a scale of its own; the script prints what that costs on the held-out books. It takes 20 minutes on two
cores and 3 GB of memory.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from data import course_books
from tqdm.auto import tqdm

from interp_helpers import book_excerpts, equal_length, features, load_bridge

FEATURES, WINDOWS, LENGTH = 2048, 57, 128  # windows: of each book
CHARACTERS, SKIPPED = 1000, 3  # of a window's text; its first tokens may begin inside a word
MARGIN = 1500  # characters at the end of a book at which no window begins


def windows(books, tokenizer):
    """Token ids of windows at random places of every book, in random order: `(window, LENGTH)`."""
    random, rows = np.random.default_rng(0), []
    for book in books:
        for start in random.integers(0, len(book["text"]) - MARGIN, WINDOWS):
            text = book["text"][start : start + CHARACTERS]
            rows.append(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][SKIPPED:][:LENGTH])
    rows = torch.tensor([row for row in rows if len(row) == LENGTH])
    return rows[torch.from_numpy(np.random.default_rng(1).permutation(len(rows)))]


def streams_of(bridge, tokens):
    """Streams after the layer, without the first position: `(token, d_model)`, in half precision."""
    pieces = tqdm(tokens.split(512), desc="capture")
    return torch.cat([features.capture(bridge, piece, dtype=torch.half)[:, 1:].flatten(0, 1) for piece in pieces])


def eight_bits(rows):
    """Rows as whole numbers from -127 to 127, and the scale of each row."""
    scale = rows.abs().amax(1, keepdim=True) / 127
    return (rows / scale).round().numpy().astype(np.int8), scale[:, 0].numpy()


def store(autoencoder, path):
    weights = {name: tensor.detach() for name, tensor in autoencoder.state_dict().items()}
    rows = weights.pop("W_dec"), weights.pop("W_enc").T
    (decoder, _), (encoder, scale) = map(eight_bits, rows)  # decoder rows have length 1, whatever their scale
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    np.savez_compressed(path, W_dec=decoder, W_enc=encoder, W_enc_scale=scale, **arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="books, one JSON a line; .jsonl or .jsonl.xz")
    parser.add_argument("--out", default=features.FOLDER, type=Path, help="the folder to write to")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    training, _ = course_books(given.corpus)
    for name in ("storybook", "untrained twin"):
        bridge, tokenizer = load_bridge("storybook", device="cpu", untrained=name != "storybook")
        streams = streams_of(bridge, windows(training, tokenizer))
        trained = features.SparseAutoencoder.for_streams(streams, FEATURES)
        for record in features.train(trained, streams, every=500):
            print(record, flush=True)
        path = given.out / f"{name}.npz"
        store(trained, path)
        held_out = features.capture(bridge, equal_length(tokenizer, book_excerpts()["text"]))[:, 1:].flatten(0, 1)
        stored = features.load_autoencoder(name)
        explained = [features.explained_variance(held_out, each(held_out)) for each in (trained, stored)]
        print(f"{name}: {path.stat().st_size} bytes, explained variance {explained[0]:.4f}, stored {explained[1]:.4f}")


if __name__ == "__main__":
    main()
