"""What every model is: a Pyro program over a batch, with one latent popularity per cell.

| tensor | shape | meaning |
| --- | --- | --- |
| `batch.cell` | (D,) | cells of the batch, each once unless it has several draws |
| site `popularity` | (D,) | the draws, in plate `cell` |
| site `count` | (D,) | training rows of each cell, in plate `cell`, where the model has an exposure part |
| `batch.cell_index` | (B,) | position of each interaction's draw among the D |
| site `label` | (B,) | 0 or 1, in plate `interaction` |

The KL of a cell is counted once per cell and not once per interaction, which would pull every posterior to its prior:
the cell plate stands under `scale(batch.weight)`, whose expectation over batches is 1. Plates get their sizes from the
batch: a plate with a `subsample_size` would draw a permutation of all rows at every step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.data.batches import Batch
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE, Affinity
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.exposures.exposure import Exposure
from pyro_popbias.models.priors.prior import PopularityPrior
from pyro_popbias.models.saturations.saturation import Saturation
from pyro_popbias.registry import Registry, Variant

RARE = (
    0.01  # a label of less probability has a log-score of its own integral: quadratures are right to 1e-7, absolutely
)


@dataclass(frozen=True)
class LikelihoodOptions:
    """The options of a likelihood that a study sets; each model uses those it has.

    Attributes:
        saturation: g, with its parameter's value or start.
        saturation_learned: whether that parameter is learned.
        slope: sign of popularity's slope in an additive logit.
    """

    saturation: Saturation
    saturation_learned: bool
    slope: Literal["positive", "free"]


@dataclass(frozen=True)
class Information:
    """Fisher information of each label about x and about log z (about z itself where z is real), `(B,)` each."""

    affinity: Tensor
    both: Tensor
    popularity: Tensor


@dataclass(frozen=True)
class Latent:
    """A latent site as data: its dimensions, for tables and ArviZ, and its support."""

    dims: tuple[str, ...]
    support: constraints.Constraint


class PopularityModel(Variant, PyroModule):
    """Base of models.

    Args:
        affinity: x_ui.
        prior: distribution of popularity.

    Attributes:
        pairwise: whether the likelihood compares a positive with a sampled negative; scores are then not probabilities.
        default_saturation: the class of g where a study names none; None where the model has no saturation. It takes
            any other that is bounded where this one is, and only then.
        per_interaction: whether each interaction may have its own popularity.
        free_slope: whether popularity's slope may have either sign.
        exposure: the distribution of how often items are logged; None where that is no part of the model.
        has_logit_link: whether the log odds of a label are x plus a term of popularity, so that negatives may be drawn by
            popularity.
    """

    required: ClassVar[tuple[str, ...]] = (
        "latents",
        "assemble",
        "integrates_in_closed_form",
        "likelihood",
        "conditional_probability",
        "marginal_probability",
        "draw_from_prior",
    )
    latents: ClassVar[Mapping[str, Latent]]
    pairwise: ClassVar[bool] = False
    default_saturation: ClassVar[type[Saturation] | None] = None
    per_interaction: ClassVar[bool] = False
    free_slope: ClassVar[bool] = False
    has_logit_link: ClassVar[bool] = False

    def __init__(self, affinity: Affinity, prior: PopularityPrior) -> None:
        super().__init__()
        self.affinity = affinity
        self.prior = prior
        self.exposure: Exposure | None = None

    @classmethod
    def assemble(cls, affinity: Affinity, prior: PopularityPrior, options: LikelihoodOptions) -> Self:
        """Return the model of a study's options."""
        raise NotImplementedError

    @classmethod
    def takes_saturation(cls, saturation: type[Saturation]) -> bool:
        """Return whether a class of g goes with the model."""
        return cls.default_saturation is not None and saturation.bounded == cls.default_saturation.bounded

    @classmethod
    def integrates_in_closed_form(cls, family: type[Distribution]) -> bool:
        """Return whether `marginal_probability` is closed under distributions of a family, and not a quadrature."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """Run the program; return the labels, `(B,)`, given or drawn."""
        prior = self.prior(batch.cell)
        with pyro.plate("cell", len(batch.cell)), poutine.scale(scale=batch.weight):
            popularity = pyro.sample("popularity", prior)
            if self.exposure is not None:
                self.exposure(batch.cell, popularity)
        affinity = self.affinity(batch) if batch.affinity is None else batch.affinity + self.affinity.level()
        if batch.offset is not None:
            affinity = affinity + batch.offset
        # outside of the plate, where they would count once per cell
        of_counts = {} if self.exposure is None else self.exposure.log_prior()
        for name, value in {**self.log_prior(), **of_counts}.items():
            pyro.factor(f"{name}_prior", value)
        return self.observe(batch, affinity, popularity.index_select(-1, batch.cell_index))

    def observe(self, batch: Batch, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return the labels of a batch, given or drawn, of x `(B,)` and z `(..., B)`."""
        likelihood = self.likelihood(affinity, popularity)
        with pyro.plate("interaction", len(batch.cell_index)), poutine.scale(scale=batch.scale):
            label: Tensor = pyro.sample("label", likelihood, obs=batch.label)
        return label

    def likelihood(self, affinity: Tensor, popularity: Tensor) -> TorchDistribution:
        """Return the distribution of the labels given x `(B,)` and z `(..., B)`."""
        raise NotImplementedError

    def log_likelihood(self, batch: Batch, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return log P of the labels of a batch, in nats, shaped as the broadcast of x `(..., B)` and z `(..., B)`."""
        assert batch.label is not None  # noqa: S101  rows are labelled
        return self.likelihood(affinity, popularity).log_prob(batch.label)

    def information(self, batch: Batch, affinity: Tensor, popularity: Tensor) -> Information:
        """Return what a label of each row says about x `(B,)` and z `(B,)`: E[s s'] of its slopes s of log P."""
        with torch.enable_grad():
            x, moved = affinity.detach().requires_grad_(), torch.zeros_like(affinity).requires_grad_()
            likelihood = self.likelihood(x, self.moved_popularity(popularity, moved))
            found = Information(*torch.zeros(3, len(x), dtype=x.dtype, device=x.device))
            for label in (0.0, 1.0):
                log_p = likelihood.log_prob(torch.full_like(x, label))
                slopes = torch.autograd.grad(log_p.sum(), (x, moved), retain_graph=True)
                found = _plus(found, log_p.detach().exp(), *slopes)
        return found

    def moved_popularity(self, popularity: Tensor, move: Tensor) -> Tensor:
        """Return z after a move of log z, or of z where it is real."""
        real = self.latents["popularity"].support is constraints.real
        return popularity + move if real else popularity * move.exp()

    def log_score(self, batch: Batch, affinity: AffinityDistribution, distribution: Distribution) -> Tensor:
        """Return log P of each label of a batch with x and z integrated over, in nats.

        Args:
            batch: labelled rows.
            affinity: `(B,)` distribution of x.
            distribution: `(D,)` distribution of z of each cell of the batch.
        """
        assert batch.label is not None  # noqa: S101  rows are labelled
        return self.log_probability(batch.label, affinity, distribution, batch.cell_index)

    def log_probability(
        self, label: Tensor, affinity: AffinityDistribution, distribution: Distribution, cell_index: Tensor
    ) -> Tensor:
        """Return log P(c=label) of rows with x and z integrated over, `(B,)` in nats; every log-score is a mean of these.

        The logarithm of `marginal_probability` where that is not small, and `log_marginal_probability` where it is.

        Args:
            label: `(B,)` 0 or 1.
            affinity: `(B,)` distribution of x.
            distribution: `(D,)` distribution of z of each cell.
            cell_index: `(B,)` which of the cells.
        """
        probability, _ = affinity.expect(lambda x: self.marginal_probability(x, distribution, cell_index))
        right = torch.where(label > 0, probability, 1 - probability)
        value, rare = torch.log(right), (right < RARE).nonzero().squeeze(-1)
        if not len(rare):
            return value
        of_rare = label[rare], distribution, cell_index[rare]
        found = affinity.at(rare).log_expect(lambda x: self.log_marginal_probability(x, *of_rare))
        return value.index_copy(0, rare, found)

    def log_marginal_probability(
        self, affinity: Tensor, label: Tensor, distribution: Distribution, cell_index: Tensor
    ) -> Tensor:
        """Return log P(c=label | x) with z integrated over, `(B,)` in nats, relatively right however small P is.

        A model without such an integral of its own has the logarithm of `marginal_probability`, in which a probability
        that has underflown counts as the smallest number.

        Args:
            affinity: `(B,)` logits.
            label: `(B,)` 0 or 1.
            distribution: `(D,)` distribution of z of each cell.
            cell_index: `(B,)` which of the cells.
        """
        probability = self.marginal_probability(affinity, distribution, cell_index)
        right = torch.where(label > 0, probability, 1 - probability)
        return torch.log(right.clamp(min=torch.finfo(right.dtype).tiny))

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the likelihood's own point-estimated parameters by name, scalars in nats."""
        return {}

    def draw_from_prior(self) -> None:
        """Put draws of their priors in place of the likelihood's own parameters; torch's random state decides them."""
        raise NotImplementedError

    @torch.no_grad()
    def draw_parameters(self) -> None:
        """Put draws of their priors in place of all parameters, of affinity and prior too.

        Raises:
            TypeError: a part has a parameter that it does not draw.
        """
        exposure = () if self.exposure is None else (self.exposure,)
        for part in (self, self.prior, self.affinity, *exposure):
            own = {
                name: value
                for name, value in part.named_parameters(recurse=part is not self)
                if value is not self._intercept
            }
            before = {name: value._version for name, value in own.items()}
            part.draw_from_prior()
            left = ", ".join(name for name, value in own.items() if value._version == before[name])
            if left:
                raise TypeError(f"{type(part).__name__}.draw_from_prior does not draw {left}")
        self._intercept.normal_(0.0, INTERCEPT_SCALE)

    @property
    def _intercept(self) -> Tensor:
        return self.affinity.intercept

    def conditional_probability(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return P(c=1 | x, z), shaped as the broadcast of both."""
        raise NotImplementedError

    def affinity_score(self, affinity: Tensor) -> Tensor:
        """Return the score of the affinity alone, without popularity: sigma(x)."""
        return torch.sigmoid(affinity)

    def marginal_probability(
        self, affinity: Tensor, distribution: Distribution, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return P(c=1 | x) with z integrated over its distribution.

        Args:
            affinity: logits, any shape.
            distribution: distribution of z, its batch broadcastable to the affinities; with `cell_index`, `(D,)`
                distributions of distinct cells.
            cell_index: `(B,)` which distribution belongs to which affinity.
        """
        raise NotImplementedError

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        of_counts = {} if self.exposure is None else self.exposure.estimates()
        return {**self.affinity.estimates(), **self.prior.estimates(), **of_counts}


def _plus(found: Information, weight: Tensor, of_affinity: Tensor, of_popularity: Tensor) -> Information:
    """Return information with the weighted products of two slopes added."""
    return Information(
        found.affinity + weight * of_affinity.square(),
        found.both + weight * of_affinity * of_popularity,
        found.popularity + weight * of_popularity.square(),
    )


MODELS: Registry[PopularityModel] = Registry("model", "pyro_popbias.models", PopularityModel)
