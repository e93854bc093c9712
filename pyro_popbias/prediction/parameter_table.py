"""The table of global parameters."""

import numpy as np
import pandas as pd
import torch

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.summary import summary
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.prediction.global_posteriors import global_posteriors
from pyro_popbias.prediction.item_table import quality_correlation


def parameter_table(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, *, interval: float
) -> pd.DataFrame:
    """Return one row per global parameter: name, mean, sd, lower, upper; the last three NaN where only the estimate is known.

    The mean of a parameter that is learned as a point is its estimate. Its interval is that of a Normal on the scale on which it
    is learned, the logarithm of a positive one (`prediction.global_posteriors`).
    """
    tail, unknown = (1 - interval) / 2, {"sd": np.nan, "lower": np.nan, "upper": np.nan}
    posteriors = global_posteriors(model, guide, catalogue)
    with torch.no_grad():
        rows = []
        for name, value in model.estimates().items():
            known = (
                {key: float(each) for key, each in summary(posteriors[name], tail).items()}
                if name in posteriors
                else {}
            )
            rows.append({"name": name, **unknown, **known, "mean": float(value)})
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
    return pd.DataFrame(rows, columns=["name", "mean", "sd", "lower", "upper"])


def _of_draws(draws: np.ndarray, tail: float) -> dict[str, float]:
    """Return mean, sd, lower and upper of draws."""
    lower, upper = np.quantile(draws, (tail, 1 - tail))
    return {"mean": float(draws.mean()), "sd": float(draws.std()), "lower": float(lower), "upper": float(upper)}
