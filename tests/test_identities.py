"""What a model must satisfy, checked on the model itself: refusals where it does not, and no trace of the check."""

import gc
import re
import weakref

import families
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, Olmo2Config

from interp_helpers import ModelError, attention, empty_model, hooks, identities, interventions, residual, visits
from interp_helpers.adjustments import attention_outputs, written_by_key

TOKENS = torch.tensor([[5, 9, 3, 7, 9, 3, 1], [2, 4, 4, 8, 6, 2, 2]])

# What does not hold in a model of transformers, and in its bridge (None: TransformerLens does not know the family).
MODEL_AND_BRIDGE = {
    "gpt2": ("", ""),
    "gpt_neox": ("", ""),
    "phi3": ("", ""),
    "qwen3": ("", ""),
    "falcon": ("", ""),
    "opt": ("", ""),
    "granite": ("logits", "adds logits"),  # factors of what is added, and of logits
    "gemma2": ("stream logits", "adds logits"),  # norms behind attention, capped logits
    "cohere": ("logits", "logits"),
    "olmo2": ("stream", "adds"),
    "gpt_oss": ("rows", "rows"),  # attention sinks
    "afmoe": ("values stream", "values adds"),  # gates
    "deepseek_v3": ("values", "values"),  # latent attention
    "diffllama": ("values", None),
    "jetmoe": ("values stream", "values heads adds"),
    "olmo": ("", "values logits"),  # it clips q, k and v
}


def failing(model):
    found = identities.check(model)
    names = families.SHOWN[hooks.is_bridge(model)]
    return {name for name in names if not found.holds(name)}


@pytest.mark.parametrize("family", MODEL_AND_BRIDGE)
def test_a_family_is_right_or_refused(family):
    """Refused by the identity that fails; in all else it agrees with the model's own heads and streams."""
    model, expected = families.build(family), MODEL_AND_BRIDGE[family]
    assert failing(model) == {*expected[0].split()}
    results = families.compare(model)
    refused = {name: said for name, said in results.items() if isinstance(said, str)}
    assert all(value <= families.CLOSE for name, value in results.items() if name not in refused)
    wanted = {"survey": "rows", "head_outputs": "rows values", "outputs": "stream"}
    for name, rests_on in wanted.items():
        broken = [each for each in rests_on.split() if each in expected[0].split()]
        assert (name in refused) == bool(broken)
        if broken:
            assert type(model).__name__ in refused[name]
            assert identities.IDENTITIES[broken[0]] in refused[name]
    if expected[1] is not None:
        bridge = families.bridge_of(model)
        assert failing(bridge) == {*expected[1].split()}
        results = families.compare_bridge(bridge, model)
        wrong = {name for name, value in results.items() if not isinstance(value, str) and not value <= families.CLOSE}
        assert not wrong
        assert isinstance(results["logits"], str) == ("logits" in expected[1])
        assert isinstance(results["parts"], str) == bool({"heads", "adds"} & {*expected[1].split()})


@pytest.mark.deep
@pytest.mark.parametrize("family", families.NAMES)
def test_every_family_is_as_the_page_says_and_none_is_wrong(family):
    page = (families.ROOT / "docs/families.md").read_text(encoding="utf-8")
    outcomes = dict(re.findall(r"(?m)^\| (\S+) \| (right|refused) \|", page))
    assert families.row(family).outcome == outcomes.get(family, "not built")


def odd(change):
    """A new Llama whose attention does something that no name tells."""
    model = tiny.fresh("llama")
    for layer in model.model.layers:
        change(layer)
    return model


def replaced(module, change):
    """Put something behind a module's forward: no hook, which a check would leave out."""
    run = module.forward
    module.forward = lambda *inputs, **options: change(run(*inputs, **options))


def gated(layer):
    inner = layer.self_attn.o_proj
    wrapped = torch.nn.Linear(inner.in_features, inner.out_features, bias=False)
    wrapped.weight = inner.weight
    layer.self_attn.o_proj = torch.nn.Sequential(torch.nn.SiLU(), wrapped)


def test_a_gate_that_no_name_tells_is_found_and_patterns_are_still_read():
    model = odd(gated)
    scores = attention.survey(model, [TOKENS])
    assert "value_weighted_first_token" not in scores
    plain = [each.diagonal(-1, -2, -1).mean((0, 2)) for each in model(TOKENS, output_attentions=True).attentions]
    torch.testing.assert_close(scores["previous_token"].float(), torch.stack(plain), atol=1e-5, rtol=1e-5)
    with pytest.raises(ModelError, match="than a LlamaForCausalLM: its patterns times its values do not give z"):
        visits.visit_attention(model, print)
    assert attention_outputs(model, TOKENS).shape == (2, 2, 7, tiny.WIDTH)


def test_rows_that_lack_a_little_are_refused():
    def sink(layer):
        replaced(layer.self_attn, lambda out: (out[0], out[1] * 0.99))

    model = odd(sink)
    with pytest.raises(ModelError, match=r"rows of its attention patterns do not sum to 1 \(they differ by 0.01"):
        attention.survey(model, [TOKENS])
    attention_outputs(model, TOKENS)


@pytest.mark.parametrize("factor", [0.22, 1.4, -1.0])
def test_a_factor_of_what_attention_adds_is_found_whatever_its_name(factor):
    model = odd(lambda layer: replaced(layer.self_attn, lambda out: (out[0] * factor, out[1])))
    plain = tiny.tiny("llama")
    assert identities.check(model).factors == [factor, factor]
    added = attention_outputs(model, TOKENS)[0]
    torch.testing.assert_close(added, factor * attention_outputs(plain, TOKENS)[0], atol=1e-5, rtol=1e-5)


