"""The joint posterior of what all cells, users and items share, by linear response, at the end of a training.

Let g be these numbers: intercept, weights of features, sizes of the vectors' dimensions, and the model's scalars (slope or rate,
concentration). With r the numbers that move along, mean and log sd of q of every cell, w_u and b_i, and the negative second
derivatives of the ELBO as blocks [A, B'; B, M]:

    Cov(g) = 1 / (A - B' M^-1 B)

This is the inverse of the second derivative of the ELBO that is maximal over r, and so of the log evidence where q is as wide as
the posterior (Giordano, Broderick and Jordan 2018; Louis 1982 has the same for the EM algorithm). That q's spread moves with g is
part of it: the slope and the concentration are scales, of which means alone say only a part.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.guides import weight_name
from pyro_popbias.models import BayesianEmbeddingAffinity
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE
from pyro_popbias.models.learned_scalars import INTERCEPT
from pyro_popbias.training.curvature import CellNormals, Derivatives
from pyro_popbias.training.information import JointInformation, corner_covariance, regressors_of_sizes, sparse_matrix
from pyro_popbias.training.vectors import Affinities, Vectors

SUPPORTS = (constraints.positive, constraints.nonnegative, constraints.real)
MOST_ROWS = 2_000_000  # with more, posteriors of shared numbers are narrow, and passes over all rows long
MOST_WEIGHTS = 200  # of features: B is dense


def find_global_response(pair: Pair) -> None:
    """Find the joint posterior of a pair's shared numbers, and give it to its guide; leave it unknown where there is none.

    There is none where affinities depend on points of users or items, where cells depend on each other or differ between users,
    and where the second derivatives are those of no maximum.

    Args:
        pair: a trained pair.
    """
    if not _applies(pair):
        return
    cells = CellNormals(pair)
    if not cells.settle():
        return
    blocks = Blocks(pair, cells)
    for part, found in cells.rows():
        blocks.add_rows(part, found)
    covariance = corner_covariance(blocks.information())[0]
    named = torch.tensor(blocks.named)
    if covariance is not None:
        pair.guide.shared.set(blocks.names, torch.from_numpy(covariance)[named.unsqueeze(1), named])


def _applies(pair: Pair) -> bool:
    """Return whether a pair's shared numbers have a posterior of this kind."""
    model, popularity = pair.model, pair.guide.popularity
    one = torch.zeros(1, dtype=torch.long, device=pair.device)
    apart = model.pairwise or pair.rows.latent != "item" or model.conformity is not None
    joined = model.prior.joins_periods or popularity.joins_periods or model.affinity.memory is not None
    if apart or joined or len(pair.rows) > MOST_ROWS or model.affinity.global_regressors(one, one) is None:
        return False
    with torch.no_grad():
        q: Distribution = popularity.posterior(one)
    weights = sum(len(names) for names in pair.guide.affinity.names.values()) if pair.guide.affinity else 0
    return q.support in SUPPORTS and bool((q.variance > 0).all()) and weights <= MOST_WEIGHTS


