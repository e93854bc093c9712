"""The one seam to ArviZ's versions: containers, and what PSIS-LOO returns. It needs neither torch nor Pyro.

ArviZ 0.23 has a container of its own, `InferenceData`; ArviZ 1 works on xarray's `DataTree`, and still answers to the
other name, with a warning. The fields of their LOO have other names too.
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
        elpd: expected log predictive density of the rows, summed, in nats.
        se: its standard error over rows, in nats.
        p: effective number of parameters.
        k_hat: `(R,)` Pareto shape of each row's weights.
        good_k: the shape above which a row's term is not to be trusted.
    """

    elpd: float
    se: float
    p: float
    k_hat: np.ndarray
    good_k: float


def load_arviz() -> Any:
    """Return the module, without the announcements of its import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ 0.23 announces its own refactoring, once a day
        import arviz
    return arviz


def is_tree() -> bool:
    """Return whether ArviZ works on xarray's trees."""
    return int(load_arviz().__version__.partition(".")[0]) >= 1


def to_container(groups: Mapping[str, xr.Dataset]) -> Any:
    """Return the groups as ArviZ's container."""
    if is_tree():
        return xr.DataTree.from_dict(dict(groups))
    return load_arviz().InferenceData(**groups)


def leave_one_out(container: Any) -> LeaveOneOut:
    """Return PSIS-LOO of a container with one variable of log-likelihoods, whose draws are independent."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter")  # it is returned
        # reff is 1: draws of q are no Markov chain
        found = load_arviz().loo(container, pointwise=True, reff=1.0)
    names = ("elpd", "se", "p") if is_tree() else ("elpd_loo", "se", "p_loo")
    elpd, se, p = (float(getattr(found, name)) for name in names)
    return LeaveOneOut(elpd, se, p, np.asarray(found.pareto_k.values), float(found.good_k))
