"""The point guide: no distribution but the mode of log z, so nothing that it reports has an interval."""

from typing import final

from pyro.distributions import Delta
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints

from pyro_popbias.guides.popularity_guide import GUIDES
from pyro_popbias.guides.row_guide import RowGuide


@final
@GUIDES.register("point")
class PointGuide(RowGuide):
    """z = exp(log_mode), the mode of log z: maximises the joint density of labels and log z, and no ELBO."""

    family = Delta
    columns = ("log_mode",)
    support = constraints.positive
    maximises = "log_joint"

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return the mode of log z under the prior, `(..., 1)`."""
        if isinstance(prior, td.LogNormal):
            log_mode = prior.loc
        elif isinstance(prior, td.Weibull):
            log_mode = prior.scale.log()
        else:
            # Gamma and Exponential distributions have the density e^(a s - b e^s) of s = log z
            log_mode = prior.mean.log()
        return log_mode.unsqueeze(-1)

    @classmethod
    def from_rows(cls, rows: Tensor) -> Delta:
        """Return the points, `(D,)`, with the density that makes them points of log z."""
        log_z = rows.squeeze(-1)
        # density of z = density of log z / z: the log joint then has log p(z) + log z
        return Delta(log_z.exp(), log_density=-log_z)
