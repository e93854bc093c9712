"""The joint posterior of what all cells, users and items share, at the end of a training: the curvature of the log evidence.

Let g be these numbers: intercept, weights of features, of the affinity's and of quality's, sizes of the vectors' dimensions,
and the model's scalars (slope or rate, concentration). Popularity is integrated out exactly, cell by cell (`training.curvature`),
or by q where periods depend on each other (`training.chain_curvature`).
With V the coefficients of scores on the polynomials of each cell, the information about g, w_u of users and b_i of items has the
form E - V' V, the Schur complement of [E, V'; V, I]. So the polynomials of cells, users and items are the rest r of one sparse
system with the blocks [A, B'; B, M], and

    Cov(g) = 1 / (A - B' M^-1 B)

Where there are users' biases or qualities, they respond linearly (Giordano, Broderick and Jordan 2018): r moves by -M^-1 B.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.guides import MarkovGuide, weight_name
from pyro_popbias.models import BayesianEmbeddingAffinity
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE
from pyro_popbias.models.affinities.item_quality import FEATURES, WEIGHT_SCALE
from pyro_popbias.models.learned_scalars import INTERCEPT
from pyro_popbias.training.chain_curvature import ChainPosteriors
from pyro_popbias.training.curvature import DEGREES, CellPosteriors, RowDerivatives
from pyro_popbias.training.information import JointInformation, corner_covariance, regressors_of_sizes, sparse_matrix
from pyro_popbias.training.vectors import Affinities, Vectors, affinities

SUPPORTS = (constraints.positive, constraints.nonnegative, constraints.real)
MOST_ROWS = 1_000_000  # with more, passes over all rows are long
POPULATION = "prior."  # first part of the names of the population's parameters
MOST_NUMBERS = 50_000_000  # of B, which is dense


def find_global_response(pair: Pair) -> None:
    """Find the joint posterior of a pair's shared numbers, and give it to its guide; leave it unknown where there is none.

    What affinities have of points, and users' conformity, counts as known. Where the periods of an item depend on each other, q
    stands for their exact posteriors; if the second derivatives are then those of no maximum, there is the posterior of the
    population's parameters alone, all else known. With more rows than `MOST_ROWS` it is that of the rows of some items, times
    their share of all rows.

    There is none where labels compare items, whose likelihood is a composite one, where every interaction has its own popularity,
    after an update, where q of dependent periods is no chain, and for a slope beside qualities that go with counts.

    Args:
        pair: a trained pair.
    """
    if not _applies(pair):
        return
    some, share = _some_of(pair)
    joined = _joins_periods(pair)
    cells = (ChainPosteriors if joined else CellPosteriors)(some)
    if not cells.settled:
        return
    blocks = Blocks(some, cells)
    for part in affinities(some):
        blocks.add_rows(part, cells.of_rows(part))
    of_population = [place for place, name in enumerate(blocks.names) if name.startswith(POPULATION)]
    for place in (range(len(blocks.names)), of_population if joined else []):
        information, names = blocks.information(place)
        covariance = corner_covariance(information)[0] if names else None
        if covariance is not None:
            named = [each for each, name in enumerate(names) if name]
            known = torch.from_numpy(covariance[np.ix_(named, named)])
            pair.guide.shared.set([names[each] for each in named], share * known)
            return


def _joins_periods(pair: Pair) -> bool:
    return pair.model.prior.joins_periods or pair.guide.popularity.joins_periods


def _some_of(pair: Pair) -> tuple[Pair, float]:
    """Return a pair with the rows of items drawn at random, about `MOST_ROWS`, and their share of all rows."""
    if len(pair.rows) <= MOST_ROWS:
        return pair, 1.0
    order = torch.randperm(len(pair.rows.item_count), generator=torch.Generator().manual_seed(0)).to(pair.device)
    kept = torch.zeros_like(order, dtype=torch.bool)
    count = pair.rows.item_count[order]
    kept[order] = count.cumsum(0) - count < MOST_ROWS  # with the item that crosses the bound
    rows = pair.rows.of_items(kept.cpu().numpy())
    return replace(pair, rows=rows), len(rows) / len(pair.rows)


def _applies(pair: Pair) -> bool:
    """Return whether a pair's shared numbers have a posterior of this kind."""
    model, popularity = pair.model, pair.guide.popularity
    one = torch.zeros(1, dtype=torch.long, device=pair.device)
    apart = model.pairwise or pair.rows.latent != "item" or model.affinity.memory is not None
    # slope and weight of log counts in qualities are on a ridge, along which q's that are independent end far from the truth
    apart = apart or (model.free_slope and model.exposure is not None and model.affinity.item_quality is not None)
    apart = apart or (_joins_periods(pair) and not isinstance(popularity, MarkovGuide))
    on_disk = not pair.rows.keeps_affinities or pair.rows.negatives > 0
    if apart or (on_disk and len(pair.rows) > MOST_ROWS):
        return False
    with torch.no_grad():
        q: Distribution = popularity.posterior(one)
    affinity, rows = model.affinity, pair.rows
    sizes = affinity.dim if isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned else 0
    rest = DEGREES * pair.events.cells + len(rows.user_count) + len(rows.item_count)
    fits = rest * (len(pair.guide.shared.names) + sizes) <= MOST_NUMBERS
    return q.support in SUPPORTS and bool((q.variance > 0).all()) and fits


