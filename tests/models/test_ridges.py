"""Lines of parameters along which no data distinguish anything, and the gauge of the priors that takes them out."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import roots_genlaguerre
from torch.distributions import Gamma, LogNormal, Normal, constraints
from torch.nn.functional import logsigmoid

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.ridges import RARE
from pyro_popbias.models import (
    PDA,
    PRIORS,
    SATURATIONS,
    Additive,
    ConcentratedPrior,
    ExponentialSaturation,
    FixedScoreAffinity,
    HillSaturation,
    InverseLogistic,
    LogNormalPrior,
    NegativeBinomialExposure,
    NormalPrior,
    PowerSaturation,
    Product,
    TanhSaturation,
)

TOLERANCE = 1e-9  # nats of a small data set
MOVES = (0.25, 0.5, 2.0, 4.0)
NARROWER = (0.8, 1.5, 2.0, 4.0)  # of log z, whose density is to be 0 at the ends of the nodes
SD = 0.8  # of log z
GRID = 4001
CENTRE = -1.0
ROWS = 12  # of each item or pair
generator = torch.Generator().manual_seed(0)
AFFINITY = torch.randn(3, ROWS, generator=generator, dtype=torch.float64)
LABEL = (torch.rand(3, ROWS, generator=generator) < 0.5).double()


def double(value):
    return torch.as_tensor(value, dtype=torch.float64)


def additive(slope):
    with local_parameters():
        model = Additive(FixedScoreAffinity(), NormalPrior(), slope="free")
        del model.slope_parameter
        model.slope_parameter = double(slope)  # a number or a tensor with a gradient, and no parameter
        return model


def inverse_logistic(slope=None):
    with local_parameters():
        model = InverseLogistic(FixedScoreAffinity(), LogNormalPrior(2.0), has_slope=slope is not None)
        if slope is not None:
            model.log_slope = double(slope).log()
        return model


def product(saturation, parameter):
    with local_parameters():
        return Product(FixedScoreAffinity(), LogNormalPrior(2.0), saturation(parameter))


def pda(exponent):
    with local_parameters():
        return PDA(FixedScoreAffinity(), LogNormalPrior(2.0), PowerSaturation(exponent))


def nodes(distribution):
    """Return values of z `(n,)` and their log weights, for the trapezoidal rule on log z, or on z where it is real."""
    real = distribution.support is constraints.real
    t = torch.linspace(*((-30.0, 30.0) if real else (-60.0, 12.0)), GRID, dtype=torch.float64)
    z = t if real else t.exp()
    return z, distribution.log_prob(z) + (0.0 if real else t) + torch.log(t[1] - t[0])


def log_marginal(model, distribution, level=0.0):
    """Return log P of three items with labels, each item's z integrated over, in nats; of pairs for `pda`."""
    z, weight = nodes(distribution)
    if model.pairwise:
        return log_marginal_of_pairs(model, z[::8], weight[::8] + math.log(8), level)
    total = 0.0
    for x, label in zip(AFFINITY + level, LABEL, strict=True):
        log_p = model.likelihood(x, z.unsqueeze(-1)).log_prob(label).sum(-1)
        total += torch.logsumexp(weight + log_p, 0).item()
    return total


def log_marginal_of_pairs(model, z, weight, level):
    """Return log P of the order of rows of one item before another, both items' z integrated over, in nats."""
    kept = weight > weight.max() - 60  # beyond them no pair has a share
    z, weight = z[kept], weight[kept]
    # low enough to lie where ELU + 1 is an exponential function, whatever the level
    mine, other = (model.conditional_probability(CENTRE - x.abs() + level, z.unsqueeze(-1)) for x in AFFINITY[:2])
    sign = torch.where(LABEL[0] > 0, 1.0, -1.0)
    log_p = sum(logsigmoid(s * (a[:, None] - b[None])) for s, a, b in zip(sign, mine.T, other.T, strict=True))
    return torch.logsumexp((weight[:, None] + weight[None] + log_p).reshape(-1), 0).item()


def gauged(k):
    """Return the prior with E[z] = 1 whose log z has a standard deviation of SD / k."""
    return LogNormalPrior(1 / math.expm1((SD / k) ** 2)).population()


@dataclass(frozen=True)
class Ridge:
    """How model, distribution and b0 move together, by a factor k that is 1 where they start.

    Attributes:
        model: of k.
        distribution: of z, of k.
        level: of b0, of k.
        gauge: whether the gauge of the priors takes the ridge out.
        moves: factors.
    """

    model: object
    distribution: object
    level: object = lambda k: 0.0
    gauge: bool = True
    moves: tuple = MOVES


