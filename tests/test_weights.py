"""What is read from weights equals what the model computes with them, and what a slow loop gives."""

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from properties import cases, seeded
from scipy.stats import kstest, kstwo
from sklearn.metrics import adjusted_rand_score
from tiny import FAMILIES, HEADS, LAYERS, bridge, bridge_of, configuration, fresh, tiny
from transformer_lens import FactoredMatrix
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoConfig, LlamaConfig, OPTConfig

from interp_helpers import (
    ArgumentError,
    ModelError,
    empty_model,
    hooks,
    interventions,
    load_bridge,
    published_figures,
    residual,
    weights,
)

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def draw(generator, *shape):
    return torch.randn(*shape, generator=generator)


def seed(number=0):
    return torch.Generator().manual_seed(number)


# Inventory


def configurations():
    neo = published_figures("EleutherAI/gpt-neo-125M")["config"]
    return {
        "gpt2": GPT2Config(),
        "gpt2-large": GPT2Config(n_layer=36, n_head=20, n_embd=1280),
        "EleutherAI/gpt-neo-125M": GPTNeoConfig(
            num_layers=neo["layers"],
            num_heads=neo["heads"],
            hidden_size=neo["hidden_size"],
            vocab_size=neo["vocab_size"],
            max_position_embeddings=neo["max_position_embeddings"],
            attention_types=[[["global", "local"], 6]],
        ),
    }


@pytest.mark.parametrize("name", ["gpt2", "gpt2-large", "EleutherAI/gpt-neo-125M"])
def test_totals_equal_the_published_ones_from_configurations_alone(name):
    model = empty_model(configurations()[name])
    table = weights.inventory(model)
    published = published_figures(name)["config"]
    assert table[table["tied to"] == ""]["parameters"].sum() == published["parameters"]
    assert all(tensor.is_meta for tensor in model.parameters())
    twice = published.get("parameters_if_tied_lm_head_is_counted_twice")
    assert twice in (None, table["parameters"].sum())
    assert table["layer"].max() == published["layers"] - 1


def test_an_inventory_by_hand():
    model = empty_model(GPT2Config(vocab_size=11, n_positions=5, n_embd=4, n_layer=2, n_head=2))
    table = weights.inventory(model).set_index("tensor")
    by_category = table[table["tied to"] == ""].groupby("category")["parameters"].sum().to_dict()
    assert by_category == {
        "token embedding": 11 * 4,
        "position embedding": 5 * 4,
        "attention": 2 * (4 * 12 + 12 + 4 * 4 + 4),
        "mlp": 2 * (4 * 16 + 16 + 16 * 4 + 4),
        "norm": 5 * (4 + 4),
    }
    head = table.loc["lm_head.weight"]
    assert (head["category"], head["tied to"], head["shape"]) == ("unembedding", "transformer.wte.weight", (11, 4))
    assert table.loc["transformer.h.1.attn.c_proj.bias", "layer"] == 1
    assert table["layer"].isna().sum() == 5  # two embeddings, the last norm's two, the unembedding
    assert (table["bytes"] == 4 * table["parameters"]).all()


@cases(layers=st.integers(1, 12), width=st.integers(1, 3), vocabulary=st.integers(1, 3), hidden=st.integers(1, 3))
def test_an_inventory_of_grouped_queries_by_the_shapes_of_its_configuration(layers, width, vocabulary, hidden):
    d = 8 * width
    sizes = {"num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": d}
    sizes |= {"vocab_size": vocabulary, "intermediate_size": hidden, "tie_word_embeddings": False}
    table = weights.inventory(empty_model(LlamaConfig(**sizes, pad_token_id=None, bos_token_id=0, eos_token_id=0)))
    assert table.groupby("category")["parameters"].sum().to_dict() == {
        "token embedding": vocabulary * d,
        "attention": layers * 3 * d * d,
        "mlp": layers * 3 * d * hidden,
        "norm": (2 * layers + 1) * d,
        "unembedding": vocabulary * d,
    }
    in_layers = table[table["layer"].notna()].groupby("layer")["parameters"].sum()
    assert in_layers.index.tolist() == list(range(layers))
    assert in_layers.nunique() == 1  # all layers are alike
    assert (table["tied to"] == "").all()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_inventory_lists_what_the_model_holds(family):
    table = weights.inventory(tiny(family))
    own = table[table["tied to"] == ""]
    assert own["parameters"].sum() == sum(tensor.numel() for tensor in tiny(family).parameters())
    assert ("position embedding" in set(table["category"])) == (family != "llama")
    assert "other" not in set(table["category"])
    assert set(table["layer"].dropna()) == {0, 1}


