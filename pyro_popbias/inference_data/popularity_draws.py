"""ArviZ groups of cells: seeded draws of popularity, quality and global weights, and counts, with ids as coordinates."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor
from torch.distributions import Normal, constraints

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions import draw
from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import MarkovGuide, PopularityGuide
from pyro_popbias.models import PopularityPrior, RandomWalkPrior
from pyro_popbias.prediction.global_posteriors import global_draws
from pyro_popbias.prediction.quality_draws import moved_by_quality, quality_draws
from pyro_popbias.training.restarts import Chain

LARGEST = 2 * 1024**3  # bytes of draws
OF_INTERCEPT = 2**62  # key of the intercept's draws, above those of cells and weights


@dataclass(frozen=True)
class CellCoords:
    """The cells of some items, as dimensions and coordinates.

    Attributes:
        code: `(D,)` codes of the cells, ordered by item.
        coords: coordinate `item`, and `period` if there are several.
    """

    code: np.ndarray
    coords: dict[str, np.ndarray]

    @classmethod
    def of_items(cls, ids: "pd.Index[str]", code: np.ndarray, periods: int) -> "CellCoords":
        """Return all cells of items given by id and code."""
        coords = {"item": ids.to_numpy(dtype=object).astype(str)}
        if periods > 1:
            coords["period"] = np.arange(periods)
        return cls((code[:, None] * periods + np.arange(periods)).ravel(), coords)

    def array(self, values: np.ndarray, leading: tuple[str, ...] = ()) -> tuple[list[str], np.ndarray]:
        """Return dimensions and values `(*leading, item[, period])` of values `(*leading, D)`."""
        shape = values.shape[:-1] + tuple(len(coord) for coord in self.coords.values())
        return [*leading, *self.coords], values.reshape(shape)


def check_size(draws: int, *, chains: int, cells: int, groups: int, rows: int = 0, bytes_a_row: int = 0) -> None:
    """Raise if a container would be larger than 2 GiB.

    Args:
        draws: number of draws in each chain.
        chains: number of chains.
        cells: number of cells and global weights, of 8 bytes per draw in each of `groups`.
        groups: number of groups of cells.
        rows: number of interactions with draws.
        bytes_a_row: bytes per row and draw, in all groups together.

    Raises:
        ConfigError: the container would be too large; the message gives its size and how to reduce it.
    """
    size = draws * chains * (8 * cells * groups + bytes_a_row * rows)
    if size > LARGEST:
        of = [f"{cells} cells"] * (groups > 0) + [f"{rows} rows"] * (bytes_a_row > 0)
        ways = ["fewer draws"] + ["items="] * (groups > 0) + ["rows="] * (bytes_a_row > 0)
        raise ConfigError(
            f"PB-C088: {draws} draws of {' and '.join(of)}{f' in {chains} chains' if chains > 1 else ''} take "
            f"{size / 1024**3:.1f} GiB, more than 2; pass {', or '.join([', '.join(ways[:-1]), ways[-1]])}"
        )


@dataclass(frozen=True)
class Draws:
    """Seeded draws from the posteriors or priors of every chain.

    Attributes:
        chains: the pairs of model and guide, one per chain.
        catalogue: ids and counts.
        number: number of draws in each chain.
        seed: seed of the draws.
        distribution: "posterior": q, or the prior for cells without rows; "prior": the prior.
    """

    chains: tuple[Chain, ...]
    catalogue: Catalogue
    number: int
    seed: int
    distribution: Literal["posterior", "prior"]

    @property
    def coords(self) -> dict[str, np.ndarray]:
        """The coordinates `chain` and `draw`."""
        return {"chain": np.arange(len(self.chains)), "draw": np.arange(self.number)}

    def popularity(self, chain: int, code: np.ndarray) -> np.ndarray:
        """Return draws of popularity of distinct cells `(D,)` in one chain, `(draw, D)`."""
        model, guide = self.chains[chain].model, self.chains[chain].guide
        cell = torch.from_numpy(np.asarray(code, dtype=np.int64)).to(guide.device)
        unknown = self.catalogue.without_rows(by_item=model.prior.joins_periods)[code]
        from_prior = unknown if self.distribution == "posterior" else np.ones(len(code), dtype=bool)
        values = np.empty((self.number, len(code)))
        for chosen, owner in ((from_prior, model.prior), (~from_prior, guide.popularity)):
            if chosen.any():
                with torch.no_grad():
                    values[:, chosen] = self._of(owner, cell[torch.from_numpy(chosen).to(cell.device)], chain)
        return values

    def _of(self, owner: PopularityPrior | PopularityGuide, cell: Tensor, chain: int) -> np.ndarray:
        """Return draws of what a prior or a guide says of cells `(D,)`, `(draw, D)`; periods of an item as they hang together."""
        seeded: dict[str, Any] = {"draws": self.number, "seed": self.seed, "chain": chain}
        if not isinstance(owner, RandomWalkPrior | MarkovGuide):
            one = owner.distribution if isinstance(owner, PopularityPrior) else owner.posterior
            return draw(one(cell), keys=cell.tolist(), **seeded)
        periods = torch.arange(owner.periods, device=cell.device)
        item, place = (cell // owner.periods).unique(return_inverse=True)
        whole = (item.unsqueeze(-1) * owner.periods + periods).reshape(-1)
        found = owner.chain(whole)
        noise = draw(Normal(torch.zeros_like(found.loc), 1.0), keys=whole.tolist(), **seeded)
        values = found.of_noise(torch.from_numpy(noise).to(found.loc))
        return np.asarray(values[:, place * owner.periods + cell % owner.periods].cpu().numpy())

    def moving_with_intercept(self, chain: int, code: np.ndarray) -> np.ndarray:
        """Return draws of popularity of distinct cells `(D,)` in its marginal posterior, `(draw, D)`.

        All cells of a draw move together, with one draw of the intercept; and each with the quality of its item.
        """
        values, intercept = self.popularity(chain, code), self.chains[chain].guide.intercept
        if self.distribution == "prior" or not float(intercept.variance):
            return values
        model, guide = self.chains[chain].model, self.chains[chain].guide
        moves = self._intercept(chain)[:, None] * float(intercept.variance.sqrt())
        moved = moves * intercept.of_cell.cpu().numpy()[code] * (self.catalogue.count[code] > 0)
        if model.affinity.item_quality is not None:
            periods = self.catalogue.periods
            moved = moved + moved_by_quality(guide, code, periods, draws=self.number, seed=self.seed, chain=chain)
        real = model.latents["popularity"].support is constraints.real
        return values + moved if real else values * np.exp(moved)

    def _intercept(self, chain: int) -> np.ndarray:
        """Return draws of the intercept in standard deviations, `(draw,)`."""
        unit = Normal(torch.zeros(1, dtype=torch.float64), 1.0)
        return draw(unit, draws=self.number, seed=self.seed, keys=[OF_INTERCEPT], chain=chain)[:, 0]

    def quality(self, chain: int, item: np.ndarray) -> np.ndarray:
        """Return draws of the quality of items in its marginal posterior, `(draw, n)` logits, which popularity moves with."""
        model, guide = self.chains[chain].model, self.chains[chain].guide
        return quality_draws(model, guide, item, draws=self.number, seed=self.seed, chain=chain)

    def weights(self, chain: int) -> dict[str, np.ndarray]:
        """Return draws of the global weights of one chain, `(draw, F)` per site."""
        guide, found = self.chains[chain].guide, {}
        first_key = (
            self.catalogue.cells
        )  # above the keys of all cells, so that no weight shares a random stream with a cell
        with torch.no_grad():
            distributions = guide.global_weights() if self.distribution == "posterior" else guide.global_priors()
            for site, distribution in distributions.items():
                keys = range(first_key, first_key := first_key + len(distribution.loc))
                found[site] = draw(distribution, draws=self.number, seed=self.seed, keys=keys, chain=chain)
        return found

    def shared_numbers(self, chain: int) -> dict[str, np.ndarray]:
        """Return draws of the numbers that all cells share, in their joint posterior: `(draw,)`, or `(draw, d)`, by name."""
        if self.distribution == "prior":
            return {}
        model, guide = self.chains[chain].model, self.chains[chain].guide
        return global_draws(model, guide, self.catalogue, self._intercept(chain), seed=self.seed, chain=chain)

    def dataset(self, cells: CellCoords) -> xr.Dataset:
        """Return popularity and quality of some cells, what all cells share, and a variable per site of global weights."""
        chains = range(len(self.chains))
        popularity = np.stack([self.moving_with_intercept(chain, cells.code) for chain in chains])
        found = xr.Dataset(
            {"popularity": cells.array(popularity, ("chain", "draw"))}, coords={**self.coords, **cells.coords}
        )
        if self.distribution == "posterior" and self.chains[0].model.affinity.item_quality is not None:
            item = cells.code[:: self.catalogue.periods] // self.catalogue.periods
            found["item_quality"] = ("chain", "draw", "item"), np.stack([self.quality(chain, item) for chain in chains])
        shared = [self.weights(chain) | self.shared_numbers(chain) for chain in chains]
        for name, first in shared[0].items():
            if all(
                name in each and each[name].shape == first.shape for each in shared
            ):  # restarts differ in dimensions
                found[name] = self._shared_variable(name, np.stack([each[name] for each in shared]))
        return found

    def _shared_variable(self, name: str, values: np.ndarray) -> xr.DataArray:
        """Return a shared number, `(chain, draw)`, or several, `(chain, draw, F)`, with the names of their features if any."""
        dims = ("chain", "draw", f"{name}_feature" if (names := self._features(name)) else f"{name}_dimension")
        coords = {dims[-1]: np.array(names, dtype=str)} if names else {}
        return xr.DataArray(values, dims=dims[: values.ndim], coords=coords)

    def _features(self, name: str) -> tuple[str, ...]:
        guide = self.chains[0].guide
        return guide.features(name) if name in guide.global_weights() else ()


def constants_dataset(catalogue: Catalogue, cells: CellCoords) -> xr.Dataset:
    """Return the counts and positives of cells."""
    columns = {"count": catalogue.count, "positives": catalogue.positives}
    return xr.Dataset({name: cells.array(values[cells.code]) for name, values in columns.items()}, coords=cells.coords)
