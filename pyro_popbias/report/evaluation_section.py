"""The section of a report on a test: metrics of each popularity mode side by side, and the trade-off between them."""

from typing import Any

import pandas as pd

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.report.picture import Picture
from pyro_popbias.report.trade_off_plot import described_in_words, trade_off
from pyro_popbias.trained import Trained

SHOWN = ("population", "posterior", "none")  # modes of the table; the picture has them all


def evaluation_section(fit: Trained, test: Interactions | None, candidates: str) -> dict[str, Any] | None:
    """Return what the template shows of a test; None without one.

    Args:
        fit: the fit.
        test: rows that were not trained on.
        candidates: as in `Fit.evaluate`.

    Raises:
        DataError: the test cannot be used.
        ConfigError: candidates is not one of the choices.
    """
    if test is None:
        return None
    judged = fit.judge_trade_off(test, candidates=candidates)
    systems = {mode: system for (mode, _), system in judged.systems.items() if mode in SHOWN}
    tables = {mode: systems[mode].table() for mode in SHOWN}
    cells = pd.DataFrame({mode: [_cell(*row) for row in _values(table)] for mode, table in tables.items()})
    metrics = tables[SHOWN[0]]["metric"]
    of_group = metrics.str.contains("[", regex=False)
    points = judged.table()
    return {
        "rows": f"{len(test):,}",
        "users": f"{len(systems[SHOWN[0]].ids):,}",
        "candidates": "all items without those that a user has a training row of"
        if candidates == "all"
        else "the user's rows of the test",
        "notes": judged.notes,
        "modes": SHOWN,
        "metrics": _rows(metrics[~of_group], cells[~of_group]),
        "groups": _rows(metrics[of_group], cells[of_group]),
        "picture": Picture.of(trade_off(points), described_in_words(points)),
    }


def _values(table: pd.DataFrame) -> list[tuple[float, float, float]]:
    return list(table[["value", "lower", "upper"]].itertuples(index=False, name=None))


def _cell(value: float, lower: float, upper: float) -> str:
    """Return a value with its interval, with three digits; empty where there is none."""
    return "" if pd.isna(value) else f"{value:.3g} ({lower:.3g} to {upper:.3g})"


def _rows(metrics: "pd.Series[str]", cells: pd.DataFrame) -> list[list[str]]:
    return [[name, *row] for name, row in zip(metrics, cells.itertuples(index=False, name=None), strict=True)]
