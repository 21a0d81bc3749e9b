"""Texts for the notebooks, and the way from text to tokens and back to something readable."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from .errors import ArgumentError, TextError, check_seed, check_tensors, check_whole
from .hub import checked_name

PASSAGES = Path(__file__).parent / "data" / "passages.txt"
REVIEWS = Path(__file__).parent / "data" / "reviews.csv"
TEXT_COLUMNS = ["text", "sentence", "review", "content"]  # where a table's sentences are looked for, in this order
TABLES = (".csv", ".parquet", ".json", ".jsonl")

# Prompts suit the model in use: stories for the bundled one, facts and questions for those that know some.
PROMPTS = {
    "storybook": "Once upon a time there was a little girl who lived with her grandmother",
    "EleutherAI/gpt-neo-125M": "Why does phone battery drain faster over time? Answer in 2 detailed points",
}
DEFAULT_PROMPT = "The capital of France is"


class Question(NamedTuple):
    """text: to go on with; answer, other: a word that should follow and one that should not, each with its space;
    control: a text that asks for the same word without the part that gives the answer away."""

    text: str
    answer: str
    other: str
    control: str


QUESTIONS = {
    "storybook": Question(
        "The soldier had a wooden leg and a brass button. The dog bit his wooden",
        " leg",
        " button",
        "The soldier had a silver sword and a brass button. The dog bit his wooden",
    ),
}


class Pair(NamedTuple):
    """Two texts that differ in one word, of one length in tokens, and the next word that each asks for."""

    clean: str
    corrupted: str
    clean_answer: str
    corrupted_answer: str


PAIRS = {
    "storybook": Pair(
        "Little Tom Brown lived in a small house. One day little Tom",
        "Little Tom White lived in a small house. One day little Tom",
        " Brown",
        " White",
    ),
}
DEFAULT_PAIR = Pair("The capital of France is", "The capital of Italy is", " Paris", " Rome")
LETTERS = Pair(  # a letter is one token in nearly every vocabulary
    "The first letter is A. Once more: the first letter is",
    "The first letter is B. Once more: the first letter is",
    " A",
    " B",
)
DEFAULT_QUESTION = Question(DEFAULT_PROMPT, " Paris", " London", "The capital of the country is")


def prompt_for(name):
    """A prompt that suits the model called `name`.

    >>> prompt_for("gpt2")
    'The capital of France is'
    """
    return PROMPTS.get(checked_name("prompt_for", name), DEFAULT_PROMPT)


def question_for(name):
    """A Question whose answer the model called `name` should know.

    >>> question_for("gpt2").text, question_for("gpt2").answer
    ('The capital of France is', ' Paris')
    """
    return QUESTIONS.get(checked_name("question_for", name), DEFAULT_QUESTION)


def pair_for(name, tokenizer=None):
    """A Pair that the model called `name` should tell apart.

    tokenizer: when given, a pair whose two texts have equally many tokens in it: letters, if the first choice has not.

    >>> pair_for("gpt2").corrupted
    'The capital of Italy is'
    """
    pair = PAIRS.get(checked_name("pair_for", name), DEFAULT_PAIR)
    if tokenizer is None or encode(tokenizer, pair.clean).shape == encode(tokenizer, pair.corrupted).shape:
        return pair
    return LETTERS


def encode(tokenizer, text, *, context=None, room=0):
    """Token ids `(1, position)` of a text, as it stands: no special token is added.

    context: the longest sequence that the model can read; room: how many tokens are to be added to the text.
    Raises TextError when the text is empty, becomes no tokens, or is too long to leave that room.
    """
    check_tokenizer("encode", tokenizer)
    check_whole("encode", 0, room=room, context=0 if context is None else context)
    if not isinstance(text, str):
        raise TextError(f"encode: the text must be a string; got {text!r:.60}. token_batches takes several texts.")
    if not text.strip():
        raise TextError(f"encode: the text is {text!r}; give at least one word.")
    tokens = torch.tensor([ids_of("encode", tokenizer, text)])
    if tokens.numel() == 0:
        raise TextError(
            f"encode: the text {text[:40]!r} becomes no tokens: the tokenizer knows nothing in it. Use the model's own "
            "tokenizer, as load_model gives it, or another text."
        )
    if context is not None and tokens.shape[1] + room > context:
        raise TextError(
            f"encode: the text has {tokens.shape[1]} tokens and {room} more are asked for, but the model reads "
            f"{context} at most. Shorten the text by {tokens.shape[1] + room - context} tokens, or ask for fewer."
        )
    return tokens


def check_tokenizer(operation, tokenizer):
    """Raise ArgumentError unless it is one."""
    if not (callable(tokenizer) and hasattr(tokenizer, "decode")):
        raise ArgumentError(
            f"{operation}: tokenizer must be what load_model gives beside the model; got a {type(tokenizer).__name__}."
        )


def ids_of(operation, tokenizer, text):
    """Token ids of a text, a list. Raises TextError for one that cannot be written in UTF-8: half a pair of surrogates,
    as a file of JSON may hold them."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            raise TextError(f"{operation}: the text holds no letter, but half of one: {problem}.") from problem
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def encode_pair(tokenizer, clean, corrupted, *, context=None):
    """Token ids of two texts that differ in some words, `(1, position)` each, of one length.

    Patching puts a vector from one text into the same position of the other, so the positions must agree. Raises
    TextError when the lengths differ, and says from which token on the texts do; also when nothing differs.
    """
    pair = []
    for name, text in [("clean", clean), ("corrupted", corrupted)]:
        try:
            pair.append(encode(tokenizer, text, context=context))
        except TextError as problem:
            raise TextError(f"encode_pair: {name}: {problem}") from problem
    if pair[0].shape != pair[1].shape:
        first, second = (token_labels(tokenizer, each[0]) for each in pair)
        same = next(i for i, (a, b) in enumerate(zip([*first, None], [*second, None])) if a != b)
        raise TextError(
            f"encode_pair: the texts have {len(first)} and {len(second)} tokens. They part at token {same}: "
            f"{' '.join(first[same : same + 4])} ... against {' '.join(second[same : same + 4])} ... Choose words of "
            "equally many tokens."
        )
    if torch.equal(*pair):
        raise TextError("encode_pair: both texts have the same tokens; there is nothing to patch. Change a word.")
    return pair


