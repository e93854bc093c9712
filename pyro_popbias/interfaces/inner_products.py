"""Rankings as inner products: for which fits and popularities an index of vectors ranks as the fit does.

A fit scores user u and item i by E[p_i(x)] over x = u . i + b_i + (what all items of the user share), with p_i increasing. An
index that finds the largest inner products of (u, 1) and (i, b_i) ranks the same where E[p_i(x)] increases with its mean, by the
same function for all items of a user:

| popularity | p_i | ranks |
| --- | --- | --- |
| `population`; `prior` if shared; `none`; a number | the same for all items, in every model | exactly |
| a value per item, a forecast | sigma(x + slope t(z_i)) of `additive`, `inverse-logistic` | exactly, with that term in b_i |
| the same | sigma(x) g(z_i) of `product`, (ELU(x) + 1) z_i^e of `pda` | no: what g is worth depends on x |
| the same, where users differ in conformity | sigma(x + (slope + d_u) t(z_i)) | no: the variance of d_u counts by t(z_i) |
| `posterior`, `forecast`, `prior` where items have their own | an integral over each item's own distribution | no |

"Exactly" asks besides that the variance of x be the same for all items of a user: vectors are given or point estimates (`fixed`,
`embedding` with posterior = "point", `factorization-machine`), and items have no quality, whose uncertainty differs. Where it
does differ, E[p(x)] is lower for an item of a high mean that is less certain, which no inner product knows: posterior means then
rank nearly as the fit does.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.errors import ConfigError
from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.prediction.do_value import DoValue
from pyro_popbias.prediction.forecast import Forecast
from pyro_popbias.prediction.scorer import Scorer

REMEDY = "vectors='none' with lists=100 (--vectors none --lists 100) exports the lists themselves"


@dataclass(frozen=True)
class InnerProducts:
    """The vectors whose inner products rank items, in float32.

    Attributes:
        scorer: the trained pair, and what it integrates over.
        weights: q of each site, whole tables.
        items: `(K, d + 1)` of the items: (i, b_i).
        inexact: why their order is only nearly that of the fit; empty where it is the same.
    """

    scorer: Scorer
    weights: Weights
    items: np.ndarray
    inexact: str

    @classmethod
    @torch.no_grad()
    def of(cls, scorer: Scorer) -> "InnerProducts":
        """Return the inner products that rank as a scorer does, exactly or nearly.

        Raises:
            ConfigError: none do, or the affinity has no vectors.
            DataError: popularity is a mapping and lacks items.
        """
        weights, model = scorer.guide.weights(), scorer.model
        vectors = model.affinity.item_means(weights)
        if vectors is None:
            raise ConfigError(
                f"PB-C551: the affinity of this fit has no vectors of items, so that there are none to export; {REMEDY}"
            )
        why = _no_order(scorer)
        if why:
            raise ConfigError(f"PB-C552: {why}, so no inner product ranks items as the fit does; {REMEDY}")
        codes = torch.arange(len(scorer.catalogue.items), device=scorer.guide.device)
        # of an unseen user, who has no vector: what is left of x is the item's
        bias = model.affinity.relative(torch.full_like(codes, -1), codes, None, weights).mean
        if _by_item(scorer):
            z = scorer.given(scorer.catalogue.items)
            assert z is not None  # noqa: S101  values are given
            bias = bias + model.slope * model.logit_term(z)
        return cls(scorer, weights, _joined(vectors, bias), _variances(scorer))

    @torch.no_grad()
    def users(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (u, 1) of some users, `(U, d + 1)`, and what makes their inner products the means of x, `(U,)` logits.

        Args:
            codes: `(U,)`.
        """
        user, affinity = self.scorer.tensor(codes), self.scorer.model.affinity
        vectors = affinity.user_means(user, self.weights)
        assert vectors is not None  # noqa: S101  items have some
        # with an unseen item: what is left of x is the user's
        offset = affinity.pairs(user, torch.full_like(user, -1), None, self.weights).mean
        return _joined(vectors, torch.ones_like(offset)), offset.cpu().numpy().astype(np.float32)

    def best(self, codes: np.ndarray, k: int) -> np.ndarray:
        """Return the items of largest inner products of some users, `(U, k)` codes, the best first.

        Args:
            codes: `(U,)` of users.
            k: length of the lists, at most the number of items.
        """
        vectors, _ = self.users(codes)
        return np.argsort(-(vectors @ self.items.T), axis=1, kind="stable")[:, :k]


def _joined(vectors: Tensor, last: Tensor) -> np.ndarray:
    """Return vectors `(n, d)` with one more coordinate, `(n, d + 1)` in float32."""
    return torch.cat([vectors.float(), last.float().unsqueeze(1)], dim=1).cpu().numpy()


def _by_item(scorer: Scorer) -> bool:
    """Return whether each item has its own given popularity."""
    asked = scorer.popularity
    return isinstance(asked, Forecast) or (isinstance(asked, DoValue) and not asked.is_shared)


def _no_order(scorer: Scorer) -> str:
    """Return why items are not ranked by x plus a number of each item; empty where they are."""
    model, name = scorer.model, type(scorer.model).__name__
    if scorer.shared_probability() is not None:
        return ""
    if not _by_item(scorer):
        return f"popularity={scorer.popularity!r} gives each item a distribution of popularity of its own"
    if not model.has_logit_link:
        return f"in the model {name} it depends on x how much an item's own popularity counts"
    return "users differ in how they follow popularity (conformity)" if model.conformity is not None else ""


def _variances(scorer: Scorer) -> str:
    """Return why the variance of x differs between items of a user; empty where it does not."""
    affinity = scorer.model.affinity
    if affinity.item_quality is not None:
        return "items have a quality, which is more certain for some than for others"
    return "" if affinity.ranks_by_mean else "vectors have a posterior, which is wider for some items than for others"
