"""Where a row of a guide starts: at the member of its family that is nearest to the prior, in KL(q || prior)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

STEPS = 60
LARGEST = 1.0  # part of a step in any direction: rows are locations and logarithms
HALVINGS = 8
FLATTEST = 1e-8  # curvature; a family's bound may lie at infinity
EXACT = 1e-12  # slope at which the search ends, in nats


def nearest(distribution: Callable[[Tensor], Distribution], rows: Tensor, prior: Distribution) -> Tensor:
    """Return argmin KL(distribution(rows) || prior), `(..., P)` rows in float64 without gradient.

    Newton's method for all priors of the batch at once, with steps that are bounded and never go uphill.

    Args:
        distribution: rows `(..., P)` to distributions `(...)`.
        rows: `(..., P)` where the search starts.
        prior: `(...)` distributions whose KL from the family is registered and twice differentiable.
    """
    rows = rows.detach().double()
    for _ in range(STEPS):
        value, slope, curvature = _expansion(distribution, rows, prior)
        if slope.abs().max() < EXACT:
            break
        rows = _lower(distribution, rows, prior, value, _newton(slope, curvature))
    return rows


def _expansion(
    distribution: Callable[[Tensor], Distribution], rows: Tensor, prior: Distribution
) -> tuple[Tensor, Tensor, Tensor]:
    """Return KL `(...)`, its gradient `(..., P)` and its Hessian `(..., P, P)`."""
    with torch.enable_grad():
        rows = rows.clone().requires_grad_()
        value = kl_divergence(distribution(rows), prior)
        # each KL depends on its own row only, so that the gradient of the sum holds all gradients
        (slope,) = torch.autograd.grad(value.sum(), rows, create_graph=True)
        columns = [torch.autograd.grad(part.sum(), rows, retain_graph=True)[0] for part in slope.unbind(-1)]
    return value.detach(), slope.detach(), torch.stack(columns, dim=-1)


def _newton(slope: Tensor, curvature: Tensor) -> Tensor:
    """Return the step `(..., P)`: Newton's where the KL is convex, downhill in any case."""
    values, directions = torch.linalg.eigh(curvature)
    along = (directions.transpose(-1, -2) @ slope.unsqueeze(-1)).squeeze(-1)
    step = -torch.clamp(along / values.abs().clamp(min=FLATTEST), min=-LARGEST, max=LARGEST)
    return (directions @ step.unsqueeze(-1)).squeeze(-1)


def _lower(
    distribution: Callable[[Tensor], Distribution], rows: Tensor, prior: Distribution, value: Tensor, step: Tensor
) -> Tensor:
    """Return rows after as much of the step as does not raise the KL by more than rounding."""
    with torch.no_grad():
        for _ in range(HALVINGS):
            higher = ~(kl_divergence(distribution(rows + step), prior) <= value + EXACT * (1 + value.abs()))
            if not higher.any():
                break
            step = torch.where(higher.unsqueeze(-1), 0.5 * step, step)
    return rows + step
