"""Checks of a fit: does the model fit the data, and is q close to the exact posterior?"""

from pyro_popbias.checks.accuracy import Accuracy
from pyro_popbias.checks.cell_likelihood import CellObservations
from pyro_popbias.checks.check import Check
from pyro_popbias.checks.exact_posterior import Exact
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.posterior_predictive import Predictive
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.checks.training_rows import TrainingRows

__all__ = [
    "Accuracy",
    "CellObservations",
    "Check",
    "Exact",
    "Finding",
    "Predictive",
    "ReplicatedData",
    "TrainingRows",
]
