"""The published figures on the real models. Off by default: HF_HUB_OFFLINE=0 pytest -m hub"""

import pytest
import torch

from interp_helpers import (
    attention_output_norms,
    heads,
    load_model,
    load_sentences,
    passages,
    published_figures,
    read_streams,
    record_generation,
    repeated_random_tokens,
    token_batches,
    weights,
)
from interp_helpers.survey import survey, table

pytestmark = pytest.mark.hub


@pytest.fixture(scope="module")
def gpt2():
    return load_model("gpt2", device="cpu")


@pytest.mark.parametrize("name", ["gpt2", "EleutherAI/gpt-neo-125M", "gpt2-large"])
def test_sizes(name):
    model, _ = load_model(name, device="cpu")
    known, config = published_figures(name)["config"], model.config
    assert sum(p.numel() for p in model.parameters()) == known["parameters"]
    found = (config.num_hidden_layers, config.num_attention_heads, config.hidden_size)
    assert found == (known["layers"], known["heads"], known["hidden_size"])


def best(scores, name, count):
    return table(scores)[name].nlargest(count).index.tolist()


def test_gpt2_has_the_heads_that_were_published(gpt2):
    """Names were found by other people with other texts: each must be among the best of the 144, not at one rank."""
    model, tokenizer = gpt2
    known = published_figures("gpt2")["heads"]
    on_text = survey(model, token_batches(tokenizer, passages(), context=1024))
    assert set(known["previous_token"]) <= set(best(on_text, "previous_token", 5))
    repeated = survey(model, repeated_random_tokens(tokenizer, 50, start=tokenizer.bos_token_id).split(4))
    induction = known["induction_on_repeated_random_tokens"]
    assert set(induction) <= set(best(repeated, "induction", 10))
    found = table(repeated)["induction"]
    for name, score in induction.items():
        assert found[name] == pytest.approx(score, abs=0.1), name  # other random tokens, another length
    assert set(known["duplicate_token"]) <= set(best(repeated, "duplicate_token", 10))


@torch.no_grad()
def test_gpt2_keeps_one_large_number_at_its_first_token(gpt2):
    model, tokenizer = gpt2
    tokens, _ = token_batches(tokenizer, passages()[:1], start=tokenizer.bos_token_id)[0]
    first = read_streams(model, tokens)[:, 0, 0]  # row n is the stream after layer n - 1
    dimension = published_figures("gpt2")["attention_sink"]["dimension"]
    assert set(first[3:12].abs().argmax(-1).tolist()) == {dimension}
    assert first[3:12].norm(dim=-1).tolist() == pytest.approx([3000] * 9, rel=0.2)  # "about"
    assert first[12].norm() < first[11].norm() / 2


def test_the_weights_of_gpt2(gpt2):
    known = published_figures("gpt2")["weights"]
    matrix = gpt2[0].transformer.h[0].attn.c_attn.weight.detach()
    assert weights.normality(matrix).ks == pytest.approx(known["layer0_c_attn_ks_against_normal"], abs=5e-4)
    variance = weights.position_embedding(gpt2[0]).var(0)
    assert variance.argmax().item() == known["position_dimension_with_most_variance"]


def test_adjustments_of_gpt2_large_on_the_published_batch():
    """Sixty-four sentences from the start of the test split; what is published of it is the model and the batch."""
    figures = published_figures("gpt2-large")
    model, tokenizer = load_model("gpt2-large")
    sentences = load_sentences(figures["dataset"].split(",")[0])["text"][:64]
    norms, mask = attention_output_norms(model, token_batches(tokenizer, sentences, context=1024, size=4))
    assert norms.shape == (figures["config"]["layers"], *mask.shape)
    assert len(mask) == 64
    assert (norms[:, mask] > 0).all()


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

    reading, known = record.attentions[0], published["layer0_attention"]
    found = [reading[0].min().item(), reading[0].max().item(), reading[0].mean().item()]
    assert found == pytest.approx([known["min"], known["max"], known["mean"]], abs=1e-6)
    ((name, score),) = published["heads"]["previous_token"].items()
    layer, head = map(int, name.split("."))
    assert heads.previous_token_score(reading)[layer, head].item() == pytest.approx(score, abs=5e-4)
    most = heads.first_token_score(reading).mean(1).argmax().item()
    assert most == published["heads"]["layer_with_most_first_token_attention"]

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
