"""The picture of popularity over periods."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import dates
from matplotlib.figure import Figure

import pyro_popbias as pb
from pyro_popbias.report.figure import as_png

pytestmark = [pytest.mark.usefixtures("short_training"), pytest.mark.slow]


def fitted(frame, guide="gamma", periods=3, **model):
    events = pb.Interactions.from_frame(frame, label="label", time="time" if periods > 1 else None, periods=periods)
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}, **model}, training={"epochs": 2, "batch_size": 200}
    )
    return pb.fit(events, study=study, guide=guide, progress=False)


def with_silent_cells(frame):
    """Return rows without item i3 in the last period and item i4 in the first two."""
    gone = (frame["item"] == "i3") & (frame["time"] > 66)
    new = (frame["item"] == "i4") & (frame["time"] < 67)
    return frame[~gone & ~new]


@pytest.fixture(scope="module")
def fit(short_training, make_frame):
    return fitted(with_silent_cells(make_frame(rows=900)))


def points(ax):
    """Return markers as a table: colour, whether open, x, y."""
    rows = [
        (line.get_color(), line.get_markerfacecolor() == "white", x, y)
        for line in ax.get_lines()
        if line.get_marker() == "o"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["color", "open", "x", "y"])


def test_it_takes_axes_and_returns_them(fit):
    ax = Figure().subplots()
    assert fit.plot.drift(ax=ax) is ax
    own = fit.plot.drift()
    assert own is not ax
    assert as_png(own).startswith(b"\x89PNG")
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "period"


def test_by_default_the_items_with_most_rows(fit):
    ax = fit.plot.drift()
    rows = fit.popularity().groupby("item", sort=False)["count"].sum().sort_values(ascending=False, kind="stable")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(rows.index[:5])
    assert len(points(ax)) == 15


def test_points_are_means_and_bars_are_intervals(fit):
    ax = fit.plot.drift(["i4", "i3", "i4"], interval=0.5)
    table = fit.popularity(0.5).set_index("item").loc[["i4", "i3"]]
    found = points(ax).sort_values(["color", "x"])
    assert found["color"].nunique() == 2
    np.testing.assert_allclose(np.sort(found["y"]), np.sort(table["mean"]))
    bars = np.concatenate([np.array(part.get_segments())[:, :, 1] for part in ax.collections if part.get_segments()])
    expected = table[["lower", "upper"]].to_numpy()
    np.testing.assert_allclose(bars[np.lexsort(bars.T)], expected[np.lexsort(expected.T)])
    # within a tenth of a period of their own
    np.testing.assert_allclose(np.sort(found["x"].round()), [0, 0, 1, 1, 2, 2])


def test_cells_without_rows_are_open(fit):
    for item, silent in (("i3", [2]), ("i4", [0, 1]), ("i5", [])):
        found = points(fit.plot.drift([item]))
        assert found.loc[found["open"], "x"].tolist() == silent
        table = fit.popularity().query("item == @item")
        assert table.loc[table["prior_only"], "period"].tolist() == silent


@pytest.mark.parametrize("kind", ["seconds", "dates"])
def test_time_is_shown_as_dates_where_it_is_one(make_frame, kind):
    frame = make_frame()
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame["time"], unit="D")
    seconds = (days - pd.Timestamp(0)) / pd.Timedelta(seconds=1)
    fit = fitted(frame.assign(time=seconds if kind == "seconds" else days))
    ax = fit.plot.drift(["i3"])
    days = dates.date2num(points(ax)["x"]) - dates.date2num(np.datetime64("2020-01-01"))
    np.testing.assert_allclose(days, [100 / 6, 50, 500 / 6], atol=1)
    assert ax.get_xlabel() == "time: middle of each period"
    assert as_png(ax)


def test_titles_replace_ids(fit):
    ax = fit.plot.drift(["i3"], titles={"i3": "$The first$\u202e"})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["$The first$"]


def test_real_popularity_has_a_linear_axis(frame):
    real = fitted(frame, guide="normal", name="additive", prior={"name": "normal"})
    assert real.plot.drift().get_yscale() == "linear"


def test_points_have_no_bars(frame):
    assert as_png(fitted(frame, guide="point").plot.drift())


def test_what_cannot_be_drawn_is_refused(fit, frame):
    with pytest.raises(pb.DataError, match="PB-D049: 2 unseen items, first x, y; leave them out"):
        fit.plot.drift(["i3", "x", "y"])
    with pytest.raises(pb.DataError, match="PB-D421: items is empty"):
        fit.plot.drift([])
    with pytest.raises(pb.ConfigError, match="PB-C423: items='i3' is a single string"):
        fit.plot.drift("i3")
    with pytest.raises(pb.ConfigError, match="PB-C083: interval must be above 0"):
        fit.plot.drift(interval=1.0)
    with pytest.raises(pb.ConfigError, match="PB-C422: popularity over periods needs two periods or more"):
        fitted(frame, periods=1).plot.drift()


def test_cells_without_rows_are_open_where_popularity_walks_too(make_frame):
    fit = fitted(with_silent_cells(make_frame(rows=300)), guide="markov", prior={"drift": "random-walk"})
    table = fit.popularity().set_index("item").loc[["i3", "i4"]]
    assert not table["prior_only"].any()  # the item's other periods say something
    assert points(fit.plot.drift(["i3", "i4"]))["open"].sum() == (table["count"] == 0).sum() == 3


def test_numbers_are_written_out_within_two_decades(fit):
    ax = fit.plot.drift()
    low, high = ax.get_ylim()
    assert high / low < 100
    ax.figure.canvas.draw()
    shown = [text.get_text() for text in ax.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert shown
    assert all(str(float(text)).rstrip("0").rstrip(".") == text for text in shown)
    assert not any(text.get_text() for text in ax.get_yticklabels(minor=True))
