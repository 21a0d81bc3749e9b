"""Replacing: null (its own value changes nothing), effect, and parity with TransformerLens and with edited weights."""

from functools import partial

import pytest
import torch

from interp_helpers import (
    ArgumentError,
    ModelError,
    TextError,
    encode_pair,
    head_outputs,
    load_bridge,
    load_model,
    mean_head_outputs,
    patching,
    read_streams,
    repeated_random_tokens,
    replace_heads,
    replace_stream,
    taken_from,
    zeros,
)
from interp_helpers.capture import output_projections
from interp_helpers.texts import pad

TOKENS = torch.randint(8192, (2, 9), generator=torch.Generator().manual_seed(0))
ALL = [f"{layer}.{head}" for layer in range(2) for head in range(4)]


@pytest.fixture(params=["gpt2", "gpt-neo", "llama"])
def family(request):
    return request.param


@pytest.fixture
def model(family, folders):
    return load_model(str(folders[family]), device="cpu")[0]


@torch.no_grad()
def logits(model, tokens=TOKENS):
    return model(tokens).logits


def hooks(model):
    return sum(len(each._forward_pre_hooks) + len(each._forward_hooks) for each in model.modules())


def test_putting_back_its_own_value_changes_nothing(model):
    before = logits(model)
    with replace_heads(model, ALL, taken_from(head_outputs(model, TOKENS))) as sites:
        assert (logits(model) - before).abs().max() < 1e-6
    assert sites == ALL
    streams = read_streams(model, TOKENS)
    for layer in range(3):
        with replace_stream(model, layer, streams[layer]):
            assert (logits(model) - before).abs().max() < 1e-6


