"""The parts of the stream add up, in both numerics, on models whose norms are not the default ones."""

import pytest
import torch

from interp_helpers import ArgumentError, ModelError, load_bridge, load_model, residual

FAMILIES = ["gpt2", "gpt-neo", "llama"]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def runs(folders):
    """{(family, compatibility): (bridge, logits, cache)} on two texts of nine tokens."""
    tokens = torch.randint(8192, (2, 9), generator=torch.Generator().manual_seed(0))
    made = {}
    for family in FAMILIES:
        for compatibility in [False, True]:
            bridge, _ = load_bridge(str(folders[family]), device="cpu", compatibility=compatibility)
            with torch.no_grad():
                made[family, compatibility] = bridge, *bridge.run_with_cache(tokens)
    return made


@pytest.fixture(params=[(family, mode) for family in FAMILIES for mode in [False, True]], ids=str)
def run(request, runs):
    return runs[request.param]


def last(cache):
    return cache["resid_post", cache.model.cfg.n_layers - 1]


def test_by_hand():
    plain = residual.Readout(torch.tensor([2.0, 1]), torch.tensor([0.0, 1]), 0.0, True, torch.eye(2), torch.ones(2))
    stream = torch.tensor([5.0, 1])  # mean 3, standard deviation 2: normed [1, -1], times the weight [2, -1]
    assert residual.to_logits(stream, plain).tolist() == [3, 1]
    parts = torch.tensor([[4.0, 2], [1, -1]])  # centred [1, -1] and [1, -1], halved
    assert residual.attribution(parts, stream, plain, 0).tolist() == [1, 1, 1]
    assert residual.attribution(parts, stream, plain, 0, 1).tolist() == [1.5, 1.5, -1]
    assert residual.norms(torch.tensor([[3.0, 4]])).tolist() == [5]
    assert residual.cosines(torch.tensor([1.0, 0]), torch.tensor([[0.0, 1], [-2, 0]])).tolist() == [0, -1]
    assert residual.before(parts).tolist() == [[0, 0], [4, 2]]


def test_a_lens_by_hand():
    plain = residual.Readout(torch.ones(2), torch.zeros(2), 0.0, False, torch.eye(2), torch.zeros(2))
    even, sure = torch.tensor([1.0, 1]), torch.tensor([1.0, -1])  # both have a root mean square of 1
    lens = residual.logit_lens(torch.stack([even, sure]), plain, 0)
    chance = torch.tensor([1.0, -1]).softmax(0)
    torch.testing.assert_close(lens.probability, torch.stack([torch.tensor(0.5), chance[0]]))
    torch.testing.assert_close(lens.divergence, torch.stack([(chance * (chance / 0.5).log()).sum(), torch.tensor(0.0)]))
    assert lens.rank.tolist() == [0, 0]
    assert residual.logit_lens(torch.stack([even, sure]), plain, 1).rank.tolist() == [0, 1]


def test_the_readout_turns_the_last_stream_into_logits(run):
    bridge, logits, cache = run
    torch.testing.assert_close(residual.to_logits(last(cache), residual.readout(bridge)), logits, **CLOSE)


@pytest.mark.parametrize("heads", [False, True])
def test_parts_add_up_to_the_last_stream(run, heads):
    bridge, _, cache = run
    names, vectors = residual.parts(cache, heads=heads)
    torch.testing.assert_close(vectors.sum(0), last(cache), **CLOSE)
    assert len(names) == len(set(names)) == len(vectors)
    assert ("position" in names) == (bridge.cfg.positional_embedding_type == "standard")
    assert ("1.3" in names and "attention biases" in names) if heads else ("attention 1" in names)
    torch.testing.assert_close(vectors[names.index("mlp 1")], cache["mlp_out", 1])


def test_heads_add_up_to_what_attention_writes(run):
    _, _, cache = run
    names, vectors = residual.parts(cache)
    by_head, split = residual.parts(cache, heads=True)
    heads = sum(split[by_head.index(name)] for name in by_head if "." in name)
    attention = sum(vectors[names.index(name)] for name in names if name.startswith("attention"))
    torch.testing.assert_close(heads + split[by_head.index("attention biases")], attention, **CLOSE)
    z, W_O = cache["blocks.1.attn.hook_z"], cache.model.blocks[1].attn.W_O
    slow = torch.stack([z[0, 4, head] @ W_O[head] for head in range(4)])
    for head in range(4):
        torch.testing.assert_close(split[by_head.index(f"1.{head}")][0, 4], slow[head])


