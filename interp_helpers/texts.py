"""Texts for the notebooks, and the way from text to tokens and back to something readable."""

import torch

from .errors import TextError

# Prompts suit the model in use: stories for the bundled one, facts and questions for those that know some.
PROMPTS = {
    "storybook": "Once upon a time there was a little girl who lived with her grandmother",
    "EleutherAI/gpt-neo-125M": "Why does phone battery drain faster over time? Answer in 2 detailed points",
}
DEFAULT_PROMPT = "The capital of France is"


def prompt_for(name):
    """A prompt that suits the model called `name`.

    >>> prompt_for("gpt2")
    'The capital of France is'
    """
    return PROMPTS.get(name, DEFAULT_PROMPT)


def encode(tokenizer, text, *, context=None, room=0):
    """Token ids `(1, position)` of a text, as it stands: no special token is added.

    context: the longest sequence that the model can read; room: how many tokens are to be added to the text.
    Raises TextError when the text is empty, or too long to leave that room.
    """
    if not isinstance(text, str) or not text.strip():
        raise TextError(f"encode: the text is {text!r}; give at least one word.")
    tokens = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    if context is not None and tokens.shape[1] + room > context:
        raise TextError(
            f"encode: the text has {tokens.shape[1]} tokens and {room} more are asked for, but the model reads "
            f"{context} at most. Shorten the text by {tokens.shape[1] + room - context} tokens, or ask for fewer."
        )
    return tokens


def token_labels(tokenizer, tokens):
    """One readable string a token: '·' for a space that the token begins with, '↵' for a line break.

    tokens: ids, a list or `(position,)`. A token that is part of a character shows as '�'.
    """
    texts = [tokenizer.decode([int(token)], clean_up_tokenization_spaces=False) for token in tokens]
    return [("·" + text[1:] if text.startswith(" ") else text).replace("\n", "↵") for text in texts]
