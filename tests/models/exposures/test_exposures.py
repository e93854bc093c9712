"""The exposure part: expectations against quadrature, over every exposure and family of q; the program; its parameters."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Exponential, Gamma, LogNormal, Normal, Weibull

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import pair
from pyro_popbias.models import EXPOSURES, MODELS

# the slope of the additive model is on a ridge with the quality of items: these tests ask for no recovery
COUNTS = torch.tensor([3.0, 40.0, 0.0, 11.0, 500.0, 1.0])  # of three items in two periods
PERIODS, SHAPE = 2, 1.7
FAMILIES = {
    "gamma": (Gamma(torch.tensor(2.3).double(), torch.tensor(1.9).double()), stats.gamma(2.3, scale=1 / 1.9)),
    "gamma, far": (Gamma(torch.tensor(0.4).double(), torch.tensor(0.1).double()), stats.gamma(0.4, scale=10.0)),
    "exponential": (Exponential(torch.tensor(0.7).double()), stats.expon(scale=1 / 0.7)),
    "weibull": (Weibull(torch.tensor(1.2).double(), torch.tensor(SHAPE).double()), stats.weibull_min(SHAPE, scale=1.2)),
    "lognormal": (
        LogNormal(torch.tensor(0.3).double(), torch.tensor(0.8).double()),
        stats.lognorm(0.8, scale=math.exp(0.3)),
    ),
    "normal": (Normal(torch.tensor(0.3).double(), torch.tensor(0.8).double()), stats.lognorm(0.8, scale=math.exp(0.3))),
}


def made(name, *, real=False, power=None):
    with local_parameters():
        cls = EXPOSURES[name]
        config = cls.config(name=name) if power is None else cls.config(name=name, power=power)
        return cls.from_config(config, COUNTS, PERIODS, real=real)


def log_probability(exposure, cell, z):
    """Return log P(n | z) by scipy's formulas."""
    mean = np.exp(exposure.log_base(torch.tensor([cell])).item()) * z ** exposure.log_power.exp().item()
    count = COUNTS[cell].item()
    if hasattr(exposure, "log_dispersion"):
        r = exposure.log_dispersion.exp().item()
        constant = math.lgamma(count + r) - math.lgamma(r) - math.lgamma(count + 1)
        return constant - r * np.log1p(mean / r) + count * (np.log(mean / r) - np.log1p(mean / r))
    return stats.poisson.logpmf(count, mean)


@pytest.mark.parametrize("name", EXPOSURES)
@pytest.mark.parametrize("power", [0.6, 1.0, 1.8])
@pytest.mark.parametrize("family", FAMILIES)
def test_expectation_is_that_of_quadrature(name, power, family):
    q, reference = FAMILIES[family]
    exposure = made(name, real=family == "normal", power=power)
    with torch.no_grad():
        if exposure.free_level:
            exposure.level.fill_(0.3)
    for cell in (0, 1, 4):
        expected, _ = integrate.quad(
            lambda t, cell=cell: reference.pdf(np.exp(t)) * np.exp(t) * log_probability(exposure, cell, np.exp(t)),
            -110.0,
            6.0 if family != "gamma, far" else 7.0,
            limit=400,
            points=[-40.0, -5.0, 0.0, 2.0],
        )
        found = exposure.expected_log_probability(q.expand((1,)), torch.tensor([cell])).item()
        assert found == pytest.approx(expected, rel=5e-6, abs=1e-6)


@pytest.mark.parametrize("name", EXPOSURES)
@pytest.mark.parametrize("real", [False, True])
def test_values_are_those_of_the_formula(name, real):
    exposure = made(name, real=real, power=1.4)
    z = np.array([0.2, 1.0, 3.0])
    given = torch.from_numpy(np.log(z) if real else z)
    for cell in (0, 1, 4):
        found = exposure.log_likelihood(torch.full((3,), cell), given).detach()
        np.testing.assert_allclose(found, log_probability(exposure, cell, z), rtol=1e-9)
    assert (exposure.log_likelihood(torch.full((3,), 2), given) == 0).all()  # a cell without rows says nothing


