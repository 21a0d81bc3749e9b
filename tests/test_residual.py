"""The parts of the residual stream add up, with raw and processed weights; cosines are true."""

import math
from functools import cache

import numpy as np
import pytest
import tiny
import torch
from hypothesis import strategies as st
from properties import cases, seeded

from interp_helpers import ArgumentError, ModelError, residual
from interp_helpers.residual import Unembedding
from interp_helpers.text import Batch

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
RAW_AND_PROCESSED = [(family, processed) for family in tiny.FAMILIES for processed in [False, True]]
TOKENS = torch.randint(tiny.VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(0))
PLAIN = Unembedding(torch.ones(2), torch.zeros(2), 0.0, False, torch.eye(2), torch.zeros(2))


def bridge_of(model, processed=False):
    bridge = tiny.bridge_of(model)
    if processed:
        bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge


@cache
def run(family, processed=False):
    """(bridge, logits, cache) on two texts of nine tokens."""
    bridge = bridge_of(tiny.fresh(family), processed)
    with torch.no_grad():
        return bridge, *bridge.run_with_cache(TOKENS)


@pytest.fixture(params=RAW_AND_PROCESSED, ids=lambda each: f"{each[0]}-{'processed' if each[1] else 'raw'}")
def measured(request):
    return run(*request.param)


def last(kept):
    return kept["resid_post", tiny.LAYERS - 1]


def of_size(logits):
    """A hundred-thousandth of the largest number: float32 sums over a model, in another order."""
    return {"rtol": 0, "atol": 1e-5 * logits.abs().max().item()}


# The unembedding, and logits


def test_the_unembedding_turns_the_last_stream_into_logits(measured):
    bridge, logits, kept = measured
    unembedding = Unembedding.of(bridge)
    assert unembedding.centred == (type(bridge.original_model).__name__ != "LlamaForCausalLM")
    torch.testing.assert_close(residual.to_logits(last(kept), unembedding), logits, **of_size(logits))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_logits_are_those_of_transformers(family):
    bridge, _, kept = run(family)
    with torch.no_grad():
        logits = tiny.tiny(family)(TOKENS).logits
    torch.testing.assert_close(residual.to_logits(last(kept), Unembedding.of(bridge)), logits, **of_size(logits))


def test_the_logit_lens_equals_that_of_transformer_lens(measured):
    bridge, logits, kept = measured
    depth_logits = residual.to_logits(kept.accumulated_resid(), Unembedding.of(bridge))
    theirs = kept.logit_lens(positions=None)
    torch.testing.assert_close(depth_logits, theirs.values, **of_size(logits))
    assert not torch.allclose(depth_logits[-2], logits, atol=0.1)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_processing_weights_moves_all_logits_of_a_position_by_one_number(family):
    (_, raw, _), (_, processed, _) = run(family), run(family, True)
    torch.testing.assert_close(processed.log_softmax(-1), raw.log_softmax(-1), **of_size(raw))
    shift = processed - raw
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift), **of_size(raw))
    assert shift.abs().max() > 1e-2


def test_logits_by_hand():
    unembedding = Unembedding(torch.tensor([2.0, 1]), torch.tensor([0.0, 1]), 0.0, True, torch.eye(2), torch.ones(2))
    stream = torch.tensor([5.0, 1])  # mean 3, standard deviation 2: normed [1, -1], times the weight [2, -1]
    assert residual.to_logits(stream, unembedding).tolist() == [3, 1]
    vectors = torch.tensor([[4.0, 2], [1, -1]])  # centred [1, -1] and [1, -1], halved
    assert residual.logit_attribution(vectors, stream, unembedding, 0).tolist() == [1, 1, 1]
    assert residual.logit_attribution(vectors, stream, unembedding, 0, 1).tolist() == [1.5, 1.5, -1]


def drawn_unembedding(generator, d_model, vocabulary=5):
    return Unembedding(
        torch.randn(d_model, generator=generator),
        torch.randn(d_model, generator=generator),
        1e-2,
        bool(torch.randint(2, (), generator=generator)),
        torch.randn(d_model, vocabulary, generator=generator),
        torch.randn(vocabulary, generator=generator),
    )


def slow_logits(stream, unembedding):
    """The definition on one vector, with numpy's mean and standard deviation in float64."""
    x, (weight, bias, _, _, W_U, b_U) = (
        stream.double().numpy(),
        [each.double().numpy() if isinstance(each, torch.Tensor) else each for each in unembedding],
    )
    mean = x.mean() if unembedding.centred else 0.0
    scale = np.sqrt(np.mean((x - mean) ** 2) + unembedding.epsilon)
    return ((x - mean) / scale * weight + bias) @ W_U + b_U


