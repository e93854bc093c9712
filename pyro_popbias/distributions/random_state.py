"""Torch's default random generators, which the whole process shares: used by one thread at a time, and left as they were."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

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
