"""Weights are cut as TransformerLens cuts them, and circuits say what their whole matrices would."""

import numpy as np
import pytest
import torch

from interp_helpers import ArgumentError, ModelError, empty_model, load_bridge, load_model, published_figures, weights

FAMILIES = ["gpt2", "gpt-neo", "llama"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family, folders):
    return load_model(str(folders[family]), device="cpu")[0]


@pytest.fixture(scope="module")
def bridge(family, folders):
    return load_bridge(str(folders[family]), device="cpu")[0]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(circuit):
    return circuit.left @ circuit.right


# Inventory


def configurations():
    from transformers import GPT2Config, GPTNeoConfig

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
    assert table["parameters"].sum() == sum(each.numel() for each in model.state_dict().values())
    assert table["layer"].max() == published["layers"] - 1


def test_an_inventory_by_hand():
    from transformers import GPT2Config

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


def test_an_inventory_lists_what_the_model_holds(model, family):
    table = weights.inventory(model)
    assert table["parameters"].sum() == sum(each.numel() for each in model.parameters()) + sum(
        table[table["tied to"] != ""]["parameters"]
    )
    assert ("position embedding" in set(table["category"])) == (family != "llama")
    assert "other" not in set(table["category"])
    assert set(table["layer"].dropna()) == {0, 1}
    untied = family == "llama"  # its configuration does not tie
    assert (table["tied to"] == "").all() == untied


def test_an_empty_model_of_something_else_is_refused():
    from transformers import T5Config

    with pytest.raises(ModelError, match="T5Config, which is not the configuration of a causal language model"):
        empty_model(T5Config())


# Heads


def test_heads_equal_those_of_transformer_lens(model, bridge):
    cut = weights.head_weights(model)
    for name in weights.HeadWeights._fields:
        torch.testing.assert_close(getattr(cut, name), getattr(bridge, name).detach(), **CLOSE)