def test_zeroing_every_head_moves_the_logits_and_is_undone(model):
    before = logits(model)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with replace_heads(model, ALL, zeros):
        assert (logits(model) - before).abs().max() > 1e-3
    assert torch.equal(logits(model), before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert hooks(model) == 0


def test_zeroing_equals_editing_the_weights_by_hand(model, family):
    with replace_heads(model, ["1.2"], zeros):
        found = logits(model)
    projection = output_projections(model)[1]
    rows = projection.weight.data if family == "gpt2" else projection.weight.data.T  # (in, out)
    rows[16:24] = 0
    torch.testing.assert_close(found, logits(model), atol=1e-6, rtol=1e-5)


def test_zeroing_equals_transformer_lens(model, family, folders):
    bridge, _ = load_bridge(str(folders[family]), device="cpu")

    def clear(z, hook):
        z[:, :, 2] = 0
        return z

    with torch.no_grad():
        theirs = bridge.run_with_hooks(TOKENS, fwd_hooks=[("blocks.0.attn.hook_z", clear)])
        _, cache = bridge.run_with_cache(TOKENS)
    with replace_heads(model, ["0.2"], zeros):
        torch.testing.assert_close(logits(model), theirs, atol=1e-5, rtol=1e-4)
    found = head_outputs(model, TOKENS)
    for layer in range(2):
        torch.testing.assert_close(found[layer].permute(1, 2, 0, 3), cache["z", layer], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(read_streams(model, TOKENS)[layer], cache["resid_pre", layer], atol=1e-5, rtol=1e-4)


def test_patching_the_stream_equals_transformer_lens(model, family, folders):
    other = torch.randint(8192, (2, 9), generator=torch.Generator().manual_seed(1))
    streams = read_streams(model, other)
    bridge, _ = load_bridge(str(folders[family]), device="cpu")

    def patch(stream, hook):
        stream[:, 4] = streams[1][:, 4]
        return stream

    with torch.no_grad():
        theirs = bridge.run_with_hooks(TOKENS, fwd_hooks=[("blocks.1.hook_resid_pre", patch)])
    with replace_stream(model, 1, streams[1], 4):
        found = logits(model)
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-4)
    assert torch.equal(found[:, :4], logits(model)[:, :4]), "earlier positions cannot feel it"


def test_the_stream_of_another_text_gives_its_logits(model):
    other = torch.randint(8192, (2, 9), generator=torch.Generator().manual_seed(1))
    wanted, streams = logits(model, other), read_streams(model, other)
    for layer in range(3):  # from any layer on, everything comes from the other text
        with replace_stream(model, layer, streams[layer]):
            torch.testing.assert_close(logits(model), wanted, atol=1e-5, rtol=1e-4)


def test_means_are_over_tokens_not_padding(model):
    rows = [[5, 6, 7, 8, 9], [10, 11]]
    found = mean_head_outputs(model, [pad(rows)])
    alone = torch.cat([head_outputs(model, torch.tensor([row]))[:, :, 0] for row in rows], 2)
    torch.testing.assert_close(found, alone.mean(2), atol=1e-6, rtol=1e-5)
    before = logits(model)
    with replace_heads(model, ["1.0"], taken_from(found)):
        moved = logits(model)
    with replace_heads(model, ["1.0"], lambda values, layer, head: found[1, 0].expand_as(values)):
        torch.testing.assert_close(moved, logits(model))
    assert (moved - before).abs().max() > 1e-5


def test_everything_is_undone_after_an_exception(model):
    before = logits(model)
    for replace in [
        lambda: replace_heads(model, ["0.1"], zeros),
        lambda: replace_stream(model, 1, torch.zeros(32)),
    ]:
        with pytest.raises(RuntimeError, match="on purpose"), replace():
            raise RuntimeError("on purpose")
    assert hooks(model) == 0
    assert torch.equal(logits(model), before)


def test_bad_requests_are_refused(model):
    for name in ["2.0", "0.4", "0", "a.b", "-1.0", 7, 0.10, "0.01", "00.1", "0.1 ", "0.\u0661"]:
        with pytest.raises(ArgumentError, match=r"Names go from '0\.0' to '1\.3'"), replace_heads(model, [name], zeros):
            pass
    with pytest.raises(ArgumentError, match="no head is named"), replace_heads(model, [], zeros):
        pass
    with pytest.raises(ArgumentError, match="layer 1 did not run"), replace_heads(model, ["1.0"], zeros):
        pass
    short = taken_from(head_outputs(model, TOKENS[:, :5]))
    with (
        pytest.raises(ArgumentError, match=r"\(2, 9, 8\) is to be replaced by the shape \(2, 5, 8\)"),
        replace_heads(model, ["0.0"], short),
    ):
        logits(model)
    with pytest.raises(ArgumentError, match="NaN"), replace_heads(model, ["0.0"], lambda *_: torch.nan):
        logits(model)
    for layer in [-1, 3]:
        with (
            pytest.raises(ArgumentError, match=f"layer is {layer}; it must be a whole number, from 0 to 2"),
            replace_stream(model, layer, torch.zeros(32)),
        ):
            pass
    with (
        pytest.raises(ArgumentError, match=r"no positions \[9\] in a text of 9 tokens"),
        replace_stream(model, 0, torch.zeros(32), 9),
    ):
        logits(model)
    with pytest.raises(ArgumentError, match="did not run"), replace_stream(model, 0, torch.zeros(32)):
        pass


def test_what_does_not_fit_is_refused_in_the_name_of_the_operation(model):
    for wrong in [[1, 2], None, "zeros", torch.zeros(2, 9, 7)]:
        with (
            pytest.raises(ArgumentError, match=r"^replace_heads: \(2, 9, 8\) is to be replaced"),
            replace_heads(model, ["0.0"], lambda *_, wrong=wrong: wrong),
        ):
            logits(model)
    with (
        pytest.raises(ArgumentError, match=r"^replace_stream: .*does not fit"),
        replace_stream(model, 0, torch.zeros(31)),
    ):
        logits(model)
    for positions in [[], 1.5, torch.ones(9, dtype=torch.bool), [True]]:
        with (
            pytest.raises(ArgumentError, match="positions are whole numbers, one or more"),
            replace_stream(model, 0, torch.zeros(32), positions),
        ):
            pass


def test_metrics_and_sweeps_refuse_what_they_cannot_measure(model):
    with pytest.raises(ArgumentError, match="has one only"):
        patching.text_loss(model, torch.tensor([[5]]))
    with pytest.raises(ArgumentError, match="padding must stand on the right"):
        patching.text_loss(model, TOKENS[:1], torch.tensor([[0] + [1] * 8]))
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])  # as a tokenizer gives it
    assert torch.equal(patching.text_loss(model, TOKENS, mask), patching.text_loss(model, TOKENS, mask.bool()))
    with pytest.raises(ArgumentError, match="two tokens or more"):
        patching.repeat_gain(model, torch.tensor([[5, 5]]))
    for token in [8192, -1, 0.5, " leg", torch.zeros(1, 1).long()]:
        with pytest.raises(ArgumentError, match="whole numbers from 0 to 8191"):
            patching.logit_difference(model, TOKENS, token, 0)
    metric = partial(patching.text_loss, tokens=TOKENS)
    with pytest.raises(ArgumentError, match="no head is named"):
        patching.sweep_heads(model, metric, zeros, heads=[])
    with pytest.raises(ArgumentError, match="streams is empty"):
        patching.sweep_stream(model, metric, torch.zeros(0, 2, 9, 32))


