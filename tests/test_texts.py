import pytest
import torch

from interp_helpers import (
    TextError,
    encode,
    passages,
    prompt_for,
    repeated_random_tokens,
    shuffled,
    token_batches,
    token_labels,
)
from interp_helpers.texts import pad


def test_a_text_stands_as_it_is(storybook):
    _, tokenizer = storybook
    tokens = encode(tokenizer, "Once upon a time\nthere was a café.")
    assert tokens.shape[0] == 1
    assert tokenizer.decode(tokens[0]) == "Once upon a time\nthere was a café."
    assert tokenizer.bos_token_id not in tokens


@pytest.mark.parametrize("text", ["", "  \n", None, 7])
def test_no_text_is_an_error(storybook, text):
    with pytest.raises(TextError, match="give at least one word"):
        encode(storybook[1], text)


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