def test_a_second_large_embedding_is_not_one_of_positions():
    """Such as Gemma 3n's embeddings of tokens for every layer: they have more rows than there are positions."""
    model = fresh("llama")
    model.model.embed_tokens_per_layer = torch.nn.Embedding(8192, 4)
    categories = weights.inventory(model).set_index("tensor")["category"]
    assert categories["model.embed_tokens_per_layer.weight"] == "other"
    assert "position embedding" not in set(categories)
    with pytest.raises(ModelError, match="learns no position embedding"):
        weights.position_embedding(model)


# Positions


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_are_those_of_transformer_lens(family):
    if family == "llama":
        with pytest.raises(ModelError, match="LlamaForCausalLM learns no position embedding"):
            weights.position_embedding(tiny(family))
        with pytest.raises(AttributeError):
            _ = bridge(family).W_pos
    else:
        found = weights.position_embedding(tiny(family))
        torch.testing.assert_close(found, bridge(family).W_pos.detach())
        assert not found.requires_grad


def test_the_two_rows_that_no_position_of_opt_uses_are_left_out():
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "ffn_dim": 8, "vocab_size": 9}
    model = AutoModelForCausalLM.from_config(
        OPTConfig(**sizes, word_embed_proj_dim=8, max_position_embeddings=5)
    ).eval()
    found = weights.position_embedding(model)
    with torch.no_grad(), hooks.record_inputs([hooks.layout(model).layers[0]]) as inputs:
        model(torch.zeros(1, 5, dtype=torch.long))
    torch.testing.assert_close(inputs[0][0], model.get_input_embeddings().weight.detach()[0] + found)


# Circuits


