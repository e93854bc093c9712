"""Models with a saturation g of popularity, whose parameter is given or learned."""

from typing import Self

import torch
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.affinity import Affinity
from pyro_popbias.models.options import LikelihoodOptions
from pyro_popbias.models.popularity_model import PopularityModel
from pyro_popbias.models.priors.prior import PopularityPrior
from pyro_popbias.models.saturations.saturation import Saturation


class SaturatedModel(PopularityModel):
    """Base of models with a saturation.

    Args:
        affinity: x_ui.
        prior: distribution of z, on (0, inf).
        saturation: g, with its parameter's value or start.
        learned: whether the parameter of g is learned, with the prior log parameter ~ Normal(0, 1).
    """

    required = (
        "latents",
        "default_saturation",
        "integrates_in_closed_form",
        "likelihood",
        "conditional_probability",
        "marginal_probability",
    )
    log_parameter: Tensor

    def __init__(
        self, affinity: Affinity, prior: PopularityPrior, saturation: Saturation, *, learned: bool = False
    ) -> None:
        super().__init__(affinity, prior)
        self._saturation = type(saturation)
        self.learned = learned
        start = torch.log(saturation.parameter)
        if learned:
            self.log_parameter = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor
        else:
            self.register_buffer("log_parameter", start)

    @classmethod
    def assemble(cls, affinity: Affinity, prior: PopularityPrior, options: LikelihoodOptions) -> Self:
        """Return the model of a study's options; it has no slope."""
        return cls(affinity, prior, options.saturation, learned=options.saturation_learned)

    @property
    def saturation(self) -> Saturation:
        """G with its present parameter."""
        return self._saturation(self.log_parameter.exp())

    def draw_from_prior(self) -> None:
        """Draw the saturation's parameter, where it is learned."""
        if self.learned:
            self.log_parameter.normal_()

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the saturation's parameter, where it is learned."""
        if not self.learned:
            return {}
        return {self._saturation.parameter_name: log_normal(self.log_parameter)}

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        own = {self._saturation.parameter_name: self.log_parameter.exp()} if self.learned else {}
        return {**super().estimates(), **own}
