"""The table of global parameters."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributions import LogNormal, Normal

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.summary import summary
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel, scalars
from pyro_popbias.models.learned_scalars import INTERCEPT, estimate_slopes
from pyro_popbias.prediction.item_table import quality_correlation


def parameter_table(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, *, interval: float
) -> pd.DataFrame:
    """Return one row per global parameter: name, mean, sd, lower, upper; the last three NaN where only the estimate is known.

    The mean of a parameter that is learned as a point is its estimate. Its interval is that of a Normal on the scale on which it
    is learned, the logarithm of a positive one.
    """
    tail = (1 - interval) / 2
    spreads = _spreads(model, guide, tail)
    with torch.no_grad():
        unknown = {"sd": np.nan, "lower": np.nan, "upper": np.nan}
        estimates = model.estimates().items()
        rows = [{"name": name, "mean": float(value), **spreads.get(name, unknown)} for name, value in estimates]
        if float(guide.residual_variance):
            rows.append({"name": "residual_variance", "mean": float(guide.residual_variance), **unknown})
        if model.affinity.item_quality is not None:
            correlation = _of_draws(quality_correlation(model, guide, catalogue), tail)
            rows.append({"name": "quality_popularity_correlation", **correlation})
        for site, distribution in guide.global_weights().items():
            marginal = guide.shared.widened(site, distribution)
            columns = {name: value.cpu().tolist() for name, value in summary(marginal, tail).items()}
            for k, values in enumerate(zip(*columns.values(), strict=True)):
                rows.append({"name": f"{site}[{k}]", **dict(zip(columns, values, strict=True))})
    return pd.DataFrame(rows)


def _spreads(model: PopularityModel, guide: JointGuide, tail: float) -> dict[str, dict[str, float]]:
    """Return sd, lower and upper of the estimates whose posterior is known, by name."""
    estimates, learned, found = model.estimates(), scalars(model), {}
    for parameter, (name, slope) in estimate_slopes(model).items():
        variance = guide.shared.variance(parameter)
        if parameter == INTERCEPT:
            variance = variance or float(guide.intercept.variance)
        if variance:
            found[name] = _spread(estimates[name].detach(), learned[parameter].detach(), slope, variance, tail)
    return found


def _spread(value: Tensor, at: Tensor, slope: Tensor, variance: float, tail: float) -> dict[str, float]:
    """Return sd, lower and upper of an estimate, whose parameter `at` has a Normal posterior of a variance."""
    sd = torch.as_tensor(variance).sqrt().to(value)
    is_exp = bool(torch.isclose(value, at.exp(), rtol=1e-12, atol=0.0))
    distribution = LogNormal(at, sd) if is_exp else Normal(value, (slope * sd).abs())
    return {name: float(each) for name, each in summary(distribution, tail).items() if name != "mean"}


def _of_draws(draws: np.ndarray, tail: float) -> dict[str, float]:
    """Return mean, sd, lower and upper of draws."""
    lower, upper = np.quantile(draws, (tail, 1 - tail))
    return {"mean": float(draws.mean()), "sd": float(draws.std()), "lower": float(lower), "upper": float(upper)}
