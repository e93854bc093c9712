"""How good a ranking is, and how far it leans towards popular items: metrics of a test, with intervals."""

from pyro_popbias.evaluation.bootstrap import intervals, replicates
from pyro_popbias.evaluation.evaluate import Evaluation, evaluate
from pyro_popbias.evaluation.judgement import metrics_of_lists, metrics_of_rows
from pyro_popbias.evaluation.lists import top_lists

__all__ = [
    "Evaluation",
    "evaluate",
    "intervals",
    "metrics_of_lists",
    "metrics_of_rows",
    "replicates",
    "top_lists",
]
