"""How many rows per second two processes train together, over what one of them does alone; one thread each.

Contestants take turns: all ranks train their shares for some steps, then the first rank trains the whole log for as many steps
while the others wait, and what counts is the median over turns of the ratios within a turn. Steps have the same global batch,
so that two ranks have half of it each. The log is that of `step.py`, the processes are started by torchrun:

    torchrun --nproc-per-node 2 benchmarks/ranks.py

The last line is `ratio=R quartiles=A..B cpu=C exchange=M MB`: rows per second of all over those of one; the same by the CPU
time of the slowest rank, which a busy machine distorts less but which leaves out that ranks wait for each other; and what a
rank sends per step.
"""

import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pyro
import torch
import torch.distributed as dist
import typer
from step import MIDDLE, endless, make_pair

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair
from pyro_popbias.training.loop import TrainingLoop
from pyro_popbias.training.processes import Processes, processes_of
from pyro_popbias.training.ranks import Ranks

WARM = 20  # steps before the first turn


def step_of(pair: Pair, processes: Processes) -> Callable[[], object]:
    """Return the step of a training that some processes share."""
    with local_parameters():
        training, batches = TrainingLoop(pair, on_epoch=lambda _: None, processes=processes), endless(processes.pair)

    def step() -> None:
        with local_parameters():
            training._step(next(batches))

    return step


def seconds(step: Callable[[], object], steps: int) -> tuple[float, float]:
    """Return how long some steps take by the clock, and of this process's CPU time."""
    step()
    began, worked = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    return time.perf_counter() - began, time.process_time() - worked


def sent(of: list[int]) -> Callable[[Ranks, torch.Tensor], list[torch.Tensor]]:
    """Return the exchange of a step's messages that also notes their length in bytes."""
    exchange = Ranks.gathered

    def gathered(ranks: Ranks, message: torch.Tensor) -> list[torch.Tensor]:
        of.append(message.numel() * message.element_size())
        return exchange(ranks, message)

    return gathered


def main(
    rows: Annotated[int, typer.Option(help="rows of the log")] = MIDDLE,
    batch: Annotated[int, typer.Option(help="rows of a step, of all ranks together")] = 65_536,
    turns: Annotated[int, typer.Option(help="turns of both contestants")] = 15,
    steps: Annotated[int, typer.Option(help="timed steps of each in a turn")] = 5,
    model: Annotated[str, typer.Option(help="the model")] = "product",
    posterior: Annotated[str, typer.Option(help="of the vectors, of 64 dimensions: point or mean-field")] = "point",
) -> None:
    """Time the steps in turns and print rates, ratio and traffic."""
    pyro.enable_validation(False)
    torch.set_num_threads(1)
    affinity = {"dim": 64, "scale": 0.5, "posterior": posterior, "user_bias": False}
    whole, alone = make_pair(rows, model, **affinity), make_pair(rows, model, **affinity)
    for pair in (whole, alone):
        pair.study.training.__dict__["batch_size"] = batch
    processes, messages = processes_of(whole), []
    Ranks.gathered = sent(messages)
    together, by_itself = step_of(whole, processes), step_of(alone, Processes(alone))
    leads = dist.get_rank() == 0
    for _ in range(WARM):
        together()
    times = []
    for _ in range(turns):
        dist.barrier()
        both = seconds(together, steps)
        slowest = torch.tensor(both)
        dist.all_reduce(slowest, dist.ReduceOp.MAX)
        one = seconds(by_itself, steps) if leads else both
        times.append((slowest.tolist(), one))
    if leads:
        report(np.array(times), steps * batch, 1e-6 * float(np.median(messages)))
    dist.destroy_process_group()


def report(times: np.ndarray, rows: int, sent: float) -> None:
    """Print rates and ratios.

    Args:
        times: `(turns, 2, 2)` of all ranks and of one; by the clock, and of CPU.
        rows: that each of them trains in a turn.
        sent: megabytes of a rank's message.
    """
    both, one = times.transpose(1, 2, 0)
    for name, (clock, work) in ((f"{dist.get_world_size()} processes", both), ("one process", one)):
        rate, low, high = rows / np.quantile(clock, (0.5, 0.75, 0.25))
        by_work = rows / np.median(work)
        print(f"{name:<14} {rate:12,.0f} rows/s   quartiles {low:,.0f} {high:,.0f}   by CPU time {by_work:,.0f}")
    (ratio, low, high), by_work = np.quantile(one[0] / both[0], (0.5, 0.25, 0.75)), np.median(one[1] / both[1])
    print(f"ratio={ratio:.2f} quartiles={low:.2f}..{high:.2f} cpu={by_work:.2f} exchange={sent:.2f} MB")


if __name__ == "__main__":
    typer.run(main)