@pytest.mark.parametrize("name", EXPOSURES)
def test_information_is_that_of_the_slopes(name):
    exposure, q = made(name, power=1.3), LogNormal(torch.zeros(1).double(), torch.full((1,), 1e-4).double())
    mean = exposure.log_base(torch.tensor([1])).exp().item()
    count = np.arange(0, 3_000)
    if hasattr(exposure, "log_dispersion"):
        r = exposure.log_dispersion.exp().item()
        weight, slope = stats.nbinom.pmf(count, r, r / (r + mean)), 1.3 * r * (count - mean) / (r + mean)
    else:
        weight, slope = stats.poisson.pmf(count, mean), 1.3 * (count - mean)
    assert exposure.information(torch.tensor([1]), q).item() == pytest.approx((weight * slope**2).sum(), rel=1e-5)


def test_the_mean_of_a_period_is_that_of_its_items_with_rows():
    assert made("poisson").base.tolist() == [(3 + 500) / 2, (40 + 11 + 1) / 3]


def test_the_negative_binomial_ends_at_poisson():
    wide, poisson = made("negative-binomial", power=1.0), made("poisson", power=1.0)
    with torch.no_grad():
        wide.log_dispersion.fill_(math.log(1e7))
    q, cell = Gamma(torch.full((2,), 5.0).double(), torch.full((2,), 4.0).double()), torch.tensor([0, 1])
    found, expected = (each.expected_log_probability(q, cell).detach() for each in (wide, poisson))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("name", EXPOSURES)
@pytest.mark.parametrize("kind", ["real", "another mean"])
def test_draws_replace_every_parameter(name, kind):
    with local_parameters():
        cls, own = EXPOSURES[name], {"real": kind == "real", "free_level": kind != "real"}
        exposure = cls.from_config(cls.config(name=name), COUNTS, PERIODS, **own)
    before = {key: value.item() for key, value in exposure.estimates().items()}
    assert set(exposure.log_prior()) == set(before) == {"exposure_power" if kind == "real" else "exposure_level"}
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        exposure.draw_from_prior()
    assert all(exposure.estimates()[key].item() != value for key, value in before.items())


