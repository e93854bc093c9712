"""The table of global parameters."""

import numpy as np
import pandas as pd
import torch
from torch.distributions import Normal

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.summary import summary
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.prediction.item_table import quality_correlation


def parameter_table(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, *, interval: float
) -> pd.DataFrame:
    """Return one row per global parameter: name, mean, sd, lower, upper; the last three NaN for point estimates."""
    tail = (1 - interval) / 2
    with torch.no_grad():
        unknown = {"sd": np.nan, "lower": np.nan, "upper": np.nan}
        rows = [{"name": name, "mean": float(value), **unknown} for name, value in model.estimates().items()]
        variance = guide.intercept.variance
        if float(variance):
            intercept = Normal(model.affinity.intercept, variance.sqrt())
            of_intercept = {name: float(value) for name, value in summary(intercept, tail).items()}
            rows = [row | of_intercept if row["name"] == "intercept" else row for row in rows]
        if float(guide.residual_variance):
            rows.append({"name": "residual_variance", "mean": float(guide.residual_variance), **unknown})
        if model.affinity.item_quality is not None:
            correlation = _of_draws(quality_correlation(model, guide, catalogue), tail)
            rows.append({"name": "quality_popularity_correlation", **correlation})
        for site, distribution in guide.global_weights().items():
            columns = {name: value.cpu().tolist() for name, value in summary(distribution, tail).items()}
            for k, values in enumerate(zip(*columns.values(), strict=True)):
                rows.append({"name": f"{site}[{k}]", **dict(zip(columns, values, strict=True))})
    return pd.DataFrame(rows)


def _of_draws(draws: np.ndarray, tail: float) -> dict[str, float]:
    """Return mean, sd, lower and upper of draws."""
    lower, upper = np.quantile(draws, (tail, 1 - tail))
    return {"mean": float(draws.mean()), "sd": float(draws.std()), "lower": float(lower), "upper": float(upper)}
