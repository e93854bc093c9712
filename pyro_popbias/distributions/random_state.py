"""Torch's default random generators, which the whole process shares: used by one thread at a time, and left as they were."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch

ONE_THREAD = RLock()


@contextmanager
def borrowed_generators(devices: Sequence[int] | None = None) -> Iterator[None]:
    """Let the caller seed and use the default generators; another thread that asks for them waits.

    Args:
        devices: CUDA devices whose generators are restored as well; None restores those of all.
    """
    with ONE_THREAD, torch.random.fork_rng(devices):
        yield


def seed_generators(key: Sequence[int], device: str) -> None:
    """Seed the default generators.

    Args:
        key: numbers of which each combination has a stream of its own.
        device: "cpu", or "cuda" for the generator of the present device as well.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    torch.default_generator.manual_seed(seed)  # torch.manual_seed formats a stack trace at each call
    if device == "cuda":
        torch.cuda.manual_seed(seed)