@pytest.mark.parametrize("family", ["GPTNeoX", "Bloom"])
def test_heads_that_are_fused_head_by_head_equal_those_of_transformer_lens(family, folders, tmp_path):
    """In another order than GPT-2's."""
    import transformers
    from transformers import AutoTokenizer

    folder, sizes = tmp_path / family, {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
    config = getattr(transformers, f"{family}Config")(vocab_size=8192, bos_token_id=0, eos_token_id=0, **sizes)
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(folders["gpt2"]).save_pretrained(folder)
    (bridge, _), (model, _) = load_bridge(str(folder), device="cpu"), load_model(str(folder), device="cpu")
    cut = weights.head_weights(model)
    for name in weights.HeadWeights._fields:
        torch.testing.assert_close(getattr(cut, name), getattr(bridge, name).detach(), **CLOSE)


def test_storybooks_heads_give_its_attentions_output(storybook):
    """Through the whole module, biases included, on numbers as large as a stream's."""
    model, _ = storybook
    cut, layer = weights.head_weights(model), 3
    module = model.transformer.h[layer].attn
    x = draw(2, 9, model.config.hidden_size)
    with torch.no_grad():
        mask = torch.full((9, 9), -torch.inf).triu(1)[None, None]  # eager attention is given its mask
        wanted, pattern = module(x, attention_mask=mask)[:2]
        b_Q, b_K, b_V = module.c_attn.bias.split(model.config.hidden_size)
        q, k, v = (
            torch.einsum("btd,hde->bhte", x, matrix[layer]) + bias.view(len(matrix[layer]), 1, -1)
            for matrix, bias in zip(cut[:3], (b_Q, b_K, b_V))
        )
        ours = (q @ k.mT / k.shape[-1] ** 0.5 + mask).softmax(-1)
        written = torch.einsum("bhte,hed->btd", ours @ v, cut.W_O[layer]) + module.c_proj.bias
    torch.testing.assert_close(ours, pattern, **CLOSE)
    torch.testing.assert_close(written, wanted, atol=1e-4, rtol=1e-5)


def test_side_by_side_is_gpt2s_fused_matrix(storybook):
    model, _ = storybook
    fused = weights.side_by_side(weights.head_weights(model))
    for layer, block in enumerate(model.transformer.h):
        assert torch.equal(fused[layer], block.attn.c_attn.weight)


def test_side_by_side_of_grouped_queries_has_fewer_columns(folders):
    model, _ = load_model(str(folders["llama"]), device="cpu")
    attention = model.model.layers[1].self_attn
    wanted = torch.cat([attention.q_proj.weight.T, attention.k_proj.weight.T, attention.v_proj.weight.T], 1)
    assert torch.equal(weights.side_by_side(weights.head_weights(model))[1], wanted)


def test_a_reshape_of_the_fused_matrix_would_be_another_cut(storybook):
    """The effect that the parity rests on: the careless cut has the right shape and other numbers."""
    model, _ = storybook
    cut = weights.head_weights(model)
    careless = model.transformer.h[0].attn.c_attn.weight.unflatten(1, (model.config.n_head, 3, -1))[:, :, 0]
    assert careless.transpose(0, 1).shape == cut.W_Q[0].shape
    assert not torch.allclose(careless.transpose(0, 1), cut.W_Q[0], atol=0.01)


def test_an_unknown_layout_is_refused(folders):
    model, _ = load_model(str(folders["llama"]), device="cpu")
    model.model.layers[1].self_attn.qkv_proj = model.model.layers[1].self_attn.q_proj
    del model.model.layers[1].self_attn.q_proj
    with pytest.raises(ModelError, match=r"LlamaAttention .* layout that is not known .*qkv_proj"):
        weights.head_weights(model)


# Circuits


def test_circuits_equal_those_of_transformer_lens(model, bridge):
    cut = weights.head_weights(model)
    torch.testing.assert_close(whole(weights.ov_circuit(cut)), bridge.OV.AB.detach(), **CLOSE)
    torch.testing.assert_close(whole(weights.qk_circuit(cut)), bridge.QK.AB.detach(), **CLOSE)
    theirs = bridge.OV.S.detach()
    torch.testing.assert_close(weights.singular_values(weights.ov_circuit(cut)), theirs, **CLOSE)


def test_with_grouped_queries_two_heads_share_their_keys(folders):
    cut = weights.head_weights(load_model(str(folders["llama"]), device="cpu")[0])
    circuit = weights.qk_circuit(cut)
    assert cut.W_K.shape[1] == 2
    for head in range(4):
        assert torch.equal(circuit.right[1, head], cut.W_K[1, head // 2].T)


def test_singular_values_equal_those_of_the_whole_matrix():
    circuit = weights.Circuit(draw(3, 12, 4), draw(3, 4, 9, seed=1))
    wanted = torch.linalg.svdvals(whole(circuit))
    torch.testing.assert_close(weights.singular_values(circuit), wanted[:, :4], **CLOSE)
    assert wanted[:, 4:].max() < 1e-5


def test_token_eigenvalues_equal_those_of_the_whole_matrix():
    circuit, reads, writes = weights.Circuit(draw(7, 3), draw(3, 7, seed=1)), draw(20, 7, seed=2), draw(7, 20, seed=3)
    found = weights.token_eigenvalues(circuit, reads, writes)
    wanted = torch.linalg.eigvals(reads @ whole(circuit) @ writes)
    wanted = wanted[wanted.abs().argsort(descending=True)]
    assert wanted[3:].abs().max() < 1e-3 < wanted[2].abs()
    for value in found:
        assert (wanted[:3] - value).abs().min() < 1e-3
    share = weights.positive_share(found)
    trace = (reads @ whole(circuit) @ writes).trace()  # the sum of all eigenvalues
    torch.testing.assert_close(share, trace / wanted.abs().sum(), atol=1e-4, rtol=1e-4)


def test_nothing_depends_on_the_basis_that_a_head_uses():
    """Turn queries and keys by one invertible matrix and its inverse: the head is the same one."""
    cut = weights.HeadWeights(*(draw(1, 2, 8, 3, seed=seed) for seed in range(3)), draw(1, 2, 3, 8, seed=3))
    turn = draw(3, 3, seed=4) + 3 * torch.eye(3)
    turned = cut._replace(W_V=cut.W_V @ turn, W_O=torch.linalg.inv(turn) @ cut.W_O)
    before, after = weights.ov_circuit(cut), weights.ov_circuit(turned)
    torch.testing.assert_close(weights.singular_values(after), weights.singular_values(before), atol=1e-4, rtol=1e-4)
    reads = draw(30, 8, seed=5)
    before, after = (
        weights.positive_share(weights.token_eigenvalues(each, reads, reads.T)) for each in (before, after)
    )
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(turned.W_V, cut.W_V, atol=0.1)


def test_a_copying_circuit_is_told_from_random_and_reversing_ones():
    reads = draw(200, 32)
    basis = torch.linalg.qr(draw(32, 8, seed=1)).Q
    tokens = torch.arange(200)
    copying, reversing = weights.Circuit(basis, basis.T), weights.Circuit(-basis, basis.T)
    chance = weights.Circuit(basis, torch.linalg.qr(draw(32, 8, seed=2)).Q.T)
    scores = [
        weights.positive_share(weights.token_eigenvalues(each, reads, reads.T)).item()
        for each in (copying, reversing, chance)
    ]
    assert scores[0] == pytest.approx(1)
    assert scores[1] == pytest.approx(-1)
    assert abs(scores[2]) < 0.5
    both = weights.Circuit(*(torch.stack(each) for each in zip(copying, reversing)))
    ranks = weights.own_ranks(both, reads, reads.T, tokens)
    assert ranks.shape == (2, 200)
    assert ranks[0].float().median() < 10
    assert ranks[1].float().median() > 190


def test_own_ranks_equal_a_slow_loop():
    circuit, reads, writes = weights.Circuit(draw(6, 2), draw(2, 6, seed=1)), draw(15, 6, seed=2), draw(6, 15, seed=3)
    logits = reads @ whole(circuit) @ writes
    for token, rank in zip([3, 14], weights.own_ranks(circuit, reads, writes, torch.tensor([3, 14]))):
        assert rank == sum(logits[token, other] > logits[token, token] for other in range(15))


def test_token_ends_equal_the_compatible_unembedding_of_transformer_lens(model, family, folders):
    """Which folds the final norm's weight, centres for a LayerNorm, and centres over the vocabulary."""
    compatible, _ = load_bridge(str(folders[family]), device="cpu", compatibility=True)
    reads, writes = weights.token_ends(model)
    torch.testing.assert_close(writes, compatible.W_U.detach(), **CLOSE)
    embedding = model.get_input_embeddings().weight.detach()
    torch.testing.assert_close(reads[3] - reads[5], embedding[3] - embedding[5], **CLOSE)
    assert reads.mean(0).abs().max() < 1e-6
    some = torch.tensor([7, 3])
    for each, all_of_them in zip(weights.token_ends(model, some), (reads[some], writes[:, some])):
        torch.testing.assert_close(each, all_of_them, **CLOSE)


def test_participation_by_hand():
    # variances 4 and 1: 25 / 17
    torch.testing.assert_close(weights.participation_ratio(torch.tensor([2.0, 1])), torch.tensor(25 / 17))


# Positions


def test_positions_are_the_models_own(model, bridge, family):
    if family == "llama":
        with pytest.raises(ModelError, match="LlamaForCausalLM learns no position embedding"):
            weights.position_embedding(model)
    else:
        torch.testing.assert_close(weights.position_embedding(model), bridge.W_pos.detach())


def test_a_spectrum_finds_a_wave_and_nothing_in_noise():
    time = torch.arange(64) / 64
    wave = torch.stack([(2 * torch.pi * 5 * time).sin(), 3 * (2 * torch.pi * 5 * time).cos() + 10], 1)
    spectrum = weights.power_spectrum(wave)
    assert spectrum.shape == (32,)
    assert spectrum[4] == pytest.approx(1, abs=1e-5)  # five periods; the constant 10 is no variance
    noise = weights.power_spectrum(draw(64, 500))
    assert noise.sum() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(noise[:-1], torch.full((31,), 2 / 63), atol=0.005, rtol=0)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_principal_components_equal_scikit_learns(shape):
    from sklearn.decomposition import PCA

    rows = draw(*shape) * torch.linspace(1, 3, shape[1]) + 5
    shares, places = weights.principal_components(rows)
    theirs = PCA().fit(rows.double().numpy())
    np.testing.assert_allclose(shares, theirs.explained_variance_ratio_, atol=1e-5)
    signs = np.sign(theirs.components_[range(6), np.abs(theirs.components_).argmax(1)])
    np.testing.assert_allclose(places[:, :5], (theirs.transform(rows.double().numpy()) * signs)[:, :5], atol=1e-4)


@pytest.mark.parametrize("length", [8, 9])
def test_a_spectrum_splits_the_variance(length):
    """Parseval: with the mirror images counted, the parts are the variance's own."""
    column = draw(length, 1)
    power = torch.fft.fft(column[:, 0]).abs().square()[1:] / length
    assert power.sum() == pytest.approx(float((column - column.mean()).square().sum()), rel=1e-4)
    folded = [power[f] + (power[-1 - f] if f != length - 2 - f else 0) for f in range(length // 2)]
    torch.testing.assert_close(weights.power_spectrum(column), torch.stack(folded) / power.sum(), **CLOSE)


def test_sinusoids_turn_at_one_rate_for_each_pair():
    rows = weights.sinusoids(50, 6)
    assert rows.shape == (50, 6)
    torch.testing.assert_close(rows[7, 2], torch.tensor(np.sin(7 / 10000 ** (2 / 6)), dtype=torch.float32))
    torch.testing.assert_close(rows.square().sum(1), torch.full((50,), 3.0))


# Distributions


def test_normality_of_normal_numbers_and_of_others():
    normal = weights.normality(draw(100, 100) * 5 + 2)
    assert (normal.mean, normal.std) == (pytest.approx(2, abs=0.2), pytest.approx(5, abs=0.2))
    assert abs(normal.skewness) < 0.1
    assert abs(normal.kurtosis) < 0.2
    assert normal.ks < 0.02
    assert normal.p > 0.05
    flat = weights.normality(torch.linspace(-1, 1, 10_000))
    assert flat.kurtosis == pytest.approx(-1.2, abs=0.01)  # of a uniform distribution
    assert flat.p < 1e-6
    # the largest gap between uniform and normal cumulative distributions, by a grid
    from scipy.stats import norm

    grid = np.linspace(-(3**0.5), 3**0.5, 100_001)
    assert flat.ks == pytest.approx(np.abs((grid / 3**0.5 + 1) / 2 - norm.cdf(grid)).max(), abs=1e-3)


def test_with_more_numbers_p_falls_and_ks_stays():
    """The pitfall that the notebook shows: a small departure, seen by few or by many."""
    numbers = draw(400_000)
    numbers = numbers + 0.15 * numbers**3 / 3
    few, many = weights.normality(numbers[:500]), weights.normality(numbers)
    assert few.p > 0.01
    assert many.p < 1e-10
    assert abs(many.ks - few.ks) < 0.04


# Clusters


def test_clusters_that_are_there_are_found_and_agree():
    features = torch.cat([draw(10, 3), draw(10, 3, seed=1) + 20]) * torch.tensor([1, 100, 0.01])
    links, labels = weights.cluster(features, 2)
    assert links.shape == (19, 4)
    found = weights.agreement(labels, ["a"] * 10 + ["b"] * 10)
    assert found.index == 1
    assert found.p < 0.05
    assert len(found.null) == 999


def test_features_are_put_on_one_scale_and_constant_ones_do_no_harm():
    features = draw(12, 2)
    scaled = torch.cat([features * torch.tensor([1.0, 1e6]), torch.ones(12, 1)], 1)
    assert (weights.cluster(scaled, 3)[1] == weights.cluster(features, 3)[1]).all()


@pytest.mark.parametrize("clusters", [1, 3, 24])
def test_the_index_equals_scikit_learns(clusters):
    from sklearn.metrics import adjusted_rand_score

    generator = np.random.default_rng(1)
    for classes in [generator.choice(["a", "b", "c"], 24, p=[0.8, 0.1, 0.1]), np.array(["a"] * 24), np.arange(24)]:
        labels = generator.permutation(24) % clusters
        found = weights.agreement(labels, classes, shuffles=1)
        assert found.index == pytest.approx(adjusted_rand_score(classes, labels), abs=1e-12)


def test_chance_agreement_is_zero_on_average_and_p_is_even():
    generator = np.random.default_rng(0)
    found = [
        weights.agreement(generator.integers(3, size=30), generator.integers(3, size=30), shuffles=99)
        for _ in range(100)
    ]
    assert abs(np.mean([each.index for each in found])) < 0.03
    assert abs(np.mean([each.null.mean() for each in found])) < 0.01
    small = np.mean([each.p <= 0.2 for each in found])
    assert 0.08 < small < 0.32  # 0.2 and three standard deviations of a share of 100


def test_shuffles_within_layers_keep_what_layers_explain():
    """Clusters and classes that agree only because both follow the layer: no evidence of more."""
    layers = np.repeat([0, 1], 20)
    classes, labels = np.where(layers == 0, "a", "b"), layers + 1
    assert weights.agreement(labels, classes).p < 0.05
    within = weights.agreement(labels, classes, groups=layers)
    assert within.p == 1
    assert (within.null == 1).all()


def test_bad_requests_are_refused():
    broken = torch.tensor([[1.0, torch.nan]])
    square = torch.eye(2)
    for refuse in [
        lambda: weights.normality(broken),
        lambda: weights.power_spectrum(broken),
        lambda: weights.principal_components(broken),
        lambda: weights.participation_ratio(broken),
        lambda: weights.positive_share(broken),
        lambda: weights.singular_values(weights.Circuit(broken, broken.T)),
        lambda: weights.token_eigenvalues(weights.Circuit(square, square), broken, square),
        lambda: weights.own_ranks(weights.Circuit(broken, broken.T), square, square, torch.tensor([0])),
        lambda: weights.cluster(broken.T, 1),
    ]:
        with pytest.raises(ArgumentError, match="NaN or infinity"):
            refuse()
    with pytest.raises(ArgumentError, match="all 4 numbers are the same"):
        weights.normality(torch.ones(4))
    with pytest.raises(ArgumentError, match="all rows are the same"):
        weights.principal_components(torch.ones(4, 3))
    with pytest.raises(ArgumentError, match="there are 1 heads"):
        weights.cluster(torch.ones(1, 3), 1)
    with pytest.raises(ArgumentError, match="two heads or more"):
        weights.agreement([1, 2], ["a"])


@pytest.mark.parametrize("kind", ["Q", "K"])
def test_composition_equals_the_product_written_out(model, kind):
    """Dense matrices, one head after another: the formula as the paper has it."""
    cut = weights.head_weights(model)
    ov, qk = weights.ov_circuit(cut), weights.qk_circuit(cut)
    found = weights.composition(ov, qk, 1, 2, kind)
    for layer in range(2):
        for head in range(4):
            writes = ov.left[layer, head] @ ov.right[layer, head]
            reads = qk.left[1, 2] @ qk.right[1, 2]
            product = writes @ (reads if kind == "Q" else reads.T)
            slow = product.norm() / writes.norm() / reads.norm()
            assert found[layer, head].item() == pytest.approx(slow.item(), abs=1e-5)


def test_composition_by_hand_is_one_where_all_is_read_and_zero_where_nothing_is():
    first, second = torch.tensor([[1.0], [0]]), torch.tensor([[0.0], [1]])  # two directions, (d_model, 1)
    writer = weights.Circuit(first[None, None], second.T[None, None])  # reads the first, writes the second
    reader = weights.Circuit(second[None, None], first.T[None, None])  # a query of the second for a key of the first
    assert weights.composition(writer, reader, 0, 0, "Q").tolist() == [[1]]
    assert weights.composition(writer, reader, 0, 0, "K").tolist() == [[0]]


def test_random_composition_is_narrow_and_always_the_same(model):
    cut = weights.head_weights(model)
    chance = weights.random_composition(cut, pairs=50)
    assert torch.equal(chance, weights.random_composition(cut, pairs=50))
    assert 0 < chance.min() < chance.max() < 1
    assert chance.std() < chance.mean() / 2


def test_composition_of_heads_that_do_not_exist_is_refused(model):
    cut = weights.head_weights(model)
    ov, qk = weights.ov_circuit(cut), weights.qk_circuit(cut)
    with pytest.raises(ArgumentError, match="'Q' or 'K'"):
        weights.composition(ov, qk, 0, 0, "V")
    for layer, head in [(2, 0), (0, 4), (-1, 0)]:
        with pytest.raises(ArgumentError, match=r"there is no head|layer is -1"):
            weights.composition(ov, qk, layer, head, "K")


def test_on_storybook_the_weights_name_what_feeds_the_induction_head(storybook):
    """The two previous-token heads that ablation finds stand above everything that random circuits give."""
    cut = weights.head_weights(storybook[0])
    keys = weights.composition(weights.ov_circuit(cut), weights.qk_circuit(cut), 4, 3, "K")[:4].ravel()
    assert sorted(f"{each // 8}.{each % 8}" for each in keys.topk(2).indices.tolist()) == ["0.0", "3.1"]
    assert keys.topk(2).values.min() > weights.random_composition(cut).max()


def test_numbers_that_mean_nothing_are_refused():
    """Each of these gave NaN, or a number made of rounding errors."""
    same = torch.full((7, 3), 0.1)
    for refuse in [weights.power_spectrum, weights.principal_components, weights.normality]:
        with pytest.raises(ArgumentError, match="the same"):
            refuse(same)
    with pytest.raises(ArgumentError, match="one only"):
        weights.power_spectrum(draw(1, 3))
    assert weights.participation_ratio(torch.zeros(2, 3)).tolist() == [0, 0]
    nothing = weights.Circuit(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 2, 4))
    with pytest.raises(ArgumentError, match="a circuit is zero"):
        weights.composition(nothing, nothing, 0, 0, "K")
    one = weights.Circuit(draw(4, 2), draw(2, 4))
    for reads, ids in [(torch.full((5, 4), torch.nan), [0]), (draw(5, 4), [5]), (draw(5, 4), [-1])]:
        with pytest.raises(ArgumentError, match=r"NaN|from 0 to 4"):
            weights.own_ranks(one, reads, draw(4, 5), torch.tensor(ids))
    with pytest.raises(ArgumentError, match="1 or more"):
        weights.random_composition(weights.HeadWeights(*[draw(1, 1, 4, 2)] * 4), pairs=0)


def test_trees_and_agreements_of_nothing_are_refused():
    for bad in [{"count": 0}, {"count": 2, "method": "sideways"}]:
        with pytest.raises(ArgumentError, match="cluster"):
            weights.cluster(draw(5, 2), **bad)
    for labels, shuffles in [([1], 9), ([], 9), ([1, 2], -1)]:
        with pytest.raises(ArgumentError, match=r"two heads or more|shuffles is -1"):
            weights.agreement(labels, labels, shuffles=shuffles)


def test_another_fused_layout_is_refused():
    """Falcon's has one key and one value for all queries: cut as GPT-NeoX's, it would give a head of another width."""
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        vocab_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, multi_query=True,
        new_decoder_architecture=False,
    )  # fmt: skip
    with pytest.raises(ModelError, match="layout that is not known"):
        weights.head_weights(FalconForCausalLM(config))


def test_queries_share_keys_evenly_or_are_refused():
    def cut(shared, width=2):
        return weights.HeadWeights(draw(1, 4, 8, 2), draw(1, shared, 8, 2), draw(1, shared, 8, width), draw(1, 4, 2, 8))

    assert weights.side_by_side(cut(2)).shape == (1, 8, 4 * 2 + 2 * 2 + 2 * 2)
    for wrong in [cut(3), cut(2, width=3)]:
        with pytest.raises(ArgumentError, match="do not go together"):
            weights.side_by_side(wrong)


@pytest.mark.parametrize(
    "names",
    [[None, 1], [[1], [1, 2]], torch.zeros(2, device="meta"), [1.0, np.nan]],
    ids=["mixed", "ragged", "meta", "NaN"],
)
def test_names_that_cannot_be_compared_are_refused(names):
    with pytest.raises(ArgumentError, match="labels must be"):
        weights.agreement(names, [1, 2])


def test_circuits_of_streams_of_different_widths_do_not_compose():
    ov, reads = weights.Circuit(draw(1, 1, 8, 2), draw(1, 1, 2, 8)), weights.Circuit(draw(1, 1, 6, 2), draw(1, 1, 2, 6))
    with pytest.raises(ArgumentError, match="of one d_model"):
        weights.composition(ov, reads, 0, 0, "Q")


def test_ends_by_hand_for_a_norm_with_small_weights(folders):
    """An RMSNorm subtracts no mean, however little its weights let through. And nobody is to train the ends."""
    model, _ = load_model(str(folders["llama"]), device="cpu")
    model.model.norm.weight.data.fill_(0.1)
    reads, writes = weights.token_ends(model)
    rows = model.get_output_embeddings().weight.detach() / 10
    torch.testing.assert_close(writes, (rows - rows.mean(0)).T, **CLOSE)
    assert not reads.requires_grad
    assert not writes.requires_grad


def test_the_first_shuffle_is_one_too():
    labels = np.arange(40) % 2
    found = weights.agreement(labels, labels, shuffles=1)
    assert found.index == 1
    assert abs(found.null.item()) < 0.5


def test_chance_is_200_pairs_or_999_shuffles_of_seed_0_unless_told_otherwise(model):
    cut = weights.head_weights(model)
    chance = weights.random_composition(cut)
    assert torch.equal(chance, weights.random_composition(cut, pairs=200, seed=0))
    assert not torch.equal(chance, weights.random_composition(cut, pairs=200, seed=1))
    labels, classes = np.arange(40) % 4, np.arange(40) % 5
    null = weights.agreement(labels, classes).null
    np.testing.assert_array_equal(null, weights.agreement(labels, classes, shuffles=999, seed=0).null)
    assert (null != weights.agreement(labels, classes, shuffles=999, seed=1).null).any()


def test_weights_that_are_read_carry_no_gradients(model, family):
    assert not any(each.requires_grad for each in weights.head_weights(model))
    if family != "llama":
        assert not weights.position_embedding(model).requires_grad
