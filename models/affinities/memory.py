"""What a fit has learned of its rows, as the prior of a fit to later data: streaming variational Bayes.

The posterior of one part of a log is the prior of the next (Broderick et al., NeurIPS 2013). So q of vectors and biases takes the
place of their priors, row by row; point estimates are held near where they were, by the information that the earlier labels
had about them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyro.distributions import Normal
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_popbias.data.batch import Batch
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights


@dataclass(frozen=True)
class Memory:
    """The priors of a later fit's affinity.

    Attributes:
        weights: Normal prior of each site of rows or of global weights, whole tables.
        latents: these sites, as data.
        points: by the name of a table of point estimates, means and precisions of a Normal around them, `(rows, d)` each: for the
            steps of an update, which Pyro's program does not see.
        known: which users and items the earlier fit knew, `(rows,)` truth values by "user" and "item".
    """

    weights: Weights
    latents: Mapping[str, AffinityLatent]
    points: Mapping[str, tuple[Tensor, Tensor]]
    known: Mapping[str, Tensor]

    def at(self, batch: Batch) -> Messenger:
        """Return a handler of Pyro's that puts the priors of a batch in place of those of the affinity's sites."""
        return _Remembered(self, batch)


class _Remembered(Messenger):
    def __init__(self, memory: Memory, batch: Batch) -> None:
        super().__init__()
        self._memory, self._batch = memory, batch

    def _pyro_sample(self, msg: Any) -> None:
        prior = self._memory.weights.get(msg["name"])
        if prior is None:
            return
        plate = self._memory.latents[msg["name"]].plate
        loc, scale = prior.loc, prior.scale
        if plate is not None:
            code = (self._batch.users if plate == "users" else self._batch.items).code
            loc, scale = loc.index_select(0, code), scale.index_select(0, code)
        msg["fn"] = Normal(loc, scale, validate_args=False).to_event(1)
