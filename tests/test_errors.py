"""The checks that all other modules share, at the edges of what they let through."""

from copy import deepcopy

import pytest
import torch
from tiny import HEADS, tiny

from interp_helpers import ArgumentError, ModelError
from interp_helpers.errors import check_attention, check_readable, check_seed, checked_ids, head_count


def test_a_seed_is_one_that_torch_takes():
    for seed in [0, 2**63 - 1]:
        check_seed("here", seed)
        torch.Generator().manual_seed(seed)
    for seed in [-1, 2**63]:
        with pytest.raises(ArgumentError, match=f"here: seed is {seed}"):
            check_seed("here", seed)


def test_ids_go_from_0_to_the_last_of_the_vocabulary():
    assert checked_ids("here", torch.tensor([0, 7]), 8, (2,)).tolist() == [0, 7]
    assert checked_ids("here", 7, 8, (2,)).tolist() == [7, 7]
    for ids in [torch.tensor([0, 8]), torch.tensor([-1, 0]), torch.tensor([], dtype=torch.long), 8, -1]:
        with pytest.raises(ArgumentError, match="whole numbers from 0 to 7"):
            checked_ids("here", ids, 8, (2,) if not isinstance(ids, torch.Tensor) else tuple(ids.shape))


def even(*rows, dtype=torch.double):
    """(head, query, key), all weights a fourth but for rows: ((head, query), what stands there)."""
    pattern = torch.full((2, 3, 4), 0.25, dtype=dtype)
    for place, row in rows:
        pattern[place] = torch.tensor(row, dtype=dtype)
    return pattern


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([((1, 2), [0.25, 0.25, 0.25, 0.5])], "head 1, query 2 sums to 1.25, its smallest weight is 0.25"),
        ([((0, 1), [-0.5, 0.5, 0.5, 0.5])], "head 0, query 1 sums to 1, its smallest weight is -0.5"),
        ([((1, 0), [0.25, 0.25, 0.25, 0.2511])], "head 1, query 0 sums to 1.001"),
        ([((1, 2), [0.0] * 4), ((0, 1), [0.0] * 4), ((1, 0), [0.0] * 4)], "head 0, query 1 sums to 0"),
    ],
)
def test_rows_of_attention_sum_to_1_with_no_weight_below_0(rows, message):
    with pytest.raises(ArgumentError, match=f"here: pattern's row of {message}"):
        check_attention("here", even(*rows))
    counted = torch.ones(2, 3, dtype=torch.bool)
    for place, _ in rows:
        counted[place] = False
    check_attention("here", even(*rows), counted)


def test_attention_may_be_off_by_what_rounding_does():
    check_attention("here", even(((1, 0), [0.25, 0.25, 0.25, 0.2509])))
    check_attention("here", even(((1, 0), [0.25, 0.25, 0.25, 0.2578]), dtype=torch.float16))
    with pytest.raises(ArgumentError, match="head 1, query 0"):
        check_attention("here", even(((1, 0), [0.25, 0.25, 0.25, 0.2656]), dtype=torch.float16))


def test_a_row_is_named_by_its_place_where_the_pattern_has_other_axes():
    pattern = even(((0, 1), [0.5, 0.5, 0.5, 0.0]))
    for given, place in [(pattern[0], r"\[1\]"), (pattern[None], r"\[0, 0, 1\]")]:
        with pytest.raises(ArgumentError, match=f"row of {place}, query last, sums to 1.5"):
            check_attention("here", given)


def test_a_model_that_is_read_is_in_eval_mode_and_predicts_where_it_has_to():
    model, bridge = tiny("gpt2"), deepcopy(tiny("gpt2"))
    bridge.run_with_cache = None
    for logits in (False, True):
        check_readable("here", model, logits=logits)
        with pytest.raises(ModelError, match=r"here: the model is in train mode.*model\.eval\(\)"):
            check_readable("here", deepcopy(model).train(), logits=logits)
    for other, kind in [
        (model.transformer, "a model without its unembedding"),
        (bridge, "a bridge of TransformerLens"),
    ]:
        check_readable("here", other)
        with pytest.raises(ModelError, match=f"here: the model must be .* got {kind}"):
            check_readable("here", other, logits=True)


def test_a_model_without_heads_has_none_to_count():
    from transformers import MambaConfig, MambaForCausalLM

    assert head_count("here", tiny("gpt2")) == HEADS
    model = MambaForCausalLM(MambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, state_size=2))
    with pytest.raises(ModelError, match="here: MambaForCausalLM has no attention heads"):
        head_count("here", model)