@cases(generator=seeded(), positions=st.integers(1, 3), d_model=st.integers(2, 5))
def test_logits_are_those_of_the_definition(generator, positions, d_model):
    stream, unembedding = torch.randn(positions, d_model, generator=generator), drawn_unembedding(generator, d_model)
    logits = residual.to_logits(stream, unembedding)
    for position in range(positions):
        np.testing.assert_allclose(logits[position], slow_logits(stream[position], unembedding), atol=1e-4)
    # no norm sees the length of the stream, but for its epsilon, and none that is centred sees its mean
    longer = 50 * stream + (9 if unembedding.centred else 0)
    same = residual.to_logits(longer, unembedding._replace(epsilon=2500 * unembedding.epsilon))
    torch.testing.assert_close(same, logits, atol=1e-3, rtol=1e-3)


def test_a_model_that_scales_its_logits_is_refused():
    from transformers import GraniteConfig, GraniteForCausalLM

    config = GraniteConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, logits_scaling=8.0, architectures=["GraniteForCausalLM"],
        attn_implementation="eager",
    )  # fmt: skip
    with pytest.raises(
        ModelError, match=r"than a GraniteForCausalLM: the final norm and the unembedding .* do not give its logits"
    ):
        Unembedding.of(bridge_of(GraniteForCausalLM(config)))


@pytest.mark.parametrize("times", [1.0, 1.05, torch.nan])
def test_small_logits_are_compared_by_their_own_size(times):
    """A twentieth of logits that are a thousandth of their usual size is seen."""
    model = tiny.fresh("gpt2")
    model.lm_head.weight.data = model.lm_head.weight / 1000
    run = model.forward

    def scaled(*inputs, **options):
        out = run(*inputs, **options)
        return type(out)(**{**out, "logits": out.logits * times})

    model.forward = scaled
    bridge = bridge_of(model)
    if times == 1:
        assert Unembedding.of(bridge).centred
        return
    with pytest.raises(ModelError, match="do not give its logits"):
        Unembedding.of(bridge)


# Parts


@pytest.mark.parametrize("heads", [False, True])
def test_parts_sum_to_the_last_stream(measured, heads):
    bridge, _, kept = measured
    names, vectors = residual.parts(kept, heads=heads)
    torch.testing.assert_close(vectors.sum(0), last(kept), **of_size(last(kept)))
    assert len(names) == len(set(names)) == len(vectors)
    by_name = dict(zip(names, vectors))
    assert ("position" in by_name) == (bridge.cfg.positional_embedding_type == "standard")
    for layer in range(tiny.LAYERS):
        assert torch.equal(by_name[f"mlp {layer}"], kept["mlp_out", layer])
        if not heads:
            assert torch.equal(by_name[f"attention {layer}"], kept["attn_out", layer])
            continue
        z, W_O = kept["z", layer], bridge.W_O[layer]  # a head's z, through its own rows of the output matrix
        for head in range(tiny.HEADS):
            torch.testing.assert_close(by_name[f"L{layer}H{head}"], z[:, :, head] @ W_O[head], **CLOSE)
    if heads:
        attention = sum(kept["attn_out", layer] for layer in range(tiny.LAYERS))
        of_heads = vectors[: tiny.LAYERS * tiny.HEADS].sum(0)
        torch.testing.assert_close(of_heads + by_name["attention biases"], attention, **of_size(attention))


def test_parts_come_in_the_order_in_which_the_model_adds_them():
    _, _, kept = run("gpt2")
    names, vectors = residual.parts(kept)
    assert names == ["embedding", "position", "attention 0", "mlp 0", "attention 1", "mlp 1"]
    streams = vectors.cumsum(0)
    torch.testing.assert_close(streams[1], kept["resid_pre", 0], **of_size(streams))
    torch.testing.assert_close(streams[2], kept["resid_mid", 0], **of_size(streams))
    torch.testing.assert_close(streams[3], kept["resid_post", 0], **of_size(streams))


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_parts_at_the_end_are_those_of_every_text_alone(family, heads):
    """Of texts of unequal length in two batches, the parts at each text's last token, and not at padding."""
    bridge, _, _ = run(family)
    rows = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]
    names, vectors = residual.final_parts(bridge, [Batch.from_rows(rows[:2]), torch.tensor(rows[2:])], heads=heads)
    for text, row in enumerate(rows):
        alone, of_row = residual.parts(bridge.run_with_cache(torch.tensor([row]))[1], heads=heads)
        assert names == alone
        torch.testing.assert_close(vectors[:, text], of_row[:, 0, -1], **of_size(of_row))


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("change", [2, torch.nan])
def test_parts_that_do_not_add_up_are_refused(heads, change):
    _, _, kept = run("llama")
    broken = type(kept)({**kept.cache_dict, "blocks.0.hook_mlp_out": kept["mlp_out", 0] * change}, kept.model)
    with pytest.raises(ArgumentError, match="do not sum to the stream"):
        residual.parts(broken, heads=heads)


