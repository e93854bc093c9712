"""Bayesian treatment of popularity bias in recommender systems, as Pyro models and guides.

Names are imported when they are first used, so that `popbias --help` needs neither torch nor ArviZ.
"""

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyro_popbias.lazy_imports import lazy_imports
from pyro_popbias.version import __version__

if TYPE_CHECKING:
    from pyro_popbias import distributions, guides, models
    from pyro_popbias.assembly.compatibility import variants
    from pyro_popbias.assembly.pair import Pair, pair
    from pyro_popbias.comparison import compare
    from pyro_popbias.data.interactions import Interactions
    from pyro_popbias.data.public_logs import read_adressa, read_coat, read_movielens
    from pyro_popbias.data.readers import read_interactions
    from pyro_popbias.errors import (
        CheckFailed,
        CheckpointError,
        ConfigError,
        CorruptCheckpointError,
        DataError,
        DataWarning,
        IncompatibleError,
        NumericalError,
        PopBiasError,
        RunFolderError,
        RunLockedError,
        SchemaVersionError,
        UnknownNameError,
        WorkerError,
    )
    from pyro_popbias.fitted import Fit, fit, load
    from pyro_popbias.guides import GUIDES
    from pyro_popbias.interfaces.estimator import PopBiasRecommender
    from pyro_popbias.models import MODELS
    from pyro_popbias.objective import Objective
    from pyro_popbias.simulation.simulate import Simulation, simulate
    from pyro_popbias.study.study import Study
    from pyro_popbias.updating import update

_HOMES = {
    "comparison": "compare",
    "errors": (
        "CheckFailed CheckpointError ConfigError CorruptCheckpointError DataError DataWarning IncompatibleError "
        "NumericalError PopBiasError RunFolderError RunLockedError SchemaVersionError UnknownNameError WorkerError"
    ),
    "fitted": "Fit fit load",
    "guides": "GUIDES",
    "interfaces.estimator": "PopBiasRecommender",
    "data.interactions": "Interactions",
    "models": "MODELS",
    "objective": "Objective",
    "assembly.pair": "Pair pair",
    "data.public_logs": "read_adressa read_coat read_movielens",
    "data.readers": "read_interactions",
    "simulation.simulate": "Simulation simulate",
    "study.study": "Study",
    "assembly.compatibility": "variants",
    "updating": "update",
}
_SUBPACKAGES = ("distributions", "guides", "models")
_get = lazy_imports(__name__, _HOMES)
# Pyro imports tqdm, which then asks notebooks for widgets; the bars here need none
warnings.filterwarnings("ignore", message="IProgress not found")

__all__ = ["__version__", *(name for names in _HOMES.values() for name in names.split()), *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    return import_module(f"pyro_popbias.{name}") if name in _SUBPACKAGES else _get(name)


def __dir__() -> list[str]:
    return sorted(__all__)


if "torch" in sys.modules:  # register the analytic KLs at once where torch is already in use
    import_module("pyro_popbias.distributions")
