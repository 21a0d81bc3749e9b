"""A recorded generation holds what one pass over the finished text gives, also where a window drops keys."""

import pytest
import torch
from tiny import COMMON, HEADS, LAYERS, bridge, fresh, tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoConfig,
    GptOssConfig,
    MistralConfig,
    Qwen2Config,
)

from interp_helpers import Generation, ModelError, TextError, load_model, record_generation

PROMPT = "Once upon a time there was a"


@pytest.fixture(params=["gpt2", "gpt-neo", "llama"])
def pair(request, folders):
    return load_model(str(folders[request.param]), device="cpu")


@pytest.fixture
def gpt2(folders):
    return load_model(str(folders["gpt2"]), device="cpu")


def one_pass(model, record):
    """What the model says of the whole text at once, from the position that chose the first new token on."""
    start = record.prompt_length - 1
    with torch.no_grad():
        out = model(record.tokens[None, :-1], output_attentions=True, output_hidden_states=True, use_cache=False)
    return torch.cat(out.attentions)[:, :, start:], torch.cat(out.hidden_states)[:, start:], out.logits[0, start:]


@pytest.mark.parametrize("new", [1, 2, 12])
def test_a_record_equals_one_pass_over_the_finished_text(pair, new):
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=new)
    P, d = record.prompt_length, model.config.hidden_size
    assert record.tokens.shape == (P + new,)
    assert [step.shape for step in record.attentions] == [
        (LAYERS, HEADS, 1 if step else P, P + step) for step in range(new)
    ]
    assert [step.shape for step in record.hidden_states] == [(LAYERS + 1, 1 if step else P, d) for step in range(new)]
    states = torch.cat([step[:, -1:] for step in record.hidden_states], dim=1)
    for found, expected in zip((record.attention_by_step(), states, record.logits), one_pass(model, record)):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def windowed(family):
    """A model in whose layers (Mistral), or in every other one (Gemma 2), a token sees the latest 4 keys only."""
    torch.manual_seed(7)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}
    common = {**COMMON, **sizes, "head_dim": 4, "intermediate_size": 32, "sliding_window": 4, "eos_token_id": None}
    model = AutoModelForCausalLM.from_config(family(**common)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def mixed(family):
    """A model in which layers with a window of 4 keys and layers without one take turns."""
    torch.manual_seed(7)
    sizes = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}
    common = {**COMMON, **sizes, "head_dim": 4, "intermediate_size": 32, "sliding_window": 4, "eos_token_id": None}
    common["layer_types"] = ["sliding_attention", "full_attention"] * 2
    if family is GPTNeoConfig:
        sizes = {"num_layers": 4, "num_heads": 4, "hidden_size": 16, "window_size": 4, "eos_token_id": None}
        common = {**COMMON, **sizes, "attention_types": [[["global", "local"], 2]]}
    if family is GptOssConfig:
        common |= {"num_local_experts": 2, "num_experts_per_tok": 1, "max_position_embeddings": 64}
    if family is Qwen2Config:
        common |= {"use_sliding_window": True}
    model = AutoModelForCausalLM.from_config(family(**common)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("family", [Gemma2Config, Gemma3TextConfig, Qwen2Config, GptOssConfig, GPTNeoConfig])
@pytest.mark.parametrize("prompt", ["Once upon a time there was a little girl", "Once"])
def test_layers_with_and_without_a_window_are_kept_together(family, prompt):
    model = mixed(family)
    record = record_generation(model, tokenizer(), prompt, max_new_tokens=8)
    P = record.prompt_length
    with torch.no_grad():
        out = model(record.tokens[None, :-1], output_attentions=True, output_hidden_states=True, use_cache=False)
    patterns, states = torch.cat(out.attentions), torch.cat(out.hidden_states)
    for step, (weights, vectors) in enumerate(zip(record.attentions, record.hidden_states)):
        queries = slice(0, P) if step == 0 else slice(P + step - 1, P + step)
        torch.testing.assert_close(weights, patterns[:, :, queries, : P + step], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(vectors, states[:, queries], atol=1e-5, rtol=1e-4)
    dropped = record.attention_by_step()[:, :, -1, :-4]
    local = [layer for layer in range(4) if not dropped[layer].any()]
    assert local in ([0, 2], [1, 3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_record_of_a_model_in_half_precision_is_in_float32(dtype):
    model = fresh("gpt2").to(dtype)
    record = record_generation(model, tokenizer(), PROMPT, max_new_tokens=3)
    kept = [record.logits, record.scores, *record.attentions, *record.hidden_states]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    record.attention_by_step().numpy()


@pytest.mark.parametrize("family", [MistralConfig, Gemma2Config])
@pytest.mark.parametrize("prompt", ["Once upon a time there was a little girl", "Once upon"])
def test_keys_stand_at_their_positions_where_a_window_drops_some(family, prompt):
    """The prompt of 9 tokens is longer than the window; after the one of 2, the text grows beyond it."""
    model = windowed(family)
    record = record_generation(model, tokenizer(), prompt, max_new_tokens=8)
    weights, (expected, *_) = record.attention_by_step(), one_pass(model, record)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)
    last = weights[0, :, -1]
    assert (last[:, -4:] > 0).all()
    assert not last[:, :-4].any()


def test_attention_by_step_by_hand():
    first = torch.tensor([[[[1.0, 0.0], [0.25, 0.75]]]])
    second = torch.tensor([[[[0.5, 0.2, 0.3]]]])
    record = Generation(torch.arange(4), 2, "", [first, second], [], torch.empty(0), torch.empty(0))
    assert torch.equal(record.attention_by_step(), torch.tensor([[[[0.25, 0.75, 0.0], [0.5, 0.2, 0.3]]]]))


def test_greedy_takes_the_highest_score_after_the_published_penalty(pair):
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=6, repetition_penalty=3)
    new = record.tokens[record.prompt_length :]
    assert torch.equal(record.scores.argmax(-1), new)
    assert tokenizer.decode(new) == record.text
    for step, (logits, scores) in enumerate(zip(record.logits, record.scores)):
        expected = logits.clone()
        for token in set(record.tokens[: record.prompt_length + step].tolist()):
            expected[token] = logits[token] / 3 if logits[token] > 0 else logits[token] * 3
        torch.testing.assert_close(scores, expected)
    unpenalised = record_generation(model, tokenizer, PROMPT, max_new_tokens=3)
    assert torch.equal(unpenalised.logits, unpenalised.scores)


def test_forty_tokens_are_written_unless_told_otherwise(gpt2):
    model, tokenizer = gpt2
    model.generation_config.eos_token_id = None  # it may not end the text
    record = record_generation(model, tokenizer, PROMPT)
    assert len(record.tokens) - record.prompt_length == len(record.attentions) == 40


def test_a_record_carries_no_gradients(gpt2):
    record = record_generation(*gpt2, PROMPT, max_new_tokens=2)
    assert torch.is_grad_enabled()
    kept = [record.logits, record.scores, *record.attentions, *record.hidden_states]
    assert not any(tensor.requires_grad for tensor in kept)


def test_prompt_and_new_tokens_must_fit_the_context(gpt2):
    model, tokenizer = gpt2
    room = 64 - len(tokenizer(PROMPT)["input_ids"])
    record_generation(model, tokenizer, PROMPT, max_new_tokens=room)
    with pytest.raises(TextError, match="the model reads 64 at most"):
        record_generation(model, tokenizer, PROMPT, max_new_tokens=room + 1)
    with pytest.raises(TextError, match="one word or more"):
        record_generation(model, tokenizer, " ")


def test_a_model_that_hides_its_attention_is_an_error(folders):
    hiding = AutoModelForCausalLM.from_pretrained(folders["gpt2"], attn_implementation="sdpa").eval()
    for model in [hiding, bridge("gpt2")]:  # a bridge generates in its own way
        with pytest.raises(ModelError, match="no attention patterns"):
            record_generation(model, tokenizer(), PROMPT, max_new_tokens=2)


def test_dropout_is_refused(gpt2):
    model, tokenizer = gpt2
    with pytest.raises(ModelError, match="train mode"):
        record_generation(model.train(), tokenizer, PROMPT, max_new_tokens=2)


def test_a_models_own_settings_do_not_make_it_less_greedy():
    model = fresh("gpt2")
    model.generation_config.num_beams, model.generation_config.no_repeat_ngram_size = 2, 1
    record = record_generation(model, tokenizer(), "the", max_new_tokens=6)
    assert record.tokens[record.prompt_length :].tolist() == record.logits.argmax(-1).tolist()
