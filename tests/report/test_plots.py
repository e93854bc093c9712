import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import pyro_popbias as pb
from pyro_popbias.report import check_plots, trade_off_plot
from pyro_popbias.report import fit_plots as plots
from pyro_popbias.report.figure import LONGEST, as_png, clean, new_axes

pytestmark = pytest.mark.usefixtures("short_training")
PICTURES = [plots.popularity, plots.against_count, plots.against_share, plots.prior_posterior, plots.history]


@pytest.fixture(scope="module")
def fit(short_training, make_frame):
    events = pb.Interactions.from_frame(make_frame(), label="label")
    return pb.fit(events, study=study_of("product", "gamma", "gamma"), progress=False)


def study_of(model, prior, guide):
    section = {"name": model, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 2}}
    return pb.Study(model=section, guide={"name": guide}, training={"epochs": 2, "batch_size": 200})


def check_table():
    deciles = [("click rate", f"decile {k}", 0.1 * k, 0.1 * k + 0.01) for k in range(1, 11)]
    table = pd.DataFrame(deciles, columns=["statistic", "stratum", "observed", "mean"])
    return table.assign(lower=table["mean"] - 0.03, upper=table["mean"] + 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("picture", PICTURES)
def test_pictures_take_axes_and_return_them(fit, picture):
    ax = Figure().subplots()
    assert picture(fit, ax) is ax
    assert ax.get_title()
    own = picture(fit)
    assert own is not ax
    assert as_png(own).startswith(b"\x89PNG")


def test_the_picture_of_click_rates():
    ax = Figure().subplots()
    assert check_plots.click_rate_by_decile(check_table(), ax) is ax
    observed = next(line for line in ax.get_lines() if line.get_label() == "observed")
    np.testing.assert_allclose(observed.get_ydata(), 0.1 * np.arange(1, 11))
    assert as_png(check_plots.click_rate_by_decile(check_table())).startswith(b"\x89PNG")


def trade_off_table():
    modes = ["none", "population", "prior", "posterior"]
    table = pd.DataFrame({"popularity": [*modes, "share", "share"], "share": [*[np.nan] * 4, 1.0, 0.0]})
    for name, values in (("user_auc", [0.6, 0.6, 0.6, 0.5, 0.5, 0.6]), ("average_popularity@5", [3, 3, 3, 9, 9, 3])):
        table[name] = values
        table[f"{name}_difference"] = table[name] - table[name].iloc[0]
        for end, move in (("lower", -0.1), ("upper", 0.2)):
            table[f"{name}_{end}"], table[f"{name}_difference_{end}"] = (
                table[name] + move,
                table[f"{name}_difference"] + move,
            )
    return table


def test_the_picture_of_a_trade_off():
    table, ax = trade_off_table(), Figure().subplots()
    assert trade_off_plot.trade_off(table, ax) is ax
    assert ax.get_xlabel() == "average_popularity@5 (training rows)"
    assert ax.get_ylabel() == "user_auc"
    (curve,) = (line for line in ax.get_lines() if line.get_linestyle() == "-")
    np.testing.assert_array_equal(curve.get_xydata(), [[3, 0.6], [9, 0.5]])  # in the order of the share
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["share of an item's own popularity", "none", "population", "prior", "posterior"]
    assert [text.get_text() for text in ax.texts] == ["0", "1"]
    assert as_png(trade_off_plot.trade_off(table)).startswith(b"\x89PNG")
    assert trade_off_plot.described_in_words(table) == (
        "Accuracy against popularity bias: user_auc at average_popularity@5 under each popularity. none: 0.6 at 3; "
        "population: 0.6 at 3; prior: 0.6 at 3; posterior: 0.5 at 9; share 1: 0.5 at 9; share 0: 0.6 at 3."
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "prior", "guide"),
    [("additive", "normal", "normal"), ("product", "gamma", "point"), ("product", "lognormal", "auto-low-rank")],
)
def test_pictures_of_other_variants(frame, model, prior, guide):
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=2)
    other = pb.fit(events, study=study_of(model, prior, guide), progress=False)
    for picture in PICTURES:
        ax = picture(other)
        assert as_png(ax)
    scale = plots.popularity(other).get_xscale()
    assert scale == ("linear" if prior == "normal" else "log")


def test_popularity_shows_both_ends_by_title(fit):
    table = fit.popularity().sort_values("mean", ascending=False)
    ax = plots.popularity(fit, number=3, titles={table["item"].iloc[0]: "The first"})
    names = [label.get_text() for label in ax.get_yticklabels()]
    ends = pd.concat([table.head(3).replace({"item": {table["item"].iloc[0]: "The first"}}), table.tail(3)])
    assert names == [f"{item}  ({rows})" for item, rows in zip(ends["item"], ends["count"], strict=True)]
    every = plots.popularity(fit, number=10)
    assert len(every.get_yticks()) == len(table)  # no item twice where there are few


def test_labels_are_no_formulas_and_cannot_turn_the_page():
    ax = new_axes()
    ax.set_yticks([1], [clean(r"$\frac{$")], parse_math=False)
    assert as_png(ax)
    assert clean("a\u202eb\x00c\n d") == "a b c  d"
    assert len(clean("x" * 10**6)) == LONGEST
    assert as_png(new_axes()) == as_png(new_axes())


def test_letters_without_a_shape_do_not_warn():
    ax = new_axes()
    ax.set_title("\u4e2d\u6587")
    assert as_png(ax)


def test_share_is_that_of_the_table(fit):
    ax = plots.against_share(fit)
    table = fit.popularity()
    shown = np.sort(ax.get_lines()[0].get_xdata())
    np.testing.assert_allclose(shown, np.sort(table["positives"] / table["count"]))
