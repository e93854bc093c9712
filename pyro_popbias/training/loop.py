"""Training in two phases: model and guide together, then the guide and the model's scalars until both are stationary.

Phase one runs epoch by epoch. Where the scales of vectors are learned it runs all its epochs, between which `VectorScales` sets
scales, variances and the number of dimensions; otherwise it stops early on the held-out log-score, or on the ranking metric
that the study names, and returns to its best epoch. Phase two holds the vectors fixed, so that affinities are numbers or have
known distributions and batches can be large, and trains q and the few scalars (intercept, concentration, slope) further:
scalars converge only after q has, and a few of them do not overfit. It runs in cycles over which the learning rate falls, until
a cycle gains next to nothing (where negatives are sampled also until R-hat of q's iterates is small); on real ratings this
takes the exact KL of an item's posterior from about a nat to a hundredth. The rows of a cell share several draws: with a single
one q scatters about its optimum, scalars mistake the scatter for spread of popularity, and slope and concentration end too low.
All random numbers come from (seed, phase, step), so that a resumed run continues bit for bit from the snapshot of its last
epoch. At the very end linear response gives the intercept its posterior, and a spectrum shows what dropped dimensions would
have added.
"""

import math
import time
from collections.abc import Callable
from itertools import islice

import pyro
import torch
from torch import Tensor
from torch.nn import Parameter

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.batch import Batch
from pyro_popbias.distributions.random_state import borrowed_generators, seed_generators
from pyro_popbias.errors import NumericalError
from pyro_popbias.guides import AmortizedGuide
from pyro_popbias.models.conformity import SITE as CONFORMITY
from pyro_popbias.objective import Terms
from pyro_popbias.sparse_lookup import rows_read_by
from pyro_popbias.training.held_out import beats, log_score
from pyro_popbias.training.iterates import Iterates, median_r_hat
from pyro_popbias.training.judge import RankingJudge
from pyro_popbias.training.optimizer import RowAdam
from pyro_popbias.training.processes import Processes, processes_of
from pyro_popbias.training.residual import find_residual
from pyro_popbias.training.responses import find_responses
from pyro_popbias.training.row_adam import separately
from pyro_popbias.training.second_phase import PhaseTwo, PhaseTwoBatches
from pyro_popbias.training.state import DONE, Snapshot, TrainingResult, TrainingState
from pyro_popbias.training.update_schedule import schedule_of

PATIENCE = 10  # epochs of phase one without a better held-out log-score
# the second of Adam's betas: gradients of q shrink a hundredfold while it settles, and a memory as long as the usual
# .999 would keep its steps small long after
GUIDE_MEMORY = 0.95
MODEL_MEMORY = 0.99
RETRIES = 3  # of a batch whose loss or gradient is not finite


