"""The pictures on the fit: every one of `fit.plot`, and what those draw that have no test file of their own."""

import ast
import dataclasses
import inspect
import rlcompleter

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy import stats

import pyro_popbias as pb
from pyro_popbias import fitted as fitted_module
from pyro_popbias.assembly.training_data import split_rows
from pyro_popbias.checks.check import Check
from pyro_popbias.prediction.pairs import Pairs, predict_pairs
from pyro_popbias.report import fit_pictures
from pyro_popbias.report import titles as titles_module
from pyro_popbias.report.effect_plot import DEEPEST
from pyro_popbias.report.exposure_plot import _sample
from pyro_popbias.report.figure import as_png, clean_labels
from pyro_popbias.report.fit_pictures import PICTURES

pytestmark = [pytest.mark.usefixtures("short_training"), pytest.mark.slow]
HOSTILE = {"i3": "$\\frac{3$", "i14": "<script>$_", "i12": "x" * 200 + "$", "u3": "$\\sqrt{u$"}
USER = HOSTILE["u3"]
CONTRACT = {"popularity", "prior_posterior", "calibration", "history", "drift", "effect", "exposure", "check"}


def study_of(**model):
    return pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}} | model, training={"epochs": 2, "batch_size": 200}
    )


def fitted(frame, study=None, periods=2):
    events = pb.Interactions.from_frame(frame, label="label", time="time" if periods > 1 else None, periods=periods)
    return pb.fit(events, study=study or study_of(), progress=False)


@pytest.fixture(scope="module")
def fit(short_training, make_frame):
    frame = make_frame(users=12, items=30, rows=500).replace({"item": HOSTILE, "user": HOSTILE})
    items = frame["item"].unique()
    every = pd.DataFrame({"user": "all", "item": items, "label": np.arange(len(items)) % 2, "time": 50.0})
    return fitted(pd.concat([frame, every], ignore_index=True))


@pytest.fixture(scope="module")
def checked(fit):
    return fit.check()


@pytest.fixture
def draw(fit, checked):
    """Return a function: draw a picture by its name with the arguments that it cannot do without."""

    def of(name, *args, **options):
        first, more = {"effect": ((USER,), {}), "check": ((), {"checked": checked})}.get(name, ((), {}))
        return getattr(fit.plot, name)(*first, *args, **(more | options))

    return of


def texts(ax):
    legend = ax.get_legend().get_texts() if ax.get_legend() else []
    return [each.get_text() for each in [*ax.texts, *legend, ax.title, *ax.get_yticklabels()]]


def line(ax, start):
    """Return the points `(n, 2)` of the line whose label begins with some words."""
    (found,) = (each for each in ax.get_lines() if each.get_label().startswith(start))
    return found.get_xydata()


def test_tab_shows_the_pictures_and_nothing_else(fit):
    assert set(PICTURES) == CONTRACT
    assert dir(fit.plot) == sorted(PICTURES)
    completer, found = rlcompleter.Completer({"fit": fit}), []
    while (match := completer.complete("fit.plot.", len(found))) is not None:
        found.append(match.removeprefix("fit.plot.").rstrip("()"))
    assert sorted(found) == sorted(PICTURES)
    assert repr(fit.plot) == f"pictures: {', '.join(PICTURES)}"


@pytest.mark.parametrize("module", [fitted_module, fit_pictures, titles_module])
def test_matplotlib_is_imported_when_the_first_picture_is_drawn(module):
    tops = ast.parse(inspect.getsource(module)).body
    imported = {each.module for each in tops if isinstance(each, ast.ImportFrom)}
    imported |= {alias.name for each in tops if isinstance(each, ast.Import) for alias in each.names}
    assert not [name for name in imported if name.startswith("matplotlib")]
    of_report = {name for name in imported if name.startswith("pyro_popbias.report")}
    assert of_report <= {f"pyro_popbias.report.{name}" for name in ("fit_overview", "fit_pictures", "titles")}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_take_axes_and_return_them(draw, name):
    ax = Figure(figsize=(8, 5)).subplots()
    assert draw(name, ax=ax) is ax
    assert ax.get_title()
    assert not pyplot.get_fignums()
    own = draw(name)
    assert pyplot.gcf() is own.figure  # plt.savefig and plt.show see it
    assert as_png(own).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_refuse_what_are_no_axes(draw, name):
    with pytest.raises(pb.ConfigError, match="PB-C520: ax must be axes of Matplotlib, not ndarray"):
        draw(name, ax=np.array([1, 2]))
    assert not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("popularity", {"number": 30}),
        ("drift", {"items": [HOSTILE["i3"], "i4"]}),
        ("effect", {"k": 30, "exclude_seen": False}),
    ],
)
def test_titles_are_literal_and_ids_stand_in_for_them(draw, name, every):
    titles = pd.DataFrame({"item": [HOSTILE["i3"], "i4"], "title": ["$\\frac{title", "A \u202etitle"]})
    plain, titled = (" ".join(texts(draw(name, **every, **options))) for options in ({}, {"titles": titles}))
    for item, title in titles.itertuples(index=False):
        assert item in plain
        assert title.replace("\u202e", " ") in titled
    assert as_png(draw(name, titles=titles, **every))


