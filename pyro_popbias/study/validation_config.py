"""`[training] validation`: which rows are held out, and by which metric they judge a training."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from pyro_popbias.data.splits import SPLITS, Split
from pyro_popbias.evaluation.ranking import METRICS
from pyro_popbias.registry import nearest
from pyro_popbias.validation import Section

LOG_SCORE = "log-score"
OF_LISTS = re.compile(rf"({'|'.join(METRICS)})@([1-9]\d{{0,5}})")
Share = Annotated[float, Field(strict=True, ge=0.0, le=0.9, allow_inf_nan=False)]


class ValidationConfig(Section):
    """Rows that are held out of training, and the metric by which phase one stops and chooses its best epoch.

    A log is popularity-biased, and so is the log-score of rows held out of it at random. Rows held out evenly over items,
    judged by a ranking, are not.
    """

    split: Split = "random"
    metric: str = LOG_SCORE
    share: Share = 0.1
    popularity: Literal["population", "prior", "posterior", "none"] = "population"

    @field_validator("split", mode="before")
    @classmethod
    def _known_split(cls, split: object) -> object:
        if not isinstance(split, str) or split not in SPLITS:
            close = nearest(split, SPLITS) if isinstance(split, str) else "."
            raise ValueError(f"unknown split{close} Splits: {', '.join(SPLITS)}")
        return split

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        if metric != LOG_SCORE and not OF_LISTS.fullmatch(metric):
            raise ValueError(
                f"it should be {LOG_SCORE!r}, or one of {', '.join(METRICS)} at a length, such as 'ndcg@20'"
            )
        return metric

    @property
    def ranks(self) -> tuple[str, int] | None:
        """The metric of lists and their length; None where rows are judged by their log-score."""
        found = OF_LISTS.fullmatch(self.metric)
        return None if found is None else (self.metric, int(found[2]))


def _kind(given: object) -> str:
    return "table" if isinstance(given, Mapping | ValidationConfig) else "number"


Validation = Annotated[
    Annotated[Share, Tag("number")] | Annotated[ValidationConfig, Tag("table")], Discriminator(_kind)
]