class Blocks:
    """The blocks A, B and M of a pair, to be summed over all rows.

    The shared numbers have the order intercept, weights, weights of quality, sizes, scalars; the rest has polynomials of cells,
    users, items.

    Args:
        pair: the pair.
        cells: the posteriors of its cells.

    Attributes:
        names: of the shared numbers, "" of the sizes.
    """

    def __init__(self, pair: Pair, cells: CellPosteriors) -> None:
        self._pair, self._cells = pair, cells
        affinity, device = pair.model.affinity, pair.device
        learned = isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned
        self._vectors = Vectors.of(pair) if learned else None
        one = torch.zeros(1, dtype=torch.long, device=device)
        sites = {site: each.shape[1] for site, each in (affinity.global_regressors(one, one) or {}).items()}
        self._weights = sum(sites.values())
        self._of_quality = 0 if affinity.item_quality is None else len(affinity.item_quality.names)
        if self._of_quality:
            sites[FEATURES] = self._of_quality
        weights = [weight_name(site, k) for site, number in sites.items() for k in range(number)]
        sizes = 0 if self._vectors is None else len(self._vectors.scale)
        self.names = [INTERCEPT, *weights, *[""] * sizes, *cells.scalars]
        self._linear = 1 + len(weights) + sizes  # numbers before the scalars
        width = self._linear + len(cells.scalars)
        self._number, self._users = len(cells.cell), len(pair.rows.user_count)
        self._first_user = DEGREES * self._number
        self._first_item = self._first_user + self._users
        rest = self._first_item + len(pair.rows.item_count)
        self._corner = torch.zeros(width, width, dtype=torch.float64, device=device)
        self._border = torch.zeros(rest, width, dtype=torch.float64, device=device)
        self._diagonal = torch.zeros(rest, dtype=torch.float64, device=device)
        self._diagonal[: self._first_user] = 1.0
        self._meetings = sparse_matrix(one[:0], one[:0], self._diagonal[:0], rest)
        self._add_priors(sites)
        score, corner = cells.of_cells()
        self._border[: self._first_user, self._linear :] += score.flatten(0, 1)
        self._corner[self._linear :, self._linear :] -= corner
        self._add_chains()

    def _add_chains(self) -> None:
        """Add to the polynomials of neighbours what they have to do with each other: the precision of their chain."""
        one, other, correlation = self._cells.neighbours()
        for degree in range(DEGREES if len(one) else 0):
            rho, first = correlation ** (degree + 1), degree * self._number
            known = 1 - rho.square()
            for place in (one, other):
                self._diagonal.index_add_(0, first + place, rho.square() / known)
            self._add_meeting(first + one, first + other, -rho / known)

    def _add_priors(self, sites: dict[str, int]) -> None:
        """Add what is no sum over rows or cells: the priors of the intercept, of the weights, and of users and items."""
        self._corner[0, 0] += INTERCEPT_SCALE**-2
        guide, first, affinity = self._pair.guide.affinity, 1, self._pair.model.affinity
        for site, number in sites.items():
            assert guide is not None  # noqa: S101  sites have a guide
            scale = WEIGHT_SCALE if site == FEATURES else guide.prior_scales[site]
            self._corner.diagonal()[first : first + number] += scale**-2
            first += number
        for bias in affinity.row_biases.values():
            rows = slice(self._first_user, self._first_item) if bias.side == "user" else slice(self._first_item, None)
            self._diagonal[rows] += (-2 * bias.log_scale.detach()).exp()
        if affinity.item_quality is not None:
            # b_i is Normal around w . a_i
            design = torch.from_numpy(affinity.item_quality.design().toarray()).to(self._corner)
            precision = (-2 * affinity.item_quality.log_scale.detach()).exp()
            columns = slice(1 + self._weights, 1 + self._weights + self._of_quality)
            self._corner[columns, columns] += precision * design.T @ design
            self._border[self._first_item :, columns] -= precision * design

    def add_rows(self, part: Affinities, found: RowDerivatives) -> None:
        """Add some rows.

        Args:
            part: their affinities.
            found: their derivatives.
        """
        linear, second = self._linear, -found.second
        regressors, spread = self._regressors(part)
        self._corner[:linear, :linear] += regressors.T @ (second.unsqueeze(-1) * regressors)
        sizes = self._corner.diagonal()[linear - spread.shape[1] : linear]
        sizes += second @ spread
        of_x = -regressors.T @ found.cross
        self._corner[:linear, linear:] += of_x
        self._corner[linear:, :linear] += of_x.T
        self._corner[linear:, linear:] -= found.corner
        place = self._cells.place_of(part)
        for degree, (score, of_scalars) in enumerate(zip(found.score, found.scalar_score, strict=True)):
            both = torch.cat([score.unsqueeze(-1) * regressors, of_scalars], dim=1)
            self._border.index_add_(0, degree * self._number + place, both)
        self._add_meetings(part, found, torch.cat([second.unsqueeze(-1) * regressors, -found.cross], dim=1))

    def _add_meetings(self, part: Affinities, found: RowDerivatives, force: Tensor) -> None:
        """Add what users and items have to do with each other, with the cells, and with the shared numbers."""
        affinity, second = self._pair.model.affinity, -found.second
        user, item = self._first_user + part.batch.user, self._first_item + part.batch.item
        rows = [
            each for each, there in ((user, affinity.user_bias), (item, affinity.item_quality)) if there is not None
        ]
        place = self._cells.place_of(part)
        for each in rows:
            self._border.index_add_(0, each, force)
            self._diagonal.index_add_(0, each, second)
            for degree, score in enumerate(found.score):
                self._add_meeting(degree * self._number + place, each, score)
        if len(rows) > 1:
            self._add_meeting(user, item, second)

    def _regressors(self, part: Affinities) -> tuple[Tensor, Tensor]:
        """Return what x moves by with each linear number, `(B, L)`, and the variances of the sizes' part, `(B, d)`."""
        of_weights = self._pair.model.affinity.global_regressors(part.batch.user, part.batch.item) or {}
        with_sizes, spread = regressors_of_sizes(self._vectors, part)
        # quality's weights move b_i, and x through it alone
        none = with_sizes.new_zeros(len(with_sizes), self._of_quality)
        return torch.cat([with_sizes[:, :1], *of_weights.values(), none, with_sizes[:, 1:]], dim=1), spread

    def _add_meeting(self, row: Tensor, column: Tensor, value: Tensor) -> None:
        above = sparse_matrix(row, column, value, len(self._border))
        self._meetings = self._meetings + above + above.T

    def information(self, place: Iterable[int]) -> tuple[JointInformation, list[str]]:
        """Return the blocks of some of the shared numbers, once all rows are in, and the names of these numbers.

        Numbers that nothing is said of are left out; a number of the rest that there is not has no variance.

        Args:
            place: which numbers; the others are taken as known.
        """
        exists = self._diagonal > 0
        variance = torch.where(exists, 1 / self._diagonal, torch.zeros_like(self._diagonal))
        told = torch.tensor([each for each in place if self._corner[each, each] > 0], dtype=torch.long)
        corner, border = self._corner[told.unsqueeze(1), told], self._border[:, told]
        information = JointInformation(
            corner, border, self._meetings, variance, cells=self._first_user, users=self._users
        )
        return information, [self.names[each] for each in told]
