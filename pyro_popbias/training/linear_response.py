"""The posterior of the intercept by linear response, at the end of a training.

Let r be the numbers that b0 moves: log z of every cell, w_u of every user, and the sizes of the vectors' dimensions. With the
Fisher information of all labels about (b0, r) and the precisions of r, which hold their priors too, as blocks [h, k'; k, M]:

    dr / db0 = -M^-1 k        Var(b0) = 1 / (h - k' M^-1 k)

This is the covariance that an optimum of the ELBO has by its response to a force on b0 (Giordano, Broderick and Jordan
2018), to second order. M is sparse: a cell and a user meet in their interactions. M^-1 k is found by conjugate gradients.
"""

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
from pyro_popbias.models.affinities.user_bias import SITE as USER_BIAS
from pyro_popbias.training.vectors import Affinities, Vectors, affinities

TAIL = 0.05
TAIL_SDS = 1.6448536269514722  # a Normal's quantile at 1 - TAIL


def find_intercept_response(pair: Pair) -> None:
    """Find the posterior of a pair's intercept and what moves with it, and give both to its guide.

    Nothing is found where popularity is a point, or every interaction's own.
    """
    with torch.no_grad():
        q = pair.guide.popularity.posterior(torch.arange(pair.events.cells, device=pair.device))
        if isinstance(q, Delta) or pair.rows.latent != "item":
            return
        corner, border, meetings, of_cells = _information(pair)
        real = pair.model.latents["popularity"].support is constraints.real
        cells = len(pair.rows.cell_count)
        # q may be wider than the labels alone allow, by its family or for want of training: b0 would then have no variance
        of_cell = torch.minimum(_variance(q, real=real), 1 / of_cells) * (pair.rows.cell_count > 0)
        of_user = _user_variance(pair, border[cells:, 0])
    # in units of their standard deviations, M is the identity and what cells and users have in common
    sd = torch.cat([of_cell, of_user]).sqrt().cpu().numpy()
    scaled = sparse.eye(len(sd)) + sparse.diags(sd) @ meetings @ sparse.diags(sd)
    forces = sd[:, None] * border.cpu().numpy()
    response = -sd[:, None] * np.stack([cg(scaled, force, rtol=1e-6)[0] for force in forces.T], axis=1)
    covariance = np.linalg.inv(corner.cpu().numpy() + border.cpu().numpy().T @ response)
    # of b0 with the sizes of dimensions free to move
    with_sizes = response @ (covariance[:, 0] / covariance[0, 0])
    found = np.asarray(covariance[0, 0]), with_sizes[:cells], with_sizes[cells:]
    if covariance[0, 0] > 0 and np.isfinite(with_sizes).all():
        pair.guide.intercept.set(*map(torch.from_numpy, found))


def _information(pair: Pair) -> tuple[Tensor, Tensor, sparse.csr_array, Tensor]:
    """Return the information about b0 and the sizes of dimensions, about these and r, within r, and about each cell.

    Returns:
        `(1 + d, 1 + d)`; `(C + users, 1 + d)`, cells before users; `(C + users, C + users)` of cells and users together;
        and `(C,)`.
    """
    affinity, cells = pair.model.affinity, len(pair.rows.cell_count)
    vectors = Vectors.of(pair) if isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned else None
    width = 1 if vectors is None else 1 + len(vectors.scale)
    corner = torch.zeros(width, width, dtype=torch.float64, device=pair.device)
    corner[0, 0] = INTERCEPT_SCALE**-2
    border = torch.zeros(cells + len(pair.rows.user_count), width, dtype=torch.float64, device=pair.device)
    meetings = sparse.csr_array((len(border), len(border)))
    of_cells = torch.zeros_like(border[:cells, 0])
    for part in affinities(pair):
        regressors, spread = _regressors(vectors, part)
        of = pair.model.information(part.batch, part.mean, part.popularity)
        cell, user = part.batch.cell.index_select(0, part.batch.cell_index), cells + part.batch.user
        corner += regressors.T @ (of.affinity.unsqueeze(-1) * regressors)
        corner.diagonal()[1:] += of.affinity @ spread
        of_cells.index_add_(0, cell, of.popularity)
        border.index_add_(0, cell, of.both.unsqueeze(-1) * regressors)
        border.index_add_(0, user, of.affinity.unsqueeze(-1) * regressors)
        place = cell.cpu().numpy(), user.cpu().numpy()
        above = sparse.coo_array((of.both.cpu().numpy(), place), shape=meetings.shape).tocsr()
        meetings = meetings + above + above.T
    return corner, border, meetings, of_cells


def _regressors(vectors: Vectors | None, part: Affinities) -> tuple[Tensor, Tensor]:
    """Return what x moves by with b0 and with each dimension's size, `(B, 1 + d)`, and the variances of the latter, `(B, d)`."""
    one = torch.ones_like(part.mean).unsqueeze(-1)
    if vectors is None:
        return one, one[:, :0]
    mean, variance = vectors.products(part.batch)
    return torch.cat([one, mean], dim=1), variance


def _variance(q: Distribution, *, real: bool) -> Tensor:
    """Return the variance of log z, or of z where it is real, by its quantiles, `(C,)`."""
    low, high = quantile(q, TAIL), quantile(q, 1 - TAIL)
    width = high - low if real else (high / low.clamp(min=torch.finfo(low.dtype).tiny)).log()
    return (width / (2 * TAIL_SDS)).square()


def _user_variance(pair: Pair, information: Tensor) -> Tensor:
    """Return the variance of the bias of each user given everything else, `(users,)`; zeros where users have none."""
    if pair.model.affinity.user_bias is None:
        return torch.zeros_like(information)
    return 1 / (information + (-2 * pair.model.affinity.log_scale(USER_BIAS)).exp())