def token_labels(tokenizer, tokens):
    """One readable string a token: '·' for a space that the token begins with, '↵' for a line break.

    tokens: ids, a list or `(position,)`. A token that is part of a character shows as '�'. Raises ArgumentError when
    they are no ids.
    """
    check_tokenizer("token_labels", tokenizer)
    tokens = _row("token_labels", "tokens", tokens)
    texts = [tokenizer.decode([int(token)], clean_up_tokenization_spaces=False) for token in tokens]
    return [("·" + text[1:] if text.startswith(" ") else text).replace("\n", "↵") for text in texts]


def _row(operation, name, ids):
    """Token ids, a list or a tensor, as a tensor with one axis."""
    try:
        row = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError):
        row = torch.empty(0, 0)
    if row.numel() == 0 and row.ndim == 1:
        return row.long()
    if row.ndim != 1 or row.dtype not in (torch.int32, torch.int64) or row.is_meta or row.min() < 0:
        raise ArgumentError(f"{operation}: {name} must be token ids, a list or (position,); got {ids!r:.60}.")
    return row


def passages():
    """64 short passages of plain storytelling, written for this course: texts to examine a model on.

    >>> len(passages())
    64
    """
    return PASSAGES.read_text(encoding="utf-8").splitlines()


def load_sentences(name="reviews", *, split="test", column=None):
    """Sentences as a table with a column "text", and "label" where the source has one.

    name: "reviews" (bundled: 200 short film reviews written for this course, half of them "positive"), a Hugging Face
        data set such as "cornell-movie-review-data/rotten_tomatoes", a local folder of one, or a local file: csv with a
        header, or txt with a sentence a line.
    split: which part of a data set; a file has none. column: the column that holds the text; without it, the first
        that is called like one of TEXT_COLUMNS.

    Empty sentences are left out. Raises TextError when there is no such file, data set, split or column, when the hub
    cannot be reached, and when nothing is left; ArgumentError when the name is neither a string nor a path.

    >>> load_sentences()["label"].value_counts().to_dict()
    {'positive': 100, 'negative': 100}
    """
    import pandas as pd

    name = checked_name("load_sentences", name, example="reviews")
    if column is not None and not isinstance(column, str):
        raise TextError(f"load_sentences: column must be the name of one; got {column!r:.60}.")
    path = REVIEWS if name == "reviews" else _expanded(name)
    kind = path.suffix.lower()
    if path.is_file() and kind not in (".csv", ".txt"):
        raise TextError(f"load_sentences: the file {str(name)!r} is neither .csv nor .txt. Save it as one of them.")
    try:
        if kind == ".txt" and not path.is_dir():
            table = pd.DataFrame({"text": path.read_text(encoding="utf-8-sig").splitlines()})
        elif kind == ".csv" and not path.is_dir():
            strings = dict.fromkeys([column] if column else TEXT_COLUMNS, str)  # "007" is no number
            table = pd.read_csv(path, dtype=strings, keep_default_na=False, encoding="utf-8-sig")  # and "NA" a word
        else:
            table = _data_set(str(name), split)
    except FileNotFoundError as problem:
        raise TextError(f"load_sentences: there is no file {str(name)!r}. Check the path.") from problem
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as problem:
        raise TextError(
            f"load_sentences: {str(name)!r} cannot be read: {type(problem).__name__}: {problem} A csv needs a header "
            "and text in UTF-8."
        ) from problem
    found = [each for each in ([column] if column else TEXT_COLUMNS) if each in table.columns]
    if not found:
        raise TextError(
            f"load_sentences: {str(name)!r} has no column {column or ' or '.join(TEXT_COLUMNS)}; its columns are "
            f"{', '.join(map(str, table.columns))}. Name the one with the text: column=..."
        )
    columns = dict.fromkeys([found[0], "label"] if "label" in table.columns else [found[0]])  # they may be one
    kept = table[list(columns)].rename(columns={found[0]: "text"})
    kept = kept[kept["text"].notna() & (kept["text"].astype(str).str.strip() != "")].reset_index(drop=True)
    if kept.empty:
        raise TextError(f"load_sentences: {str(name)!r} holds no sentence.")
    return kept.assign(text=kept["text"].astype(str).str.strip())


