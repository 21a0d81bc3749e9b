"""The checks that all other modules share, at the edges of what they let through."""

import pytest
import torch

from interp_helpers import ArgumentError
from interp_helpers.errors import check_seed, checked_ids


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
