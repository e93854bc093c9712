"""The bound behind lists by expected score, and lists where it is loose."""

import numpy as np
import pytest
import torch

from pyro_popbias.models import AffinityDistribution
from pyro_popbias.prediction import best_expectations
from pyro_popbias.prediction.best_expectations import Expectations, expected
from pyro_popbias.prediction.best_items import best_items

FUNCTIONS = {
    "logistic": torch.sigmoid,
    "rare": lambda x: torch.sigmoid(x - 8),
    "convex": lambda x: torch.where(x > 0, 1 + x, x.clamp(max=0).exp()),
    "steps": lambda x: torch.floor(2 * x),  # increasing, and nothing else
}

ROUNDED = 1e-12  # sums of the same terms in another order


def random_case(seed, users=9, items=700):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(users, items, generator=generator, dtype=torch.float64) * (1 + seed % 3)
    variance = torch.exp(torch.randn(users, items, generator=generator, dtype=torch.float64) * (seed % 4))
    return mean, variance


def expectations(mean, variance, function):
    return Expectations(
        lambda row, item: AffinityDistribution(mean[row].gather(1, item), variance[row].gather(1, item)),
        lambda row: AffinityDistribution(mean[row], variance[row]),
        function,
        variance.amin(1),
        variance.amax(1),
    )


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("seed", range(8))
def test_no_item_of_lower_mean_scores_more_than_the_bound(function, seed):
    mean, variance = random_case(seed)
    score = expected(AffinityDistribution(mean, variance), function)
    row = torch.arange(len(mean))
    for share in (0.1, 0.5, 0.9, 1.0):
        highest = mean.quantile(share, dim=1)
        bound = expectations(mean, variance, function)._at_most(row, highest)
        assert (torch.where(mean <= highest.unsqueeze(1), score, -torch.inf).amax(1) <= bound + ROUNDED).all()


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("seed", range(8))
def test_lists_are_those_of_all_scores(function, seed, monkeypatch):
    monkeypatch.setattr(best_expectations, "FIRST", 8)
    mean, variance = random_case(seed)
    score = expected(AffinityDistribution(mean, variance), function)
    order = mean.clone()
    seen = torch.from_numpy(np.random.default_rng(seed).random(mean.shape) < 0.3)
    seen[0, 5:] = True  # one user is left fewer items than are asked for
    order[seen], score[seen] = -torch.inf, -torch.inf
    best, column = expectations(mean, variance, function).best(order, 6)
    expected_best, expected_column = best_items(score, 6, None)
    torch.testing.assert_close(best, expected_best, rtol=1e-12, atol=0)
    there = best > -torch.inf
    # items of one score are in the order of their codes only where all of them are candidates
    torch.testing.assert_close(score.gather(1, column)[there], best[there], rtol=1e-12, atol=0)
    if function is not FUNCTIONS["steps"]:
        assert (column[there] == expected_column[there]).all()


def test_few_items_are_scored_where_variances_are_alike():
    mean, variance = random_case(0, items=5_000)
    asked = []
    made = expectations(mean, variance * 0 + 1.0, torch.sigmoid)

    def among(row, item):
        asked.append(item.shape[1])
        return made.among(row, item)

    counting = Expectations(
        among, lambda row: pytest.fail("all items were scored"), torch.sigmoid, made.least, made.most
    )
    counting.best(mean.clone(), 5)
    assert asked == [best_expectations.FIRST]
