"""The distribution of affinities: Normal by its first two moments, or a point."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

NODES = 16  # of the Gauss-Hermite rule over x_ui; its variance is small where there are data


@dataclass(frozen=True)
class AffinityDistribution:
    """The distribution of affinities: Normal by its first two moments, or a point.

    Attributes:
        mean: logits, any shape.
        variance: the same shape; None where the affinity is a point estimate.
    """

    mean: Tensor
    variance: Tensor | None = None

    def expect(self, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return E[f(x)] and the standard deviation of f(x), which is None for a point.

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
        return AffinityDistribution(self.mean[index], None if self.variance is None else self.variance[index])
