"""Restarts: independent trainings of one study, on one split of the data, that differ in starts, batches and draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.progress import TrainingProgress
from pyro_popbias.training.environment import Launch
from pyro_popbias.training.held_out import highest
from pyro_popbias.training.iterates import Iterates
from pyro_popbias.training.loop import train
from pyro_popbias.training.state import Snapshot, TrainingResult, TrainingState
from pyro_popbias.validation import require_integer

Checkpointing = Callable[[int, Pair], tuple[Snapshot | None, Callable[[Snapshot], None]]]


@dataclass(frozen=True, eq=False)
class Chain:
    """The trained pair of one restart.

    Attributes:
        model: the model.
        guide: the guide.
        iterates: moments of the path that q of popularity took in phase two.
    """

    model: PopularityModel
    guide: JointGuide
    iterates: Iterates


def restart_seeds(seed: int, restarts: int) -> list[int]:
    """Return the seed of each restart, the first of which is the study's own.

    Raises:
        ConfigError: `restarts` is not an integer >= 1.
    """
    restarts = require_integer("restarts", restarts, 1, code="PB-C017")
    later = [int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) for number in range(1, restarts)]
    return [seed, *later]


def train_restart(
    pair: Pair,
    number: int,
    *,
    restarts: int,
    progress: bool = True,
    title: str = "",
    checkpointing: Checkpointing | None = None,
) -> TrainingResult:
    """Train the pair of one restart in place, and return what its training leaves behind.

    Args:
        pair: what to train.
        number: of the restart, from 1.
        restarts: how many there are.
        progress: whether to show progress on standard error.
        title: what is trained, in front of the progress.
        checkpointing: from a restart's number and pair to the snapshot to resume from and what saves snapshots.
    """
    resume, save = (None, None) if checkpointing is None else checkpointing(number, pair)
    of_restart = f"{title}restart {number} of {restarts}, " if restarts > 1 else title
    shows = progress and Launch.here().leads
    with TrainingProgress(pair.study.training.epochs, show=shows, title=of_restart) as bar:
        return train(pair, on_epoch=partial(_show, bar), save=save, resume=resume)


def _show(bar: TrainingProgress, state: TrainingState) -> None:
    bar(state.phase, state.history[-1])


def best_of(histories: Sequence[pd.DataFrame]) -> int:
    """Return which training ended best: by the held-out log-score, or by the objective where no rows are held out.

    Where a ranking metric of held-out rows judges, it is that one. A score that is not a number is the worst.
    """
    last = pd.DataFrame([history.iloc[-1] for history in histories])
    objective = last["elbo"] if "log_joint" not in last else last["log_joint"]
    judged = [name for name in last.columns if "@" in str(name)]
    score = last[judged[0] if judged else "validation_log_score"]
    return highest((objective if score.isna().all() else score).to_numpy())