def events(rows=400, periods=1, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.gamma(1.0, size=15)
    item = rng.choice(15, size=rows, p=weight / weight.sum())
    frame = pd.DataFrame({"user": rng.integers(20, size=rows), "item": item, "label": rng.integers(2, size=rows)})
    times = {} if periods == 1 else {"time": "time", "periods": periods}
    return pb.Interactions.from_frame(frame.assign(time=rng.random(rows)), label="label", **times)


def study(model="product", exposure="poisson", guide=None, **affinity):
    real = MODELS[model].latents["popularity"].support is torch.distributions.constraints.real
    return pb.Study(
        model={
            "name": model,
            "exposure": exposure,
            "prior": {"name": "normal" if real else "gamma"},
            "affinity": {"name": "embedding", "dim": 2, **affinity},
        },
        guide={"name": guide or ("normal" if real else "gamma")},
        training={"validation": 0.0, "device": "cpu", "epochs": 2, "phase_two": 1},
    )


LABELLED = [name for name, cls in MODELS.items() if not cls.pairwise]


@pytest.mark.parametrize("model", LABELLED)
@pytest.mark.parametrize("exposure", EXPOSURES)
def test_batches_are_unbiased(model, exposure):
    """The counts' part of the objective, summed over the batches of an epoch, is that of all rows at once."""
    made = pair(events(periods=2), study=study(model, exposure))

    def of_counts(batch):
        with torch.no_grad():
            q = made.guide.popularity.posterior(batch.cell)
            count = made.model.exposure.count[batch.cell] > 0
            return (batch.weight * made.model.exposure.expected_log_probability(q, batch.cell) * count).sum().item()

    batches = list(made.rows.batches(64, seed=0, epoch=0))
    share = [len(batch.user) / len(made.rows) for batch in batches]
    found = sum(part * of_counts(batch) for part, batch in zip(share, batches, strict=True))
    assert len(batches) > 3
    assert found == pytest.approx(of_counts(made.whole()), rel=1e-6)  # weights are rounded to float32


@pytest.mark.parametrize("exposure", EXPOSURES)
@pytest.mark.parametrize("model", LABELLED)
def test_the_objective_has_the_expectation(model, exposure):
    """With and without counts the objective differs by their expectation and the log priors, draw by draw."""
    made = pair(events(), study=study(model=model, exposure=exposure))
    batch, part = made.whole(), made.model.exposure

    def terms():
        torch.manual_seed(0)
        made.objective(made.model, made.guide)(batch)
        return made.objective.latest

    with torch.random.fork_rng(), torch.no_grad(), local_parameters():
        with_counts = terms()
        made.model.exposure = None
        without = terms()
        q = made.guide.popularity.posterior(batch.cell)
        expected = part.expected_log_probability(q, batch.cell).sum()
    found = with_counts.expected_log_likelihood - without.expected_log_likelihood
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    own = sum(part.log_prior().values(), start=torch.zeros(()))
    assert (with_counts.log_prior - without.log_prior).item() == pytest.approx(own.item(), abs=1e-9)
    assert with_counts.kl == without.kl


def test_several_draws_of_a_cell_are_one_expectation():
    made = pair(events(), study=study(exposure="negative-binomial"))
    batch = made.rows.with_draws(4).whole()
    assert len(batch.cell) > len(batch.cell.unique())
    q, part = made.guide.popularity.posterior(batch.cell), made.model.exposure
    torch.testing.assert_close(part._once_per_cell(q, batch), part.expected_log_probability(q, batch.cell))


@pytest.mark.slow
@pytest.mark.parametrize("model", LABELLED)
@pytest.mark.parametrize("exposure", EXPOSURES)
def test_it_is_trained_checked_and_saved(model, exposure, tmp_path, phase_two_as):
    with phase_two_as(steps=3, cycle=2, most_cycles=1):
        fit = pb.fit(events(), study=study(model, exposure), progress=False)
    assert set(fit.model.exposure.estimates()) <= set(fit.parameters()["name"])
    assert {"item_quality_scale", "quality_popularity_correlation"} <= set(fit.parameters()["name"])
    fit.check()
    fit.save(tmp_path / "run")
    again = pb.load(tmp_path / "run")
    for own, other in ((fit.items(), again.items()), (fit.recommend(k=3), again.recommend(k=3))):
        pd.testing.assert_frame_equal(own, other)
    assert torch.equal(again.model.exposure.count, fit.model.exposure.count)


@pytest.mark.parametrize("guide", ["point", "auto-normal", "amortized-gamma", "weibull", "lognormal"])
def test_every_kind_of_guide_takes_counts(guide, phase_two_as):
    with phase_two_as(steps=3, cycle=2, most_cycles=1):
        fit = pb.fit(events(), study=study(exposure="negative-binomial", guide=guide), progress=False)
    assert np.isfinite(fit.history[fit.guide.popularity.maximises]).all()
    assert np.isfinite(fit.popularity()["mean"]).all()


def test_an_additive_model_of_positive_popularity_takes_counts(phase_two_as):
    declared = pb.Study(
        model={"name": "additive", "exposure": "negative-binomial", "affinity": {"name": "embedding", "dim": 2}},
        training={"validation": 0.0, "device": "cpu", "epochs": 2},
    )
    with phase_two_as(steps=3, cycle=2, most_cycles=1):
        fit = pb.fit(events(), study=declared, progress=False)
    assert not fit.model.exposure.real
    assert np.isfinite(fit.history["elbo"]).all()
