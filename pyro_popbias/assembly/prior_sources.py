"""The numbers of a prior: one function for each `source` of a study."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from pyro.distributions import Gamma, LogNormal

from pyro_popbias.assembly import count_statistics
from pyro_popbias.assembly.components import build_prior, local_parameters
from pyro_popbias.assembly.count_drift import CountDrift, estimate
from pyro_popbias.assembly.item_counts import check_disjoint, count_items, read_counts
from pyro_popbias.assembly.training_data import positives_of
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.stored_rows import StoredRows
from pyro_popbias.errors import ConfigError, DataWarning, IncompatibleError
from pyro_popbias.models import PRIORS, ItemPrior, PopularityPrior, SharedPrior
from pyro_popbias.models.priors.config import POSTERIOR
from pyro_popbias.models.priors.prior import ConcentratedPrior
from pyro_popbias.progress import log
from pyro_popbias.study.study import Study


@dataclass(frozen=True)
class PriorInputs:
    """The data that a prior may be made from.

    Attributes:
        study: the study.
        events: all rows.
        rows: positions of the training rows.
    """

    study: Study
    events: Interactions
    rows: np.ndarray | StoredRows

    @property
    def family(self) -> type[SharedPrior]:
        """The prior's class."""
        return PRIORS[self.study.model.prior.name]

    @property
    def positives(self) -> np.ndarray:
        """`(K, T)` positives of each item in each period among the training rows."""
        return positives_of(self.events, self.rows).astype(np.int64).reshape(-1, self.events.periods)

    @cached_property
    def table(self) -> pd.DataFrame | None:
        """The study's table or log of counts; None where there is none."""
        given = self.study.model.prior.counts
        return None if given is None else read_counts(given, self.study.data)

    @cached_property
    def given(self) -> np.ndarray | None:
        """`(K,)` count of each item in that table; None where there is none."""
        if self.table is None:
            return None
        counts, prior = count_items(self.table, self.events.items), self.study.model.prior
        if prior.source == "counts":
            check_disjoint(prior.counts, self.table, counts, self.events, self.study.data)
        return counts

    @cached_property
    def estimated(self) -> CountDrift | None:
        """The drift of counts by their own log; None where the study gives one, or the log does not tell it."""
        prior = self.study.model.prior
        if prior.source != "counts" or "drift" in prior.model_fields_set or self.table is None:
            return None
        return estimate(self.table, self.events.items)

    def counts(self) -> np.ndarray:
        """Return the given counts, the same in each period, or else the training rows' own positives, `(K, T)`."""
        if self.given is None:
            return self.positives
        return np.repeat(self.given[:, None], self.events.periods, axis=1)


def make_prior(study: Study, events: Interactions, rows: np.ndarray | StoredRows) -> tuple[PopularityPrior, Study]:
    """Return the prior of a study, at its start, and the study with the drift of its counts where that is estimated.

    Args:
        study: the study.
        events: all rows.
        rows: positions of the training rows.

    Raises:
        ConfigError: the source is an earlier fit, which a study does not hold.
        IncompatibleError: the source does not go with labels.
        DataError: given counts cannot be used, or are those of the data.
        RunFolderError: the file of counts cannot be read.
    """
    prior, inputs = study.model.prior, PriorInputs(study, events, rows)
    if prior.source == POSTERIOR:
        raise ConfigError(
            "PB-C430: prior source 'posterior' is the popularity that an earlier fit has left: pb.update(fit, events) gives it, "
            "or popbias update RUN --data FILE --out FOLDER; use source = 'learned' to fit anew"
        )
    find = SOURCES.get(prior.source)
    with local_parameters():
        made = build_prior(prior, events.cells, events.periods) if find is None else find(inputs)
    found = inputs.estimated
    if found is None:
        return made, study
    log.info(
        "prior: log popularity drifts by %.3f (sd), estimated on two windows of %d rows of counts of %d items",
        found.value,
        found.rows,
        found.items,
    )
    return made, study.replace("model", prior=prior.model_copy(update={"drift": found.value}))


def _population(evidence: PriorInputs) -> PopularityPrior:
    if evidence.events.label is not None:
        raise IncompatibleError(
            "PB-C090: prior source 'population' measures the spread of popularity by counts of positives, and the data have "
            "labels of their own: there counts are exposure times pull, and the spread is off by a factor of two. Use source "
            "= 'learned', or leave the label out where rows are positives only"
        )
    family = evidence.family
    assert issubclass(family, ConcentratedPrior)  # noqa: S101  sections refuse the others
    return family(count_statistics.concentration(evidence.positives))


def _counts(evidence: PriorInputs) -> PopularityPrior:
    family, counts, found = evidence.family, evidence.counts(), evidence.estimated
    drift = evidence.study.model.prior.drift if found is None else found.value
    assert isinstance(drift, float)  # noqa: S101  sections give it
    a = count_statistics.concentration(counts[:, :1])
    distributions = count_statistics.item_distributions(counts.reshape(-1), a, drift)
    parent = torch.tensor(a, dtype=torch.float64)
    return ItemPrior(family.near(distributions), family.population_like(Gamma(parent, parent)))


def _share(evidence: PriorInputs) -> PopularityPrior:
    counts = evidence.counts()
    share = count_statistics.shares(counts)
    other = count_statistics.information(count_statistics.log_shares(counts))
    warnings.warn(
        "PB-D124: prior source 'share' is nearly the same for every item: between the least and the most popular item the "
        f"prior's median differs by a factor of {np.exp(np.ptp(share)):.3g}, and it holds on average "
        f"{count_statistics.information(share):.2g} nats about popularity (log-share: {other:.2g}); it is there for "
        "comparison",
        DataWarning,
        stacklevel=2,
    )
    return _mixed(evidence, count_statistics.located(share))


def _log_share(evidence: PriorInputs) -> PopularityPrior:
    return _mixed(evidence, count_statistics.located(count_statistics.log_shares(evidence.counts())))


def _mixed(evidence: PriorInputs, distributions: LogNormal) -> PopularityPrior:
    return ItemPrior.mixed(evidence.family, evidence.family.near(distributions))


SOURCES: Mapping[str, Callable[[PriorInputs], PopularityPrior]] = {
    "population": _population,
    "counts": _counts,
    "share": _share,
    "log-share": _log_share,
}