def log_normal(mean, sd):
    return LogNormal(double(mean), double(sd))


def gamma_of(rate):
    return Gamma(double(2.0), double(rate))


SLOPE, MEAN = 0.7, -0.5 * SD**2
RIDGES = {
    "additive, scale": Ridge(lambda k: additive(SLOPE * k), lambda k: gamma_of(2.0 * k)),
    "additive, level": Ridge(
        lambda k: additive(SLOPE),
        lambda k: Normal(double(math.log(k)), double(1.0)),
        lambda k: -SLOPE * math.log(k),
    ),
    "additive, sign": Ridge(lambda k: additive(SLOPE * k), lambda k: Normal(double(0.4 * k), double(1.0)), moves=(-1,)),
    "product, exponential": Ridge(lambda k: product(ExponentialSaturation, k), lambda k: gamma_of(2.0 * k)),
    "product, tanh": Ridge(lambda k: product(TanhSaturation, k), lambda k: gamma_of(2.0 * k)),
    "product, hill": Ridge(lambda k: product(HillSaturation, k), lambda k: gamma_of(2.0 / k)),
    "pda, exponent": Ridge(lambda k: pda(SLOPE * k), lambda k: log_normal(-0.5 / k, SD / k), moves=NARROWER),
    "pda, level": Ridge(
        lambda k: pda(SLOPE),
        lambda k: log_normal(-0.5 + 0.2 * math.log(k) / SLOPE, SD),
        lambda k: -0.2 * math.log(k),
    ),
    "inverse-logistic, level": Ridge(
        lambda k: inverse_logistic(), lambda k: log_normal(MEAN + math.log(k), SD), lambda k: -math.log(k)
    ),
    # the gauge alone leaves these: a study that learns both is warned of
    "pda, exponent and concentration": Ridge(
        lambda k: pda(SLOPE * k), gauged, lambda k: SLOPE * MEAN * (1 - 1 / k), gauge=False, moves=NARROWER
    ),
    "inverse-logistic, slope and concentration": Ridge(
        lambda k: inverse_logistic(SLOPE * k), gauged, lambda k: SLOPE * MEAN * (1 - 1 / k), gauge=False, moves=NARROWER
    ),
}


@pytest.mark.parametrize("name", RIDGES)
def test_likelihood_is_the_same_along_a_ridge(name):
    ridge = RIDGES[name]
    start = log_marginal(ridge.model(1), ridge.distribution(1), ridge.level(1))
    assert start < -1
    for k in ridge.moves:
        moved = ridge.model(k), ridge.distribution(k), ridge.level(k)
        assert log_marginal(*moved) == pytest.approx(start, abs=TOLERANCE), k
        # the distribution without the rest is somewhere else
        assert abs(log_marginal(ridge.model(1), ridge.distribution(k), ridge.level(1)) - start) > 1e-4, k


@pytest.mark.parametrize("name", RIDGES)
def test_gauge_of_the_priors_takes_a_ridge_out(name):
    ridge = RIDGES[name]
    for k in ridge.moves:
        moved = ridge.distribution(k)
        level = moved.mean if moved.support is constraints.real else moved.mean.log()
        assert (abs(level.item()) < 1e-12) != ridge.gauge


@pytest.mark.parametrize("name", PRIORS)
def test_no_key_of_a_study_moves_the_scale_of_popularity(name):
    cls = PRIORS[name]
    assert set(cls.config.model_fields) <= {"name", "source", "concentration", "counts", "drift"}
    with local_parameters():
        priors = [cls(a) for a in (0.3, 2.0, 40.0)] if issubclass(cls, ConcentratedPrior) else [cls()]
    for prior in priors:
        population = prior.population()
        if cls.support is constraints.real:
            assert (population.mean.item(), population.stddev.item()) == (0.0, 1.0)
        else:
            assert population.mean.item() == pytest.approx(1.0, rel=1e-12)


def test_normal_popularity_has_a_mirror_image_and_a_positive_slope_has_none():
    standard = NormalPrior().population()
    assert log_marginal(additive(-SLOPE), standard) == pytest.approx(log_marginal(additive(SLOPE), standard), abs=1e-9)
    with local_parameters():
        model = Additive(FixedScoreAffinity(), NormalPrior(), slope="positive")
    model.slope_parameter.data.fill_(-9.0)
    assert model.slope.item() > 0


def test_ridge_of_pda_ends_where_elu_is_a_straight_line():
    ridge = RIDGES["pda, level"]
    start = log_marginal(ridge.model(1), ridge.distribution(1), 5.0)
    assert abs(log_marginal(ridge.model(4), ridge.distribution(4), 5.0 + ridge.level(4)) - start) > 1e-3


