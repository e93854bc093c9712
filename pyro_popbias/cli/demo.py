"""`popbias demo`: simulate with a known truth, fit, check, and compare the fit with the truth."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import expit
from scipy.stats import spearmanr

from pyro_popbias.checks.check import Check, check
from pyro_popbias.cli.outputs import Said
from pyro_popbias.data.atomic_files import write_atomically
from pyro_popbias.data.table_files import write_table
from pyro_popbias.fitted import Fit, fit
from pyro_popbias.prediction.posterior_tables import kind_of_interval
from pyro_popbias.report.figure import as_png
from pyro_popbias.report.html import write_report
from pyro_popbias.simulation.simulate import Simulation, simulate
from pyro_popbias.storage.run_names import require_name
from pyro_popbias.study.study import Study

FILES = ("report.html", "demo.png", "popularity.csv", "recommendations.csv")


def run_demo(out: Path, *, users: int = 500, items: int = 300, interactions: int = 100_000) -> Said:
    """Simulate, fit with known and with learned affinities, compare with the truth, check; yield lines, and return figures.

    Args:
        out: folder for the report, the picture and the tables.
        users: number of users.
        items: number of items.
        interactions: number of rows.
    """
    require_name(out)
    simulation = simulate(
        users=users,
        items=items,
        interactions=interactions,
        dim=2,
        quality=0.7,
        exposure=1.0,
        exposure_dispersion=10.0,
        seed=0,
    )
    yield f"simulated: {simulation.events!r}"
    training = {"epochs": 60}
    vectors = {name: simulation.truth[name] for name in ("user_vectors", "item_vectors")}
    given = {"affinity": {"name": "fixed", **vectors}, "exposure": "negative-binomial"}
    known = fit(simulation.events, study=Study(model=given, training=training))
    learned = fit(simulation.events, study=Study(training=training))
    checked: dict[str, Check] = {}
    figures: dict[str, dict[str, float | str]] = {}
    for name, fitted in (("affinities known", known), ("affinities learned", learned)):
        found = compared(fitted, simulation)
        yield f"{name}:"
        yield from (f"  {line}" for line in in_words(found, items=len(fitted.catalogue.items)))
        checked[name] = check(fitted)
        yield f"  check: {checked[name].verdict}"
        figures[name] = {**found, "check": checked[name].verdict}
    yield kind_of_interval(learned.model, learned.study.data.negatives)
    _write_demo(out, known, learned, simulation, checked["affinities learned"])
    yield f"wrote {out}/{', '.join(FILES)}"
    return {"out": out, "files": FILES, "fits": figures}


def _write_demo(out: Path, known: Fit, learned: Fit, simulation: Simulation, checked: Check) -> None:
    out.mkdir(parents=True, exist_ok=True)
    report, picture, popularity, lists = (out / name for name in FILES)
    write_atomically(picture, as_png(draw_demo(known, learned, simulation).axes[0]))
    write_table(learned.popularity(), popularity)
    write_table(learned.recommend(k=10), lists)
    write_report(learned, report, checked=checked)


def compared(fitted: Fit, simulation: Simulation) -> dict[str, float]:
    """Return how well the truth was recovered: z, P(c=1 | do(u,i)), and the ranking of items for a user."""
    table = _with_truth(fitted, simulation)
    error = (fitted.predict(simulation.test)["score"] - simulation.test["probability"]).abs().mean()
    return {
        "popularity_correlation": float(table["mean"].corr(table["z"])),
        "popularity_coverage": float(table["z"].between(table["lower"], table["upper"]).mean()),
        "probability_error": float(error),
        "ranking_population": _rank_agreement(fitted, simulation, "population"),
        "ranking_posterior": _rank_agreement(fitted, simulation, "posterior"),
    }


def in_words(found: dict[str, float], *, items: int) -> Iterator[str]:
    """Yield the figures of `compared` in words."""
    correlation, covered = found["popularity_correlation"], found["popularity_coverage"]
    yield f"z: correlation {correlation:.3f}, 90 % intervals cover {covered:.1%} of {items} items"
    yield f"P(c=1 | do(u,i)): mean absolute error {found['probability_error']:.4f}"
    do, plain = found["ranking_population"], found["ranking_posterior"]
    yield f"ranking against the true affinity (Spearman, mean over users): {do:.3f} with the intervention, {plain:.3f} without"


def _with_truth(fitted: Fit, simulation: Simulation) -> pd.DataFrame:
    return fitted.popularity().merge(simulation.truth["popularity"], on=["item", "period"])


def _rank_agreement(fitted: Fit, simulation: Simulation, popularity: str, users: int = 100) -> float:
    """Return the mean over users of the rank correlation between scores and true affinities of all items."""
    user_vectors = simulation.truth["user_vectors"].set_index("id").loc[fitted.catalogue.users[:users]]
    item_vectors = simulation.truth["item_vectors"].set_index("id").loc[fitted.catalogue.items]
    truth = expit(user_vectors.to_numpy() @ item_vectors.to_numpy().T)
    pairs = pd.MultiIndex.from_product([user_vectors.index, item_vectors.index], names=["user", "item"]).to_frame(
        index=False
    )
    score = fitted.predict(pairs, popularity=popularity)["score"].to_numpy().reshape(truth.shape)
    return float(np.mean([spearmanr(one, other).statistic for one, other in zip(score, truth, strict=True)]))


def draw_demo(known: Fit, learned: Fit, simulation: Simulation) -> Figure:
    """Return a figure: true against estimated popularity, with 90 % intervals, for known and learned affinities."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, fitted, title in zip(
        figure.subplots(1, 2, sharey=True), (known, learned), ("affinities known", "affinities learned"), strict=True
    ):
        table = _with_truth(fitted, simulation)
        inside = table["z"].between(table["lower"], table["upper"])
        for chosen, color, label in ((inside, "#3b6ea5", "covered"), (~inside, "#c4533a", "missed")):
            part = table[chosen]
            spread = [part["mean"] - part["lower"], part["upper"] - part["mean"]]
            share = f"{label} {chosen.mean():.0%}"
            ax.errorbar(
                part["z"], part["mean"], yerr=np.clip(spread, 0, None), fmt=".", color=color, alpha=0.55, label=share
            )
        line = np.array([table["z"].min(), table["z"].max()])
        ax.plot(line, line, color="black", linewidth=0.8)
        ax.set(xscale="log", yscale="log", xlabel="true popularity z", title=title)
        ax.legend(loc="upper left", frameon=False)
    figure.axes[0].set_ylabel("posterior mean and 90 % interval")
    return figure
