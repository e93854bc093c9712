"""How much memory reading, fitting and recommending take: the peak of each, beside what tables need on paper.

Each size has a process of its own. The peak of the resident set is reset between phases (Linux), so that each phase shows
its own; it includes what is held already, and what was imported, which the first column shows. On paper are the codes and
labels of the rows, and for each learned number its value and the two moments of the optimizer, with variances where vectors
have them.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from turns import print_command

MIB = 1024**2
SIZES = ((100_000, 6_040, 3_706), (1_000_000, 6_040, 3_706), (1_000_000, 200_000, 20_000))
LARGE = ((10_000_000, 6_040, 3_706),)
DIM = 32


def peak() -> float:
    """Return the peak of the resident set in MiB since the last call, and begin a new one."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return found / 1024


def measure(rows: int, users: int, items: int, posterior: str) -> dict[str, float]:
    """Return the peaks of phases in MiB, in this process.

    Args:
        rows: of a Parquet file of interactions.
        users: number of users.
        items: number of items.
        posterior: of the vectors.
    """
    import pandas as pd
    from scale import events_of

    import pyro_popbias as pb

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        events = events_of(rows, users, items)
        frame = pd.DataFrame({"user": events.user, "item": events.item, "label": events.label})
        frame.to_parquet(path)
        del events, frame
        pb.fit  # noqa: B018  imports what training needs
        peak()
        found = {"import": peak()}
        events = pb.read_interactions(path, user="user", item="item", label="label")
        found["read"] = peak()
    affinity = {"name": "embedding", "dim": DIM, "posterior": posterior}
    training = {"epochs": 1, "phase_two": 1, "batch_size": 16_384, "device": "cpu"}
    fit = pb.fit(events, study=pb.Study(model={"affinity": affinity}, training=training), progress=False)
    found["fit"] = peak()
    some = events.users[np.arange(min(1_000, len(events.users)))]
    fit.recommend(users=some, k=20)
    found["recommend"] = peak()
    learned = sum(each.numel() * each.element_size() for part in (fit.model, fit.guide) for each in part.parameters())
    held = sum(column.nbytes for column in (events.user, events.item, events.label))
    return found | {"rows": held / MIB, "tables": learned / MIB, "with optimizer": 3 * learned / MIB}


def main(
    large: Annotated[bool, typer.Option("--large", help="10,000,000 rows too")] = False,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure each size in a fresh process, and print a table in MiB."""
    if one:
        rows, users, items, posterior = one.split(",")
        print(json.dumps(measure(int(rows), int(users), int(items), posterior)))
        return
    print_command()
    names = ("import", "read", "fit", "recommend", "rows", "tables", "with optimizer")
    print(f"{'MiB':<52}" + "".join(f"{name:>15}" for name in names))
    for posterior in ("point", "mean-field"):
        for size in SIZES + (LARGE if large else ()):
            asked = ",".join(map(str, (*size, posterior)))
            done = subprocess.run(  # noqa: S603  this file
                [sys.executable, __file__, "--one", asked], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            what = f"{posterior}: {size[0]:,} rows, {size[1]:,} x {size[2]:,}"
            print(f"{what:<52}" + "".join(f"{found[name]:>15.1f}" for name in names), flush=True)


if __name__ == "__main__":
    typer.run(main)