def test_the_bridge_cuts_heads_out_of_gpt2s_fused_matrix_and_a_reshape_does_not():
    """The pitfall of notebook 05: the careless cut has the right shape and other numbers."""
    fused = tiny("gpt2").transformer.h[1].attn.c_attn.weight.detach()
    by_bridge = [getattr(bridge("gpt2"), name)[1].detach() for name in ("W_Q", "W_K", "W_V")]
    assert torch.equal(torch.cat([heads.transpose(0, 1).flatten(1) for heads in by_bridge], 1), fused)
    careless = fused.unflatten(1, (HEADS, 3, -1))[:, :, 0].transpose(0, 1)
    assert careless.shape == by_bridge[0].shape
    assert not torch.allclose(careless, by_bridge[0], atol=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_circuits_between_tokens_are_small_and_equal_the_whole_table(family):
    """`W_E @ bridge.OV @ W_U`, with grouped queries too: shape, eigenvalues and score."""
    raw, tokens = bridge(family), torch.arange(0, 8192, 300)
    W_E, W_U = raw.W_E.detach()[tokens], raw.W_U.detach()[:, tokens]
    circuit = W_E @ raw.OV @ W_U
    assert circuit.shape == (2, HEADS, 28, 28)
    assert circuit.A.shape[-1] == 4  # d_head
    whole = (W_E @ raw.OV.AB.detach() @ W_U).detach()
    scores = weights.copying_score(circuit.eigenvalues.detach())
    eigenvalues = torch.linalg.eigvals(whole.double())
    wanted = eigenvalues.sum(-1).real / eigenvalues.abs().sum(-1)
    torch.testing.assert_close(scores.double(), wanted, **CLOSE)


@pytest.mark.parametrize("width", [15, 16])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_unembedding_folds_the_final_norm_as_processed_weights_do(family, width):
    """As notebook 05 folds it. What the package did before was 6.5 % off at a width of 15."""
    if family == "llama" and width == 15:
        width = 6  # its heads rotate pairs
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(configuration(family, heads=width // 4 or 1, width=width)).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    x, norm = torch.randn(width), hooks.layout(model).final_norm
    logits = model.get_output_embeddings().weight @ (norm(x) - getattr(norm, "bias", 0))
    x = x - x.mean() if family != "llama" else x
    x = x / (x.square().mean() + 1e-5).sqrt()
    bridge = bridge_of(model)
    W_U = bridge.W_U * bridge.ln_final.weight[:, None]
    if not bridge.cfg.uses_rms_norm:
        W_U -= W_U.mean(0)
    W_U = W_U - W_U.mean(1, keepdim=True)
    torch.testing.assert_close(x @ W_U, logits - logits.mean(), atol=1e-3, rtol=1e-3)
    bridge.enable_compatibility_mode(disable_warnings=True)
    torch.testing.assert_close(W_U, bridge.W_U, atol=1e-5, rtol=1e-5)


@cases(generator=seeded(), rank=st.integers(1, 5), scale=st.sampled_from([1e-12, 1.0, 1e12]))
def test_participation_counts_equal_directions(generator, rank, scale):
    values = torch.rand(2, rank, generator=generator) * scale + scale / 10
    ratios = weights.participation_ratio(values)
    for row, ratio in zip(values.tolist(), ratios.tolist()):
        shares = [value**2 / sum(value**2 for value in row) for value in row]
        assert ratio == pytest.approx(1 / sum(share**2 for share in shares), rel=1e-4)
    torch.testing.assert_close(weights.participation_ratio(torch.full((rank,), scale)), torch.tensor(float(rank)))
    torch.testing.assert_close(weights.participation_ratio(torch.cat([values, torch.zeros(2, 1)], 1)), ratios)
    assert weights.participation_ratio(torch.zeros(rank)) == 0


@cases(generator=seeded(), rank=st.integers(1, 4))
def test_a_copying_score_of_conjugate_pairs_by_a_slow_loop(generator, rank):
    values, imaginary = draw(generator, 2, rank), draw(generator, 2, rank)
    values = torch.complex(torch.cat([values, values], 1), torch.cat([imaginary, -imaginary], 1))
    scores = weights.copying_score(values)
    for row, score in zip(values.tolist(), scores.tolist()):
        assert score == pytest.approx(sum(value.real for value in row) / sum(abs(value) for value in row), abs=1e-5)
    torch.testing.assert_close(weights.copying_score(-values), -scores)
    torch.testing.assert_close(weights.copying_score(values.abs()), torch.ones(2))
    assert (weights.copying_score(torch.zeros(2, rank)) == 0).all()


def test_a_copying_circuit_is_told_from_random_and_reversing_ones():
    W_E = draw(seed(), 200, 32)
    basis, other = (torch.linalg.qr(draw(seed(number), 32, 8)).Q for number in (1, 2))
    circuits = W_E @ FactoredMatrix(torch.stack([basis, -basis, basis]), torch.stack([basis, basis, other]).mT) @ W_E.T
    scores = weights.copying_score(circuits.eigenvalues)
    assert scores[:2].tolist() == pytest.approx([1, -1])
    assert abs(scores[2]) < 0.5
    medians = weights.own_rank(circuits.AB).median(-1).values
    assert medians[0] < 0.05
    assert medians[1] > 0.95
    assert 0.3 < medians[2] < 0.7


def test_random_composition_is_the_formula_on_whole_matrices():
    generator, found = seed(3), weights.random_composition(16, 4, pairs=5, seed=3)
    for score in found:
        left, right = torch.randn(2, 16, 4, generator=generator), torch.randn(2, 4, 16, generator=generator)
        writer, reader = left @ right
        torch.testing.assert_close(score, (writer @ reader).norm() / writer.norm() / reader.norm())
    assert found.tolist() == pytest.approx([0.2804, 0.2534, 0.1816, 0.1200, 0.2098], abs=1e-4)  # as ever
    assert weights.random_composition(256, 32, pairs=20).std() < 0.01  # chance is narrow


# Own ranks

# By row, the first token is highest, the second lowest, and the third ties with one while another is higher.
TABLE = torch.tensor([[3.0, 1, 2], [4, 0, 4], [2, 9, 2]])


def slow_rank(row, own):
    others = [value for place, value in enumerate(row) if place != own]
    return sum(value > row[own] for value in others) / max(len(others), 1)


def slow_ranks(tables):
    """(layer, head, word), from a table for every layer and head, as lists."""
    return torch.tensor([[[slow_rank(row, own) for own, row in enumerate(of)] for of in layer] for layer in tables])


def test_own_ranks_by_hand():
    found = weights.own_rank(torch.stack([TABLE, TABLE.T, torch.eye(3), torch.zeros(3, 3), -torch.eye(3)]))
    assert found.tolist() == [[0, 1, 0.5], [0.5, 1, 0.5], [0, 0, 0], [0, 0, 0], [1, 1, 1]]
    assert weights.own_rank(torch.tensor([[5.0]])).tolist() == [0]  # there is no other


@cases(generator=seeded(), tokens=st.integers(1, 6), batch=st.sampled_from([(), (3,), (2, 3)]))
def test_own_ranks_of_tables_with_ties_by_a_slow_loop(generator, tokens, batch):
    tables = torch.randint(4, (*batch, tokens, tokens), generator=generator).float()
    found = weights.own_rank(tables)
    assert found.shape == (*batch, tokens)
    wanted = slow_ranks([tables.view(-1, tokens, tokens).tolist()])[0]
    assert torch.equal(found.view(-1, tokens), wanted)


def test_copying_ranks_by_hand():
    """Two heads with the same values, of which the second writes the opposite. The mean over words is (4, 4, 0)."""
    values = torch.tensor([[5.0, 1, 0], [4, 3, 0], [3, 8, 0]]).view(1, 3, 1, 3)
    W_O = torch.stack([torch.eye(3), -torch.eye(3)])[None]
    # Less the mean, the first head raises (1, -3, 0), (0, -1, 0) and (-1, 4, 0).
    assert weights.copying_ranks(values, W_O, torch.eye(3)).tolist() == [[[0, 1, 0.5], [1, 0, 0.5]]]
    # With another unembedding, the logits of the last two words change places.
    swapped = torch.eye(3)[[0, 2, 1]]
    assert weights.copying_ranks(values, W_O[:, :1], swapped).tolist() == [[[0, 0, 0]]]


def test_matching_ranks_by_hand():
    """Two heads with the same keys, of which the second has other queries. Its scores are TABLE's rows 1, 2 and 0."""
    queries, keys = torch.stack([TABLE, TABLE[[1, 2, 0]]], 1)[None], torch.eye(3).view(1, 3, 1, 3)
    assert weights.matching_ranks(queries, keys).tolist() == [[[0, 1, 0.5], [0, 0, 0.5]]]
    assert weights.matching_ranks(keys, queries[:, :, :1]).tolist() == [[[0.5, 1, 0.5]]]  # the scores are TABLE.T
    assert not weights.matching_ranks(queries, torch.ones(1, 3, 1, 3)).any()


def channels(model, words, streams):
    """Queries, keys and values of every layer for one word a text, (layer, word, head or group, d_head)."""
    return {name: each[:, :, 0] for name, each in interventions.read_channels(model, streams).items()}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_copying_is_that_of_what_heads_write_that_attend_to_one_word(family):
    """A head that reads one word alone attends to it, so its z is the word's value, shared by several heads or not."""
    model, words = bridge(family), torch.arange(5, 8192, 500)
    z = interventions.head_z(model, words[:, None])[:, :, :, 0].double()  # (layer, head, word, d_head)
    W_O, W_U = model.W_O.double(), model.W_U[:, words].double()
    tables = [[[] for _ in range(HEADS)] for _ in range(LAYERS)]
    for layer, head, word in np.ndindex(LAYERS, HEADS, len(words)):
        written = (z[layer, head, word] - sum(z[layer, head]) / len(words)) @ W_O[layer, head]
        tables[layer][head].append([(written @ column).item() for column in W_U.T])
    values = channels(model, words, interventions.residual_streams(model, words[:, None]))["v"].double()
    found = weights.copying_ranks(values, W_O, W_U)
    assert values.shape[2] == (HEADS // 2 if family == "llama" else HEADS)
    torch.testing.assert_close(found, slow_ranks(tables))
    assert len({tuple(ranks.tolist()) for ranks in found.flatten(0, 1)}) == LAYERS * HEADS  # each head has its own
    shared = draw(seed(), LAYERS, 1, *values.shape[2:]).double()  # what all words have in common, such as b_V
    assert torch.equal(weights.copying_ranks(values + shared, W_O, W_U), found)
    torch.testing.assert_close(weights.copying_ranks(values, W_O, -W_U), 1 - found)
    wanted = weights.copying_score(torch.linalg.eigvals(torch.tensor(tables, dtype=torch.float64)))
    torch.testing.assert_close(weights.copying_scores(values, W_O, W_U), wanted)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_matching_ranks_equal_a_loop_over_heads_and_words(family):
    model, words = bridge(family), torch.arange(5, 8192, 500)
    streams = draw(seed(), 2, LAYERS + 1, len(words), 1, model.cfg.d_model)
    queries, keys = channels(model, words, streams[0])["q"].double(), channels(model, words, streams[1])["k"].double()
    share = HEADS // keys.shape[2]
    assert share == (2 if family == "llama" else 1)
    tables = [[[] for _ in range(HEADS)] for _ in range(LAYERS)]
    for layer, head, word in np.ndindex(LAYERS, HEADS, len(words)):
        scores = [(queries[layer, word, head] @ key).item() for key in keys[layer, :, head // share]]
        tables[layer][head].append(scores)
    found = weights.matching_ranks(queries, keys)
    torch.testing.assert_close(found, slow_ranks(tables))
    assert len({tuple(ranks.tolist()) for ranks in found.flatten(0, 1)}) == LAYERS * HEADS
    lengths = torch.linspace(0.1, 9, len(words)).double()[:, None, None]  # a query's own length does not matter
    assert torch.equal(weights.matching_ranks(queries * lengths, keys), found)


def test_own_ranks_of_random_tables_are_one_half_on_average():
    generator = seed()
    values, queries, keys = draw(generator, 3, 5, 100, 4, 8)
    W_O, W_U = draw(generator, 5, 8, 8, 16), draw(generator, 16, 100)
    for found, near in [
        (weights.own_rank(draw(generator, 40, 100, 100)), 0.02),
        (weights.copying_ranks(values, W_O, W_U), 0.03),
        (weights.matching_ranks(queries, keys), 0.03),
    ]:
        assert found.mean().item() == pytest.approx(0.5, abs=near)
        assert found.std().item() == pytest.approx(12**-0.5, abs=0.05)  # all ranks are equally likely


INDUCTION = [(4, 3), (4, 4), (5, 1), (5, 5), (5, 7)]


@cache
@torch.no_grad()
def asked_of_storybook(untrained):
    """Median ranks, (layer, head), from what layer 0 leaves for 200 random words behind three random tokens."""
    model, its_tokenizer = load_bridge("storybook", device="cpu", untrained=untrained)
    words = torch.randperm(len(its_tokenizer), generator=seed())[:200]
    *before, after = torch.randint(len(its_tokenizer), (4,), generator=seed(1)).tolist()
    texts = torch.tensor([[*before, word, after] for word in words.tolist()])
    streams = interventions.residual_streams(model, texts)[:2]
    streams = streams[[0] + [1] * model.cfg.n_layers]  # every later layer reads what layer 0 leaves
    here, behind = (channels(model, words, streams[:, :, [place]]) for place in (3, 4))
    read = residual.Unembedding.of(model)
    W_U = read.W_U * read.weight[:, None]
    W_U = (W_U - W_U.mean(0))[:, words]
    raw = torch.einsum("wm,lhmd->lwhd", model.W_E[words], model.W_V)
    found = {
        "copies": weights.copying_ranks(here["v"], model.W_O, W_U),
        "copies raw embeddings": weights.copying_ranks(raw, model.W_O, W_U),
        "looks behind the word": weights.matching_ranks(here["q"], behind["k"]),
        "looks back at the word": weights.matching_ranks(behind["q"], here["k"]),
        "looks at the word": weights.matching_ranks(here["q"], here["k"]),
    }
    return {name: ranks.median(-1).values for name, ranks in found.items()}


def test_the_induction_circuit_of_storybook_stands_in_its_weights():
    found = asked_of_storybook(untrained=False)
    copies, raw = found["copies"], found["copies raw embeddings"]
    assert max(copies[head] for head in INDUCTION) < 0.05
    assert raw[5, 5] > 0.6
    assert min(raw[head] for head in INDUCTION) > 0.05
    for question, heads in {
        "looks behind the word": INDUCTION,
        "looks back at the word": [(3, 1)],
        "looks at the word": [(4, 7)],
    }.items():
        low = [(layer, head) for layer, head in (found[question] < 0.1).nonzero().tolist() if layer > 0]
        assert low == heads


def test_heads_of_a_random_twin_neither_copy_nor_match():
    for question, ranks in asked_of_storybook(untrained=True).items():
        later = ranks if question.startswith("copies") else ranks[1:]  # layer 0 sees the same token behind every word
        assert later.min() > 0.3
        assert later.max() < 0.7


def test_ranks_of_what_does_not_fit_are_refused():
    values, W_O, W_U = torch.zeros(2, 5, 2, 3), torch.zeros(2, 4, 3, 6), torch.zeros(6, 5)
    for refused, problem in [
        (lambda: weights.own_rank(torch.zeros(2, 3)), "scores must be"),
        (lambda: weights.copying_ranks(values, W_O, torch.zeros(6, 4)), "W_U must be"),
        (lambda: weights.copying_ranks(values, W_O[:1], W_U), "W_O must be"),
        (lambda: weights.matching_ranks(torch.zeros(2, 4, 4, 3), values), "keys must be"),
        (lambda: weights.matching_ranks(torch.zeros(2, 5, 4, 2), values), "keys must be"),
    ]:
        with pytest.raises(ArgumentError, match=problem):
            refused()


# Normality


def below(number):
    """The share of a standard normal distribution below a number."""
    return (1 + math.erf(number / 2**0.5)) / 2


def test_gaps_to_a_normal_distribution_by_hand():
    """Of three numbers. The gap is largest at a number, or just before one."""
    samples = torch.tensor([[7.0, 10, 13], [0, 0, 3], [3, 0, 3]])  # the last two have a deviation of the root of 3
    before_first = 1 / 3 - below(-1)  # one third of the sample is not above -1
    at_double, before_double = 2 / 3 - below(-1 / 3**0.5), below(1 / 3**0.5) - 1 / 3
    wanted = torch.tensor([before_first, at_double, before_double])
    torch.testing.assert_close(weights.normal_gap(samples), wanted)


@cases(
    generator=seeded(),
    size=st.integers(2, 30),
    power=st.sampled_from([1, 3]),
    ties=st.booleans(),
    batch=st.sampled_from([(), (3,), (2, 3)]),
)
def test_gaps_are_those_of_scipy_for_standardised_samples(generator, size, power, ties, batch):
    samples = draw(generator, *batch, size).double() ** power
    if ties:
        samples = samples.mul(2).round()
        samples[..., 0] += 0.5  # so that not all are the same
    found = weights.normal_gap(samples)
    assert found.shape == batch
    for row, gap in zip(samples.view(-1, size).numpy(), found.flatten().tolist()):
        assert gap == pytest.approx(kstest((row - row.mean()) / row.std(ddof=1), "norm").statistic, abs=1e-9)
    torch.testing.assert_close(weights.normal_gap(7 - 300 * samples.flip(-1)), found)
    torch.testing.assert_close(weights.normal_gap(samples.float()), found.float(), atol=1e-5, rtol=0)


def test_p_values_from_simulated_samples_are_even_and_the_usual_ones_are_too_large():
    generator, size = seed(), 40
    gaps, simulated = (weights.normal_gap(draw(generator, number, size)) for number in (300, 999))
    p = (1 + (simulated >= gaps[:, None]).sum(1)) / 1000
    assert kstest(p.numpy(), "uniform").pvalue > 0.01
    usual = kstwo.sf(gaps.numpy(), size)
    assert (usual < 0.2).mean() < 0.02
    skewed = weights.normal_gap(draw(generator, 300, size).exp())
    assert ((1 + (simulated >= skewed[:, None]).sum(1)) / 1000 < 0.05).float().mean() > 0.9


def test_gaps_shrink_with_the_size_of_normal_samples_and_stay_for_others():
    generator = seed()
    for draws, gap in [(draw(generator, 20_000), 0), (torch.rand(20_000, generator=generator), 0.0571)]:
        assert weights.normal_gap(draws).item() == pytest.approx(gap, abs=0.01)


def test_gaps_of_samples_in_half_precision():
    """Neither can bfloat16 count to 257, nor float16 to 70000."""
    for dtype in (torch.float16, torch.bfloat16):
        sample = draw(seed(), 70_000).to(dtype)
        assert torch.equal(weights.normal_gap(sample), weights.normal_gap(sample.float()))


# Clusters


def rand_index(labels, classes):
    """The adjusted Rand index from pairs of heads."""
    pairs = [(labels[a] == labels[b], classes[a] == classes[b]) for a in range(len(labels)) for b in range(a)]
    count = Counter(pairs)
    both, one, other = count[True, True], count[True, False], count[False, True]
    chance = (both + one) * (both + other) / len(pairs)
    most = (both + one + both + other) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


@cases(generator=seeded(), heads=st.integers(2, 7), shuffles=st.integers(0, 9), grouped=st.booleans())
def test_agreement_equals_a_count_of_pairs(generator, heads, shuffles, grouped):
    labels, classes, groups = torch.randint(3, (3, heads), generator=generator).tolist()
    options = {"groups": groups if grouped else None, "shuffles": shuffles, "seed": 5}
    index, null = weights.agreement(labels, np.array(["x", "y", "z"])[classes], **options)
    assert index == pytest.approx(rand_index(labels, classes), abs=1e-9)
    assert null.shape == (shuffles,)
    renamed = weights.agreement([-label for label in labels], classes, **options)
    np.testing.assert_array_equal(renamed[1], null)
    index, null = weights.agreement(labels, classes, groups=range(heads), shuffles=shuffles)
    assert (null == index).all()  # to the last bit, or a p value would miss some: there is nothing to shuffle


@pytest.mark.parametrize("clusters", [1, 3, 24])
def test_the_index_equals_scikit_learns(clusters):
    generator = np.random.default_rng(1)
    for classes in [generator.choice(["a", "b", "c"], 24, p=[0.8, 0.1, 0.1]), np.array(["a"] * 24), np.arange(24)]:
        labels = generator.permutation(24) % clusters
        index, _ = weights.agreement(labels, classes, shuffles=1)
        assert index == pytest.approx(adjusted_rand_score(classes, labels), abs=1e-12)


def test_the_null_is_that_of_a_slow_loop_over_permutations():
    labels, classes, layers = np.arange(24) % 3, np.arange(24) // 7, np.arange(24) // 8
    generator, slow = np.random.default_rng(4), []
    for _ in range(5):
        shuffled = [generator.permutation(classes[layers == layer]) for layer in range(3)]
        slow.append(adjusted_rand_score(np.concatenate(shuffled), labels))
    np.testing.assert_allclose(weights.agreement(labels, classes, layers, shuffles=5, seed=4)[1], slow, atol=1e-12)


def p_value(index, null):
    return (1 + sum(null >= index)) / (1 + len(null))


def test_chance_agreement_is_zero_on_average_and_p_is_even():
    generator = np.random.default_rng(0)
    drawn = [generator.integers(3, size=(2, 30)) for _ in range(100)]
    indices, nulls = zip(*(weights.agreement(labels, classes, shuffles=99) for labels, classes in drawn))
    assert abs(np.mean(indices)) < 0.03
    assert abs(np.mean(nulls)) < 0.01
    small = np.mean([p_value(index, null) <= 0.2 for index, null in zip(indices, nulls)])
    assert 0.08 < small < 0.32  # 0.2 and three standard deviations of a share of 100


def test_shuffles_within_layers_keep_what_layers_explain():
    """Clusters and classes that agree only because both follow the layer: no evidence of more."""
    layers = np.repeat([0, 1], 20)
    classes, labels = np.where(layers == 0, "a", "b"), layers + 1
    assert p_value(*weights.agreement(labels, classes)) < 0.05
    index, null = weights.agreement(labels, classes, groups=layers)
    assert index == 1
    assert (null == 1).all()


# Damaged weights


def test_nan_is_refused_where_it_would_give_a_number_and_stays_nan_elsewhere():
    broken = torch.tensor([[1.0, torch.nan], [1, 2]])
    table, one = broken.view(1, 2, 1, 2), torch.ones(1, 2, 1, 2)
    for refused, problem in [
        (lambda: weights.own_rank(broken), "scores holds NaN or infinity"),
        (lambda: weights.own_rank(broken.nan_to_num(torch.inf)), "scores holds NaN or infinity"),
        (lambda: weights.copying_ranks(table, one.view(1, 1, 2, 2), torch.eye(2)), "holds NaN or infinity"),
        (lambda: weights.copying_scores(table, one.view(1, 1, 2, 2), torch.eye(2)), "holds NaN or infinity"),
        (lambda: weights.matching_ranks(table, one), "holds NaN or infinity"),
        (lambda: weights.matching_ranks(one, table), "holds NaN or infinity"),
    ]:
        with pytest.raises(ArgumentError, match=problem):
            refused()
    for score in (weights.participation_ratio, weights.copying_score, weights.normal_gap):
        assert score(broken).isnan().tolist() == [True, False]
        assert score(torch.tensor([1.0, torch.inf])).isnan()
    assert weights.normal_gap(torch.zeros(3)).isnan()


# Half precision
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_circuits_of_weights_in_half_precision_are_those_of_the_same_numbers_in_full(dtype):
    draw = torch.Generator().manual_seed(0)
    shapes = [(2, 6, 2, 3), (2, 4, 3, 8), (8, 6), (2, 6, 4, 3)]  # values, W_O, W_U, queries
    values, W_O, W_U, queries = (torch.randn(*shape, generator=draw).to(dtype) for shape in shapes)
    exact = values.double(), W_O.double(), W_U.double()
    torch.testing.assert_close(
        weights.copying_scores(values, W_O, W_U).double(), weights.copying_scores(*exact), atol=1e-5, rtol=0
    )
    assert torch.equal(weights.copying_ranks(values, W_O, W_U), weights.copying_ranks(*exact))
    assert torch.equal(weights.matching_ranks(queries, values), weights.matching_ranks(queries.double(), exact[0]))
