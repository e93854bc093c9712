"""The bias of a user: how often a user says yes to anything, w_u ~ Normal(0, s) with a learned scale s."""

from typing import final

import pyro
import torch
from pyro import poutine
from pyro.distributions import Normal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.data.batches import UniqueIds
from pyro_popbias.distributions.normal_density import log_normal

SITE = "user_bias"


@final
class UserBias(PyroModule):
    """w_u ~ Normal(0, s), a latent site with a row for each user; log s ~ Normal(0, 1) is a point estimate.

    Args:
        users: number of users.
    """

    start_scale = 1.0
    log_scale: Tensor

    def __init__(self, users: int) -> None:
        super().__init__()
        self.users = users
        self.log_scale = PyroParam(torch.zeros((), dtype=torch.float64), constraints.real)  # type: ignore[assignment]  # read back as a tensor

    def draw_from_prior(self) -> None:
        """Draw the scale; the biases are a site."""
        self.log_scale.normal_()

    def forward(self, group: UniqueIds) -> Tensor:
        """Return a draw of w_u of each interaction, `(B,)` logits, and add the log prior of the scale to the trace."""
        log_scale = self.log_scale
        pyro.factor("user_bias_scale_prior", log_normal(log_scale))
        prior = Normal(torch.zeros(1, device=log_scale.device), log_scale.exp().float()).to_event(1)
        with pyro.plate(f"{SITE}_plate", len(group.code)), poutine.scale(scale=group.weight):
            rows: Tensor = pyro.sample(SITE, prior)
        return rows.squeeze(-1).index_select(-1, group.cell_index).double()

    def moments(self, weights: torch.distributions.Normal, user: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of w_u, `(U,)` each.

        Args:
            weights: `(users, 1)` q of all users.
            user: `(U,)` codes; -1 is an unseen user, who has the prior.
        """
        known, row = user >= 0, user.clamp(min=0)
        mean = weights.loc.squeeze(-1).index_select(0, row).double() * known
        variance = weights.scale.squeeze(-1).index_select(0, row).double().square()
        return mean, torch.where(known, variance, (2 * self.log_scale).exp())
