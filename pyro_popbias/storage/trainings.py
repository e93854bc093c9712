"""Trainings of studies on one log, one after another in this process or side by side in others."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

from pyro_popbias.assembly.pair import assemble
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.storage.packed import Packed
from pyro_popbias.study.study import Study
from pyro_popbias.trained import Trained
from pyro_popbias.training.restarts import Checkpointing, best_of, restart_seeds, train_restart
from pyro_popbias.training.workers import at_once, one_thread, require_jobs, side_by_side


@dataclass(frozen=True, eq=False)
class Training:
    """One training, to be done here or in another process.

    Attributes:
        study: the study; the seed of its split is its own.
        number: of the restart, from 1.
        restarts: how many there are.
        title: what is trained, in front of the progress.
        checkpointing: from a restart's number and pair to the snapshot to resume from and what saves snapshots.
    """

    study: Study
    number: int = 1
    restarts: int = 1
    title: str = ""
    checkpointing: Checkpointing | None = None

    def run(self, events: Interactions, *, progress: bool = True) -> Trained:
        """Return the trained pair.

        Args:
            events: interactions.
            progress: whether to show progress on standard error.
        """
        own = self.study.training.seed
        seed = restart_seeds(own, self.restarts)[self.number - 1]
        study = self.study if seed == own else self.study.with_seed(seed)
        pair = assemble(events, study, split_seed=own)
        result = train_restart(
            pair,
            self.number,
            restarts=self.restarts,
            progress=progress,
            title=self.title,
            checkpointing=self.checkpointing,
        )
        return Trained(pair.study, events.catalogue, pair.model, pair.guide, result.iterates, result.history, events)


def train_study(
    events: Interactions,
    study: Study,
    *,
    restarts: int = 1,
    jobs: int | None = None,
    progress: bool = True,
    title: str = "",
    checkpointing: Checkpointing | None = None,
) -> Trained:
    """Train a study, and return its best restart with the others.

    Args:
        events: interactions.
        study: the study.
        restarts: number of independent fits; the first has the study's seed, and all share the rows held out.
        jobs: how many of them at once, one thread each; None for one after another with all threads.
        progress: whether to show progress on standard error.
        title: what is trained, in front of the progress.
        checkpointing: from a restart's number and pair to the snapshot to resume from and what saves snapshots.

    Raises:
        ConfigError: `restarts` or `jobs` is not an integer >= 1.
        WorkerError: a worker ended without an answer.
    """
    number = len(restart_seeds(study.training.seed, restarts))
    trainings = {
        f"restart {each}": Training(study, each, number, title, checkpointing) for each in range(1, number + 1)
    }
    fits = list(train_all(events, trainings, jobs=jobs, progress=progress).values())
    best = fits[best_of([each.history for each in fits])]
    # the study is as it was declared: the seed of the split, whichever restart was the best
    return replace(best, study=fits[0].study, others=tuple(each.chains[0] for each in fits if each is not best))


def train_all(
    events: Interactions, trainings: Mapping[str, Training], *, jobs: int | None = None, progress: bool = True
) -> dict[str, Trained]:
    """Return the trained pair of each training, by its name.

    Args:
        events: interactions.
        trainings: by name.
        jobs: how many at once, one thread each; None for one after another with all threads.
        progress: whether to show progress on standard error.

    Raises:
        ConfigError: `jobs` is not an integer >= 1.
        WorkerError: a worker ended without an answer.
    """
    with_all = require_jobs(jobs) is None
    if with_all or at_once(jobs, len(trainings)) == 1:
        with nullcontext() if with_all else one_thread():
            return {name: each.run(events, progress=progress) for name, each in trainings.items()}
    pieces = {name: (each, events) for name, each in trainings.items()}
    found = side_by_side(_in_worker, pieces, at_once(jobs, len(pieces)), what="trainings", show=progress)
    catalogue = events.catalogue
    return {name: packed.unpacked(catalogue, events) for name, packed in zip(trainings, found, strict=True)}


def _in_worker(training: Training, events: Interactions) -> Packed:
    return Packed.of(training.run(events, progress=False))
