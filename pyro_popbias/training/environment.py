"""What torchrun tells a process about its fit: how many processes there are, and which one it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, final

from pyro_popbias.errors import ConfigError

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@final
@dataclass(frozen=True)
class Launch:
    """How a process was started.

    Attributes:
        rank: its number, from 0.
        processes: how many there are.
    """

    rank: int = 0
    processes: int = 1

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return how this process was started: by torchrun, or alone.

        Raises:
            ConfigError: the variables of torchrun are not all there, or not numbers that go together.
        """
        if environment.get("WORLD_SIZE", "1") == "1":
            return cls()
        missing = [name for name in NAMES if not environment.get(name)]
        try:
            rank, processes = (int(environment.get(name, "0")) for name in NAMES[:2])
        except ValueError:
            rank = processes = 0
        if missing or not 0 <= rank < processes:
            said = ", ".join(f"{name}={environment.get(name, '')!r}" for name in NAMES)
            raise ConfigError(
                f"PB-C470: the environment says that several processes fit together, but not how they meet: {said}; start "
                "them by torchrun --nproc-per-node N -m pyro_popbias fit ..., or unset WORLD_SIZE for one process"
            )
        return cls(rank, processes)

    @property
    def leads(self) -> bool:
        """Whether it is the process that writes and reports."""
        return self.rank == 0
