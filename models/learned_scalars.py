"""The numbers that a model learns as points and that all cells, users and items share."""

from torch import Tensor

from pyro_popbias.models.popularity_model import PopularityModel

INTERCEPT = "affinity.intercept"


def scalars(model: PopularityModel) -> dict[str, Tensor]:
    """Return the intercept and the numbers of likelihood, prior and exposure by name, as they are learned.

    Scales of the affinity's own rows are not among them: labels see these through the rows alone.
    """
    found = {name.removesuffix("_unconstrained"): each for name, each in model.named_parameters() if each.dim() == 0}
    return {name: each for name, each in found.items() if name == INTERCEPT or not name.startswith("affinity.")}
