import json
import re

import pytest
import random_models
import torch
from excerpts import excerpt, excerpts
from hypothesis import strategies as st
from properties import cases
from tiny import VOCABULARY, tokenizer
from transformers import PreTrainedTokenizerFast

from interp_helpers import (
    ArgumentError,
    Batch,
    TextError,
    book_excerpts,
    encode,
    encode_pair,
    equal_length,
    inside_quotation,
    load_sentences,
    passages,
    prompt_for,
    question,
    repeated_random_tokens,
    shuffled,
    token_batches,
    token_labels,
)
from interp_helpers.hub import STORYBOOK

words = st.text(min_size=1, max_size=12).filter(str.strip)  # any letters of any script, no surrogates
ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)
ragged = st.lists(ids, min_size=1, max_size=4)


# Batches.
@cases(rows=ragged, kind=st.sampled_from([list, tuple, torch.tensor]))
def test_a_batch_holds_all_rows_with_padding_on_the_right(rows, kind):
    batch = Batch.from_rows([kind(row) for row in rows])
    assert len(batch) == len(rows)
    assert batch.lengths.tolist() == list(map(len, rows))
    for row, tokens, mask in zip(rows, batch.tokens.tolist(), batch.mask.tolist()):
        padding = len(tokens) - len(row)
        assert tokens == row + [0] * padding
        assert mask == [True] * len(row) + [False] * padding
    assert batch.tokens.shape[1] == max(map(len, rows))
    assert torch.equal(batch[:1].tokens, batch.tokens[:1])
    assert torch.equal(batch[1:].mask, batch.mask[1:]) if len(rows) > 1 else True
    assert Batch.of(batch) is batch
    assert torch.equal(Batch(batch.tokens, batch.mask.long()).mask, batch.mask), "as a tokenizer's attention_mask"


def test_bare_tokens_are_a_batch_without_padding():
    tokens = torch.tensor([[0, 5], [7, 0]])
    batch = Batch.of(tokens)
    assert torch.equal(batch.tokens, tokens)
    assert batch.mask.all()
    assert batch.mask.dtype == torch.bool
    assert Batch.of(tokens.int()).mask.all()


TOKENS = torch.tensor([[9, 1, 2, 3], [4, 5, 6, 7]])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1, 1, 1, 1], [0, 1, 1, 1]], "padding on the right"),
        ([[1, 1, 1, 1], [1, 0, 1, 1]], "padding on the right"),
        ([[1, 1, 1, 1], [0, 0, 0, 0]], "needs a token"),
        ([[1, 1, 1, 1]], r"mask must be .* got i64\[1,4\].*text=2"),
        ([[1, 1, 1], [1, 1, 1]], r"got i64\[2,3\].*position=4"),
        ([1, 1, 1, 1], r"got i64\[4\]"),
        ([[0.0] * 4, [0.0, 0.0, -torch.inf, -torch.inf]], "padding on the right"),  # to be added to scores
    ],
)
def test_padding_stands_on_the_right_or_nowhere(mask, message):
    with pytest.raises(ArgumentError, match=message):
        Batch(TOKENS, torch.tensor(mask))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[1, 2]], r"tokens must be .* got \[\[1, 2\]\]"),
        ((TOKENS, TOKENS > 0), r"tokens must be .* got \("),  # as other libraries pass a batch
        (torch.ones(2, 3), r"got f32\[2,3\]"),
        (TOKENS[0], r"got i64\[4\]"),
        (TOKENS[:, :0], "needs a token"),
    ],
    ids=str,
)
def test_tokens_are_ids_of_texts(tokens, message):
    with pytest.raises(ArgumentError, match=message):
        Batch.of(tokens)


def test_a_row_of_no_tokens_is_an_error():
    with pytest.raises(ArgumentError, match="needs a token"):
        Batch.from_rows([[1], []])