@pytest.mark.parametrize("heads", [False, True])
def test_attribution_adds_up_to_the_logit_and_to_the_difference(run, heads):
    bridge, logits, cache = run
    _, vectors = residual.parts(cache, heads=heads)
    tokens, others = torch.randint(8192, (2, 2, 9), generator=torch.Generator().manual_seed(1))
    read = residual.readout(bridge)
    wanted, rest = (logits.gather(-1, each[..., None])[..., 0] for each in (tokens, others))
    found = residual.attribution(vectors, last(cache), read, tokens)
    assert found.shape == (len(vectors) + 1, 2, 9)
    torch.testing.assert_close(found.sum(0), wanted, **CLOSE)
    torch.testing.assert_close(
        residual.attribution(vectors, last(cache), read, tokens, others).sum(0), wanted - rest, **CLOSE
    )
    one = residual.attribution(vectors[:, 0, 3], last(cache)[0, 3], read, int(tokens[0, 3]))
    torch.testing.assert_close(one, found[:, 0, 3])


def test_forgetting_the_norms_weight_and_bias_is_seen(runs):
    """The effect that the identities rest on: these models' norms are not the default ones."""
    bridge, logits, cache = runs["gpt2", False]
    _, vectors = residual.parts(cache)
    read = residual.readout(bridge)
    careless = read._replace(weight=torch.ones(32), bias=torch.zeros(32))
    found = residual.attribution(vectors, last(cache), careless, 5).sum(0)
    assert (found - logits[..., 5]).abs().max() > 0.01


def test_both_numerics_give_one_distribution_and_logits_that_differ_by_a_constant(runs):
    for family in FAMILIES:
        (_, raw_logits, _), (_, logits, _) = runs[family, False], runs[family, True]
        torch.testing.assert_close(logits.log_softmax(-1), raw_logits.log_softmax(-1), **CLOSE)
        shift = logits - raw_logits
        torch.testing.assert_close(shift, shift[..., :1].expand_as(shift), **CLOSE)
        assert shift.abs().max() > 1e-4


def test_the_stream_before_each_part_is_the_one_in_the_cache(run):
    _, _, cache = run
    names, vectors = residual.parts(cache)
    added_to = residual.before(vectors)
    for layer in range(2):
        torch.testing.assert_close(added_to[names.index(f"attention {layer}")], cache["resid_pre", layer], **CLOSE)
        torch.testing.assert_close(added_to[names.index(f"mlp {layer}")], cache["resid_mid", layer], **CLOSE)


def test_the_lens_equals_a_slow_loop_and_transformer_lens(run):
    bridge, logits, cache = run
    streams = cache.accumulated_resid()
    tokens = torch.randint(8192, (2, 9), generator=torch.Generator().manual_seed(2))
    lens = residual.logit_lens(streams, residual.readout(bridge), tokens)
    assert lens.rank.shape == lens.probability.shape == lens.divergence.shape == (3, 2, 9)
    theirs = cache.accumulated_resid(apply_ln=True) @ bridge.W_U + bridge.b_U
    final = logits.softmax(-1)
    for layer, text, position in [(0, 0, 0), (1, 1, 4), (2, 0, 8)]:
        chance = theirs[layer, text, position].softmax(-1)
        token = tokens[text, position]
        assert lens.rank[layer, text, position] == (chance > chance[token]).sum()
        torch.testing.assert_close(lens.probability[layer, text, position], chance[token], **CLOSE)
        slow = sum(p * (p.log() - q.log()) for p, q in zip(final[text, position], chance))
        torch.testing.assert_close(lens.divergence[layer, text, position], slow, **CLOSE)
    assert lens.divergence[-1].abs().max() < 1e-5
    assert (lens.divergence[:-1] > 0).all()


def test_cosines_and_norms_equal_torch():
    vectors = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    table = residual.cosines(vectors[:, None], vectors)
    unit = vectors / vectors.square().sum(-1, keepdim=True).sqrt()
    torch.testing.assert_close(table, unit @ unit.T)
    torch.testing.assert_close(residual.norms(vectors), vectors.square().sum(-1).sqrt())
    assert residual.cosines(torch.zeros(3), torch.ones(3)) == 0


