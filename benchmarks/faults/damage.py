"""Flip bits and cut ends of the files of a run folder, a checkpoint and a stored log, and open them.

`python benchmarks/faults/damage.py FLIPS STRIDE SEED OUT`: so many flips, and every so many-th length of each file.
"""

import json
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import pyro_popbias as pb
from pyro_popbias.data.atomic_files import sha256
from pyro_popbias.data.stored_log import StoredLog
from pyro_popbias.errors import PopBiasError
from pyro_popbias.storage.checkpoints import Checkpoints

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "schema-6"
NOT_READ = {".lock"}


@dataclass(frozen=True)
class Kept:
    """Files that are kept, and how they are opened.

    Attributes:
        files: all of them.
        read: opens them, and returns a fingerprint of all that they hold for what comes after.
    """

    files: list[Path]
    read: Callable[[], str]


def _fingerprint(*parts: object) -> str:
    return sha256("\1".join(map(str, parts)).encode())


def run_in(folder: Path) -> Kept:
    """Return a finished run."""
    run = shutil.copytree(GOLDEN, folder / "run")

    def read() -> str:
        fit = pb.load(run)
        modules = [tensor.numpy().tobytes() for part in (fit.model, fit.guide) for tensor in part.state_dict().values()]
        codes = [getattr(fit.events, name).tobytes() for name in ("user", "item", "label")]
        texts = [fit.study.to_toml(), fit.history.to_csv(), fit.popularity().to_csv(), fit.card]
        return _fingerprint(modules, codes, texts, list(fit.catalogue.users), list(fit.catalogue.items))

    return Kept([path for path in run.iterdir() if path.is_file()], read)


def checkpoint_in(folder: Path) -> Kept:
    """Return the checkpoint of a run."""
    run = shutil.copytree(GOLDEN, folder / "run")
    (description,) = (run / "checkpoints").glob("*.json")
    identity = json.loads(json.loads(description.read_text())["content"])["identity"]

    def read() -> str:
        progress, tensors = Checkpoints(run, identity).latest()
        return _fingerprint(progress, sorted((name, tensor.numpy().tobytes()) for name, tensor in tensors.items()))

    return Kept(list((run / "checkpoints").iterdir()), read)


def log_in(folder: Path) -> Kept:
    """Return a stored log, whose rows are gone through as a training does."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": rng.integers(20, size=400), "item": rng.integers(9, size=400)}).astype(str)
    frame.assign(label=rng.integers(2, size=400)).to_parquet(folder / "rows.parquet")
    pb.Interactions.from_parquet(
        folder / "rows.parquet", folder=folder / "log", user="user", item="item", label="label"
    )

    def read() -> str:
        log = StoredLog.open(folder / "log")
        log.require_whole()
        counts = [
            array.tobytes() for array in (log.count, log.positives, log.user_count, log.user_positives, log.first)
        ]
        return _fingerprint(
            list(log.users), list(log.items), log.rows, log.periods, log.edges, counts, log.mapped.tobytes()
        )

    return Kept([path for path in (folder / "log").iterdir() if path.name not in NOT_READ], read)


KINDS = {"run folder": run_in, "checkpoint": checkpoint_in, "stored log": log_in}


def damages(files: list[Path], flips: int, stride: int, draws: random.Random) -> Iterator[tuple[Path, str, bytes]]:
    """Yield a file, what is done to it, and its content then."""
    sizes = [path.stat().st_size for path in files]
    for path in draws.choices(files, weights=sizes, k=flips):
        content = bytearray(path.read_bytes())
        place, bit = draws.randrange(len(content)), draws.randrange(8)
        content[place] ^= 1 << bit
        yield path, f"bit {bit} of byte {place}", bytes(content)
    for path in files:
        content = path.read_bytes()
        for length in range(draws.randrange(stride) if stride > 1 else 0, len(content), stride):
            yield path, f"cut to {length} bytes", content[:length]


def outcome(kept: Kept, path: Path, content: bytes, right: str) -> str:
    """Return how a damaged file is met: "refused", "harmless" where all is as it was, or what is wrong."""
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        return "harmless" if kept.read() == right else "silent"
    except PopBiasError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        path.write_bytes(whole)


def main() -> None:
    """Write how many damages were refused, harmless or neither, by what was damaged."""
    flips, stride, draws = int(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3])  # noqa: S311  places of bits
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, object]] = {}
    for name, make in KINDS.items():
        with tempfile.TemporaryDirectory() as scratch:
            kept = make(Path(scratch))
            right = kept.read()
            counts, wrong = {"refused": 0, "harmless": 0}, []
            for path, what, content in damages(kept.files, flips // len(KINDS), stride, draws):
                met = outcome(kept, path, content, right)
                if met in counts:
                    counts[met] += 1
                else:
                    wrong.append(f"{path.name}, {what}: {met}")
        found[name] = {**counts, "wrong": wrong}
    Path(sys.argv[4]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
