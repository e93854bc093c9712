"""A trained pair with all that it was trained on: what checks, containers for ArviZ, run folders and reports read.

`Fit` derives from it and adds what a user calls; nothing below imports `Fit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pyro_popbias.assembly.training_data import given_score
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataError
from pyro_popbias.evaluation.evaluate import Evaluation, evaluate
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.prediction.intervention import read_popularity
from pyro_popbias.prediction.posterior_tables import check_interval, parameter_table, popularity_table, users_table
from pyro_popbias.prediction.scorer import Scorer
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

    def scorer(self, popularity: object, interval: float = 0.9) -> Scorer:
        """Return what scores pairs and users under a popularity mode, on codes.

        Args:
            popularity: as in `Fit.predict`.
            interval: probability between the ends of scores.
        """
        asked = read_popularity(popularity, self.model.latents["popularity"].support)
        return Scorer(self.model, self.guide, self.catalogue, asked, check_interval(interval))

    def judge(
        self, test: Interactions, k: Sequence[int] = (20,), popularity: object = "population", candidates: str = "all"
    ) -> Evaluation:
        """Return the evaluation behind `Fit.evaluate`, whose metrics can be paired with those of another fit.

        Args:
            test: rows that were not trained on.
            k: lengths of lists.
            popularity: as in `Fit.predict`.
            candidates: "all" or "test", as in `Fit.evaluate`.

        Raises:
            DataError: the test cannot be judged, or the run was saved without its interactions.
        """
        if self.events is None:
            raise DataError(
                "PB-D106: the run was saved without its interactions (--no-data), so it is not known which rows were trained "
                "on; fit again with them"
            )
        score = given_score(test.columns, self.study) if isinstance(test, Interactions) else None
        return evaluate(self.scorer(popularity), test, k=k, candidates=candidates, train=self.events, score=score)

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
