"""What `popularity=` may be, and the intervals of scores."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.distributions import quantile
from pyro_popbias.errors import UnknownNameError
from pyro_popbias.models import Additive, AffinityDistribution, FixedScoreAffinity, NormalPrior
from pyro_popbias.prediction.do_value import DoValue
from pyro_popbias.prediction.intervention import MODES, read_popularity, scores, scores_at

DRAWS = 20_000  # of an affinity
AFFINITY = AffinityDistribution(torch.tensor([-1.0, 0.3, 4.0]).double(), torch.tensor([0.04, 1.0, 2.0]).double())


@pytest.mark.parametrize("mode", MODES)
def test_modes_are_themselves(mode):
    assert read_popularity(mode, constraints.positive) == mode


@pytest.mark.parametrize("popularity", [1, np.float32(0.5), {"i": 1.0}, {"forecast": 1.0, "i": 1.0}, {}])
def test_numbers_and_mappings_are_given_values(popularity):
    assert isinstance(read_popularity(popularity, constraints.positive), DoValue)


@pytest.mark.parametrize("popularity", [None, [1.0], pd.Series([1.0]), "1.5", np.bool_(True)])
def test_anything_else_is_refused(popularity):
    with pytest.raises(
        UnknownNameError, match=r"PB-C011: popularity=.* is not available\. Modes: .*, a number, a mapping"
    ):
        read_popularity(popularity, constraints.positive)


def test_the_nearest_mode_is_named():
    with pytest.raises(
        UnknownNameError, match=r"PB-C011: popularity='posteriori' .*; did you mean 'posterior'\? Modes"
    ):
        read_popularity("posteriori", constraints.positive)


def test_given_popularity_keeps_the_error_bar_of_the_affinity():
    model = Additive(FixedScoreAffinity(), NormalPrior())
    mean, variance = torch.tensor([0.5, -1.0]).double(), torch.tensor([0.2, 0.0]).double()
    z = torch.tensor([-1.0, 2.0]).double()
    found = scores_at(model, AffinityDistribution(mean, variance), z, interval=0.9)
    x_known = scores_at(model, AffinityDistribution(mean), z, interval=0.9)
    assert found.popularity_lower is found.score
    assert found.popularity_upper is found.score
    assert found.score_sd[0] > 0.05
    assert found.score_sd[1] == pytest.approx(0.0, abs=1e-7)
    torch.testing.assert_close(found.score_lower[1], found.score[1])  # an affinity that is known, as a Normal
    torch.testing.assert_close(found.score_upper[1], found.score[1])
    torch.testing.assert_close(x_known.score, torch.sigmoid(mean + z))
    assert x_known.score_lower is x_known.score_upper is x_known.score_sd is None


@pytest.fixture(scope="module", params=list(pb.MODELS))
def model(request):
    sim = pb.simulate(users=20, items=30, interactions=60, seed=0)
    study = pb.Study(model={"name": request.param, "affinity": {"name": "embedding", "dim": 2}})
    return pb.pair(sim.events, study=study).model


def under(model, popularity, affinity, interval):
    """Return the scores of affinities, and the function from affinities to probabilities that they summarise."""
    if popularity == "given":
        z = torch.tensor(0.7).double()
        return scores_at(model, affinity, z, interval=interval), lambda x: model.conditional_probability(x, z)
    if popularity == "none":
        return scores(model, affinity, None, interval=interval), model.affinity_score
    distribution = model.prior.population()
    found = scores(model, affinity, distribution, interval=interval)
    return found, lambda x: model.marginal_probability(x, distribution)


@torch.no_grad()
@pytest.mark.parametrize("interval", [0.5, 0.9])
@pytest.mark.parametrize("popularity", ["population", "given", "none"])
def test_the_share_of_affinities_whose_probability_lies_within_is_the_interval(model, popularity, interval):
    found, probability = under(model, popularity, AFFINITY, interval)
    generator, shape = torch.Generator().manual_seed(0), (DRAWS, len(AFFINITY.mean))
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    drawn = probability(AFFINITY.mean + AFFINITY.variance.sqrt() * noise)
    tail = (1 - interval) / 2
    for beyond, share in (
        (drawn < found.score_lower, tail),
        (drawn > found.score_upper, tail),
        ((found.score_lower <= drawn) & (drawn <= found.score_upper), interval),
    ):
        error = (share * (1 - share) / DRAWS) ** 0.5
        assert (abs(beyond.double().mean(0) - share) < 4 * error).all()
    assert (found.score_lower < found.score).all()
    assert (found.score < found.score_upper).all()
    assert (abs(drawn.mean(0) - found.score) < 4 * drawn.std(0) / DRAWS**0.5).all()


@torch.no_grad()
@pytest.mark.parametrize("popularity", ["population", "given", "none"])
def test_points_have_no_interval_of_their_score(model, popularity):
    found, probability = under(model, popularity, AffinityDistribution(AFFINITY.mean), 0.9)
    torch.testing.assert_close(found.score, probability(AFFINITY.mean))
    assert found.score_lower is found.score_upper is found.score_sd is None


@torch.no_grad()
@pytest.mark.parametrize("affinity", [AFFINITY, AffinityDistribution(AFFINITY.mean)], ids=["Bayesian", "point"])
def test_popularity_moves_the_probability_between_its_values_at_quantiles_of_popularity(model, affinity):
    population = model.prior.population()
    found = scores(model, affinity, population, interval=0.8)
    for end, probability in ((found.popularity_lower, 0.1), (found.popularity_upper, 0.9)):
        z = quantile(population, probability)
        expected, _ = affinity.expect(lambda x, z=z: model.conditional_probability(x, z))
        torch.testing.assert_close(end, expected)
