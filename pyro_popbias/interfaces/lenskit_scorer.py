"""A fit as a scorer of LensKit's pipelines, from LensKit 2025 on.

It trains on LensKit's data sets, by their ratings where `positive_if` says which are positives, else by the pairs alone with
sampled negatives, and scores by P(c=1 | do(u,i)). A user or an item that was not in training has the score NaN, as LensKit
expects of what a component cannot score, so that another one can step in.
"""

from functools import cached_property
from typing import Any, Self, final

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict

from pyro_popbias.assembly.pair import with_names
from pyro_popbias.data.ids import as_text
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError
from pyro_popbias.fitted import Fit, fit_study
from pyro_popbias.interfaces.extras import missing
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.study.study import Study

try:
    from lenskit.data import Dataset, ItemList, QueryInput, RecQuery
    from lenskit.pipeline import Component
    from lenskit.training import Trainable, TrainingOptions
except ModuleNotFoundError:  # the class is there to be documented, and says what to install
    Dataset = ItemList = QueryInput = RecQuery = Component = Trainable = TrainingOptions = Any


class _WithoutLensKit:
    """The base of the component where LensKit is missing."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        raise missing("lenskit", "lenskit", "PopBiasScorer")


_Component: Any = _WithoutLensKit if Component is Any else Component[ItemList]
_Trainable: Any = object if Component is Any else Trainable


class PopBiasConfig(BaseModel):
    """What a `PopBiasScorer` is trained by; keys that are None are those of the study.

    Attributes:
        model: name of the model, such as "product" or "additive".
        guide: name of the guide.
        embedding_size: length of the vectors; where their scales are learned, as by default, an upper bound.
        epochs: epochs of training.
        popularity: what the score integrates over, as in `Fit.predict`.
        positive_if: a comparison such as ">=4" that makes labels of ratings; None takes every pair for a positive.
        periods: number of slices of the data set's timestamps.
        study: sections of a study, for everything else.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    guide: str | None = None
    embedding_size: int | None = None
    epochs: int | None = None
    popularity: str | float | dict[str, float] = "population"
    positive_if: str | None = None
    periods: int = 1
    study: dict[str, Any] = {}

    def declared(self) -> Study:
        """Return the study.

        Raises:
            ConfigError: a key is unknown, or its value out of its range.
        """
        study = with_names(
            Study.model_validate(self.study), model=self.model, guide=self.guide, dim=self.embedding_size
        )
        return study if self.epochs is None else study.replace("training", epochs=self.epochs)


@final
class PopBiasScorer(_Component, _Trainable):
    """Scores items by P(c=1 | do(u,i)): by interest, whatever their popularity.

    Attributes:
        config: what it is trained by.
        fit_: the fit, once it is trained.
    """

    config: PopBiasConfig

    def train(self, data: Dataset, options: TrainingOptions | None = None) -> None:
        """Train on a data set, by the seed and on the device of the options where they have one.

        Args:
            data: LensKit's data set; its ratings are read where `positive_if` is given, its timestamps for several periods.
            options: LensKit's options.

        Raises:
            ConfigError: the configuration cannot be carried out, or asks for ratings or times that the data set lacks.
            DataError: the data cannot be used as they are.
            NumericalError: the optimisation met values that are not finite.
        """
        if options is not None and not options.retrain and hasattr(self, "fit_"):
            return
        study = self.config.declared()
        if options is not None and options.rng is not None:
            study = study.with_seed(int(options.random_generator().integers(2**31)))
        if options is not None and options.device is not None:
            study = study.replace("training", device=options.device)
        for name in ("_users", "_items", "_scorer", "_weights"):
            self.__dict__.pop(name, None)
        self.fit_: Fit = fit_study(self._interactions(data), study, progress=False)
        self.users_, self.items_ = data.users, data.items

    def _interactions(self, data: Dataset) -> Interactions:
        """Return the rows of a data set."""
        frame = data.interaction_table(format="pandas", original_ids=True)
        columns: dict[str, Any] = {"user": "user_id", "item": "item_id", "periods": self.config.periods}
        if self.config.positive_if is not None:
            columns |= {"label": "rating", "positive_if": self.config.positive_if}
        if self.config.periods > 1:
            columns["time"] = "timestamp"
        lacking = [columns[name] for name in ("label", "time") if columns.get(name, "user_id") not in frame]
        if lacking:
            raise ConfigError(
                f"PB-C556: the interactions of the data set have no {' and no '.join(lacking)}, which positive_if and periods "
                f"need; they have {', '.join(map(str, frame.columns))}"
            )
        return Interactions.from_frame(frame[[value for value in columns.values() if value in frame]], **columns)

    def __call__(self, query: QueryInput, items: ItemList) -> ItemList:
        """Return the items with their scores for a user; NaN where the user or the item was not in training."""
        query = RecQuery.create(query)
        scores = np.full(len(items), np.nan)
        number = None if query.user_id is None else self.users_.number(query.user_id, missing="none")
        user = -1 if number is None else self._users[number]
        numbers = items.numbers(vocabulary=self.items_, missing="negative")
        item = np.where(numbers >= 0, self._items[numbers], -1)
        known = item >= 0
        if user >= 0 and known.any():
            scores[known] = self._scores(user, item[known])
        return ItemList(items, scores=scores)

    @torch.no_grad()
    def _scores(self, user: int, item: np.ndarray) -> np.ndarray:
        """Return the scores of a user with some items, all by code, `(n,)`."""
        scorer = self._scorer
        codes = scorer.tensor(item)
        affinity = scorer.model.pairs(torch.full_like(codes, user), codes, None, self._weights)
        found = scorer.scores(affinity, codes, given=scorer.given(scorer.catalogue.items[item]))
        return found.score.cpu().numpy()

    @cached_property
    def _scorer(self) -> Scorer:
        return self.fit_.scorer(self.config.popularity)

    @cached_property
    def _weights(self) -> Any:
        return self.fit_.guide.weights()

    @cached_property
    def _users(self) -> np.ndarray:
        """The code of each user of LensKit's vocabulary; -1 where the fit has no row of it."""
        return _codes(self.users_, self.fit_.catalogue.users)

    @cached_property
    def _items(self) -> np.ndarray:
        """The code of each item of LensKit's vocabulary; -1 where the fit has no row of it."""
        return _codes(self.items_, self.fit_.catalogue.items)


def _codes(vocabulary: Any, ids: "pd.Index[str]") -> np.ndarray:
    own = as_text(pd.Series(vocabulary.ids()), "ids")
    return np.asarray(ids.get_indexer(pd.Index(own)))
