"""From a study and interactions to a pair: model, guide, objective and batches."""

from pyro_popbias.assembly.compatibility import check_fit, variants
from pyro_popbias.assembly.components import build, local_parameters
from pyro_popbias.assembly.defaults import with_defaults
from pyro_popbias.assembly.pair import Pair, assemble, with_names
from pyro_popbias.assembly.training_data import given_score, split_rows

__all__ = [
    "Pair",
    "assemble",
    "build",
    "check_fit",
    "given_score",
    "local_parameters",
    "split_rows",
    "variants",
    "with_defaults",
    "with_names",
]