# Direct logit attribution


@pytest.mark.parametrize("heads", [False, True])
def test_attribution_sums_to_the_logit_and_to_the_logit_difference(measured, heads):
    bridge, logits, kept = measured
    _, vectors = residual.parts(kept, heads=heads)
    tokens, others = torch.randint(tiny.VOCABULARY, (2, 2, 9), generator=torch.Generator().manual_seed(1))
    unembedding = Unembedding.of(bridge)
    of_token, of_other = (logits.gather(-1, each[..., None])[..., 0] for each in (tokens, others))
    attribution = residual.logit_attribution(vectors, last(kept), unembedding, tokens)
    assert attribution.shape == (len(vectors) + 1, 2, 9)
    torch.testing.assert_close(attribution.sum(0), of_token, **of_size(logits))
    difference = residual.logit_attribution(vectors, last(kept), unembedding, tokens, others)
    torch.testing.assert_close(difference.sum(0), of_token - of_other, **of_size(logits))
    one = residual.logit_attribution(vectors[:, 0, 3], last(kept)[0, 3], unembedding, tokens[0, 3].item())
    torch.testing.assert_close(one, attribution[:, 0, 3], **of_size(logits))


def test_transformer_lens_is_right_with_processed_weights_and_silently_wrong_with_raw_ones():
    """This is why there is a function of our own. When the second half fails, ours can go."""
    for processed, right in [(True, True), (False, False)]:
        bridge, logits, kept = run("gpt2", processed)
        _, vectors = residual.parts(kept)
        ours = residual.logit_attribution(vectors, last(kept), Unembedding.of(bridge), 5, 6)
        theirs = kept.logit_attrs(vectors, 5, 6)
        assert torch.allclose(theirs, ours[:-1], **of_size(logits)) == right
        torch.testing.assert_close(ours.sum(0), logits[..., 5] - logits[..., 6], **of_size(logits))


@cases(generator=seeded(), parts=st.integers(1, 4), d_model=st.integers(2, 5), two=st.booleans())
def test_attribution_is_linear_in_the_parts(generator, parts, d_model, two):
    vectors, unembedding = torch.randn(parts, 2, d_model, generator=generator), drawn_unembedding(generator, d_model)
    token, other = torch.randint(5, (2, 2), generator=generator)
    stream, words = vectors.sum(0), (token, other) if two else (token,)
    attribution = residual.logit_attribution(vectors, stream, unembedding, *words)
    for position in range(2):
        logits = slow_logits(stream[position], unembedding)
        expected = logits[token[position]] - (logits[other[position]] if two else 0)
        assert attribution[:, position].sum().item() == pytest.approx(expected, abs=1e-3)
    halves = residual.logit_attribution(torch.cat([vectors, vectors]) / 2, stream, unembedding, *words)
    torch.testing.assert_close(halves[:parts] + halves[parts:-1], attribution[:-1], **of_size(attribution))
    if two:
        turned = residual.logit_attribution(vectors, stream, unembedding, other, token)
        torch.testing.assert_close(turned, -attribution, **of_size(attribution))


@cases(generator=seeded(), d_model=st.integers(2, 5), two=st.booleans())
def test_a_part_along_the_reading_direction_is_its_share_by_a_loop(generator, d_model, two):
    """As the definition has it: the share of a part that writes 1 into one number and nothing else."""
    unembedding = drawn_unembedding(generator, d_model)
    stream = torch.randn(3, d_model, generator=generator, dtype=torch.double)
    words = torch.randint(5, (3,), generator=generator), torch.randint(5, (3,), generator=generator) if two else None
    direction = residual.reading_direction(stream, unembedding, *words)
    for number, part in enumerate(torch.eye(d_model, dtype=torch.double)):
        both = torch.stack([part.expand(3, -1), stream - part])
        share = residual.logit_attribution(both, stream, unembedding, *words)[0]
        torch.testing.assert_close(direction[:, number], share, **CLOSE)


