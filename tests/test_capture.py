import pytest
import torch

import interp_helpers
from interp_helpers import (
    ArgumentError,
    ModelError,
    TextError,
    encode,
    final_norm_name,
    load_model,
    record_generation,
    record_inputs,
)

PROMPT = "Once upon a time there was a"


@pytest.fixture(params=["gpt2", "gpt-neo", "llama"])
def pair(request, folders):
    return load_model(str(folders[request.param]), device="cpu")


def test_a_record_has_the_shapes_that_it_states(pair):
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=5)
    P, N, L, H, d = record.prompt_length, 5, 2, 4, 32
    assert record.tokens.shape == (P + N,)
    assert [each.shape for each in record.attentions] == [(L, H, P, P)] + [(L, H, 1, P + s) for s in range(1, N)]
    assert [each.shape for each in record.hidden_states] == [(L + 1, P, d)] + [(L + 1, 1, d)] * (N - 1)
    assert record.logits.shape == record.scores.shape == (N, 8192)


def test_a_record_equals_one_pass_over_the_finished_text(pair):
    """What the cache spared gives the same attention, states and logits as reading everything at once."""
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=12)
    with torch.no_grad():
        out = model(record.tokens[None, :-1], output_attentions=True, output_hidden_states=True)
    start = record.prompt_length - 1
    whole = torch.cat(out.attentions)
    torch.testing.assert_close(record.attention_by_step(), whole[:, :, start:], atol=1e-5, rtol=1e-4)
    states = torch.cat([each[:, -1:] for each in record.hidden_states], dim=1)
    torch.testing.assert_close(states, torch.cat(out.hidden_states)[:, start:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(record.logits, out.logits[0, start:], atol=1e-5, rtol=1e-4)


def test_attention_by_step_by_hand():
    from interp_helpers import Generation

    first = torch.tensor([[[[1.0, 0.0], [0.25, 0.75]]]])
    second = torch.tensor([[[[0.5, 0.2, 0.3]]]])
    nothing = torch.empty(0)
    record = Generation(torch.arange(4), 2, "", [first, second], [], nothing, nothing)
    expected = torch.tensor([[[[0.25, 0.75, 0.0], [0.5, 0.2, 0.3]]]])
    assert torch.equal(record.attention_by_step(), expected)


def test_greedy_takes_the_highest_score(pair):
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=6, repetition_penalty=3.0)
    assert torch.equal(record.scores.argmax(-1), record.tokens[record.prompt_length :])
    assert tokenizer.decode(record.tokens[record.prompt_length :]) == record.text


def test_the_penalty_is_the_published_formula(pair):
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=4, repetition_penalty=10.0)
    for step, (logits, scores) in enumerate(zip(record.logits, record.scores)):
        expected = logits.clone()
        for token in set(record.tokens[: record.prompt_length + step].tolist()):
            expected[token] = logits[token] / 10 if logits[token] > 0 else logits[token] * 10
        torch.testing.assert_close(scores, expected)


def test_a_penalty_of_one_changes_nothing(pair):
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=3)
    assert torch.equal(record.logits, record.scores)


def test_bad_requests_are_refused(pair):
    model, tokenizer = pair
    with pytest.raises(TextError, match="the model reads 64 at most"):
        record_generation(model, tokenizer, PROMPT, max_new_tokens=60)
    with pytest.raises(TextError, match="at least one word"):
        record_generation(model, tokenizer, " ")
    for bad, message in [({"max_new_tokens": 0}, "1 or more"), ({"repetition_penalty": 0.0}, "above 0")]:
        with pytest.raises(ArgumentError, match=f"{next(iter(bad))} is 0.*{message}"):
            record_generation(model, tokenizer, PROMPT, **bad)


def test_a_model_that_hides_its_attention_is_an_error(folders):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folders["gpt2"], attn_implementation="sdpa").eval()
    with pytest.raises(ModelError, match="Load it with load_model"):
        record_generation(model, AutoTokenizer.from_pretrained(folders["gpt2"]), PROMPT, max_new_tokens=2)


@pytest.mark.parametrize(("family", "name"), [("gpt2", "transformer.ln_f"), ("llama", "model.norm")])
def test_the_final_norm_is_found_by_structure(folders, family, name):
    model, _ = load_model(str(folders[family]), device="cpu")
    assert final_norm_name(model) == name


def test_the_final_norm_is_the_last_of_the_trunk():
    from transformers import BloomConfig, BloomForCausalLM  # one norm after the embedding, one at the end

    model = BloomForCausalLM(BloomConfig(n_layer=1, n_head=2, hidden_size=8, vocab_size=16))
    assert final_norm_name(model) == "transformer.ln_f"


def test_the_final_norm_may_stand_before_the_layers_and_below_a_wrapper():
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        num_hidden_layers=1, num_attention_heads=2, hidden_size=8, ffn_dim=8, vocab_size=16, word_embed_proj_dim=8
    )
    assert final_norm_name(OPTForCausalLM(config)) == "model.decoder.final_layer_norm"


