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
from typing import ClassVar, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.data.batch import Batch
from pyro_popbias.distributions.random_slope import RandomSlope
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE, Affinity
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.latents import Weights, centred
from pyro_popbias.models.conformity import Conformity
from pyro_popbias.models.exposures.exposure import Exposure
from pyro_popbias.models.information import Information
from pyro_popbias.models.options import LikelihoodOptions
from pyro_popbias.models.priors.prior import PopularityPrior
from pyro_popbias.models.saturations.saturation import Saturation
from pyro_popbias.registry import Registry, Variant

RARE = (
    0.01  # a label of less probability has a log-score of its own integral: quadratures are right to 1e-7, absolutely
)
RAREST = 1e-4  # the same where users differ in conformity: these quadratures are right to 1e-8


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
        takes_conformity: whether they are x + slope t(z), t(z) = z where z is real and log z where it is positive, so that
            users may differ in the slope.
        conformity: how they do; None where they do not.
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
    takes_conformity: ClassVar[bool] = False

    def __init__(self, affinity: Affinity, prior: PopularityPrior) -> None:
        super().__init__()
        self.affinity = affinity
        self.prior = prior
        self.exposure: Exposure | None = None
        self.conformity: Conformity | None = None

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
                self.exposure(batch, popularity)
        affinity = self.affinity.drawn(batch) if batch.affinity is None else batch.affinity + self.affinity.level()
        if batch.offset is not None:
            affinity = affinity + batch.offset
        # outside of the plate, where they would count once per cell
        of_counts = {} if self.exposure is None else self.exposure.log_prior()
        for name, value in {**self.log_prior(), **of_counts}.items():
            pyro.factor(f"{name}_prior", value)
        of_rows = popularity.index_select(-1, batch.cell_index)
        if self.conformity is not None:
            affinity = affinity + self.conformity(batch.users) * self.logit_term(of_rows)
        return self.observe(batch, affinity, of_rows)

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
        """Return what a label of each row says about x `(B,)` and z `(B,)`: E[s s'] of its slopes s of log P.

        Where the batch knows d_u, x has d_u t(z) in it, which moves with z.
        """
        with torch.enable_grad():
            x, moved = affinity.detach().requires_grad_(), torch.zeros_like(affinity).requires_grad_()
            z = self.moved_popularity(popularity, moved)
            d = None if self.conformity is None else batch.conformity
            # t(z) moves as z or log z does
            likelihood = self.likelihood(x if d is None else x + d * moved, z)
            found = Information(*torch.zeros(3, len(x), dtype=x.dtype, device=x.device))
            for label in (0.0, 1.0):
                log_p = likelihood.log_prob(torch.full_like(x, label))
                slopes = torch.autograd.grad(log_p.sum(), (x, moved), retain_graph=True)
                found = found.plus(log_p.detach().exp(), *slopes)
        return found

    def moved_popularity(self, popularity: Tensor, move: Tensor) -> Tensor:
        """Return z after a move of log z, or of z where it is real."""
        return popularity + move if self._is_real else popularity * move.exp()

    @property
    def _is_real(self) -> bool:
        return self.latents["popularity"].support is constraints.real

    @property
    def slope(self) -> Tensor:
        """The slope of t(z) in the logit; its mean over users where these differ."""
        return torch.ones_like(self._intercept)

    def logit_term(self, popularity: Tensor) -> Tensor:
        """Return t(z): z where it is real, log z where it is positive."""
        return popularity if self._is_real else torch.log(popularity)

    def pairs(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return x_ui of pairs of codes, `(B,)`, with the conformity of their users; arguments as in `Affinity.pairs`."""
        return self.conforming(self.affinity.pairs(user, item, score, weights), user, weights)

    def conforming(self, affinity: AffinityDistribution, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return affinities `(U, ...)` of users `(U,)` with their conformity, where they differ in it."""
        return affinity if self.conformity is None else self.conformity.added(affinity, user, weights)

    def log_scale(self, site: str) -> Tensor:
        """Return log s of the prior of a site of users' or items' rows or of weights, as `Affinity.log_scale` does."""
        own = self.conformity
        return own.log_scale if own is not None and site == own.site else self.affinity.log_scale(site)

    def prior_weights(self, weights: Weights) -> Weights:
        """Return the prior of each site of users' or items' rows or of weights, in the shapes of its q."""
        own = None if self.conformity is None else self.conformity.site
        of_affinity = self.affinity.prior_weights({site: q for site, q in weights.items() if site != own})
        return {**of_affinity, **centred({site: weights[site] for site in (own,) if site}, self.log_scale)}

    def before_labels(self, site: str, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations that rows of a site have before their labels, as `Affinity.before_labels` does."""
        own = self.conformity
        is_own = own is not None and site == own.site
        return own.before_labels() if own and is_own else self.affinity.before_labels(site, weights)

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
        probability = self.mean_probability(affinity, distribution, cell_index)
        right = torch.where(label > 0, probability, 1 - probability)
        limit = RARE if affinity.conformity is None else RAREST
        value, rare = torch.log(right), (right < limit).nonzero().squeeze(-1)
        if not len(rare):
            return value
        of_rare = label[rare], distribution, cell_index[rare]
        if affinity.conformity is None:
            found = affinity.at(rare).log_expect(lambda x: self.log_marginal_probability(x, *of_rare))
        else:
            logit, sign = self.random_slope(affinity.at(rare)), torch.where(label[rare] > 0, 1.0, -1.0)
            found = logit.log_probability(sign, distribution, logarithm=not self._is_real, cell_index=cell_index[rare])
        return value.index_copy(0, rare, found)

    def mean_probability(
        self, affinity: AffinityDistribution, distribution: Distribution, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return P(c=1) with x, z and conformity integrated over, of the affinities' shape.

        Args:
            affinity: distribution of x, with the conformity of its users where they differ in it.
            distribution: as in `marginal_probability`.
            cell_index: as in `marginal_probability`.
        """
        if affinity.conformity is None:
            return affinity.expect(lambda x: self.marginal_probability(x, distribution, cell_index))[0]
        logit = self.random_slope(affinity)
        return logit.probability(distribution, logarithm=not self._is_real, cell_index=cell_index)

    def random_slope(self, affinity: AffinityDistribution) -> RandomSlope:
        """Return the logits of affinities, random in x and in the slopes of their users."""
        d, none = affinity.conformity, torch.zeros_like(affinity.mean)
        mean, variance = (none, none) if d is None else (d.mean, d.variance)
        of_x = none if affinity.variance is None else affinity.variance
        return RandomSlope(affinity.mean, of_x, self.slope + mean, variance)

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
        optional = (part for part in (self.exposure, self.conformity) if part is not None)
        for part in (self, self.prior, self.affinity, *optional):
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
        of_users = {} if self.conformity is None else {"conformity_scale": self.conformity.log_scale.exp()}
        return {**self.affinity.estimates(), **self.prior.estimates(), **of_counts, **of_users}


MODELS: Registry[PopularityModel] = Registry("model", "pyro_popbias.models", PopularityModel)
