"""What a dimension of the vectors adds: to the expected log-likelihood of training rows, and to held-out log-scores."""

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.training.vectors import Affinities, Table, Vectors, affinities

NODES, WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(5))
SAMPLE = 65_536  # rows that decide what a dimension adds


def expected_log_likelihood(pair: Pair, part: Affinities, mean: Tensor, sd: Tensor) -> Tensor:
    """Return E log P over x ~ Normal(mean, sd) of all rows of a part, at the mean popularity, a scalar in nats."""
    nodes, weights = NODES.to(mean.device), (WEIGHTS / WEIGHTS.sum()).to(mean.device)
    x = mean + nodes.unsqueeze(-1) * sd
    return weights @ pair.model.log_likelihood(part.batch, x, part.popularity).sum(-1)


def expected_slopes(pair: Pair, part: Affinities) -> tuple[Tensor, Tensor]:
    """Return E[d log P / dx] and E[d^2 log P / dx^2] of each row, `(B,)` each."""
    sd = part.sd.clamp(min=1e-6)
    with torch.enable_grad():
        mean, spread = part.mean.detach().requires_grad_(), sd.detach().requires_grad_()
        total = expected_log_likelihood(pair, part, mean, spread)
        first, of_spread = torch.autograd.grad(total, (mean, spread))
    # d E f(m + s t) / ds = s E f'' (Stein's lemma)
    return first, of_spread / sd


def kl(vectors: Vectors) -> Tensor:
    """Return KL(q || prior) of each dimension, over the rows of both tables, `(d,)` in nats."""

    def of(table: Table) -> Tensor:
        ratio = table.variance / vectors.scale.square()
        return 0.5 * (table.mean.square() / vectors.scale.square() + ratio - 1 - ratio.log()).sum(0)

    return of(vectors.user) + of(vectors.item)


def gains(pair: Pair) -> tuple[Tensor, Tensor]:
    """Return what each dimension adds to the expected log-likelihood of all rows, and its KL, `(d,)` each in nats."""
    vectors = Vectors.of(pair)
    found, rows = torch.zeros_like(vectors.scale), 0
    for part in affinities(pair, rows=SAMPLE):
        mean, variance = vectors.products(part.batch)
        whole, rows = expected_log_likelihood(pair, part, part.mean, part.sd), rows + part.batch.positives
        for k in range(len(found)):
            sd = (part.sd.square() - variance[:, k]).clamp(min=0.0).sqrt()
            found[k] += whole - expected_log_likelihood(pair, part, part.mean - mean[:, k], sd)
    return pair.rows.total(found * (len(pair.rows) / rows)), kl(vectors)


def held_out_gains(pair: Pair) -> Tensor:
    """Return what each dimension adds to the log-score of held-out rows, in standard errors, `(d,)`.

    NaN where no rows are held out, or one alone.
    """
    vectors = Vectors.of(pair)
    found = [vectors.scale.new_empty(0, len(vectors.scale))]
    for part in affinities(pair, of=pair.held_out) if pair.held_out else ():
        mean, variance = vectors.products(part.batch)
        whole = _log_score(pair, part, part.mean, part.sd)
        gain = whole.new_empty(len(whole), len(vectors.scale))  # a pair of a positive and a negative is one row
        for k in range(len(vectors.scale)):
            sd = (part.sd.square() - variance[:, k]).clamp(min=0.0).sqrt()
            gain[:, k] = whole - _log_score(pair, part, part.mean - mean[:, k], sd)
        found.append(gain)
    gain, over_ranks = torch.cat(found), pair.rows.total
    number = int(over_ranks(torch.tensor(len(gain))))
    total = over_ranks(gain.sum(0))
    error = over_ranks((gain - total / number).square().sum(0)).div(max(number - 1, 1)).mul(number).sqrt()
    return torch.where(error > 0.0, total / error, torch.nan)


def _log_score(pair: Pair, part: Affinities, mean: Tensor, sd: Tensor) -> Tensor:
    """Return log E P of each label over x ~ Normal(mean, sd), at the mean popularity, in nats."""
    nodes, weights = NODES.to(mean.device), (WEIGHTS / WEIGHTS.sum()).log().to(mean.device)
    x = mean + nodes.unsqueeze(-1) * sd
    return torch.logsumexp(pair.model.log_likelihood(part.batch, x, part.popularity) + weights.unsqueeze(-1), 0)
