"""Vectors as points at searched scales against vectors with a Normal distribution and learned scales.

Three tables: held-out rows of public logs, the coverage of true popularities on simulated labelled rows, and the hit rate
on a simulated log that holds few positives only, where mean-field vectors may collapse to their prior. In the first, every
fit holds out a tenth of the rows itself, the same for all; point vectors stop at the epoch that is best for these rows, and the
default study does not look at them for that. Its fits are lines of a file, so that a run that is cut off goes on where it was.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import pyro_popbias as pb

SCALES = (0.2, 0.3, 0.5, 0.7)
LOGS: dict[str, Callable[[Path], pb.Interactions]] = {
    "coat": lambda path: pb.read_coat(path)[0],
    "ml-latest-small": pb.read_movielens,
    "adressa-macr": lambda path: pb.read_adressa(path)[0],
}
POINT_DIM = 16  # on public logs; with more, point vectors predict worse there
FEWER_EPOCHS = {"adressa-macr": 10}  # of both kinds: four negatives for each positive make an epoch five times as long
TOP = 20
DEFAULT = "mean-field, learned"


def affinities(dim: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and sections of the contestants."""
    yield DEFAULT, {"name": "embedding"}
    for scale in SCALES:
        yield f"point, scale {scale}", {"name": "embedding", "dim": dim, "scale": scale, "posterior": "point"}


def fit(events: pb.Interactions, affinity: dict[str, Any], epochs: int) -> pb.Fit:
    """Return the fit of the product model with an affinity."""
    study = pb.Study(model={"affinity": affinity}, training={"epochs": epochs})
    return pb.fit(events, study=study, progress=False)


def scales_of(fitted: pb.Fit) -> dict[str, float]:
    """Return the number of dimensions that are left and the largest scale, where scales are learned."""
    table = fitted.parameters().set_index("name")["mean"]
    return {"rank": table.get("effective_rank", np.nan), "scale": table.filter(like="vector_scale").max()}


def hit_rate(fitted: pb.Fit, test: pb.Interactions) -> float:
    """Return the share of test rows among their user's first items, training rows left out."""
    known = test.to_frame()[["user", "item"]]
    known = known[known["user"].isin(fitted.catalogue.users)]
    top = fitted.recommend(users=known["user"].unique(), k=TOP, popularity="posterior")
    return float(known.merge(top[["user", "item"]], on=["user", "item"]).shape[0] / len(known))


def held_out(folder: Path, epochs: int, out: Path) -> pd.DataFrame:
    """Return log-losses of held-out rows of public logs, in nats per row; fits that are missing in a file are added to it."""
    for log, read in LOGS.items():
        events = read(folder / log)
        for name, affinity in affinities(POINT_DIM):
            if out.exists() and ((known := pd.read_csv(out))["log"].eq(log) & known["vectors"].eq(name)).any():
                continue
            fitted = fit(events, affinity, FEWER_EPOCHS.get(log, epochs))
            loss = -fitted.history["validation_log_score"].iloc[-1]
            row = {"log": log, "vectors": name, "log_loss": loss, **scales_of(fitted)}
            row["seconds"] = fitted.history["seconds"].sum()
            pd.DataFrame([row]).to_csv(out, mode="a", index=False, header=not out.exists())
    table = pd.read_csv(out)
    best = table[table["vectors"] != DEFAULT].groupby("log")["log_loss"].min()
    return table.assign(above_best_point=table["log_loss"] - table["log"].map(best))


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
    data: Annotated[Path, typer.Option(help="folder of ml-latest-small, coat and adressa-macr")],
    epochs: Annotated[int, typer.Option(help="of phase one, at most")] = 40,
    out: Annotated[Path, typer.Option(help="file of the fits of public logs, which a later run goes on with")] = Path(
        "vectors.csv"
    ),
    simulated: Annotated[bool, typer.Option(help="whether to print the tables of simulated data too")] = True,
) -> None:
    """Print the tables."""
    tables = {"public logs, held-out rows": lambda: held_out(data, epochs, out)}
    if simulated:
        tables |= {
            "simulated labels, d=8": lambda: coverage(epochs),
            "simulated positives only, d=8": lambda: positives_only(epochs),
        }
    for title, table in tables.items():
        print(f"{title}\n{table().round(4).to_string(index=False)}\n", flush=True)


if __name__ == "__main__":
    typer.run(main)
