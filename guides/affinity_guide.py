"""The guide of an affinity's Bayesian weights, and of the conformity of users.

Independent Normals: one row per user or item, or one for global weights.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

import pyro
import torch
from pyro import poutine
from pyro.distributions import Normal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.data.batch import Batch
from pyro_popbias.models.affinities.latents import AffinityLatent
from pyro_popbias.sparse_lookup import adopt_shapes, gather_distinct, set_parameter

START_SCALE = 0.1  # of the prior's scale: wider rows would drown what their means have to learn first


class AffinityGuide(PyroModule):
    """q(weights) = Normal, coordinate by coordinate.

    Args:
        latents: the sites of the affinity by name; at least one.
    """

    def __init__(self, latents: Mapping[str, AffinityLatent]) -> None:
        super().__init__()
        self._of_affinity = {name: latent.of_affinity for name, latent in latents.items()}
        self._plates = {name: latent.plate for name, latent in latents.items()}
        self.names = {name: latent.names for name, latent in latents.items()}
        self.prior_scales = {name: latent.scale for name, latent in latents.items()}
        for name, latent in latents.items():
            log_scale = torch.full_like(latent.start, math.log(START_SCALE * latent.scale))
            setattr(self, f"{name}_loc", PyroParam(latent.start.clone(), constraints.real))
            setattr(self, f"{name}_log_scale", PyroParam(log_scale, constraints.real))

    def forward(self, batch: Batch) -> None:
        """Draw the weights of a batch; where it knows its affinities, only those on which these do not depend."""
        for name, plate in self._plates.items():
            if batch.affinity is not None and self._of_affinity[name]:
                continue
            loc, log_scale = self._parameters_of(name)
            if plate is None:
                pyro.sample(name, Normal(loc, log_scale.exp()).to_event(1))
                continue
            group = batch.users if plate == "users" else batch.items
            distribution = Normal(
                gather_distinct(loc, group.code), gather_distinct(log_scale, group.code).exp()
            ).to_event(1)
            with pyro.plate(f"{name}_plate", len(group.code)), poutine.scale(scale=group.weight):
                pyro.sample(name, distribution)

    def set_rows(self, name: str, loc: Tensor, log_scale: Tensor) -> None:
        """Set the rows of a table, perhaps to rows of fewer columns.

        Args:
            name: of the site.
            loc: `(rows, dim)` means.
            log_scale: `(rows, dim)` logarithms of the standard deviations.
        """
        set_parameter(self, f"{name}_loc", loc)
        set_parameter(self, f"{name}_log_scale", log_scale)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        adopt_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def sites_of(self, side: Literal["user", "item"]) -> list[str]:
        """Return the names of the tables that have a row for each user, or for each item."""
        return [name for name, plate in self._plates.items() if plate == f"{side}s"]

    @torch.no_grad()
    def forget(self, site: str, rows: Tensor, mean: Tensor, scale: Tensor) -> None:
        """Put rows of a table at their prior.

        Args:
            site: name of the table.
            rows: `(R,)` which, as truth values.
            mean: of the prior, in a shape that broadcasts with the table.
            scale: its standard deviation, likewise.
        """
        parameters = dict(self.named_parameters())
        for name, value in (("loc", mean), ("log_scale", scale.log())):
            table = parameters[f"{site}_{name}_unconstrained"]
            table[rows] = value.to(table).expand_as(table)[rows]

    def weights(self) -> dict[str, torch.distributions.Normal]:
        """Return q of each site, whole tables."""
        return {
            name: torch.distributions.Normal(loc, log_scale.exp(), validate_args=False)
            for name, (loc, log_scale) in ((name, self._parameters_of(name)) for name in self._plates)
        }

    def global_priors(self) -> dict[str, torch.distributions.Normal]:
        """Return the prior of each site whose weights belong to no single user or item."""
        return {
            site: torch.distributions.Normal(torch.zeros_like(loc), self.prior_scales[site])
            for site, (loc, _) in ((site, self._parameters_of(site)) for site, names in self.names.items() if names)
        }

    def _parameters_of(self, name: str) -> tuple[Tensor, Tensor]:
        return cast(Tensor, getattr(self, f"{name}_loc")), cast(Tensor, getattr(self, f"{name}_log_scale"))
