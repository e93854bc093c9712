"""Simulated parts of classes that have no formulas of their own here: drawn and evaluated by the classes themselves."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions import Normal as TorchNormal

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.random_state import borrowed_generators
from pyro_popbias.distributions.supports import same_support
from pyro_popbias.models import (
    AFFINITIES,
    MODELS,
    PRIORS,
    SATURATIONS,
    AffinityConfig,
    AffinityLatent,
    FixedScoreAffinity,
    LikelihoodOptions,
    PriorConfig,
    SharedPrior,
)
from pyro_popbias.simulation.affinities import SimulatedAffinity
from pyro_popbias.simulation.likelihoods import Likelihood
from pyro_popbias.simulation.populations import SMALLEST, PopulationDistribution

REFERENCE = 65_536  # draws that stand for a distribution without quantiles


def draws_of(distribution: Distribution, number: int, seed: int) -> np.ndarray:
    """Return draws of a scalar distribution, `(number,)`, decided by a seed; torch's own random state stays as it is."""
    with borrowed_generators([]), torch.no_grad():
        torch.manual_seed(seed)
        return distribution.sample((number,)).double().numpy()


def registered_population(config: PriorConfig, concentration: float) -> PopulationDistribution:
    """Return the population distribution of a registered prior, of which only draws are needed.

    Args:
        config: the prior's section.
        concentration: in place of a learned one, where the prior has one.
    """
    if config.source == "learned" and "concentration" in PRIORS[config.name].from_config(config).estimates():
        config = config.model_copy(update={"source": "fixed", "concentration": concentration})
    prior = PRIORS[config.name].from_config(config)
    with torch.no_grad():
        population = prior.population()
    least = SMALLEST if same_support(prior.support, constraints.positive) else -np.inf
    reference = np.sort(draws_of(population, REFERENCE, 0))
    middle = (np.arange(REFERENCE) + 0.5) / REFERENCE

    def draw(random: np.random.Generator, _: float, items: int) -> np.ndarray:
        return np.maximum(draws_of(population, items, int(random.integers(2**63))), least)

    return PopulationDistribution(
        parameters=("concentration",) if config.concentration is not None else (),
        draw=draw,
        score=lambda z, _: np.asarray(ndtri(np.interp(z, reference, middle))),
        value=lambda score, _: np.maximum(np.interp(ndtr(score), middle, reference), least),
        log=np.log if least > 0 else lambda z: z,
        distribution=lambda _: population.expand((1,)),
    )


def registered_likelihood(model: str, saturation: str | None, rate: float, prior: SharedPrior) -> Likelihood:
    """Return the formulas of a registered model, at the start of its own parameters.

    Args:
        model: its name.
        saturation: name of the saturation; the model's own by default.
        rate: the saturation's parameter.
        prior: any prior that the model allows; the formulas do not use it.
    """
    default = MODELS[model].default_saturation
    cls = SATURATIONS["exponential"] if default is None else default if saturation is None else SATURATIONS[saturation]
    options = LikelihoodOptions(cls(rate), saturation_learned=False, slope="positive")
    made = MODELS[model].assemble(FixedScoreAffinity(), prior, options)

    def given(x: np.ndarray, z: np.ndarray, _: float) -> np.ndarray:
        with torch.no_grad():
            return made.conditional_probability(torch.from_numpy(x), torch.from_numpy(np.asarray(z))).numpy()

    def probability(x: Tensor, distribution: Distribution, _: float) -> Tensor:
        with torch.no_grad():
            return made.marginal_probability(x, distribution)

    parameter = None if default is None else cls.parameter_name
    return Likelihood(0.0, parameter, given, probability, chosen=made.pairwise)


def registered_affinity(
    config: AffinityConfig,
) -> Callable[[np.random.Generator, int, int, int], SimulatedAffinity]:
    """Return the function that draws a registered affinity from its prior; every pair has a number of its own."""

    def make(random: np.random.Generator, users: int, items: int, _: int) -> SimulatedAffinity:
        ids = (
            pd.Index([f"{letter}{code}" for code in range(number)]) for letter, number in (("u", users), ("i", items))
        )
        nothing = np.zeros(items, dtype=np.int64)
        generator = torch.Generator().manual_seed(int(random.integers(2**63)))
        affinity = AFFINITIES[config.name].from_config(
            config, Catalogue(next(ids), next(ids), 1, None, nothing, nothing), generator
        )
        with borrowed_generators([]), torch.no_grad():
            torch.manual_seed(int(random.integers(2**63)))
            affinity.draw_from_prior()
            weights = _drawn(affinity.prior_weights(_shapes(affinity.latents(generator))))
            table = affinity.table(torch.arange(users), weights).mean - affinity.intercept
        # written as u . i with one coordinate per item
        return SimulatedAffinity(table.numpy(), np.eye(items), {})

    return make


def _shapes(latents: Mapping[str, AffinityLatent]) -> dict[str, TorchNormal]:
    return {site: TorchNormal(torch.zeros_like(each.start), 1.0) for site, each in latents.items()}


def _drawn(weights: Mapping[str, TorchNormal]) -> dict[str, TorchNormal]:
    draws = {site: distribution.sample() for site, distribution in weights.items()}
    return {site: TorchNormal(draw, torch.zeros_like(draw), validate_args=False) for site, draw in draws.items()}
