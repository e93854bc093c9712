"""The distribution of affinities x_ui: Normal by its first two moments, perhaps with that of how users follow popularity."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

NODES = 16  # of the Gauss-Hermite rule over x_ui; its variance is small where there are data


@dataclass(frozen=True)
class Deviation:
    """d_u of the users of affinities: how much more than others they follow popularity; independent of x_ui.

    Attributes:
        mean: broadcastable to the affinities.
        variance: the same shape.
    """

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class AffinityDistribution:
    """The distribution of affinities: Normal by its first two moments, or a point.

    Attributes:
        mean: logits, any shape.
        variance: the same shape; None where the affinity is a point estimate.
        conformity: d_u of their users, in models where users differ in it; None elsewhere.
        log_weight: log w of their users, broadcastable to the affinities, where the odds of P are to be divided by w; None
            elsewhere.
    """

    mean: Tensor
    variance: Tensor | None = None
    conformity: Deviation | None = None
    log_weight: Tensor | None = None

    def expect(self, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return E[f(x)] and the standard deviation of f(x), which is None for a point; x is without conformity.

        Args:
            function: from affinities to values of the same shape.
        """
        if self.variance is None:
            return function(self.mean), None
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        sd = self.variance.sqrt()
        mean = square = torch.zeros_like(self.mean)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            value = function(self.mean + float(node) * sd)
            mean, square = mean + float(weight) * value, square + float(weight) * value.square()
        return mean, (square - mean.square()).clamp(min=0.0).sqrt()

    def log_expect(self, log_function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return log E[f(x)] of a positive f given by its logarithm, by the nodes of `expect`.

        Args:
            log_function: from affinities to log f, of the same shape.
        """
        if self.variance is None:
            return log_function(self.mean)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        sd = self.variance.sqrt()
        values = [
            log_function(self.mean + float(node) * sd) + math.log(weight)
            for node, weight in zip(nodes, weights / weights.sum(), strict=True)
        ]
        return torch.logsumexp(torch.stack(values), 0)

    def quantile(self, probability: float) -> Tensor | None:
        """Return the quantile of each affinity, logits of the same shape; None for a point.

        Args:
            probability: above 0 and below 1.
        """
        if self.variance is None:
            return None
        normal = Normal(self.mean, self.variance.sqrt(), validate_args=False)
        return normal.icdf(self.mean.new_tensor(probability))

    def at(self, *index: Tensor) -> "AffinityDistribution":
        """Return the distributions at some positions."""
        d, log_w = self.conformity, self.log_weight
        return AffinityDistribution(
            self.mean[index],
            None if self.variance is None else self.variance[index],
            None
            if d is None
            else Deviation(d.mean.expand_as(self.mean)[index], d.variance.expand_as(self.mean)[index]),
            None if log_w is None else log_w.expand_as(self.mean)[index],
        )

    def widened(self, added: Tensor) -> "AffinityDistribution":
        """Return the distributions with a larger variance.

        Args:
            added: broadcastable to the affinities.
        """
        before = torch.zeros_like(self.mean) if self.variance is None else self.variance
        return replace(self, variance=before + added)

    def given(self, term: Tensor) -> "AffinityDistribution":
        """Return the distribution of x + d_u t; that of x where users do not differ in conformity.

        Args:
            term: t, popularity's term of the logit, broadcastable to the affinities.
        """
        d = self.conformity
        if d is None:
            return self
        shifted = replace(self, mean=self.mean + d.mean * term, conformity=None)
        return shifted.widened(d.variance * term.square())
