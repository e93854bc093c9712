"""How long lists of best items take at the size of a catalogue: the package against dense scores by hand.

By hand is what a first draft does: blocks of `users @ items.T`, the probability of each pair, what users have seen set
aside, and the largest k by `numpy.argpartition` or `torch.topk`, on the same point vectors. The product of vectors alone is
the yardstick of the ratios. Time grows with the number of users, so a sample of them stands for all. Times are the
processor's, on one thread, so that what else a machine does counts for less.

Vectors are synthetic: those of a trained fit, as they would be, with a few items that most rows are of. The posterior of a
vector is the wider the fewer rows it has.
"""

import time
import warnings
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from scipy import sparse
from torch import Tensor
from turns import in_turns, print_command, print_ratio

import pyro_popbias as pb
from pyro_popbias.prediction.best_items import user_blocks
from pyro_popbias.prediction.scorer import seen_items

SCALE = 0.35  # of coordinates of vectors, so that the products of 64 have a standard deviation of 1
USERS = 100_000  # that rows of items are of, however many are timed
ROWS = 50  # per user
MODELS = ("product", "inverse-logistic")


def shares(items: int) -> np.ndarray:
    """Return the share of the rows that each item has, `(K,)`."""
    share = 1 / np.arange(1, items + 1) ** 0.8
    return share / share.sum()


def events_of(users: int, items: int) -> pb.Interactions:
    """Return synthetic ratings, of which a few items have most.

    Args:
        users: number of users.
        items: number of items.
    """
    rng = np.random.default_rng(0)
    item = rng.choice(items, size=users * ROWS, p=shares(items))
    user = np.repeat(np.arange(users), ROWS)
    label = (rng.random(len(user)) < rng.beta(2, 3, items)[item]).astype(np.int8)
    ids = (pd.Index(np.arange(size).astype(str)) for size in (users, items))
    return pb.Interactions(*ids, user=user, item=item, label=label)


def fit_of(events: pb.Interactions, model: str, posterior: str, dim: int) -> pb.Fit:
    """Return a fit whose vectors are drawn instead of trained.

    Args:
        events: interactions.
        model: its name.
        posterior: of the vectors, "point" or "mean-field".
        dim: length of the vectors.
    """
    affinity = {"name": "embedding", "dim": dim, "scale": SCALE, "posterior": posterior}
    training = {"epochs": 1, "phase_two": 0, "validation": 0.0, "batch_size": 100_000, "device": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pb.DataWarning)  # of a batch that has all rows
        study = pb.Study(model={"name": model, "affinity": affinity}, training=training)
        fit = pb.fit(events, study=study, progress=False)
    generator = torch.Generator().manual_seed(1)
    users, items = len(events.users), len(events.items)
    for side, count in (("user", np.full(users, ROWS)), ("item", USERS * ROWS * shares(items))):
        rows = torch.from_numpy(count)
        # of a coordinate: the prior's precision, and a fraction of a label's information for each row
        sd = (SCALE**-2 + 0.2 * SCALE**2 * rows).rsqrt().float().unsqueeze(-1).expand(-1, dim)
        mean = torch.randn(sd.shape, generator=generator) * (SCALE**2 - sd.square()).clamp(min=1e-6).sqrt()
        if posterior == "mean-field":
            fit.guide.affinity.set_rows(f"{side}_vectors", mean, sd.log())
        else:
            getattr(fit.model.affinity, f"{side}_vectors").data.copy_(
                SCALE * torch.randn(sd.shape, generator=generator)
            )
    return fit


def vectors_of(fit: pb.Fit) -> tuple[Tensor, Tensor]:
    """Return the user and item vectors of a fit with point vectors."""
    affinity = fit.model.affinity
    return affinity.user_vectors.detach(), affinity.item_vectors.detach()


def product(users: Tensor, items: Tensor, k: int | None = None) -> Callable[[], object]:
    """Return the blocked product of vectors, and the k largest of each row if they are asked for."""
    blocks = [torch.from_numpy(rows) for rows in user_blocks(np.arange(len(users)), len(items))]

    def run() -> None:
        for rows in blocks:
            found = users[rows] @ items.T
            if k is not None:
                torch.topk(found, k, dim=1)

    return run


