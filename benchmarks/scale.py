"""How the time of a training step depends on the sizes: of the catalogue, and of the log.

A step meets one batch, and no more users, items and cells than the batch does. Two comparisons:

* tables: 1,000,000 users and 100,000 items against 6,040 and 3,706, with point vectors of 64 dimensions and with the
  default affinity, whose vectors have a posterior. The batches are alike, but a larger catalogue has more distinct users
  and items in a batch, and its rows are not in the processor's cache;
* rows: logs of 1e6 and 1e7 rows against 1e5, with the small catalogue and the vectors of `step.py`; 1e8 with `--large`,
  which needs about 8 GB.

The last line has the median ratios.
"""

import gc
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import pyro
import typer
from step import BATCH, package_step
from turns import in_turns, print_command, print_ratio, print_times

from pyro_popbias.assembly.pair import assemble
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.study.study import Study

SMALL, LARGE = (6_040, 3_706), (1_000_000, 100_000)  # users and items
POINT = {"dim": 64, "posterior": "point", "user_bias": False}
WARM = 20  # steps before the first turn


def events_of(rows: int, users: int, items: int) -> Interactions:
    """Return synthetic ratings as int32 codes, of which a few items and users have most; rows are whole batches.

    Args:
        rows: number of ratings, rounded down.
        users: number of users.
        items: number of items.
    """
    rows = rows // BATCH * BATCH
    rng = np.random.default_rng(0)
    share = np.cumsum(1 / np.arange(1, items + 1) ** 0.8)
    item = np.searchsorted(share, share[-1] * rng.random(rows, dtype=np.float32)).clip(max=items - 1).astype(np.int32)
    user = (users * rng.random(rows, dtype=np.float32) ** 2).clip(max=users - 1).astype(np.int32)
    label = (rng.random(rows, dtype=np.float32) < rng.beta(2, 3, items).astype(np.float32)[item]).astype(np.int8)
    ids = (pd.Index(np.arange(size).astype(str)) for size in (users, items))
    return Interactions(*ids, user=user, item=item, label=label)


def step_of(events: Interactions, *, compiled: bool = False, **affinity: object) -> Callable[[], object]:
    """Return the package's own step on interactions.

    Args:
        events: the interactions.
        compiled: whether steps are compiled.
        affinity: keys of the affinity; point vectors have no counts as data beside them.
    """
    exposure = "none" if affinity.get("posterior") == "point" else "auto"
    study = Study(
        model={"name": "product", "exposure": exposure, "affinity": {"name": "embedding", **affinity}},
        guide={"name": "gamma"},
        training={"batch_size": BATCH, "validation": 0.0, "device": "cpu", "compile": compiled},
    )
    return package_step(assemble(events, study))


def main(
    turns: Annotated[int, typer.Option(help="turns of all contestants")] = 15,
    steps: Annotated[int, typer.Option(help="timed steps of each in a turn")] = 4,
    rows: Annotated[int, typer.Option(help="rows of the logs that compare catalogues")] = 5_000_000,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="compiled steps in the comparison of catalogues")
    ] = False,
    large: Annotated[bool, typer.Option("--large", help="a log of 100,000,000 rows too")] = False,
) -> None:
    """Time steps in turns, and print medians, quartiles and ratios."""
    pyro.enable_validation(False)
    print_command()
    few, many = (events_of(rows, *sizes) for sizes in (SMALL, LARGE))
    tables = {
        "point vectors, 6,040 x 3,706": step_of(few, **POINT, compiled=compiled),
        "point vectors, 1,000,000 x 100,000": step_of(many, **POINT, compiled=compiled),
        "default, 6,040 x 3,706": step_of(few, compiled=compiled),
        "default, 1,000,000 x 100,000": step_of(many, compiled=compiled),
    }
    times = in_turns(tables, turns, repeats=steps, warm=WARM)
    print_times(times)
    own = list(times.values())
    del tables, few, many
    gc.collect()
    sizes = [10**power for power in ((5, 6, 7, 8) if large else (5, 6, 7))]
    logs = {f"point vectors, {size:,} rows": step_of(events_of(size, *SMALL), **POINT) for size in sizes}
    by_rows = in_turns(logs, turns, repeats=steps, warm=WARM)
    print_times(by_rows)
    found = {
        "point": print_ratio("1,000,000 x 100,000 over small, point", own[1], own[0]),
        "default": print_ratio("1,000,000 x 100,000 over small, default", own[3], own[2]),
    }
    first, *others = by_rows.values()
    for size, each in zip(sizes[1:], others, strict=True):
        found[f"n{size:.0e}".replace("+0", "")] = print_ratio(f"{size:,} rows over {sizes[0]:,}", each, first)
    print(*(f"{name}={ratio:.2f}" for name, ratio in found.items()))


if __name__ == "__main__":
    typer.run(main)
