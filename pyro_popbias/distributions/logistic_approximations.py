"""Approximations of E[sigma(loc + scale e)] from the literature, to compare with `logistic_normal`.

Sources: MacKay 1992, The evidence framework applied to classification networks; Daunizeau 2017, arXiv:1703.00091.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.errors import UnknownNameError
from pyro_popbias.registry import nearest


def _unscaled(loc: Tensor, scale: Tensor) -> Tensor:
    # exact for the probit function, not for the logistic
    return torch.sigmoid(loc / torch.sqrt(1 + scale.square()))


def _mackay(loc: Tensor, scale: Tensor) -> Tensor:
    return torch.sigmoid(loc / torch.sqrt(1 + math.pi / 8 * scale.square()))


def _daunizeau(loc: Tensor, scale: Tensor) -> Tensor:
    return torch.sigmoid(loc / torch.sqrt(1 + 0.368 * scale.square()))


def _by_nodes(loc: Tensor, scale: Tensor, node: Tensor, weight: Tensor) -> Tensor:
    return (weight * torch.sigmoid(loc.unsqueeze(-1) + scale.unsqueeze(-1) * node)).sum(-1)


def _gauss_hermite(loc: Tensor, scale: Tensor) -> Tensor:
    node, weight = (loc.new_tensor(each) for each in np.polynomial.hermite_e.hermegauss(32))
    return _by_nodes(loc, scale, node, weight / math.sqrt(2 * math.pi))


def _trapezoid(loc: Tensor, scale: Tensor) -> Tensor:
    node = torch.linspace(-6, 6, 64, dtype=loc.dtype, device=loc.device)
    return _by_nodes(loc, scale, node, torch.softmax(-0.5 * node.square(), 0))


APPROXIMATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "note": _unscaled,
    "mackay": _mackay,
    "daunizeau": _daunizeau,
    "gauss-hermite": _gauss_hermite,
    "trapezoid": _trapezoid,
}


def approximate_logistic_normal(loc: Tensor, scale: Tensor, *, method: str = "mackay") -> Tensor:
    """Return an approximation of E[sigma(loc + scale e)] with e standard normal.

    | method | what it is |
    | --- | --- |
    | `note` | sigma(loc / sqrt(1 + scale^2)), the scaling that is exact for the probit function |
    | `mackay` | sigma(loc / sqrt(1 + pi scale^2 / 8)) |
    | `daunizeau` | sigma(loc / sqrt(1 + 0.368 scale^2)) |
    | `gauss-hermite` | Gauss-Hermite quadrature, 32 nodes |
    | `trapezoid` | trapezoidal rule, 64 nodes on [-6, 6], weights normalised to sum to 1 |

    Args:
        loc: any shape, mean of the logit.
        scale: broadcastable to it, standard deviation of the logit.
        method: a name of the table.

    Raises:
        UnknownNameError: there is no such method.
    """
    if method not in APPROXIMATIONS:
        raise UnknownNameError(
            f"PB-C076: unknown method {method!r}{nearest(method, APPROXIMATIONS)} Methods: {', '.join(APPROXIMATIONS)}"
        )
    return APPROXIMATIONS[method](*torch.broadcast_tensors(loc, scale))
