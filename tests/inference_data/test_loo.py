"""PSIS-LOO: right where affinities are given, refused where they were learned from the rows left out."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.errors import DataError, DataWarning
from pyro_popbias.inference_data.arviz_compat import leave_one_out, load_arviz
from pyro_popbias.inference_data.loo import loo
from pyro_popbias.inference_data.loo_conditions import reason_against
from pyro_popbias.storage.run_folder import save

pytestmark = pytest.mark.slow

az = load_arviz()
TRAINING = {"epochs": 3, "batch_size": 200, "device": "cpu"}
GIVEN = {"name": "fixed", "score": "score"}
GROUPS = ("posterior", "observed_data", "log_likelihood")


def study_of(affinity, guide="lognormal", **model):
    prior = {"name": "gamma", "source": "fixed", "concentration": 2.0}
    return pb.Study(model={"affinity": affinity, "prior": prior, **model}, guide={"name": guide}, training=TRAINING)


@pytest.fixture(scope="module")
def events(make_frame):
    frame = make_frame(rows=600).assign(score=lambda rows: np.sin(np.arange(len(rows))))
    sizes = {
        f"{kind}_features": pd.DataFrame({"size": np.linspace(-1, 1, n)}, index=[f"{kind[0]}{k}" for k in range(n)])
        for kind, n in (("user", 20), ("item", 15))
    }
    return pb.Interactions.from_frame(frame, label="label", time="time", **sizes)


@pytest.fixture(scope="module")
def fits(events, short_training):
    """The likelihood of the data's own scores, and one that swaps them."""
    turned = pb.Interactions.from_frame(events.to_frame().assign(score=lambda rows: -rows["score"]), label="label")
    return pb.fit(events, study=study_of(GIVEN)), pb.fit(turned, study=study_of(GIVEN))


@pytest.fixture(scope="module")
def exact(events, phase_two_as):
    """The fit to its optimum, and log P(row | other rows) of each training row by integration on a grid."""
    with phase_two_as(most_cycles=4):  # whatever the module's other tests have shortened
        fit = pb.fit(events, study=study_of(GIVEN), progress=False)
    batch = pb.pair(events, study=fit.study).rows.whole()
    z = torch.exp(torch.linspace(-12, 5, 4001, dtype=torch.float64))
    with torch.no_grad():
        x = fit.model.affinity.pairs(batch.user, batch.item, batch.score, {}).mean
        log_p = fit.model.likelihood(x, z.unsqueeze(1).expand(-1, len(x))).log_prob(batch.label)
        base = fit.model.prior.population().log_prob(z) + z.log()
    item = batch.item
    total = torch.zeros(len(z), 15, dtype=torch.float64).index_add(1, item, log_p)
    with_row = torch.logsumexp(base.unsqueeze(1) + total[:, item], 0)
    return fit, (with_row - torch.logsumexp(base.unsqueeze(1) + total[:, item] - log_p, 0)).sum().item()


@pytest.mark.nightly
def test_it_is_that_of_the_exact_posterior(exact):
    fit, elpd = exact
    found = loo(fit, draws=4_000)
    assert found.rows == 540
    # q is not quite the posterior; what that makes of LOO must be little beside its own standard error
    assert found.elpd_loo == pytest.approx(elpd, abs=found.se / 10)
    assert 0 < found.p_loo < 16
    assert found.bad_k == 0
    assert found.reason == ""


def elpd(found):
    """Return the number by the name that either line of ArviZ gives it."""
    return float(found.elpd if hasattr(found, "elpd") else found.elpd_loo)


def test_arviz_takes_the_container(fits):
    data = [fit.to_arviz(draws=400, groups=GROUPS) for fit in fits]
    assert elpd(az.loo(data[0])) == pytest.approx(leave_one_out(data[0]).elpd, abs=0.05)


def test_the_better_of_two_is_first(fits):
    one, other = (loo(fit, draws=400) for fit in fits)
    data = dict(zip(("one", "other"), (fit.to_arviz(draws=400, groups=GROUPS) for fit in fits), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 3.1 deprecates what ArviZ 0.23 calls
        table = az.compare(data)
    assert set(table.index) == {"one", "other"}
    assert table.index[0] == ("one" if one.elpd_loo > other.elpd_loo else "other")


def test_linear_weights_have_draws(events, short_training):
    fit = pb.fit(events, study=study_of({"name": "linear", "user_bias": False}), progress=False)
    found = loo(fit, draws=400)
    assert np.isfinite([found.elpd_loo, found.se, found.p_loo, found.bad_k]).all()
    assert elpd(az.loo(fit.to_arviz(draws=400, groups=GROUPS))) < 0


@pytest.mark.parametrize("most", [100, 10_000])
def test_rows(fits, most):
    found = loo(fits[0], most=most, draws=50)
    assert found.rows == min(most, 540)
    assert loo(fits[0], most=most, draws=50) == found


@pytest.mark.parametrize(
    "affinity",
    [
        {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False},
        {"name": "embedding", "dim": 2, "posterior": "mean-field"},
        {"name": "factorization-machine", "dim": 2},
    ],
)
def test_there_is_none_where_vectors_were_learned(events, affinity, short_training):
    fit = pb.fit(events, study=study_of(affinity), progress=False)
    found = loo(fit)
    assert np.isnan([found.elpd_loo, found.se, found.p_loo, found.bad_k]).all()
    assert found.reason == "the vectors were estimated from the rows that LOO would leave out"
    with pytest.warns(
        DataWarning, match=r"PB-D361: leave-one-out .* does not hold for this fit: the vectors were"
    ) as caught:
        data = fit.to_arviz(draws=5, groups=GROUPS)
    assert caught[0].filename == __file__
    assert data["log_likelihood"].attrs["reason"] == f"no LOO: {found.reason}"
    # nothing warns where it is not asked for, and there is nothing that az.loo could take
    assert "log_likelihood" not in fit.to_arviz(draws=5)
    with pytest.raises(Exception, match=r"log[_ ]likelihood"):
        az.loo(fit.to_arviz(draws=5))


def test_there_is_none_for_points_and_positives_alone(events, make_frame, short_training):
    assert "popularity is a point" in reason_against(pb.fit(events, study=study_of(GIVEN, guide="point")))
    frame = make_frame().query("label == 1")
    vectors = {
        f"{kind}_vectors": pd.DataFrame({"id": frame[kind].unique()}).assign(one=1.0) for kind in ("user", "item")
    }
    fit = pb.fit(pb.Interactions.from_frame(frame), study=study_of({"name": "fixed", **vectors}), progress=False)
    assert "positives only" in loo(fit).reason


def test_without_interactions_it_is_refused(fits, tmp_path):
    save(fits[0], tmp_path / "run", data=False)
    with pytest.raises(DataError, match="PB-D106: the run was saved without its interactions"):
        loo(pb.load(tmp_path / "run"))


def test_a_popularity_of_a_rows_own_has_no_loo(events, short_training):
    fit = pb.fit(events, study=study_of(GIVEN, latent="interaction"), progress=False)
    found = loo(fit)
    assert np.isnan(found.elpd_loo)
    assert found.reason == "every row has its own popularity, which is left out with it"