class TrainingLoop:
    """One training of a pair.

    Args:
        pair: what to train, in place.
        on_epoch: called after every epoch with the progress.
        phase_two: schedule of phase two; the study's by default.
        save: called after every epoch with a snapshot.
        resume: the snapshot to continue from.
        processes: that train the pair together; one by default.
    """

    def __init__(
        self,
        pair: Pair,
        *,
        on_epoch: Callable[[TrainingState], None],
        phase_two: PhaseTwo | None = None,
        save: Callable[[Snapshot], None] | None = None,
        resume: Snapshot | None = None,
        processes: Processes | None = None,
    ) -> None:
        self._processes = processes or Processes(pair)
        self._pair = self._processes.pair
        self._on_epoch = on_epoch
        self._save = save
        self._loss = pair.objective(pair.model, pair.guide)
        self._compiled, self._fused = None, separately
        if pair.study.training.compile:
            from pyro_popbias.training.compiled import CompiledLoss, fused  # torch's tracing takes a while to import

            self._compiled, self._fused = CompiledLoss(pair, self._loss), fused
        # scores of pairs have no upper bound: at a higher rate q scatters, and their exponent ends too low
        # a network cannot take the higher rate, which its weights share among all cells
        rises = not (pair.model.pairwise or isinstance(pair.guide.popularity, AmortizedGuide))
        sampled = pair.rows.negatives > 0 and rises
        self._phase_two = phase_two or PhaseTwo.of(pair.study.training.phase_two, sampled=sampled)
        self._iterates = Iterates(pair.guide.popularity.parameters()).to(pair.device)
        self._scales = schedule_of(self._pair)
        ranks = pair.study.training.held_out.ranks
        self._judge = None if ranks is None else RankingJudge(pair, *ranks)
        self._best: dict[str, Tensor] = {}
        self.progress, tensors = resume or (TrainingState(), {})
        self._optimizer = self._new_optimizer()
        if resume:
            self._load(tensors)

    def run(self) -> TrainingResult:
        """Train to the end.

        Raises:
            NumericalError: a batch's loss or gradient stays non-finite.
        """
        while self.progress.phase == 1:
            self._fit_epoch()
            self._finish_epoch()
        if self.progress.phase == 2:
            self._refine()
        return TrainingResult(self.progress.table(self._pair.guide.popularity.maximises), self._iterates)

    def _new_optimizer(self) -> RowAdam:
        training, phase = self._pair.study.training, self.progress.phase
        model, guide = self._pair.model, self._pair.guide
        weights = [] if guide.affinity is None else list(guide.affinity.parameters())
        settles = phase == 1 or model.affinity.trains_in_phase_two
        for name, parameter in self._loss.named_parameters():
            held = self._scales is not None and self._scales.holds(name)
            settles_later = name.startswith("guide.popularity.") or CONFORMITY in name
            parameter.requires_grad_(settles_later or (not held and (settles or parameter.dim() == 0)))
        self._processes.follow(self._loss)
        popularity = (guide.popularity.parameters(), training.guide_learning_rate, GUIDE_MEMORY)
        if phase == 1:
            rate = training.learning_rate * (1.0 if self._scales is None else self._scales.rate)
            of_model = (model.parameters(), training.learning_rate, MODEL_MEMORY)
            return RowAdam([popularity, of_model, (weights, rate, MODEL_MEMORY)], fused=self._fused)
        kept = self._scalars() + [weight for weight in weights if weight.requires_grad]
        return RowAdam([popularity, (kept, training.guide_learning_rate, GUIDE_MEMORY)], fused=self._fused)

    def _scalars(self) -> list[Parameter]:
        """Return the global parameters of the model: intercept, concentration and the like."""
        return [parameter for parameter in self._pair.model.parameters() if parameter.dim() == 0]

    @property
    def _runs_whole(self) -> bool:
        """Whether the last epoch of phase one counts, and not the best one."""
        return self._pair.study.training.runs_whole(learns_scales=self._scales is not None)

    def _factor(self, epoch: int) -> float:
        """Return the factor of phase one's learning rates after some epochs."""
        if self._scales is not None:
            return self._scales.factor(epoch)
        training = self._pair.study.training
        return 1.0 if training.schedule == "constant" else 1.0 - epoch / training.epochs

    def _fit_epoch(self) -> None:
        """Run an epoch of phase one, keep the best parameters, and pass to phase two when it is time."""
        progress, training = self.progress, self._pair.study.training
        began = time.monotonic()
        self._pair.update_mean_affinity()
        factor = self._factor(progress.epoch)
        terms = [self._step(batch, factor) for batch in self._pair.batches(epoch=progress.epoch)]
        self._optimizer.settle()
        self._processes.share_tables()
        if self._scales is not None and self._scales.update(progress.epoch + 1):
            self._optimizer = self._new_optimizer()
        score = self._record(terms, training.learning_rate * factor, began)
        if not self._runs_whole and (not self._best or beats(score, progress.best)):
            # without held-out rows the score is NaN, and the last epoch is the best
            progress.best, progress.best_epoch = score, progress.epoch
            self._best = {name: tensor.clone() for name, tensor in self._loss.state_dict().items()}
        stale = (
            bool(self._best) and self._pair.held_out is not None and progress.epoch - progress.best_epoch >= PATIENCE
        )
        if stale or progress.epoch >= training.epochs:
            if self._best:
                self._loss.load_state_dict(self._best)
            self._best = {}
            self._pair.update_mean_affinity()
            progress.phase, progress.epoch, progress.steps = 2 if self._phase_two.longest else DONE, 0, 0
            self._optimizer = self._new_optimizer()

    def _refine(self) -> None:
        """Run phase two to its end."""
        progress, schedule = self.progress, self._phase_two
        rows = PhaseTwoBatches(self._pair)
        progress.settled = progress.settled or [rows.kl, rows.log_prior]  # found again, they would be rounded anew
        batches = rows.batches(progress.steps)
        while progress.phase == 2:
            began = time.monotonic()
            if schedule.begins_cycle(progress.epoch):
                self._iterates.turn()
            factor = schedule.factor(progress.epoch)
            terms = [self._traced(batch, factor) for batch in islice(batches, schedule.steps)]
            self._optimizer.settle()
            self._processes.share_tables()
            self._processes.share_iterates(self._iterates)
            rate = self._pair.study.training.guide_learning_rate * factor
            self._record(terms, rate, began, *progress.settled)
            ended = schedule.begins_cycle(progress.epoch)
            move = self._move() if ended else math.inf
            found = median_r_hat(self._iterates) if ended else math.nan
            elbo = [row["elbo"] for row in progress.history if row["phase"] == 2]
            if schedule.is_over(elbo, move, self._pair.events.cells, found):
                progress.phase = DONE
            self._finish_epoch()

    def _traced(self, batch: Batch, factor: float) -> Tensor:
        """Take one step as `_step` does, and note where it has led."""
        terms = self._step(batch, factor)
        with rows_read_by(self._optimizer.readers):
            self._iterates.record(self._pair.guide.popularity.parameters())
        return terms

    def _move(self) -> float:
        """Return the largest move of a scalar of the model since the last call."""
        before, self.progress.scalars = self.progress.scalars, [float(scalar.detach()) for scalar in self._scalars()]
        if len(before) != len(self.progress.scalars):  # the first cycle
            return math.inf
        return max((abs(now - then) for now, then in zip(self.progress.scalars, before, strict=True)), default=0.0)

    def _record(self, terms: list[Tensor], rate: float, began: float, kl: float = 0.0, log_prior: float = 0.0) -> float:
        """Append an epoch to the history; return its held-out log-score, or the metric that judges in its place.

        Args:
            terms: `(3,)` terms of each step.
            rate: learning rate, of the model in phase one and of the guide in phase two.
            began: time at which the epoch began.
            kl: of the affinity's weights, where the steps did not see it.
            log_prior: of the affinity's parameters, likewise.
        """
        progress = self.progress
        progress.epoch += 1
        mean = Terms(*self._pair.rows.mean(torch.stack(terms).mean(0)))
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
        if self._judge is None:
            return score
        judged = self._processes.judged(self._judge)
        progress.history[-1][f"validation_{self._pair.study.training.held_out.metric}"] = judged
        return judged

    def _step(self, batch: Batch, factor: float = 1.0) -> Tensor:
        """Take one step at `factor` times the rate; return the terms of its objective, `(3,)`."""
        for attempt in range(RETRIES + 1):
            self._seed(attempt)
            self._optimizer.zero_grad()
            loss = self._backward(batch)
            finite = bool(torch.isfinite(loss.detach())) and self._optimizer.is_finite()
            if self._processes.sum_gradients(batch, self._optimizer.tables, finite=finite):
                self._optimizer.step(factor / 2**attempt)
                self.progress.steps += 1
                terms = self._pair.objective.latest
                return torch.stack([terms.expected_log_likelihood, terms.kl, terms.log_prior]).double().cpu()
        raise NumericalError(self._fault(loss))

    def _backward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, and leave its gradient with the parameters and with the rows that were read."""
        if self._compiled is not None:
            return self._compiled.backward(batch, self._optimizer.tables, self._processes.share)
        with rows_read_by(self._optimizer.readers):
            loss: Tensor = self._loss(batch)
        loss.backward(self._processes.share)
        return loss

    def _seed(self, attempt: int) -> None:
        stream = self._processes.stream
        key = (self._pair.study.training.seed, self.progress.phase, self.progress.steps, attempt, *stream)
        seed_generators(key, self._pair.device)

    def _fault(self, loss: Tensor) -> str:
        broken = [
            name.removesuffix("_unconstrained")
            for name, parameter in self._loss.named_parameters()
            if not all(torch.isfinite(gradient.sum()) for gradient in self._optimizer.gradients(parameter))
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
        tensors |= {f"iterates.{name}": tensor for name, tensor in self._iterates.state_dict().items()}
        return self.progress, tensors

    def _load(self, tensors: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"parameters": {}, "best": {}, "optimizer": {}, "iterates": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = tensor
        self._loss.load_state_dict(parts["parameters"])
        self._best = parts["best"]
        self._optimizer = self._new_optimizer()  # dimensions may have been dropped
        self._optimizer.load(parts["optimizer"])
        self._iterates.load_state_dict(parts["iterates"])


def train(
    pair: Pair,
    *,
    on_epoch: Callable[[TrainingState], None] = lambda _: None,
    phase_two: PhaseTwo | None = None,
    save: Callable[[Snapshot], None] | None = None,
    resume: Snapshot | None = None,
) -> TrainingResult:
    """Train a pair in place; the caller's random state is left alone.

    Args:
        pair: what to train.
        on_epoch: called after every epoch with the progress.
        phase_two: schedule of phase two; the study's by default.
        save: called after every epoch with a snapshot.
        resume: the snapshot to continue from.

    Raises:
        NumericalError: a batch's loss or gradient stays non-finite.
        ConfigError: torchrun has started several processes, and they cannot share the pair.
        LostRankError: another of them does not answer.
    """
    devices = [torch.cuda.current_device()] if pair.device == "cuda" else []
    # the lock of local_parameters first: the random state that is restored must be the caller's
    with local_parameters(), borrowed_generators(devices), pyro.validation_enabled(False):
        shared = processes_of(pair)
        save, resume = shared.saving(save), shared.resumed(resume)
        training = TrainingLoop(
            pair, on_epoch=on_epoch, phase_two=phase_two, save=save, resume=resume, processes=shared
        )
        try:
            result = training.run()
            pair.forget_untrained()
            find_responses(pair)
            find_residual(pair)
            return result
        finally:
            pair.model.requires_grad_(True)
            pair.guide.requires_grad_(True)
