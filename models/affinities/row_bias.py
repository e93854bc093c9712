"""A number of each user, or of each item: a latent site with a row for each."""

import math
from typing import ClassVar, Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions import Normal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.data.batch import UniqueIds
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.latents import AffinityLatent


class RowBias(PyroModule):
    """b ~ Normal(0, s) of each row; log s ~ Normal(log start, 1) is a point estimate.

    Args:
        rows: number of users, or of items.

    Attributes:
        site: its name.
        side: whose rows they are.
        start_scale: of s, and the median of its prior.
    """

    site: ClassVar[str]
    side: ClassVar[Literal["user", "item"]]
    start_scale: ClassVar[float] = 1.0
    log_scale: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        start = torch.tensor(math.log(self.start_scale), dtype=torch.float64)
        self.log_scale = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor

    def draw_from_prior(self) -> None:
        """Draw the scale; the rows are a site."""
        self.log_scale.normal_(math.log(self.start_scale), 1.0)

    def latents(self) -> dict[str, AffinityLatent]:
        """Return the sites that a guide must draw, by name."""
        plate: Literal["users", "items"] = "users" if self.side == "user" else "items"
        return {self.site: AffinityLatent(plate, torch.zeros(self.rows, 1), self.start_scale)}

    def forward(self, group: UniqueIds) -> Tensor:
        """Return a draw of the bias of each interaction, `(B,)` logits, and add the log prior of the scale to the trace."""
        return self.draw(group).index_select(-1, group.cell_index).double()

    def draw(self, group: UniqueIds, mean: Tensor | None = None) -> Tensor:
        """Return a draw of the rows of a batch, `(..., G)`, and add the log prior of the scale to the trace.

        Args:
            group: the rows of the batch.
            mean: `(..., G)` of their prior; zeros by default.
        """
        log_scale = self.log_scale
        pyro.factor(f"{self.site}_scale_prior", log_normal(log_scale - math.log(self.start_scale)))
        loc = torch.zeros(1, device=log_scale.device) if mean is None else mean.unsqueeze(-1).float()
        prior = Normal(loc, log_scale.exp().float()).to_event(1)
        with pyro.plate(f"{self.site}_plate", len(group.code)), poutine.scale(scale=group.weight):
            rows: Tensor = pyro.sample(self.site, prior)
        return rows.squeeze(-1)

    def before_labels(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the prior, scalars."""
        scale = self.log_scale.exp()
        return torch.zeros_like(scale), scale

    def moments(self, weights: torch.distributions.Normal, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the biases of some rows, both shaped as the codes.

        Args:
            weights: `(rows, 1)` q of all of them.
            code: any shape; -1 is unseen and has the prior.
        """
        known, row = code >= 0, code.clamp(min=0)
        mean = weights.loc.squeeze(-1)[row].double() * known
        variance = weights.scale.squeeze(-1)[row].double().square()
        return mean, torch.where(known, variance, (2 * self.log_scale).exp())
