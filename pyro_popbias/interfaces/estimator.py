"""A fit as an estimator of scikit-learn, for its cross-validation, grid searches and pipelines.

X has two columns, the ids of users and of items, as integers or text, in this order. They are names and no numbers: nothing may
scale them on the way. y has two classes, of which the second in sorted order, such as 1, is the positive one; without y every
row of X is a positive, as in a log of clicks, and negatives are sampled.
"""

from collections.abc import Iterable
from typing import Any, Literal, Self, final

import numpy as np
import pandas as pd

from pyro_popbias.assembly.pair import with_names
from pyro_popbias.data.ids import column_of
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError
from pyro_popbias.fitted import Fit, fit_study
from pyro_popbias.interfaces.estimator_data import (
    column_per_row,
    given_back,
    labels,
    own_ids,
    pairs_of,
    plain,
    positives,
    rows_of,
)
from pyro_popbias.interfaces.extras import imported, missing
from pyro_popbias.study.study import Study

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
except ModuleNotFoundError:  # the class is there to be documented, and says what to install
    BaseEstimator = ClassifierMixin = None

LIST_METRIC, LIST_LENGTH = "ndcg@20", 20


class _WithoutSklearn:
    """The base of the estimator where scikit-learn is missing."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        raise missing("scikit-learn", "sklearn", "PopBiasRecommender")


_Base: Any = _WithoutSklearn if BaseEstimator is None else type("_Base", (ClassifierMixin, BaseEstimator), {})


@final
class PopBiasRecommender(_Base):
    """Debiased click probabilities and lists, as an estimator of scikit-learn.

    Parameters that are None are those of the study, whose defaults are the package's.

    Args:
        model: name of the model, such as "product" or "additive".
        prior: name of the prior of popularity, or a mapping of its keys.
        guide: name of the guide.
        dim: length of the vectors; where their scales are learned, as by default, an upper bound.
        epochs: epochs of training.
        learning_rate: rate of the optimizer.
        random_state: an integer, or a RandomState that one is drawn from; None is the seed of the study, 0 by default.
        popularity: what `predict`, `predict_proba`, `recommend` and `score` integrate over, as in `Fit.predict`.
        periods: number of slices of time; more than 1 needs `fit(X, y, time=...)`.
        calibrated: where negatives are sampled, whether probabilities are those over the catalogue.
        unseen: what to do with users and items that were not in `fit`: "prior" scores them by the prior, "error" refuses them.
        study: everything else: a `Study`, or a mapping of its sections.

    Attributes:
        fit_: the fit, with all that a `Fit` can do.
        users_: `(U,)` ids of users, as they were given.
        items_: `(K,)` ids of items, as they were given.
        classes_: `(2,)` labels, the positive one last.
        n_features_in_: 2.
        feature_names_in_: names of the two columns, where X was a table.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        prior: Any = None,
        guide: str | None = None,
        dim: int | None = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        random_state: Any = None,
        popularity: Any = "population",
        periods: int = 1,
        calibrated: bool = False,
        unseen: Literal["prior", "error"] = "prior",
        study: Any = None,
    ) -> None:
        self.model = model
        self.prior = prior
        self.guide = guide
        self.dim = dim
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.popularity = popularity
        self.periods = periods
        self.calibrated = calibrated
        self.unseen = unseen
        self.study = study

    def fit(self, X: Any, y: Any = None, *, time: Any = None) -> Self:
        """Train on pairs of a user and an item.

        Args:
            X: `(N, 2)` ids of users and of items, a table or an array.
            y: `(N,)` labels of two classes; None where every row is a positive.
            time: `(N,)` times of the rows, numbers or dates; needed for several periods.

        Raises:
            DataError: X has not two columns of ids, y has more than two classes, or the data cannot be used as they are.
            ConfigError: the parameters cannot be carried out.
            NumericalError: the optimisation met values that are not finite.
        """
        frame = self._pairs(X, reset=True)
        columns: dict[str, Any] = {"label": None, "periods": plain(self.periods)}
        self.classes_ = np.array([0, 1])
        if y is not None:
            self.classes_, label = labels(y, len(frame))
            frame, columns["label"] = frame.assign(label=label), "label"
        if time is not None:
            frame, columns["time"] = frame.assign(time=column_per_row(time, "time", len(frame))), "time"
        self.fit_: Fit = fit_study(Interactions.from_frame(frame, **columns), self._declared(), progress=False)
        self.users_ = own_ids(frame["user"], self.fit_.catalogue.users)
        self.items_ = own_ids(frame["item"], self.fit_.catalogue.items)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return P(c=0 | do(u,i)) and P(c=1 | do(u,i)) of pairs, `(N, 2)`.

        Args:
            X: `(N, 2)` ids, as in `fit`.

        Raises:
            ConfigError: the scores of the model are no probabilities.
            DataError: X cannot be read, or ids are unseen and refused.
        """
        self._require_fit()
        if self.fit_.model.pairwise:
            raise ConfigError(
                f"PB-C555: scores of the model {self.fit_.study.model.name!r} rank items and are not probabilities; use "
                "recommend, or fit_.predict for the scores"
            )
        score = self._scores(self._pairs(X, reset=False))
        return np.stack([1 - score, score], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Return the likelier label of each pair, `(N,)`; of equally likely ones the first."""
        is_positive = self.predict_proba(X)[:, 1] > 0.5
        return np.asarray(self.classes_[is_positive.astype(int)])

    def recommend(self, users: Iterable[Any] | None = None, k: int = 10, *, exclude_seen: bool = True) -> pd.DataFrame:
        """Return the k items of highest score of each user.

        Args:
            users: ids; all users of `fit` by default.
            k: items per user.
            exclude_seen: leave out items that the user has a row of.

        Returns:
            The table of `Fit.recommend`, with ids as they were given.

        Raises:
            DataError: users are unseen and refused.
        """
        self._require_fit()
        asked = None if users is None or isinstance(users, str | pd.DataFrame) else list(users)
        found = self.fit_.recommend(
            users if asked is None else asked,
            k=plain(k),
            popularity=self.popularity,
            exclude_seen=exclude_seen,
            calibrated=self.calibrated,
            unseen=self.unseen,
        )
        others = pd.Series([], dtype=object) if not asked else column_of(asked)
        user = given_back(found["user"], self.fit_.catalogue.users, self.users_, others)
        item = given_back(found["item"], self.fit_.catalogue.items, self.items_, others[:0])
        return found.assign(user=user, item=item)

    def score(self, X: Any, y: Any = None) -> float:
        """Return how right the estimator is about rows that it was not fitted to, the higher the better.

        With y the mean log probability of the labels, in nats per row; without y, and for `pda`, ndcg@20 of users' lists, without
        what they have a row of in `fit`.

        Args:
            X: `(N, 2)` ids, as in `fit`.
            y: `(N,)` labels; None where every row is a positive.

        Raises:
            DataError: the rows cannot be judged, such as lists by rows that were trained on.
        """
        self._require_fit()
        if y is not None and not self.fit_.model.pairwise:
            log_p = np.log(np.maximum(self.predict_proba(X), np.finfo(float).tiny))
            return float(log_p[np.arange(len(log_p)), positives(y, len(log_p), self.classes_)].mean())
        frame = self._pairs(X, reset=False)
        label = None
        if y is not None:
            frame, label = frame.assign(label=positives(y, len(frame), self.classes_)), "label"
        rows = Interactions.from_frame(frame, label=label)
        table = self.fit_.evaluate(rows, k=LIST_LENGTH, popularity=self.popularity)
        return float(table.set_index("metric")["value"][LIST_METRIC])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.target_tags.required = False
        tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def _require_fit(self) -> None:
        imported("sklearn.utils.validation", "scikit-learn", "sklearn", "PopBiasRecommender").check_is_fitted(self)

    def _pairs(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """Return a table with columns user and item, and check or take note of the names that X has for them."""
        validation = imported("sklearn.utils.validation", "scikit-learn", "sklearn", "PopBiasRecommender")
        rows = rows_of(X)
        if rows.ndim == 2:
            validation.validate_data(self, X, reset=reset, skip_check_array=True)
        return pairs_of(rows)

    def _declared(self) -> Study:
        """Return the study of the parameters."""
        study = Study() if self.study is None else Study.model_validate(self.study)
        dim = None if self.dim is None else plain(self.dim)
        study = with_names(study, model=self.model, guide=self.guide, dim=dim)
        if self.prior is not None:
            study = study.replace("model", prior={"name": self.prior} if isinstance(self.prior, str) else self.prior)
        training = {"epochs": plain(self.epochs), "learning_rate": plain(self.learning_rate), "seed": self._seed()}
        return study.replace("training", **{key: value for key, value in training.items() if value is not None})

    def _seed(self) -> Any:
        state = self.random_state
        return plain(state.randint(2**31 - 1) if isinstance(state, np.random.RandomState) else state)

    def _scores(self, frame: pd.DataFrame) -> np.ndarray:
        options: dict[str, Any] = {"popularity": self.popularity, "calibrated": self.calibrated, "unseen": self.unseen}
        return self.fit_.predict(frame, **options)["score"].to_numpy()
