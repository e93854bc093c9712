"""What labels say about affinities and popularity: Fisher information, row by row."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Information:
    """Fisher information of each label about x and about log z (about z itself where z is real), `(B,)` each."""

    affinity: Tensor
    both: Tensor
    popularity: Tensor

    def plus(self, weight: Tensor, of_affinity: Tensor, of_popularity: Tensor) -> "Information":
        """Return information with the weighted products of two slopes added, `(B,)` each."""
        return Information(
            self.affinity + weight * of_affinity.square(),
            self.both + weight * of_affinity * of_popularity,
            self.popularity + weight * of_popularity.square(),
        )
