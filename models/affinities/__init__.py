"""Affinities x_ui: the logit of a user's interest in an item, without popularity, one kind per file."""

from pyro_popbias.models.affinities.affinity import AFFINITIES, Affinity
from pyro_popbias.models.affinities.bayesian_embedding import BayesianEmbeddingAffinity
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.embedding import EmbeddingAffinity
from pyro_popbias.models.affinities.factorization import FactorizationAffinity
from pyro_popbias.models.affinities.fixed import FixedScoreAffinity, FixedVectorAffinity
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights
from pyro_popbias.models.affinities.linear import LinearAffinity
from pyro_popbias.models.affinities.user_bias import UserBias

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
    "UserBias",
    "Weights",
]
