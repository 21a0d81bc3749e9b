"""Make folders of models with random weights, to try notebooks on: python dev/tools/random_models.py FOLDER [NAME ...]

One of each family, two at full size, and some that lack what others have: what is not there must not break a notebook.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from interp_helpers import book_excerpts, load_sentences, passages
from interp_helpers.hub import STORYBOOK

WORDS = {"vocab_size": 8192, "bos_token_id": 0, "eos_token_id": 0}  # storybook's
FULL = {"vocab_size": 50257, "bos_token_id": 50256, "eos_token_id": 50256}


def gpt2(**sizes):
    return GPT2LMHeadModel(GPT2Config(**sizes))


def gpt_neo():
    """GPT-Neo 125M: every second layer sees 256 tokens only."""
    sizes = {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "max_position_embeddings": 2048}
    return GPTNeoForCausalLM(GPTNeoConfig(attention_types=[[["global", "local"], 6]], window_size=256, **sizes, **FULL))


def llama(layers=3, heads=4, **words):
    """Grouped queries, rotated positions, RMSNorm, and an unembedding of its own."""
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads // 2}
    sizes |= {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 256}
    return LlamaForCausalLM(LlamaConfig(**sizes, **words))


THREE_LAYERS = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 128}


def pythia():
    """Attention and MLP side by side in each layer, and one matrix that holds Q, K and V head by head."""
    return GPTNeoXForCausalLM(GPTNeoXConfig(**THREE_LAYERS, max_position_embeddings=256, **WORDS))


def bloom():
    """No position embedding, no longest text: attention falls with distance. Tokens are normalised on their way in."""
    return BloomForCausalLM(BloomConfig(n_layer=3, n_head=4, hidden_size=64, **WORDS))


def qwen3():
    """Norms on queries and keys, and heads that are wider together than the stream."""
    sizes = {"num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256}
    return Qwen3ForCausalLM(Qwen3Config(**THREE_LAYERS, **sizes, **WORDS))


def lowercase():
    """A tokenizer without any first or last token, which writes everything in small letters."""
    return _pieces(pre_tokenizers.Metaspace(), normalizer=normalizers.Lowercase())


def spaces():
    """A tokenizer that writes each space as a token of its own: all words begin with the same token."""
    isolated = [pre_tokenizers.Metaspace(), pre_tokenizers.Split("▁", "isolated")]
    return _pieces(pre_tokenizers.Sequence(isolated), book_excerpts()["text"], size=WORDS["vocab_size"])


def _pieces(splitter, texts=(), *, normalizer=None, size=900):
    """A tokenizer that is trained on the course's own texts, and on more."""
    found = Tokenizer(models.BPE(unk_token="<unk>"))
    found.pre_tokenizer, found.decoder = splitter, decoders.Metaspace()
    if normalizer:
        found.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>"], show_progress=False)
    found.train_from_iterator([*passages(), *load_sentences()["text"], *texts], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=found, unk_token="<unk>")


def storybooks():
    return AutoTokenizer.from_pretrained(STORYBOOK)


LETTERS = {"vocab_size": 900, "bos_token_id": None, "eos_token_id": None}
SMALL = {"n_embd": 32, "n_positions": 128, **WORDS}
MODELS = {  # name -> (how to make the model, how to make its tokenizer)
    "random gpt2": (lambda: gpt2(**FULL), storybooks),
    "random gpt-neo-125M": (gpt_neo, storybooks),
    "random llama": (lambda: llama(**WORDS), storybooks),
    "random pythia": (pythia, storybooks),
    "random qwen3": (qwen3, storybooks),
    "random bloom": (bloom, storybooks),
    "random lowercase": (lambda: llama(**LETTERS), lowercase),
    "random spaces": (lambda: llama(**{**LETTERS, "vocab_size": WORDS["vocab_size"]}), spaces),
    "random one-layer": (lambda: gpt2(n_layer=1, n_head=4, **SMALL), storybooks),
    "random one-head": (lambda: gpt2(n_layer=3, n_head=1, **SMALL), storybooks),
    "random bare": (lambda: llama(layers=1, heads=2, **LETTERS), lowercase),  # all at once
}


def make(name, folder):
    """Write the model called `name` into a folder of that name. Norms are not the default ones."""
    torch.manual_seed(0)
    model, tokenizer = (each() for each in MODELS[name])
    with torch.no_grad():
        for label, tensor in model.named_parameters():
            if "norm" in label.lower() or "ln_" in label:
                tensor.add_(0.2 * torch.randn_like(tensor))
    for each in (model, tokenizer):
        each.save_pretrained(Path(folder) / name)


if __name__ == "__main__":
    if len(sys.argv) < 2 or not MODELS.keys() >= {*sys.argv[2:]}:
        sys.exit(f"random_models: name a folder to make, and models of these, or none for all: {', '.join(MODELS)}.")
    for each in sys.argv[2:] or MODELS:
        make(each, sys.argv[1])
