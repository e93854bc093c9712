"""Seeded draws of the qualities of items, and how popularity moves with them in the joint posterior."""

import numpy as np
import torch
from torch.distributions import Normal

from pyro_popbias.distributions import draw
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel

OF_QUALITY = 2**61  # the first key of qualities, above those of cells and weights


def quality_moments(model: PopularityModel, guide: JointGuide, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the quality of some items in its marginal posterior, `(n,)` each, in logits.

    Args:
        model: the trained model, whose items have a quality.
        guide: its guide.
        item: `(n,)` codes.
    """
    quality, code = model.affinity.item_quality, torch.from_numpy(item.astype(np.int64)).to(guide.device)
    assert quality is not None  # noqa: S101  the caller has looked
    with torch.no_grad():
        mean, variance = quality.of_items(guide.weights(), code)
        response = guide.intercept.of_item.index_select(0, code)
        variance = variance + guide.quality.of_item.index_select(0, code) + guide.intercept.variance * response.square()
    return mean.cpu().numpy(), variance.cpu().numpy()


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
    mean, variance = (torch.from_numpy(part) for part in quality_moments(model, guide, item))
    return draw(Normal(mean, variance.sqrt()), draws=draws, seed=seed, keys=(OF_QUALITY + item).tolist(), chain=chain)


def moved_by_quality(
    model: PopularityModel, guide: JointGuide, cell: np.ndarray, periods: int, *, draws: int, seed: int, chain: int = 0
) -> np.ndarray:
    """Return what the same draws of qualities add to log z of some cells, or to a real z, `(draws, D)`.

    Labels fix the sum of both, so that popularity is lower where quality is higher.

    Args:
        model: the trained model, whose items have a quality.
        guide: its guide.
        cell: `(D,)` codes.
        periods: T.
        draws: number of draws.
        seed: decides them.
        chain: number of the chain.
    """
    item, place = np.unique(cell // periods, return_inverse=True)
    mean, variance = quality_moments(model, guide, item)
    unit = (quality_draws(model, guide, item, draws=draws, seed=seed, chain=chain) - mean) / np.sqrt(variance)
    return -unit[:, place] * np.sqrt(guide.quality.of_cell.cpu().numpy()[cell])
