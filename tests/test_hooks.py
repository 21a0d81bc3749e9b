"""What is found of a model's structure, against what each family computes itself; and recorded inputs."""

import pytest
import torch
import transformers
from small_families import FAMILY, GROUPED, LOGITS_DIVIDED_BY, TOKENS, built
from tiny import bridge, fresh, tiny

from interp_helpers import ModelError, hooks


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


# The layout


@pytest.mark.parametrize("family", FAMILY)
def test_the_final_norm_stands_before_the_unembedding(family):
    model = built(family)
    norm = hooks.layout(model).final_norm
    with torch.no_grad(), hooks.record_inputs([norm]) as inputs:
        out = model(TOKENS, output_hidden_states=True)
        normed = norm(inputs[0])
        close(normed, out.hidden_states[-1])
        assert not torch.allclose(normed, inputs[0], atol=1e-2)
        close(model.get_output_embeddings()(normed) / LOGITS_DIVIDED_BY.get(family, 1), out.logits)


@pytest.mark.parametrize("family", FAMILY)
def test_learned_positions_are_found_where_there_are_any(family):
    positions = hooks.layout(built(family)).positions
    if family.startswith(("GPT2", "GPTNeoF", "GPTBigCode", "OPT")):
        assert isinstance(positions, torch.nn.Embedding)
        assert positions is not built(family).get_input_embeddings()
    else:
        assert positions is None


def test_a_second_embedding_of_tokens_is_no_position_embedding():
    """Gemma 3n has one for each layer: it has more rows than the text has positions, and nothing of them."""
    config = transformers.Gemma3nTextConfig(**GROUPED, head_dim=8, vocab_size=40, num_kv_shared_layers=0)
    with torch.device("meta"):
        model = transformers.Gemma3nForCausalLM(config)
    assert sum(isinstance(part, torch.nn.Embedding) for part in model.modules()) == 2
    assert hooks.layout(model).positions is None
    assert len(hooks.layout(model).attentions) == 2


def test_an_unknown_family_is_refused_and_named():
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "state_size": 4, "vocab_size": 40}
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))
    with pytest.raises(ModelError, match="not known where a MambaForCausalLM keeps its attention"):
        hooks.layout(model)


def test_a_hybrid_whose_layers_are_not_all_attention_is_refused():
    model = fresh("llama")
    del model.model.layers[1].self_attn
    with pytest.raises(ModelError, match="not known where a LlamaForCausalLM"):
        hooks.layout(model)


def test_a_bridge_has_no_layout():
    with pytest.raises(ModelError, match="not a bridge"):
        hooks.layout(bridge("gpt2"))


# Recording


def test_inputs_are_recorded_also_when_they_come_by_name():
    model = tiny("llama")
    layer = model.model.layers[0]
    with hooks.record_inputs([layer.self_attn, layer]) as inputs:
        assert inputs == [None, None]
        model(TOKENS)
    close(inputs[0], layer.input_layernorm(inputs[1]).detach())
    assert not any(recorded.requires_grad for recorded in inputs)
