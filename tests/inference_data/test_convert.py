import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch
import xarray as xr
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.inference_data import popularity_draws as inference_data
from pyro_popbias.inference_data.arviz_compat import load_arviz
from pyro_popbias.inference_data.convert import BY_ROW, GROUPS

az = load_arviz()
pytestmark = pytest.mark.usefixtures("short_training")
TRAINING = {"epochs": 3, "batch_size": 150, "device": "cpu"}
AFFINITY = {"name": "embedding", "dim": 4}
ITEMS = ["i9", "i2", "i14"]


@pytest.fixture(scope="module", params=[name for name in pb.GUIDES if name != "point"])
def fit(request, make_frame, model_for, short_training):
    model = {**model_for(request.param), "affinity": AFFINITY}
    study = pb.Study(model=model, guide={"name": request.param}, training=TRAINING)
    return pb.fit(pb.Interactions.from_frame(make_frame(), label="label", time="time"), study=study)


@pytest.fixture(scope="module")
def sliced(make_frame, short_training):
    """A fit over periods, in one of which an item is silent."""
    frame = make_frame()
    frame = frame[(frame["item"] != "i3") | (frame["time"] < 50)]
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=3)
    return pb.fit(events, study=pb.Study(model={"affinity": AFFINITY}, training=TRAINING))


def groups_of(data):
    """Return the groups that a container has, of all there can be."""
    return [group for group in (*GROUPS, *BY_ROW) if group in data]


@pytest.mark.slow
def test_groups_dims_and_coordinates(fit):
    data = fit.to_arviz(draws=20)
    items = fit.catalogue.items.tolist()
    for group in ("posterior", "prior"):
        popularity = data[group]["popularity"]
        assert popularity.dims == ("chain", "draw", "item")
        assert popularity.shape == (1, 20, len(items))
        assert popularity["item"].values.tolist() == items
        assert (popularity > 0).all() or fit.model.prior.support is constraints.real
    assert data["observed_data"]["label"].values.tolist() == fit.events.label.tolist()
    assert data["observed_data"]["label"].dims == ("interaction",)
    for name in ("count", "positives"):
        assert data["constant_data"][name].dims == ("item",)
        assert data["constant_data"][name].values.tolist() == getattr(fit.catalogue, name).tolist()


@pytest.mark.parametrize("group", GROUPS)
def test_one_group(fit, group):
    data = fit.to_arviz(draws=5, groups=(group,))
    assert groups_of(data) == [group]


def test_an_item_has_the_same_draws_in_any_selection(fit):
    whole, some = fit.to_arviz(draws=30), fit.to_arviz(draws=30, items=ITEMS)
    for group in ("posterior", "prior"):
        assert some[group]["item"].values.tolist() == ITEMS
        xr.testing.assert_identical(some[group]["popularity"], whole[group]["popularity"].sel(item=ITEMS))
    assert (
        some["constant_data"]["count"].values.tolist()
        == whole["constant_data"]["count"].sel(item=ITEMS).values.tolist()
    )
    more = fit.to_arviz(draws=30, items=ITEMS[::-1], groups=("posterior",))
    np.testing.assert_array_equal(more["posterior"]["popularity"].values[..., ::-1], some["posterior"]["popularity"])


def test_seed_decides_the_draws(fit):
    one, same, other = (fit.to_arviz(draws=30, seed=seed)["posterior"] for seed in (1, 1, 2))
    assert one.equals(same)
    assert not np.isin(one["popularity"], other["popularity"]).any()
    data = fit.to_arviz(draws=30)
    assert not np.isclose(data["posterior"]["popularity"], data["prior"]["popularity"]).all()


def test_draws_agree_with_the_table_where_the_intercept_is_known(fit, monkeypatch):
    draws = 4_000
    # the table adds its part in squares, which is not exact
    monkeypatch.setitem(fit.guide.intercept._buffers, "variance", torch.zeros((), dtype=torch.float64))
    data, table = fit.to_arviz(draws=draws), fit.popularity()
    popularity = data["posterior"]["popularity"].values[0]
    assert (np.abs(popularity.mean(0) - table["mean"]) < 4 * table["sd"] / np.sqrt(draws)).all()
    for name, tail in (("lower", 0.05), ("upper", 0.95)):
        below = (popularity < table[name].to_numpy()).mean(0)
        assert (np.abs(below - tail) < 4 * np.sqrt(tail * (1 - tail) / draws)).all()
    prior = data["prior"]["popularity"].values[0]
    sd = fit.model.prior.population().stddev.item()
    assert (np.abs(prior.mean(0) - table["prior_mean"]) < 4 * sd / np.sqrt(draws)).all()


def test_summary_and_forest(fit):
    data = fit.to_arviz(draws=100)
    summary = az.summary(data, kind="stats")
    items = fit.catalogue.items
    assert summary.index.tolist()[: len(items)] == [f"popularity[{item}]" for item in items]
    of_items, mean = summary["mean"].iloc[: len(items)], data["posterior"]["popularity"].mean(("chain", "draw"))
    np.testing.assert_allclose(of_items, mean, atol=1e-3)
    known = fit.parameters().dropna().set_index("name")
    assert set(summary.index[len(items) :]) == set(known.index) - {"quality_popularity_correlation"}
    mpl.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what ArviZ draws with is not ours
        axes = az.plot_forest(data, var_names=["popularity"], coords={"item": ITEMS})
    if az.__version__.startswith("0."):  # ArviZ 1 returns no axes
        labels = [label.get_text() for label in np.ravel(axes)[0].get_yticklabels()]
        assert all(any(item in label for label in labels) for item in ITEMS)
    mpl.pyplot.close("all")


