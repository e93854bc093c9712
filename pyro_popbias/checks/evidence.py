"""Log evidence, ELBO and the gap between them where every interaction has a popularity of its own: all three exactly.

With latent = "interaction" the popularity z_k of a row k is its own, with the prior f of its cell, and rows are independent given
affinities. So the evidence is a product of one-dimensional integrals,

    log P(c | x) = sum over k of log E_f[P(c_k | x_k, z)] >= sum over k of E_q[log P(c_k | x_k, z)] - KL(q || f) = ELBO,

closed where P is linear in g(z) and E[g(z)] is closed, and else a quadrature. All rows of a cell share q: the gap, the sum of
KL(q || posterior of z_k) over rows, is what this costs, and cannot be negative. Both sides are taken at the same values of x,
those of the fit, and where x has a distribution, on average over it by one Gauss rule: so this is the gap of popularity, and
no part of it is the affinity's.
"""

import math

import numpy as np
import pandas as pd
import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.checks.accuracy import chunks
from pyro_popbias.checks.cell_likelihood import CellObservations
from pyro_popbias.checks.exact_posterior import nodes_of
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.training_rows import TrainingRows, events_of
from pyro_popbias.distributions.compatibility import closed_kl
from pyro_popbias.models import PopularityModel, Product
from pyro_popbias.trained import Trained

CHECK, NAME = "evidence", "ELBO above evidence"
ROUNDING = 1e-6  # nats per row, by which quadratures may be off
FAULT = (
    "an ELBO above the evidence is no property of data: a log-probability, a KL or an integral is wrong. Where the model, prior "
    "or guide is a registered class of yours, compare its parts with draws; else please report it"
)


def evidence(fit: Trained | Pair) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return log evidence and ELBO of each cell's training rows, and whether the ELBO keeps below.

    Args:
        fit: a fit, or a trained pair, with its interactions.

    Returns:
        item, period, rows (sampled negatives by their expected number), log_evidence, elbo, gap (nats); and one finding. Nothing
        with latent = "item", where `accuracy` has the gap of each cell.

    Raises:
        DataError: the run was saved without its interactions.
    """
    if fit.study.model.latent != "interaction":
        return pd.DataFrame(), ()
    if fit.guide.popularity.maximises != "elbo":
        words = f"Not checked: guide {fit.study.guide.name!r} is a point estimate, which has no ELBO."
        return pd.DataFrame(), (Finding(CHECK, NAME, np.nan, np.nan, True, words),)
    catalogue, rows = events_of(fit).catalogue, TrainingRows(fit)
    cell = np.arange(catalogue.cells)
    with torch.no_grad(), pyro.validation_enabled(False):
        parts = [_of_cells(fit, rows, part) for part in chunks(cell, rows.size(cell), together=1)]
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "item", catalogue.items[cell // catalogue.periods])
    table.insert(1, "period", cell % catalogue.periods)
    table = table[table["rows"] > 0].reset_index(drop=True)
    return table, (_finding(table),)


def _of_cells(fit: Trained | Pair, rows: TrainingRows, cell: np.ndarray) -> pd.DataFrame:
    """Return the table of some cells, without item and period."""
    codes = torch.from_numpy(cell).to(fit.guide.device)
    q, prior = fit.guide.popularity.posterior(codes), fit.model.prior.distribution(codes)
    observations = rows.of(cell)
    number = _sums(observations, observations.weight, len(cell))
    transform, t, log_q = nodes_of(q)
    z, weight = transform.z(t), torch.softmax(log_q, dim=0)
    log_likelihood = (weight * observations.compressed().log_likelihood(fit.model, z)).sum(0)
    kl = closed_kl(q, prior)
    if kl is None:
        log_prior = prior.log_prob(z) + transform.log_jacobian(t)
        kl = torch.where(weight > 0, weight * (log_q - log_prior), 0.0).sum(0)
    log_evidence = _sums(observations, observations.weight * _of_rows(fit.model, prior, observations), len(cell))
    elbo = log_likelihood - number * kl
    columns = {"rows": number, "log_evidence": log_evidence, "elbo": elbo, "gap": log_evidence - elbo}
    return pd.DataFrame({name: part.cpu().numpy() for name, part in columns.items()})


def _of_rows(model: PopularityModel, prior: TorchDistribution, observations: CellObservations) -> Tensor:
    """Return log E_f[P(c | x, z)] of each row, `(R,)` in nats.

    Args:
        model: the model that defines the likelihood.
        prior: `(D,)` prior f of each cell.
        observations: rows of the cells.
    """
    if isinstance(model, Product):  # one expectation of g for each cell, however many rows it has
        return model.log_evidence(observations.affinity, prior, observations.label, observations.cell_index)
    transform, t, log_f = nodes_of(prior)
    z, log_weight, found = transform.z(t), torch.log_softmax(log_f, dim=0), []
    for rows in observations.blocks(max(1, BLOCK // len(t))):
        log_p = model.likelihood(rows.affinity, z.index_select(-1, rows.cell_index)).log_prob(rows.label)
        found.append(torch.logsumexp(log_weight.index_select(-1, rows.cell_index) + log_p, dim=0))
    return torch.cat(found) if found else observations.weight


def _sums(observations: CellObservations, value: Tensor, cells: int) -> Tensor:
    """Return the sums of a value of each row `(R,)` over the rows of each cell, `(D,)`."""
    return torch.zeros(cells, dtype=value.dtype, device=value.device).index_add(0, observations.cell_index, value)


def _finding(table: pd.DataFrame) -> Finding:
    """Return the totals in words, and whether the ELBO is above the evidence by more than rounding."""
    total = {name: math.fsum(table[name]) for name in ("rows", "log_evidence", "elbo", "gap")}
    per_row = {name: value / total["rows"] for name, value in total.items()}
    value = -per_row["gap"]
    passed = value <= ROUNDING
    words = (
        f"over {total['rows']:,.0f} training rows, each with a popularity of its own, the exact log evidence is "
        f"{total['log_evidence']:.2f} nats and the ELBO {total['elbo']:.2f}: a gap of {total['gap']:.4g}. Per row "
        f"{per_row['log_evidence']:.5f} and {per_row['elbo']:.5f}, a gap of {per_row['gap']:.3g}; both at the fit's affinities"
    )
    if passed:
        return Finding(CHECK, NAME, value, ROUNDING, True, f"{words}.")
    return Finding(CHECK, NAME, value, ROUNDING, False, f"{words}: {FAULT}.", FAULT)
