"""What the other periods of an item say about its popularity in each period, where popularity walks in time: by quadrature.

Given the affinities, an item is a hidden Markov chain in y_t, which is log z or a real z: the walk's steps, and the labels of
each period. Sums over equidistant nodes of every period pass messages forwards and backwards (Rabiner, Proc. IEEE 1989):

    forward_t(y)  = integral of forward_{t-1}(x) L_{t-1}(x) N(y | x, step) dx      forward_1 = the first period's prior
    backward_t(y) = integral of N(x | y, step) L_{t+1}(x) backward_{t+1}(x) dx     backward_T = 1

Their product is to a period what a prior is to a cell by itself: times the likelihood L_t it is the exact posterior of y_t.
"""

from typing import final

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.checks.cell_likelihood import CellObservations
from pyro_popbias.distributions.chains import moments_of_y
from pyro_popbias.distributions.kl import LOG_TWO_PI
from pyro_popbias.models import PopularityModel, RandomWalkPrior

REACH = 12.0  # of the nodes on both sides of q's mean, in standard deviations of q,
OF_PRIOR = 5.0  # and of the prior
FEWEST, MOST = 96, 512  # nodes
AT_ONCE = 20_000_000  # of numbers: nodes times nodes times cells


@final
class Surroundings:
    """The prior of each period together with what the other periods' labels say, `(D,)`, not normalised.

    Args:
        model: whose prior is a random walk.
        walk: this prior.
        q: `(D,)` the guide's distribution of each cell: where the nodes lie.
        observations: rows of the cells.
        cell: `(D,)` all cells of some items, item by item.
    """

    def __init__(
        self,
        model: PopularityModel,
        walk: RandomWalkPrior,
        q: TorchDistribution,
        observations: CellObservations,
        cell: Tensor,
    ) -> None:
        self._walk, self._real = walk, walk.first.support is constraints.real
        mean, variance = moments_of_y(q)
        self._step = walk.step.detach()
        ends = [(mean, REACH * variance.sqrt())]
        of_prior, prior_variance = moments_of_y(walk.distribution(cell))
        ends.append((of_prior, OF_PRIOR * prior_variance.sqrt()))
        low = torch.stack([middle - reach for middle, reach in ends]).amin(0)
        high = torch.stack([middle + reach for middle, reach in ends]).amax(0)
        # the rule is exact to rounding where nodes are no farther apart than a step
        nodes = int(((high - low).max() / self._step).ceil().clamp(FEWEST, MOST))
        y = low + (high - low) * torch.linspace(0, 1, nodes, dtype=mean.dtype, device=mean.device).unsqueeze(-1)
        z = y if self._real else y.exp()
        of_counts = 0.0 if model.exposure is None else model.exposure.log_likelihood(cell, z)
        log_weight = torch.log(y[1] - y[0])
        self._log_label = observations.log_likelihood(model, z) + of_counts + log_weight
        self._y, self._first = y, walk.first.population()
        self._forward, self._backward = torch.zeros_like(y), torch.zeros_like(y)
        periods, every = walk.periods, torch.arange(len(cell), device=cell.device)
        for t in range(periods):
            now = every[t::periods]
            self._forward[:, now] = self._from_before(y[:, now], now)
        for t in reversed(range(periods)):
            now = every[t::periods]
            self._backward[:, now] = self._from_after(y[:, now], now)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of values of popularity `(n, D)`, in nats, but for a constant of each cell."""
        y = value if self._real else value.log()
        found, every = torch.empty_like(y), torch.arange(y.shape[1], device=y.device)
        for t in range(self._walk.periods):
            now = every[t :: self._walk.periods]
            found[:, now] = self._from_before(y[:, now], now) + self._from_after(y[:, now], now)
        return found if self._real else found - y

    def _from_before(self, y: Tensor, cell: Tensor) -> Tensor:
        """Return log forward_t at values `(n, G)` of cells `(G,)` of one period."""
        if int(cell[0]) % self._walk.periods == 0:
            surprise = (y - self._first.loc) / self._first.scale
            return -0.5 * surprise.square() - self._first.scale.log() - 0.5 * LOG_TWO_PI
        return self._integral(y, cell - 1, self._forward)

    def _from_after(self, y: Tensor, cell: Tensor) -> Tensor:
        """Return log backward_t at values `(n, G)` of cells `(G,)` of one period."""
        periods = self._walk.periods
        if int(cell[0]) % periods == periods - 1:
            return torch.zeros_like(y)
        return self._integral(y, cell + 1, self._backward)

    def _integral(self, y: Tensor, beside: Tensor, message: Tensor) -> Tensor:
        """Return the log integral over the popularity of a neighbouring period, at values `(n, G)`."""
        nodes, log_weight = self._y[:, beside], (message + self._log_label)[:, beside]
        blocks = torch.arange(len(beside), device=y.device).split(max(1, AT_ONCE // (len(nodes) * len(y))))
        return torch.cat([self._sum(y[:, block], nodes[:, block], log_weight[:, block]) for block in blocks], dim=1)

    def _sum(self, y: Tensor, nodes: Tensor, log_weight: Tensor) -> Tensor:
        surprise = (y.unsqueeze(0) - nodes.unsqueeze(1)) / self._step
        log_step = -0.5 * surprise.square() - self._step.log() - 0.5 * LOG_TWO_PI
        return torch.logsumexp(log_step + log_weight.unsqueeze(1), dim=0)
