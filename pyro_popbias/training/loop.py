"""Training in two phases: model and guide together, then the guide and the scalars of the model until all stands still.

Phase one takes an epoch at a time; it stops early on the held-out log-score and goes back to its best epoch. Phase two
holds the vectors fixed, so that affinities are plain numbers and batches can be large, and goes on with q and the few
scalars (intercept, concentration, slope): these can arrive only after q has, and a few scalars do not overfit. It runs
in cycles over which the rate falls, until one brings next to nothing; on real ratings this takes the exact KL of an
item's posterior from about a nat to a hundredth. Rows of a cell share out several draws: under a single one q scatters
about its optimum, and scalars take the scatter for a spread of popularity, so that slope and concentration end too low.
Every random number comes from (seed, phase, step), so that a run that was stopped continues bit for bit from the last
epoch's snapshot.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor
from torch.nn import Parameter

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.data.batches import Batch, TrainingBatches
from pyro_popbias.errors import NumericalError
from pyro_popbias.objective import Terms
from pyro_popbias.sparse_lookup import sparse_gradients
from pyro_popbias.training.optimizer import RowAdam
from pyro_popbias.training.second_phase import PhaseTwoBatches

PATIENCE = 10  # epochs of phase one without a better held-out log-score
# the second of Adam's betas: gradients of q shrink a hundredfold while it settles, and a memory as long as the usual
# .999 would keep its steps small long after
GUIDE_MEMORY = 0.95
MODEL_MEMORY = 0.99
RETRIES = 3  # of a batch whose loss or gradient is not finite

# phase two: a cycle is CYCLE epochs of STEPS steps each, over which the rate falls to 1/FALL
STEPS = 40
CYCLE = 12
FALL = 64.0
MOST_CYCLES = 10
GAIN = 0.01  # nats per cell, and
MOVE = 0.02  # of any scalar of the model, on its unconstrained scale: a cycle that brings less of both is the last

HISTORY = (
    "phase",
    "epoch",
    "elbo",
    "expected_log_likelihood",
    "kl",
    "validation_log_score",
    "learning_rate",
    "seconds",
)


@dataclass
class TrainingState:
    """Where a training stands after some whole epoch; with the tensors of a snapshot, all that resuming needs."""

    phase: int = 1  # 3 when all is done
    epoch: int = 0  # epochs done in this phase
    steps: int = 0  # optimiser steps done in this phase
    best: float = -math.inf  # held-out log-score of phase one's best epoch
    best_epoch: int = 0
    scalars: list[float] = field(default_factory=list)  # of the model, at the end of phase two's last cycle
    settled: list[float] = field(default_factory=list)  # KL and log prior of what phase two holds fixed, in nats
    history: list[dict[str, float]] = field(default_factory=list)


Snapshot = tuple[TrainingState, dict[str, Tensor]]


class TrainingLoop:
    """One training of a pair.

    Args:
        pair: what to train, in place.
        on_epoch: called after every epoch with the progress.
        save: called after every epoch with a snapshot.
        resume: the snapshot to continue from.
    """

    def __init__(
        self,
        pair: Pair,
        *,
        on_epoch: Callable[[TrainingState], None],
        save: Callable[[Snapshot], None] | None = None,
        resume: Snapshot | None = None,
    ) -> None:
        self._pair = pair
        self._on_epoch = on_epoch
        self._save = save
        self._loss = pair.objective(pair.model, pair.guide)
        self._best: dict[str, Tensor] = {}
        self.progress, tensors = resume or (TrainingState(), {})
        self._optimizer = self._new_optimizer()
        if resume:
            self._load(tensors)

    def run(self) -> pd.DataFrame:
        """Train to the end.

        Returns:
            The history, one row an epoch.

        Raises:
            NumericalError: a batch's loss or gradient stays non-finite.
        """
        while self.progress.phase == 1:
            self._fit_epoch()
            self._finish_epoch()
        if self.progress.phase == 2:
            self._refine()
        history = pd.DataFrame(self.progress.history, columns=list(HISTORY)).astype({"phase": int, "epoch": int})
        if self._pair.guide.popularity.maximises == "elbo":
            return history
        # where q is no distribution there is neither an ELBO nor a KL
        history.insert(HISTORY.index("elbo"), self._pair.guide.popularity.maximises, history["elbo"])
        return history.assign(elbo=math.nan, kl=math.nan)

    def _new_optimizer(self) -> RowAdam:
        training, phase = self._pair.study.training, self.progress.phase
        model, guide = self._pair.model, self._pair.guide
        weights = [] if guide.affinity is None else list(guide.affinity.parameters())
        settles = phase == 1 or model.affinity.trains_in_phase_two
        for parameter in (*model.parameters(), *weights):
            parameter.requires_grad_(settles or parameter.dim() == 0)
        popularity = (guide.popularity.parameters(), training.guide_learning_rate, GUIDE_MEMORY)
        if phase == 1:
            return RowAdam([popularity, ([*model.parameters(), *weights], training.learning_rate, MODEL_MEMORY)])
        kept = self._scalars() + (weights if settles else [])
        return RowAdam([popularity, (kept, training.guide_learning_rate, GUIDE_MEMORY)])

    def _scalars(self) -> list[Parameter]:
        """Return the global parameters of the model: intercept, concentration and the like."""
        return [parameter for parameter in self._pair.model.parameters() if parameter.dim() == 0]

    def _fit_epoch(self) -> None:
        """Run an epoch of phase one, keep the best parameters, and pass to phase two when it is time."""
        progress, training = self.progress, self._pair.study.training
        began = time.monotonic()
        self._pair.update_mean_affinity()
        terms = [self._step(batch) for batch in self._pair.batches(epoch=progress.epoch)]
        score = self._record(terms, training.learning_rate, began)
        if (
            not self._best or not score <= progress.best
        ):  # without held-out rows the score is NaN, and the last epoch is the best
            progress.best, progress.best_epoch = score, progress.epoch
            self._best = {name: tensor.clone() for name, tensor in self._loss.state_dict().items()}
        stale = self._pair.held_out is not None and progress.epoch - progress.best_epoch >= PATIENCE
        if stale or progress.epoch >= training.epochs:
            self._loss.load_state_dict(self._best)
            self._best = {}
            self._pair.update_mean_affinity()
            progress.phase, progress.epoch, progress.steps = 2, 0, 0
            self._optimizer = self._new_optimizer()

    def _refine(self) -> None:
        """Run phase two: cycles of a falling rate until one gains nothing."""
        progress = self.progress
        rows = PhaseTwoBatches(self._pair)
        progress.settled = progress.settled or [rows.kl, rows.log_prior]  # found again, they would be rounded anew
        batches = rows.batches(progress.steps)
        while progress.phase == 2:
            began = time.monotonic()
            if progress.epoch % CYCLE == 0:
                self._pair.guide.iterates.turn()
            factor = FALL ** -(progress.epoch % CYCLE / (CYCLE - 1))
            terms = [self._traced(batch, factor) for batch in islice(batches, STEPS)]
            rate = self._pair.study.training.guide_learning_rate * factor
            self._record(terms, rate, began, *progress.settled)
            if progress.epoch % CYCLE == 0 and self._is_stationary():
                progress.phase = 3
            self._finish_epoch()

    def _traced(self, batch: Batch, factor: float) -> Tensor:
        """Take one step as `_step` does, and note where it has led."""
        terms = self._step(batch, factor)
        self._pair.guide.iterates.record(self._pair.guide.popularity.parameters())
        return terms

    def _is_stationary(self) -> bool:
        """Return whether the last cycle has gained and moved next to nothing, or was the last allowed."""
        elbo = [row["elbo"] for row in self.progress.history if row["phase"] == 2]
        before, self.progress.scalars = self.progress.scalars, [float(scalar.detach()) for scalar in self._scalars()]
        if len(elbo) < 2 * CYCLE:
            return False
        move = max((abs(now - then) for now, then in zip(self.progress.scalars, before, strict=True)), default=0.0)
        end = CYCLE // 3
        gain = np.mean(elbo[-end:]) - np.mean(elbo[-CYCLE - end : -CYCLE])
        return len(elbo) >= MOST_CYCLES * CYCLE or bool(gain < GAIN * self._pair.events.cells and move < MOVE)

    def _record(self, terms: list[Tensor], rate: float, began: float, kl: float = 0.0, log_prior: float = 0.0) -> float:
        """Append an epoch to the history; return its held-out log-score.

        Args:
            terms: `(3,)` terms of each step.
            rate: learning rate, of the model in phase one and of the guide in phase two.
            began: time at which the epoch began.
            kl: of the affinity's weights, where the steps did not see it.
            log_prior: of the affinity's parameters, likewise.
        """
        progress = self.progress
        progress.epoch += 1
        mean = Terms(*torch.stack(terms).mean(0))
        score = math.nan if self._pair.held_out is None else log_score(self._pair, self._pair.held_out)
        progress.history.append(
            {
                "phase": progress.phase,
                "epoch": progress.epoch,
                "elbo": float(mean.elbo) + log_prior - kl,
                "expected_log_likelihood": float(mean.expected_log_likelihood),
                "kl": float(mean.kl) + kl,
                "validation_log_score": score,
                "learning_rate": rate,
                "seconds": time.monotonic() - began,
            }
        )
        return score

    def _step(self, batch: Batch, factor: float = 1.0) -> Tensor:
        """Take one step at `factor` times the rate; return the terms of its objective, `(3,)`."""
        for attempt in range(RETRIES + 1):
            self._seed(attempt)
            self._optimizer.zero_grad()
            loss = self._loss(batch)
            loss.backward()
            if torch.isfinite(loss.detach()) and self._optimizer.is_finite():
                self._optimizer.step(factor / 2**attempt)
                self.progress.steps += 1
                terms = self._pair.objective.latest
                return torch.stack([terms.expected_log_likelihood, terms.kl, terms.log_prior]).double().cpu()
        raise NumericalError(self._fault(loss))

    def _seed(self, attempt: int) -> None:
        key = (self._pair.study.training.seed, self.progress.phase, self.progress.steps, attempt)
        seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
        torch.default_generator.manual_seed(seed)  # torch.manual_seed formats a stack trace at each call
        if self._pair.device == "cuda":
            torch.cuda.manual_seed(seed)

    def _fault(self, loss: Tensor) -> str:
        broken = [
            name.removesuffix("_unconstrained")
            for name, parameter in self._loss.named_parameters()
            if parameter.grad is not None and not torch.isfinite(parameter.grad.sum())
        ]
        return (
            f"PB-N001: in phase {self.progress.phase}, epoch {self.progress.epoch + 1}, step {self.progress.steps} the loss "
            f"was {loss.item():g} and the gradient not finite in {', '.join(broken) or 'no parameter'}, {RETRIES + 1} times "
            "with falling rates; lower training.guide_learning_rate and training.learning_rate"
        )

    def _finish_epoch(self) -> None:
        if self._save is not None:
            self._save(self._snapshot())
        self._on_epoch(self.progress)

    def _snapshot(self) -> Snapshot:
        tensors = {f"parameters.{name}": tensor for name, tensor in self._loss.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in self._optimizer.state().items()}
        return self.progress, tensors

    def _load(self, tensors: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"parameters": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = tensor
        self._loss.load_state_dict(parts["parameters"])
        self._best = parts["best"]
        self._optimizer.load(parts["optimizer"])


def train(
    pair: Pair,
    *,
    on_epoch: Callable[[TrainingState], None] = lambda _: None,
    save: Callable[[Snapshot], None] | None = None,
    resume: Snapshot | None = None,
) -> pd.DataFrame:
    """Train a pair in place and return the history, one row an epoch; the caller's random state is left alone.

    Args:
        pair: what to train.
        on_epoch: called after every epoch with the progress.
        save: called after every epoch with a snapshot.
        resume: the snapshot to continue from.

    Raises:
        NumericalError: a batch's loss or gradient stays non-finite.
    """
    devices = [torch.cuda.current_device()] if pair.device == "cuda" else []
    with torch.random.fork_rng(devices), local_parameters(), sparse_gradients(), pyro.validation_enabled(False):
        training = TrainingLoop(pair, on_epoch=on_epoch, save=save, resume=resume)
        try:
            return training.run()
        finally:
            pair.model.requires_grad_(True)
            pair.guide.requires_grad_(True)


def log_score(pair: Pair, rows: TrainingBatches) -> float:
    """Return the mean log P(c) of rows with popularity and affinity integrated over their distributions, in nats per row.

    A popularity of a row's own is drawn anew for every row, so its distribution is the prior and not q.
    """
    total, number = torch.zeros((), dtype=torch.float64), 0
    distribution = pair.guide.popularity.posterior if rows.latent == "item" else pair.model.prior.distribution
    with torch.no_grad():
        weights = pair.guide.weights()
        for batch in rows.blocks(BLOCK):
            affinity = pair.model.affinity.pairs(batch.user, batch.item, batch.score, weights)
            scores = pair.model.log_score(batch, affinity, distribution(batch.cell))
            total, number = total + scores.sum().cpu(), number + len(scores)
    return float(total / number)
