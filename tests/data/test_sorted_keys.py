"""Searching many keys at once finds what a search for each of them finds."""

import pytest
import torch

from pyro_popbias.data.sorted_keys import BLOCK, SortedKeys


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 40 * BLOCK + 3])
def test_counts_are_those_of_a_search_of_each(size, dtype):
    random = torch.Generator().manual_seed(size)
    keys = torch.randint(200, (size,), generator=random).sort().values.to(dtype)
    key = torch.randint(-5, 205, (500,), generator=random).to(dtype)
    expected = torch.searchsorted(keys, key, right=True)
    start = (expected * torch.rand(500, generator=random)).long()
    longest = int((expected - start).max())
    torch.testing.assert_close(SortedKeys(keys, longest).count_up_to(key, start), expected)
    torch.testing.assert_close(SortedKeys(keys, size).count_up_to(key, torch.zeros_like(start)), expected)
