"""How often simulated items are shown."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import chisquare, kstest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.simulation.exposures import log_weights
from pyro_popbias.simulation.populations import DISTRIBUTIONS

MANY = {"users": 2, "items": 5_000, "interactions": 100_000, "dim": 1}  # 20 rows of an item
SMALL = {"users": 60, "items": 40, "interactions": 3_000, "dim": 3, "seed": 5}
# sha256 of users, items, labels and periods as drawn before there were dispersion, quality and bias
RECORDED = {
    ("product", "plain"): "689dd1b7ad20331c",
    ("product", "periods"): "8deae86aee2248f7",
    ("product", "exposure"): "46670e23a1558eeb",
    ("additive", "plain"): "f59fac5fbe09d531",
    ("additive", "periods"): "842f86cfd3541f15",
    ("additive", "exposure"): "33f5f60570a5880d",
    ("inverse-logistic", "plain"): "4c35c56cdeb67fcf",
    ("inverse-logistic", "periods"): "c24472cce5b00a11",
    ("inverse-logistic", "exposure"): "06d5cb892af775b0",
    ("pda", "plain"): "7b985e5283a49fb1",
    ("pda", "periods"): "d588c184c9e4f932",
}


def counts(simulation):
    """Return rows of each item and period, and z, `(items, periods)` both."""
    z = simulation.truth["popularity"].pivot(index="item", columns="period", values="z")
    frame = simulation.frame
    period = np.floor(frame["time"]).astype(int) if "time" in frame else pd.Series(0, index=frame.index)
    found = frame.groupby(["item", period]).size().unstack(fill_value=0)
    return found.reindex(index=z.index, columns=z.columns, fill_value=0).to_numpy(), z.to_numpy()


@pytest.mark.parametrize("r", [0.5, 3.0])
@pytest.mark.parametrize("periods", [1, 2])
@pytest.mark.parametrize("exposure", [0.0, 0.7])
def test_counts_have_the_variance_of_negative_binomial_ones(exposure, periods, r):
    options = {"exposure": exposure, "exposure_dispersion": r, "periods": periods}
    count, z = counts(pb.simulate(**MANY, **options, seed=1))
    mean = count.sum() / periods * z**exposure / (z**exposure).sum(0)
    ratio = (count - mean) ** 2 / (mean + mean**2 / r)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(ratio.size)
    if periods > 1:  # each period has its own draws
        error = (count - mean) / np.sqrt(mean + mean**2 / r)
        assert abs(np.corrcoef(error.T)[0, 1]) < 4 / np.sqrt(len(z))


@pytest.mark.parametrize("r", [0.5, 3.0])
def test_counts_are_negative_binomial(r):
    count, _ = counts(pb.simulate(**MANY, exposure_dispersion=r, seed=2))
    edges = np.array([0, 1, 3, 6, 10, 15, 20, 30, 40, 60])
    share = np.diff([*stats.nbinom(r, r / (r + 20)).cdf(edges - 1), 1.0])
    found = np.histogram(count, [*edges, np.inf])[0]
    assert chisquare(found, len(count) * share).pvalue > 1e-4


def test_counts_without_dispersion_are_poisson():
    count, z = counts(pb.simulate(**MANY, exposure=0.7, seed=1))
    mean = count.sum() * z**0.7 / (z**0.7).sum()
    ratio = (count - mean) ** 2 / mean
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(ratio.size)


@pytest.mark.parametrize("r", [0.02, 1.0, 40.0])
def test_factors_are_gamma_draws(r):
    distribution, z = DISTRIBUTIONS["gamma"], np.ones((20_000, 1))
    log = log_weights(np.random.default_rng(0), distribution, z, exposure=0.0, dispersion=r)
    assert np.isfinite(log).all()  # where the draw itself would round to 0
    assert kstest(np.exp(log).ravel(), stats.gamma(r, scale=1 / r).cdf).pvalue > 1e-4


@pytest.mark.parametrize("r", [5e-324, 1e-3, 1e308])
def test_extreme_dispersions(r):
    count, _ = counts(pb.simulate(**SMALL, exposure_dispersion=r))
    assert count.sum() == SMALL["interactions"]
    if r < 1e-300:
        assert (count > 0).sum() == 1
    if r > 1:
        assert chisquare(count.ravel()).pvalue > 1e-4


def test_the_rest_of_the_truth_is_the_same_without_dispersion():
    one, other = (pb.simulate(**SMALL, exposure=1.0, exposure_dispersion=r).truth for r in (None, 2.0))
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name], check_exact=True)


def test_seed_decides_dispersed_counts():
    one, same = (pb.simulate(**SMALL, exposure_dispersion=2.0).frame for _ in range(2))
    pd.testing.assert_frame_equal(one, same)


@pytest.mark.parametrize(("model", "case"), RECORDED)
def test_rows_without_options_are_those_drawn_before_there_were_any(model, case):
    options = {"plain": {}, "periods": {"periods": 3}, "exposure": {"exposure": 1.0}}[case]
    frame = pb.simulate(model, **SMALL, **options).frame
    if "time" in frame:
        frame["time"] = np.floor(frame["time"]).astype(int)
    digest = hashlib.sha256(frame.to_csv(index=False, lineterminator="\n").encode()).hexdigest()
    assert digest[:16] == RECORDED[model, case]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "1", True])
def test_wrong_dispersions_are_refused(value):
    message = rf"PB-C083: exposure_dispersion must be above 0 and finite, or None, not {value!r}"
    with pytest.raises(ConfigError, match=message):
        pb.simulate(exposure_dispersion=value)


def test_dispersion_among_all_is_refused():
    message = r"PB-C078: model 'pda' chooses among all .*leave exposure at 0 and exposure_dispersion at None"
    with pytest.raises(IncompatibleError, match=message):
        pb.simulate("pda", exposure_dispersion=1.0)
