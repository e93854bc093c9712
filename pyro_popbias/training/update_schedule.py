"""The training of a fit that goes on from an earlier one: rows move by Newton's steps, and what belongs to no single row is held.

The prior of a row is what the earlier fit has left of it, mean m0 and precision P0, and a later part of a log adds little: so few
labels a row that the noise of gradient steps would be larger than what they say. With g the slope of the expected log-likelihood
in a row's mean m, and I the Fisher information of its labels, coordinate by coordinate, each pass over the new rows takes

    m  <-  m + DAMPING (g - P0 (m - m0)) / (P0 + I)        variance  <-  1 / (P0 + I)

The variance has the uncertainty of the other side's rows in I, but in the last pass: as in `training.vector_scales`, by linear
response. Scalars, such as the intercept, stay as they were: a tenth of a log would estimate them by a tenth of what is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.models import Memory
from pyro_popbias.sparse_lookup import set_parameter
from pyro_popbias.training.gain import expected_slopes
from pyro_popbias.training.vector_scales import VectorScales
from pyro_popbias.training.vectors import affinities

DAMPING = 0.5  # of a step: coordinates of a row, and both sides, move together
LOWEST = 0.05  # the last factor of the learning rate of popularity
LEARNED = ("guide.popularity.", "model.exposure.")  # by gradients
SIDES = {"user_vectors": "item_vectors", "item_vectors": "user_vectors"}


@dataclass(frozen=True)
class Rows:
    """A table of rows and its prior, `(rows, d)` each in float64.

    Attributes:
        mean: m.
        variance: of q; 0 of point estimates.
        prior_mean: m0.
        prior_precision: P0.
        is_point: whether the rows are point estimates.
    """

    mean: Tensor
    variance: Tensor
    prior_mean: Tensor
    prior_precision: Tensor
    is_point: bool = False


@final
class UpdateSchedule:
    """Phase one of an update.

    Args:
        pair: what is trained; its affinity has a memory.
        memory: what it remembers.
    """

    rate: ClassVar[float] = 1.0

    def __init__(self, pair: Pair, memory: Memory) -> None:
        self._pair, self._memory, self._epochs = pair, memory, pair.study.training.epochs

    @staticmethod
    def holds(name: str) -> bool:
        """Return whether a parameter is not moved by gradients: all but popularity's, and the level of its period's counts."""
        return not name.startswith(LEARNED)

    def factor(self, epoch: int) -> float:
        """Return the factor of the learning rate after some epochs."""
        return float(LOWEST ** (epoch / self._epochs))

    @torch.no_grad()
    def update(self, epoch: int) -> bool:
        """Take a step in all rows after an epoch; nothing that Adam knows of moves."""
        rows = rows_of(self._pair, self._memory)
        write(self._pair, stepped(self._pair, rows, linear_response=epoch == self._epochs))
        return False


def schedule_of(pair: Pair) -> VectorScales | UpdateSchedule | None:
    """Return what happens between the epochs of phase one; None where nothing does."""
    memory = pair.model.affinity.memory
    return VectorScales.of(pair) if memory is None else UpdateSchedule(pair, memory)


def rows_of(pair: Pair, memory: Memory) -> dict[str, Rows]:
    """Return the rows of users and items by the names of their tables."""
    found = {}
    for site, q in pair.guide.weights().items():
        if memory.latents[site].plate is not None:
            prior = memory.weights[site]
            found[site] = Rows(q.loc.double(), q.scale.double() ** 2, prior.loc.double(), prior.scale.double() ** -2)
    for name, (mean, precision) in memory.points.items():
        own: Tensor = getattr(pair.model.affinity, name).double()
        found[name] = Rows(own, torch.zeros_like(own), mean, precision, is_point=True)
    return found


def stepped(pair: Pair, rows: Mapping[str, Rows], *, linear_response: bool = False) -> dict[str, Rows]:
    """Return the rows after a step.

    Args:
        pair: the pair.
        rows: its rows.
        linear_response: whether variances include that both sides' rows react to each other.
    """
    slopes, information, responses = (
        {name: torch.zeros_like(each.mean) for name, each in rows.items()} for _ in range(3)
    )
    sides = {site: bias.side for site, bias in pair.model.affinity.row_biases.items()}
    for part in affinities(pair):
        codes = {"user": part.batch.user, "item": part.batch.item}
        first, second = (each.unsqueeze(-1) for each in expected_slopes(pair, part))
        w = pair.model.information(part.batch, part.mean, part.popularity).affinity.unsqueeze(-1)
        for name, other in SIDES.items():
            code, beside = codes[name.partition("_")[0]], codes[other.partition("_")[0]]
            mean, variance = rows[other].mean.index_select(0, beside), rows[other].variance.index_select(0, beside)
            own = rows[name].mean.index_select(0, code)
            # x has the mean u . i, and u^2 Var(i) in its variance
            slopes[name].index_add_(0, code, first * mean + second * variance * own)
            information[name].index_add_(0, code, w * (mean.square() + variance))
            responses[name].index_add_(0, code, w * mean.square())
        for site, side in sides.items():
            for total, value in ((slopes, first), (information, w), (responses, w)):
                total[site].index_add_(0, codes[side], value)
    found = {}
    for name, each in rows.items():
        force = slopes[name] - each.prior_precision * (each.mean - each.prior_mean)
        mean = each.mean + DAMPING * force / (each.prior_precision + information[name])
        seen = responses[name] if linear_response else information[name]
        variance = each.variance if each.is_point else 1 / (each.prior_precision + seen)
        found[name] = replace(each, mean=mean, variance=variance)
    return found


def write(pair: Pair, rows: Mapping[str, Rows]) -> None:
    """Give rows to a pair."""
    for name, each in rows.items():
        if each.is_point:
            set_parameter(pair.model.affinity, name, each.mean)
        else:
            assert pair.guide.affinity is not None  # noqa: S101  rows with a posterior are in it
            pair.guide.affinity.set_rows(name, each.mean, 0.5 * each.variance.log())
