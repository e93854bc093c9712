"""What a trained pair says: P(c=1 | do(u,i)), rankings, and posterior tables."""

from pyro_popbias.prediction.intervention import Scores, check_mode
from pyro_popbias.prediction.posterior_tables import check_interval, parameter_table, popularity_table
from pyro_popbias.prediction.scorer import Scorer, Seen

__all__ = ["Scorer", "Scores", "Seen", "check_interval", "check_mode", "parameter_table", "popularity_table"]
