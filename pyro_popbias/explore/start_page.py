"""The start: what the fit is, and where to begin."""

from typing import Any

import numpy as np
from starlette.datastructures import QueryParams

from pyro_popbias.explore.opened import Opened, drawn
from pyro_popbias.explore.shown import Shown
from pyro_popbias.report import fit_plots
from pyro_popbias.report.fit_overview import overview_of

ITEMS, USERS = 10, 6  # to begin with


def start(opened: Opened, _: QueryParams) -> dict[str, Any]:
    """Return what the start page shows."""
    fit, last = opened.fit, opened.last
    top = last.sort_values("mean", ascending=False, kind="stable").head(ITEMS)
    rows = [
        (item, opened.title(item), _ends(row), int(row["count"]), _share(row["positives"], row["count"]))
        for item, row in zip(map(str, top.index), top.to_dict("records"), strict=True)
    ]
    when = " of the last period" if opened.periods > 1 else ""
    return {
        "overview": overview_of(fit, fit.last_check),
        "picture": drawn(
            lambda: fit_plots.popularity(fit, titles=opened.titles),
            lambda _: (
                f"The most and the least popular items{when}, with 90 % intervals; the table has those at the top"
            ),
        ),
        "top": rows,
        "users": _some_users(opened),
        "modes": _modes(opened),
    }


def _ends(row: Any) -> str:
    ends = "" if np.isnan(row["lower"]) else f" ({row['lower']:.3g} to {row['upper']:.3g})"
    return f"{row['mean']:.3g}{ends}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _some_users(opened: Opened) -> list[tuple[str, str]]:
    """Return users from few rows to many, with how many they have."""
    users, count = opened.fit.catalogue.users, opened.fit.catalogue.user_count
    if count is None:
        return [(user, "") for user in users[:USERS]]
    order = np.argsort(count, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, USERS).round().astype(int))]
    return [(users[code], f"{int(count[code]):,} row{'s' if count[code] != 1 else ''}") for code in chosen]


def _modes(opened: Opened) -> list[tuple[str, Shown]]:
    """Return what lists under each mode show; nothing while that is not known."""
    found = opened.late.get("modes")
    return list(found.items()) if isinstance(found, dict) else []
