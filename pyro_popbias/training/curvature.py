"""Second derivatives of the ELBO, for the response of everything that is learned to each other.

q of every cell that has rows is a Normal here, of u = log z, or of z itself where it is real, with a mean m and t = log sd. Over
its nodes (Gauss-Hermite) the ELBO is a smooth function of the affinities of rows, of m and t, and of the model's scalars s:

    sum over rows of E_q log P(c | x, z) + sum over cells of (E_q log p(u) + t + E_q log P(count | z)) + log priors of s

Rows meet only in cells and scalars, so that all second derivatives of the rows are found by a few passes of autograd.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.distributions import quantile
from pyro_popbias.models import scalars
from pyro_popbias.models.learned_scalars import INTERCEPT
from pyro_popbias.training.vectors import Affinities, affinities

NODES = 10
TAIL, TAIL_SDS = 0.05, 1.6448536269514722  # a Normal's quantile at 1 - TAIL
# of Newton's method for the cells: most steps, and the largest last one, which leaves an error of about its square
STEPS, TOLERANCE = 12, 1e-2
LARGEST = 1.0  # step of a mean, in standard deviations, and of a log sd


@dataclass(frozen=True)
class Derivatives:
    """First and second derivatives of a sum of terms, each of k numbers of its own and of S scalars.

    Attributes:
        first: `(B, k)` of each term by its own numbers.
        second: `(B, k, k)`.
        cross: `(B, S, k)` by a scalar and an own number.
        corner: `(S, S)`.
    """

    first: Tensor
    second: Tensor
    cross: Tensor
    corner: Tensor

    @classmethod
    def of(cls, value: Tensor, own: Tensor, scalars: list[Tensor]) -> Self:
        """Return the derivatives of a scalar by own numbers `(B, k)` and scalars; those it does not depend on have zeros."""
        inputs = [own, *scalars]
        first = _gradients(value, inputs)
        by_own = [_gradients(first[0][:, column].sum(), inputs) for column in range(own.shape[1])]
        by_scalar = [_gradients(each, inputs) for each in first[1:]]
        cross, corner = own.new_zeros(len(own), 0, own.shape[1]), own.new_zeros(0, 0)
        if scalars:
            cross = torch.stack([found[0] for found in by_scalar], dim=1)
            corner = torch.stack([torch.stack(found[1:]) for found in by_scalar])
        second = torch.stack([found[0] for found in by_own], dim=1)
        return cls(*(each.detach() for each in (first[0], second, cross, corner)))


def _gradients(value: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(each) for each in inputs]
    found = torch.autograd.grad(value, inputs, create_graph=True, allow_unused=True)
    return [torch.zeros_like(each) if one is None else one for one, each in zip(found, inputs, strict=True)]


class CellNormals:
    """The Normals of all cells that have rows.

    Args:
        pair: a trained pair.

    Attributes:
        cell: `(D,)` cells with rows, in order.
        place: `(C,)` where each cell stands among these; -1 without rows.
        numbers: `(D, 2)` m and t.
        scalars: the parameters of model, prior and exposure that are numbers, by name; not those of the affinity.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair, model = pair, pair.model
        node, weight = np.polynomial.hermite_e.hermegauss(NODES)
        self._node, self._weight = (torch.from_numpy(each).to(pair.device) for each in (node, weight / weight.sum()))
        self.cell = (pair.rows.cell_count > 0).nonzero().squeeze(-1)
        self.place = torch.full_like(pair.rows.cell_count, -1, dtype=torch.long)
        self.place[self.cell] = torch.arange(len(self.cell), device=pair.device)
        with torch.no_grad():
            q = pair.guide.popularity.posterior(self.cell)
            self._real = q.support is constraints.real  # an additive model may have either
            low, high = quantile(q, TAIL), quantile(q, 1 - TAIL)
        if not self._real:
            low, high = (each.clamp(min=1e-300).log() for each in (low, high))
        sd = ((high - low) / (2 * TAIL_SDS)).clamp(min=1e-6)
        self.numbers = torch.stack([(low + high) / 2, sd.log()], dim=1)
        self.scalars = {name: each for name, each in scalars(model).items() if name != INTERCEPT}

    def place_of(self, part: Affinities) -> Tensor:
        """Return where the cell of each row stands, `(B,)`."""
        return self.place[part.batch.cell].index_select(0, part.batch.cell_index)

    def _popularity(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and z at the nodes, `(n, B)` each, of m and t `(B, 2)`."""
        u = numbers[:, 0] + numbers[:, 1].exp() * self._node.unsqueeze(-1)
        return u, u if self._real else u.exp()

    def of_rows(self, part: Affinities, *, by_scalars: bool = True) -> Derivatives:
        """Return the derivatives of the rows of a batch, by x, m and t, `(B, 3)`, and by the scalars if they are asked for."""
        own = torch.cat([part.mean.unsqueeze(-1), self.numbers[self.place_of(part)]], dim=1).requires_grad_()
        with torch.enable_grad():
            _, z = self._popularity(own[:, 1:])
            value = (self._weight @ self._pair.model.log_likelihood(part.batch, own[:, 0], z)).sum()
            return Derivatives.of(value, own, list(self.scalars.values()) if by_scalars else [])

    def of_cells(self) -> Derivatives:
        """Return the derivatives of what cells have besides their rows, by m and t, `(D, 2)`."""
        model, own = self._pair.model, self.numbers.clone().requires_grad_()
        with torch.enable_grad():
            u, z = self._popularity(own)
            log_p = model.prior.distribution(self.cell).log_prob(z)
            if not self._real:
                log_p = log_p + u
            if model.exposure is not None:
                log_p = log_p + model.exposure.log_likelihood(self.cell, z)
            value = (self._weight @ log_p + own[:, 1]).sum()
            exposure = {} if model.exposure is None else model.exposure.log_prior()
            for prior in (model.log_prior(), model.prior.log_prior(), exposure):
                value = value + sum(prior.values(), torch.zeros(()))
            return Derivatives.of(value, own, list(self.scalars.values()))

    def rows(self) -> Iterator[tuple[Affinities, Derivatives]]:
        """Yield affinities and the derivatives of all rows, in blocks."""
        for part in affinities(self._pair):
            yield part, self.of_rows(part)

    def settle(self) -> bool:
        """Move every m and t to where the ELBO is stationary in both; return whether all are."""
        for _ in range(STEPS):
            of_cells = self.of_cells()
            first, second = of_cells.first, of_cells.second
            for part in affinities(self._pair):
                found = self.of_rows(part, by_scalars=False)
                place = self.place_of(part)
                first = first.index_add(0, place, found.first[:, 1:])
                second = second.index_add(0, place, found.second[:, 1:, 1:])
            step = _newton_step(first, -second, self.numbers[:, 1].exp())
            moved = (step / torch.stack([self.numbers[:, 1].exp(), torch.ones_like(step[:, 0])], dim=1)).abs().max()
            self.numbers = self.numbers + step
            if float(moved) < TOLERANCE:
                return True
        return False


def _newton_step(slope: Tensor, precision: Tensor, sd: Tensor) -> Tensor:
    """Return steps of m and t, `(D, 2)`, no longer than `LARGEST`; along the slope where the curvature has the wrong sign."""
    a, b, c = precision[:, 0, 0], precision[:, 0, 1], precision[:, 1, 1]
    a, c = (torch.where(each > 0, each, each.abs() + 1e-6) for each in (a, c))
    b = torch.where(b.square() < 0.9 * a * c, b, torch.zeros_like(b))
    determinant = a * c - b.square()
    step = torch.stack(
        [c * slope[:, 0] - b * slope[:, 1], a * slope[:, 1] - b * slope[:, 0]], dim=1
    ) / determinant.unsqueeze(-1)
    largest = torch.stack([LARGEST * sd, torch.full_like(sd, LARGEST)], dim=1)
    return step.clamp(-largest, largest)
