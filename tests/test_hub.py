"""The published figures on the real models. Off by default: HF_HUB_OFFLINE=0 pytest -m hub"""

import pytest
import torch

from interp_helpers import load_model, load_sentences, published_figures, record_generation

pytestmark = pytest.mark.hub


@pytest.mark.parametrize("name", ["gpt2", "EleutherAI/gpt-neo-125M"])
def test_parameters(name):
    model, _ = load_model(name)
    assert sum(p.numel() for p in model.parameters()) == published_figures(name)["config"]["parameters"]


def test_gpt_neo_writes_and_holds_what_was_published():
    name = "EleutherAI/gpt-neo-125M"
    published = published_figures(name)
    model, tokenizer = load_model(name, device="cpu")
    wanted = published["generation"]
    record = record_generation(
        model, tokenizer, published["prompt"], wanted["max_new_tokens"], wanted["repetition_penalty"]
    )
    assert record.prompt_length == published["prompt_tokens"]
    assert record.text.strip().startswith(wanted["text_begins"])
    assert len(record.attentions) == wanted["steps"]

    states, statistics = record.hidden_states[0], published["hidden_state_statistics"]
    for layer in ("0", "3", "6", "9"):
        each = states[int(layer)].double()
        found = [each.mean(), each.std(), each.min(), each.max()]
        torch.testing.assert_close(
            torch.stack(found), torch.tensor(statistics[layer], dtype=torch.float64),
            rtol=statistics["tolerance_relative"], atol=5e-5,
        )  # fmt: skip

    last = published["last_token"]
    start, end = states[0, -1], states[-1, -1]
    found = {"norm_embedding": start.norm(), "norm_after_final_layernorm": end.norm()}
    for key, value in found.items():
        assert value.item() == pytest.approx(last[key], rel=last["tolerance_relative"])
    assert torch.cosine_similarity(start, end, dim=0).item() == pytest.approx(last["cosine"], abs=5e-4)


def test_the_published_sentences_are_there():
    name = published_figures("gpt2-large")["dataset"].split(",")[0]
    table = load_sentences(name)
    assert len(table) == 1066  # its test split
    assert set(table["label"]) == {0, 1}
