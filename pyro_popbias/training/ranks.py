"""The processes of one fit, and what they say to each other: torch.distributed, by gloo and NCCL.

Every call is one that all ranks make, in the same order. Sums have the same bits on all ranks, so that ranks that decide by
them decide alike.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self, final

import numpy as np
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from pyro_popbias.errors import LostRankError
from pyro_popbias.training.environment import Launch

TIMEOUT = timedelta(minutes=30)  # of a rank that does not answer: the first one may be writing a large checkpoint


@final
class Ranks:
    """The group of processes that this one belongs to.

    Args:
        launch: how this process was started.

    Attributes:
        rank: the number of this process, from 0.
        number: of processes.
    """

    def __init__(self, launch: Launch) -> None:
        self.rank, self.number = launch.rank, launch.processes

    @classmethod
    def joined(cls, launch: Launch) -> Self:
        """Return the ranks, met: tensors on the CPU go by gloo, those of CUDA devices by NCCL.

        Raises:
            LostRankError: the others are not there.
        """
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            with _connected("the processes met"):
                dist.init_process_group(backend, timeout=TIMEOUT)
        return cls(launch)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over ranks."""
        summed = value.detach().contiguous().clone()
        with _connected("sums were exchanged"):
            dist.all_reduce(summed)
        return summed

    def gathered(self, message: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, which have the same shape."""
        found = [torch.empty_like(message) for _ in range(self.number)]
        with _connected("gradients were exchanged"):
            dist.all_gather(found, message)
        return found

    def share_rows(self, table: Tensor, owned: Sequence[Tensor]) -> None:
        """Give all ranks the rows that each of them has, in place.

        Args:
            table: `(R, ...)` of which a rank's own rows are right.
            owned: the rows of each rank.
        """
        for rank, index in enumerate(owned):
            rows = table.index_select(0, index)
            with _connected("tables were exchanged"):
                dist.broadcast(rows, rank)
            if rank != self.rank:
                table.index_copy_(0, index, rows)

    def from_leader(self, facts: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Return what the first rank has: something that JSON holds, and tensors by name."""
        content = [json.dumps(facts).encode(), safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()})]
        sizes = torch.tensor([len(part) for part in content])
        with _connected("a checkpoint was read"):
            dist.broadcast(sizes, 0)
            for k, size in enumerate(sizes.tolist()):
                own = content[k] if self.rank == 0 else bytes(size)
                part = torch.from_numpy(np.frombuffer(own, dtype=np.uint8).copy())
                dist.broadcast(part, 0)
                content[k] = part.numpy().tobytes()
        return json.loads(content[0]), safetensors.torch.load(content[1])


@contextmanager
def _connected(when: str) -> Iterator[None]:
    """Say what has happened where another rank does not answer."""
    try:
        yield
    except LostRankError:
        raise
    except RuntimeError as error:  # torch's own of the network are among these
        reason = str(error).strip().splitlines()[0]
        raise LostRankError(
            f"PB-R150: another process of this fit did not answer when {when} ({reason}): it was killed, or had an error of its "
            "own; the run folder keeps its last checkpoint, continue by the same command with --resume"
        ) from error
