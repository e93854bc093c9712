"""Vectors as points at searched scales against vectors with a Normal distribution and learned scales.

Three tables: held-out rows of MovieLens, the coverage of true popularities on simulated labelled rows, and the hit rate
on a simulated log that holds few positives only, where mean-field vectors may collapse to their prior.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import pyro_popbias as pb

SCALES = (0.2, 0.35, 0.5, 0.7)
BINS = 10  # of the calibration error
TOP = 20


def affinities(dim: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and sections of the contestants."""
    for scale in SCALES:
        yield f"point, scale {scale}", {"name": "embedding", "dim": dim, "scale": scale, "posterior": "point"}
    yield "mean-field, learned", {"name": "embedding", "dim": dim}


def fit(events: pb.Interactions, affinity: dict[str, Any], epochs: int) -> pb.Fit:
    """Return the fit of the product model with an affinity."""
    study = pb.Study(model={"affinity": affinity}, training={"epochs": epochs})
    return pb.fit(events, study=study, progress=False)


def scales_of(fitted: pb.Fit) -> dict[str, float]:
    """Return the number of dimensions that are left and the largest scale, where scales are learned."""
    table = fitted.parameters().set_index("name")["mean"]
    return {"rank": table.get("effective_rank", np.nan), "scale": table.filter(like="vector_scale").max()}


def held_out_scores(fitted: pb.Fit, test: pb.Interactions) -> dict[str, float]:
    """Return log-loss in nats per row, and the expected calibration error, of test rows."""
    frame = test.to_frame()
    score = fitted.predict(frame, popularity="posterior", unseen="prior")["score"].to_numpy()
    label = frame["label"].to_numpy()
    loss = -np.log(np.where(label == 1, score, 1 - score)).mean()
    bins = np.clip((score * BINS).astype(int), 0, BINS - 1)
    gaps = np.bincount(bins, weights=label - score, minlength=BINS)
    return {"log_loss": loss, "calibration_error": np.abs(gaps).sum() / len(label)}


def hit_rate(fitted: pb.Fit, test: pb.Interactions) -> float:
    """Return the share of test rows among their user's first items, training rows left out."""
    known = test.to_frame()[["user", "item"]]
    known = known[known["user"].isin(fitted.catalogue.users)]
    top = fitted.recommend(users=known["user"].unique(), k=TOP, popularity="posterior")
    return float(known.merge(top[["user", "item"]], on=["user", "item"]).shape[0] / len(known))


def movielens(path: Path, epochs: int) -> pd.DataFrame:
    """Return held-out scores on MovieLens."""
    train, test = pb.read_movielens(path).split("random", test=0.1, seed=0)
    rows = []
    for name, affinity in affinities(64):
        fitted = fit(train, affinity, epochs)
        seconds = fitted.history["seconds"].sum()
        rows.append({"vectors": name, **held_out_scores(fitted, test), **scales_of(fitted), "seconds": seconds})
    return pd.DataFrame(rows)


def coverage(epochs: int) -> pd.DataFrame:
    """Return the share of true popularities in 90 % intervals, on labelled rows."""
    simulation = pb.simulate(users=500, items=300, interactions=100_000, dim=8, seed=0)
    rows = []
    for name, affinity in affinities(8):
        fitted = fit(simulation.events, affinity, epochs)
        table = fitted.popularity().merge(simulation.truth["popularity"], on=["item", "period"])
        covered = table["z"].between(table["lower"], table["upper"]).mean()
        error = (fitted.predict(simulation.test)["score"] - simulation.test["probability"]).abs().mean()
        rows.append({"vectors": name, "coverage": covered, "error": error, **scales_of(fitted)})
    return pd.DataFrame(rows)


def positives_only(epochs: int) -> pd.DataFrame:
    """Return hit rates on a log of few positives a user, by count of positives alone too."""
    simulation = pb.simulate(
        users=2_000, items=500, interactions=120_000, dim=8, exposure=1.0, labels="positives", seed=0
    )
    train, test = simulation.events.split("random", test=0.1, seed=0)
    rows = []
    for name, affinity in affinities(8):
        fitted = fit(train, affinity, epochs)
        rows.append({"vectors": name, f"hit@{TOP}": hit_rate(fitted, test), **scales_of(fitted)})
    flat = {"name": "fixed", "user_vectors": _zeros(train.users), "item_vectors": _zeros(train.items)}
    rows.append({"vectors": "popularity alone", f"hit@{TOP}": hit_rate(fit(train, flat, epochs), test)})
    return pd.DataFrame(rows)


def _zeros(ids: "pd.Index[str]") -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "0": 0.0})


def main(
    movielens_path: Annotated[Path, typer.Option("--movielens", help="folder of ml-latest-small")],
    epochs: Annotated[int, typer.Option(help="of phase one, at most")] = 60,
) -> None:
    """Print the three tables."""
    for title, table in (
        ("MovieLens, held-out rows, d=64", lambda: movielens(movielens_path, epochs)),
        ("simulated labels, d=8", lambda: coverage(epochs)),
        ("simulated positives only, d=8", lambda: positives_only(epochs)),
    ):
        print(f"{title}\n{table().round(4).to_string(index=False)}\n", flush=True)


if __name__ == "__main__":
    typer.run(main)
