import pytest
import torch

from interp_helpers import TextError, encode, prompt_for, token_labels


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