def test_metrics_by_hand(model):
    tokens, mask = pad([[5, 6, 7, 8], [9, 10]])
    found = patching.text_loss(model, tokens, mask)
    for row, ids in enumerate([[5, 6, 7, 8], [9, 10]]):
        chances = logits(model, torch.tensor([ids]))[0].log_softmax(-1)
        slow = -sum(chances[place, ids[place + 1]] for place in range(len(ids) - 1)) / (len(ids) - 1)
        assert found[row].item() == pytest.approx(slow.item(), abs=1e-5)
    twice = torch.tensor([[5, 6, 7, 5, 6, 7]])
    chances = logits(model, twice)[0].log_softmax(-1)
    loss = [-chances[place, twice[0, place + 1]].item() for place in range(5)]
    expected = (loss[0] + loss[1]) / 2 - (loss[3] + loss[4]) / 2
    assert patching.repeat_gain(model, twice).item() == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ArgumentError, match="the same piece again"):
        patching.repeat_gain(model, torch.tensor([[5, 6, 7, 5, 6, 8]]))
    last = logits(model)[:, -1]
    found = patching.logit_difference(model, TOKENS, 3, torch.tensor([4, 5]))
    torch.testing.assert_close(found, torch.stack([last[0, 3] - last[0, 4], last[1, 3] - last[1, 5]]))


def test_sweeps_equal_one_replacement_at_a_time(model):
    metric = partial(patching.text_loss, tokens=TOKENS)
    found = patching.sweep_heads(model, metric, zeros)
    assert found.shape == (2, 4, 2)
    with replace_heads(model, ["1.3"], zeros):
        assert torch.equal(found[1, 3], metric(model))
    some = patching.sweep_heads(model, metric, zeros, heads=["1.3"])
    assert torch.equal(some[1, 3], found[1, 3])
    assert torch.isnan(some).sum() == 7 * 2
    streams = read_streams(model, TOKENS.flip(0))
    found = patching.sweep_stream(model, metric, streams)
    assert found.shape == (3, 9, 2)
    with replace_stream(model, 2, streams[2], 5):
        assert torch.equal(found[2, 5], metric(model))
    own = patching.sweep_stream(model, metric, read_streams(model, TOKENS))
    torch.testing.assert_close(own, metric(model).expand(3, 9, 2), atol=1e-5, rtol=1e-5)


def test_pairs_of_unequal_length_are_refused(storybook):
    _, tokenizer = storybook
    clean, corrupted = encode_pair(tokenizer, "The dog ran home.", "The cat ran home.")
    assert clean.shape == corrupted.shape
    assert (clean != corrupted).sum() == 1
    with pytest.raises(TextError, match=r"They part at token 1: ·dog ·ran .* against ·"):
        encode_pair(tokenizer, "The dog ran home.", "The rhinoceros ran home.")
    with pytest.raises(TextError, match="nothing to patch"):
        encode_pair(tokenizer, "The dog ran home.", "The dog ran home.")
    with pytest.raises(TextError, match=r"4 and 5 tokens\. They part at token 4"):
        encode_pair(tokenizer, "The dog ran home", "The dog ran home.")


