"""Plot of the observed share of positives against the predicted probability."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.special import ndtri

from pyro_popbias.checks.posterior_predictive import Predictive
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.checks.training_rows import events_of
from pyro_popbias.errors import IncompatibleError
from pyro_popbias.evaluation.probabilities import calibration_bins
from pyro_popbias.prediction.posterior_tables import check_interval
from pyro_popbias.report.figure import BLUE, Target, axes_for
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_seed


def calibration(fit: Trained, ax: Target = None, *, interval: float = 0.9, seed: int = 0) -> Axes:
    """Plot the observed share of label 1 against the mean predicted probability, in ten bins of equally many rows.

    Probabilities are those of each row's own cell, popularity integrated over its posterior. Bars are Wilson's intervals of a
    binomial share.

    Args:
        fit: the fit, with its interactions.
        ax: axes to draw into; those of a new figure if left out.
        interval: probability of the intervals.
        seed: of the sampled negatives, where there are any.

    Raises:
        DataError: the run was saved without its interactions, or they are on disk.
        IncompatibleError: scores of the model are not probabilities.
        ConfigError: the interval is not between 0 and 1, or the seed not an integer >= 0.
    """
    tail, seed = (1 - check_interval(interval)) / 2, require_seed(seed)
    if fit.model.pairwise:
        raise IncompatibleError(
            f"PB-C521: model {fit.study.model.name!r} compares a positive with a sampled negative: its scores are not "
            "probabilities, and there is no calibration to draw; evaluate it on a test"
        )
    rows = ReplicatedData.of(events_of(fit), fit.study, seed=seed, device=fit.guide.device)
    per_row = fit.study.model.latent == "interaction"
    probability = Predictive(fit.model, fit.guide, rows, per_row, seed).probability()[rows.scored]
    table = observed_shares(probability, rows.label[rows.scored], tail)
    ax = axes_for(ax, width=5.0, height=4.4)
    middle = float(table["mean"].mean())
    ax.axline((middle, middle), slope=1, color="black", linewidth=0.8, label="as predicted")
    error = np.abs(table[["lower", "upper"]].sub(table["share"], axis=0)).T
    label = f"observed, {interval:.0%} binomial interval"
    ax.errorbar(table["mean"], table["share"], error, fmt="o", color=BLUE, markersize=4, elinewidth=1.2, label=label)
    which = "training" if rows.scored.all() else "held-out"
    off = float(np.average(np.abs(table["share"] - table["mean"]), weights=table["rows"]))
    design = f" ({rows.negatives} negatives per positive)" if rows.negatives else ""
    ax.set(
        xlabel=f"mean predicted probability{design}",
        ylabel="observed share of positives",
        title=f"Calibration on {len(probability):,} {which} rows",
    )
    ax.text(0.97, 0.04, f"off by {off:.3f} on average", transform=ax.transAxes, ha="right", color="0.35")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))  # room for the legend
    ax.legend(frameon=False, loc="upper left")
    return ax


def observed_shares(probability: np.ndarray, label: np.ndarray, tail: float) -> pd.DataFrame:
    """Return one row per bin that has rows: rows, mean of the probability, share of label 1, lower, upper.

    Args:
        probability: `(N,)`.
        label: `(N,)` 0 or 1.
        tail: probability below lower, and above upper.
    """
    place = calibration_bins(probability)
    table = pd.DataFrame({"place": place, "mean": probability, "share": label, "rows": 1}).groupby("place")
    found = table.agg({"mean": "mean", "share": "mean", "rows": "sum"})
    n, p, z = found["rows"], found["share"], -float(ndtri(tail))
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return found.assign(lower=(middle - half) / (1 + z**2 / n), upper=(middle + half) / (1 + z**2 / n))
