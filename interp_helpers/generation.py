"""One greedy generation, and everything that the model computed at every step of it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from .attention import in_full
from .errors import ModelError
from .models import context_length, prepare
from .text import encode


@dataclass(frozen=True, eq=False)
class Generation:
    """What was kept of one greedy generation: P prompt tokens, then N new ones, one a step.

    At step 0 the model reads the whole prompt, at every later step the newest token alone. It finds the keys and values
    of the earlier ones in its cache.

    tokens: `(P + N,)` ids, the prompt first. prompt_length: P. text: the new tokens as text.
    attentions: N tensors `(layer, head, query, key)`: (L, H, P, P) at step 0, (L, H, 1, P + s) at step s. A key always
        stands at its position in the text. Where a sliding window has dropped it, its weight is 0.
    hidden_states: N tensors `(layer + 1, position, d_model)`: P positions at step 0, 1 at later steps. The first
        entry is the embedding, and the last one has been through the final norm.
    logits: `(N, vocabulary)`, what the model says about the token of each step.
    scores: `(N, vocabulary)`, the same after the repetition penalty. Their largest entry is the token chosen.
    """

    tokens: Tensor
    prompt_length: int
    text: str
    attentions: list
    hidden_states: list
    logits: Tensor
    scores: Tensor

    def attention_by_step(self):
        """`(layer, head, step, key)`: row s is of the position that chose new token s, 0 for keys that came later."""
        keys = self.attentions[-1].shape[-1]
        return torch.stack([pad(step[..., -1, :], (0, keys - step.shape[-1])) for step in self.attentions], dim=2)


@torch.no_grad()
def record_generation(model, tokenizer, prompt, max_new_tokens=40, repetition_penalty=1.0):
    """Continue a prompt greedily and keep attentions, hidden states and logits of every step: a Generation, on the CPU
    and in float32 at least.

    max_new_tokens: fewer come when the model ends the text itself. repetition_penalty: 1 leaves the logits alone; above
    1, those of tokens that occurred before are divided by it when positive and multiplied by it when negative (Keskar
    et al. 2019, arXiv:1909.05858).

    Raises TextError when prompt and new tokens do not fit the context, and ModelError when the model is in train mode
    or hands out no attention patterns.
    """
    tokens = prepare(model, encode(tokenizer, prompt)).tokens
    encode(tokenizer, prompt, context=context_length(model), room=max_new_tokens)  # is there room?
    length = tokens.shape[1]
    keep = ("return_dict_in_generate", "output_attentions", "output_hidden_states", "output_logits", "output_scores")
    settings = {"max_new_tokens": max_new_tokens, "do_sample": False, "pad_token_id": tokenizer.eos_token_id}
    settings |= {"num_beams": 1, "no_repeat_ngram_size": 0}  # a model's own defaults may be others
    settings |= {"repetition_penalty": float(repetition_penalty)}  # transformers takes no whole number
    out = model.generate(tokens, attention_mask=torch.ones_like(tokens), **settings, **dict.fromkeys(keep, True))
    if not (out.attentions and out.attentions[0]):
        raise ModelError("The model hands out no attention patterns. Take a model of load_model.")
    # A layer with a sliding window gives the newest keys only: those that it dropped get 0, on the left.
    patterns = []
    for keys, layers in enumerate(out.attentions, start=length):
        patterns.append(torch.cat([pad(in_full(pattern), (keys - pattern.shape[-1], 0)).cpu() for pattern in layers]))
    return Generation(
        tokens=out.sequences[0].cpu(),
        prompt_length=length,
        text=tokenizer.decode(out.sequences[0, length:]),
        attentions=patterns,
        hidden_states=[in_full(torch.cat(layers)).cpu() for layers in out.hidden_states],
        logits=in_full(torch.cat(out.logits)).cpu(),
        scores=in_full(torch.cat(out.scores)).cpu(),
    )
