"""Training of a pair in two phases, and restarts."""

from pyro_popbias.training.iterates import Iterates
from pyro_popbias.training.loop import TrainingLoop, train
from pyro_popbias.training.restarts import Chain, best_of, restart_seeds
from pyro_popbias.training.second_phase import PhaseTwo
from pyro_popbias.training.state import TrainingResult, TrainingState

__all__ = [
    "Chain",
    "Iterates",
    "PhaseTwo",
    "TrainingLoop",
    "TrainingResult",
    "TrainingState",
    "best_of",
    "restart_seeds",
    "train",
]