def test_a_model_without_a_final_norm(folders):
    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    model.transformer.ln_f = torch.nn.Identity()
    with pytest.raises(ModelError, match="GPT2Model has no norm"):
        final_norm_name(model)


def test_recorded_inputs_are_what_the_module_got(pair):
    model, tokenizer = pair
    name = final_norm_name(model)
    tokens = encode(tokenizer, PROMPT)
    with torch.no_grad(), record_inputs(model, [name]) as seen:
        out = model(tokens, output_hidden_states=True)
    normed = model.get_submodule(name)(seen[name])
    torch.testing.assert_close(normed, out.hidden_states[-1], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(seen[name], out.hidden_states[-1])


def test_inputs_given_by_name_are_recorded_too(folders):
    model, tokenizer = load_model(str(folders["llama"]), device="cpu")
    tokens = encode(tokenizer, PROMPT)
    with torch.no_grad(), record_inputs(model, ["model.layers.0.self_attn", "model.layers.0"]) as seen:
        model(tokens)
    norm = model.get_submodule("model.layers.0.input_layernorm")
    torch.testing.assert_close(seen["model.layers.0.self_attn"], norm(seen["model.layers.0"]))


def hooks(model):
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def test_hooks_are_gone_afterwards_also_after_an_exception(pair):
    model, tokenizer = pair
    name, tokens = final_norm_name(model), encode(tokenizer, PROMPT)
    before = hooks(model)
    with torch.no_grad(), record_inputs(model, [name]):
        assert hooks(model) == before + 1
        model(tokens)
    assert hooks(model) == before
    with pytest.raises(RuntimeError, match="on purpose"), record_inputs(model, [name]):
        raise RuntimeError("on purpose")
    assert hooks(model) == before


def test_a_site_that_is_not_found_or_not_called_is_an_error(pair):
    model, _ = pair
    with (
        pytest.raises(ArgumentError, match=r"no module 'transformer\.h\.99'"),
        record_inputs(model, ["transformer.h.99"]),
    ):
        pass
    with pytest.raises(ArgumentError, match="was not called"), record_inputs(model, [final_norm_name(model)]):
        pass


def test_one_new_token_is_enough(pair):
    model, tokenizer = pair
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=1)
    assert record.tokens.shape == (record.prompt_length + 1,)
    assert len(record.attentions) == len(record.hidden_states) == len(record.logits) == 1


def test_a_record_cannot_be_changed(folders):
    record = record_generation(*load_model(str(folders["gpt2"]), device="cpu"), PROMPT, max_new_tokens=1)
    with pytest.raises(AttributeError):
        record.text = "something else"


def test_an_attention_that_gives_its_output_alone_hands_out_no_pattern(folders):
    from interp_helpers.capture import visit_attention

    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    model.transformer.h[0].attn.forward = lambda stream, **options: (stream,)
    with pytest.raises(ModelError, match="no attention pattern"), visit_attention(model, lambda *seen: None):
        model(torch.zeros(1, 2, dtype=torch.long), use_cache=True)


def test_a_penalty_is_finite(folders):
    model, tokenizer = load_model(str(folders["gpt2"]), device="cpu")
    for penalty in [float("inf"), float("nan"), "2"]:
        with pytest.raises(ArgumentError, match="repetition_penalty is"):
            record_generation(model, tokenizer, PROMPT, repetition_penalty=penalty)


def test_a_text_may_fill_the_context_and_no_more(folders):
    from interp_helpers import attention_outputs

    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    assert attention_outputs(model, torch.zeros(1, 64, dtype=torch.long)).shape == (2, 1, 64, 32)
    with pytest.raises(TextError, match="65 positions; the model reads 64 at most"):
        attention_outputs(model, torch.zeros(1, 65, dtype=torch.long))


