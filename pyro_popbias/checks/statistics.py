"""Statistics of labels, observed or replicated, for predictive checks.

| statistic | strata | meaning |
| --- | --- | --- |
| click rate | decile 1..10 | share of label 1, by decile of the items' number of rows, 10 the most |
| spread of item rates | | standard deviation of the share of label 1 over items with 5 or more rows |
| Gini of item rates | | Gini index of the share of label 1, items weighted by rows: clicks against rows |
| share of clicks | top 1 %, top 10 % | share of all clicks on the most clicked items |
| clicks per user | mean | number of labels 1 per user |
| spread of user rates | | standard deviation of the share of label 1 over users with 5 or more rows |
| calibration | bin 1..10 | share of label 1 in ten bins of the fit's probability with equally many rows |
| log-score | head, middle, tail | mean log of the fit's probability of the label, nats per row, in decile 10, 6-9, 1-5 |

Items with equally many rows share a decile, so some deciles may be empty. With several periods each cell counts as an
item. Deciles, bins and the fit's probabilities are the same for observed and replicated labels. Statistics without
rows, or with fewer than two items or users, are left out; so are those of users where negatives are sampled, because
every user then has the same share of clicks by design.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.stats import rankdata

LEAST_ROWS = 5  # of an item or user whose rate enters a spread
DECILES = BINS = 10
TOPS = {"top 1 %": 0.01, "top 10 %": 0.1}
STRATA = ("tail", "middle", "head")


@dataclass(frozen=True)
class Counts:
    """Clicks of one set of labels, summed over rows.

    Attributes:
        cell: `(D,)` clicks of each cell.
        user: `(U,)` of each user.
        bin: `(BINS,)` of scored rows in each bin of probability.
        logit: `(3,)` sum of logits of the fit's probability over the clicked scored rows of tail, middle and head.
    """

    cell: np.ndarray
    user: np.ndarray
    bin: np.ndarray
    logit: np.ndarray

    def __add__(self, other: "Counts") -> "Counts":
        """Return the sum of both."""
        return Counts(self.cell + other.cell, self.user + other.user, self.bin + other.bin, self.logit + other.logit)


class Statistics:
    """The statistics of some rows; labels are counted block by block.

    Args:
        cell_index: `(N,)` cell of each row, 0..D-1; every cell has a row.
        user: `(N,)` user code of each row; None omits the statistics of users.
        scored: `(N,)` rows used for calibration and log-scores.
        log_probability: `(2, N)` the fit's log-probability of labels 0 and 1, in nats; only scored rows are used.

    Attributes:
        names: statistic and stratum of each value.
    """

    def __init__(
        self, cell_index: np.ndarray, user: np.ndarray | None, *, scored: np.ndarray, log_probability: np.ndarray
    ) -> None:
        self._cell_index, self._rows = cell_index, np.bincount(cell_index)
        self._of_users = user is not None
        self._user = np.zeros_like(cell_index) if user is None else np.unique(user, return_inverse=True)[1]
        self._user_rows = np.bincount(self._user)
        self._decile = deciles(self._rows)
        p = np.exp(log_probability[1])
        edges = np.quantile(p[scored], np.linspace(0, 1, BINS + 1))
        # rows that are not scored get an extra bin and stratum, after the others
        self._bin = np.where(scored, np.searchsorted(edges[1:-1], p, side="right"), BINS)
        self._stratum = np.where(scored, np.searchsorted([5, 9], self._decile, side="right")[cell_index], len(STRATA))
        self._logit = log_probability[1] - log_probability[0]
        self._bin_rows = np.bincount(self._bin, minlength=BINS + 1)[:BINS]
        self._stratum_rows = np.bincount(self._stratum, minlength=len(STRATA) + 1)[: len(STRATA)]
        # the sum of log(1 - p); a click adds the logit of p to it
        base = np.bincount(self._stratum, weights=log_probability[0], minlength=len(STRATA) + 1)
        self._base = base[: len(STRATA)]
        self._decile_rows = np.bincount(self._decile, weights=self._rows, minlength=DECILES)
        self._bins = [f"bin {k} (p {edges[k - 1]:.2f}-{edges[k]:.2f})" for k in range(1, BINS + 1)]
        everything = self._everything(self.count([(slice(None), np.ones(len(cell_index), dtype=bool))]))
        self.names = [name for name, value in everything.items() if np.isfinite(value)]

    def count(self, blocks: Iterable[tuple[slice, np.ndarray]]) -> Counts:
        """Return the clicks of labels given as blocks of rows with booleans `(B,)`."""
        counts = [self._count(block, clicked) for block, clicked in blocks]
        return reduce(Counts.__add__, counts)

    def _count(self, block: slice, clicked: np.ndarray) -> Counts:
        row = np.flatnonzero(clicked)
        cell_index, user, bin_, stratum, logit = (
            part[block][row] for part in (self._cell_index, self._user, self._bin, self._stratum, self._logit)
        )
        return Counts(
            np.bincount(cell_index, minlength=len(self._rows)),
            np.bincount(user, minlength=len(self._user_rows)),
            np.bincount(bin_, minlength=BINS + 1)[:BINS],
            np.bincount(stratum, weights=logit, minlength=len(STRATA) + 1)[: len(STRATA)],
        )

    def of(self, counts: Counts) -> np.ndarray:
        """Return the statistics of some labels, `(S,)`, in the order of `names`."""
        everything = self._everything(counts)
        return np.array([everything[name] for name in self.names])

    def _everything(self, counts: Counts) -> dict[tuple[str, str], float]:
        """Return every statistic by name and stratum; NaN where it has no rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            by_decile = np.bincount(self._decile, weights=counts.cell, minlength=DECILES) / self._decile_rows
            by_bin = counts.bin / self._bin_rows
            log_score = (self._base + counts.logit) / self._stratum_rows
        found = {("click rate", f"decile {k + 1}"): rate for k, rate in enumerate(by_decile)}
        found["spread of item rates", ""] = spread(counts.cell, self._rows)
        found["Gini of item rates", ""] = gini(counts.cell, self._rows)
        for name, share in TOPS.items():
            found["share of clicks", name] = top_share(counts.cell, share)
        found["clicks per user", "mean"] = counts.user.mean() if self._of_users else np.nan
        found["spread of user rates", ""] = spread(counts.user, self._user_rows)
        for statistic, strata, values in (("calibration", self._bins, by_bin), ("log-score", STRATA, log_score)):
            found |= {(statistic, name): value for name, value in zip(strata, values, strict=True)}
        return found