def _expanded(name):
    """A path, with the home folder in place of ~."""
    try:
        path = Path(name).expanduser()
        path.is_file()
        return path
    except (OSError, RuntimeError, ValueError) as problem:
        raise TextError(f"load_sentences: the name {name!r:.60} cannot be looked up: {problem}.") from problem


def _data_set(name, split):
    """One split of a data set, a folder or a hub id, as a table; read with Hugging Face datasets."""
    from datasets import disable_progress_bars, load_dataset

    from .hub import fetch, looks_like_path

    folder = Path(name).expanduser()
    if not folder.is_dir():
        if looks_like_path(name):
            raise FileNotFoundError(name)
        folder = fetch(
            name,
            kind="dataset",
            patterns=["*.md", *("*" + each for each in TABLES)],
            missing=_no_table,
            operation="load_sentences",
            bundled="reviews",
            error=TextError,
        )
    disable_progress_bars()
    try:
        return load_dataset(str(folder), split=split).to_pandas()
    except Exception as problem:  # an unknown split, a folder without data, a damaged file: each has its own error
        raise TextError(
            f"load_sentences: the split {split!r} of {name!r} cannot be read: {type(problem).__name__}: {problem}"
        ) from problem


def _no_table(folder):
    found = any(each.suffix in TABLES for each in folder.rglob("*"))
    return None if found else f"it holds no table ({', '.join(TABLES)})"


def pad(rows):
    """Rows of token ids of unequal length as (tokens, mask), both `(text, position)`, padded on the right.

    mask is True for tokens and False for padding, whose id is 0: nothing before it can attend to it. Raises TextError
    when a row, or the list of rows, is empty.

    >>> pad([[5, 6, 7], [8]])
    (tensor([[5, 6, 7],
            [8, 0, 0]]), tensor([[ True,  True,  True],
            [ True, False, False]]))
    """
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise ArgumentError(f"pad: rows must be a list of rows of token ids; got a {type(rows).__name__}.")
    rows = [_row("pad", f"rows[{number}]", row) for number, row in enumerate(rows)]
    lengths = torch.tensor([len(row) for row in rows])
    if len(rows) == 0 or (lengths == 0).any():
        raise TextError("pad: rows is empty, or holds one without tokens. Leave empty texts out.")
    tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    tokens[mask] = torch.cat(rows).long()
    return tokens, mask


def token_batches(tokenizer, texts, *, context=None, start=None, size=8):
    """Texts as a list of (tokens, mask), `size` texts in each, padded on the right as `pad` does.

    start: a token id to put in front of every text, such as `tokenizer.bos_token_id`; None adds nothing.
    Raises TextError as `encode` does, and says which text it was; ArgumentError when size is less than 1.
    """
    check_whole("token_batches", 1, size=size)
    check_whole("token_batches", 0, start=0 if start is None else start)
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise ArgumentError(f"token_batches: texts must be a list of texts; got a {type(texts).__name__}.")
    front, rows = [] if start is None else [start], []
    for number, text in enumerate(texts):
        try:
            rows.append([*front, *encode(tokenizer, text, context=context, room=len(front))[0].tolist()])
        except TextError as problem:
            raise TextError(f"token_batches: text {number} ({str(text)[:40]!r} ...): {problem}") from problem
    return [pad(rows[i : i + size]) for i in range(0, len(rows), size)]