def test_periods(sliced):
    data, table = sliced.to_arviz(draws=2_000, items=[*ITEMS, "i3"]), sliced.popularity()
    assert data["posterior"]["popularity"].dims == ("chain", "draw", "item", "period")
    assert data["constant_data"]["count"].dims == ("item", "period")
    whole = sliced.to_arviz(draws=2_000)
    for item in [*ITEMS, "i3"]:
        rows = table[table["item"] == item]
        popularity = data["posterior"]["popularity"].sel(item=item)
        assert popularity.equals(whole["posterior"]["popularity"].sel(item=item))
        assert data["constant_data"]["count"].sel(item=item).values.tolist() == rows["count"].tolist()
        gap = np.abs(popularity.mean(("chain", "draw")).values - rows["mean"].to_numpy())
        assert (gap < 4 * rows["sd"].to_numpy() / np.sqrt(2_000)).all()
    assert table["prior_only"].any()


def test_too_many_draws_are_refused_with_the_number(fit, monkeypatch):
    gigabytes = 8 * 10**9 * 15 * 2 / 1024**3
    with pytest.raises(
        ConfigError, match=rf"PB-C088: 1000000000 draws of 15 cells take {gigabytes:.1f} GiB, more than 2"
    ):
        fit.to_arviz(draws=10**9)
    monkeypatch.setattr(inference_data, "LARGEST", 8 * 10 * 15)
    assert fit.to_arviz(draws=10, groups=("posterior",))["posterior"].sizes["draw"] == 10
    with pytest.raises(ConfigError, match="PB-C088: 11 draws of 15 cells"):
        fit.to_arviz(draws=11, groups=("posterior",))
    with pytest.raises(ConfigError, match="PB-C088: 10 draws of 15 cells"):
        fit.to_arviz(draws=10)


@pytest.mark.parametrize("draws", [0, -1, 2.5, True])
def test_number_of_draws_is_checked(fit, draws):
    with pytest.raises(ConfigError, match=r"PB-C08[0-9]: draws must be an integer >= 1, not "):
        fit.to_arviz(draws=draws)


def test_unknown_groups_and_items_are_refused(fit):
    with pytest.raises(ConfigError, match=r"PB-C013: unknown group 'postrior'; did you mean 'posterior'\? Groups: "):
        fit.to_arviz(groups=("prior", "postrior"))
    with pytest.raises(DataError, match="PB-D049: 2 unseen items, first nothing, none"):
        fit.to_arviz(items=["i1", "nothing", "none"])


def test_without_interactions_there_are_no_observed_data(fit, tmp_path):
    pb.fitted.save(fit, tmp_path / "run", data=False)
    loaded = pb.load(tmp_path / "run")
    assert groups_of(loaded.to_arviz(draws=10)) == ["posterior", "prior", "constant_data"]
    for group in ("observed_data", "posterior_predictive", "log_likelihood"):
        with pytest.raises(DataError, match=rf"PB-D106: .* without its interactions .*leave out {group}"):
            loaded.to_arviz(groups=("posterior", group))
    some = loaded.to_arviz(draws=10, groups=("posterior",))
    assert some["posterior"].equals(fit.to_arviz(draws=10)["posterior"])


def test_draws_of_a_walk_hang_together_over_periods():
    sim = pb.simulate(users=60, items=8, interactions=900, periods=3, prior="lognormal", drift=0.4, seed=1)
    study = pb.Study(model={"affinity": AFFINITY, "prior": {"drift": "random-walk"}}, training=TRAINING)
    fit = pb.fit(sim.events, study=study, progress=False)
    items = fit.catalogue.items[:2].tolist()
    both = fit.to_arviz(draws=4000, items=items, groups=("posterior", "prior"))
    step = fit.parameters().set_index("name").loc["drift_step", "mean"]
    with torch.no_grad():
        q = fit.guide.popularity.chain(torch.arange(6))
    moved = np.log(both["prior"]["popularity"]).diff("period").to_numpy()
    assert moved.std() == pytest.approx(step, rel=0.05)
    log_z = np.log(both["posterior"]["popularity"][0]).to_numpy().transpose(1, 2, 0)  # item, period, draw
    for item in range(2):
        coupling, variance = q.coupling.reshape(2, 3)[item].numpy(), q.variance_of_y.reshape(2, 3)[item].numpy()
        covariance = np.cov(log_z[item])
        for t in (1, 2):
            error = 4 * np.sqrt(variance[t] * variance[t - 1] / 2000)
            assert covariance[t, t - 1] == pytest.approx(coupling[t] * variance[t - 1], abs=error + 0.02 * variance[t])
    one = fit.to_arviz(draws=4000, items=items[1:], groups=("posterior",))
    xr.testing.assert_equal(one["posterior"]["popularity"], both["posterior"]["popularity"].sel(item=items[1:]))