def test_exposure_is_what_a_plain_loop_counts(fit):
    ax = fit.plot.exposure(users=None)
    counts = {}
    for mode in ("none", "population", "posterior"):
        shown = dict.fromkeys(fit.catalogue.items, 0)
        for user in fit.catalogue.users:
            for item in fit.recommend([user], popularity=mode)["item"]:
                shown[item] += 1
        counts[mode] = sorted(shown.values(), reverse=True)
    rows = fit.popularity().groupby("item")["count"].sum().sort_values(ascending=False)
    for start, numbers in {"posterior": counts["posterior"], "training rows": list(rows)}.items():
        total = sum(numbers)
        expected = [sum(numbers[: n + 1]) / total for n in range(len(numbers))]
        np.testing.assert_allclose(line(ax, start), np.c_[np.arange(1, len(numbers) + 1), expected], rtol=1e-12)
    gini = sum(abs(a - b) for a in rows for b in rows) / (2 * len(rows) * sum(rows))
    assert f"training rows: Gini {gini:.3f}, {len(rows)} items" in texts(ax)
    assert sum(text.count("none") for text in texts(ax)) == 1


def test_exposure_depends_on_the_sample_of_users(fit):
    first, again, other = (set(_sample(fit.catalogue, 4, seed)) for seed in (0, 0, 1))
    assert len(first) == len(other) == 4
    assert first == again != other
    assert fit.plot.exposure(users=3, seed=1).get_title() == "What the lists of 3 users show: 10 items each"


def test_effect_joins_the_ranks_of_recommend(fit):
    ax = fit.plot.effect(USER, k=5)
    modes = ("posterior", "population")
    before, after = (fit.recommend([USER], k=5, popularity=mode).set_index("item") for mode in modes)
    left, right = (
        line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o" and line.get_ydata()[0] == 1
    )
    joined = {tuple(each.get_ydata()) for each in ax.get_lines() if list(each.get_xdata()) == [left, right]}
    both = before[["rank"]].join(after["rank"].rename("other"), how="inner")
    assert joined == set(both.itertuples(index=False, name=None))
    for table, side in ((before, "right"), (after, "left")):
        names = {
            each.get_position()[1]: each.get_text() for each in ax.texts if each.get_clip_on() and each.get_ha() == side
        }
        assert all(item.startswith(names[rank].rstrip("…")) for rank, item in enumerate(table.index, start=1))
    deep = {mode: fit.recommend([USER], k=DEEPEST, popularity=mode).set_index("item")["rank"] for mode in modes}
    moves = [f"to {deep['population'][item]}" for item in before.index.difference(after.index)]
    moves += [f"from {deep['posterior'][item]}" for item in after.index.difference(before.index)]
    assert moves
    assert sorted(moves) == sorted(text for text in texts(ax) if text.startswith(("to ", "from ")))
    empty = [each for each in ax.get_lines() if each.get_marker() == "o" and each.get_markerfacecolor() == "white"]
    assert len(empty) == len(moves)
    rows = fit.popularity().groupby("item")["count"].sum()
    assert f"items of {rows[before.index].mean():,.0f} rows on average" in texts(ax)


