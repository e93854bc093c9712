"""PSIS-LOO of a fit: how well it predicts each training row when that row is left out [vehtari2017].

[vehtari2017]: Vehtari, Gelman, Gabry, Practical Bayesian model evaluation using leave-one-out cross-validation and
WAIC, Statistics and Computing 27, 2017.

Importance weights remove a row from the posterior of its cell's popularity. They cannot remove it from a point
estimate: where vectors were learned from the row, its log-likelihood stays too high, and LOO is invalid.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from pyro_popbias.assembly.training_data import split_rows
from pyro_popbias.inference_data.arviz_compat import leave_one_out
from pyro_popbias.inference_data.convert import container
from pyro_popbias.inference_data.loo_conditions import reason_against
from pyro_popbias.trained import Trained


@dataclass(frozen=True)
class Loo:
    """PSIS-LOO of a fit; NaN where it is invalid.

    Attributes:
        elpd_loo: expected log predictive density, summed over rows, in nats.
        se: its standard error over rows, in nats.
        p_loo: effective number of parameters.
        rows: number of rows.
        bad_k: share of rows whose Pareto k-hat is too large for a reliable term.
        reason: why it is invalid; empty if it is valid.
    """

    elpd_loo: float = math.nan
    se: float = math.nan
    p_loo: float = math.nan
    rows: int = 0
    bad_k: float = math.nan
    reason: str = ""


def loo(fit: Trained, *, most: int = 1000, draws: int = 1000, seed: int = 0) -> Loo:
    """Return PSIS-LOO of a fit, using its own posterior and not those of other restarts.

    Args:
        fit: the fit, with its interactions.
        most: largest number of training rows; a seeded sample if there are more. Fits with the same interactions and
            the same held-out rows use the same sample.
        draws: draws per row.
        seed: seed of the sample and of the draws.

    Raises:
        DataError: the run was saved without its interactions.
        ConfigError: the draws would take more than 2 GiB.
    """
    if reason := reason_against(fit):
        return Loo(reason=reason)
    rows = None
    if fit.events is not None:
        train, _ = split_rows(fit.events, fit.study, seed=fit.study.training.seed)
        rows = np.sort(np.random.default_rng(seed).permutation(np.sort(train))[:most])
    alone = replace(fit, others=())
    found = leave_one_out(container(alone, draws=draws, items=None, rows=rows, groups=("log_likelihood",), seed=seed))
    return Loo(found.elpd, found.se, found.p, len(found.k_hat), float(np.mean(found.k_hat > found.good_k)))
