"""What all labels, counts and priors say about the numbers of a pair together: its Fisher information, as blocks.

The numbers are the intercept and the sizes of the vectors' dimensions, the corner; and log z of every cell, w_u of every
user and b_i of every item, the rest, in this order. Cells, users and items meet in interactions, so that the rest is sparse.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from pyro.distributions import Delta
from scipy import sparse
from scipy.sparse.linalg import cg
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.distributions import quantile
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE
from pyro_popbias.models.affinities.bayesian_embedding import BayesianEmbeddingAffinity
from pyro_popbias.progress import log
from pyro_popbias.training.vectors import Affinities, Vectors, affinities

MOST_STORED = 10_000_000  # rows on disk: what two of them have in common takes a place in memory each
TAIL = 0.05
TAIL_SDS = 1.6448536269514722  # a Normal's quantile at 1 - TAIL


@dataclass(frozen=True)
class JointInformation:
    """The information of a trained pair, R = C + users + items numbers in the rest.

    Attributes:
        corner: `(1 + d, 1 + d)` about the intercept and the sizes.
        border: `(R, 1 + d)` about these and the rest.
        meetings: `(R, R)` within the rest, without its diagonal.
        variance: `(R,)` of each number of the rest where all others are known; 0 where there is no such number.
        cells: C.
        users: number of users.
    """

    corner: Tensor
    border: Tensor
    meetings: sparse.csr_array
    variance: Tensor
    cells: int
    users: int

    @classmethod
    def of(cls, pair: Pair) -> Self | None:
        """Return the information of a pair; None where popularity is a point, or every interaction's own.

        So it is where rows are on disk, and too many for a table of which cells and users met.
        """
        if not pair.rows.keeps_affinities and len(pair.rows) > MOST_STORED:
            log.info(
                "the posterior of the intercept is left out: %d rows on disk, above %d", len(pair.rows), MOST_STORED
            )
            return None
        with torch.no_grad():
            q = pair.guide.popularity.posterior(torch.arange(pair.events.cells, device=pair.device))
            if isinstance(q, Delta) or pair.rows.latent != "item":
                return None
            corner, border, meetings, of_cells = _blocks(pair)
            cells, users = len(of_cells), len(pair.rows.user_count)
            variance = torch.cat([variance_of_cells(pair, q, of_cells), _of_biases(pair, border[cells:, 0])])
        return cls(corner, border, meetings, variance, cells, users)


def _blocks(pair: Pair) -> tuple[Tensor, Tensor, sparse.csr_array, Tensor]:
    """Return corner, border, meetings, and the information of labels about each cell, `(C,)`."""
    affinity, rows = pair.model.affinity, pair.rows
    vectors = Vectors.of(pair) if isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned else None
    width = 1 if vectors is None else 1 + len(vectors.scale)
    cells, users, items = len(rows.cell_count), len(rows.user_count), len(rows.item_count)
    corner = torch.zeros(width, width, dtype=torch.float64, device=pair.device)
    corner[0, 0] = INTERCEPT_SCALE**-2
    border = torch.zeros(cells + users + items, width, dtype=torch.float64, device=pair.device)
    meetings = sparse.csr_array((len(border), len(border)))
    of_cells = torch.zeros_like(border[:cells, 0])
    for part in affinities(pair):
        regressors, spread = regressors_of_sizes(vectors, part)
        of = pair.model.information(part.batch, part.mean, part.popularity)
        cell = part.batch.cell.index_select(0, part.batch.cell_index)
        user, item = cells + part.batch.user, cells + users + part.batch.item
        corner += regressors.T @ (of.affinity.unsqueeze(-1) * regressors)
        corner.diagonal()[1:] += of.affinity @ spread
        of_cells.index_add_(0, cell, of.popularity)
        for place, force in ((cell, of.both), (user, of.affinity), (item, of.affinity)):
            border.index_add_(0, place, force.unsqueeze(-1) * regressors)
        pairs = [(cell, user, of.both)]
        if affinity.item_quality is not None:
            pairs += [(cell, item, of.both), (user, item, of.affinity)]
        for one, other, force in pairs:
            above = sparse_matrix(one, other, force, len(border))
            meetings = meetings + above + above.T
    return corner, border, meetings, of_cells


def sparse_matrix(row: Tensor, column: Tensor, value: Tensor, size: int) -> sparse.csr_array:
    """Return a `(size, size)` matrix of values at places, `(n,)` each; what stands at the same place is summed."""
    place = row.cpu().numpy(), column.cpu().numpy()
    return sparse.coo_array((value.cpu().numpy(), place), shape=(size, size)).tocsr()


def regressors_of_sizes(vectors: Vectors | None, part: Affinities) -> tuple[Tensor, Tensor]:
    """Return what x moves by with b0 and with each dimension's size, `(B, 1 + d)`, and the variances of the latter, `(B, d)`."""
    one = torch.ones_like(part.mean).unsqueeze(-1)
    if vectors is None:
        return one, one[:, :0]
    mean, variance = vectors.products(part.batch)
    return torch.cat([one, mean], dim=1), variance


def variance_of_cells(pair: Pair, q: Distribution, of_labels: Tensor) -> Tensor:
    """Return the variance of log z, or of z where it is real, of each cell given everything else, `(C,)`."""
    real = pair.model.latents["popularity"].support is constraints.real
    low, high = quantile(q, TAIL), quantile(q, 1 - TAIL)
    width = high - low if real else (high / low.clamp(min=torch.finfo(low.dtype).tiny)).log()
    of_data = of_labels
    if pair.model.exposure is not None:
        of_data = of_labels + pair.model.exposure.information(torch.arange(len(of_labels), device=pair.device), q)
    # q may be wider than the data alone allow, by its family or because training was short: b0 would then have no variance
    return torch.minimum((width / (2 * TAIL_SDS)).square(), 1 / of_data) * (pair.rows.cell_count > 0)


def _of_biases(pair: Pair, of_labels: Tensor) -> Tensor:
    """Return the variance of each user's bias and each item's quality given everything else; zeros where there are none."""
    found, biases = torch.zeros_like(of_labels), pair.model.affinity.row_biases.values()
    users = len(pair.rows.user_count)
    for bias in biases:
        rows = slice(0, users) if bias.side == "user" else slice(users, None)
        found[rows] = 1 / (of_labels[rows] + (-2 * bias.log_scale).exp())
    return found


def in_units(information: JointInformation) -> tuple[np.ndarray, sparse.csr_array]:
    """Return the standard deviations of the rest, `(R,)`, and its matrix in units of them: 1 on the diagonal, or in it alone."""
    sd = information.variance.sqrt().cpu().numpy()
    scale = sparse.diags_array(sd)
    return sd, (sparse.eye_array(len(sd)) + scale @ information.meetings @ scale).tocsr()


def corner_covariance(information: JointInformation) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the covariance of the corner's numbers, None where the information has no inverse, and how the rest responds.

    With the blocks [A, B'; B, M] it is 1 / (A - B' M^-1 B), and the rest moves by -M^-1 B, `(R, 1 + d)`.
    """
    # in units of their standard deviations, M is the identity and what cells, users and items have in common
    sd, scaled = in_units(information)
    border = information.border.cpu().numpy()
    response = -sd[:, None] * np.stack([cg(scaled, force, rtol=1e-6)[0] for force in (sd[:, None] * border).T], axis=1)
    left = information.corner.cpu().numpy() + border.T @ response
    if not (np.isfinite(left).all() and np.linalg.eigvalsh((left + left.T) / 2)[0] > 0):
        return None, response
    return np.linalg.inv(left), response
