"""Affinities x_ui: the logit of a user's interest in an item, without popularity, one kind per file."""

from pyro_popbias.models.affinities.affinity import AFFINITIES, Affinity, AffinityDistribution, AffinityLatent, Weights
from pyro_popbias.models.affinities.embedding import BayesianEmbeddingAffinity, EmbeddingAffinity
from pyro_popbias.models.affinities.factorization import FactorizationAffinity
from pyro_popbias.models.affinities.fixed import FixedScoreAffinity, FixedVectorAffinity
from pyro_popbias.models.affinities.linear import LinearAffinity

__all__ = [
    "AFFINITIES",
    "Affinity",
    "AffinityDistribution",
    "AffinityLatent",
    "BayesianEmbeddingAffinity",
    "EmbeddingAffinity",
    "FactorizationAffinity",
    "FixedScoreAffinity",
    "FixedVectorAffinity",
    "LinearAffinity",
    "Weights",
]
