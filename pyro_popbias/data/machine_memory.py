"""How much memory the machine has, and a refusal of what would need more, before any of it is taken."""

import os
from collections.abc import Mapping
from pathlib import Path

from pyro_popbias.errors import DataError

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def memory_of_machine() -> int:
    """Return the bytes of memory that this machine has, or that its container may use."""
    held = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in LIMITS:
        try:
            held.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no container, or the word max
            continue
    return min(held)


def readable(size: float) -> str:
    """Return a number of bytes in MiB, or from 1 GiB on in GiB."""
    return f"{size / 1024**2:,.0f} MiB" if size < 1024**3 else f"{size / 1024**3:,.1f} GiB"


def require_memory(what: str, parts: Mapping[str, float], remedy: str, *, limit: int | None = None) -> None:
    """Refuse work that needs more memory than there is.

    Args:
        what: the work.
        parts: bytes of each part, by what it is.
        remedy: what to do instead.
        limit: bytes that there are; those of the machine by default.

    Raises:
        DataError: the parts need more together; the message gives each in MiB or GiB.
    """
    limit, total = memory_of_machine() if limit is None else limit, sum(parts.values())
    if total > limit:
        each = ", ".join(f"{readable(size)} for {name}" for name, size in parts.items() if size >= 0.01 * total)
        raise DataError(
            f"PB-D051: {what} would need about {readable(total)} of memory, more than the {readable(limit)} of this machine: "
            f"{each}; {remedy}"
        )
