"""Items whose vectors are alike: whom they appeal to, whatever their popularity and quality."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import ConfigError, DataError, DataWarning
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.registry import nearest


def similar_items(model: PopularityModel, guide: JointGuide, catalogue: Catalogue, item: Any, k: int) -> pd.DataFrame:
    """Return rank (from 1), item, similarity, count and positives of the k items most like an item, without itself.

    Args:
        model: the trained model.
        guide: the trained guide.
        catalogue: ids and counts.
        item: an id.
        k: number of items.

    Raises:
        ConfigError: the affinity has no vectors of items, or the item's is 0, as all are where no dimension is left.
        DataError: the item is unseen.

    Warns:
        DataWarning: vectors have one coordinate.
    """
    vectors = item_vectors(model, guide)
    own = as_text(column_of([item]), "item").iloc[0]
    code = int(catalogue.items.get_indexer(pd.Index([own]))[0])
    if code < 0:
        raise DataError(f"PB-D049: item {own!r} is unseen{nearest(str(own), catalogue.items)}")
    norm = vectors.norm(dim=1)
    if norm[code] == 0:
        raise ConfigError(
            f"PB-C533: the vector of item {own!r} is 0, so that no item is more similar to it than another: the fit has kept "
            f"{vectors.shape[1]} dimensions of taste, and the data do not place the item in them; more rows may help"
        )
    if vectors.shape[1] == 1:
        warnings.warn(
            "PB-D509: the fit has kept one dimension of taste, in which items are alike (1) or opposite (-1)",
            DataWarning,
            stacklevel=3,
        )
    cosine = (vectors @ vectors[code]) / (norm * norm[code]).clamp(min=torch.finfo(vectors.dtype).tiny)
    cosine[code] = -torch.inf
    order = np.argsort(-cosine.cpu().numpy(), kind="stable")[: min(k, len(vectors) - 1)]
    count, positives = (part.reshape(-1, catalogue.periods).sum(1) for part in (catalogue.count, catalogue.positives))
    return pd.DataFrame(
        {
            "rank": np.arange(len(order)) + 1,
            "item": catalogue.items[order],
            "similarity": cosine.cpu().numpy()[order],
            "count": count[order],
            "positives": positives[order],
        }
    )


@torch.no_grad()
def item_vectors(model: PopularityModel, guide: JointGuide) -> Tensor:
    """Return the vectors of items, `(K, d)` in float64: given, point estimates, or the means of their posterior.

    Raises:
        ConfigError: the affinity has none.
    """
    found = model.affinity.item_means(guide.weights())
    if found is None:
        raise ConfigError(
            "PB-C532: the affinity of this fit has no vectors of items, so that no items are alike; fit with "
            'affinity = { name = "embedding" }'
        )
    return found.detach().double()
