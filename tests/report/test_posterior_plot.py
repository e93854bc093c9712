"""An item's posterior as it is drawn: the interval is the table's, and densities are where their distributions are."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.prediction.item_table import items_table
from pyro_popbias.prediction.posterior_tables import popularity_quantiles
from pyro_popbias.report.posterior_plot import described_in_words, posterior
from pyro_popbias.report.share_plot import along_the_share

pytestmark = pytest.mark.usefixtures("short_training")
POINT = {"name": "embedding", "dim": 2, "posterior": "point", "scale": 0.5}
BAYESIAN = {"name": "embedding", "dim": 2}
KINDS = {
    "bayesian": ({"affinity": BAYESIAN}, "gamma"),
    "additive": ({"name": "additive", "affinity": BAYESIAN, "prior": {"name": "normal"}}, "normal"),
    "lognormal": ({"affinity": POINT, "prior": {"name": "lognormal"}}, "lognormal"),
    "point": ({"affinity": POINT}, "point"),
}


@pytest.fixture(scope="module")
def fits(short_training, make_frame):
    events = pb.Interactions.from_frame(make_frame(), label="label")
    training = {"epochs": 1, "batch_size": 200}
    studies = {
        name: pb.Study(model=model, guide={"name": guide}, training=training) for name, (model, guide) in KINDS.items()
    }
    return {name: pb.fit(events, study=study, progress=False) for name, study in studies.items()}


@pytest.mark.parametrize("name", ["bayesian", "additive", "lognormal"])
def test_quantiles_are_the_ends_of_the_table(fits, name):
    fit = fits[name]
    table = fit.popularity(0.8)
    found = popularity_quantiles(fit.model, fit.guide, np.arange(len(table)), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found[0], table["lower"], rtol=1e-6)
    np.testing.assert_allclose(found[2], table["upper"], rtol=1e-6)
    assert (np.diff(found, axis=0) > 0).all()


@pytest.mark.parametrize("name", KINDS)
def test_the_picture_has_the_interval_and_the_mass(fits, name):
    fit, item = fits[name], "i3"
    ax = posterior(fit, item, title="Three $x$")
    row = fit.popularity().set_index("item").loc[item]
    assert ax.get_title() == "Three $x$: popularity"
    under = next(line for line in ax.lines if len(set(line.get_ydata())) == 1 and line.get_ydata()[0] < 0)
    if name != "point":
        np.testing.assert_allclose(under.get_xdata(), [row["lower"], row["upper"]], rtol=1e-6)
        blue = [line for line in ax.lines if line.get_color() == under.get_color()]
        density = next(line for line in blue if max(line.get_ydata()) == 1)
        place = density.get_xdata()
        assert ((place > row["lower"]) & (place < row["upper"])).mean() > 0.4
        assert row["lower"] < place[np.argmax(density.get_ydata())] < row["upper"]
        assert f"{row['lower']:.3g} to {row['upper']:.3g}" in described_in_words(ax, fit, item)
    low, high = ax.get_xlim()
    assert low < row["mean"] < high


def test_some_items_are_those_of_the_whole_table(make_frame):
    model = {"affinity": {**BAYESIAN, "item_quality": True}, "exposure": "poisson"}
    study = pb.Study(model=model, training={"epochs": 1, "batch_size": 200})
    fit = pb.fit(pb.Interactions.from_frame(make_frame(), label="label"), study=study, progress=False)
    some = np.array([4, 1])
    found = items_table(fit.model, fit.guide, fit.catalogue, interval=0.9, some=some)
    pd.testing.assert_frame_equal(found, fit.items().iloc[some].reset_index(drop=True))


def test_the_mark_of_the_knob_lies_on_the_line():
    ax = along_the_share([0.0, 0.5, 1.0], [10.0, 20.0, 40.0], at=0.75)
    mark = ax.lines[-1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (0.75, 30.0)
    assert "the knob: 30" in [text.get_text() for text in ax.texts]