@pytest.mark.parametrize(("family", "more"), [
    ("Gemma2", {"head_dim": 8}), ("Gemma3Text", {"head_dim": 8}), ("Olmo2", {}), ("Glm4", {"head_dim": 8}),
    ("Llama", None), ("Gemma", None), ("Qwen3", None), ("Phi", None), ("GPTNeoX", None), ("Mpt", None), ("OPT", None),
])  # fmt: skip
def test_a_norm_between_attention_and_the_stream_is_refused(family, more):
    """Gemma 2 has the names of Llama's norms in other places; OLMo 2 has as many norms as Llama."""
    import transformers

    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "hidden_size": 16}
    if family == "Mpt":
        sizes = {"n_layers": 2, "n_heads": 2, "d_model": 16}
    if family == "OPT":
        sizes |= {"ffn_dim": 8, "word_embed_proj_dim": 16}
    more = {**(more or {}), "pad_token_id": 0, "vocab_size": 32, "intermediate_size": 16, **sizes}
    if family in ("Gemma", "Qwen3"):
        more["head_dim"] = 8
    config = getattr(transformers, f"{family}Config")(attn_implementation="eager", **more)
    name = {"Gemma3Text": "Gemma3"}.get(family, family)
    model, tokens = getattr(transformers, f"{name}ForCausalLM")(config).eval(), torch.tensor([[1, 2, 3]])
    for call in [
        lambda: interp_helpers.attention_outputs(model, tokens),
        lambda: interp_helpers.attention_output_norms(model, [tokens]),
    ]:
        if family in ("Gemma2", "Gemma3Text", "Olmo2", "Glm4"):
            with pytest.raises(ModelError, match=r"puts a norm \(\w+RMSNorm\) on what attention writes"):
                call()
        else:
            call()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_generating_takes_a_model_that_predicts_and_rests(folders):
    model, tokenizer = load_model(str(folders["gpt2"]), device="cpu")
    bridge, _ = interp_helpers.load_bridge(device="cpu")
    for wrong in [model.base_model, bridge]:
        with pytest.raises(ModelError, match="must be a causal language model of transformers, as load_model gives it"):
            record_generation(wrong, tokenizer, PROMPT)
    with pytest.raises(ModelError, match=r"train mode, .* call model\.eval\(\) first"):
        record_generation(model.train(), tokenizer, PROMPT)


def test_attention_is_visited_also_where_one_token_looks_at_all_before_it(folders):
    """As at the later steps of a generation: fewer queries than keys."""
    from interp_helpers.capture import visit_attention

    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    tokens, seen = torch.arange(5)[None], []
    with torch.no_grad():
        cache = model(tokens[:, :4], use_cache=True).past_key_values
        with visit_attention(model, lambda layer, pattern, values: seen.append((pattern.shape, values.shape))):
            model(tokens[:, 4:], past_key_values=cache, use_cache=True)
    assert seen == [((1, 4, 1, 5), (1, 4, 5, 8))] * 2


def test_the_first_id_that_the_model_lacks_is_refused(folders):
    from interp_helpers import attention_outputs

    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    attention_outputs(model, torch.tensor([[5, 8191]]))
    with pytest.raises(ArgumentError, match="tokens holds 8192; this model's ids go from 0 to 8191"):
        attention_outputs(model, torch.tensor([[5, 8192]]))


@pytest.mark.parametrize(
    "positions",
    [
        [],
        torch.empty(0, dtype=torch.long),
        torch.zeros(1, dtype=torch.long, device="meta"),
        "2",
        object(),
        2**70,
        [[1], [2, 3]],
    ],
    ids=lambda given: type(given).__name__,
)
def test_positions_that_are_none_are_refused(folders, positions):
    from interp_helpers import replace_stream

    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    with (
        pytest.raises(ArgumentError, match="positions are whole numbers, one or more"),
        replace_stream(model, 0, torch.zeros(1, 1, 32), positions),
    ):
        pass


def test_a_mean_of_no_texts_is_refused(folders):
    from interp_helpers import mean_head_outputs

    model, _ = load_model(str(folders["gpt2"]), device="cpu")
    with pytest.raises(ArgumentError, match="Give at least one batch"):
        mean_head_outputs(model, [])


def test_nothing_takes_the_place_of_anything():
    """Zeros also where a head brought NaN or infinity; a head is counted from 0 on, never from the end."""
    from interp_helpers import taken_from, zeros

    assert torch.equal(zeros(torch.tensor([torch.nan, torch.inf, 2.0]), 0, 0), torch.zeros(3))
    for layer, head in [(0, -1), (-1, 0), (2, 0), (0, 4)]:
        with pytest.raises(ArgumentError, match=f"it lacks {layer}.{head}"):
            taken_from(torch.zeros(2, 4, 8))(torch.zeros(1, 3, 8), layer, head)


def test_forty_tokens_are_written_unless_told_otherwise(folders):
    model, tokenizer = load_model(str(folders["gpt2"]), device="cpu")
    model.generation_config.eos_token_id = None  # it may not end the text
    record = record_generation(model, tokenizer, PROMPT)
    assert len(record.tokens) - record.prompt_length == len(record.attentions) == 40


def test_what_is_recorded_carries_no_gradients(folders):
    """Else every record would hold on to all that the model computed on the way."""
    model, tokenizer = load_model(str(folders["gpt2"]), device="cpu")
    tokens, mask = torch.arange(4)[None], torch.ones(1, 4, dtype=torch.bool)
    record = record_generation(model, tokenizer, PROMPT, max_new_tokens=2)
    found = [record.logits, record.scores, *record.attentions, *record.hidden_states]
    found += [interp_helpers.attention_outputs(model, tokens), interp_helpers.head_outputs(model, tokens)]
    found += [interp_helpers.read_streams(model, tokens)]
    found += interp_helpers.attention_output_norms(model, [(tokens, mask)])
    assert torch.is_grad_enabled()
    assert not any(each.requires_grad or each.grad_fn for each in found)
