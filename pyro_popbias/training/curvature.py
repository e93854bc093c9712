"""First and second derivatives of the log evidence by affinities and by the model's scalars, popularity integrated out.

With the complete log likelihood l of a cell, of all its rows, its prior and its count, and its exact posterior pi of
u = log z (of z itself where it is real), Louis' identity (1982) has

    -d^2 log evidence = E_pi[-d^2 l] - Cov_pi(dl)

Integrals are by the trapezoidal rule around the mean of pi, in units of its standard deviation, both of which a few rounds find.
The second part couples all rows of a cell. Scores are smooth in u, so that the covariance of two of them is the sum of products
of their coefficients on a few polynomials, orthonormal under pi: each can be one more unknown of a sparse system.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.distributions import quantile
from pyro_popbias.models import scalars
from pyro_popbias.models.learned_scalars import INTERCEPT
from pyro_popbias.training.information import TAIL, TAIL_SDS
from pyro_popbias.training.vectors import Affinities, affinities

NODES, REACH = 24, (-7.0, 5.0)  # of the rule; where z may be near 0, log z has a long left tail
DEGREES = 5  # of the polynomials, 1, 2, ...
OF_USERS = "conformity.log_scale"  # labels see it through the users' rows alone
ROUNDS, TOLERANCE = 10, 0.02  # in which nodes find their place, and by how many standard deviations they may still move


@dataclass(frozen=True)
class RowDerivatives:
    """Derivatives of the log likelihood of some rows.

    Attributes:
        score: `(J, B)` coefficients of that by x on the polynomials of the row's cell.
        scalar_score: `(J, B, S)` of those by the scalars, likewise.
        second: `(B,)` by x twice, in the mean over pi.
        cross: `(B, S)` by x and a scalar, likewise.
        corner: `(S, S)` by two scalars, likewise, summed over rows.
    """

    score: Tensor
    scalar_score: Tensor
    second: Tensor
    cross: Tensor
    corner: Tensor


class CellPosteriors:
    """The exact posteriors of all cells that have rows, given everything else.

    Args:
        pair: a trained pair.

    Attributes:
        cell: `(D,)` cells with rows, in order.
        place: `(C,)` where each cell stands among these; -1 without rows.
        weight: `(n, D)` probabilities of the nodes under pi.
        basis: `(J, n, D)` polynomials at the nodes, times these probabilities; once settled.
        settled: whether the nodes have found their place.
        scalars: the parameters of model, prior and exposure that are numbers, by name; not those of the affinity.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._node = torch.linspace(*REACH, NODES, dtype=torch.float64, device=pair.device).unsqueeze(-1)
        self.cell = self._known(pair.rows.cell_count).nonzero().squeeze(-1)
        self.place = torch.full_like(pair.rows.cell_count, -1, dtype=torch.long)
        self.place[self.cell] = torch.arange(len(self.cell), device=pair.device)
        self.scalars = {name: each for name, each in scalars(pair.model).items() if name not in (INTERCEPT, OF_USERS)}
        with torch.no_grad():
            self._start()
            self.settled = any(self._round() for _ in range(ROUNDS))
            if self.settled:
                self.basis = self._polynomials()

    def _known(self, count: Tensor) -> Tensor:
        """Return which cells have something to say, by their rows, `(C,)` each."""
        return count > 0

    def _start(self) -> None:
        """Put the nodes where q is."""
        q = self._pair.guide.popularity.posterior(self.cell)
        self._real = q.support is constraints.real  # an additive model may have either
        low, high = quantile(q, TAIL), quantile(q, 1 - TAIL)
        if not self._real:
            low, high = (each.clamp(min=1e-300).log() for each in (low, high))
        self._mean, self._sd = (low + high) / 2, ((high - low) / (2 * TAIL_SDS)).clamp(min=1e-6)

    def _round(self) -> bool:
        """Move the nodes by the mean and standard deviation of pi as they show it; return whether they hardly moved."""
        u = self._mean + self._sd * self._node
        log_p = self._log_prior(u)
        for part in affinities(self._pair):
            place = self.place_of(part)
            log_p.index_add_(1, place, self._log_likelihood(part, part.mean, u[:, place]))
        self.weight = torch.softmax(log_p, dim=0)
        mean = (self.weight * u).sum(0)
        sd = (self.weight * (u - mean).square()).sum(0).sqrt().clamp(min=1e-6)
        moved = torch.maximum((mean - self._mean).abs() / sd, (sd / self._sd).log().abs()).max()
        if float(moved) < TOLERANCE:
            return True
        self._mean, self._sd = mean, sd
        return False

    def _polynomials(self) -> Tensor:
        """Return the polynomials by Gram and Schmidt's procedure, each from the one before times u."""
        found = [torch.ones_like(self.weight)]
        for _ in range(DEGREES):
            new = self._node * found[-1]
            for _ in range(2):  # again, against rounding
                for each in found:
                    new = new - (self.weight * new * each).sum(0) * each
            found.append(new / (self.weight * new.square()).sum(0).sqrt())
        return self.weight * torch.stack(found[1:])

    def place_of(self, part: Affinities) -> Tensor:
        """Return where the cell of each row stands, `(B,)`."""
        return self.place[part.batch.cell].index_select(0, part.batch.cell_index)

    def _log_likelihood(self, part: Affinities, x: Tensor, u: Tensor) -> Tensor:
        """Return log P of some rows at u, `(n, B)`; x has what conformity adds where popularity has its mean."""
        model, d, z = self._pair.model, part.batch.conformity, u if self._real else u.exp()
        if d is not None:
            x = x + d * (model.logit_term(z) - model.logit_term(part.popularity))
        return model.log_likelihood(part.batch, x, z)

    def _log_prior(self, u: Tensor) -> Tensor:
        """Return the log density of u, and log P of the counts, at the nodes `(n, D)`."""
        model, z = self._pair.model, u if self._real else u.exp()
        found = self._of_population(z) + (0.0 if self._real else u)
        return found if model.exposure is None else found + model.exposure.log_likelihood(self.cell, z)

    def _of_population(self, z: Tensor) -> Tensor:
        """Return the log density of z of every cell, `(n, D)`."""
        return self._pair.model.prior.distribution(self.cell).log_prob(z)

    def neighbours(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the places of cells that depend on each other, and their correlations, `(P,)` each; here there are none."""
        none = self.cell[:0]
        return none, none, none.double()

    def of_rows(self, part: Affinities) -> RowDerivatives:
        """Return the derivatives of some rows."""
        place = self.place_of(part)
        u, weight = (self._mean + self._sd * self._node)[:, place], self.weight[:, place]
        with torch.enable_grad():
            x = part.mean.detach().expand_as(u).clone().requires_grad_()
            value = self._log_likelihood(part, x, u)
            (score,) = torch.autograd.grad(value.sum(), x, create_graph=True)
            second = _gradients(score.sum(), [x])[0]
            scalar_score, of_scalars, corner = self._by_scalars(value, weight)
            cross = [(_gradients(each, [x])[0]).sum(0) for each in of_scalars]
        crossed = torch.stack(cross, dim=1) if cross else second.new_zeros(second.shape[1], 0)
        coefficients = [(each[:, place] * score.detach()).sum(0) for each in self.basis]
        of_numbers = [(each[:, place].unsqueeze(-1) * scalar_score).sum(0) for each in self.basis]
        return RowDerivatives(
            torch.stack(coefficients),
            torch.stack(of_numbers),
            (weight * second.detach()).sum(0),
            crossed.detach(),
            corner,
        )

    def of_cells(self) -> tuple[Tensor, Tensor]:
        """Return what prior and counts add: scores by the scalars, as `(J, D, S)` coefficients, and second derivatives, `(S, S)`.

        The log priors of the scalars are in the latter.
        """
        model = self._pair.model
        with torch.enable_grad():
            value = self._log_prior(self._mean + self._sd * self._node)
            score, _, corner = self._by_scalars(value, self.weight)
            of_counts = {} if model.exposure is None else model.exposure.log_prior()
            for prior in (model.log_prior(), model.prior.log_prior(), of_counts):
                for each in prior.values() if self.scalars else ():
                    corner = corner + self._second(_gradients(each, self._numbers))
        return torch.stack([(each.unsqueeze(-1) * score).sum(0) for each in self.basis]), corner

    @property
    def _numbers(self) -> list[Tensor]:
        return list(self.scalars.values())

    def _by_scalars(self, value: Tensor, weight: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return derivatives of values `(n, B)` by each scalar: at every node, in the mean over pi, and the second ones."""
        if not self.scalars:
            return value.new_zeros(*value.shape, 0), [], value.new_zeros(0, 0)
        # the derivative of many values by one number: that of their weighted sum is linear in the weights
        one = torch.ones_like(value).requires_grad_()
        sums = _gradients((one * value).sum(), self._numbers)
        at_nodes = torch.stack([_gradients(each, [one])[0] for each in sums], dim=-1).detach()
        means = _gradients((weight * value).sum(), self._numbers)
        return at_nodes, means, self._second(means)

    def _second(self, first: list[Tensor]) -> Tensor:
        return torch.stack([torch.stack(_gradients(each, self._numbers)) for each in first]).detach()


def _gradients(value: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Return the derivatives of a scalar, zeros by what it does not depend on."""
    if not value.requires_grad:
        return [torch.zeros_like(each) for each in inputs]
    found = torch.autograd.grad(value, inputs, create_graph=True, allow_unused=True)
    return [torch.zeros_like(each) if one is None else one for one, each in zip(found, inputs, strict=True)]
