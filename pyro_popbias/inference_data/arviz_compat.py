"""The one module that depends on the version of ArviZ: containers, and PSIS-LOO. It needs neither torch nor Pyro.

ArviZ 0.23 has its own container, `InferenceData`; ArviZ 1 uses xarray's `DataTree` and keeps the old name with a
warning. The fields of their LOO results have different names too.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """PSIS-LOO of a container.

    Attributes:
        elpd: expected log predictive density, summed over rows, in nats.
        se: its standard error over rows, in nats.
        p: effective number of parameters.
        k_hat: `(R,)` Pareto shape of each row's weights.
        good_k: the largest shape at which a row's term is reliable.
    """

    elpd: float
    se: float
    p: float
    k_hat: np.ndarray
    good_k: float


def load_arviz() -> Any:
    """Import ArviZ without its import-time warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ 0.23 announces its refactoring, once a day
        import arviz
    return arviz


def is_tree() -> bool:
    """Return whether ArviZ uses xarray's `DataTree`."""
    return int(load_arviz().__version__.partition(".")[0]) >= 1


def to_container(groups: Mapping[str, xr.Dataset]) -> Any:
    """Return the groups as the container of the installed ArviZ."""
    if is_tree():
        return xr.DataTree.from_dict(dict(groups))
    return load_arviz().InferenceData(**groups)


def leave_one_out(container: Any) -> LeaveOneOut:
    """Return PSIS-LOO of a container with one variable of log-likelihoods, whose draws are independent."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # it is returned
        # reff is 1: draws of q are independent
        found = load_arviz().loo(container, pointwise=True, reff=1.0)
    names = ("elpd", "se", "p") if is_tree() else ("elpd_loo", "se", "p_loo")
    elpd, se, p = (float(getattr(found, name)) for name in names)
    return LeaveOneOut(elpd, se, p, np.asarray(found.pareto_k.values), float(found.good_k))
