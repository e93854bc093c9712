"""Whether popularity is anything but the like rate of items, as far as labels and counts of rows can say.

Labels of logged rows do not tell popularity from quality. Where nothing else does, z follows the like rate however often an
item is logged, and the intervention takes quality out with it: this fails where counts are there to be used and are not.
Items that were shown at random have no counts that say anything, so that it is reported; so it is where something, an
exposure part or a prior from other counts, identifies z.
"""

import numpy as np
import pandas as pd
import torch
from torch.distributions import constraints

from pyro_popbias.assembly.identification import (
    COUNTS_REMEDY,
    OVERDISPERSED,
    excess_variation,
    identifies_quality,
    warning_of,
)
from pyro_popbias.assembly.training_data import split_rows
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.training_rows import events_of
from pyro_popbias.prediction.quality_draws import QualityMoments
from pyro_popbias.trained import Trained

LEAST_ROWS = 15  # training rows of a cell whose like rate says something
LEAST_CELLS = 10
BOUND = 0.5  # partial correlation from which popularity is the like rate
ROUNDING = 1e-12  # below it what varies is rounding
CHECK, NAME = "identification", "popularity with like rate"


def identification(fit: Trained) -> tuple[pd.DataFrame, Finding]:
    """Return the cells with enough training rows, and whether their popularity follows their like rates, given their counts.

    Args:
        fit: the fit, with its interactions.

    Returns:
        item, period, count, log_count (less the period's mean), like_rate (a logit), popularity (log E[z], or z where it is
        real), quality (NaN where items have none); and the finding.

    Raises:
        DataError: the run was saved without its interactions.
    """
    if fit.study.data.negatives or fit.study.model.latent == "interaction":
        why = "negatives are sampled" if fit.study.data.negatives else "every row has a popularity of its own"
        return pd.DataFrame(), _idle(f"{why}, so there are no like rates of items that popularity could be")
    table = _table(fit)
    value = _partial(table) if len(table) >= LEAST_CELLS else np.nan
    if np.isnan(value):
        return table, _idle(
            f"{len(table)} items have {LEAST_ROWS} or more training rows, too few, or too much alike, to see what popularity is"
        )
    return table, _finding(fit, table, value)


def _table(fit: Trained) -> pd.DataFrame:
    """Return one row per cell with enough training rows."""
    events = events_of(fit)
    train, _ = split_rows(events, fit.study)
    assert events.label is not None  # noqa: S101  negatives are sampled where there are none
    count = np.bincount(events.cell[train], minlength=events.cells)
    positives = np.bincount(events.cell[train], weights=events.label[train], minlength=events.cells)
    cell = np.flatnonzero(count >= LEAST_ROWS)
    period, log_count = cell % events.periods, np.log(count[cell])
    mean = np.bincount(period, log_count, events.periods) / np.maximum(np.bincount(period, None, events.periods), 1)
    share = (positives[cell] + 0.5) / (count[cell] + 1)
    with torch.no_grad():
        z = fit.guide.popularity.posterior(torch.from_numpy(cell).to(fit.guide.device)).mean.cpu().numpy()
    real = fit.model.latents["popularity"].support is constraints.real
    item, quality = cell // events.periods, np.full(len(cell), np.nan)
    if fit.model.affinity.item_quality is not None and len(cell):
        quality = QualityMoments.of(fit.model, fit.guide, item).mean
    columns = {"count": count[cell], "log_count": log_count - mean[period], "like_rate": np.log(share / (1 - share))}
    columns |= {"popularity": z if real else np.log(z), "quality": quality}
    return pd.DataFrame({"item": events.items[item], "period": period, **columns})


def _finding(fit: Trained, table: pd.DataFrame, value: float) -> Finding:
    """Return whether popularity may be what it is, in words."""
    found = (
        f"over {len(table)} items with {LEAST_ROWS} or more training rows, popularity and like rate have a correlation of "
        f"{value:.2f}, given how often items are logged"
    )
    if identifies_quality(fit.study):
        of_quality = correlation(table["quality"], table["like_rate"])
        others = f"popularity and log count of {correlation(table['popularity'], table['log_count']):.2f}"
        others += "" if np.isnan(of_quality) else f", quality and like rate of {of_quality:.2f}"
        return Finding(CHECK, NAME, value, np.nan, True, f"{found}; {others}; reported, never fails")
    if excess_variation(events_of(fit)) < OVERDISPERSED:
        words = f"{found}; items are logged about equally often, and nothing here tells popularity from quality: {COUNTS_REMEDY}"
        return Finding(CHECK, NAME, value, np.nan, True, words)
    words = f"{found}; allowed {BOUND}"
    if value < BOUND:
        return Finding(CHECK, NAME, value, BOUND, True, words)
    remedy = warning_of(fit.study)
    return Finding(CHECK, NAME, value, BOUND, False, f"{words}: {remedy}", remedy)


def _idle(words: str) -> Finding:
    """Return the finding where the rule does not apply."""
    return Finding(CHECK, NAME, np.nan, np.nan, True, words)


def _partial(table: pd.DataFrame) -> float:
    """Return the correlation of popularity and like rate over cells, given their log counts; NaN where one is constant."""
    given = np.stack([np.ones(len(table)), table["log_count"]], axis=1)
    both = table[["popularity", "like_rate"]].to_numpy()
    rest = both - given @ np.linalg.lstsq(given, both, rcond=None)[0]
    return correlation(*rest.T)


def correlation(one: "np.ndarray | pd.Series[float]", other: "np.ndarray | pd.Series[float]") -> float:
    """Return the correlation of two variables, `(n,)` each; NaN where one is constant."""
    left, right = (np.asarray(part) - np.mean(part) for part in (one, other))
    scale = np.sqrt(np.sum(left**2) * np.sum(right**2))
    return float(np.sum(left * right) / scale) if scale > ROUNDING else np.nan
