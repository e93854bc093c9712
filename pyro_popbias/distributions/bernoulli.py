"""Bernoulli distributions with probability sigma(logit) or sigma(logit) g, computed in log space throughout.

`Bernoulli(probs=h * g)` loses its gradient where h or g saturates. Here log h, log(1 - h), log g and log(1 - g) come
from the link, and log(1 - hg) is computed from them without cancellation.
"""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

LOG_HALF = -math.log(2.0)
NO_MORE_THAN_ZERO = constraints.interval(-math.inf, 0.0)  # torch's less_than rejects 0, to which log g may round


def log_one_minus_product(logit: Tensor, log_g: Tensor, log_one_minus_g: Tensor) -> Tensor:
    """Return log(1 - sigma(logit) g) in nats, exact to rounding for logits of any size.

    Args:
        logit: any shape, the logit of h = sigma(logit).
        log_g: the same shape, log g with g in (0, 1).
        log_one_minus_g: the same shape, log(1 - g), given by the link, not computed from `log_g`.
    """
    log_h = logsigmoid(logit)
    product = log_h + log_g
    small = product < LOG_HALF
    # the inner where keeps the unused branch from log(0), whose gradient would be NaN
    direct = torch.log1p(-torch.exp(torch.where(small, product, -1.0)))
    # 1 - hg = (1 - h) + h (1 - g): no cancellation where hg is near 1; there the logit is positive and log(1 - h) = log
    # h - logit
    return torch.where(small, direct, torch.logaddexp(log_h - logit, log_h + log_one_minus_g))


class LogitBernoulli(TorchDistribution):
    """P(c=1) = sigma(logit), with log-probabilities exact to rounding; torch's own rounds to 0 beyond a logit of about 37.

    Args:
        logit: `(..., B)`.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logit": constraints.real}
    support = constraints.boolean
    has_enumerate_support = False

    def __init__(self, logit: Tensor, *, validate_args: bool | None = None) -> None:
        self.logit = logit
        super().__init__(logit.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "LogitBernoulli":
        """Return the same distribution with a larger batch shape."""
        return LogitBernoulli(self.logit.expand(batch_shape), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P(c=value) in nats, in the shape of the batch."""
        return logsigmoid(torch.where(value > 0, self.logit, -self.logit))

    @property
    def mean(self) -> Tensor:
        """P(c=1), a probability."""
        return torch.sigmoid(self.logit)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draw labels 0 and 1, `sample_shape + batch_shape`."""
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(torch.Size(sample_shape) + self.batch_shape))


class ProductBernoulli(TorchDistribution):
    """P(c=1) = sigma(logit) g, with g in (0, 1) given by log g and log(1 - g); g may round to 0 or 1.

    Args:
        logit: `(..., B)` logit of h.
        log_g: `(..., B)` log g.
        log_one_minus_g: `(..., B)` log(1 - g).
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "logit": constraints.real,
        "log_g": NO_MORE_THAN_ZERO,
        "log_one_minus_g": NO_MORE_THAN_ZERO,
    }
    support = constraints.boolean
    has_enumerate_support = False

    def __init__(
        self, logit: Tensor, log_g: Tensor, log_one_minus_g: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.logit, self.log_g, self.log_one_minus_g = torch.broadcast_tensors(logit, log_g, log_one_minus_g)
        super().__init__(self.logit.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ProductBernoulli":
        """Return the same distribution with a larger batch shape."""
        parts = (part.expand(batch_shape) for part in (self.logit, self.log_g, self.log_one_minus_g))
        return ProductBernoulli(*parts, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log P(c=value) in nats, in the shape of the batch."""
        one = logsigmoid(self.logit) + self.log_g
        zero = log_one_minus_product(self.logit, self.log_g, self.log_one_minus_g)
        return torch.where(value > 0, one, zero)

    @property
    def mean(self) -> Tensor:
        """P(c=1), a probability."""
        return torch.exp(logsigmoid(self.logit) + self.log_g)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draw labels 0 and 1, `sample_shape + batch_shape`."""
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(torch.Size(sample_shape) + self.batch_shape))
