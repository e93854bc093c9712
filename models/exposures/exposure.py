"""The exposure part of a model: how often an item is logged says how popular it is, whatever its labels say.

A second observed site `count` in plate `cell`, once per cell and under the same scale as the KL, so that it is unbiased
under mini-batches:

    n_j | z_j ~ a distribution of counts with mean m_t z_j^power / E[z^power]

m_t is the mean number of training rows of the items that have any in period t. The population has E[z] = 1, and the power is 1
unless it is given, so that z_j is the item's exposure over that of a mean item. A real z ~ Normal(0, 1) has exp(z) in its
place, and the power is the spread of log counts, which is learned, log power ~ Normal(0, 0.5). Cells without training rows
say nothing here: they have no rows in any batch, and keep their prior.

Labels and counts together tell an item's popularity from its quality: without counts both are the item's like rate. The
power of a positive z is not learned: the more quality may be correlated with popularity, the less do data say of it.
"""

import math
from functools import partial
from typing import Any, ClassVar, Self

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal, constraints

from pyro_popbias.data.batch import Batch
from pyro_popbias.distributions.kl import moments
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.distributions.selection import take
from pyro_popbias.registry import Registry, Variant
from pyro_popbias.validation import PartConfig, Positive

SITE = "count"
POWER_SCALE = 0.5  # of the prior of log power


class ExposureConfig(PartConfig):
    """The section of an exposure: the power of popularity in the counts; by default 1, or learned where popularity is real."""

    power: Positive | None = None


class Exposure(Variant, PyroModule):
    """Base of exposures.

    Args:
        count: `(C,)` training rows of each cell.
        periods: T.
        power: of z in the mean; None is 1, or learned where z is real.
        real: whether z ~ Normal(0, 1) is real, and exp(z) stands in its place.
        free_level: whether the population may have another mean than 1, so that log E[z^power] is learned.

    Attributes:
        config: the section that holds its keys in a study.
    """

    required: ClassVar[tuple[str, ...]] = ("distribution", "expected_log_probability", "information")
    config: ClassVar[type[ExposureConfig]] = ExposureConfig
    count: Tensor
    base: Tensor
    level: Tensor
    log_power: Tensor

    def __init__(
        self,
        count: Tensor,
        periods: int,
        *,
        power: float | None = None,
        real: bool = False,
        free_level: bool = False,
    ) -> None:
        super().__init__()
        self.real, self.learned = real, real and power is None
        self.free_level = not real and (free_level or power not in (None, 1.0))
        of_period = count.double().reshape(-1, periods)
        self.register_buffer("count", count.double())
        self.register_buffer("base", of_period.sum(0) / (of_period > 0).sum(0).clamp(min=1))
        if self.free_level:
            self.level = PyroParam(torch.zeros((), dtype=torch.float64), constraints.real)  # type: ignore[assignment]  # read back as a tensor
        log_power = torch.tensor(math.log(power or 1.0), dtype=torch.float64)
        if self.learned:
            self.log_power = PyroParam(log_power, constraints.real)  # type: ignore[assignment]  # read back as a tensor
        else:
            self.register_buffer("log_power", log_power)

    @classmethod
    def from_config(cls, config: Any, count: Tensor, periods: int, *, real: bool, free_level: bool = False) -> Self:
        """Return the exposure that a section declares, at its start.

        Args:
            config: the study's, of the class that `config` names.
            count: `(C,)` training rows of each cell.
            periods: T.
            real: whether z is real.
            free_level: whether the population may have another mean than 1.
        """
        return cls(count, periods, power=config.power, real=real, free_level=free_level)

    def forward(self, batch: Batch, popularity: Tensor) -> None:
        """Observe the counts of the cells of a batch, given draws of their popularity `(..., D)`, within their plate."""
        count = self.count.index_select(0, batch.cell)
        # the objective takes the expectation where it has one, and the value at the draw elsewhere
        own: Any = {"expectation": ("popularity", partial(self._once_per_cell, batch=batch))}
        with poutine.mask(mask=(count > 0)):  # type: ignore[call-overload]  # a tensor of truth values
            pyro.sample(SITE, self.of(batch.cell, popularity), obs=count, infer=own)

    def of(self, cell: Tensor, popularity: Tensor) -> TorchDistribution:
        """Return the distribution of the counts of some cells `(D,)`, given their popularity `(..., D)`."""
        log_z = popularity if self.real else popularity.log()
        return self.distribution(self.log_base(cell) + self.log_power.exp() * log_z)

    def log_base(self, cell: Tensor) -> Tensor:
        """Return the logarithm of the mean count at z = 1 of some cells, `(D,)`."""
        log_base = self.base.clamp(min=1e-300).log().index_select(0, cell % len(self.base))
        if self.real:
            return log_base - 0.5 * self.log_power.exp().square()  # log E[exp(power z)] of Normal(0, 1)
        return log_base + self.level if self.free_level else log_base

    def log_likelihood(self, cell: Tensor, popularity: Tensor) -> Tensor:
        """Return log P of the counts of some cells `(D,)`, in nats, at values of their popularity `(..., D)`."""
        count = self.count.index_select(0, cell)
        return torch.where(count > 0, self.of(cell, popularity).log_prob(count), 0.0)

    def distribution(self, log_mean: Tensor) -> TorchDistribution:
        """Return the distribution of counts of given log means, any shape."""
        raise NotImplementedError

    def expected_log_probability(self, q: Distribution, cell: Tensor) -> Tensor:
        """Return E_q[log P(n_j | z_j)] of some cells, in nats, in the shape of the batch of q `(..., D)`."""
        raise NotImplementedError

    def _once_per_cell(self, q: Distribution, batch: Batch) -> Tensor:
        """Return `expected_log_probability` of the draws of a batch, `(D,)`, computed once where a cell has several."""
        if len(q.batch_shape) > 1 or batch.draws == 1:
            return self.expected_log_probability(q, batch.cell)
        cells = batch.cells
        return self.expected_log_probability(take(q, cells.first), cells.code).index_select(0, cells.index)

    def information(self, cell: Tensor, q: Distribution) -> Tensor:
        """Return the Fisher information of the counts of some cells about log z, or a real z, at the mean of q, `(D,)`."""
        raise NotImplementedError

    def on_positive(self, q: Distribution) -> Distribution:
        """Return the distribution of what takes a power in the mean: z, or exp(z) of a real z."""
        if not self.real:
            return q
        assert isinstance(q, Normal)  # noqa: S101  every distribution of a real popularity here is
        return LogNormal(q.loc, q.scale, validate_args=False)

    def log_moments(self, q: Distribution) -> tuple[Tensor, Tensor]:
        """Return E[power log z] and log E[z^power] under q, `(..., D)` each."""
        found, power = moments(self.on_positive(q)), self.log_power.exp()
        return power * found.log_mean, found.log_power(power)

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log priors of the point-estimated parameters by name, scalars in nats."""
        own = {"exposure_power": log_normal(self.log_power, POWER_SCALE)} if self.learned else {}
        return own | ({"exposure_level": log_normal(self.level)} if self.free_level else {})

    def draw_from_prior(self) -> None:
        """Put draws of their priors in place of the parameters; torch's random state decides them."""
        if self.free_level:
            self.level.normal_()
        if self.learned:
            self.log_power.normal_(0.0, POWER_SCALE)

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned parameters by name, scalars."""
        own = {"exposure_power": self.log_power.exp()} if self.learned else {}
        return own | ({"exposure_level": self.level} if self.free_level else {})


EXPOSURES: Registry[Exposure] = Registry("exposure", "pyro_popbias.exposures", Exposure)
