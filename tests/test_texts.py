import pytest
import torch

from interp_helpers import (
    ArgumentError,
    TextError,
    encode,
    load_sentences,
    passages,
    prompt_for,
    repeated_random_tokens,
    shuffled,
    token_batches,
    token_labels,
)
from interp_helpers.texts import checked_batch, pad


def test_a_text_stands_as_it_is(storybook):
    _, tokenizer = storybook
    tokens = encode(tokenizer, "Once upon a time\nthere was a café.")
    assert tokens.shape[0] == 1
    assert tokenizer.decode(tokens[0]) == "Once upon a time\nthere was a café."
    assert tokenizer.bos_token_id not in tokens


@pytest.mark.parametrize("text", ["", "  \n", None, 7, ["a"]])
def test_no_text_is_an_error(storybook, text):
    message = "give at least one word" if isinstance(text, str) else "must be a string; .* token_batches takes several"
    with pytest.raises(TextError, match=message):
        encode(storybook[1], text)


def test_a_text_that_becomes_no_tokens_is_an_error():
    """As where a folder of a model had no tokenizer, and transformers made one without words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    nothing = Tokenizer(models.BPE())
    nothing.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(TextError, match="'the king' becomes no tokens"):
        encode(PreTrainedTokenizerFast(tokenizer_object=nothing), "the king")


def test_a_list_is_no_name_of_sentences():
    with pytest.raises(ArgumentError, match="a string such as 'reviews'"):
        load_sentences(["a", "b"])


def test_a_text_longer_than_the_context_says_by_how_much(storybook):
    _, tokenizer = storybook
    length = encode(tokenizer, "word " * 20).shape[1]
    assert encode(tokenizer, "word " * 20, context=length).shape[1] == length
    with pytest.raises(TextError, match="by 3 tokens"):
        encode(tokenizer, "word " * 20, context=length + 2, room=5)


def test_labels_show_what_is_invisible(storybook):
    _, tokenizer = storybook
    tokens = encode(tokenizer, "The girl\n")
    assert "".join(token_labels(tokenizer, tokens[0])) == "The·girl↵"
    assert token_labels(tokenizer, torch.tensor([0])) == ["<|endoftext|>"]


def test_every_model_has_a_prompt():
    assert prompt_for("EleutherAI/gpt-neo-125M").startswith("Why does phone battery")
    assert prompt_for("a/model-never-heard-of") == prompt_for("gpt2")


def test_passages_are_all_different_and_fit_the_bundled_model(storybook):
    texts = passages()
    assert len(set(texts)) == 64
    assert all(len(encode(storybook[1], text, context=128)[0]) > 0 for text in texts)


def test_batches_hold_all_texts_with_padding_on_the_right(storybook):
    _, tokenizer = storybook
    texts = ["Once upon a time", "The old king", "She said that he had gone to sea"]
    batches = token_batches(tokenizer, texts, size=2, start=0)
    assert [len(tokens) for tokens, _ in batches] == [2, 1]
    rows = [row[keep] for tokens, mask in batches for row, keep in zip(tokens, mask)]
    assert [row[0].item() for row in rows] == [0, 0, 0]
    assert [tokenizer.decode(row[1:]) for row in rows] == texts
    with pytest.raises(TextError, match="1 more are asked for"):
        token_batches(tokenizer, texts, context=len(rows[2]) - 1, start=0)


def test_nothing_to_pad_is_an_error():
    for rows in [[], [[1], []]]:
        with pytest.raises(TextError, match="without tokens"):
            pad(rows)


def test_random_tokens_come_twice_and_hold_no_special_one(storybook):
    _, tokenizer = storybook
    tokens = repeated_random_tokens(tokenizer, 30, sequences=50, start=0)
    assert tokens.shape == (50, 61)
    assert torch.equal(tokens[:, 1:31], tokens[:, 31:])
    assert (tokens[:, 0] == 0).all()
    assert not (tokens[:, 1:] == 0).any()
    assert torch.equal(tokens, repeated_random_tokens(tokenizer, 30, sequences=50, start=0))
    assert tokens[:, 1:].unique().numel() > 1000
    assert repeated_random_tokens(tokenizer, 30).shape == (16, 60)


def test_shuffling_keeps_the_tokens_of_every_text():
    tokens, mask = pad([[9, *range(20, 40)], [8, 1, 2, 3]])
    [(mixed, same)] = shuffled([(tokens, mask)])
    assert torch.equal(same, mask)
    assert torch.equal(mixed[:, 0], tokens[:, 0])
    assert torch.equal(mixed.sort(1).values, tokens.sort(1).values)
    assert torch.equal(mixed[~mask], tokens[~mask])
    assert not torch.equal(mixed[0], tokens[0])


def test_the_bundled_reviews_are_balanced_and_all_different():
    table = load_sentences()
    assert table.columns.tolist() == ["text", "label"]
    assert table["label"].value_counts().to_dict() == {"positive": 100, "negative": 100}
    words = table["text"].str.split().str.len()
    assert (words.min(), words.max()) == (5, 60)
    openings = table["text"].str.split().str[:3].str.join(" ").str.lower()
    assert openings.is_unique
    assert 24 <= (table["label"][:64] == "positive").sum() <= 40  # the first 64 are a batch of the course


def test_sentences_from_local_files(tmp_path):
    (tmp_path / "a.txt").write_text("One line.\n\n  Another line. \n", encoding="utf-8")
    assert load_sentences(tmp_path / "a.txt")["text"].tolist() == ["One line.", "Another line."]
    (tmp_path / "b.csv").write_text('words,label\n"Good, good.",1\n,0\n', encoding="utf-8")
    assert load_sentences(tmp_path / "b.csv", column="words").values.tolist() == [["Good, good.", 1]]


def test_sentences_from_a_data_set_folder_as_the_hub_has_them(tmp_path):
    import pandas as pd

    for split, text in [("train", "To learn from."), ("test", "To be tested on.")]:
        pd.DataFrame({"text": [text], "label": [1]}).to_parquet(tmp_path / f"{split}.parquet")
    assert load_sentences(str(tmp_path))["text"].tolist() == ["To be tested on."]
    assert load_sentences(str(tmp_path), split="train")["text"].tolist() == ["To learn from."]
    with pytest.raises(TextError, match="the split 'dev' of"):
        load_sentences(str(tmp_path), split="dev")


def test_a_data_set_in_the_hub_cache_needs_no_network(tmp_path, monkeypatch):
    import huggingface_hub
    import pandas as pd

    pd.DataFrame({"text": ["Kept here."]}).to_parquet(tmp_path / "test.parquet")

    def cached(name, *, local_files_only=False, repo_type=None, **_):
        assert (name, local_files_only, repo_type) == ("someone/reviews", True, "dataset")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert load_sentences("someone/reviews")["text"].tolist() == ["Kept here."]


def test_sentences_that_cannot_be_had_are_one_clear_error(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "blank.csv").write_text("")
    (tmp_path / "other.csv").write_text("id,stars\n1,5\n")
    (tmp_path / "latin.csv").write_bytes("text\ncaf\xe9\n".encode("latin-1"))
    for name, message in [
        ("empty.txt", "holds no sentence"),
        ("blank.csv", "cannot be read: EmptyDataError"),
        ("other.csv", "no column text or sentence or review or content; its columns are id, stars"),
        ("latin.csv", "cannot be read: UnicodeDecodeError"),
        ("none.csv", "there is no file"),
        ("none", "there is no file"),
    ]:
        with pytest.raises(TextError, match=message):
            load_sentences(tmp_path / name)
    with pytest.raises(TextError, match="no column words"):
        load_sentences(tmp_path / "other.csv", column="words")
    with pytest.raises(TextError, match=r"hub cannot be reached .*load_sentences\('reviews'\), which needs no network"):
        load_sentences("cornell-movie-review-data/rotten_tomatoes")


def test_a_text_that_does_not_fit_is_named(storybook):
    _, tokenizer = storybook
    with pytest.raises(TextError, match=r"text 1 \('one two three .*the model reads 2 at most"):
        token_batches(tokenizer, ["one", "one two three four"], context=2)


def test_files_of_other_kinds_and_folders_that_look_like_files(tmp_path):
    for name in ["a.json", "b.parquet", "c"]:
        (tmp_path / name).write_text("[]")
        with pytest.raises(TextError, match=r"is neither \.csv nor \.txt"):
            load_sentences(tmp_path / name)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(TextError, match="the split 'test' of"):
        load_sentences(tmp_path / "d.csv")
    (tmp_path / "E.CSV").write_text("text\nNA\n", encoding="utf-8-sig")
    assert load_sentences(tmp_path / "E.CSV")["text"].tolist() == ["NA"], "a word, and no mark in front of the header"
    (tmp_path / "f.csv").write_text("label\nGood.\n", encoding="utf-8")
    assert load_sentences(tmp_path / "f.csv", column="label")["text"].tolist() == ["Good."]


def test_batches_that_are_none_are_refused(storybook):
    _, tokenizer = storybook
    for size in [0, -1]:
        with pytest.raises(ArgumentError, match=f"size is {size}; .* 1 or more"):
            token_batches(tokenizer, ["one"], size=size)
    tokens = torch.tensor([[9, 1, 2, 3], [4, 5, 6, 7]])
    for batch, message in [
        ((tokens, tokens[:1]), "must both be"),
        ((tokens, torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])), "all padding"),
        ((tokens, torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]])), "must stand on the right"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            checked_batch("here", batch)


def test_shuffling_takes_a_tokenizers_mask_of_integers():
    tokens, mask = torch.tensor([[9, 1, 2, 3]]), torch.tensor([[1, 1, 1, 0]])
    ((mixed, kept),) = shuffled([(tokens, mask)])
    assert kept.dtype == torch.bool
    assert (mixed[0, 0], mixed[0, 3]) == (9, 3), "the first token and padding stay"
    assert sorted(mixed[0].tolist()) == [1, 2, 3, 9]


class Splitting:
    """A tokenizer of letters or words, which puts a token in front unless it is told not to."""

    def __init__(self, split):
        self.split = split

    def __call__(self, text, add_special_tokens=True, **options):
        ids = [sum(map(ord, part)) for part in self.split(text)]
        return {"input_ids": [1, *ids] if add_special_tokens else ids}

    def decode(self, ids, **options):
        return chr(ids[0])


def test_no_token_is_put_in_front():
    assert encode(Splitting(list), "ab").tolist() == [[97, 98]]


def test_a_pair_has_two_texts_of_one_length():
    from interp_helpers import pair_for

    assert pair_for("gpt2", Splitting(str.split)) == pair_for("gpt2")
    letters = pair_for("gpt2", Splitting(list))  # France has a letter more than Italy
    assert letters.clean_answer == " A"
    assert len(letters.clean) == len(letters.corrupted)


@pytest.mark.parametrize("rows", ["ab", 5])
def test_what_is_no_list_of_rows_is_refused_as_a_whole(rows):
    with pytest.raises(ArgumentError, match="rows must be a list"):
        pad(rows)
    with pytest.raises(ArgumentError, match="batches must be"):
        shuffled(rows)


def test_a_name_of_figures_stays_as_it_is_written(tmp_path):
    (tmp_path / "a.csv").write_text("text,code\n007,00\n", encoding="utf-8")
    assert load_sentences(tmp_path / "a.csv")["text"].tolist() == ["007"]
    assert load_sentences(tmp_path / "a.csv", column="code")["text"].tolist() == ["00"]


@pytest.mark.parametrize("more", ["", ",label"])
def test_of_several_columns_the_one_called_text_is_taken(tmp_path, more):
    (tmp_path / "a.csv").write_text(f"content,review,text{more}\nnot this,nor this,this one{more}\n", encoding="utf-8")
    table = load_sentences(tmp_path / "a.csv")
    assert table["text"].tolist() == ["this one"]
    assert table.columns.tolist() == ["text", *more.split(",")[1:]]


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-of-this-name/a.txt", "~\0"])
def test_a_name_that_cannot_be_looked_up_is_one_error(name):
    with pytest.raises(TextError, match="cannot be looked up"):
        load_sentences(name)


def test_ids_are_not_negative(storybook):
    _, tokenizer = storybook
    for refuse in [
        lambda: pad([[5, -1]]),
        lambda: token_labels(tokenizer, [-1]),
        lambda: token_batches(tokenizer, ["one"], start=-1),
        lambda: repeated_random_tokens(tokenizer, 3, start=-1),
        lambda: checked_batch("here", torch.tensor([[5, -1]])),
    ]:
        with pytest.raises(ArgumentError, match=r"-1|below 0"):
            refuse()


def test_nothing_cannot_be_repeated(storybook):
    for length, sequences in [(0, 1), (1, 0)]:
        with pytest.raises(ArgumentError, match="is 0"):
            repeated_random_tokens(storybook[1], length, sequences=sequences)


def test_a_batch_holds_eight_texts_unless_told_otherwise(storybook):
    assert [len(tokens) for tokens, _ in token_batches(storybook[1], ["one"] * 9)] == [8, 1]


def test_of_several_columns_the_first_one_known_is_called_text(tmp_path):
    (tmp_path / "a.csv").write_text("content,review\nnot this,this one\n", encoding="utf-8")
    table = load_sentences(tmp_path / "a.csv")
    assert table.columns.tolist() == ["text"]
    assert table["text"].tolist() == ["this one"]


def test_random_tokens_are_those_of_seed_0_unless_told_otherwise(storybook):
    def drawn(**seed):
        tokens = repeated_random_tokens(storybook[1], 20, sequences=2, **seed)
        ((mixed, _),) = shuffled([(tokens, torch.ones_like(tokens))], **seed)
        return torch.stack([tokens, mixed])

    assert torch.equal(drawn(), drawn(seed=0))
    assert not (drawn() == drawn(seed=1)).all(-1).any()


def test_a_batch_may_be_a_list_of_tokens_and_their_mask():
    tokens, mask = torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool)
    for found, wanted in zip(checked_batch("here", [tokens, mask]), (tokens, mask)):
        assert torch.equal(found, wanted)
