"""The commands that write, each in a small folder of its own, and what must be there once they are done."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STUDY = """\
[data]
path = "rows.csv"
user = "user"
item = "item"
label = "label"
[model]
affinity = { name = "embedding", dim = 2 }
[training]
epochs = 2
batch_size = 400
phase_two = 1
device = "cpu"
"""
SIZES = ("--users", "20", "--items", "9", "--interactions", "200")
EXPORTED = ("out/items.parquet", "out/users.parquet", "out/lists.parquet", "out/manifest.json")
SMALL = ("study.toml", "--items", "10", "--interactions", "200")
SPACE = "[training]\nlearning_rate = [0.01, 0.1]\n"


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        name: of it.
        arguments: of `popbias`; empty where it is a call.
        outputs: files that an undisturbed one writes the same content to every time.
        call: in place of a command line; returns an exit code.
        replaces: whether outputs are there already, with other content.
    """

    name: str
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    call: Callable[[], int] | None = None
    replaces: bool = False

    def run(self, *more: str) -> int:
        """Run it in the working directory; return its exit code."""
        if self.call is not None:
            return self.call()
        return popbias(*self.arguments, *more)


def popbias(*arguments: str) -> int:
    """Run a command line in this process; return its exit code, 1 after a traceback on standard error."""
    from pyro_popbias.cli.app import main

    sys.argv = ["popbias", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _save() -> int:
    """Save a fit; after an error it must still predict and be saved elsewhere."""
    import pyro_popbias as pb

    fit = pb.load("run")
    before = fit.popularity()
    try:
        fit.save("saved")
    except pb.RunFolderError as error:
        sys.stderr.write(f"error: {error}\n")
        return 5 if fit.popularity().equals(before) else 1
    return 0


def _read_log() -> int:
    import pyro_popbias as pb

    try:
        pb.Interactions.from_parquet("rows.parquet", folder="log", user="user", item="item", label="label")
    except pb.PopBiasError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _table(name: str, *arguments: str, output: str) -> Command:
    return Command(name, (name, *arguments, "-o", output), (output,), replaces=True)


COMMANDS = [
    Command("save", (), ("saved/parameters.safetensors", "saved/popularity.csv"), call=_save),
    Command("fit", ("fit", "study.toml", "--out", "new"), ("new/parameters.safetensors", "new/popularity.csv")),
    Command("update", ("update", "run", "--data", "later.csv", "--out", "new"), ("new/parameters.safetensors",)),
    Command("read a log", (), ("log/rows.bin", "log/users.jsonl", "log/counts.safetensors"), call=_read_log),
    Command("tune", ("tune", "study.toml", "--space", "space.toml", "--trials", "2", "--out", "found"), ("found/best.toml",)),
    _table("popularity", "run", output="table.csv"),
    _table("recommend", "run", "-k", "3", output="table.csv.gz"),
    _table("predict", "run", "pairs.csv", output="table.parquet"),
    _table("evaluate", "run", "later.csv", output="table.csv"),
    _table("items", "quality", output="table.csv"),
    Command("calibrate", ("calibrate", *SMALL, "-o", "r.csv", "--plot", "r.png"), ("r.csv", "r.png"), replaces=True),
    _table("compare", "run", "other", output="table.csv"),
    Command("export", ("export", "run", "-o", "out", "--vectors", "approximate", "--lists", "2"), EXPORTED),
    Command("init", ("init", "-o", "other.toml"), ("other.toml",)),
    _table("report", "run", output="report.html"),
    Command(
        "simulate",
        ("simulate", "study.toml", *SIZES, "--events", "e.csv", "--truth", "t.csv"),
        ("e.csv", "t.csv"),
        replaces=True,
    ),
]  # fmt: skip
BY_NAME = {command.name: command for command in COMMANDS}


def prepare(folder: Path) -> None:
    """Write what the commands read: rows, a study, a space, pairs and a run."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    pairs = pd.DataFrame(
        [(f"u{user}", f"i{item}") for user in range(15) for item in range(10)], columns=["user", "item"]
    )
    pairs = pairs.sample(frac=1, random_state=0, ignore_index=True).assign(
        label=lambda all_: rng.integers(2, size=len(all_))
    )
    rows, later = pairs[:110], pairs[110:]
    rows.to_csv(folder / "rows.csv", index=False)
    rows.to_parquet(folder / "rows.parquet", index=False)
    later.to_csv(folder / "later.csv", index=False)
    later[["user", "item"]].to_csv(folder / "pairs.csv", index=False)
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    (folder / "space.toml").write_text(SPACE, encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        quality = ("--set", "model.exposure=poisson", "--set", "model.affinity.item_quality=true")
        for name, assignments in (("run", ()), ("quality", quality)):
            if popbias("fit", "study.toml", "--out", name, *assignments):
                raise RuntimeError(f"{name} could not be fitted")
        shutil.copytree("run", "other")
    finally:
        os.chdir(before)
