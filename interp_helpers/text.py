"""Text to tokens and back to readable labels; batches; the texts that the course carries."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from .errors import ArgumentError, TextError, checked, explained

DATA = Path(__file__).parent / "data"
EXCERPTS = {"held out": "held_out.csv", "training": "training.csv.xz"}
_PIECES = 4  # into how many tokens a character falls at most: it has four bytes at most


@dataclass(frozen=True, eq=False, init=False)
class Batch:
    """Texts of unequal length as token ids, padded on the right.

    tokens: `(text, position)`. mask: the same shape, True for tokens and False for padding; without one, nothing is
    padded. Integers will do, as a tokenizer's attention_mask has them.

    Padding stands on the right so that no token can attend to it: in a causal model, every token then has the vector
    that it would have without the padding. Padding elsewhere and a text of no tokens raise ArgumentError.

    >>> batch = Batch.from_rows([[5, 6, 7], [8]])
    >>> batch.tokens.tolist(), batch.mask.tolist()
    ([[5, 6, 7], [8, 0, 0]], [[True, True, True], [True, False, False]])
    """

    tokens: Tensor
    mask: Tensor

    @checked
    def __init__(self, tokens: Int[Tensor, "text position"], mask: Shaped[Tensor, "text position"] | None = None):
        mask = torch.ones_like(tokens) != 0 if mask is None else mask.to(tokens.device) != 0
        lengths = mask.sum(1, keepdim=True)
        if not (lengths > 0).all() or not torch.equal(mask, torch.arange(mask.shape[1], device=mask.device) < lengths):
            raise ArgumentError("Every text needs a token, and padding on the right: tokenizer.padding_side = 'right'.")
        object.__setattr__(self, "tokens", tokens)  # frozen
        object.__setattr__(self, "mask", mask)

    @classmethod
    def from_rows(cls, rows):
        """Rows of token ids of unequal length, padded with 0."""
        rows = [torch.as_tensor(row, dtype=torch.long) for row in rows]
        lengths = torch.tensor([len(row) for row in rows])
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return cls(tokens, torch.arange(tokens.shape[1]) < lengths[:, None])

    @classmethod
    def of(cls, texts):
        """A batch as it is; tokens `(text, position)` alone as one in which nothing is padded."""
        return texts if isinstance(texts, cls) else cls(texts)

    def to(self, device):
        """The same batch on a device."""
        return Batch(self.tokens.to(device), self.mask.to(device))

    def __len__(self):
        """How many texts."""
        return len(self.tokens)

    def __getitem__(self, chosen):
        """Some of the texts, chosen with a slice: `batch[:4]`."""
        return Batch(self.tokens[chosen], self.mask[chosen])

    @property
    def lengths(self):
        """Tokens of each text, `(text,)`."""
        return self.mask.sum(1)


def prompt_for(name):
    """A prompt that suits the model called `name`: a story for the bundled one, a fact for those that know some.

    >>> prompt_for("gpt2")
    'The capital of France is'
    """
    prompts = json.loads((DATA / "prompts.json").read_text(encoding="utf-8"))
    return prompts.get(name, prompts["any"])


def encode(tokenizer, text, *, context=None, room=0):
    """Token ids `(1, position)` of a text as it stands: no special token is added.

    context: the longest sequence that the model can read; room: how many tokens are to be added to the text.
    Raises TextError when the text is empty, becomes no tokens, or is too long to leave that room.
    """
    if not isinstance(text, str) or not text.strip():
        raise TextError(f"The text is {text!r:.60}; give a string of one word or more.")
    with explained(TextError, "The text holds half of a character", "Take it out."):  # as a file of JSON may hold one
        text.encode()
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise TextError(f"The text {text[:40]!r} becomes no tokens; use the tokenizer that load_model gives.")
    if context is not None and len(ids) + room > context:
        raise TextError(f"{len(ids) + room} tokens are too many; the model reads {context} at most. Shorten the text.")
    return torch.tensor([ids])


def encode_pair(tokenizer, clean, corrupted):
    """Token ids of two texts that differ in some words, `(1, position)` each, of one length.

    Patching puts a vector from one text into the same position of the other, so the positions must agree. Raises
    TextError when the lengths differ, and shows how the texts go on where they part; also when nothing differs.
    """
    pair = [encode(tokenizer, text) for text in (clean, corrupted)]
    first, second = (token_labels(tokenizer, ids[0]) for ids in pair)
    if len(first) != len(second):
        same = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
        ends = " ... against ".join(" ".join(labels[same : same + 4]) for labels in (first, second))
        lengths = f"The texts have {len(first)} and {len(second)} tokens"
        raise TextError(f"{lengths}. They part at token {same}: {ends} ... Choose words of equally many tokens.")
    if torch.equal(*pair):
        raise TextError("Both texts have the same tokens; there is nothing to patch. Change a word.")
    return pair


def question(tokenizer, prompt, right, wrong):
    """What a model reads before two answers part, and their first tokens that differ: (tokens, right, wrong).

    tokens: `(1, position)`. right, wrong: token ids, which `interventions.logit_difference` takes with them. The prompt
    and each answer are made into tokens together, so an answer begins with its space; a prompt's own last space counts
    only where the answers have none. What both answers share joins the prompt, such as a space that is a token of its
    own, or the first half of a name: the model is asked after it.

    Raises TextError as `encode` does; when no token tells the answers apart, because they are the same or one goes on
    where the other ends; and when they part at the first token, so that nothing is left to read.

    >>> from interp_helpers import load_model
    >>> tokens, right, wrong = question(load_model(device="cpu")[1], "The dog bit his wooden", " leg", " button")
    >>> tokens.shape, right, wrong
    (torch.Size([1, 5]), 3155, 6790)
    """
    start = prompt.rstrip(" ") if right[:1] == wrong[:1] == " " else prompt
    rows = [encode(tokenizer, start + answer)[0] for answer in (right, wrong)]
    same = next((place for place, (one, other) in enumerate(zip(*rows)) if one != other), None)
    if same is None:
        raise TextError(f"No token tells {right!r} from {wrong!r} after {prompt[-40:]!r}; choose answers that part.")
    if same == 0:
        raise TextError(f"There is nothing to read before {right!r} and {wrong!r} part. Give a longer prompt.")
    return rows[0][None, :same], *(row[same].item() for row in rows)


def token_labels(tokenizer, tokens):
    """One readable string a token: '·' for a space that the token begins with, '↵' for a line break.

    tokens: ids, a list or `(position,)`. A character that takes several tokens shows in each, with the number of the
    piece: '😂[1/4]'. '�' stands for a piece without the others.
    """
    ids, labels = list(map(int, tokens)), []
    while rest := ids[len(labels) : len(labels) + _PIECES]:
        readings = ((size, _readable(tokenizer, rest[:size])) for size in range(1, len(rest) + 1))
        size, text = next((each for each in readings if "�" not in each[1]), (1, _readable(tokenizer, rest[:1])))
        labels += [f"{text}[{piece}/{size}]" for piece in range(1, size + 1)] if size > 1 else [text]
    return labels


def _readable(tokenizer, ids):
    """The text of some ids, with '·' for a space at its beginning and '↵' for line breaks."""
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    # SentencePiece's decoders drop a space of a first token; the vocabulary itself writes each of them as ▁.
    piece = tokenizer.convert_ids_to_tokens(ids[0]) or ""
    if spaces := len(piece) - len(piece.lstrip("▁")):
        text = " " * spaces + text.lstrip(" ")
    return ("·" + text[1:] if text.startswith(" ") else text).replace("\n", "↵")


def token_batches(tokenizer, texts, *, context=None, start=None, size=8, cut=False):
    """Texts as a list of Batch, `size` texts in each.

    start: a token id to put in front of every text, such as `tokenizer.bos_token_id`; None adds nothing.
    cut: whether a text of more than `context` tokens loses its end; otherwise it is refused.
    Raises TextError as `encode` does, and says which text it was; one string is one text.
    """
    texts = [texts] if isinstance(texts, str) else texts
    front, rows = [] if start is None else [start], []
    for number, text in enumerate(texts):
        try:
            ids = encode(tokenizer, text, context=None if cut else context, room=len(front))[0].tolist()
            whole = [*front, *ids]
            rows.append(whole[: int(min(context, len(whole)))] if cut else whole)  # BLOOM's context is infinite
        except TextError as problem:
            raise TextError(f"Text {number}: {problem}") from problem
    return [Batch.from_rows(rows[i : i + size]) for i in range(0, len(rows), size)]


def equal_length(tokenizer, texts, *, context=None):
    """Token ids of texts, `(text, position)`, each cut to the length of the shortest. Nothing is padded or added.

    context: the longest sequence that the model can read. Raises TextError as `token_batches` does."""
    batches = token_batches(tokenizer, texts, context=context, size=1, cut=context is not None)
    rows = [batch.tokens[0] for batch in batches]
    return torch.stack([row[: min(map(len, rows))] for row in rows])


def inside_quotation(labels):
    """For every token of a text, whether a quotation in straight double marks is open after it: a list of bool.

    labels: as `token_labels` makes them. Returns None for a text in which a quotation is still open at the end of
    a paragraph: then a mark is missing, or a speech goes on in the next one, and every state after that place could be
    the wrong way round.

    >>> inside_quotation(['·said', ',', '·"', 'Yes', '!"'])
    [False, False, True, True, False]
    """
    inside, states, text = False, [], ""
    for label in labels:
        for character in label:
            text = (text + character)[-2:]
            if character == '"':
                inside = not inside
            if text == "↵↵" and inside:
                return None
        states.append(inside)
    return states


def repeated_random_tokens(tokenizer, length, *, sequences=16, start=None, seed=0):
    """Random tokens, then the same again: ids `(sequence, 2 * length)`, or one more with the id `start` in front.

    Nothing but the repetition can be predicted, from the second token of the second copy on.
    Tokens are drawn evenly from all that are not special ones.
    """
    ids = torch.tensor(sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids)))
    generator = torch.Generator().manual_seed(seed)
    piece = ids[torch.randint(len(ids), (sequences, length), generator=generator)]
    front = [] if start is None else [torch.full((sequences, 1), start)]
    return torch.cat([*front, piece, piece], 1)


def shuffled(batches, seed=0):
    """The same batches with the tokens of every text in random order; the first token and padding stay."""
    generator = torch.Generator().manual_seed(seed)
    mixed = []
    for batch in map(Batch.of, batches):
        keys = torch.rand(batch.tokens.shape, generator=generator).to(batch.mask.device) + (~batch.mask) * 2.0
        keys[:, 0] = -1  # padding sorts last, the first token first
        mixed.append(Batch(batch.tokens.gather(1, keys.argsort(1)), batch.mask))
    return mixed


def passages():
    """64 short passages of plain storytelling, written for this course: texts to examine a model on.

    >>> len(passages())
    64
    """
    return (DATA / "passages.txt").read_text(encoding="utf-8").splitlines()


def book_excerpts(part="held out"):
    """Excerpts of books in the public domain, most of them novels: a table with the columns "book" and "text".

    part: "held out" for 256 excerpts of nine books that storybook was not trained on, or "training" for 2400 excerpts
        of the 352 books that it was trained on. For other models it is unknown which texts they have seen, because
        books as old as these may be in anyone's training data.
    book: title and author. Each excerpt begins with a paragraph and is 128 tokens long with storybook's tokenizer,
    which is storybook's whole context. Raises ArgumentError for another part.

    >>> table = book_excerpts()
    >>> len(table), table["book"].nunique()
    (256, 9)
    """
    if part not in EXCERPTS:
        raise ArgumentError(f"There are no excerpts {part!r}; there are {' and '.join(map(repr, EXCERPTS))}.")
    return pd.read_csv(DATA / EXCERPTS[part], keep_default_na=False)
