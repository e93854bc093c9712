"""The probability that an item is in a user's list, under the posterior of affinities.

Vectors, or the weights of features, are drawn from q; each draw orders the user's items, and what is counted is how often an
item is among the first k; items of equal score share the last places. In one draw all users have the same vectors of items.
Popularity is integrated over in each draw, as in the score. The intercept and the bias of a user move all of the user's
affinities alike: under one popularity for all items they change no order, and where each item has its own only as far as
scores saturate. The intercept stays at its estimate.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.distributions import Normal

from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.prediction.best_items import largest, user_blocks
from pyro_popbias.prediction.ranking import Ranking

DRAWS = 100  # the standard error of a probability is at most 0.05
USERS = 2_000  # whose draws are held at a time
OF_ITEMS, OF_USERS = 0, 1  # streams of random numbers


def list_probability(
    ranking: Ranking,
    users: np.ndarray,
    listed: np.ndarray,
    k: int,
    seen: sparse.csr_array | None,
    *,
    of_users: Collection[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:
    """Return how often items of users are among the k best in draws of affinities, `(U, L)`; NaN where these are points.

    A user's draws depend on the seed and the user alone, and not on who else is asked for.

    Args:
        ranking: the order of items.
        users: `(U,)` codes.
        listed: `(U, L)` items of each, whose probability is asked for.
        k: length of the lists.
        seen: `(users, items)` what no list holds.
        of_users: the sites of the affinity that have a row for each user.
        draws: number of draws.
        seed: decides the draws.
    """
    if not (ranking.weights and ranking.affinity.is_bayesian):
        return np.full(listed.shape, np.nan)
    count = np.zeros(listed.shape)
    for start in range(0, len(users), USERS):
        rows = slice(start, start + USERS)
        for drawn in _draws(ranking.weights, users[rows], of_users, draws=draws, seed=seed):
            count[rows] += _in_lists(replace(ranking, weights=drawn), users[rows], listed[rows], k, seen)
    return count / draws


@torch.no_grad()
def _in_lists(
    ranking: Ranking, users: np.ndarray, listed: np.ndarray, k: int, seen: sparse.csr_array | None
) -> np.ndarray:
    """Return the share of a place that listed items have among the k best of each user in one draw, `(U, L)`, mostly 0 or 1."""
    found = []
    for rows in user_blocks(np.arange(len(users)), ranking.items):
        score = ranking.scores_of_means(torch.from_numpy(users[rows]).to(ranking.device))
        ranking.leave_out(score, None if seen is None else seen[users[rows]])
        wanted = score.gather(1, torch.from_numpy(listed[rows]).to(ranking.device))
        found.append(_places(score, wanted, min(k, ranking.items)).cpu().numpy())
    return np.concatenate(found)


def _places(score: Tensor, wanted: Tensor, k: int) -> Tensor:
    """Return the share of a place that items of some scores have among the k best, `(U, L)`.

    Args:
        score: `(U, K)`, -inf for what has no place.
        wanted: `(U, L)` scores of items.
        k: at most K.
    """
    best, _ = largest(score, min(k + 1, score.shape[1]))
    last = best[:, k - 1 : k]
    share = ((wanted >= last) & (wanted > -torch.inf)).double()
    tied = ((best[:, k:] == last) & (last > -torch.inf)).any(1).nonzero().squeeze(1)
    if len(tied):
        # items of one score share the places that are left, as all do where no dimension is kept
        of_row, end, own = (each.index_select(0, tied) for each in (score, last, wanted))
        left = k - (of_row > end).sum(1, keepdim=True)
        share[tied] = torch.where(own == end, left / (of_row == end).sum(1, keepdim=True), share[tied])
    return share


def _draws(
    weights: Weights, users: np.ndarray, of_users: Collection[str], *, draws: int, seed: int
) -> Iterator[dict[str, Normal]]:
    """Yield draws of weights, as Normals without a spread: whole tables, in which rows of other users stay at their means.

    Tables of one draw are those of the next one, with other numbers in them.

    Args:
        weights: q of each site, whole tables.
        users: `(U,)` codes.
        of_users: the sites that have a row for each user.
        draws: number of draws.
        seed: decides the draws.
    """
    drawn = {
        site: Normal(q.loc.detach().clone(), torch.zeros_like(q.scale), validate_args=False)
        for site, q in weights.items()
    }
    per_user = sum(weights[site].loc.shape[1] for site in of_users)
    noise = np.stack([_normal((seed, OF_USERS, user), (draws, per_user)) for user in users.tolist()])
    with torch.no_grad():
        for number in range(draws):
            shared, column = np.random.default_rng((seed, OF_ITEMS, number)), 0
            for site, q in weights.items():
                if site not in of_users:
                    unit = torch.from_numpy(shared.standard_normal(tuple(q.loc.shape), dtype=np.float32)).to(q.loc)
                    torch.addcmul(q.loc, unit, q.scale, out=drawn[site].loc)
                    continue
                own = noise[:, number, column : column + q.loc.shape[1]]
                column += own.shape[1]
                drawn[site].loc[users] = q.loc[users] + torch.from_numpy(own).to(q.loc) * q.scale[users]
            yield drawn


def _normal(key: tuple[int, int, int], shape: tuple[int, int]) -> np.ndarray:
    """Return standard normal numbers of a key."""
    return np.random.default_rng(key).standard_normal(shape, dtype=np.float32)
