"""Training of a pair in two phases, and restarts."""

from pyro_popbias.training.loop import TrainingLoop, TrainingState, train
from pyro_popbias.training.restarts import Chain, best_of, restart_seeds

__all__ = ["Chain", "TrainingLoop", "TrainingState", "best_of", "restart_seeds", "train"]
