"""Where keys stand among many sorted ones: a binary search of thousands of keys at once, in step.

`torch.searchsorted` searches for one key after the other on a CPU, so that it waits for memory at each halving: with ten
million sorted keys that is most of the time of drawing negatives. Here all keys halve together, and thousands of reads are under
way at once: first among every 32nd of the sorted keys, which caches hold, and then among the 31 after it.
"""

from typing import final

import torch
from torch import Tensor

HALVINGS = 5  # of a block
BLOCK = 2**HALVINGS


@final
class SortedKeys:
    """Sorted numbers to search from known places on.

    Args:
        keys: `(P,)` numbers in ascending order.
        longest: upper bound of how far after its place of start a key stands.
    """

    def __init__(self, keys: Tensor, longest: int) -> None:
        self._halvings = (longest // BLOCK + 2).bit_length()  # neither end need be that of a block
        self._size = len(keys)
        # no key is as large, so that a search may look beyond the last one
        top = float("inf") if keys.is_floating_point() else torch.iinfo(keys.dtype).max
        self._keys = torch.cat([keys, keys.new_full((BLOCK,), top)])
        self._firsts = torch.cat([keys[::BLOCK], keys.new_full((2**self._halvings,), top)])

    def count_up_to(self, key: Tensor, start: Tensor) -> Tensor:
        """Return how many of the sorted keys are at most as large as each key, `(B,)`.

        Args:
            key: `(B,)` numbers.
            start: `(B,)` how many are known to be.
        """
        if key.is_cuda:  # there many reads are under way as it is, and one kernel is faster than forty
            return torch.searchsorted(self._keys[: self._size], key, right=True)
        blocks = _halve(self._firsts, key, start // BLOCK, self._halvings)
        return _halve(self._keys, key, ((blocks - 1) * BLOCK + 1).clamp_(min=0), HALVINGS)


def _halve(keys: Tensor, key: Tensor, place: Tensor, halvings: int) -> Tensor:
    """Return place plus how many keys from there on are at most `key`, fewer than 2^halvings; place is overwritten."""
    for halving in reversed(range(halvings)):
        half = 2**halving
        place.add_(keys.index_select(0, place + (half - 1)) <= key, alpha=half)
    return place
