"""From probabilities among sampled negatives to probabilities over the catalogue.

Where rows are positives only, each comes with m negatives, drawn among the K - n_u items that its user has no positive of. The
fit's P is the probability within that design: of each user 1 / (1 + m) of the rows are positives, however active the user is. An
item without a positive of u is drawn m n_u / (K - n_u) times, one with a positive is there once, so that the odds of P are

    odds over the catalogue w_u,    w_u = (K - n_u) / (m n_u),

and P / (P + (1 - P) w_u) is the probability that u has a positive of the item in a log such as the fit's. Its sum over the
catalogue meets n_u where the fit is right, which says what n_u must be:

* distinct items with a positive: a user who comes back to an item has more rows of it and as many more negatives, which
  cancel in the odds;
* of the whole log, rows held out for validation too: a positive that is held out is as missing among the rows of label 1 as
  n_u is larger;
* of all periods together: within a period both kinds of rows are fewer by the same factor. The probability is that of a log as
  long as the fit's in which popularity stays what it is said to be.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.models import AffinityDistribution, PopularityModel


@dataclass(frozen=True, eq=False)
class Calibration:
    """The weights that take probabilities from the design to the catalogue.

    Attributes:
        log_weight: `(U + 1,)` log w_u by user code, and last that of unseen users, who are taken to have the mean number of
            positives.
    """

    log_weight: Tensor

    @classmethod
    def of(cls, model: PopularityModel, catalogue: Catalogue, negatives: int, *, device: torch.device) -> Self:
        """Return the calibration of a fit.

        Args:
            model: the trained model.
            catalogue: ids and counts.
            negatives: m, sampled negatives per positive; 0 where labels are the data's own.
            device: of the model.

        Raises:
            ConfigError: scores are not probabilities, or labels are the data's own.
            DataError: positives of users were not counted.
        """
        if model.pairwise:
            raise ConfigError(
                "PB-C420: calibrated=True, but the scores of this model rank items and are not probabilities; leave it out, or "
                "fit 'product', 'additive' or 'inverse-logistic'"
            )
        if not negatives:
            raise ConfigError(
                "PB-C421: calibrated=True, but the labels of this fit are the data's own: no negatives were sampled, and scores "
                "are probabilities of those labels already; leave it out"
            )
        if catalogue.user_items is None:
            raise DataError(
                "PB-D420: calibrated=True needs the number of distinct items that each user has a positive of, which this run "
                "folder lacks; fit again"
            )
        counted = catalogue.user_items.astype(np.float64)
        mean = counted[counted > 0].mean()
        n = np.append(np.where(counted > 0, counted, mean), mean)  # an update knows users without a row of its own
        weight = torch.from_numpy((len(catalogue.items) - n) / (negatives * n))
        return cls(weight.to(device).log())

    def added(self, affinity: AffinityDistribution, user: Tensor, *, inside: bool) -> AffinityDistribution:
        """Return affinities `(U, ...)` of users `(U,)` whose probabilities are calibrated.

        Args:
            affinity: distribution of logits.
            user: `(U,)` codes; -1 is an unseen user.
            inside: whether w stands in the integral over z. Else log odds are x plus a term of popularity, perhaps none, and
                x becomes x - log w_u.
        """
        log_w = self.log_weight[user].reshape(-1, *[1] * (affinity.mean.dim() - 1))
        return replace(affinity, log_weight=log_w) if inside else replace(affinity, mean=affinity.mean - log_w)