@pytest.mark.parametrize(("centre", "least", "most"), [(-4.0, 0.0, 5.0), (0.5, 500.0, np.inf)])
def test_rate_and_intercept_are_nearly_one_number_where_clicks_are_rare(centre, least, most):
    """What 20,000 labels say against a rate of 1/e in place of 1, with z known and b0 and the scale of x free."""
    x, of_x = np.polynomial.hermite_e.hermegauss(40)
    z, of_z = roots_genlaguerre(40, 1.0)  # Gamma(2, 1)
    weight = double((of_x / of_x.sum())[:, None] * of_z / of_z.sum())

    def log_odds_parts(level, scale, rate):
        at = double(level + scale * x).unsqueeze(-1), double(z / 2)
        likelihood = product(ExponentialSaturation, rate).likelihood(*at)
        return [likelihood.log_prob(torch.full(weight.shape, label).double()) for label in (1.0, 0.0)]

    truth = log_odds_parts(centre, 0.94, 1.0)

    def loss(at):
        other = log_odds_parts(*at, math.exp(-1))
        return 20_000 * float(sum((weight * p.exp() * (p - q)).sum() for p, q in zip(truth, other, strict=True)))

    found = minimize(loss, [centre + 1, 1.0], method="Nelder-Mead", options={"fatol": 1e-4})
    assert least < found.fun < most


def deviations(likelihood, level, *, items=500, rows=40):
    """Return what sd of b0, log scale and log a labels leave, and the share of label 1: E[z] = 1, a = 2, x = b0 for all rows."""
    t = torch.linspace(-40, 6, 2001, dtype=torch.float64)
    k = torch.arange(rows + 1.0, dtype=torch.float64)
    orders = torch.lgamma(k[-1] + 1) - torch.lgamma(k + 1) - torch.lgamma(k[-1] - k + 1)

    def log_p(theta):
        """Return log P of k positives among the rows of an item, `(rows + 1,)`."""
        a = theta[2].exp()
        weight = Gamma(a, a).log_prob(t.exp()) + t + torch.log(t[1] - t[0])
        of_labels = likelihood(theta[0], theta[1].exp(), t.exp())
        one, other = (of_labels.log_prob(double(label)) for label in (1.0, 0.0))
        log_p = k[:, None] * one + (rows - k)[:, None] * other
        return orders + torch.logsumexp(weight + log_p, 1)

    theta = double([level, 0.0, math.log(2.0)])
    p, slopes = log_p(theta).exp(), torch.autograd.functional.jacobian(log_p, theta)
    information = items * (slopes.T * p) @ slopes
    return torch.linalg.inv(information).diagonal().sqrt(), (p * k).sum().item() / rows


@pytest.mark.parametrize(("level", "share", "sd"), [(-1.0, 0.149, 0.26), (-2.0, 0.066, 0.65), (-2.5, 0.042, 1.19)])
def test_labels_say_less_of_a_rate_than_its_prior_where_clicks_are_rare(level, share, sd):
    """The figures beside `RARE`: the prior of the log rate has a standard deviation of 1."""

    def likelihood(level, rate, z):
        return product(ExponentialSaturation, rate).likelihood(level, z)

    left, clicks = deviations(likelihood, level)
    assert clicks == pytest.approx(share, abs=0.001)
    assert left[1].item() == pytest.approx(sd, rel=0.02)
    assert (left[1] > 1) == (clicks < RARE)


def test_the_additive_model_knows_slope_and_concentration_by_the_shape_of_popularity():
    """E[z] = 1 leaves them apart, so that no study is warned of: with a = 2 labels say more than both priors, of sd 1."""

    def likelihood(level, slope, z):
        return additive(slope).likelihood(level, z)

    left, _ = deviations(likelihood, -1.0)
    assert left[1:].tolist() == pytest.approx([0.13, 0.29], rel=0.05)


def test_a_factor_of_a_probability_has_the_bound_1():
    for name, saturation in SATURATIONS.items():
        assert Product.takes_saturation(saturation) == saturation.bounded, name
        if saturation.bounded:
            assert saturation(1.0)(double(1e15)).item() == pytest.approx(1.0)


