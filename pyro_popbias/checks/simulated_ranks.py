"""Simulation-based calibration: where the truth lies in q of many exchangeable items, and in their exact posteriors.

The rank of an item is u = Q(z), the probability that q gives to values below the true z. Where z is drawn from the prior and
labels from the model, ranks in the exact posterior are uniform (Cook, Gelman and Rubin, JCGS 2006; Talts and others,
arXiv:1804.06788). One world of many independent items pools as many ranks, which show faults that ranks of a few hundred
fits do not. The exact posterior by quadrature stands beside q as the control: where its ranks are not uniform, simulation
and model differ, or the quadrature is wrong.

Distances are sizes of effects and not p-values, since no family of q is exact. F is the share of ranks up to u:

| distance | of | between 0 and 1 |
| --- | --- | --- |
| D = sup abs(F(u) - u) | ranks u | how far the probability that z is below a quantile of q is off |
| of intervals | abs(2 u - 1) in place of u | how far the coverage of central intervals is off, at the level where it is worst |
| paired | F of q and F of exact posteriors | the same, with the F of the control in place of u |

Where q is too wide or too narrow the errors of both halves are 0 in the first at u = 1/2 and add up in the second. Both have the
chance of one world in them, .01 among 20,000 items. It is the same in q and in the control, so that the paired distances,
which the rules for q compare with their bounds, are nearly without it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyro
import torch
from scipy.stats import kstwobign

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.checks.accuracy import CELLS, ROWS
from pyro_popbias.checks.exact_posterior import exact_posterior
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.training_rows import TrainingRows
from pyro_popbias.distributions import cumulative
from pyro_popbias.guides import Bounds
from pyro_popbias.progress import counted
from pyro_popbias.simulation.simulate import Simulation

BOUND = 0.02  # of both paired distances of a guide
# what chance alone may make of D before rules that hold say nothing: a wrong scale of q makes .07
LARGEST_CHANCE = 0.05
LEVEL = 0.01  # how often chance alone exceeds the bound of the control
PARTS = {"all": (0, np.inf), f"fewer than {ROWS}": (0, ROWS - 1), f"{ROWS} and more": (ROWS, np.inf)}
RANKS: dict[str, Literal["guide", "exact"]] = {"guide": "guide", "control": "exact"}  # column of the table by name


@dataclass(frozen=True, eq=False)
class SimulatedRanks:
    """The ranks of a world's items.

    Attributes:
        table: item, rows, z (the truth), guide (its rank in q), exact (that in the exact posterior); one row per item.
        guide: name of the guide.
        bounds: upper bounds of the KL for the guide's family; None for a family that promises nothing.
    """

    table: pd.DataFrame
    guide: str
    bounds: Bounds | None

    def part(self, name: str) -> pd.DataFrame:
        """Return the items of one of `PARTS`, by their number of rows."""
        return self.table[self.table["rows"].between(*PARTS[name])]

    def summary(self) -> pd.DataFrame:
        """Return the distances by posterior and number of rows.

        Returns:
            posterior ("guide" or "control"), rows (one of `PARTS`), items, distance, interval_distance; paired and
            interval_paired, 0 for the control; coverage_50 and coverage_90, of central intervals.
        """
        found = []
        for name, column in RANKS.items():
            for rows in PARTS:
                part = self.part(rows)
                if len(part):
                    ranks = figures(part[column].to_numpy(), part["exact"].to_numpy())
                    found.append({"posterior": name, "rows": rows, "items": len(part), **ranks})
        return pd.DataFrame(found)

    def findings(self) -> tuple[Finding, ...]:
        """Return one finding per rule: of the control over all items, of the guide over those with 20 or more rows."""
        control = self.table["exact"].to_numpy()
        of_control = _held(
            "control",
            distance(control),
            by_chance(len(control)),
            f"D of {len(control)} items in their exact posteriors is {{value:.4f}}",
            "the simulation does not draw from the model that is fitted, or the quadrature is wrong; what is said of the guide "
            "means nothing",
        )
        return of_control, *self._of_guide()

    def _of_guide(self) -> tuple[Finding, ...]:
        part = self.part(f"{ROWS} and more")
        if not len(part):
            words = f"no item has {ROWS} or more rows, so nothing is asked of the guide"
            return (Finding("calibration", "guide", np.nan, np.nan, True, words),)
        found = figures(part["guide"].to_numpy(), part["exact"].to_numpy())
        bound = max(BOUND, by_chance(len(part))) if self.bounds else np.nan
        where = f"guide {self.guide!r}, {len(part)} items with {ROWS} or more rows"
        remedy = "train longer; if that changes nothing, the family cannot come closer: use another guide"
        of_ranks = f"{where}: D is {found['distance']:.4f}, and {{value:.4f}} beside the control"
        of_intervals = (
            f"{where}: coverage of central intervals is off by {{value:.4f}} beside the control where it is worst"
        )
        return (
            _held("guide", found["paired"], bound, of_ranks, remedy),
            _held("intervals of the guide", found["interval_paired"], bound, of_intervals, remedy),
        )

    @property
    def passed(self) -> bool:
        """Whether no rule is broken; `verdict` says whether there was enough to judge the guide by."""
        return all(finding.passed for finding in self.findings())

    @property
    def verdict(self) -> str:
        """What the rules say, in a few words."""
        fails = [finding.name for finding in self.findings() if not finding.passed]
        if fails:
            return f"out of calibration: {', '.join(fails)}"
        if not self.bounds:
            return f"not judged: guide {self.guide!r} promises nothing, so that its distances are only reported"
        number = len(self.part(f"{ROWS} and more"))
        if not number or by_chance(number) > LARGEST_CHANCE:
            return f"not judged: too few items with {ROWS} or more rows; simulate more"
        return "calibrated: all rules hold"


def _held(name: str, value: float, bound: float, words: str, remedy: str) -> Finding:
    said = words.format(value=value)
    if np.isnan(bound):
        return Finding("calibration", name, value, bound, True, f"{said} (no bound for this guide)")
    said = f"{said}; the bound is {bound:.4f}"
    if value <= bound:
        return Finding("calibration", name, value, bound, True, said)
    return Finding("calibration", name, value, bound, False, f"{said}: {remedy}", remedy)


def distance(ranks: np.ndarray) -> float:
    """Return D = sup abs(F(u) - u) of ranks `(N,)`, F the share of ranks up to u (Kolmogorov and Smirnov)."""
    ordered, number = np.sort(ranks), len(ranks)
    above = np.arange(1, number + 1) / number - ordered
    return float(max(above.max(), (1 / number - above).max()))


def between(ranks: np.ndarray, others: np.ndarray) -> float:
    """Return sup abs(F(u) - G(u)) of two lists of ranks, F and G the shares of each up to u (Smirnov)."""
    places = np.concatenate([ranks, others])
    shares = [np.searchsorted(np.sort(part), places, side="right") / len(part) for part in (ranks, others)]
    return float(np.abs(shares[0] - shares[1]).max())


def central(ranks: np.ndarray) -> np.ndarray:
    """Return the probability of the smallest central interval that holds the truth, abs(2 u - 1), `(N,)`."""
    return np.asarray(np.abs(2 * ranks - 1))


def by_chance(number: int, level: float = LEVEL) -> float:
    """Return what D of uniform ranks exceeds with a probability: .0115 of 20,000 at 1 %.

    Args:
        number: of ranks.
        level: the probability.
    """
    return float(kstwobign.isf(level) / np.sqrt(number))


def figures(ranks: np.ndarray, control: np.ndarray) -> dict[str, float]:
    """Return the distances of ranks `(N,)`, and the coverage of their 50 and 90 % intervals.

    Args:
        ranks: of the truth in q.
        control: `(N,)` of the same truth in exact posteriors.
    """
    inside = central(ranks)
    return {
        "distance": distance(ranks),
        "paired": between(ranks, control),
        "interval_distance": distance(inside),
        "interval_paired": between(inside, central(control)),
        **{f"coverage_{percent}": float((inside < percent / 100).mean()) for percent in (50, 90)},
    }


def simulated_ranks(pair: Pair, simulation: Simulation) -> SimulatedRanks:
    """Return the ranks of the true popularity of a world's items.

    Args:
        pair: of `known_pair`, trained.
        simulation: the world, with one period.
    """
    rows, items = TrainingRows(pair), simulation.events.items
    z = simulation.truth["popularity"].set_index("item")["z"].reindex(items).to_numpy()
    with torch.no_grad(), pyro.validation_enabled(False):
        parts = np.array_split(np.arange(len(items)), -(-len(items) // CELLS))
        found = [_ranks(pair, rows, parts[number], z[parts[number]]) for number in counted(len(parts), "ranks")]
        ranks = np.concatenate(found, axis=1)
    table = pd.DataFrame({"item": items, "rows": rows.count, "z": z, "guide": ranks[0], "exact": ranks[1]})
    return SimulatedRanks(table, pair.study.guide.name, type(pair.guide.popularity).bounds)


def _ranks(pair: Pair, rows: TrainingRows, cell: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the ranks of some cells' z in q and in the exact posterior, `(2, D)`."""
    codes, value = torch.from_numpy(cell).to(pair.device), torch.from_numpy(z).to(pair.device)
    q = pair.guide.popularity.posterior(codes)
    exact = exact_posterior(pair.model, pair.model.prior.distribution(codes), q, rows.of(cell).compressed())
    least = exact.transform.z(exact.t[0])
    return torch.stack([cumulative(q, value), exact.mass(least, value)]).cpu().numpy()
