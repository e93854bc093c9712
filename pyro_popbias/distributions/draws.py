"""Seeded draws from distributions of popularity, with one keyed NumPy generator per distribution. No gradients."""

from collections.abc import Iterable, Sequence
from functools import singledispatch

import numpy as np
import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Normal, Weibull

from pyro_popbias.distributions.random_state import borrowed_generators
from pyro_popbias.distributions.selection import take

Streams = Sequence[np.random.Generator]


def streams(keys: Iterable[int], *, seed: int, chain: int = 0, purpose: int = 0) -> Streams:
    """Return one random generator per key, independent of which other keys are given.

    Args:
        keys: one integer per generator.
        seed: seed of all generators.
        chain: number of the chain; chains have independent generators.
        purpose: number of the use, so that different uses may have the same keys.
    """
    return [np.random.default_rng((seed, key, chain, purpose)) for key in keys]


def draw(distribution: Distribution, *, draws: int, seed: int, keys: Iterable[int], chain: int = 0) -> np.ndarray:
    """Return seeded draws `(draws, D)` of a batch of D distributions; the draws of a key do not depend on the other keys.

    Args:
        distribution: `(D,)` distributions.
        draws: number of draws.
        seed: seed of the draws.
        keys: `(D,)` one integer per distribution.
        chain: number of the chain; chains have independent draws.

    A family without draws of its own here is drawn by torch, whose random state stays as it is.
    """
    return _draw(distribution, streams(keys, seed=seed, chain=chain), draws)


@singledispatch
def _draw(distribution: Distribution, streams: Streams, draws: int) -> np.ndarray:
    found = np.empty((draws, len(streams)))
    with borrowed_generators([]), torch.no_grad():
        for column, stream in enumerate(streams):
            torch.manual_seed(int(stream.integers(2**63)))
            one = take(distribution, torch.tensor([column], device=distribution.mean.device))
            found[:, column] = _numpy(one.sample((draws,))[:, 0])
    return found


@_draw.register
def _gamma(distribution: Gamma, streams: Streams, draws: int) -> np.ndarray:
    shapes = _numpy(distribution.concentration)
    unit = [stream.standard_gamma(shape, size=draws) for stream, shape in zip(streams, shapes, strict=True)]
    return np.stack(unit, axis=1) / _numpy(distribution.rate)


@_draw.register
def _exponential(distribution: Exponential, streams: Streams, draws: int) -> np.ndarray:
    return np.stack([stream.standard_exponential(draws) for stream in streams], axis=1) / _numpy(distribution.rate)


@_draw.register
def _weibull(distribution: Weibull, streams: Streams, draws: int) -> np.ndarray:
    shapes = _numpy(distribution.concentration)
    unit = [stream.weibull(shape, size=draws) for stream, shape in zip(streams, shapes, strict=True)]
    return np.stack(unit, axis=1) * _numpy(distribution.scale)


@_draw.register
def _normal(distribution: Normal, streams: Streams, draws: int) -> np.ndarray:
    unit = np.stack([stream.standard_normal(draws) for stream in streams], axis=1)
    return np.asarray(_numpy(distribution.loc) + _numpy(distribution.scale) * unit)


@_draw.register
def _lognormal(distribution: LogNormal, streams: Streams, draws: int) -> np.ndarray:
    return np.exp(_normal(Normal(distribution.loc, distribution.scale), streams, draws))


@_draw.register
def _delta(distribution: Delta, streams: Streams, draws: int) -> np.ndarray:
    return np.tile(_numpy(distribution.v), (draws, 1))


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().numpy())