class Blocks:
    """The blocks A, B and M of a pair, to be summed over all rows.

    The shared numbers have the order intercept, weights, sizes, scalars; the rest m of all cells, t of all cells, users, items.

    Args:
        pair: the pair.
        cells: its cells' Normals, settled.

    Attributes:
        names: of the shared numbers but for the sizes.
        named: where these stand.
    """

    def __init__(self, pair: Pair, cells: CellNormals) -> None:
        self._pair, self._cells = pair, cells
        affinity, device = pair.model.affinity, pair.device
        learned = isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned
        self._vectors = Vectors.of(pair) if learned else None
        one = torch.zeros(1, dtype=torch.long, device=device)
        sites = {site: each.shape[1] for site, each in (affinity.global_regressors(one, one) or {}).items()}
        weights = [weight_name(site, k) for site, number in sites.items() for k in range(number)]
        sizes = 0 if self._vectors is None else len(self._vectors.scale)
        self.names = [INTERCEPT, *weights, *cells.scalars]
        self._linear = 1 + len(weights) + sizes  # numbers that x is linear in
        width = self._linear + len(cells.scalars)
        self.named = [*range(1 + len(weights)), *range(self._linear, width)]
        number, self._users, items = len(cells.cell), len(pair.rows.user_count), len(pair.rows.item_count)
        self._starts = 0, number, 2 * number, 2 * number + self._users  # of m, t, users and items
        rest = 2 * number + self._users + items
        self._corner = torch.zeros(width, width, dtype=torch.float64, device=device)
        self._border = torch.zeros(rest, width, dtype=torch.float64, device=device)
        self._diagonal = torch.zeros(rest, dtype=torch.float64, device=device)
        self._meetings = sparse_matrix(one[:0], one[:0], self._diagonal[:0], rest)
        self._add_priors(sites)
        self._add_cells(cells.of_cells())

    def _add_priors(self, sites: dict[str, int]) -> None:
        """Add what is no sum over rows or cells: the priors of the intercept, of the weights, and of users and items."""
        self._corner[0, 0] += INTERCEPT_SCALE**-2
        guide, first = self._pair.guide.affinity, 1
        for site, number in sites.items():
            assert guide is not None  # noqa: S101  sites have a guide
            self._corner.diagonal()[first : first + number] += guide.prior_scales[site] ** -2
            first += number
        for bias in self._pair.model.affinity.row_biases.values():
            rows = slice(self._starts[2], self._starts[3]) if bias.side == "user" else slice(self._starts[3], None)
            self._diagonal[rows] += (-2 * bias.log_scale.detach()).exp()

    def _add_cells(self, found: Derivatives) -> None:
        """Add what cells have besides their rows."""
        number, linear = len(found.first), self._linear
        self._corner[linear:, linear:] -= found.corner
        for k, start in enumerate(self._starts[:2]):
            self._border[start : start + number, linear:] -= found.cross[:, :, k]
            self._diagonal[start : start + number] -= found.second[:, k, k]
        cell = torch.arange(number, device=self._pair.device)
        self._add_meeting(cell, cell + number, -found.second[:, 0, 1])

    def add_rows(self, part: Affinities, found: Derivatives) -> None:
        """Add some rows.

        Args:
            part: their affinities.
            found: derivatives by x, m and t.
        """
        linear, second = self._linear, -found.second
        regressors, spread = self._regressors(part)
        self._corner[:linear, :linear] += regressors.T @ (second[:, 0, :1] * regressors)
        sizes = self._corner.diagonal()[linear - spread.shape[1] : linear]
        sizes += second[:, 0, 0] @ spread
        of_x = -regressors.T @ found.cross[:, :, 0]
        self._corner[:linear, linear:] += of_x
        self._corner[linear:, :linear] += of_x.T
        self._corner[linear:, linear:] -= found.corner
        places = self._places(part)
        for start, coordinate, place in places:
            force = torch.cat([second[:, 0, coordinate, None] * regressors, -found.cross[:, :, coordinate]], dim=1)
            self._border.index_add_(0, start + place, force)
            self._diagonal.index_add_(0, start + place, second[:, coordinate, coordinate])
        for k, (start, one, place) in enumerate(places):
            for other_start, other, other_place in places[k + 1 :]:
                self._add_meeting(start + place, other_start + other_place, second[:, one, other])

    def _places(self, part: Affinities) -> list[tuple[int, int, Tensor]]:
        """Return what of the rest each row meets: where that begins, by which of x, m and t it moves, and where in it."""
        cell = self._cells.place_of(part)
        found = [(self._starts[0], 1, cell), (self._starts[1], 2, cell)]
        affinity = self._pair.model.affinity
        if affinity.user_bias is not None:
            found.append((self._starts[2], 0, part.batch.user))
        if affinity.item_quality is not None:
            found.append((self._starts[3], 0, part.batch.item))
        return found

    def _regressors(self, part: Affinities) -> tuple[Tensor, Tensor]:
        """Return what x moves by with each linear number, `(B, L)`, and the variances of the sizes' part, `(B, d)`."""
        of_weights = self._pair.model.affinity.global_regressors(part.batch.user, part.batch.item) or {}
        with_sizes, spread = regressors_of_sizes(self._vectors, part)
        return torch.cat([with_sizes[:, :1], *of_weights.values(), with_sizes[:, 1:]], dim=1), spread

    def _add_meeting(self, row: Tensor, column: Tensor, value: Tensor) -> None:
        above = sparse_matrix(row, column, value, len(self._border))
        self._meetings = self._meetings + above + above.T

    def information(self) -> JointInformation:
        """Return all blocks; a number of the rest that there is not has no variance."""
        exists = self._diagonal > 0
        variance = torch.where(exists, 1 / self._diagonal, torch.zeros_like(self._diagonal))
        return JointInformation(
            self._corner, self._border, self._meetings, variance, cells=self._starts[2], users=self._users
        )
