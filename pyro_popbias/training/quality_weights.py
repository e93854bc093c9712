"""The weights of the features of qualities: a regression, in closed form given the qualities and their scale.

b ~ Normal(A w, s) of K items and w ~ Normal(0, 1) have the posterior mean (A'A + s^2)^-1 A' b of w, and given all other
weights each has the variance s^2 / (sum of a^2 + s^2).
"""

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import cg

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.models.affinities.item_quality import FEATURES, WEIGHT_SCALE


@torch.no_grad()
def regress_quality(pair: Pair) -> None:
    """Set the posterior of the weights of a pair's qualities, of items with training rows; nothing where there are none."""
    quality, guide = pair.model.affinity.item_quality, pair.guide.affinity
    if quality is None or guide is None:
        return
    some = (pair.rows.item_count > 0).cpu().numpy()
    mean = guide.weights()[quality.site].loc.squeeze(-1).double().cpu().numpy()[some]
    design, variance = quality.design()[some], (quality.log_scale.exp().item() / WEIGHT_SCALE) ** 2
    precision = design.T @ design + variance * sparse.eye_array(design.shape[1])
    found, _ = cg(precision.tocsr(), design.T @ mean, rtol=1e-8)
    spread = np.sqrt(variance / precision.diagonal()) * WEIGHT_SCALE
    guide.set_rows(FEATURES, torch.from_numpy(found), torch.from_numpy(np.log(spread)))
