"""Books to tokens to training windows."""

import hashlib
import json
import lzma
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

END_OF_TEXT = "<|endoftext|>"
RECIPE = Path(__file__).with_name("recipe.toml")


def read_books(corpus):
    """The books of a .jsonl or .jsonl.xz file, as dicts with at least `title` and `text`."""
    opener = lzma.open if str(corpus).endswith(".xz") else open
    with opener(corpus, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def split_books(books, held_out, seed):
    """(training books, held-out books): whole books, chosen at random from the seed."""
    chosen = set(np.random.default_rng(seed).choice(len(books), held_out, replace=False).tolist())
    return (
        [book for i, book in enumerate(books) if i not in chosen],
        [book for i, book in enumerate(books) if i in chosen],
    )


def course_books(corpus):
    """(books that storybook was trained on, books that it was not), as the recipe splits them."""
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    return split_books(read_books(corpus), recipe["data"]["held_out_books"], recipe["seed"])


def train_tokenizer(texts, vocab_size):
    """Byte-level BPE; <|endoftext|> is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def prepare(corpus, out, recipe):
    """Tokenizer, training tokens, held-out tokens and a list of the books; made once and kept in `out`.

    Tokens are one uint16 array a side, the books one after another with <|endoftext|> between them.
    Returns (tokenizer, training tokens, held-out tokens, books), books a list of
    {"title", "source", "path", "licence", "held_out", "tokens"}.
    """
    wanted = {"tokenizer": recipe["tokenizer"], "held_out": recipe["data"]["held_out_books"], "seed": recipe["seed"]}
    digest = hashlib.sha256(Path(corpus).read_bytes() + json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    cache = Path(out) / f"tokens-{digest[:12]}"
    if not (cache / "books.json").is_file():
        cache.mkdir(parents=True, exist_ok=True)
        training, held_out = split_books(read_books(corpus), wanted["held_out"], wanted["seed"])
        tokenizer = train_tokenizer((book["text"] for book in training), **recipe["tokenizer"])
        tokenizer.save(str(cache / "tokenizer.json"))
        rows = []
        for name, books in [("training", training), ("held_out", held_out)]:
            pieces = [encoded.ids for encoded in tokenizer.encode_batch([book["text"] for book in books])]
            np.save(cache / f"{name}.npy", np.concatenate([np.array([0, *ids], np.uint16) for ids in pieces]))
            for book, ids in zip(books, pieces):
                facts = {key: book.get(key, "") for key in ("title", "source", "path", "licence")}
                rows.append({**facts, "held_out": name == "held_out", "tokens": len(ids)})
        (cache / "books.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")  # last: marks the cache whole
    return (
        Tokenizer.from_file(str(cache / "tokenizer.json")),
        np.load(cache / "training.npy"),
        np.load(cache / "held_out.npy"),
        json.loads((cache / "books.json").read_text(encoding="utf-8")),
    )


def repeated(piece, length):
    """The piece again and again, cut at `length` tokens: ([5, 7, 9], 7) -> [5, 7, 9, 5, 7, 9, 5]."""
    return np.resize(piece, length)


def training_windows(tokens, step, seed, windows, context, data, share, excerpts):
    """The windows of one step, `(windows, context + 1)`: a function of seed and step, so that a resumed run
    sees what an uninterrupted one sees. `share` of them repeat a piece; `excerpts` of the pieces are text,
    the others tokens drawn at random from the corpus."""
    random = np.random.default_rng([seed, step])
    batch = np.empty((windows, context + 1), np.int64)
    for row in batch:
        body = row
        if random.random() < data["end_of_text_share"]:
            row[0], body = 0, row[1:]
        if random.random() < share:
            longest = min(data["repeat_longest"], len(body) // 2)
            length = random.integers(min(data["repeat_shortest"], longest), longest, endpoint=True)
            if random.random() < excerpts:
                start = random.integers(len(tokens) - length)
                piece = tokens[start : start + length]
            else:
                piece = tokens[random.integers(len(tokens), size=length)]
            body[:] = repeated(piece, len(body))
        else:
            start = random.integers(len(tokens) - len(body))
            body[:] = tokens[start : start + len(body)]
    return batch


def held_out_windows(tokens, windows, context):
    """Evenly spaced windows of held-out text, `(windows, context + 1)`; every second begins with <|endoftext|>."""
    starts = np.linspace(0, len(tokens) - context - 1, windows).astype(int)
    batch = np.stack([tokens[start : start + context + 1] for start in starts]).astype(np.int64)
    batch[::2, 1:], batch[::2, 0] = batch[::2, :-1].copy(), 0
    return batch


def repeated_random(tokens, sequences, context, seed=0):
    """<|endoftext|> and random tokens twice, `(sequences, 1 + 2 n)` with n = (context - 1) // 2, and n."""
    half = (context - 1) // 2
    piece = tokens[np.random.default_rng(seed).integers(len(tokens), size=(sequences, half))].astype(np.int64)
    return np.concatenate([np.zeros((sequences, 1), np.int64), piece, piece], axis=1), half
