"""Seeded draws of the qualities of items, and how popularity moves with them in the joint posterior."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch.distributions import Normal

from pyro_popbias.distributions import draw
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel

OF_QUALITY, OF_SHARED = 2**61, 2**60  # the first keys of qualities, above those of cells and weights


@dataclass(frozen=True)
class QualityMoments:
    """The quality of n items in its marginal posterior, in logits.

    Attributes:
        mean: `(n,)`.
        own: `(n,)` variance of what belongs to the item alone, against which its popularity moves.
        shared: `(n,)` variance of the rest: by the features' weights and the intercept.
    """

    mean: np.ndarray
    own: np.ndarray
    shared: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """The whole variance, `(n,)`."""
        return self.own + self.shared

    @classmethod
    def of(cls, model: PopularityModel, guide: JointGuide, item: np.ndarray) -> Self:
        """Return the moments of some items.

        Args:
            model: the trained model, whose items have a quality.
            guide: its guide.
            item: `(n,)` codes.
        """
        quality, code = model.affinity.item_quality, torch.from_numpy(item.astype(np.int64)).to(guide.device)
        assert quality is not None  # noqa: S101  the caller has looked
        with torch.no_grad():
            weights = guide.weights()
            mean, variance = quality.of_items(weights, code)
            _, own = quality.moments(weights[quality.site], code)
            of_intercept = guide.intercept.variance * guide.intercept.of_item.index_select(0, code).square()
            parts = mean, own + guide.quality.of_item.index_select(0, code), variance - own + of_intercept
        return cls(*(part.cpu().numpy() for part in parts))


def quality_draws(
    model: PopularityModel, guide: JointGuide, item: np.ndarray, *, draws: int, seed: int, chain: int = 0
) -> np.ndarray:
    """Return draws of the quality of some items, `(draws, n)` logits; an item has the same ones in any selection.

    Args:
        model: the trained model, whose items have a quality.
        guide: its guide.
        item: `(n,)` codes.
        draws: number of draws.
        seed: decides them.
        chain: number of the chain.
    """
    found = QualityMoments.of(model, guide, item)
    own, shared = (
        _unit(item, first, draws, seed, chain) * np.sqrt(part)
        for first, part in ((OF_QUALITY, found.own), (OF_SHARED, found.shared))
    )
    return np.asarray(found.mean + own + shared)


def moved_by_quality(
    guide: JointGuide, cell: np.ndarray, periods: int, *, draws: int, seed: int, chain: int = 0
) -> np.ndarray:
    """Return what the same draws of qualities add to log z of some cells, or to a real z, `(draws, D)`.

    Labels fix the sum of both, so that popularity is lower where quality is higher.

    Args:
        guide: that of a model whose items have a quality.
        cell: `(D,)` codes.
        periods: T.
        draws: number of draws.
        seed: decides them.
        chain: number of the chain.
    """
    item, place = np.unique(cell // periods, return_inverse=True)
    moves = np.sqrt(guide.quality.of_cell.cpu().numpy()[cell])
    return np.asarray(-_unit(item, OF_QUALITY, draws, seed, chain)[:, place] * moves)


def _unit(item: np.ndarray, first_key: int, draws: int, seed: int, chain: int) -> np.ndarray:
    """Return standard normal draws of each item, `(draws, n)`."""
    unit = Normal(torch.zeros(len(item), dtype=torch.float64), 1.0)
    return draw(unit, draws=draws, seed=seed, keys=(first_key + item).tolist(), chain=chain)
