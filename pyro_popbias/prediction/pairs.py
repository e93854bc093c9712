"""Pairs of a user and an item as a table gives them, and their scores under the table's own ids."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.frames import as_frame, check_columns
from pyro_popbias.data.ids import as_text
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.models import AffinityDistribution
from pyro_popbias.prediction.intervention import Scores
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.registry import nearest

UNSEEN = ("error", "prior", "drop")
SCORE_COLUMNS = ("score", "score_lower", "score_upper", "popularity_lower", "popularity_upper")


@dataclass(frozen=True, eq=False)
class Pairs:
    """N pairs, in the order of their table.

    Attributes:
        frame: the table's columns, numbered from 0.
        ids: `(N,)` rows of user and item, as text.
        user: `(N,)` codes; -1 is an unseen user.
        item: `(N,)` codes; -1 is an unseen item.
    """

    frame: pd.DataFrame
    ids: pd.DataFrame
    user: np.ndarray
    item: np.ndarray

    @classmethod
    def from_frame(cls, frame: Any, catalogue: Catalogue, *, unseen: Literal["error", "prior", "drop"]) -> "Pairs":
        """Return the pairs of a table.

        Args:
            frame: columns user and item; others are kept, the index is ignored.
            catalogue: the ids that are known.
            unseen: what to do with other ids: refuse them, keep them with the code -1, or drop their rows.

        Raises:
            DataError: a column is missing or a duplicate, ids cannot be used, or are unseen.
            ConfigError: `unseen` is not one of the choices.
        """
        if unseen not in UNSEEN:
            raise ConfigError(f"PB-C012: unseen={unseen!r}{nearest(str(unseen), UNSEEN)} Choices: {', '.join(UNSEEN)}")
        frame = as_frame(frame).reset_index(drop=True)
        check_columns(frame, ["user", "item"])
        ids = pd.DataFrame({name: as_text(frame[name], name) for name in ("user", "item")})
        user = catalogue.users.get_indexer(pd.Index(ids["user"]))
        item = catalogue.items.get_indexer(pd.Index(ids["item"]))
        if unseen == "error":
            _refuse_unseen(ids, user, item)
        if unseen == "drop":
            known = (user >= 0) & (item >= 0)
            frame, ids = (part[known].reset_index(drop=True) for part in (frame, ids))
            user, item = user[known], item[known]
        return cls(frame, ids, user, item)


def _refuse_unseen(ids: pd.DataFrame, user: np.ndarray, item: np.ndarray) -> None:
    shown = [
        f"{int((codes < 0).sum())} rows of unseen {name}s ({', '.join(ids[name][codes < 0].unique()[:5])})"
        for name, codes in (("user", user), ("item", item))
        if (codes < 0).any()
    ]
    if shown:
        raise DataError(
            f"PB-D048: {' and '.join(shown)} in {len(ids)} pairs; unseen='prior' (--unseen prior on the command "
            "line) scores them with the prior mean of their affinity, unseen='drop' (--unseen drop) leaves them out"
        )


def predict_pairs(
    scorer: Scorer, pairs: Pairs, *, score: np.ndarray | None = None, period: np.ndarray | None = None
) -> pd.DataFrame:
    """Return user, item, the columns of `score_columns`, score_sd and cold of pairs, in their order.

    Args:
        scorer: the trained pair, and what to integrate over.
        pairs: N pairs.
        score: `(N,)` given affinities, where the study has a score column.
        period: `(N,)` whose popularity to take; by default each item's last with rows.

    Raises:
        DataError: popularity is a mapping and lacks items.
    """
    affinity, item, of_period = _inputs(scorer, pairs, score, period)
    given, user = scorer.given(pd.Index(pairs.ids["item"])), scorer.tensor(pairs.user)
    found = scorer.scores_with_interval(affinity, user, item, given=given, period=of_period)
    cold = (pairs.item < 0) | cold_items(scorer.catalogue)[pairs.item]
    return pairs.ids.assign(**score_columns(found), score_sd=_numbers(found.score_sd), cold=cold)


def log_probability(
    scorer: Scorer,
    pairs: Pairs,
    label: np.ndarray,
    *,
    score: np.ndarray | None = None,
    period: np.ndarray | None = None,
) -> np.ndarray:
    """Return log P of a label of each pair, `(N,)` in nats, exact however small P is.

    Args:
        scorer: the trained pair, under "prior" or "posterior".
        pairs: N pairs.
        label: `(N,)` 0 or 1.
        score: as in `predict_pairs`.
        period: as in `predict_pairs`.
    """
    affinity, item, of_period = _inputs(scorer, pairs, score, period)
    labels = torch.from_numpy(np.asarray(label, dtype=np.float64)).to(item.device)
    return np.asarray(scorer.log_probability(affinity, item, labels, period=of_period).cpu().numpy())


def _inputs(
    scorer: Scorer, pairs: Pairs, score: np.ndarray | None, period: np.ndarray | None
) -> tuple[AffinityDistribution, Tensor, Tensor | None]:
    """Return the affinities of pairs, their items and their periods, on the model's device."""
    user, item = scorer.tensor(pairs.user), scorer.tensor(pairs.item)
    affinities = None if score is None else torch.from_numpy(score).to(item.device)
    with torch.no_grad():
        affinity = scorer.model.pairs(user, item, affinities, scorer.guide.weights())
    return affinity, item, None if period is None else scorer.tensor(period)


def score_columns(found: Scores) -> dict[str, np.ndarray | float]:
    """Return the columns of `SCORE_COLUMNS`; the score's own interval is NaN where affinities are point estimates."""
    return {name: _numbers(getattr(found, name)) for name in SCORE_COLUMNS}


def cold_items(catalogue: Catalogue) -> np.ndarray:
    """Return which items have no training row in any period, `(K,)` truth values."""
    return catalogue.count.reshape(-1, catalogue.periods).sum(1) == 0


def _numbers(values: Tensor | None) -> np.ndarray | float:
    return np.nan if values is None else values.cpu().numpy()