# Text to tokens.
@cases(text=words, context=st.none() | st.integers(0, 30), room=st.integers(0, 3))
def test_a_text_stands_as_it_is(text, context, room):
    wanted = tokenizer()(text)["input_ids"]
    if context is not None and len(wanted) + room > context:
        with pytest.raises(TextError, match=f"^{len(wanted) + room} tokens are too many; the model reads {context} at"):
            encode(tokenizer(), text, context=context, room=room)
    else:
        tokens = encode(tokenizer(), text, context=context, room=room)
        assert tokens.tolist() == [wanted]
        assert tokenizer().decode(tokens[0], clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("text", ["", "  \n", None, 7, ["a"]])
def test_no_text_is_an_error(text):
    with pytest.raises(TextError, match="give a string of one word or more"):
        encode(tokenizer(), text)


def test_half_a_character_is_an_error():
    with pytest.raises(TextError, match="half of a character"):
        encode(tokenizer(), json.loads('"a \\ud800"'))


def test_a_text_that_becomes_no_tokens_is_an_error():
    """As where a folder of a model had no tokenizer, and transformers made one without words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    nothing = Tokenizer(models.BPE())
    nothing.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(TextError, match="'the king' becomes no tokens"):
        encode(PreTrainedTokenizerFast(tokenizer_object=nothing), "the king")


class Splitting:
    """A tokenizer of letters or words, which puts a token in front unless it is told not to."""

    def __init__(self, split):
        self.split = split

    def __call__(self, text, add_special_tokens=True, **options):
        ids = [sum(map(ord, part)) for part in self.split(text)]
        return {"input_ids": [1, *ids] if add_special_tokens else ids}

    def decode(self, ids, **options):
        return chr(ids[0])

    def convert_ids_to_tokens(self, token):
        return chr(token)


def test_no_token_is_put_in_front():
    assert encode(Splitting(list), "ab").tolist() == [[97, 98]]


@cases(start=words, pair=st.tuples(words, words), end=words)
def test_two_texts_of_one_length(start, pair, end):
    clean, corrupted = (f"{start} {word} {end}" for word in pair)
    wanted = [tokenizer()(text)["input_ids"] for text in (clean, corrupted)]
    if len(wanted[0]) != len(wanted[1]):
        with pytest.raises(TextError, match=f"The texts have {len(wanted[0])} and {len(wanted[1])} tokens"):
            encode_pair(tokenizer(), clean, corrupted)
    elif wanted[0] == wanted[1]:
        with pytest.raises(TextError, match="nothing to patch"):
            encode_pair(tokenizer(), clean, corrupted)
    else:
        assert [tokens.tolist() for tokens in encode_pair(tokenizer(), clean, corrupted)] == [[row] for row in wanted]


def test_texts_of_two_lengths_say_where_they_part():
    with pytest.raises(TextError, match=r"have 3 and 4 tokens\. They part at token 1: b c \.\.\. against d e c"):
        encode_pair(Splitting(list), "abc", "adec")
    with pytest.raises(TextError, match="part at token 2"):
        encode_pair(Splitting(list), "ab", "abc")


# Answers to compare.
def with_spaces(text):
    """A SentencePiece-like tokenizer: each space is a token of its own, and every text begins with one."""
    return [piece for word in text.strip(" ").split(" ") for piece in ("▁", *filter(None, [word]))]


def pieces(text):
    """Words with their space, of which names are cut in two: "New York" is " New" " Yo" "rk"."""
    return [part for word in re.findall(r" ?[^ ]+| +$", text) for part in filter(None, [word[:3], word[3:]])]


def asked(split, *texts):
    """What is read and compared, as pieces of text."""
    tokens, right, wrong = question(Splitting(split), *texts)
    whole = [start + answer for start in (texts[0], texts[0].rstrip(" ")) for answer in texts[1:]]
    known = {sum(map(ord, part)): part for text in whole for part in split(text)}
    assert tokens.shape[0] == 1
    return [known[each] for each in [*tokens[0].tolist(), right, wrong]]


@pytest.mark.parametrize(
    ("split", "texts", "wanted"),
    [
        (list, ("ab", "c", "d"), "a b c d"),
        (with_spaces, ("is", " Paris", " London"), "▁ is ▁ Paris London"),  # the space is shared
        (with_spaces, ("is ", " Paris", " London"), "▁ is ▁ Paris London"),  # one space, not two
        (with_spaces, ("is ", "Paris", "London"), "▁ is ▁ Paris London"),
        (list, ("is ", " ab", " ac"), "i s _ a b c"),
        (pieces, ("is", " Newark", " Newton"), "is _Ne wark wton"),  # a shared first half
        (pieces, ("go", "ing", "ne"), None),  # nothing is shared: "goi" and "gon"
        (pieces, ("we go", "od", "al"), "we _go od al"),  # the answers go on where the prompt's last word ends
        (pieces, ("we g", "one", "ave"), "we _go _ga"),  # and they change its last token
        (lambda text: list(text.lower()), ("a", "B", "C"), "a b c"),
    ],
)
def test_answers_are_compared_where_they_part_and_after_what_they_share(split, texts, wanted):
    split_up = lambda text: [part.replace(" ", "_") if part.strip() else "_" for part in split(text)]  # noqa: E731
    if wanted is None:
        with pytest.raises(TextError, match="nothing to read before 'ing' and 'ne' part"):
            question(Splitting(split_up), *texts)
    else:
        assert asked(split_up, *texts) == wanted.split()


@pytest.mark.parametrize(
    ("split", "texts"),
    [
        (with_spaces, ("is", " Paris", " Paris")),
        (with_spaces, ("is", " New", " New York")),  # one goes on where the other ends
        (with_spaces, ("is", " New York", " New")),
        (lambda text: text.lower().split(), ("is", " Paris", " paris")),
        (lambda text: ["?" for _ in text.split()], ("is", " Paris", " London")),  # both are unknown words
        (list, ("is", "", "a")),
    ],
)
def test_answers_that_no_token_tells_apart_are_refused(split, texts):
    with pytest.raises(TextError, match=r"^No token tells .* from .* after 'is'; choose answers that part\.$"):
        question(Splitting(split), *texts)


def test_a_question_to_storybook_reads_the_prompt_as_it_stands():
    for answer, rival in [(" leg", " button"), (" Brown", " White")]:
        tokens, *ids = question(tokenizer(), "The dog bit his wooden", answer, rival)
        assert torch.equal(tokens, encode(tokenizer(), "The dog bit his wooden"))
        assert ids == [encode(tokenizer(), word).item() for word in (answer, rival)]


def test_a_trained_tokenizer_whose_spaces_are_tokens():
    spaces = random_models.spaces()
    first, second = (encode(spaces, word)[0] for word in (" Paris", " London"))
    assert first[0] == second[0], "or it is no example"
    tokens, right, wrong = question(spaces, "The dog bit his", " leg", " hand")
    assert spaces.decode(tokens[0]).rstrip() == "The dog bit his"
    assert spaces.convert_ids_to_tokens([tokens[0, -1].item()]) == ["▁"]
    assert right != wrong
    read = [*tokens[0].tolist(), right]
    assert read == encode(spaces, "The dog bit his leg")[0, : len(read)].tolist()


# Tokens to labels.
def test_labels_show_what_is_invisible():
    tokens = encode(tokenizer(), "The girl\n")
    assert "".join(token_labels(tokenizer(), tokens[0])) == "The·girl↵"
    assert token_labels(tokenizer(), [0]) == ["<|endoftext|>"]


@cases(row=st.lists(st.integers(0, VOCABULARY - 1), max_size=6), kind=st.sampled_from([list, tuple, torch.tensor]))
def test_every_byte_level_token_has_a_label(row, kind):
    labels = token_labels(tokenizer(), kind(row))
    assert len(labels) == len(row)
    for label, token in zip(labels, row):
        text = tokenizer().decode([token], clean_up_tokenization_spaces=False)
        if "�" in text:  # a piece of a character, perhaps with the others beside it
            assert "�" in label or label.endswith("]")
        else:
            assert label.replace("↵", "\n") == (text if text[:1] != " " else "·" + text[1:])


def test_pieces_of_a_character_show_the_character():
    pieces = [token_labels(tokenizer(), encode(tokenizer(), text)[0]) for text in ("😂", "é😂漢", " é")]
    assert pieces[0] == [f"😂[{piece}/4]" for piece in (1, 2, 3, 4)]
    assert pieces[1] == ["é", *pieces[0], *(f"漢[{piece}/3]" for piece in (1, 2, 3))]
    assert pieces[2][-1] == "é"
    half = encode(tokenizer(), "😂a")[0]
    assert token_labels(tokenizer(), half[1:]) == ["�", "�", "�", "a"]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (['·said', ',', '·"', 'Yes', '!"', '·he'], [False, False, True, True, False, False]),
        (['"', '"', '""', '"', 'a"b"c"'], [True, False, False, True, False]),
        (["“", "a", "”"], [False] * 3),
        (['"', "a", "↵", "b", '"', "↵↵", "c"], [True, True, True, True, False, False, False]),
        (['"', "a", "↵↵", "b", '"'], None),
        (['"', "a", "↵", "↵", "b", '"'], None),
        (['"', "a.↵", "↵b"], None),
        (['"a"↵↵"', "b"], [True, True]),
        ([], []),
    ],
    ids=str,
)  # fmt: skip
def test_quotations_by_hand(labels, wanted):
    assert inside_quotation(labels) == wanted


@cases(labels=st.lists(st.text('"↵a', min_size=1, max_size=4), max_size=5))
def test_a_quotation_is_open_after_an_odd_number_of_marks(labels):
    text = "".join(labels)
    ends = [len("".join(labels[: number + 1])) for number in range(len(labels))]
    broken = any(text[place : place + 2] == "↵↵" and text[:place].count('"') % 2 for place in range(len(text)))
    assert inside_quotation(labels) == (None if broken else [text[:end].count('"') % 2 == 1 for end in ends])


def sentencepiece(**decoder):
    """A tokenizer as Llama and Mistral have it: the vocabulary writes a space as ▁, and decoding drops a first one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {"<unk>": 0, "▁the": 1, "▁king": 2, "s": 3, "▁": 4, "\n": 5, "▁▁": 6}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace(**decoder)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


@pytest.mark.parametrize("decoder", [{}, {"prepend_scheme": "never"}], ids=["drops the first space", "keeps it"])
def test_a_space_of_sentencepiece_shows(decoder):
    """`decode` of one token loses it, so that 'the' and ' the' had one label."""
    llama = sentencepiece(**decoder)
    assert encode(llama, "the king")[0].tolist() == [1, 2]
    assert token_labels(llama, [1, 2, 3, 4, 5, 6]) == ["·the", "·king", "s", "·", "↵", "· "]
    assert token_labels(llama, torch.tensor([0])) == ["<unk>"]


# Several texts.
@cases(texts=st.lists(words, min_size=1, max_size=5), size=st.integers(1, 4), start=st.none() | st.integers(0, 9))
def test_batches_of_texts(texts, size, start):
    batches = token_batches(tokenizer(), texts, size=size, start=start)
    assert [len(batch) for batch in batches] == [len(texts[i : i + size]) for i in range(0, len(texts), size)]
    rows = [tokens[mask].tolist() for batch in batches for tokens, mask in zip(batch.tokens, batch.mask)]
    assert rows == [[start] * (start is not None) + tokenizer()(text)["input_ids"] for text in texts]


def test_a_text_that_does_not_fit_is_named():
    assert [len(batch) for batch in token_batches(tokenizer(), ["one"] * 9)] == [8, 1]
    with pytest.raises(TextError, match=r"Text 1: [0-9]+ tokens are too many; the model reads 2 at most"):
        token_batches(tokenizer(), ["one", "one two three four"], context=2)
    with pytest.raises(TextError, match="tokens are too many; the model reads 1"):
        token_batches(tokenizer(), ["one"], context=1, start=0)


@pytest.mark.parametrize("start", [None, 5])
def test_long_texts_can_be_cut(start):
    whole, cut = (
        token_batches(tokenizer(), ["one", "one two three four"], start=start, **options)[0]
        for options in ({}, {"context": 3, "cut": True})
    )
    assert torch.equal(cut.tokens, whole.tokens[:, :3])
    assert cut.lengths.tolist() == [whole.lengths[0].item(), 3]
    uncut, *_ = token_batches(tokenizer(), ["one", "one two three four"], start=start, context=float("inf"), cut=True)
    assert torch.equal(uncut.tokens, whole.tokens)


@cases(texts=st.lists(words, min_size=1, max_size=5), context=st.none() | st.integers(1, 9) | st.just(float("inf")))
def test_texts_are_cut_to_the_shortest(texts, context):
    wanted = [tokenizer()(text)["input_ids"] for text in texts]
    length = int(min(*map(len, wanted), context or 99, 99))
    assert equal_length(tokenizer(), texts, context=context).tolist() == [row[:length] for row in wanted]


def test_texts_of_one_length_keep_every_token_and_no_text_may_be_empty():
    assert equal_length(Splitting(list), ["abc", "ade", "aaaa"]).tolist() == [[97, 98, 99], [97, 100, 101], [97] * 3]
    assert equal_length(Splitting(list), ["abc", "ade"], context=2).tolist() == [[97, 98], [97, 100]]
    with pytest.raises(TextError, match=r"Text 1: .*give a string of one word or more"):
        equal_length(tokenizer(), ["one", " "])


@cases(length=st.integers(1, 6), sequences=st.integers(1, 4), start=st.none() | st.integers(0, 9),
       seed=st.integers(0, 2**40))  # fmt: skip
def test_random_tokens_come_twice(length, sequences, start, seed):
    before, options = torch.get_rng_state(), {"sequences": sequences, "start": start, "seed": seed}
    tokens = repeated_random_tokens(tokenizer(), length, **options)
    assert torch.equal(before, torch.get_rng_state())
    front = tokens[:, : tokens.shape[1] - 2 * length]
    assert front.tolist() == [[start] * (start is not None)] * sequences
    first, second = tokens[:, front.shape[1] :].split(length, 1)
    assert torch.equal(first, second)
    assert 0 < first.min() <= first.max() < VOCABULARY, "0 is a special token"
    assert torch.equal(tokens, repeated_random_tokens(tokenizer(), length, **options))


def test_random_tokens_are_drawn_from_all_that_are_not_special():
    llama = sentencepiece()
    tokens = repeated_random_tokens(llama, 99)
    assert tokens.shape == (16, 198)
    assert set(tokens.flatten().tolist()) == {1, 2, 3, 4, 5, 6}
    assert repeated_random_tokens(tokenizer(), 30, sequences=50).unique().numel() > 1000
    assert torch.equal(tokens, repeated_random_tokens(llama, 99, seed=0))
    assert not torch.equal(tokens, repeated_random_tokens(llama, 99, seed=1))


@cases(rows=ragged, seed=st.integers(0, 2**40))
def test_shuffling_keeps_the_tokens_of_every_text_and_its_first(rows, seed):
    batch = Batch.from_rows(rows)
    [mixed] = shuffled([batch], seed)
    assert torch.equal(mixed.mask, batch.mask)
    for before, after in zip(rows, mixed.tokens.tolist()):
        assert after[0] == before[0]
        assert sorted(after[1 : len(before)]) == sorted(before[1:])
        assert after[len(before) :] == [0] * (len(after) - len(before))
    assert torch.equal(mixed.tokens, shuffled([batch.tokens] if batch.mask.all() else [batch], seed)[0].tokens)


def test_shuffling_changes_the_order():
    tokens = torch.arange(30)[None]
    ((first,), (other,)) = shuffled([tokens]), shuffled([tokens], seed=1)
    assert not torch.equal(first.tokens, tokens)
    assert not torch.equal(first.tokens, other.tokens)


# The texts that the course carries.
def test_every_model_has_a_prompt():
    assert prompt_for("EleutherAI/gpt-neo-125M").startswith("Why does phone battery")
    assert prompt_for("a/model-never-heard-of") == prompt_for("gpt2") == "The capital of France is"


def test_passages_are_all_different_and_fit_the_bundled_model(storybook):
    texts = passages()
    assert len(set(texts)) == 64
    assert all(len(encode(storybook[1], text, context=128)[0]) > 0 for text in texts)


def test_excerpts_are_from_all_held_out_books_and_fill_the_context_of_the_bundled_model(storybook):
    table, card = book_excerpts(), (STORYBOOK / "README.md").read_text(encoding="utf-8")
    assert table.columns.tolist() == ["book", "text"]
    assert table["text"].is_unique
    assert table["book"].value_counts().min() >= 8
    held_out = card.partition("## Books held out")[2]
    assert held_out.count("\n- ") == table["book"].nunique()
    assert all(f"\n- {book} (" in held_out for book in table["book"])
    assert {encode(storybook[1], text, context=128).shape for text in table["text"]} == {(1, 128)}


def test_excerpts_for_training_are_from_all_books_that_the_bundled_model_was_trained_on(storybook):
    table, card = book_excerpts("training"), (STORYBOOK / "README.md").read_text(encoding="utf-8")
    assert table.columns.tolist() == ["book", "text"]
    assert len(table) == 2400
    assert table["text"].is_unique
    assert not set(table["text"]) & set(book_excerpts()["text"])
    trained, held_out = card.partition("## Books trained on")[2].split("## Books held out")
    books = table["book"].unique()
    assert len(books) == trained.count("\n- ") == 352
    assert all(f"\n- {book} (" in trained for book in books)
    assert not any(f"\n- {book} (" in held_out for book in books)
    assert {encode(storybook[1], text, context=128).shape for text in table["text"]} == {(1, 128)}
    assert not table["text"].str[0].str.isspace().any(), "each begins with a paragraph"


@pytest.mark.parametrize("part", ["test", "held_out", None])
def test_excerpts_of_another_part_are_refused(part):
    with pytest.raises(ArgumentError, match=f"no excerpts {part!r}; there are 'held out' and 'training'"):
        book_excerpts(part)


def test_excerpts_are_spaced_evenly_over_books():
    """A made-up corpus, in which every paragraph tells its number."""
    long, short = ("\n\n".join(f"{1000 + i} is its number." for i in range(number)) for number in (4000, 500))
    books = [{"title": "long", "text": long}, {"title": "short", "text": short}]
    table = excerpts(books, tokenizer().backend_tokenizer, number=20, size=8, least=4)
    assert table["book"].tolist() == ["long"] * 16 + ["short"] * 4, "18 and 2 without a least number"
    assert {len(encode(tokenizer(), text)[0]) for text in table["text"]} == {8}
    numbers = [int(text.split()[0]) for text in table["text"]]
    for place, number in enumerate(numbers[:16]):
        assert number == pytest.approx(1000 + (0.03 + 0.94 * place / 16) * 4000, abs=2)
    for place, number in enumerate(numbers[16:]):
        assert number == pytest.approx(1000 + (0.03 + 0.94 * place / 4) * 500, abs=2)


def test_an_excerpt_does_not_end_inside_a_character():
    """The letter ï is two tokens of the bundled model."""
    text = "Before.\n\nï is a letter.\n\nThree four."
    assert tokenizer().decode(encode(tokenizer(), text[9:])[0, :1]) == "�"
    assert excerpt(text, 0, tokenizer().backend_tokenizer, 1) == "Th"
    assert excerpt(text, 0, tokenizer().backend_tokenizer, 2) == "ï"


def test_the_bundled_reviews_are_balanced_and_all_different():
    table = load_sentences()
    assert table.columns.tolist() == ["text", "label"]
    assert table["label"].value_counts().to_dict() == {"positive": 100, "negative": 100}
    lengths = table["text"].str.split().str.len()
    assert (lengths.min(), lengths.max()) == (5, 60)
    openings = table["text"].str.split().str[:3].str.join(" ").str.lower()
    assert openings.is_unique
    assert 24 <= (table["label"][:64] == "positive").sum() <= 40  # the first 64 are a batch of the course


def test_one_string_is_one_text():
    (batch,) = token_batches(Splitting(list), "abc")
    assert batch.tokens.tolist() == [[97, 98, 99]]
