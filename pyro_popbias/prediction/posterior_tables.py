"""Posterior tables of popularity, one row per cell (an item and a period), and of the biases and the conformity of users."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyro.distributions import Delta
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions import quantile
from pyro_popbias.distributions.summary import summary
from pyro_popbias.distributions.supports import same_support
from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.models.affinities.user_bias import SITE as USER_BIAS
from pyro_popbias.models.conformity import SITE as CONFORMITY
from pyro_popbias.prediction.forecast import LEAST


def kind_of_interval(model: PopularityModel, negatives: int | None) -> str:
    """Return a sentence or two on what the intervals of popularity take into account in this fit.

    Args:
        model: the model.
        negatives: how many were sampled for a positive; None or 0 where labels were there.
    """
    level = (
        " Negatives were sampled, which leaves the level that items share nearly unknown: compare items, or periods of an item, "
        "by their ratios."
        if negatives
        else ""
    )
    if model.affinity.is_bayesian:
        return (
            f"Intervals of popularity take the uncertainty of the affinities and of the intercept into account.{level}"
        )
    return (
        "Intervals of popularity are too narrow: vectors are point estimates, learned from the same rows, and count as known; "
        f"those of an embedding with posterior = 'mean-field' do not.{level}"
    )


def check_interval(interval: object) -> float:
    """Return the interval as Python's own number, or refuse it; numpy's numbers are numbers, booleans are not.

    Raises:
        ConfigError: it is not a number between 0 and 1.
    """
    if isinstance(interval, bool) or not isinstance(interval, Real) or not 0 < float(interval) < 1:
        raise ConfigError(f"PB-C083: interval must be above 0 and below 1, not {interval!r}")
    return float(interval)


def popularity_table(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, *, interval: float
) -> pd.DataFrame:
    """Return one row per cell: item, period, count, positives, mean, sd, lower, upper, prior_mean, prior_only.

    Cells without rows are reported from the prior; where popularity walks in time only those of items without any. A point has
    neither sd nor interval: they are NaN.
    """
    tail = (1 - check_interval(interval)) / 2
    with torch.no_grad():
        cell = torch.arange(catalogue.cells, device=guide.device)
        prior, q = model.prior.distribution(cell), guide.popularity.posterior(cell)
        prior_only = catalogue.without_rows(by_item=model.prior.joins_periods)
        of_prior, of_q = summary(prior, tail), _widened(summary(q, tail), q, model, guide, cell, tail)
        columns: dict[str, Any] = {
            name: np.where(prior_only, of_prior[name].cpu().numpy(), value.cpu().numpy())
            for name, value in of_q.items()
        }
        columns["prior_mean"] = prior.mean.cpu().numpy()
    return catalogue.cell_frame().assign(**columns, prior_only=prior_only)


def _widened(
    own: dict[str, Tensor], q: Distribution, model: PopularityModel, guide: JointGuide, cell: Tensor, tail: float
) -> dict[str, Tensor]:
    """Return sd, lower and upper of popularity with the uncertainty of the intercept and of qualities, which move cells."""
    moved = guide.moved_popularity(cell)
    if isinstance(q, Delta) or not bool((moved > 0).any()):
        return own
    real = model.latents["popularity"].support is constraints.real
    middle, sds = quantile(q, 0.5), float(norm.isf(tail))
    # of the mean itself where z moves as its logarithm does
    of_mean = 1.0 if real else own["mean"].square()
    sd = (own["sd"].square() + moved * of_mean).sqrt()
    lower, upper = (_farther(own[name], middle, moved, sds, real=real) for name in ("lower", "upper"))
    assert q.support is not None  # noqa: S101  every distribution of popularity has one
    if real and same_support(q.support, constraints.positive):  # of a z that is positive and moves as a real one does
        lower = lower.clamp(min=LEAST)
    return {"mean": own["mean"], "sd": sd, "lower": lower, "upper": upper}


def _farther(value: Tensor, middle: Tensor, moved: Tensor, sds: float, *, real: bool) -> Tensor:
    """Return an end of an interval, `sds` from the median, with a variance added on the scale on which popularity moves."""
    # distances from the median add up in squares
    distance = value - middle if real else (value / middle).log()
    whole = distance.sign() * (distance.square() + sds**2 * moved).sqrt()
    return middle + whole if real else middle * whole.exp()


def popularity_quantiles(
    model: PopularityModel, guide: JointGuide, cell: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    """Return quantiles of the popularity of some cells in the posterior, `(L, D)`; the table's intervals are two of them.

    Args:
        model: the trained model.
        guide: its guide.
        cell: `(D,)` codes.
        levels: `(L,)` probabilities above 0 and below 1.
    """
    code = torch.from_numpy(cell).to(guide.device)
    with torch.no_grad():
        q, moved = guide.popularity.posterior(code), guide.moved_popularity(code)
        real, middle = model.latents["popularity"].support is constraints.real, quantile(q, 0.5)
        found = torch.stack([quantile(q, level) for level in levels])
        if not isinstance(q, Delta) and bool((moved > 0).any()):
            sds = (abs(float(norm.ppf(level))) for level in levels)
            found = torch.stack([_farther(z, middle, moved, d, real=real) for z, d in zip(found, sds, strict=True)])
        assert q.support is not None  # noqa: S101  every distribution of popularity has one
        if same_support(q.support, constraints.positive):
            found = found.clamp(min=LEAST)
    return np.asarray(found.cpu().numpy())


def users_table(model: PopularityModel, guide: JointGuide, catalogue: Catalogue, *, interval: float) -> pd.DataFrame:
    """Return one row per user: user, mean, sd, lower, upper of w_u, gamma_mean and so on of gamma_u, count, positives.

    Columns of what users do not have are left out.

    Raises:
        ConfigError: users have neither a bias nor a conformity in this fit.
    """
    if model.affinity.user_bias is None and model.conformity is None:
        raise ConfigError(
            "PB-C310: users have no bias in this fit; declare user_bias = true in the affinity (embedding, linear or "
            "factorization-machine), or conformity = true in [model]"
        )
    tail = (1 - check_interval(interval)) / 2
    with torch.no_grad():
        everyone, columns = torch.arange(len(catalogue.users), device=guide.device), dict[str, Tensor]()
        if model.affinity.user_bias is not None:
            mean, variance = model.affinity.user_bias.moments(guide.weights()[USER_BIAS], everyone)
            moved = guide.intercept.variance * guide.intercept.of_user.square()
            columns |= summary(Normal(mean, (variance + moved).sqrt()), tail)
        if model.conformity is not None:
            mean, variance = model.conformity.moments(guide.weights()[CONFORMITY], everyone)
            of_slope = summary(Normal(model.slope + mean, variance.sqrt()), tail)
            columns |= {f"gamma_{name}": value for name, value in of_slope.items()}
    counts = {"count": catalogue.user_count, "positives": catalogue.user_positives}
    return pd.DataFrame(
        {"user": catalogue.users, **{name: value.cpu().numpy() for name, value in columns.items()}, **counts}
    )
