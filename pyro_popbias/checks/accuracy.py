"""How close the guide's q is to the exact posterior of popularity, cell by cell, given the distribution of affinities.

The exact posterior of a cell is one-dimensional (`exact_posterior.py`), so KL(q || p), means, standard deviations and
coverage are computed by quadrature, without sampling error. Where affinities have a distribution, each label enters by its
expected log-likelihood. The posterior of the intercept is not part of it, nor is any error of the affinities.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyro
import torch

from pyro_popbias.checks.exact_chain import Surroundings
from pyro_popbias.checks.exact_posterior import Exact, LogDensity, exact_posterior
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.importance import ENOUGH, effective_share, k_hat, largest_k
from pyro_popbias.checks.training_rows import TrainingRows, events_of
from pyro_popbias.distributions import draw, quantile
from pyro_popbias.guides import Bounds
from pyro_popbias.models import RandomWalkPrior
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_integer

ROWS = 20  # training rows of a cell, from which it counts in the findings and in the mean KL
CHUNK = 500_000  # rows processed together
CELLS = 2_000  # cells processed together
DRAWS = 1000
INTERVAL = 0.9
COLUMNS = (
    "item",
    "period",
    "rows",
    "kl",
    "mean",
    "exact_mean",
    "mean_error",
    "sd",
    "exact_sd",
    "sd_ratio",
    "coverage",
    "ess",
    "k_hat",
)


@dataclass(frozen=True, eq=False)
class Accuracy:
    """The distance of q from the exact posterior of popularity.

    Attributes:
        table: one row per checked cell: item, period, rows (training rows, without sampled negatives), kl (KL(q || p)
            in nats), mean, exact_mean, mean_error (in exact standard deviations), sd, exact_sd, sd_ratio, coverage
            (probability of q's 90 % interval under the exact posterior), ess (effective sample size over the number of
            draws of q), k_hat (NaN where ess is .9 or more).
        reason: why nothing was checked; empty if it was.
        bounds: upper bounds of the KL for the guide's family, in nats; None if the family has none.
    """

    table: pd.DataFrame
    reason: str
    bounds: Bounds | None

    @property
    def ruled(self) -> pd.DataFrame:
        """The checked cells with 20 or more training rows; elsewhere the posterior is close to the prior, as every q is."""
        return self.table[self.table["rows"] >= ROWS]

    @property
    def mean_kl(self) -> float:
        """Mean KL(q || exact posterior) over these cells, in nats per cell, with equal weights; NaN where there are none."""
        return float(self.ruled["kl"].mean()) if not self.no_kl else np.nan

    @property
    def no_kl(self) -> str:
        """Why there is no mean KL; empty where there is one."""
        few = f"no checked cell has {ROWS} or more training rows"
        return self.reason or (few if self.ruled.empty else "")

    def findings(self) -> tuple[Finding, ...]:
        """Return one finding per rule, over cells with 20 or more training rows."""
        if self.no_kl:
            return (_reported("exact posterior", np.nan, f"Not checked: {self.no_kl}."),)
        table = self.ruled
        where = f"over {len(table)} cells with {ROWS} or more training rows"
        mean, high, coverage = self.mean_kl, float(table["kl"].quantile(0.99)), table["coverage"].mean()
        heavy = ((table["ess"] < ENOUGH) & (table["k_hat"] > largest_k(DRAWS))).mean()
        limits = (np.nan, np.nan) if self.bounds is None else (self.bounds.mean, self.bounds.high)
        return (
            _held("mean KL", mean, limits[0], f"mean KL(q || exact posterior) is {mean:.4f} nats {where}"),
            _held(
                "99th percentile of KL",
                high,
                limits[1],
                f"99th percentile of the same KL is {high:.4f} nats {where}",
            ),
            _reported(
                "coverage",
                coverage,
                f"q's {INTERVAL:.0%} intervals contain {coverage:.1%} of the exact posterior on average; mean absolute error of "
                f"q's mean {table['mean_error'].abs().mean():.3f} exact standard deviations, mean ratio of standard deviations "
                f"{table['sd_ratio'].mean():.3f} (no bound).",
            ),
            _reported(
                "heavy tails",
                heavy,
                f"{heavy:.1%} of the cells have a relative effective sample size below {ENOUGH} and a Pareto k-hat above "
                f"{largest_k(DRAWS):.2f}: do not importance-weight their draws (no bound).",
            ),
        )


def _reported(name: str, value: float, words: str) -> Finding:
    return Finding("accuracy", name, float(value), np.nan, True, words)


def _held(name: str, value: float, bound: float, words: str) -> Finding:
    """Return a finding with a bound, or a report where the bound is NaN."""
    if np.isnan(bound):
        return _reported(name, value, f"{words} (no bound for this guide).")
    passed = bool(value <= bound)
    remedy = (
        ""
        if passed
        else "if the convergence check holds, the guide's family cannot come closer: use another guide; otherwise train longer"
    )
    said = f"{words}; the bound is {bound:g}" + (f"; {remedy}." if remedy else ".")
    return Finding("accuracy", name, float(value), bound, passed, said, remedy)


def accuracy(fit: Trained, *, items: int = 1000, seed: int = 0) -> Accuracy:
    """Compare q with the exact posterior of each cell, for items with training rows.

    Args:
        fit: a fit, or a trained pair.
        items: number of items to check, drawn at random; all if there are no more.
        seed: seed of the choice of items and of the draws.

    Raises:
        DataError: the run was saved without its interactions.
        ConfigError: `items` is not an integer >= 1.
    """
    items = require_integer("items", items, 1, code="PB-C150")
    bounds = type(fit.guide.popularity).bounds
    if reason := why_not(fit):
        return Accuracy(pd.DataFrame(columns=list(COLUMNS)), reason, bounds)
    catalogue, rows = events_of(fit).catalogue, TrainingRows(fit)
    known = np.flatnonzero(rows.count.reshape(-1, catalogue.periods).sum(1))
    chosen = np.sort(np.random.default_rng(seed).permutation(known)[:items])
    cell = (chosen[:, None] * catalogue.periods + np.arange(catalogue.periods)).reshape(-1)
    joined = fit.model.prior.joins_periods  # each period then needs all others of its item
    cell = cell if joined else cell[rows.count[cell] > 0]
    together = catalogue.periods if joined else 1
    with torch.no_grad(), pyro.validation_enabled(False):
        parts = [_of_cells(fit, rows, part, seed) for part in chunks(cell, rows.size(cell), together=together)]
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "item", catalogue.items[cell // catalogue.periods])
    table.insert(1, "period", cell % catalogue.periods)
    return Accuracy(table, "", bounds)


def why_not(fit: Trained) -> str:
    """Return why the cells of a fit have no one-dimensional exact posterior; empty if they have one."""
    nuts = "it is checked against NUTS on 50 items in the package's tests"
    if fit.model.pairwise:
        return f"the likelihood of {fit.study.model.name!r} compares items, so cells are not independent; {nuts}"
    if fit.guide.popularity.maximises != "elbo":
        return f"guide {fit.study.guide.name!r} is a point estimate, not a distribution"
    if fit.study.model.latent == "interaction":
        return "every interaction has its own popularity, so q is not the posterior of a cell"
    return ""


def chunks(cell: np.ndarray, size: np.ndarray, *, together: int) -> Iterator[np.ndarray]:
    """Yield chunks of cells, bounded in rows and in cells; as many cells as are said stay together.

    Args:
        cell: `(D,)` cells.
        size: `(D,)` upper bounds of their rows.
        together: number of neighbours that stay in one chunk.
    """
    number = np.maximum(np.cumsum(size) // CHUNK, np.arange(len(cell)) // CELLS)[::together]
    yield from np.split(cell, together * (np.flatnonzero(np.diff(number)) + 1))


def _of_cells(fit: Trained, rows: TrainingRows, cell: np.ndarray, seed: int) -> pd.DataFrame:
    """Return the table of a chunk of cells, without item and period."""
    codes = torch.from_numpy(cell).to(fit.guide.device)
    q = fit.guide.popularity.posterior(codes)
    walk, observations = fit.model.prior, rows.of(cell).compressed()
    prior: LogDensity = walk.distribution(codes)
    if isinstance(walk, RandomWalkPrior):
        prior = Surroundings(fit.model, walk, q, observations, codes)
    exact = exact_posterior(fit.model, prior, q, observations, cell=codes)
    mean, sd = exact.moments()
    tail = (1 - INTERVAL) / 2
    log_ratio = _at_draws(exact, draw(q, draws=DRAWS, seed=seed, keys=cell.tolist()))
    ess = effective_share(log_ratio)
    columns = {
        "kl": exact.kl,
        "mean": q.mean,
        "exact_mean": mean,
        "mean_error": (q.mean - mean) / sd,
        "sd": q.stddev,
        "exact_sd": sd,
        "sd_ratio": q.stddev / sd,
        "coverage": exact.mass(quantile(q, tail), quantile(q, 1 - tail)),
    }
    table = pd.DataFrame({"rows": rows.count[cell], **{name: part.cpu().numpy() for name, part in columns.items()}})
    tails = [k_hat(each) if share < ENOUGH else np.nan for each, share in zip(log_ratio.T, ess, strict=True)]
    return table.assign(ess=ess, k_hat=tails)


def _at_draws(exact: Exact, z: np.ndarray) -> np.ndarray:
    """Return log p - log q at draws of q, `(S, D)`: interpolated linearly between q's nodes."""
    t = exact.transform.t(torch.from_numpy(z).to(exact.q_t)).cpu().numpy()
    nodes, ratio = exact.q_t.cpu().numpy(), exact.log_ratio.cpu().numpy()
    return np.stack([np.interp(*column) for column in zip(t.T, nodes.T, ratio.T, strict=True)], axis=1)
