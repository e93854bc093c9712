"""Draws of a model's parameters from their priors, for prior predictive checks: each class that has some has one function.

A part without a function here keeps its values: a fixed affinity its vectors, a prior of given distributions these
distributions.
"""

import math
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from pyro_popbias.models import (
    Additive,
    Affinity,
    BayesianEmbeddingAffinity,
    EmbeddingAffinity,
    FactorizationAffinity,
    LinearAffinity,
    PopularityModel,
)
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE, Weights
from pyro_popbias.models.affinities.embedding import SCALE_CENTRE
from pyro_popbias.models.affinities.factorization import WEIGHT_SCALE as FACTORIZATION_WEIGHT_SCALE
from pyro_popbias.models.affinities.linear import WEIGHT_SCALE
from pyro_popbias.models.priors.prior import START_CONCENTRATION, ConcentratedPrior
from pyro_popbias.models.saturated_model import SaturatedModel


def redraw(model: PopularityModel) -> None:
    """Put draws of their priors in place of a model's parameters; torch's random state decides them."""
    with torch.no_grad():
        for part in (model, model.prior, model.affinity):
            _redraw(part)
        model.affinity.intercept.normal_(0.0, INTERCEPT_SCALE)


@singledispatch
def _redraw(part: Any) -> None:
    """Redraw the parameters of a part of a model, in place."""


@_redraw.register
def _additive(part: Additive) -> None:
    part.slope_parameter.normal_()


@_redraw.register
def _saturated(part: SaturatedModel) -> None:
    if part.learned:
        part.log_parameter.normal_()


@_redraw.register
def _concentrated(part: ConcentratedPrior) -> None:
    if part.learned:
        part.log_concentration.normal_(math.log(START_CONCENTRATION), 1.0)


@_redraw.register
def _embedding(part: EmbeddingAffinity) -> None:
    for table in (part.user_vectors, part.item_vectors):
        table.normal_(0.0, part.scale)


@_redraw.register
def _bayesian_embedding(part: BayesianEmbeddingAffinity) -> None:
    if part.learned:
        for log_scale in (part.log_scale_user, part.log_scale_item):
            log_scale.normal_(math.log(SCALE_CENTRE), 1.0)


@_redraw.register
def _factorization(part: FactorizationAffinity) -> None:
    for name, parameter in part.named_parameters(recurse=False):
        if parameter.dim():  # the intercept is everybody's
            vectors = "vectors" in name
            parameter.normal_(0.0, part.scale if vectors else FACTORIZATION_WEIGHT_SCALE)


@singledispatch
def prior_weights(affinity: Affinity, weights: Weights) -> Weights:
    """Return the priors of the sites of an affinity, in the shapes of their q."""
    return {}


@prior_weights.register
def _of_linear(affinity: LinearAffinity, weights: Weights) -> Weights:
    return {
        site: _centred(distribution.loc, torch.full_like(distribution.loc, WEIGHT_SCALE))
        for site, distribution in weights.items()
    }


@prior_weights.register
def _of_bayesian_embedding(affinity: BayesianEmbeddingAffinity, weights: Weights) -> Weights:
    scales = {"user_vectors": affinity.log_scale_user, "item_vectors": affinity.log_scale_item}
    return {
        site: _centred(distribution.loc, scales[site].exp().to(distribution.loc.dtype).expand_as(distribution.loc))
        for site, distribution in weights.items()
    }


def _centred(like: Tensor, scale: Tensor) -> Normal:
    return Normal(torch.zeros_like(like), scale, validate_args=False)