def dense(fit: pb.Fit, k: int, *, in_torch: bool) -> Callable[[], object]:
    """Return lists by hand: the probability of every pair, without what users have seen, and the largest k of each row.

    Args:
        fit: with point vectors.
        k: length of lists.
        in_torch: whether scores and lists are torch's or NumPy's.
    """
    users, items = vectors_of(fit)
    intercept = float(fit.model.affinity.intercept.detach())
    seen = seen_items(fit.events).tocsr()
    blocks = list(user_blocks(np.arange(len(users)), len(items)))
    # P(c=1 | do(u, i)) = sigma(x) E[1 - e^-z], z of the population
    concentration = float(fit.model.prior.log_concentration.detach().exp())
    share = 1 - (concentration / (concentration + 1)) ** concentration

    def run() -> None:
        for rows in blocks:
            x = users[rows] @ items.T + intercept
            row, column = seen[rows].nonzero()
            if in_torch:
                score = torch.sigmoid(x) * share
                score[torch.from_numpy(row), torch.from_numpy(column)] = -1.0
                torch.topk(score, k, dim=1)
                continue
            score = share / (1 + np.exp(-x.numpy()))
            score[row, column] = -1.0
            best = np.argpartition(-score, k, axis=1)[:, :k]
            np.take_along_axis(best, np.argsort(-np.take_along_axis(score, best, axis=1), axis=1), axis=1)

    return run


def peer(fit: pb.Fit, k: int) -> Callable[[], object] | None:
    """Return `recommend` of the package implicit on the same vectors, without what users have seen; None if not installed."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        return None
    model = AlternatingLeastSquares(num_threads=1)
    model.user_factors, model.item_factors = (each.numpy() for each in vectors_of(fit))
    seen = sparse.csr_matrix(seen_items(fit.events).astype(np.float32))
    users = np.arange(len(fit.events.users))
    return lambda: model.recommend(users, seen, N=k)


def main(
    users: Annotated[int, typer.Option(help="sample of users that is timed")] = 1_000,
    items: Annotated[int, typer.Option(help="number of items")] = 50_000,
    dim: Annotated[int, typer.Option(help="length of vectors")] = 64,
    k: Annotated[int, typer.Option("-k", help="length of lists")] = 20,
    turns: Annotated[int, typer.Option(help="turns of all contestants")] = 7,
) -> None:
    """Time the lists of a sample of users in turns, on one thread, and print medians and ratios to the product alone."""
    torch.set_num_threads(1)
    print_command()
    events = events_of(users, items)
    point = fit_of(events, "product", "point", dim)
    contestants = {
        "product of vectors": product(*vectors_of(point)),
        "product, torch.topk": product(*vectors_of(point), k),
        "by hand, torch": dense(point, k, in_torch=True),
        "by hand, NumPy": dense(point, k, in_torch=False),
        "implicit, recommend": peer(point, k),
        "recommend, point vectors": lambda: point.recommend(k=k),
    }
    for model in MODELS:
        fit = fit_of(events, model, "mean-field", dim)
        contestants[f"recommend, mean-field, {model}"] = lambda fit=fit: fit.recommend(k=k)
    contestants = {name: run for name, run in contestants.items() if run is not None}
    times = in_turns(contestants, turns, clock=time.process_time)
    print(f"{users:,} of {USERS:,} users, {items:,} items, dim {dim}, k {k}")
    for name, own in times.items():
        print(f"{name:<44} {1e6 * np.median(own) / users:9.0f} us/user")
    print("ratio to the product of vectors")
    for name, own in times.items():
        print_ratio(name, own, times["product of vectors"])
    ours, hand = times["recommend, point vectors"], times["by hand, torch"]
    print(f"topn={print_ratio('recommend, point vectors, over by hand, torch', ours, hand):.2f}")


if __name__ == "__main__":
    typer.run(main)
