"""Maximum of the likelihood of linear affinities, with every item's z known or integrated out, and the package's priors.

Numbers are b0, log gamma or log lambda, the weights of features, and log a where the concentration of z ~ Gamma(a, a) is not
known. The log priors are those of the package, so that both maximise the same function: b0 ~ N(0, 5), log gamma, log lambda and
weights ~ N(0, 1), log a ~ N(log 2, 1).
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.special import digamma, polygamma
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import logsigmoid

import pyro_popbias as pb

NODES, LOW, HIGH = 80, -9.0, 5.0  # of the trapezoidal rule over log z, in standard deviations of the population


@dataclass(frozen=True)
class Rows:
    """What a log says: features `(N, d)`, item codes and labels `(N,)`, and the number of items."""

    features: Tensor
    item: Tensor
    positive: Tensor
    items: int

    @classmethod
    def of(cls, simulation: pb.Simulation) -> "Rows":
        """Return the rows of a simulated log."""
        frame, events = simulation.frame, simulation.events
        sides = simulation.user_features.loc[frame["user"]], simulation.item_features.loc[frame["item"]]
        features = torch.from_numpy(np.concatenate([side.to_numpy() for side in sides], axis=1))
        label = torch.from_numpy(frame["label"].to_numpy() == 1)
        return cls(features, torch.from_numpy(events.item.astype(np.int64)), label, len(events.items))

    def popularity(self, simulation: pb.Simulation) -> Tensor:
        """Return the true z of each row's item, `(N,)`."""
        z = simulation.truth["popularity"].set_index("item")["z"].loc[simulation.frame["item"]]
        return torch.from_numpy(z.to_numpy().copy())


@dataclass(frozen=True)
class Estimate:
    """The maximum: numbers and standard deviations by the curvature there, `(P,)` each, and the log likelihood without priors."""

    value: Tensor
    sd: Tensor
    log_likelihood: float
    correlation: float  # of b0 and log gamma or log lambda


def log_terms(model: str, rows: Rows, numbers: Tensor, z: Tensor) -> Tensor:
    """Return log P of each label at values of z `(..., 1)` or `(N,)`."""
    x = numbers[0] + rows.features @ numbers[2 : 2 + rows.features.shape[1]]
    scale = numbers[1].exp()
    if model == "additive":
        logit = x + scale * z
        return logsigmoid(torch.where(rows.positive, logit, -logit))
    positive = logsigmoid(x) + torch.log(-torch.expm1(-scale * z))
    return torch.where(rows.positive, positive, torch.log(-torch.expm1(positive)))


def known(model: str, rows: Rows, z: Tensor, numbers: Tensor) -> Tensor:
    """Return the log likelihood where z is known."""
    return log_terms(model, rows, numbers, z).sum()


def marginal(model: str, rows: Rows, concentration: float | None, numbers: Tensor) -> Tensor:
    """Return the log likelihood with z ~ Gamma(a, a) of every item integrated out; a is the last number where it is not given."""
    a = numbers[-1].exp() if concentration is None else torch.tensor(concentration, dtype=torch.float64)
    at = float(a)
    mean, sd = digamma(at) - math.log(at), math.sqrt(polygamma(1, at))
    u = torch.from_numpy(mean + sd * np.linspace(LOW, HIGH, NODES)).unsqueeze(1)
    density = a * a.log() - torch.lgamma(a) + a * (u - u.exp()) + torch.log(u[1] - u[0])
    of_items = torch.zeros(NODES, rows.items, dtype=torch.float64)
    of_items = of_items.index_add(1, rows.item, log_terms(model, rows, numbers, u.exp()))
    return torch.logsumexp(of_items + density, 0).sum()


def log_prior(numbers: Tensor, weights: int) -> Tensor:
    """Return the log priors of the numbers."""
    rest = numbers[2 + weights :] - math.log(2.0)
    return (
        Normal(0.0, 5.0).log_prob(numbers[0])
        + Normal(0.0, 1.0).log_prob(torch.cat([numbers[1 : 2 + weights], rest])).sum()
    )


def maximum(model: str, rows: Rows, *, z: Tensor | None = None, concentration: float | None = None) -> Estimate:
    """Return where likelihood times prior is largest.

    Args:
        model: "additive" or "product".
        rows: the log.
        z: `(N,)` of each row's item, where it is known.
        concentration: of the population of z, where that is known and z is not.
    """
    weights = rows.features.shape[1]
    likelihood = partial(marginal, model, rows, concentration) if z is None else partial(known, model, rows, z)
    numbers = torch.zeros(2 + weights + (z is None and concentration is None), dtype=torch.float64)
    numbers[2 + weights :] = math.log(2.0)

    def loss(at: Tensor) -> Tensor:
        return -likelihood(at) - log_prior(at, weights)

    numbers.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [numbers], max_iter=200, tolerance_grad=1e-3, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(numbers)
        value.backward()
        return value

    optimizer.step(closure)
    at = numbers.detach()
    covariance = torch.linalg.inv(torch.autograd.functional.hessian(loss, at))
    sd = covariance.diagonal().sqrt()
    with torch.no_grad():
        return Estimate(at, sd, float(likelihood(at)), float(covariance[0, 1] / (sd[0] * sd[1])))
