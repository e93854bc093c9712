"""How long lists of best items take at the size of a catalogue: the package against the product of vectors alone.

Contestants run in one process and in turns, so that a busy machine slows all of them; what counts is the median of the
ratios within a turn. Time grows with the number of users, so a sample of them stands for all.

Vectors are synthetic: those of a trained fit, as they would be, with a few items that most rows are of. The posterior of a
vector is the wider the fewer rows it has.
"""

import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from scipy import sparse
from torch import Tensor

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
    fit = pb.fit(events, study=pb.Study(model={"name": model, "affinity": affinity}, training=training), progress=False)
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
    events = events_of(users, items)
    point = fit_of(events, "product", "point", dim)
    contestants = {
        "product of vectors": product(*vectors_of(point)),
        "product, torch.topk": product(*vectors_of(point), k),
        "implicit, recommend": peer(point, k),
        "recommend, point vectors": lambda: point.recommend(k=k),
    }
    for model in MODELS:
        fit = fit_of(events, model, "mean-field", dim)
        contestants[f"recommend, mean-field, {model}"] = lambda fit=fit: fit.recommend(k=k)
    contestants = {name: run for name, run in contestants.items() if run is not None}
    # processor time: what others do on the machine counts for less
    times = np.array([[seconds(run) for run in contestants.values()] for _ in range(turns + 1)])[1:]
    print(f"{users:,} of {USERS:,} users, {items:,} items, dim {dim}, k {k}; one thread")
    for name, own in zip(contestants, times.T, strict=True):
        low, ratio, high = np.quantile(own / times[:, 0], (0.25, 0.5, 0.75))
        print(
            f"{name:<40} {1e6 * np.median(own) / users:6.0f} us/user   ratio {ratio:5.2f}   quartiles {low:.2f} {high:.2f}"
        )


def seconds(run: Callable[[], object]) -> float:
    """Return the processor time that a run takes."""
    began = time.process_time()
    run()
    return time.process_time() - began


if __name__ == "__main__":
    typer.run(main)
