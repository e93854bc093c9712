"""A trained pair with all that it was trained on: what checks, containers for ArviZ, run folders and reports read.

`Fit` derives from it and adds what a user calls; nothing below imports `Fit`.
"""

from dataclasses import dataclass

import pandas as pd

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.prediction.posterior_tables import check_interval, parameter_table, popularity_table, users_table
from pyro_popbias.study.study import Study
from pyro_popbias.training.iterates import Iterates
from pyro_popbias.training.restarts import Chain


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained pair.

    Attributes:
        study: what was declared.
        catalogue: ids and counts.
        model: the trained model.
        guide: the trained guide.
        iterates: moments of the path that q of popularity took in phase two.
        history: one row per epoch, in nats and seconds.
        events: the interactions; None where a run was saved without them.
        others: the pairs of the other restarts.
    """

    study: Study
    catalogue: Catalogue
    model: PopularityModel
    guide: JointGuide
    iterates: Iterates
    history: pd.DataFrame
    events: Interactions | None
    others: tuple[Chain, ...] = ()

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The pairs of all restarts, the best first."""
        return Chain(self.model, self.guide, self.iterates), *self.others

    def popularity(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the popularity posteriors, one row per cell; the report says what their intervals include.

        Args:
            interval: probability between lower and upper.
        """
        return popularity_table(self.model, self.guide, self.catalogue, interval=interval)

    def users(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the bias of each user, in logits: how much more often than others the user says yes, to any item.

        Args:
            interval: probability between lower and upper.

        Returns:
            user, mean, sd, lower, upper, count, positives; one row per user.

        Raises:
            ConfigError: users have no bias in this fit.
        """
        return users_table(self.model, self.guide, self.catalogue, interval=interval)

    def parameters(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the learned global parameters: name, mean, sd, lower, upper; the last three NaN where point-estimated.

        Args:
            interval: probability between lower and upper.
        """
        return parameter_table(self.model, self.guide, interval=check_interval(interval))
