"""Groups with a draw for every row: what ArviZ checks a fit by."""

import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import pyro_popbias as pb
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.inference_data import convert as containers
from pyro_popbias.inference_data import interaction_draws as row_draws
from pyro_popbias.inference_data import popularity_draws as inference_data
from pyro_popbias.inference_data.arviz_compat import load_arviz
from pyro_popbias.inference_data.convert import BY_ROW, GROUPS

az = load_arviz()
pytestmark = [
    pytest.mark.usefixtures("short_training"),
    # log-likelihoods are held to the likelihood here, and no LOO is made of them
    pytest.mark.filterwarnings("ignore:PB-D361:pyro_popbias.errors.DataWarning"),
    pytest.mark.slow,
]
TRAINING = {"epochs": 3, "batch_size": 150, "device": "cpu"}
ALL = (*GROUPS, *BY_ROW)
ROWS = [7, 390, 20, 133, 21]
AFFINITIES = {
    "embedding": {"dim": 4, "posterior": "point", "user_bias": False},
    "mean-field": {"name": "embedding", "dim": 4, "posterior": "mean-field", "scale": "learned"},
    "linear": {"user_bias": False},
    "biased-linear": {"name": "linear"},
    "factorization-machine": {"dim": 4},
    "fixed": {"score": "score"},
}
POINTS = {"name": "embedding", **AFFINITIES["embedding"]}
WITH_LABELS = [name for name, cls in pb.MODELS.items() if not cls.pairwise]
CASES = [("product", "gamma", affinity) for affinity in AFFINITIES]
CASES += [(model, None, "embedding") for model in WITH_LABELS]
CASES += [(None, guide, "embedding") for guide in pb.GUIDES]


@pytest.fixture(scope="module")
def make_fit(make_frame, model_for, short_training):
    """Return a function: model, guide and affinity to a fit; a name left out is one that fits the other."""

    def make(model, guide, affinity, **changes):
        table = pb.variants().query("allowed").set_index("model")
        found = {"name": model, "prior": {"name": "gamma"}} if model else model_for(guide)
        if model and guide is None:
            first = table.loc[[model]].iloc[0]
            found["prior"], guide = {"name": first["prior"]}, first["guide"]
        rng = np.random.default_rng(0)
        features = {
            f"{kind}_features": pd.DataFrame({"size": rng.normal(size=n)}, index=[f"{kind[0]}{k}" for k in range(n)])
            for kind, n in (("user", 20), ("item", 15))
        }
        frame = make_frame().assign(score=lambda rows: np.sin(np.arange(len(rows))))
        given = features if affinity in ("linear", "biased-linear", "factorization-machine") else {}
        events = pb.Interactions.from_frame(frame, label="label", time="time", **given)
        section = {"name": affinity, **AFFINITIES[affinity]}
        study = pb.Study(model={**found, "affinity": section, **changes}, guide={"name": guide}, training=TRAINING)
        return pb.fit(events, study=study, progress=False)

    return make


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(filter(None, case)))
def fit(request, make_fit):
    return make_fit(*request.param)


def probability(fit, distribution):
    """Return P(label) of every row, with affinity and popularity integrated over their distributions."""
    score = fit.events.columns["score"].to_numpy()
    batch = TrainingBatches(fit.events, np.arange(len(fit.events)), score=score).whole()
    with torch.no_grad():
        affinity = fit.model.affinity.pairs(batch.user, batch.item, batch.score, fit.guide.weights())
        return fit.model.log_score(batch, affinity, distribution(batch.cell)).exp().numpy()


def test_they_average_to_the_integral(fit):
    draws = 1_000
    data = fit.to_arviz(draws=draws, groups=("log_likelihood", "posterior_predictive"))
    exact = probability(fit, fit.guide.popularity.posterior)
    each = np.exp(data["log_likelihood"]["label"].values[0])
    # 400 rows: the largest of so many normal deviations is below 4.5
    assert (np.abs(each.mean(0) - exact) <= 4.5 * each.std(0) / np.sqrt(draws) + 1e-7).all()
    right = (data["posterior_predictive"]["label"].values[0] == fit.events.label).mean(0)
    assert (np.abs(right - exact) <= 4.5 * np.sqrt(exact * (1 - exact) / draws)).all()


