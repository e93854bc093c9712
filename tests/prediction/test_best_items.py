"""The k largest numbers of rows; of ties the lowest columns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pyro_popbias.prediction.best_items import best_items, largest


def sorted_ways(score, k):
    """Return the first k columns of a full sort, by falling score and rising column."""
    return np.lexsort((np.broadcast_to(np.arange(score.shape[1]), score.shape), -score))[:, :k]


@settings(max_examples=60, deadline=None)
@given(
    items=st.integers(1, 700),
    share=st.floats(0, 1),
    levels=st.sampled_from([1, 3, 40, None]),
    seen=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)
def test_best_items_are_those_of_a_full_sort(items, share, levels, seen, seed):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(5, items)).astype("float32")
    if levels is not None:  # ties
        score = np.floor(rng.random((5, items)) * levels).astype("float32")
    k = 1 + int(share * (items - 1))
    mask = rng.random((5, items)) < seen
    best, column = best_items(torch.from_numpy(score.copy()), k, sparse.csr_array(mask))
    score[mask] = -np.inf
    order = sorted_ways(score, k)
    kept = np.take_along_axis(score, order, 1)
    np.testing.assert_array_equal(best.numpy(), kept)
    there = kept > -np.inf
    np.testing.assert_array_equal(column.numpy()[there], order[there])


@pytest.mark.parametrize(("items", "k"), [(1_000, 3), (997, 9), (100, 25), (100, 26), (50, 50)])
def test_largest_are_those_of_topk_with_and_without_groups(items, k):
    score = torch.randn(6, items, generator=torch.Generator().manual_seed(items))
    best, column = largest(score, k)
    expected = torch.topk(score, k, dim=1)
    torch.testing.assert_close(best, expected.values, rtol=0, atol=0)
    torch.testing.assert_close(column, expected.indices, rtol=0, atol=0)
