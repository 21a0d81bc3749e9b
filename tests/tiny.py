"""Models that run in a millisecond or two, what can be wrong with their input, and what transformers says of it."""

from functools import cache

import torch
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPTNeoConfig, LlamaConfig

from interp_helpers import capture
from interp_helpers.models import STORYBOOK

FAMILIES = ["gpt2", "gpt-neo", "llama"]
LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY = 2, 4, 16, 16, 8192
COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "attn_implementation": "eager"}


def configuration(family, layers=LAYERS, heads=HEADS, width=WIDTH, context=CONTEXT, **common):
    common = {**COMMON, **common}
    if family == "gpt2":
        return GPT2Config(n_layer=layers, n_head=heads, n_embd=width, n_positions=context, **common)
    if family == "gpt-neo":
        kinds = [[[["global", "local"], 1]], [[["global"], layers]]][layers != 2]
        return GPTNeoConfig(
            num_layers=layers, num_heads=heads, hidden_size=width, max_position_embeddings=context, window_size=4,
            attention_types=kinds, **common,
        )  # fmt: skip
    return LlamaConfig(
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads // 2 or 1, hidden_size=width,
        intermediate_size=2 * width, max_position_embeddings=context, **common,
    )  # fmt: skip


@cache
def tiny(family):
    """A model for reading only."""
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(configuration(family)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # fresh weights are so small that heads would hardly differ
            parameter.add_(torch.randn_like(parameter) * 0.3)
        model(torch.tensor([[1]]), output_attentions=True, output_hidden_states=True)  # it keeps hooks for these
    return model


@cache
def tokenizer():
    return AutoTokenizer.from_pretrained(STORYBOOK)


PATHS = {  # family -> (layers, attention, the matrix that mixes heads, final norm)
    "gpt2": ("transformer.h", "attn", "attn.c_proj", "transformer.ln_f"),
    "gpt-neo": ("transformer.h", "attn", "attn.attention.out_proj", "transformer.ln_f"),
    "llama": ("model.layers", "self_attn", "self_attn.o_proj", "model.norm"),
}

families = st.sampled_from(FAMILIES)
SIZE = WIDTH // HEADS


def texts(shortest=1):
    """Rows of few different ids, so that duplicates occur."""
    return st.lists(st.lists(st.integers(1, 6), min_size=shortest, max_size=7), min_size=1, max_size=3)


# What can be wrong with token ids and their mask: name -> (spoil(tokens, mask), what the error names).
TOKENS = {
    "floats": lambda tokens, mask: (tokens.float(), mask),
    "booleans": lambda tokens, mask: (tokens > 0, mask),
    "complex": lambda tokens, mask: (tokens.to(torch.complex64), mask),
    "no text": lambda tokens, mask: (tokens[:0], mask),
    "no position": lambda tokens, mask: (tokens[:, :0], mask),
    "one axis": lambda tokens, mask: (tokens[0], mask),
    "three axes": lambda tokens, mask: (tokens[None], mask),
    "below 0": lambda tokens, mask: (-1 - tokens, mask),
    "beyond the vocabulary": lambda tokens, mask: (tokens + VOCABULARY, mask),
    "beyond the context": lambda tokens, mask: (
        tokens.repeat(1, CONTEXT + 1),
        mask.repeat(1, CONTEXT + 1) & False | True,
    ),
    "other device": lambda tokens, mask: (tokens.to("meta"), mask),
    "string": lambda tokens, mask: ("a string", mask),
    "nothing": lambda tokens, mask: (None, mask),
    "list": lambda tokens, mask: (tokens.tolist(), mask),
}
MASKS = {
    "mask: padding on the left": lambda tokens, mask: (tokens.repeat(1, 2), torch.cat([mask & False, mask | True], 1)),
    "mask: all padding": lambda tokens, mask: (tokens, mask & False),
    "mask: other shape": lambda tokens, mask: (tokens, torch.cat([mask, mask], 1)),
    "mask: one axis": lambda tokens, mask: (tokens, mask[0]),
    "mask: other device": lambda tokens, mask: (tokens, mask.to("meta")),
    "mask: floats": lambda tokens, mask: (tokens, mask.float()),
    "mask: ids": lambda tokens, mask: (tokens, mask * 7),
    "mask: string": lambda tokens, mask: (tokens, "a string"),
    "mask: list": lambda tokens, mask: (tokens, mask.tolist()),
}
MODELS = {"model: its name": "gpt2", "model: nothing": None, "model: a number": 3, "model: its class": torch.nn.Linear}


def spoilt(fault, model, tokens, mask):
    """(model, tokens, mask) with one of them spoilt, and the name that the error has to give."""
    if fault in MODELS:
        return MODELS[fault], tokens, mask, "model"
    tokens, mask = {**TOKENS, **MASKS}[fault](tokens, mask)
    return model, tokens, mask, "mask" if fault in MASKS else "tokens"


@torch.no_grad()
def alone(family, row):
    """What transformers itself says of one text without padding, and each head's z from patterns and cached values."""
    model = tiny(family)
    out = model(torch.tensor([row]), output_attentions=True, output_hidden_states=True, use_cache=True)
    values = [layer.values.repeat_interleave(HEADS // layer.values.shape[1], 1) for layer in out.past_key_values.layers]
    out.values = torch.cat(values)
    out.z = torch.cat(out.attentions) @ out.values  # (layer, head, position, size)
    return out


def matrix(family, layer):
    """The output matrix of a layer's attention as (in, out), and its bias."""
    projection = capture.output_projections(tiny(family))[layer]
    weight = projection.weight if family == "gpt2" else projection.weight.T
    return weight.detach(), 0 if projection.bias is None else projection.bias.detach()


def added(family, row):
    """What each layer's attention adds to the stream: (layer, position, d_model)."""
    z = alone(family, row).z
    mixed = []
    for layer in range(LAYERS):
        weight, bias = matrix(family, layer)
        mixed.append(z[layer].transpose(0, 1).flatten(1) @ weight + bias)
    return torch.stack(mixed)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def losses(family, row):
    chances = alone(family, row).logits[0].log_softmax(-1)
    return torch.stack([-chances[place, token] for place, token in enumerate(row[1:])])