def test_a_row_has_the_same_draws_in_any_selection(fit, monkeypatch):
    whole = fit.to_arviz(draws=30, groups=ALL)
    monkeypatch.setattr(row_draws, "BLOCK_ELEMENTS", 60)  # two rows at once
    some = fit.to_arviz(draws=30, groups=ALL, rows=ROWS, items=["i3"])
    for group in ("observed_data", *BY_ROW):
        assert some[group]["interaction"].values.tolist() == ROWS
        xr.testing.assert_allclose(some[group]["label"], whole[group]["label"].sel(interaction=ROWS), atol=1e-12)
        assert some[group]["label"].dtype.kind == ("f" if group == "log_likelihood" else "i")
    assert whole["log_likelihood"]["label"].dims == ("chain", "draw", "interaction")
    assert whole["observed_data"]["label"].values.tolist() == fit.events.label.tolist()
    other = fit.to_arviz(draws=30, groups=ALL, rows=ROWS, seed=1)
    assert not other["posterior_predictive"].equals(some["posterior_predictive"])
    assert not some["prior_predictive"].equals(some["posterior_predictive"])


@pytest.mark.parametrize("affinity", ["embedding", "linear"])
def test_draws_are_those_of_the_groups_of_cells(make_fit, affinity):
    fit = make_fit("product", "lognormal", affinity)
    fit.guide.intercept.variance.zero_()  # rows have the intercept at its estimate
    data = fit.to_arviz(draws=9, groups=("posterior", "log_likelihood"))
    item = fit.catalogue.items[fit.events.item]
    popularity = torch.tensor(data["posterior"]["popularity"].sel(item=item.to_numpy(dtype=str)).values[0])
    user, code = (torch.from_numpy(codes.astype(int)) for codes in (fit.events.user, fit.events.item))
    with torch.no_grad():
        if affinity == "linear":
            x = fit.model.affinity.intercept + sum(
                torch.tensor(data["posterior"][f"beta_{side}"].values[0]) * torch.from_numpy(features.value[codes, 0])
                for side, features, codes in (
                    ("user", fit.events.user_features, fit.events.user),
                    ("item", fit.events.item_features, fit.events.item),
                )
            )
        else:
            x = fit.model.affinity.pairs(user, code, None, {}).mean
        expected = fit.model.likelihood(x, popularity).log_prob(torch.from_numpy(fit.events.label.astype(float)))
    np.testing.assert_allclose(data["log_likelihood"]["label"].values[0], expected, rtol=1e-9)


def test_prior_predictive_is_of_the_prior(make_fit):
    for affinity in ("embedding", "mean-field", "linear", "biased-linear"):
        fit, draws = make_fit("product", "gamma", affinity), 2_000
        drawn = fit.to_arviz(draws=draws, groups=("prior_predictive",))["prior_predictive"]["label"].values[0].mean(0)
        user = torch.from_numpy(fit.events.user.astype(int))
        item = torch.from_numpy(fit.events.item.astype(int))
        weights = fit.guide.weights()
        if affinity == "mean-field":
            user = item = torch.full_like(user, -1)
        if affinity.endswith("linear"):
            weights = fit.guide.global_priors()
        if affinity == "biased-linear":
            weights["user_bias"] = torch.distributions.Normal(
                torch.zeros(20, 1), fit.model.affinity.user_bias.log_scale.exp()
            )
        with torch.no_grad():
            distribution = fit.model.affinity.pairs(user, item, None, weights)
            exact = distribution.expect(
                lambda x, fit=fit: fit.model.marginal_probability(x, fit.model.prior.population())
            )[0].numpy()
        assert (np.abs(drawn - exact) <= 4.5 * np.sqrt(exact * (1 - exact) / draws)).all()


def test_rows_are_a_sample_where_each_has_its_draws(make_fit, monkeypatch):
    fit = make_fit("product", "gamma", "embedding")
    monkeypatch.setattr(containers, "SAMPLE", 50)
    assert fit.to_arviz(draws=3)["observed_data"].sizes["interaction"] == 400
    data = fit.to_arviz(draws=3, groups=ALL)
    rows = data["observed_data"]["interaction"].values
    assert len(np.unique(rows)) == 50
    assert (np.diff(rows) > 0).all()
    for group in BY_ROW:
        assert data[group]["interaction"].values.tolist() == rows.tolist()
    assert data["observed_data"]["label"].values.tolist() == fit.events.label[rows].tolist()
    assert fit.to_arviz(draws=3, groups=ALL, seed=1)["observed_data"]["interaction"].values.tolist() != rows.tolist()


def test_held_out_rows_are_marked(make_fit):
    fit = make_fit("product", "gamma", "fixed")
    data = fit.to_arviz(draws=3, groups=("observed_data", "log_likelihood"))
    pair = pb.pair(fit.events, study=fit.study)
    out = data["log_likelihood"]["held_out"].values
    assert out.sum() == len(pair.held_out) == 40
    batch = pair.held_out.whole()
    assert sorted(zip(fit.events.user[out], fit.events.item[out], strict=True)) == sorted(
        zip(batch.user.tolist(), batch.item.tolist(), strict=True)
    )
    assert data["log_likelihood"].attrs["note"].startswith("40 rows were held out of the training")


