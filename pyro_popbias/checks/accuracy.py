"""How near the guide's q comes to the exact posterior of popularity, cell by cell, given the estimated affinities.

The exact posterior is one-dimensional (`exact_posterior.py`), so that KL(q || p), means, standard deviations and
coverage are numbers and no estimates. What it cannot see is the uncertainty of the affinities.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyro
import torch

from pyro_popbias.checks.cell_likelihood import TrainingRows, events_of
from pyro_popbias.checks.exact_posterior import Exact, exact_posterior
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.importance import ENOUGH, effective_share, k_hat, largest_k
from pyro_popbias.distributions import draw, quantile
from pyro_popbias.guides import Bounds
from pyro_popbias.models import BayesianEmbeddingAffinity
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_integer

ROWS = 20  # of a cell, from which the bounds hold
CHUNK = 500_000  # rows looked at together
CELLS = 2_000  # the same of cells
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
    """The accuracy of q.

    Attributes:
        table: one row a checked cell: item, period, rows (training rows, without sampled negatives), kl (KL(q || p) in
            nats), mean, exact_mean, mean_error (in exact standard deviations), sd, exact_sd, sd_ratio, coverage (the
            exact posterior's mass in q's 90 % interval), ess (effective share of q's draws), k_hat (NaN where ess is .9
            or more).
        reason: why nothing could be checked; empty where it could.
        bounds: what the guide's family promises; None where it promises nothing.
    """

    table: pd.DataFrame
    reason: str
    bounds: Bounds | None

    @property
    def ruled(self) -> pd.DataFrame:
        """The cells that rules are about, with 20 training rows or more: in others q hardly leaves the prior."""
        return self.table[self.table["rows"] >= ROWS]

    @property
    def mean_kl(self) -> float:
        """Mean KL(q || p) over the cells that rules are about, in nats; NaN where there are none."""
        return float(self.ruled["kl"].mean()) if not self.no_kl else np.nan

    @property
    def no_kl(self) -> str:
        """Why there is no mean KL; empty where there is one."""
        few = f"no checked item has {ROWS} training rows or more"
        return self.reason or (few if self.ruled.empty else "")

    def findings(self) -> tuple[Finding, ...]:
        """Return the rules, over cells with 20 training rows or more."""
        if self.no_kl:
            return (_reported("exact posterior", np.nan, f"Not checked: {self.no_kl}."),)
        table = self.ruled
        where = f"over the {len(table)} cells with {ROWS} training rows or more"
        mean, high, coverage = self.mean_kl, float(table["kl"].quantile(0.99)), table["coverage"].mean()
        heavy = ((table["ess"] < ENOUGH) & (table["k_hat"] > largest_k(DRAWS))).mean()
        limits = (np.nan, np.nan) if self.bounds is None else (self.bounds.mean, self.bounds.high)
        return (
            _held("mean KL", mean, limits[0], f"q is {mean:.4f} nats from the exact posterior on average {where}"),
            _held("99th percentile of KL", high, limits[1], f"99 % of q are within {high:.4f} nats {where}"),
            _reported(
                "coverage",
                coverage,
                f"q's {INTERVAL:.0%} intervals hold {coverage:.1%} of the exact posterior on average, its means are off by "
                f"{table['mean_error'].abs().mean():.3f} exact standard deviations, and its standard deviations are "
                f"{table['sd_ratio'].mean():.3f} of the exact ones (reported, no bound).",
            ),
            _reported(
                "heavy tails",
                heavy,
                f"{heavy:.1%} of q have an effective share of draws below {ENOUGH} together with a k-hat above "
                f"{largest_k(DRAWS):.2f}: do not reweight their draws (reported, no bound).",
            ),
        )


def _reported(name: str, value: float, words: str) -> Finding:
    return Finding("accuracy", name, float(value), np.nan, True, words)


def _held(name: str, value: float, bound: float, words: str) -> Finding:
    """Return a finding against a bound; NaN where the family has none."""
    if np.isnan(bound):
        return _reported(name, value, f"{words} (reported, no bound for this family).")
    passed = bool(value <= bound)
    remedy = (
        ""
        if passed
        else "; where the iterates stand still this is the family's limit: take another guide, else train longer"
    )
    return Finding("accuracy", name, float(value), bound, passed, f"{words}; the bound is {bound:g}{remedy}.")


def accuracy(fit: Trained, *, items: int = 1000, seed: int = 0) -> Accuracy:
    """Return how near q comes to the exact posterior, for items with training rows.

    Args:
        fit: a fit, or a trained pair.
        items: how many to check; all where there are no more.
        seed: decides which, and the draws.

    Raises:
        DataError: the run was saved without its interactions.
        ConfigError: `items` is not an integer >= 1.
    """
    items = require_integer("items", items, 1, code="PB-C150")
    bounds = type(fit.guide.popularity).bounds
    if reason := why_not(fit):
        return Accuracy(pd.DataFrame(columns=list(COLUMNS)), reason, bounds)
    catalogue, rows = events_of(fit).catalogue, TrainingRows(fit)
    there = np.flatnonzero(rows.count.reshape(-1, catalogue.periods).sum(1))
    chosen = np.sort(np.random.default_rng(seed).permutation(there)[:items])
    cell = (chosen[:, None] * catalogue.periods + np.arange(catalogue.periods)).reshape(-1)
    cell = cell[rows.count[cell] > 0]
    with torch.no_grad(), pyro.validation_enabled(False):
        parts = [_of_cells(fit, rows, part, seed) for part in _chunks(cell, rows.size(cell))]
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "item", catalogue.items[cell // catalogue.periods])
    table.insert(1, "period", cell % catalogue.periods)
    return Accuracy(table, "", bounds)


def why_not(fit: Trained) -> str:
    """Return why a fit's cells have no exact posterior of one dimension that q could be held against; empty where they have."""
    nuts = "it is checked against NUTS on 50 items in the package's tests"
    if fit.model.pairwise:
        return f"the likelihood of {fit.study.model.name!r} compares items, so that no cell has a posterior of its own; {nuts}"
    if fit.guide.affinity is not None:
        why = "the affinity is Bayesian, so that no cell has a posterior of its own"
        return f"{why}; {nuts}" if isinstance(fit.model.affinity, BayesianEmbeddingAffinity) else why
    if fit.guide.popularity.maximises != "elbo":
        return f"guide {fit.study.guide.name!r} is a point and no distribution"
    if fit.study.model.latent == "interaction":
        return "every interaction has a popularity of its own, and q is no posterior of an item"
    return ""


def _chunks(cell: np.ndarray, size: np.ndarray) -> Iterator[np.ndarray]:
    """Yield cells in chunks of bounded rows and number."""
    number = np.maximum(np.cumsum(size) // CHUNK, np.arange(len(cell)) // CELLS)
    yield from np.split(cell, np.flatnonzero(np.diff(number)) + 1)


def _of_cells(fit: Trained, rows: TrainingRows, cell: np.ndarray, seed: int) -> pd.DataFrame:
    """Return the table of some cells, without item and period."""
    codes = torch.from_numpy(cell).to(fit.guide.device)
    q = fit.guide.popularity.posterior(codes)
    exact = exact_posterior(fit.model, fit.model.prior.distribution(codes), q, rows.of(cell).compressed())
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
    """Return log p - log q at draws of q, `(S, D)`: linear between q's nodes, where it hardly bends."""
    t = exact.line.t(torch.from_numpy(z)).numpy()
    nodes, ratio = exact.q_t.cpu().numpy(), exact.log_ratio.cpu().numpy()
    return np.stack([np.interp(*column) for column in zip(t.T, nodes.T, ratio.T, strict=True)], axis=1)
