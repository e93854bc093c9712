"""What the timings share: contestants in turns, medians and quartiles of ratios within a turn, and what they ran on.

All contestants of a comparison run in one process and in turns, so that a busy machine slows all of them; what counts is
the median over turns of the ratios within a turn.
"""

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

QUARTILES = (0.25, 0.5, 0.75)


def print_command() -> None:
    """Print how this benchmark was called, and the machine in words."""
    print("$", shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]))
    print(f"{machine()}; torch {torch.__version__}, {torch.get_num_threads()} thread(s)")


def machine() -> str:
    """Return the number of cores and the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores, {models[0] if models else platform.machine()}"


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the time that a run takes."""
    began = clock()
    run()
    return clock() - began


def in_turns(
    contestants: Mapping[str, Callable[[], object]],
    turns: int,
    *,
    repeats: int = 1,
    warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Return the seconds of a run of each contestant, `(turns,)`, by name.

    Args:
        contestants: what to run, by name.
        turns: how often each has its turn.
        repeats: runs in a turn, after one that finds the other contestants' data in the cache where there are several.
        warm: runs before the first turn.
        clock: time of the wall, or of the processor.
    """
    for run in contestants.values():
        for _ in range(warm):
            run()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, run in contestants.items():
            if repeats > 1:
                run()
            times[name].append(sum(seconds(run, clock) for _ in range(repeats)) / repeats)
    return {name: np.array(each) for name, each in times.items()}


def print_times(times: Mapping[str, np.ndarray], *, unit: str = "ms", per: float = 1e-3) -> None:
    """Print the median time of each contestant, with quartiles.

    Args:
        times: seconds by name.
        unit: what is printed.
        per: seconds in a unit.
    """
    for name, own in times.items():
        low, middle, high = np.quantile(own / per, QUARTILES)
        print(f"{name:<44} {middle:9.2f} {unit}   quartiles {low:.2f} {high:.2f}")


def print_ratio(name: str, above: np.ndarray, below: np.ndarray) -> float:
    """Print and return the median ratio within a turn, with quartiles."""
    low, middle, high = np.quantile(above / below, QUARTILES)
    print(f"{name:<44} {middle:9.2f}      quartiles {low:.2f} {high:.2f}")
    return float(middle)