@pytest.mark.parametrize("model", ["additive", "inverse-logistic"])
def test_bias_of_an_item_and_its_popularity_are_one_number(model):
    made, z, bias = additive(SLOPE) if model == "additive" else inverse_logistic(), double([0.4, 1.0, 2.5]), 0.3
    shifted = z - bias / SLOPE if model == "additive" else z * math.exp(-bias)

    def log_p(popularity, bias):
        return made.likelihood(AFFINITY + bias, popularity.unsqueeze(-1)).log_prob(LABEL).sum()

    torch.testing.assert_close(log_p(shifted, bias), log_p(z, 0.0), rtol=0, atol=TOLERANCE)
    assert abs(log_p(z, bias) - log_p(z, 0.0)) > 1e-3


def test_no_item_has_a_free_number_next_to_its_popularity():
    """The factorization machine has vectors of items and no weight of one; a quality needs counts."""
    sim = pb.simulate(affinity="factorization-machine", users=40, items=30, interactions=600)
    study = pb.Study(model={"affinity": {"name": "factorization-machine", "dim": 3}, "exposure": "none"})
    made = pb.pair(sim.events, study=study)
    tables = {name: tuple(each.shape) for name, each in made.model.affinity.named_parameters() if 30 in each.shape}
    assert list(tables.values()) == [(30, 3)]
    declared = {"name": "factorization-machine", "item_quality": True}
    with pytest.raises(pb.ConfigError, match="PB-C401: item_quality = true, but nothing tells"):
        pb.pair(sim.events, study=study.replace("model", affinity=declared))


def test_popularity_without_a_prior_would_absorb_item_features_and_the_intercept():
    sim = pb.simulate("additive", "linear", prior="normal", users=40, items=30, interactions=600)
    affinity = {"name": "linear", "user_bias": False}
    model = {"name": "additive", "affinity": affinity, "prior": {"name": "normal"}, "exposure": "none"}
    made = pb.pair(sim.events, study=pb.Study(model=model, guide={"name": "normal"}))
    batch = made.whole()

    def logits(user, item, level, z):
        weights = {"beta_user": Normal(user, torch.ones(4)), "beta_item": Normal(item, torch.ones(4))}
        mean = made.model.affinity.relative(batch.user, batch.item, None, weights).mean
        return mean + level + z[batch.item]

    start = (torch.zeros(4).double(), torch.zeros(4).double(), double(0.0), torch.zeros(30).double())
    design = torch.cat(
        [part.reshape(len(batch.item), -1) for part in torch.autograd.functional.jacobian(logits, start)], 1
    )
    assert design.shape[1] - torch.linalg.matrix_rank(design).item() == 4 + 1


@pytest.mark.slow
def test_slope_and_quality_of_popular_items_are_nearly_one_number():
    """Counts know popularity but for a factor: with logit = slope z + b, b ~ Normal(w log n, s), there is a ridge of three."""
    items, dispersion, slope, weight, sd = 150, 10.0, 1.0, 0.3, 0.5
    rng = np.random.default_rng(0)
    z = rng.normal(size=items)
    count = 1 + rng.poisson(300 * np.exp(z - 0.5) * rng.gamma(dispersion, 1 / dispersion, size=items))
    log_count = double(np.log(count) - np.log(count).mean())
    logit = slope * z + rng.normal(weight * log_count.numpy(), sd)
    positives = double(rng.binomial(count, 1 / (1 + np.exp(-logit))))
    exposure = NegativeBinomialExposure(double(count), 1, dispersion=dispersion, power=1.0, real=True)
    t, step = torch.linspace(-5, 5, 201, dtype=torch.float64), 0.05
    of_z = Normal(double(0.0), double(1.0)).log_prob(t)[:, None]
    of_z = of_z + exposure.log_likelihood(torch.arange(items), t[:, None].expand(-1, items))

    def log_marginal(slope, weight, sd):
        """Return log P of counts and labels, z and b integrated over, in nats."""
        b = weight * log_count + sd * t[:, None, None]  # nodes of b, then of z, then items
        made = additive(slope)
        one, other = (made.likelihood(b, t[:, None]).log_prob(double(label)) for label in (1.0, 0.0))
        log_p = positives * one + (double(count) - positives) * other
        of_b = Normal(double(0.0), double(1.0)).log_prob(t)[:, None, None]
        return torch.logsumexp((of_z + of_b + log_p).reshape(-1, items) + 2 * math.log(step), 0).sum().item()

    start, smaller = log_marginal(slope, weight, sd), 0.6
    scatter = torch.special.polygamma(1, double(dispersion)).item()  # variance of log n given z, rows being many
    share = scatter / (1 + scatter)  # of the variance of z that counts leave
    moved = weight + (slope - smaller) * (1 - share), math.sqrt(sd**2 + (slope**2 - smaller**2) * share)
    assert log_marginal(smaller, *moved) == pytest.approx(start, abs=2.0)
    assert log_marginal(smaller, weight, sd) < start - 10
