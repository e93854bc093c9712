"""Exact P(c=1 | do(u,i)) of many pairs against Monte Carlo over popularity: how much faster, and how right both are.

Exact is the model's `mean_probability`, a closed form or quadrature. Monte Carlo is the mean of P(c=1 | x, z) over draws of
z, in two ways: "own draws" are drawn for each pair, as errors of pairs that share draws are the same; "shared draws" are the
same for all pairs under "population", and for the pairs of an item under "posterior", and drawing them is not timed. Times
of Monte Carlo grow with the number of pairs, so that a sample of them stands for all; they are the processor's, on one
thread. Both start from the affinities, and have vectors that are points.

Errors are the largest, over some pairs, from the trapezoidal rule in log z with 20,000 nodes, in float64 by NumPy. The last
line has the median ratios, Monte Carlo of own and of shared draws over exact.
"""

import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer
from scipy import special, stats
from step import ITEMS, MODELS, SMALL, USERS, make_pair
from torch import Tensor
from turns import in_turns, print_command, print_ratio, print_times

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair
from pyro_popbias.models.affinities.distribution import AffinityDistribution

MODES = ("population", "posterior")
BLOCK = 2_000  # pairs of Monte Carlo at once
CHECKED = 500  # pairs whose errors are found
NODES = 20_000


def probability(pair: Pair, x: Tensor, z: Tensor) -> Tensor:
    """Return P(c=1 | x, z) by hand."""
    if pair.study.model.name == "product":
        return torch.sigmoid(x) * -torch.expm1(-z)
    if pair.study.model.name == "additive":
        return torch.sigmoid(x + pair.model.slope_parameter.exp() * z)
    return torch.sigmoid(x + z.log())


def monte_carlo(pair: Pair, mode: str, x: Tensor, item: Tensor, draws: int, *, own: bool) -> Callable[[], Tensor]:
    """Return what averages over draws of popularity.

    Args:
        pair: model and guide.
        mode: "population" or "posterior".
        x: `(N,)` affinities.
        item: `(N,)` codes.
        draws: of z.
        own: whether each pair has draws of its own, drawn when it is scored.
    """
    with torch.no_grad():
        if mode == "population":
            z = pair.model.prior.population().sample((draws,))
        else:
            z = pair.guide.popularity.posterior(torch.arange(ITEMS)).sample((draws,)).T

    @torch.no_grad()
    def run() -> Tensor:
        found = []
        for begin in range(0, len(x), BLOCK):
            rows = slice(begin, begin + BLOCK)
            if own:
                q = pair.guide.popularity.posterior(item[rows])
                if mode == "population":
                    q = pair.model.prior.population().expand(item[rows].shape)
                of_pairs = q.sample((draws,)).T
            else:
                of_pairs = z if mode == "population" else z[item[rows]]
            found.append(probability(pair, x[rows].unsqueeze(-1), of_pairs).mean(-1))
        return torch.cat(found)

    return run


def exactly(pair: Pair, mode: str, affinity: AffinityDistribution, item: Tensor) -> Callable[[], Tensor]:
    """Return what integrates popularity out of the probabilities of pairs, `(N,)`."""
    everything = torch.arange(ITEMS)

    @torch.no_grad()
    def run() -> Tensor:
        if mode == "posterior":
            return pair.model.mean_probability(affinity, pair.guide.popularity.posterior(everything), item)
        return pair.model.mean_probability(affinity, pair.model.prior.population())

    return run


def reference(pair: Pair, mode: str, x: Tensor, item: Tensor) -> np.ndarray:
    """Return E[P(c=1 | x, z)] by the trapezoidal rule in log z, `(N,)`."""
    with torch.no_grad():
        q = pair.model.prior.population() if mode == "population" else pair.guide.popularity.posterior(item)
        a, b = (each.double().numpy() * np.ones(len(x)) for each in (q.concentration, q.rate))
        slope = float(pair.model.slope_parameter.exp()) if pair.study.model.name == "additive" else 1.0
    found = []
    for score, shape, rate in zip(x.double().numpy(), a, b, strict=True):
        gamma = stats.gamma(shape, scale=1 / rate)
        log_z = np.linspace(np.log(gamma.ppf(1e-300) + 1e-300) - 1, np.log(gamma.isf(1e-300)) + 1, NODES)
        z = np.exp(log_z)
        if pair.study.model.name == "product":
            value = special.expit(score) * -np.expm1(-z)
        else:
            value = special.expit(score + (slope * z if pair.study.model.name == "additive" else log_z))
        found.append(np.trapezoid(value * np.exp(gamma.logpdf(z) + log_z), log_z))
    return np.array(found)


def main(
    pairs: Annotated[int, typer.Option(help="pairs that are scored exactly in a turn")] = 1_000_000,
    draws: Annotated[int, typer.Option(help="draws of popularity")] = 1_000,
    sampled: Annotated[int, typer.Option(help="pairs of which Monte Carlo is timed")] = 2_000,
    turns: Annotated[int, typer.Option(help="turns of both")] = 3,
) -> None:
    """Time both in turns, and print medians, quartiles, ratios and errors."""
    torch.set_num_threads(1)
    print_command()
    rng = np.random.default_rng(0)
    user, item = (torch.from_numpy(rng.integers(size, size=pairs)) for size in (USERS, ITEMS))
    found = []
    for model in MODELS:
        pair = make_pair(SMALL, model)
        with torch.no_grad(), local_parameters():
            pair.guide.popularity.rows.add_(0.3 * torch.randn(pair.guide.popularity.rows.shape))
            of_pairs = pair.model.pairs(user, item, None, pair.guide.weights())
            # as of vectors that were trained, of standard deviation 1; without the intercept's posterior they are points
            affinity = AffinityDistribution(of_pairs.mean + torch.from_numpy(rng.standard_normal(pairs)))
        for mode in MODES:
            exact = exactly(pair, mode, affinity, item)
            sample = (pair, mode, affinity.mean[:sampled], item[:sampled], draws)
            shared, own = (monte_carlo(*sample, own=choice) for choice in (False, True))
            times = in_turns({"exact": exact, "shared draws": shared, "own draws": own}, turns, clock=time.process_time)
            times = {
                name: each / (pairs if name == "exact" else sampled) for name, each in times.items()
            }  # of one pair
            print(f"{model}, {mode}")
            print_times(times, unit="us a pair", per=1e-6)
            right = reference(pair, mode, affinity.mean[:CHECKED], item[:CHECKED])
            for name, run in (("exact", exact), ("own draws", own)):
                print(f"{name:<44} largest error {np.abs(run()[:CHECKED].detach().numpy() - right).max():.1e}")
            ratios = [
                print_ratio(f"{name} over exact", times[name], times["exact"]) for name in ("own draws", "shared draws")
            ]
            found.append(f"{model}-{mode}={ratios[0]:.3g}/{ratios[1]:.3g}")
    print(*found)


if __name__ == "__main__":
    typer.run(main)