def test_bad_requests_are_refused(runs):
    bridge, _, cache = runs["gpt2", False]
    read, (_, vectors), stream = residual.readout(bridge), residual.parts(cache), last(cache)
    with pytest.raises(ArgumentError, match="do not sum to the stream"):
        residual.attribution(vectors[1:], stream, read, 0)
    with pytest.raises(ArgumentError, match="do not sum to the stream"):
        residual.attribution(vectors[:, 0], stream, read, 0)
    for token in [-1, 8192, 0.5]:
        with pytest.raises(ArgumentError, match="whole numbers from 0 to 8191"):
            residual.attribution(vectors, stream, read, token)
        with pytest.raises(ArgumentError, match="whole numbers from 0 to 8191"):
            residual.logit_lens(cache.accumulated_resid(), read, token)
    with pytest.raises(ArgumentError, match=r"stream must be \(\.\.\., 32\)"):
        residual.to_logits(torch.zeros(31), read)
    with pytest.raises(ArgumentError, match="vectors is empty"):
        residual.attribution(vectors[:0], stream, read, 0)
    with pytest.raises(ArgumentError, match="floating-point numbers"):
        residual.norms(torch.ones(3, dtype=torch.long))
    for token in [True, " leg", None, [" leg"], torch.zeros(3).long(), torch.zeros(0).long(), torch.tensor(True)]:
        with pytest.raises(ArgumentError, match=r"whole numbers from 0 to 8191, one or \(2, 9\)"):
            residual.attribution(vectors, stream, read, token)
    with pytest.raises(ArgumentError, match="streams is empty"):
        residual.logit_lens(cache.accumulated_resid()[:0], read, 1)
    with torch.no_grad():
        _, filtered = bridge.run_with_cache(torch.zeros(1, 2).long(), names_filter=lambda name: "resid_post" in name)
    with pytest.raises(ArgumentError, match="without names_filter"):
        residual.parts(filtered)
    broken = torch.tensor([1.0, torch.nan])
    for refuse in [residual.norms, residual.cosine_matrix, residual.before, lambda each: residual.cosines(each, each)]:
        with pytest.raises(ArgumentError, match="NaN or infinity"):
            refuse(broken)


def test_a_long_vector_elsewhere_hides_no_missing_part(runs):
    bridge, _, cache = runs["gpt2", False]
    names, vectors = residual.parts(cache)
    huge = vectors.clone()
    huge[0, :, 0] += 3000.0  # a sink
    lacking = huge.clone()
    lacking[names.index("mlp 1"), :, 5] = 0
    read = residual.readout(bridge)
    residual.attribution(huge, huge.sum(0), read, 0)
    with pytest.raises(ArgumentError, match="do not sum to the stream"):
        residual.attribution(lacking, huge.sum(0), read, 0)


def test_a_model_that_scales_its_logits_is_refused(folders):
    from transformers import AutoTokenizer, GraniteConfig, GraniteForCausalLM

    folder = folders["gpt2"].parent / "granite"
    config = GraniteConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, logits_scaling=8.0,
    )  # fmt: skip
    GraniteForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(folders["gpt2"]).save_pretrained(folder)
    bridge, _ = load_bridge(str(folder), device="cpu")
    with pytest.raises(ModelError, match="scales or caps"):
        residual.readout(bridge)


def test_parts_that_do_not_add_up_are_refused(runs):
    _, _, cache = runs["llama", False]
    broken = type(cache)({**cache.cache_dict, "blocks.0.hook_mlp_out": cache["mlp_out", 0] * 2}, cache.model)
    for heads in [False, True]:
        with pytest.raises(ModelError, match="does not add up to its last stream"):
            residual.parts(broken, heads=heads)