def test_parts_that_lack_one_are_refused_and_long_vectors_elsewhere_do_not_hide_it():
    bridge, _, kept = run("gpt2")
    names, vectors = residual.parts(kept)
    unembedding, vectors = Unembedding.of(bridge), vectors.clone()
    vectors[0, :, 0] += 1e5  # an attention sink
    residual.logit_attribution(vectors, vectors.sum(0), unembedding, 0)
    lacking = vectors.clone()
    lacking[names.index("mlp 1"), :, 5] = 0
    with pytest.raises(ArgumentError, match="do not sum to the stream"):
        residual.logit_attribution(lacking, vectors.sum(0), unembedding, 0)


def test_parts_of_a_short_stream_must_add_up_as_well():
    with pytest.raises(ArgumentError, match="do not sum to the stream"):
        residual.logit_attribution(torch.tensor([[0.01, 0]]), torch.tensor([0.0105, 0]), PLAIN, 0)
    unembedding = PLAIN._replace(epsilon=1e-5)
    assert residual.logit_attribution(torch.zeros(3, 2), torch.zeros(2), unembedding, 0).tolist() == [0, 0, 0, 0]


def test_a_stream_of_another_shape_is_refused():
    with pytest.raises(ArgumentError, match="logit_attribution: stream must be"):
        residual.logit_attribution(torch.ones(1, 3, 2), torch.ones(2, 2), PLAIN, 0)


@pytest.mark.parametrize("word", [-1, 2, torch.tensor([0, -1]), torch.tensor([0, 2])])
def test_a_token_that_the_vocabulary_does_not_have_is_refused(word):
    vectors = torch.ones(1, 2, 2)
    for words in [(word,), (0, word)]:
        with pytest.raises(ArgumentError, match="Token ids go from 0 to 1"):
            residual.logit_attribution(vectors, vectors[0], PLAIN, *words)


# Cosines


def angle(one, other):
    """The cosine, written out in Python's floats."""
    sizes = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other)) / sizes if sizes else 0.0


@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e-9, 1.0, 1e30])
def test_cosines_are_true_however_short_or_long_a_vector_is(size):
    """Regression: torch's functions take short vectors for longer ones, at 1e-8 and at 1e-12."""
    usual = torch.tensor([[3.0, 4], [4, 3], [-3, -4], [0, 0]])
    vectors = usual * size
    expected = torch.tensor([[1, 0.96, -1, 0], [0.96, 1, -0.96, 0], [-1, -0.96, 1, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(residual.cosine_matrix(vectors), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(residual.cosines(vectors[:, None], vectors), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(residual.cosines(vectors[:, None], usual), expected, atol=1e-4, rtol=0)


@cases(generator=seeded(), rows=st.integers(2, 4), d_model=st.integers(1, 5), exponent=st.integers(-12, 12))
def test_cosines_equal_a_loop(generator, rows, d_model, exponent):
    vectors, others = torch.randn(2, rows, d_model, generator=generator)
    vectors[0] = 0
    vectors[1] *= 10.0**exponent
    cosines = residual.cosines(vectors, others)
    expected = [angle(*pair) for pair in zip(vectors.tolist(), others.tolist())]
    assert cosines.tolist() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(residual.cosines(others, -0.2 * vectors), -cosines, **CLOSE)
    one_to_all = [angle(vectors[1].tolist(), other) for other in others.tolist()]
    assert residual.cosines(vectors[1], others).tolist() == pytest.approx(one_to_all, abs=1e-5)
    table = residual.cosine_matrix(vectors).tolist()
    for row, vector in zip(table, vectors.tolist()):
        assert row == pytest.approx([angle(vector, other) for other in vectors.tolist()], abs=1e-5)


def test_nan_stays_nan():
    vectors = torch.tensor([[torch.nan, 1], [1, 0]])
    assert residual.cosine_matrix(vectors).isnan().tolist() == [[True, True], [True, False]]


def test_vectors_of_two_widths_are_refused():
    with pytest.raises(ArgumentError, match="cosines: other must be"):
        residual.cosines(torch.ones(2, 3), torch.ones(2, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_bridge_in_half_precision_is_taken_apart_as_one_with_the_same_weights_in_full(dtype):
    found = []
    for model in (tiny.fresh("gpt2").to(dtype), tiny.fresh("gpt2").to(dtype).float()):
        made = bridge_of(model)
        _, vectors = residual.final_parts(made, [torch.tensor([[5, 6, 7, 8]])], heads=True)
        shares = residual.logit_attribution(vectors, vectors.sum(0), residual.Unembedding.of(made), 5, 6)
        found.append(shares.float())
    torch.testing.assert_close(*found, atol=0.02 * found[1].abs().max().item(), rtol=0)