def test_without_its_induction_head_storybook_gains_less_from_repetition(storybook):
    """The finding that the machinery is for, and its control: a head of the first layer that looks at its own token."""
    model, tokenizer = storybook
    tokens = repeated_random_tokens(tokenizer, 20, sequences=4)
    whole = patching.repeat_gain(model, tokens).mean()
    found = patching.sweep_heads(model, partial(patching.repeat_gain, tokens=tokens), zeros, heads=["4.3", "5.0"])
    lost = whole - found.mean(-1)
    assert lost[4, 3] > 3 * lost[5, 0].abs()


def test_the_first_position_counted_from_the_end(model):
    found = []
    for position in (0, -9):
        with replace_stream(model, 1, torch.ones(32), position):
            found.append(logits(model))
    assert torch.equal(*found)
    with pytest.raises(ArgumentError, match=r"positions \[-10\]"), replace_stream(model, 1, torch.ones(32), -10):
        logits(model)


def test_metrics_carry_no_gradients(model):
    """A sweep keeps a number a head, and not the model's activations with it."""
    twice = torch.tensor([[5, 6, 7, 5, 6, 7]])
    for found in [
        patching.text_loss(model, twice),
        patching.repeat_gain(model, twice),
        patching.logit_difference(model, twice, 3, 4),
    ]:
        assert not found.requires_grad


@pytest.mark.parametrize("given", [None, "a word", [[1], [1, 2]]], ids=str)
def test_a_metric_that_gives_no_number_is_refused(model, given):
    with pytest.raises(ArgumentError, match="metric must return a number"):
        patching.sweep_heads(model, lambda model: given, zeros, heads=["0.0"])


def test_a_head_that_the_outputs_do_not_have_cannot_be_taken_from_them(model):
    for outputs, head in [(torch.zeros(2, 3, 8), "0.3"), (torch.zeros(1, 4, 8), "1.0")]:
        with pytest.raises(ArgumentError, match=f"it lacks {head}"), replace_heads(model, [head], taken_from(outputs)):
            logits(model)


def test_a_number_for_a_head_is_answered_with_quotes(model):
    for heads in [[0.10], [1]]:
        with pytest.raises(ArgumentError, match=r"write '0\.10' in quotes"), replace_heads(model, heads, zeros):
            pass


@pytest.mark.parametrize("run", [
    lambda model: patching.text_loss(model, TOKENS),
    lambda model: patching.repeat_gain(model, torch.tensor([[5, 6, 5, 6]])),
    lambda model: patching.logit_difference(model, TOKENS, 3, 4),
])  # fmt: skip
def test_what_predicts_nothing_or_at_random_is_refused(model, run):
    with pytest.raises(ModelError, match=r"without its unembedding \(\w+Model\)"):
        run(model.base_model)
    bridge, _ = load_bridge("storybook", device="cpu")
    with pytest.raises(ModelError, match=r"causal language model of transformers, .* a bridge of TransformerLens"):
        run(bridge)
    run(model)
    model.train()
    try:
        with pytest.raises(ModelError, match=r"call model\.eval\(\) first"):
            run(model)
    finally:
        model.eval()


def test_a_model_without_attention_has_no_heads():
    from transformers import MambaConfig, MambaForCausalLM

    from interp_helpers.weights import head_weights

    model = MambaForCausalLM(MambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1)).eval()
    for run in [
        lambda: patching.sweep_heads(model, lambda model: 1.0, zeros),
        lambda: replace_heads(model, ["0.0"], zeros).__enter__(),
        lambda: head_weights(model),
    ]:
        with pytest.raises(ModelError, match="MambaForCausalLM has no attention heads"):
            run()


@pytest.mark.parametrize(("tokens", "message"), [
    ([[1, 2]], "tokens must be a tensor of ids, .* got a list"),
    ([[1, 2], [3, 4]], "tokens must be a tensor of ids, .* got a list"),
    (torch.tensor([1, 2]), r"got \(2,\)\. For one text, give tokens\[None\]"),
])  # fmt: skip
def test_what_is_no_batch_is_answered_with_one(model, tokens, message):
    for read in [patching.text_loss, head_outputs]:
        with pytest.raises(ArgumentError, match=message) as error:
            read(model, tokens)
        assert "tokens and mask must" not in str(error.value)