def test_nan_is_refused():
    model = tiny.fresh("gpt2")
    model.transformer.h[1].attn.c_attn.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"rows of its attention patterns .* or NaN"):
        visits.visit_attention(model, print)


def test_a_model_without_weights_is_refused():
    model = empty_model(tiny.configuration("gpt2"))
    with pytest.raises(ModelError, match="GPT2LMHeadModel has no weights"):
        visits.visit_attention_outputs(model, print)
    assert len(hooks.layout(model).attentions) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_told_from_another_structure(dtype):
    assert not failing(tiny.fresh("llama").to(dtype))
    assert identities.check(tiny.fresh("llama").to(dtype)).factors == [1.0, 1.0]
    assert "stream" in failing(families.build("gemma2").to(dtype))


@pytest.mark.parametrize("context", [1, 2])
def test_a_model_that_reads_one_or_two_tokens(context):
    model = AutoModelForCausalLM.from_config(tiny.configuration("gpt2", context=context)).eval()
    assert not failing(model)


def test_a_window_shorter_than_the_text_of_the_check():
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16, "intermediate_size": 24}
    config = MistralConfig(**sizes, num_key_value_heads=1, vocab_size=40, sliding_window=3)
    config._attn_implementation = "eager"
    assert not failing(MistralForCausalLM(config).eval())


# No trace


@pytest.mark.parametrize("kind", ["model", "bridge"])
def test_a_check_neither_sees_nor_calls_the_hooks_of_people_and_leaves_all_as_it_was(kind):
    inner = tiny.fresh("llama")
    model = tiny.bridge_of(inner) if kind == "bridge" else inner
    called = []
    model(TOKENS)  # TransformerLens hangs hooks of its own on a bridge at the first call

    def spoil(module, inputs, output):
        called.append(module)
        return output * 5

    handle = inner.model.layers[0].self_attn.o_proj.register_forward_hook(spoil)
    after = inner.model.layers[0].self_attn.o_proj.register_forward_hook(lambda *call: None)
    model.train()
    inner.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    hung = [[*module._forward_hooks, *module._forward_pre_hooks] for module in inner.modules()]
    state = torch.random.get_rng_state()
    if kind == "bridge":
        with model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda stream, hook: called.append(hook))]):
            assert not failing(model)
    else:
        assert not failing(model)
    assert called == []
    assert [module.training for module in model.modules()] == modes
    assert [[*module._forward_hooks, *module._forward_pre_hooks] for module in inner.modules()] == hung
    assert torch.equal(torch.random.get_rng_state(), state)
    handle.remove()
    after.remove()
    assert not inner.model.layers[0].self_attn.o_proj._forward_hooks


def test_hooks_of_a_bridge_still_fire_after_a_check_inside_their_block():
    bridge, fired = tiny.bridge_of(tiny.fresh("gpt2")), []
    with bridge.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", lambda stream, hook: fired.append(1))]):
        interventions.residual_streams(bridge, TOKENS)
        assert fired == [1]
    bridge(TOKENS)
    assert fired == [1]


def test_a_norm_behind_attention_is_no_factor_even_where_its_weights_are_the_default_ones():
    """For a single token it would be one."""
    torch.manual_seed(0)
    config = Olmo2Config(
        num_hidden_layers=2, num_attention_heads=4, hidden_size=32, intermediate_size=48, vocab_size=96
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with pytest.raises(ModelError, match="does not add up to the residual stream"):
        identities.require(model, "stream")


def test_a_model_in_another_type_is_another_model():
    model = tiny.fresh("gpt2")
    full = identities.check(model).tolerance
    assert identities.check(model.bfloat16()).tolerance > 10 * full


def test_a_check_runs_once_for_a_model_again_after_a_failure_and_goes_with_the_model(monkeypatch):
    runs, run = [], identities._run
    monkeypatch.setattr(identities, "_run", lambda *given: runs.append(1) or run(*given))
    model = tiny.fresh("gpt2")
    for _ in range(3):
        attention_outputs(model, TOKENS)
        attention.survey(model, [TOKENS])
    assert len(runs) == 1
    del identities._checks[model]
    replaced(model, lambda out: type(out)(**{**out, "logits": out.logits * 2}))
    for _ in range(2):
        with pytest.raises(ModelError, match="do not give its logits"):
            identities.require(model, "logits")
    del model.forward
    identities.require(model, "logits")
    assert len(runs) == 4  # one that has failed is tried again
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_results_of_a_bridge_that_rest_on_what_fails_are_refused_and_others_are_not():
    bridge = families.bridge_of(families.build("gemma2"))
    interventions.head_z(bridge, TOKENS)
    interventions.patch_heads(bridge, [(0, 1)])
    interventions.residual_streams(bridge, TOKENS)
    kept = bridge.run_with_cache(TOKENS)[1]
    residual.parts(kept)
    for refused in [
        lambda: residual.parts(kept, heads=True),
        lambda: written_by_key(bridge, TOKENS, 0),
    ]:
        with pytest.raises(ModelError, match="Gemma2ForCausalLM: what its heads write is not what is added"):
            refused()


def test_the_scale_of_scores_is_the_one_that_the_pattern_shows():
    """Regression: Granite multiplies scores by a number of its own, where the square root of d_head was given."""
    from transformers import GraniteConfig, GraniteForCausalLM

    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 16}
    config = GraniteConfig(**sizes, intermediate_size=24, vocab_size=40, attention_multiplier=0.2)
    config._attn_implementation, config.architectures = "eager", ["GraniteForCausalLM"]
    bridge = tiny.bridge_of(GraniteForCausalLM(config).eval())
    *_, scale = visits.head_inputs(bridge, TOKENS[:1], 0, 1)
    assert scale == pytest.approx(5, rel=1e-4)
