"""PSIS-LOO of a fit: how well it would predict each training row without that row [vehtari2017].

[vehtari2017]: Vehtari, Gelman, Gabry, Practical Bayesian model evaluation using leave-one-out cross-validation and
WAIC, Statistics and Computing 27, 2017.

The weights of the draws take a row out of the posterior of its item's popularity. They cannot take it out of a point
estimate: where vectors were learned from the row, its log-likelihood stays too good, and there is no LOO.
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
    """What PSIS-LOO says of a fit; NaN where it does not hold.

    Attributes:
        elpd_loo: expected log predictive density of the rows, summed, in nats.
        se: its standard error over rows, in nats.
        p_loo: effective number of parameters.
        rows: number of rows.
        bad_k: share of rows whose Pareto k-hat is too large for their term to be trusted.
        reason: why there is none; empty where there is.
    """

    elpd_loo: float = math.nan
    se: float = math.nan
    p_loo: float = math.nan
    rows: int = 0
    bad_k: float = math.nan
    reason: str = ""


def loo(fit: Trained, *, most: int = 1000, draws: int = 1000, seed: int = 0) -> Loo:
    """Return PSIS-LOO of a fit, by its own posterior and not that of other restarts.

    Args:
        fit: the fit, with its interactions.
        most: training rows that it is taken over; a seeded sample where there are more. Fits to the same rows that hold
            out the same have the same sample.
        draws: draws of each row.
        seed: decides sample and draws.

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
