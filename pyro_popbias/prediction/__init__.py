"""What a trained pair says: P(c=1 | do(u,i)), rankings, and posterior tables."""

from pyro_popbias.prediction.do_value import DoValue
from pyro_popbias.prediction.intervention import Popularity, Scores, read_popularity
from pyro_popbias.prediction.pairs import Pairs, predict_pairs
from pyro_popbias.prediction.parameter_table import parameter_table
from pyro_popbias.prediction.posterior_tables import check_interval, popularity_table
from pyro_popbias.prediction.recommendation import recommend_items
from pyro_popbias.prediction.scorer import Scorer, seen_items

__all__ = [
    "DoValue",
    "Pairs",
    "Popularity",
    "Scorer",
    "Scores",
    "check_interval",
    "parameter_table",
    "popularity_table",
    "predict_pairs",
    "read_popularity",
    "recommend_items",
    "seen_items",
]
