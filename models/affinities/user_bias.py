"""The bias of a user: how often a user says yes to anything, w_u ~ Normal(0, s) with a learned scale s."""

from typing import final

from pyro_popbias.models.affinities.row_bias import RowBias

SITE = "user_bias"


@final
class UserBias(RowBias):
    """w_u ~ Normal(0, s), a latent site with a row for each user; log s ~ Normal(0, 1) is a point estimate.

    Args:
        rows: number of users.
    """

    site, side = SITE, "user"
