"""The variance of x that the kept dimensions of the vectors do not hold, where the data show that there is some.

A dimension is kept only where it earns its KL, so that several that are real may be dropped. What they would add to x is not
known pair by pair, but how large it is shows in a spectrum. Let g be the slope of log P of a label in x with all vectors at 0,
and G, W, V the sums over the rows of a pair of g, of its mean response -dg/dx, and of g^2. With levels of users and items
taken out, and V by its margins,

    S = G / sqrt(V) = sum_k theta_k a_k b_k' + noise of variance 1,      theta_k^2 = s_k^4 (sum W)^2 / sum V

In a table of U x K, noise has singular values up to sqrt(U) + sqrt(K) (Marchenko and Pastur 1967), and a theta above
(U K)^(1/4) one of (Benaych-Georges and Nadakuditi 2012)

    l^2 = (theta^2 + U) (theta^2 + K) / theta^2

Where noise ends is found with random signs in place of those of G (Hong, Sheng and Dobriban 2020). Only where more directions
than dimensions lie above it is there a residual, so that a fit that has found them all gets none, but for one in nine, where
noise alone exceeds all eight copies: a small one. It widens intervals of scores and moves no estimate. As one more variance of
x in phase two it would: E log P of a product whose x is not known is largest at an intercept that is too high, and all z with
it too low.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.models import BayesianEmbeddingAffinity
from pyro_popbias.training.gain import expected_slopes
from pyro_popbias.training.vectors import Table, Vectors, affinities

LARGEST_SIDE = 1_000  # users, and items, those with most rows
REPLICATES = 8  # with random signs; the largest singular value of all of them is where noise ends
ROUNDS = 3  # of W, which depends on the variance that is found


@torch.no_grad()
def find_residual(pair: Pair) -> None:
    """Find the residual variance of a pair, and give it to its guide; 0 where no dimensions are dropped, or negatives drawn."""
    affinity = pair.model.affinity
    if isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned:
        drawn = pair.rows.negatives > 0 or pair.model.pairwise
        pair.guide.residual_variance.fill_(0.0 if drawn else residual_variance(pair))


@torch.no_grad()
def residual_variance(pair: Pair) -> float:
    """Return the variance of x that directions of the data have beyond what the vectors hold, at least 0."""
    vectors = Vectors.of(pair)
    users, items = _most(pair.rows.user_count), _most(pair.rows.item_count)
    held = float((_squares(vectors.user.of(users)) * _squares(vectors.item.of(items))).sum())
    total, beyond, rank = held, 0.0, len(vectors.scale)
    for _ in range(ROUNDS):
        found = Slopes.of(pair, users, items, total).signals(pair.study.training.seed)
        if len(found) <= rank or not bool(torch.isfinite(found).all()):
            return 0.0
        total, beyond = max(held, float(found.sum())), float(found[rank:].sum())
    return max(total - held, beyond)


@final
@dataclass(frozen=True)
class Slopes:
    """Slopes of log P in x with all vectors at 0, `(U, K)` each, of the users and items with most rows.

    Attributes:
        slope: G.
        response: W.
        square: V.
    """

    slope: Tensor
    response: Tensor
    square: Tensor

    @classmethod
    def of(cls, pair: Pair, users: Tensor, items: Tensor, variance: float) -> "Slopes":
        """Return the slopes of a pair.

        Args:
            pair: the pair.
            users: codes of users.
            items: codes of items.
            variance: of x by the vectors, in place of their means.
        """
        vectors, shape = Vectors.of(pair), (len(users), len(items))
        place_of_user, place_of_item = _places(users, pair.rows.user_count), _places(items, pair.rows.item_count)
        found = [torch.zeros(shape[0] * shape[1], dtype=torch.float64, device=users.device) for _ in range(3)]
        for part in affinities(pair):
            mean, of_products = (moment.sum(-1) for moment in vectors.products(part.batch))
            sd = (part.sd.square() - of_products + variance).clamp(min=0.0).sqrt()
            first, second = expected_slopes(pair, replace(part, mean=part.mean - mean, sd=sd))
            user, item = place_of_user[part.batch.user], place_of_item[part.batch.item]
            inside = (user >= 0) & (item >= 0)
            place = (user * shape[1] + item)[inside]
            for sums, value in zip(found, (first, -second, first.square()), strict=True):
                sums.index_add_(0, place, value[inside])
        return cls(*(sums.reshape(shape) for sums in found))

    def signals(self, seed: int) -> Tensor:
        """Return the variance of x along each direction above noise, `(n,)`, the largest first.

        Args:
            seed: of the random signs.
        """
        users, items = self.slope.shape
        if min(users, items) < 2 or not bool(torch.isfinite(self.slope).all()):
            return self.slope.new_zeros(0)
        squares = self._squares(self.slope)
        random = torch.Generator().manual_seed(seed)
        signs = (torch.randint(2, self.slope.shape, generator=random) * 2 - 1 for _ in range(REPLICATES))
        edge = torch.stack([self._squares(self.slope * sign.to(self.slope))[0] for sign in signs]).max()
        whole = squares.sum() / (users * items)
        noise, n = 1.0, 0  # of the variance; directions above it
        while n < len(squares) - 1:
            noise = float(squares[n:].sum() / whole) / ((users - n) * (items - n))
            narrower = ((users - n) ** 0.5 + (items - n) ** 0.5) / (users**0.5 + items**0.5)
            if not squares[n] > edge * noise * narrower**2:
                break
            n += 1
        unit = whole * noise  # of the variance of S that is noise
        excess = squares[:n] / unit - users - items
        theta = 0.5 * (excess + (excess.square() - 4 * users * items).clamp(min=0.0).sqrt()) * unit
        return theta * self.square.sum() / self.response.sum().square()

    def _squares(self, slope: Tensor) -> Tensor:
        """Return the squares of the singular values of S for some slopes, the largest first."""
        response, square = (_by_margins(table) for table in (self.response.clamp(min=0.0), self.square))
        for dim in (1, 0, 1, 0):  # levels of users and items
            slope = slope - response * _ratio(slope.sum(dim, keepdim=True), response.sum(dim, keepdim=True))
        table = _ratio(slope, square.sqrt())
        table = table if table.shape[0] >= table.shape[1] else table.T
        return torch.linalg.eigvalsh(table.T @ table).flip(0).clamp(min=0.0)


def _by_margins(table: Tensor) -> Tensor:
    """Return the table of rank 1 that has the sums of rows and columns of another."""
    return _ratio(torch.outer(table.sum(1), table.sum(0)), table.sum())


def _ratio(value: Tensor, by: Tensor) -> Tensor:
    """Return a ratio, 0 where the denominator is."""
    return torch.where(by > 0.0, value / by, 0.0)


def _squares(table: Table) -> Tensor:
    """Return the mean square of each dimension over rows, `(d,)`."""
    return (table.mean.square() + table.variance).mean(0)


def _most(count: Tensor) -> Tensor:
    """Return the codes of those with most interactions, of those who have any."""
    return count.argsort(descending=True, stable=True)[: min(LARGEST_SIDE, int((count > 0).sum()))]


def _places(codes: Tensor, count: Tensor) -> Tensor:
    """Return the place of each code among some, -1 elsewhere."""
    places = torch.full_like(count, -1, dtype=torch.long)
    places[codes] = torch.arange(len(codes), device=codes.device)
    return places