def repeated_random_tokens(tokenizer, length, *, sequences=16, start=None, seed=0):
    """Random tokens, then the same again: `(sequence, 2 * length)`, or one more with the token id `start` in front.

    Nothing but the repetition can be predicted, from the second token of the second copy on.
    Tokens are drawn evenly from all that are not special ones.
    """
    check_tokenizer("repeated_random_tokens", tokenizer)
    check_whole("repeated_random_tokens", 1, length=length, sequences=sequences)
    check_whole("repeated_random_tokens", 0, start=0 if start is None else start)
    check_seed("repeated_random_tokens", seed)
    ids = torch.tensor(sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids)))
    generator = torch.Generator().manual_seed(seed)
    piece = ids[torch.randint(len(ids), (sequences, length), generator=generator)]
    front = [] if start is None else [torch.full((sequences, 1), start)]
    return torch.cat([*front, piece, piece], 1)


def checked_batch(operation, batch):
    """A batch as (tokens, mask), both `(text, position)`, the mask boolean.

    batch: such a pair, or tokens alone when nothing is padded. The mask may hold integers, as a tokenizer's does.
    Raises ArgumentError, in the name of `operation`, when it is none, a text is all padding, or padding does not stand
    on the right, where no token can attend to it.
    """
    pair = batch if isinstance(batch, (tuple, list)) else (batch, None)
    if isinstance(batch, list) and not any(isinstance(each, torch.Tensor) for each in batch):
        raise ArgumentError(
            f"{operation}: tokens must be a tensor of ids, (text, position), or a batch (tokens, mask); got a list. "
            "torch.tensor makes one of rows of one length, pad a batch of others."
        )
    if len(pair) != 2:
        raise ArgumentError(f"{operation}: a batch is (tokens, mask), or tokens alone; got {len(pair)} things.")
    tokens, mask = pair
    check_tensors(operation, of="ids", tokens=tokens)
    if mask is None:
        if tokens.ndim != 2:
            raise ArgumentError(
                f"{operation}: tokens must be (text, position), as token_batches gives them; got "
                f"{tuple(tokens.shape)}. For one text, give tokens[None]."
            )
        mask = torch.ones(tokens.shape, dtype=torch.bool)
    whole = isinstance(mask, torch.Tensor) and mask.dtype in (torch.int32, torch.int64)
    check_tensors(operation, of="ids" if whole else "booleans", mask=mask)
    if tokens.ndim != 2 or tokens.shape != mask.shape:
        raise ArgumentError(
            f"{operation}: tokens and mask must both be (text, position), as token_batches gives them; got "
            f"{tuple(tokens.shape)} and {tuple(mask.shape)}."
        )
    if tokens.min() < 0 or (whole and not ((mask == 0) | (mask == 1)).all()):
        raise ArgumentError(f"{operation}: tokens must be ids, none below 0, and mask 1 for tokens and 0 for padding.")
    mask = mask.bool().to(tokens.device)
    lengths = mask.sum(1)
    if (lengths == 0).any():
        raise ArgumentError(f"{operation}: a text is all padding, says the mask. Leave it out.")
    if not torch.equal(mask, torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]):
        raise ArgumentError(
            f"{operation}: padding must stand on the right, so that no token can attend to it; mask says "
            "otherwise. Set tokenizer.padding_side = 'right'."
        )
    return tokens, mask


def checked_batches(operation, batches):
    """The same; ArgumentError when they cannot be gone through one by one."""
    if isinstance(batches, (str, dict)) or not isinstance(batches, Iterable):
        raise ArgumentError(
            f"{operation}: batches must be a list of (tokens, mask), as token_batches gives it; got a "
            f"{type(batches).__name__}."
        )
    return batches


def shuffled(batches, seed=0):
    """The same batches with the tokens of every text in random order; the first token and padding stay.

    Raises ArgumentError as `checked_batch` does.
    """
    check_seed("shuffled", seed)
    generator = torch.Generator().manual_seed(seed)
    mixed = []
    for batch in checked_batches("shuffled", batches):
        tokens, mask = checked_batch("shuffled", batch)
        keys = torch.rand(tokens.shape, generator=generator).to(mask.device) + (~mask) * 2.0  # padding sorts last
        keys[:, 0] = -1
        mixed.append((tokens.gather(1, keys.argsort(1)), mask))
    return mixed
