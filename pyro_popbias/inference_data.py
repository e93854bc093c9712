"""The one seam to ArviZ: groups of xarray datasets become whatever the installed ArviZ works on.

ArviZ 0.23 has a class of its own, `InferenceData`; ArviZ 1 works on xarray's `DataTree`.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import xarray as xr


def to_inference_data(groups: Mapping[str, xr.Dataset]) -> Any:
    """Return the groups as ArviZ's container."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ 0.23 announces its own refactoring, once a day
        import arviz

    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(**dict[str, Any](groups))
    return xr.DataTree.from_dict(dict(groups))