def test_on_storybook_every_identity_holds(storybook):
    model, tokenizer = storybook
    tokens = torch.tensor([tokenizer("The dog looked at the cat.")["input_ids"]])
    bridge, _ = load_bridge("storybook", device="cpu")
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(tokens)
        torch.testing.assert_close(logits, model(tokens).logits, atol=1e-4, rtol=1e-5)
    read = residual.readout(bridge)
    for heads in [False, True]:
        _, vectors = residual.parts(cache, heads=heads)
        deviation = (vectors.sum(0) - last(cache)).abs().max()
        assert deviation < 1e-4
        found = residual.attribution(vectors, last(cache), read, 7).sum(0)
        assert (found - logits[..., 7]).abs().max() < 1e-4


def test_a_bridge_shares_no_model_and_changes_none(storybook):
    model, _ = storybook
    before = {name: value.clone() for name, value in model.state_dict().items()}
    raw, _ = load_bridge("storybook", device="cpu")
    compatible, _ = load_bridge("storybook", device="cpu", compatibility=True)
    assert (raw.compatibility_mode, compatible.compatibility_mode) == (False, True)
    assert not raw.training
    assert not compatible.training
    again, _ = load_model("storybook", device="cpu")
    for name, value in again.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(model.state_dict()[name], before[name])
    assert raw.original_model is not compatible.original_model
    twin, _ = load_bridge("storybook", device="cpu", untrained=True)
    assert not torch.equal(twin.W_E, raw.W_E)


def test_an_architecture_that_no_adapter_knows_is_one_error(folders, monkeypatch):
    from transformer_lens.model_bridge import TransformerBridge

    def refuse(*_, **__):
        raise ValueError("Unsupported architecture: NewForCausalLM")

    monkeypatch.setattr(TransformerBridge, "boot_transformers", refuse)
    with pytest.raises(ModelError, match=r"TransformerLens cannot use .*Unsupported architecture"):
        load_bridge(str(folders["gpt2"]), device="cpu")


def test_a_cosine_matrix_equals_torch():
    rows = torch.randn(5, 7)
    torch.testing.assert_close(
        residual.cosine_matrix(rows), torch.cosine_similarity(rows[:, None], rows, dim=-1), **CLOSE
    )


def small_bridge(times=1.0, **changes):
    """What readout asks of a bridge. Its stream [3, 1] has mean 2 and deviation 1: logits are 0.01 and -0.01."""
    from types import SimpleNamespace

    logits, cache = times * torch.tensor([[[0.01, -0.01]]]), {("resid_post", 0): torch.tensor([[[3.0, 1]]])}
    asked = {
        "ln_final": SimpleNamespace(weight=torch.ones(2), bias=torch.zeros(2)),
        "cfg": SimpleNamespace(eps=0.0, normalization_type="LN", n_layers=1),
        "W_U": torch.eye(2) / 100,
        "b_U": torch.zeros(2),
        "original_model": "a model",
        "run_with_cache": lambda tokens: (logits, cache),
    }
    return SimpleNamespace(**{**asked, **changes})


def test_small_logits_are_compared_by_their_own_size():
    assert residual.readout(small_bridge()).centred
    with pytest.raises(ModelError, match="scales or caps"):
        residual.readout(small_bridge(times=1.05))  # they differ by 0.0005, and by a twentieth


def test_a_bridge_without_a_final_norm_is_refused():
    with pytest.raises(ModelError, match="no final norm"):
        residual.readout(small_bridge(ln_final=None))


def test_parts_of_a_short_stream_must_add_up_as_well():
    plain = residual.Readout(torch.ones(2), torch.zeros(2), 1e-5, False, torch.eye(2), torch.zeros(2))
    with pytest.raises(ArgumentError, match="do not sum to the stream"):
        residual.attribution(torch.tensor([[0.01, 0]]), torch.tensor([0.0105, 0]), plain, 0)
    assert residual.attribution(torch.zeros(3, 2), torch.zeros(2), plain, 0).tolist() == [0, 0, 0, 0]


def test_lengths_are_along_the_last_axis():
    vectors = torch.tensor([[[3.0, 4], [0, 2]], [[5, 12], [1, 0]], [[0, 0], [8, 6]]])
    assert residual.norms(vectors).tolist() == [[5, 2], [13, 1], [0, 10]]


def test_a_norm_without_a_weight_cannot_be_read_out():
    with pytest.raises(ModelError, match="no final norm with a weight"):
        residual.readout(small_bridge(ln_final=torch.nn.LayerNorm(4, elementwise_affine=False)))