def test_effect_draws_scores_and_their_intervals_on_one_scale(fit):
    ax = fit.plot.effect(USER, k=5, interval=0.5)
    tables = [fit.recommend([USER], k=5, popularity=mode, interval=0.5) for mode in ("posterior", "population")]
    low = min(table["score_lower"].min() for table in tables)
    high = max(table["score_upper"].max() for table in tables)
    bars = [np.array(each.get_segments())[:, :, 0] for each in ax.collections if isinstance(each, LineCollection)]
    scales = [each.get_xdata() for each in ax.get_lines() if each.get_marker() == "|" and each.get_linestyle() == "-"]
    for table, found, (start, end) in zip(tables, bars, scales, strict=True):
        numbers = low + (high - low) * (found - start) / (end - start)
        np.testing.assert_allclose(numbers, table[["score_lower", "score_upper"]])
    assert "score, 50% interval" in texts(ax)


def test_effect_takes_other_modes_and_names_them(fit):
    ax = fit.plot.effect(USER, before=2.0, after=dict.fromkeys(fit.catalogue.items, 1.0), k=3)
    assert {"Before: z = 2 for all items", "After: given popularity"} <= set(texts(ax))


def test_effect_has_no_intervals_where_vectors_are_points(frame):
    affinity = {"name": "embedding", "dim": 2, "posterior": "point"}
    ax = fitted(frame, study_of(affinity=affinity), periods=1).plot.effect("u3", k=4)
    assert "score" in texts(ax)
    assert not [each for each in ax.collections if isinstance(each, LineCollection)]


@pytest.mark.parametrize("validation", [0.3, 0.0])
def test_calibration_is_that_of_the_held_out_rows_if_there_are_any(make_frame, validation):
    study = study_of().model_copy(update={"training": {"epochs": 2, "batch_size": 200, "validation": validation}})
    fit = fitted(make_frame(rows=600), study)
    ax = fit.plot.calibration(interval=0.8)
    train, held_out = split_rows(fit.events, fit.study)
    rows, which = (held_out, "held-out") if validation else (train, "training")
    assert ax.get_title() == f"Calibration on {len(rows)} {which} rows"
    ids = pd.DataFrame(
        {"user": fit.events.users[fit.events.user[rows]], "item": fit.events.items[fit.events.item[rows]]}
    )
    pairs = Pairs.from_frame(ids, fit.catalogue, unseen="error")
    p = predict_pairs(fit.scorer("posterior"), pairs, period=fit.events.period[rows])["score"].to_numpy()
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    label = fit.events.label[rows]
    (points,) = (each for each in ax.containers)
    expected = [[p[part].mean(), label[part].mean()] for part in bins]
    np.testing.assert_allclose(points[0].get_xydata(), expected, rtol=1e-4)
    bars = np.array(points[2][0].get_segments())[:, :, 1]
    for part, bar in zip(bins, bars, strict=True):
        wilson = stats.binomtest(int(label[part].sum()), len(part)).proportion_ci(0.8, method="wilson")
        np.testing.assert_allclose(bar, [wilson.low, wilson.high], rtol=1e-9)


def test_check_draws_each_rule_and_says_how_many_fail(fit, checked):
    ax = fit.plot.check(checked=checked)
    rules = [each for each in checked.findings if each.check in ("items", "population") and np.isfinite(each.bound)]
    assert [label.get_text() for label in ax.get_yticklabels()] == [each.name for each in rules]
    failed = sum(not each.passed for each in rules)
    held = (
        f"{failed} of {len(rules)} rules fail{'s' if failed == 1 else ''}" if failed else f"all {len(rules)} rules hold"
    )
    assert ax.get_title() == f"Predictive checks: {held}"
    for place, each in zip(ax.get_yticks(), rules, strict=True):
        drawn = [line.get_xydata() for line in ax.get_lines() if line.get_marker() == "o"]
        farthest = max(abs(x) for x, y in np.concatenate(drawn) if y == place)
        assert farthest == pytest.approx(each.value / each.bound, rel=1e-6)


def test_check_names_what_fails_and_what_is_beyond_its_edge(fit, checked):
    table = checked.tables["items"].copy()
    table.loc[table["statistic"] == "spread of item rates", "observed"] *= 50
    ax = fit.plot.check(checked=Check((), {"items": table}))
    assert "1 of 8 rules fails" in ax.get_title()
    (row,) = table[table["statistic"] == "spread of item rates"].itertuples()
    assert f"{row.observed:.3g}, replicates {row.mean:.3g}" in texts(ax)
    assert [each.get_marker() for each in ax.get_lines()].count(">") == 1


