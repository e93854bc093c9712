"""A log larger than memory: how long its reading takes, how much memory, and whether a training step depends on its length.

A synthetic log is written as a folder of Parquet files, sorted by user, and read by `Interactions.from_parquet` in a process of
its own. Another process starts a training of it, and takes steps in turns with a training of 100,000 of its rows in memory, which
has the same users, items and tables. A turn has as many steps as it takes to go through the rows that are mixed in memory once,
so that reads of the file are in it. What counts is the median over turns of the ratios within a turn.

The last line is `rows=N read=S memory_read=M start=T memory_train=M tables=P ratio=R`: seconds per 10 million rows, peak memory
in GiB, seconds from the log to the first step, GiB of parameters with Adam's moments, and step time over that of 100,000 rows.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyro
import typer

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair, assemble
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.stored_rows import BLOCK, MIXED
from pyro_popbias.study.study import Study
from pyro_popbias.training.loop import TrainingLoop

FILE_ROWS, GROUP_ROWS = 5_000_000, 500_000
SMALL, BATCH, DIM = 100_000, 16_384, 32
STEPS = BLOCK * MIXED // BATCH  # of a turn
COLUMNS = {"user": "user", "item": "item", "label": "label"}


def write_log(folder: Path, rows: int, users: int, items: int) -> None:
    """Write a log, sorted by user: ids of users are integers, those of items text, and a few items have most rows."""
    rng, share = np.random.default_rng(0), 1 / np.arange(1, items + 1) ** 0.8
    end, liked = np.cumsum(share / share.sum()), rng.beta(2, 3, items)
    for k, start in enumerate(range(0, rows, FILE_ROWS)):
        number = min(FILE_ROWS, rows - start)
        place = start + np.sort(rng.integers(number, size=number))
        item = np.searchsorted(end, rng.random(number)).clip(max=items - 1)
        frame = pd.DataFrame({"user": place * users // rows, "item": item, "label": rng.random(number) < liked[item]})
        frame["item"] = ("item-" + pd.Series(np.arange(items)).astype(str))[item].to_numpy()
        frame.to_parquet(folder / f"part-{k:04d}.parquet", index=False, row_group_size=GROUP_ROWS)


def peak() -> float:
    """Return the largest memory of this process so far, in GiB; that of getrusage would have the parent's in it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def read(folder: Path, log: Path) -> dict[str, float]:
    """Read a log, and return seconds and memory."""
    before, began = peak(), time.monotonic()
    events = Interactions.from_parquet(folder, **COLUMNS, folder=log)
    return {"rows": len(events), "seconds": time.monotonic() - began, "memory": peak(), "before": before}


def stepper(pair: Pair) -> Callable[[], None]:
    """Return what takes a step of a training."""
    with local_parameters():
        training = TrainingLoop(pair, on_epoch=lambda _: None)
    batches = (batch for epoch in count() for batch in pair.batches(epoch=epoch))

    def step() -> None:
        with local_parameters():
            training._step(next(batches))

    return step


def train(folder: Path, log: Path, turns: int) -> dict[str, object]:
    """Take steps of a log on disk and of a part of it in memory in turns; return their times in ms, and memory."""
    pyro.enable_validation(False)
    affinity = {"name": "embedding", "dim": DIM, "posterior": "point", "scale": 0.5}
    training = {"batch_size": BATCH, "validation": 0.1, "device": "cpu"}
    study = Study(model={"affinity": affinity}, guide={"name": "gamma"}, training=training)
    before, began = peak(), time.monotonic()
    stored = Interactions.from_parquet(folder, **COLUMNS, folder=log)
    large = assemble(stored, study)
    step = stepper(large)
    step()
    start = time.monotonic() - began
    for _ in range(STEPS):
        step()
    memory, module = peak(), large.objective(large.model, large.guide)
    tables = 3 * sum(each.numel() * each.element_size() for each in module.parameters()) / 2**30
    assert stored.stored is not None
    user, item, label = stored.stored.read(0, SMALL).T
    small = assemble(Interactions(stored.users, stored.items, user, item, label), study)
    contestants = [step, stepper(small)]
    times = []
    for turn in range(turns + 1):
        took = []
        for each in contestants if turn % 2 else contestants[::-1]:
            each()
            began = time.perf_counter()
            for _ in range(STEPS):
                each()
            took.append(1e3 * (time.perf_counter() - began) / STEPS)
        times.append(took if turn % 2 else took[::-1])
    return {"start": start, "memory": memory, "before": before, "tables": tables, "times": times[1:]}


def alone(part: str, folder: Path, log: Path, turns: int) -> dict[str, object]:
    """Run a part in a process of its own, and return what it found."""
    command = [
        sys.executable,
        __file__,
        "--part",
        part,
        "--folder",
        str(folder),
        "--log",
        str(log),
        "--turns",
        str(turns),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  this file itself
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(
    rows: Annotated[int, typer.Option(help="rows of the log")] = 10_000_000,
    users: Annotated[int, typer.Option(help="users")] = 20_000,
    items: Annotated[int, typer.Option(help="items")] = 5_000,
    turns: Annotated[int, typer.Option(help="turns of both trainings")] = 11,
    folder: Annotated[
        Path | None, typer.Option(help="of the Parquet files; by default one that is deleted again")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="of the stored log; likewise")] = None,
    part: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Write, read and train, and print what it took."""
    if part and folder is not None and log is not None:
        print(json.dumps(read(folder, log) if part == "read" else train(folder, log, turns)))
        return
    scratch = Path(tempfile.mkdtemp())
    try:
        folder, log = folder or scratch / "parquet", log or scratch / "log"
        if not folder.exists():
            folder.mkdir(parents=True)
            write_log(folder, rows, users, items)
        found = alone("read", folder, log, turns)
        read_in = 1e7 * float(str(found["seconds"])) / float(str(found["rows"]))
        print(f"read {found['rows']:,} rows in {found['seconds']:.1f} s: {read_in:.1f} s per 10,000,000 rows")
        print(f"peak memory {found['memory']:.2f} GiB, of which {found['before']:.2f} before the reading", flush=True)
        trained = alone("train", folder, log, turns)
        times = np.array(trained["times"])
        for name, own in zip((f"N={found['rows']:,} on disk", f"N={SMALL:,} in memory"), times.T, strict=True):
            print(
                f"{name:<28} {np.median(own):7.2f} ms   quartiles {np.quantile(own, 0.25):.2f} {np.quantile(own, 0.75):.2f}"
            )
        ratio = times[:, 0] / times[:, 1]
        low, high = np.quantile(ratio, (0.25, 0.75))
        print(f"ratio {np.median(ratio):.3f}   quartiles {low:.3f} {high:.3f}")
        print(
            f"rows={found['rows']} read={read_in:.1f} memory_read={found['memory']:.2f} start={trained['start']:.1f} "
            f"memory_train={trained['memory']:.2f} tables={trained['tables']:.2f} ratio={np.median(ratio):.3f}"
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
