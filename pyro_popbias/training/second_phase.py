"""Phase two of training: its length, its learning rate, and its batches.

Vectors are held fixed, so that x_ui is a known number, or has a known distribution. Where the data have labels,
affinities are computed once; for each batch where negatives are sampled, or rows are on disk. A Bayesian affinity enters by
draws of its moments' Normal, one per row and step. An affinity with few parameters, all global, goes on training; so does the
conformity of users, which moves along with the spread of popularity.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.data.batch import Batch
from pyro_popbias.training.iterates import STATIONARY

DRAWS = 16  # of a cell's popularity in a batch: scalars that move along a ridge need gradients of little noise
SAMPLED_BLOCK = 32_768  # the same where the affinities of every batch have to be computed
# times the guide's rate, at the beginning of a cycle where negatives are sampled: a step sees a part of the log, and its
# gradient is mostly noise, by which Adam divides, so that at the usual rate q is on its way for many cycles
RISE = 6.0


@dataclass(frozen=True)
class PhaseTwo:
    """The schedule of phase two: cycles of epochs over which the learning rate falls.

    Attributes:
        steps: optimizer steps per epoch.
        cycle: epochs per cycle.
        rise: the rate at which a cycle begins, in learning rates of the guide.
        fall: the rate falls to 1/fall of that over a cycle.
        epochs: length of phase two; None for as many cycles as it takes to become stationary.
        most_cycles: upper bound of these.
        gain: nats per cell, and
        move: of any scalar of the model, on its unconstrained scale, and
        r_hat: median over q's parameters: the first cycle with less of each is the last.
    """

    steps: int = 40
    cycle: int = 12
    rise: float = 1.0
    fall: float = 64.0
    epochs: int | None = None
    most_cycles: int = 10
    gain: float = 0.01
    move: float = 0.02
    r_hat: float = math.inf

    @classmethod
    def of(cls, length: int | Literal["auto"], *, sampled: bool = False) -> "PhaseTwo":
        """Return the schedule of `[training] phase_two`: whole cycles of about the usual length for a given number of epochs.

        Args:
            length: number of epochs, or "auto".
            sampled: whether labels are those of sampled negatives: where the length is not given, cycles then begin at `RISE`
                times the rate and end at the usual one, and q has to be stationary. A few epochs of such a rate would only
                scatter.
        """
        if length == "auto":
            return replace(AUTO, rise=RISE, fall=RISE * AUTO.fall, r_hat=STATIONARY) if sampled else AUTO
        cycles = max(1, round(length / AUTO.cycle))
        return replace(AUTO, cycle=max(1, math.ceil(length / cycles)), epochs=length)

    @property
    def longest(self) -> int:
        """The largest number of epochs."""
        return self.most_cycles * self.cycle if self.epochs is None else self.epochs

    def begins_cycle(self, epoch: int) -> bool:
        """Return whether a cycle begins after some epochs."""
        return epoch % self.cycle == 0

    def factor(self, epoch: int) -> float:
        """Return the factor of the learning rate after some epochs."""
        return float(self.rise * self.fall ** -(epoch % self.cycle / max(1, self.cycle - 1)))

    def is_over(self, elbo: Sequence[float], move: float, cells: int, r_hat: float = math.nan) -> bool:
        """Return whether the epochs done are enough.

        Args:
            elbo: of each epoch of phase two, in nats.
            move: largest move of a scalar of the model over the last cycle.
            cells: number of cells.
            r_hat: median over q's parameters, of the last two cycles; NaN where none is recorded.
        """
        done, cycle, end = len(elbo), self.cycle, max(1, self.cycle // 3)
        if done >= self.longest:
            return True
        if self.epochs is not None or not self.begins_cycle(done) or done < 2 * cycle:
            return False
        gain = np.mean(elbo[-end:]) - np.mean(elbo[-cycle - end : -cycle])
        return bool(gain < self.gain * cells and move < self.move and not r_hat > self.r_hat)


AUTO = PhaseTwo()


class PhaseTwoBatches:
    """The training rows, endlessly, with the affinities of the present vectors.

    Args:
        pair: model and guide as phase one has left them.

    Attributes:
        kl: of the affinity's weights, which batches with known affinities leave out, in nats.
        log_prior: of the affinity's parameters, likewise.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair, self._rows = pair, pair.rows.with_draws(DRAWS)
        self._weights = pair.guide.weights()
        self._anew = pair.rows.negatives > 0 or not pair.rows.keeps_affinities
        self.kl = self.log_prior = 0.0
        self._size = SAMPLED_BLOCK if self._anew else BLOCK
        if pair.model.affinity.trains_in_phase_two:
            return
        with torch.no_grad():
            known = (self._counted(batch) for batch in pair.rows.blocks(BLOCK))
            if self._anew:
                deque(known, maxlen=0)  # counted, and forgotten
            else:
                means, spreads = zip(*known, strict=True)
                spread = None if spreads[0] is None else torch.cat(spreads)
                self._rows = self._rows.with_affinity(torch.cat(means), spread)
            counted = torch.tensor([self.kl, self.log_prior], dtype=torch.float64)
            self.kl, self.log_prior = pair.rows.mean(counted).tolist()

    def _distribution(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return x - b0 of a batch, `(B,)`, and its standard deviation, None where it is a point."""
        distribution = self._pair.model.affinity.relative(batch.user, batch.item, batch.score, self._weights)
        return distribution.mean, None if distribution.variance is None else distribution.variance.sqrt()

    def _counted(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return `_distribution` of a batch, and count what knowing it leaves out of the objective."""
        mean, spread = self._distribution(batch)
        objective, share = self._pair.objective, batch.positives / len(self._pair.rows)
        for sign, each in ((1, batch), (-1, replace(batch, affinity=mean))):
            torch.default_generator.manual_seed(0)  # the same popularity in both, where its KL is sampled
            objective(self._pair.model, self._pair.guide)(each)
            self.kl += sign * share * float(objective.latest.kl)
            self.log_prior += sign * share * float(objective.latest.log_prior)
        return mean, spread

    def batches(self, step: int) -> Iterator[Batch]:
        """Yield batches from a step of phase two on, pass after pass."""
        seed = self._pair.study.training.seed
        number, done = divmod(step, self._rows.steps(self._size))
        while True:
            for k, batch in enumerate(
                islice(self._rows.batches(self._size, seed=seed, epoch=number), done, None), done
            ):
                yield self._with_affinity(batch, (seed, 2, number, k, *self._rows.stream))
            number, done = number + 1, 0

    def _with_affinity(self, batch: Batch, stream: tuple[int, ...]) -> Batch:
        if self._pair.model.affinity.trains_in_phase_two:
            return batch
        with torch.no_grad():
            mean, spread = (
                self._distribution(batch) if batch.affinity is None else (batch.affinity, batch.affinity_spread)
            )
            if spread is not None:
                noise = torch.from_numpy(np.random.default_rng(stream).standard_normal(len(mean))).to(mean.device)
                mean = mean + spread * noise
        return replace(batch, affinity=mean, affinity_spread=None)