def deciles(rows: np.ndarray) -> np.ndarray:
    """Return the decile 0..9 of each item by its number of rows `(D,)`; ties share the decile of their mean rank."""
    decile: np.ndarray = np.floor(DECILES * (rankdata(rows) - 0.5) / len(rows)).astype(np.int64)
    return decile


def spread(clicks: np.ndarray, rows: np.ndarray) -> float:
    """Return the standard deviation of clicks / rows `(D,)` over items with enough rows; NaN for fewer than two."""
    enough = rows >= LEAST_ROWS
    return float((clicks[enough] / rows[enough]).std()) if enough.sum() > 1 else np.nan


def gini(clicks: np.ndarray, rows: np.ndarray) -> float:
    """Return the Gini index of clicks / rows `(D,)`, items weighted by rows; 0 without clicks.

    One minus twice the area under the curve of clicks against rows, items sorted by rate.
    """
    if not clicks.any():
        return 0.0
    order = np.argsort(clicks / rows)
    x, y = (np.concatenate([[0.0], np.cumsum(part[order])]) / part.sum() for part in (rows, clicks))
    return float(1 - np.sum(np.diff(x) * (y[1:] + y[:-1])))


def top_share(clicks: np.ndarray, share: float) -> float:
    """Return the share of all clicks `(D,)` on the most clicked items; 0 without clicks.

    Args:
        clicks: `(D,)` clicks of each item.
        share: share of items counted as most clicked; their number is rounded up.
    """
    number = int(np.ceil(share * len(clicks)))
    total = clicks.sum()
    return float(np.partition(clicks, len(clicks) - number)[-number:].sum() / total) if total else 0.0
