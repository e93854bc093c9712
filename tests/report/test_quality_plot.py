"""The picture of quality against popularity, and its section in a report."""

import html

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import pyro_popbias as pb
from pyro_popbias.assembly.identification import warning_of
from pyro_popbias.checks.check import Check
from pyro_popbias.report.figure import as_png
from pyro_popbias.report.html import render
from pyro_popbias.report.quality_plot import GAP, _apart, described_in_words, extremes, quality

pytestmark = pytest.mark.usefixtures("short_training")
UNCHECKED = Check(findings=(), tables={})


def fitted(frame, guide="gamma", **model):
    events = pb.Interactions.from_frame(frame, label="label")
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}, **model}, training={"epochs": 2, "batch_size": 200}
    )
    return pb.fit(events, study=study, guide=guide, progress=False)


@pytest.fixture(scope="module")
def fit(short_training, make_frame):
    return fitted(make_frame(items=30, rows=900), exposure="negative-binomial")


def test_it_takes_axes_and_returns_them(fit):
    ax = Figure().subplots()
    assert quality(fit, ax) is ax
    assert as_png(quality(fit)).startswith(b"\x89PNG")
    assert ax.get_xscale() == "log"
    row = fit.parameters().set_index("name").loc["quality_popularity_correlation"]
    shown = [float(part.strip("()")) for part in ax.get_title().split("correlation ")[1].replace(" to ", " ").split()]
    np.testing.assert_allclose(shown, row[["mean", "lower", "upper"]].to_numpy(dtype=float), atol=0.02)
    points = ax.collections[0].get_offsets()
    table = fit.items()
    np.testing.assert_allclose(
        np.sort(points, axis=0), np.sort(table[["popularity", "quality"]].to_numpy(), axis=0), rtol=1e-6
    )


def test_real_popularity_has_a_linear_axis(frame):
    ax = quality(fitted(frame, guide="normal", name="additive", prior={"name": "normal"}, exposure="poisson"))
    assert ax.get_xscale() == "linear"
    assert as_png(ax)


def test_the_extremes_are_named_by_title_where_there_is_one(fit):
    named = extremes(fit.items(), 2)
    assert len(named) == 8
    titles = {named["item"].iloc[0]: "$The first$\u202e"}
    ax = quality(fit, titles=titles)
    names = {text.get_text() for text in ax.texts}
    assert names == {"$The first$", *named["item"].iloc[1:]}
    heights = np.array([text.get_position()[1] for text in ax.texts[:4]])
    assert np.diff(heights).min() >= GAP - 1e-9  # from bottom to top, apart
    assert as_png(ax)
    assert described_in_words(ax).startswith(f"{ax.get_title()}. Named: ")
    plain = quality(fit, number=0)
    assert not plain.texts
    assert described_in_words(plain) == plain.get_title()


def test_extremes_by_hand():
    table = pd.DataFrame({"item": list("abcdefghi"), "popularity": range(9), "count": 20})
    table["quality"] = [0, 2, 1, 9, 9, 9, 5, 4, 3]
    named = extremes(table, 1)
    assert named["item"].tolist() == ["a", "b", "i", "g"]
    assert named["side"].tolist() == ["left", "left", "right", "right"]
    assert extremes(table, 5)["item"].tolist() == list("acbihg")  # none twice
    assert not len(extremes(table.assign(count=14), 2))


@pytest.mark.parametrize("heights", [[0.1, 0.1, 0.1, 0.9], [0.97, 0.98, 0.99, 1.2], [0.0, 0.5, 0.51, 0.98], []])
def test_names_are_apart_and_within_the_picture(heights):
    found = _apart(pd.Series(heights, dtype=float))
    assert len(found) == len(heights)
    assert not len(found) or (np.diff(found).min() >= GAP - 1e-9 and found.min() >= 0 and found.max() <= 1)


@pytest.mark.slow
def test_a_fit_without_a_quality_has_no_picture(frame):
    without = fitted(frame, exposure="none")
    with pytest.raises(pb.ConfigError, match="PB-C403: items have no quality in this fit"):
        quality(without)
    page = html.unescape(render(without, {}, UNCHECKED))
    assert "<h2>Quality</h2>" not in page
    assert f'<p class="bad">Warning: {warning_of(without.study)}.</p>' in page


@pytest.mark.slow
def test_the_report_has_the_picture_and_the_best_and_worst_items(fit):
    table = fit.items().query("count >= 15").sort_values("quality", ascending=False)
    page = render(fit, {table["item"].iloc[0]: "The <best>"}, UNCHECKED)
    section = page.split("<h2>Quality</h2>")[1].split("</section>")[0]
    assert section.count("<img ") == 1
    assert "The &lt;best&gt;" in section
    highest, lowest = (part.split("</tbody>")[0].count("<tr><td>") for part in section.split("<tbody>")[1:])
    assert (highest, lowest) == (10, 10)
    first, last = (part.split("<tr><td>")[1].split("</td>")[0] for part in section.split("<tbody>")[1:])
    assert (first, last) == (table["item"].iloc[0], table["item"].iloc[-1])
    assert "Warning" not in page.split("</header>")[0]
