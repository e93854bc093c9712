"""Items with their quality and their popularity side by side, and what share of their clicks is quality."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions import draw
from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.prediction.posterior_tables import check_interval, popularity_table
from pyro_popbias.prediction.quality_draws import QualityMoments, moved_by_quality, quality_draws

DRAWS = 400
BLOCK = 5_000  # items drawn at a time
MOST_ITEMS = 20_000  # of which a correlation is found; of more items every second, third and so on


def items_table(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, *, interval: float, some: np.ndarray | None = None
) -> pd.DataFrame:
    """Return one row per item, or for each of `some`, `(n,)` codes; the columns are those of `Trained.items`.

    Raises:
        ConfigError: items have no quality in this fit, or the interval is not between 0 and 1.
    """
    if model.affinity.item_quality is None:
        raise ConfigError(
            "PB-C403: items have no quality in this fit. A fit of labels has one with item_quality = true in its affinity "
            "(embedding, linear or factorization-machine), beside an exposure part or a prior from counts of other rows; one of "
            "positives only has none"
        )
    tail = (1 - check_interval(interval)) / 2
    item = np.arange(len(catalogue.items)) if some is None else some
    cell = last_cells(catalogue)[item]
    quality = QualityMoments.of(model, guide, item)
    reach = float(norm.isf(tail)) * np.sqrt(quality.variance)
    of_popularity = popularity_table(model, guide, catalogue, interval=interval).iloc[cell]
    added, whole = guide.quality.of_cell.cpu().numpy()[cell], _variance(model, of_popularity)
    share = np.concatenate([_summary(*part, tail) for part in _probabilities(model, guide, catalogue, cell)])
    share[catalogue.count[cell] == 0] = np.nan  # there are no clicks
    if guide.popularity.maximises != "elbo":
        share[:, 1:] = np.nan
    columns = {
        "quality": quality.mean,
        "quality_sd": np.sqrt(quality.variance),
        "quality_lower": quality.mean - reach,
        "quality_upper": quality.mean + reach,
        **{f"popularity{end}": of_popularity[name].to_numpy() for name, end in ENDS.items()},
        "correlation": -np.sqrt(np.minimum(added / whole, 1.0) * quality.own / quality.variance),
        "quality_share": share[:, 0],
        "quality_share_lower": share[:, 1],
        "quality_share_upper": share[:, 2],
    }
    count, positives = (part.reshape(-1, catalogue.periods).sum(1) for part in (catalogue.count, catalogue.positives))
    of_item = {"item": catalogue.items[item], **columns, "count": count[item], "positives": positives[item]}
    return pd.DataFrame(of_item)


ENDS = {"mean": "", "lower": "_lower", "upper": "_upper"}


def last_cells(catalogue: Catalogue) -> np.ndarray:
    """Return the cell of each item in the last period with rows, `(K,)`."""
    count = catalogue.count.reshape(-1, catalogue.periods)
    last = catalogue.periods - 1 - np.argmax(count[:, ::-1] > 0, axis=1)
    return np.asarray(np.arange(len(count)) * catalogue.periods + last)


def _variance(model: PopularityModel, table: pd.DataFrame) -> np.ndarray:
    """Return the variance of log z, or of z where it is real, of the rows of a table of popularity, about."""
    real = model.latents["popularity"].support is constraints.real
    variance = table["sd"].to_numpy() ** 2
    return np.asarray(variance if real else np.log1p(variance / table["mean"].to_numpy() ** 2))


def _summary(intervened: np.ndarray, own: np.ndarray, tail: float) -> np.ndarray:
    """Return the ratio of the means of two probabilities `(DRAWS, n)`, and the ends of the ratio of draws, `(n, 3)`."""
    return np.stack(
        [intervened.mean(0) / own.mean(0), *np.quantile(intervened / own, (tail, 1 - tail), axis=0)], axis=1
    )


def _probabilities(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, cell: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield draws of P(c=1 | do) and of P(c=1 | own popularity) of items for an average user, `(DRAWS, n)` a block."""
    for start in range(0, len(cell), BLOCK):
        block = cell[start : start + BLOCK]
        with torch.no_grad():
            item = block // catalogue.periods
            quality = torch.from_numpy(quality_draws(model, guide, item, draws=DRAWS, seed=0)).to(guide.device)
            x = model.affinity.intercept + quality
            own = model.conditional_probability(x, draw_popularity(model, guide, catalogue, block, draws=DRAWS, seed=0))
            intervened = model.marginal_probability(x, model.prior.population())
        yield intervened.cpu().numpy(), own.cpu().numpy()


def draw_popularity(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, cell: np.ndarray, *, draws: int, seed: int
) -> Tensor:
    """Return draws of the popularity of some cells that go with draws of their items' qualities, `(draws, D)`."""
    code = torch.from_numpy(cell).to(guide.device)
    q = draw(guide.popularity.posterior(code), draws=draws, seed=seed, keys=cell.tolist())
    moved = moved_by_quality(guide, cell, catalogue.periods, draws=draws, seed=seed)
    real = model.latents["popularity"].support is constraints.real
    return torch.from_numpy(q + moved if real else q * np.exp(moved)).to(guide.device)


def quality_correlation(model: PopularityModel, guide: JointGuide, catalogue: Catalogue) -> np.ndarray:
    """Return draws of the correlation over items with rows of quality and log popularity, `(DRAWS,)`."""
    cell = last_cells(catalogue)
    cell = cell[catalogue.count[cell] > 0]
    cell = cell[:: 1 + len(cell) // MOST_ITEMS]
    if len(cell) < 2:
        return np.full(DRAWS, np.nan)
    quality = quality_draws(model, guide, cell // catalogue.periods, draws=DRAWS, seed=0)
    with torch.no_grad():
        popularity = draw_popularity(model, guide, catalogue, cell, draws=DRAWS, seed=0).cpu().numpy()
    real = model.latents["popularity"].support is constraints.real
    pair = [part - part.mean(1, keepdims=True) for part in (quality, popularity if real else np.log(popularity))]
    sums = (pair[0] * pair[1]).sum(1)
    return np.asarray(sums / np.sqrt((pair[0] ** 2).sum(1) * (pair[1] ** 2).sum(1)))
