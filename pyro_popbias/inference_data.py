"""ArviZ's container of a fit: one group a dataset, item ids as coordinates, and the one seam to ArviZ's versions.

ArviZ 0.23 has a class of its own, `InferenceData`; ArviZ 1 works on xarray's `DataTree`.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.distributions import Normal

from pyro_popbias.distributions import draw
from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import JointGuide
from pyro_popbias.interactions import Catalogue
from pyro_popbias.models import PopularityModel

LARGEST = 2 * 1024**3  # bytes of draws


@dataclass(frozen=True)
class Cells:
    """The cells of some items, as dimensions and coordinates.

    Attributes:
        code: `(D,)` cells, item by item.
        coords: `item`, and `period` where there is more than one.
    """

    code: np.ndarray
    coords: dict[str, np.ndarray]

    @classmethod
    def of_items(cls, ids: "pd.Index[str]", code: np.ndarray, periods: int) -> "Cells":
        """Return all cells of items by id and code."""
        coords = {"item": ids.to_numpy(dtype=object).astype(str)}
        if periods > 1:
            coords["period"] = np.arange(periods)
        return cls((code[:, None] * periods + np.arange(periods)).ravel(), coords)

    def array(self, values: np.ndarray, leading: tuple[str, ...] = ()) -> tuple[list[str], np.ndarray]:
        """Return dimensions and values `(*leading, item[, period])` of values `(*leading, D)`."""
        shape = values.shape[:-1] + tuple(len(coord) for coord in self.coords.values())
        return [*leading, *self.coords], values.reshape(shape)


def check_size(draws: int, cells: int, groups: int) -> None:
    """Refuse a container above 2 GiB.

    Raises:
        ConfigError: names the size, and the way out.
    """
    size = 8 * draws * cells * groups
    if size > LARGEST:
        raise ConfigError(
            f"PB-C088: {draws} draws of {cells} cells take {size / 1024**3:.1f} GiB, more than 2; "
            "pass fewer draws, or items="
        )


def draws_dataset(
    model: PopularityModel, guide: JointGuide | None, catalogue: Catalogue, cells: Cells, *, draws: int, seed: int
) -> xr.Dataset:
    """Return draws of popularity: from q, with the prior where a cell has no rows, or from the prior where guide is None."""
    cell = torch.from_numpy(cells.code).to(next(model.parameters()).device)
    with torch.no_grad():
        silent = catalogue.count[cells.code] == 0 if guide is not None else np.ones(len(cells.code), dtype=bool)
        values = np.empty((draws, len(cells.code)))
        for chosen, law in (
            (silent, model.prior.law),
            (~silent, guide.popularity.posterior if guide is not None else None),
        ):
            if law is not None and chosen.any():
                keys = cells.code[chosen]
                laws = law(cell[torch.from_numpy(chosen).to(cell.device)])
                values[:, chosen] = draw(laws, draws=draws, seed=seed, keys=keys)
    array = cells.array(values[None], ("chain", "draw"))
    return xr.Dataset({"popularity": array}, coords={"chain": [0], "draw": np.arange(draws), **cells.coords})


def weights_dataset(
    guide: JointGuide, laws: Mapping[str, Normal], *, draws: int, seed: int, first_key: int
) -> xr.Dataset:
    """Return draws of global weights, one variable a site with its features as coordinates.

    Args:
        guide: whose sites they are.
        laws: the law of each site, `(F,)`.
        draws: number of draws.
        seed: with a key, decides the draws.
        first_key: above the keys of all cells, so that no weight shares a stream with a cell.
    """
    found = xr.Dataset()
    for site, law in laws.items():
        keys = range(first_key, first_key := first_key + len(law.loc))
        dim = f"{site}_feature"
        values = draw(law, draws=draws, seed=seed, keys=keys)[None]
        found[site] = xr.DataArray(
            values, dims=("chain", "draw", dim), coords={dim: np.array(guide.features(site), dtype=str)}
        )
    return found


def constants_dataset(catalogue: Catalogue, cells: Cells) -> xr.Dataset:
    """Return count and positives of cells."""
    columns = {"count": catalogue.count, "positives": catalogue.positives}
    return xr.Dataset({name: cells.array(values[cells.code]) for name, values in columns.items()}, coords=cells.coords)


def to_inference_data(groups: Mapping[str, xr.Dataset]) -> Any:
    """Return the groups as ArviZ's container."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ 0.23 announces its own refactoring, once a day
        import arviz
    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(**dict[str, Any](groups))
    return xr.DataTree.from_dict(dict(groups))