def test_positives_alone(make_frame):
    events = pb.Interactions.from_frame(make_frame().query("label == 1"))
    fit = pb.fit(events, study=pb.Study(model={"affinity": POINTS}, training=TRAINING))
    data = fit.to_arviz(draws=4)
    assert data["observed_data"]["label"].values.tolist() == [1] * len(events)
    data = fit.to_arviz(draws=4, groups=ALL)
    assert (data["log_likelihood"]["label"] < 0).all()


def test_periods(make_frame):
    events = pb.Interactions.from_frame(make_frame(), label="label", time="time", periods=3)
    fit = pb.fit(events, study=pb.Study(model={"affinity": POINTS}, training=TRAINING))
    data = fit.to_arviz(draws=1_000, groups=("posterior", "posterior_predictive"))
    assert data["posterior"]["popularity"].dims == ("chain", "draw", "item", "period")
    batch = TrainingBatches(events, np.arange(len(events))).whole()
    with torch.no_grad():
        x = fit.model.affinity.pairs(batch.user, batch.item, None, {}).mean
        exact = fit.model.marginal_probability(x, fit.guide.popularity.posterior(batch.cell), batch.cell_index).numpy()
    drawn = data["posterior_predictive"]["label"].values[0].mean(0)
    assert (np.abs(drawn - exact) <= 4.5 * np.sqrt(exact * (1 - exact) / 1_000)).all()


def test_rows_without_a_likelihood_are_refused(make_frame, make_fit):
    events = pb.Interactions.from_frame(make_frame().query("label == 1"))
    pda = pb.fit(events, study=pb.Study(model={"name": "pda", "affinity": AFFINITIES["mean-field"]}, training=TRAINING))
    own = make_fit("product", "gamma", "embedding", latent="interaction")
    for group in BY_ROW:
        with pytest.raises(
            IncompatibleError, match=rf"PB-C130: model 'pda' gives scores, not probabilities.*; leave out {group}"
        ):
            pda.to_arviz(groups=("posterior", group))
        with pytest.raises(IncompatibleError, match=rf"PB-C131: with latent = 'interaction' .*; leave out {group}"):
            own.to_arviz(groups=("posterior", group))
    assert set(pda.to_arviz(draws=3)["observed_data"]["label"].values) == {1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "PB-C016: rows= is empty"),
        ([1.5], "PB-C132: rows= must be integer positions of interactions, not 1.5"),
        ([True, False], "PB-C132: rows= must be integer positions of interactions, not True"),
        (["u1"], "PB-C132: rows= must be integer positions of interactions, not 'u1'"),
        ([0, -1], "PB-C016: rows= must be positions from 0 to 399"),
        ([400], "PB-C016: rows= must be positions from 0 to 399"),
    ],
)
def test_rows_are_checked(make_fit, rows, message):
    fit = make_fit("product", "gamma", "embedding")
    with pytest.raises(ConfigError, match=message):
        fit.to_arviz(rows=rows)
    with pytest.raises(ConfigError, match=r"PB-C013: groups='posterior' is a single string"):
        fit.to_arviz(groups="posterior")


def test_size_counts_rows(make_fit, monkeypatch):
    fit = make_fit("product", "gamma", "embedding")
    size = 10 * (8 * (15 + 2) + (8 + 1) * 400)  # cells, and intercept and concentration
    monkeypatch.setattr(inference_data, "LARGEST", size)
    groups = ("posterior", "log_likelihood", "posterior_predictive")
    stored = fit.to_arviz(draws=10, groups=groups)
    held = sum(variable.nbytes for group in groups for variable in stored[group].data_vars.values())
    assert held == size
    with pytest.raises(ConfigError, match=r"PB-C088: 11 draws of 15 cells and 400 rows take .*, items=, or rows="):
        fit.to_arviz(draws=11, groups=groups)
    with pytest.raises(ConfigError, match=r"PB-C088: 100 draws of 400 rows take .*; pass fewer draws, or rows="):
        fit.to_arviz(draws=100, groups=("log_likelihood",))


@pytest.mark.parametrize("group", ["posterior", "prior"])
def test_predictive_plot(make_fit, group):
    fit = make_fit("additive", None, "embedding")
    data = fit.to_arviz(draws=50, groups=ALL)
    mpl.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what ArviZ draws with is not ours
        if hasattr(az, "plot_ppc"):
            az.plot_ppc(data, group=group)
        else:  # ArviZ 1
            az.plot_ppc_dist(data, group=f"{group}_predictive")
    mpl.pyplot.close("all")
