"""The numbers that a model learns as points and that all cells, users and items share."""

import torch
from torch import Tensor

from pyro_popbias.models.popularity_model import PopularityModel

INTERCEPT = "affinity.intercept"


def scalars(model: PopularityModel) -> dict[str, Tensor]:
    """Return the intercept and the numbers of likelihood, prior and exposure by name, as they are learned.

    Scales of the affinity's own rows are not among them: labels see these through the rows alone.
    """
    found = {name.removesuffix("_unconstrained"): each for name, each in model.named_parameters() if each.dim() == 0}
    return {name: each for name, each in found.items() if name == INTERCEPT or not name.startswith("affinity.")}


def estimate_slopes(model: PopularityModel) -> dict[str, tuple[str, Tensor]]:
    """Return which estimate each of these numbers is behind, and the derivative of the estimate by it, by the number's name."""
    learned, found = scalars(model), {}
    with torch.enable_grad():
        for name, value in model.estimates().items():
            if value.requires_grad and not value.dim():
                slopes = torch.autograd.grad(value, list(learned.values()), allow_unused=True)
                for parameter, slope in zip(learned, slopes, strict=True):
                    if slope is not None:
                        found[parameter] = (name, slope)
    return found
