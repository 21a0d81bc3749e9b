"""Small models of each family, with random weights and LayerNorms that are not the default ones."""

import pytest

SIZE = {"vocab_size": 8192, "bos_token_id": 0, "eos_token_id": 0}


def build(family):
    # Here, not above: the process that hands out tests reads this file too, and needs none of it.
    import torch
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoConfig,
        GPTNeoForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
    )

    torch.manual_seed(7)
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=32, n_positions=64, **SIZE))
    elif family == "gpt-neo":
        attention = [[["global", "local"], 1]]
        config = GPTNeoConfig(
            num_layers=2, num_heads=4, hidden_size=32, max_position_embeddings=64, window_size=8,
            attention_types=attention, **SIZE,
        )  # fmt: skip
        model = GPTNeoForCausalLM(config)
    elif family == "llama":
        config = LlamaConfig(
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=32, intermediate_size=64,
            max_position_embeddings=64, **SIZE,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
    else:
        config = BertConfig(
            vocab_size=8192, num_hidden_layers=1, num_attention_heads=2, hidden_size=16, intermediate_size=32
        )
        model = BertForMaskedLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower() or "ln_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """{family: a folder as save_pretrained makes it}, for gpt2, gpt-neo, llama and bert (which is not causal)."""
    from transformers import AutoTokenizer

    from interp_helpers.models import STORYBOOK

    made = {}
    for family in ["gpt2", "gpt-neo", "llama", "bert"]:
        made[family] = tmp_path_factory.mktemp(family)
        build(family).save_pretrained(made[family])
        AutoTokenizer.from_pretrained(STORYBOOK).save_pretrained(made[family])
    return made


@pytest.fixture(scope="session")
def storybook():
    """(model, tokenizer), for reading only."""
    from interp_helpers import load_model

    return load_model("storybook", device="cpu")