def test_prior_posterior_marks_the_mean_of_every_known_cell(fit):
    table = fit.popularity().query("count > 0")
    means = [each.get_xdata() for each in fit.plot.prior_posterior().get_lines() if len(each.get_xdata())]
    np.testing.assert_allclose(np.sort(means[0]), np.sort(table["mean"]), rtol=1e-6)


def test_history_is_that_of_the_fit(fit):
    ax = fit.plot.history()
    for phase in (1, 2):
        part = fit.history["phase"] == phase
        expected = np.c_[fit.history["seconds"].cumsum()[part], fit.history["elbo"][part]]
        np.testing.assert_array_equal(line(ax, f"phase {phase}"), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("effect", "PB-D106: the run was saved without its interactions"),
        ("exposure", "PB-D106: the run was saved without its interactions"),
        ("calibration", "PB-D150: the run was saved without its interactions"),
        ("check", "PB-D140: the run was saved without its interactions"),
    ],
)
def test_pictures_that_need_the_rows_say_so(fit, name, message):
    without = dataclasses.replace(fit, events=None)
    with pytest.raises(pb.DataError, match=message):
        getattr(without.plot, name)(*([USER] if name == "effect" else []))
    assert not pyplot.get_fignums()
    if name in ("effect", "exposure"):
        assert getattr(without.plot, name)(*([USER] if name == "effect" else []), exclude_seen=False).get_title()


def test_pictures_that_need_no_rows_are_drawn_without(fit):
    without = dataclasses.replace(fit, events=None)
    for name in ("popularity", "prior_posterior", "history", "drift"):
        assert texts(getattr(without.plot, name)()) == texts(getattr(fit.plot, name)())


def test_what_cannot_be_drawn_is_refused(fit, frame):
    with pytest.raises(pb.ConfigError, match=r"PB-C522: user=\['a', 'b'\] is not one id"):
        fit.plot.effect(["a", "b"])
    with pytest.raises(pb.DataError, match="PB-D048: 1 unseen users, first nobody"):
        fit.plot.effect("nobody")
    with pytest.raises(pb.DataError, match="PB-D500: user all has a row of every item"):
        fit.plot.effect("all")
    with pytest.raises(pb.UnknownNameError, match="posteriour"):
        fit.plot.effect(USER, before="posteriour")
    with pytest.raises(pb.ConfigError, match="PB-C084: k must be an integer >= 1"):
        fit.plot.exposure(k=0)
    with pytest.raises(pb.ConfigError, match="PB-C084: users must be an integer >= 1"):
        fit.plot.exposure(users=0)
    with pytest.raises(pb.ConfigError, match="PB-C084: number must be an integer >= 1"):
        fit.plot.popularity(number=0)
    with pytest.raises(pb.ConfigError, match="PB-C083: interval must be above 0"):
        fit.plot.calibration(interval=1)
    assert not pyplot.get_fignums()


def test_models_without_probabilities_have_no_calibration_and_no_predictive_checks(frame):
    positives = frame[frame["label"] > 0].drop(columns="label")
    events = pb.Interactions.from_frame(positives)
    fit = pb.fit(events, study=study_of(name="pda", prior={"name": "gamma"}), progress=False)
    with pytest.raises(pb.IncompatibleError, match="PB-C521: model 'pda' compares a positive with a sampled negative"):
        fit.plot.calibration()
    with pytest.raises(pb.IncompatibleError, match="PB-C523: model 'pda' has no labels to replicate"):
        fit.plot.check()
    assert fit.plot.effect("u3").get_title() == "What the intervention changes for user u3"


def test_labels_that_begin_alike_lose_their_middle():
    assert clean_labels(["Lord of the Rings: one", "Lord of the Rings: two", "Up", "Up"], 12) == [
        "Lord …s: one",
        "Lord …s: two",
        "Up",
        "Up",
    ]
    assert clean_labels(["a much longer title", "another one"], 10) == ["a much lo…", "another o…"]
    assert clean_labels(["a\u202eb" + "c" * 100_000], 6) == ["a bcc…"]
