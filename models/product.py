"""The product model: interest times attention."""

import math
from collections.abc import Mapping
from typing import ClassVar, Self, final

import torch
from pyro.nn import PyroParam
from pyro_popbias.models.affinity import Affinity
from pyro_popbias.models.popularity_model import MODELS, Latent, Options, PopularityModel
from pyro_popbias.models.prior import PopularityPrior
from pyro_popbias.models.saturation import ExponentialSaturation, HillSaturation, Saturation, TanhSaturation
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions import ProductBernoulli, closed_form, expectation


@final
@MODELS.register("product")
class Product(PopularityModel):
    """P(c=1 | u, i, z) = sigma(x_ui) g(z).

    Args:
        affinity: x_ui.
        prior: law of z, on (0, inf).
        saturation: g, with its parameter's value or start.
        learned: whether the parameter of g is learned, with the prior log parameter ~ Normal(0, 1).
    """

    latents: ClassVar[Mapping[str, Latent]] = {
        "popularity": Latent(dims=("item", "period"), support=constraints.positive)
    }
    saturations = (ExponentialSaturation, HillSaturation, TanhSaturation)
    per_interaction = True
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
    def assemble(cls, affinity: Affinity, prior: PopularityPrior, options: Options) -> Self:
        """Return the model of a study's options; it has no slope."""
        return cls(affinity, prior, options.saturation, learned=options.saturation_learned)

    @property
    def saturation(self) -> Saturation:
        """G with its present parameter."""
        return self._saturation(self.log_parameter.exp())

    @classmethod
    def integrates_in_closed_form(cls, family: type[Distribution]) -> bool:
        """Return whether P(c=1 | x) has a closed form under the default saturation."""
        return closed_form(ExponentialSaturation, family) is not None

    def likelihood(self, affinity: Tensor, popularity: Tensor) -> ProductBernoulli:
        """Return Bernoulli(sigma(x) g(z)) of each interaction, in logarithms."""
        g = self.saturation
        return ProductBernoulli(affinity, g.log(popularity), g.log_complement(popularity))

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the saturation's parameter, where it is learned."""
        if not self.learned:
            return {}
        return {self._saturation.parameter_name: -0.5 * self.log_parameter.square() - 0.5 * math.log(2 * math.pi)}

    def given(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return sigma(x) g(z)."""
        return torch.sigmoid(affinity) * self.saturation(popularity)

    def probability(self, affinity: Tensor, law: Distribution, slot: Tensor | None = None) -> Tensor:
        """Return sigma(x) E[g(z)]: the law of z enters by one number."""
        attention = expectation(self.saturation, law)
        return torch.sigmoid(affinity) * (attention if slot is None else attention.index_select(0, slot))

    def log_evidence(self, affinity: Tensor, law: Distribution, label: Tensor) -> Tensor:
        """Return log P(c | x) of labels `(B,)` exactly, in nats, where every interaction has a popularity of its own.

        P is linear in g(z), so its integral is sigma(x) E[g(z)]. The ELBO of such a latent is below this by
        KL(q || posterior).
        """
        attention = expectation(self.saturation, law)
        return ProductBernoulli(affinity, torch.log(attention), torch.log1p(-attention)).log_prob(label)

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        own = {self._saturation.parameter_name: self.log_parameter.exp()} if self.learned else {}
        return {**super().estimates(), **own}
