"""The posterior of the intercept by linear response, at the end of a training.

Let r be the numbers that b0 moves: log z of every cell, w_u of every user, b_i of every item, and the sizes of the vectors'
dimensions. With the Fisher information of all labels about (b0, r) and the precisions of r, which hold their priors too, as
blocks [h, k'; k, M]:

    dr / db0 = -M^-1 k        Var(b0) = 1 / (h - k' M^-1 k)

This is the covariance that an optimum of the ELBO has by its response to a force on b0 (Giordano, Broderick and Jordan
2018), to second order. M is sparse (`training.information`). M^-1 k is found by conjugate gradients.
"""

import numpy as np
import torch

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.training.information import JointInformation, corner_covariance


def find_intercept_response(pair: Pair, information: JointInformation) -> None:
    """Find the posterior of a pair's intercept and what moves with it, and give both to its guide.

    Args:
        pair: a trained pair.
        information: its own.
    """
    covariance, response = corner_covariance(information)
    if covariance is None:
        return
    # of b0 with the sizes of dimensions free to move
    with_sizes = response @ (covariance[:, 0] / covariance[0, 0])
    parts = np.split(with_sizes, [information.cells, information.cells + information.users])
    if np.isfinite(with_sizes).all():
        pair.guide.intercept.set(*map(torch.from_numpy, (np.asarray(covariance[0, 0]), *parts)))
