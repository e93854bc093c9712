"""Do intervals hold where affinities are learned? Fits of simulated data whose truth is known, by the default study.

A row is one model, true number of dimensions, bound of the fitted ones, and size, over seeds. `cover` is the share of true
popularities in their 90 % intervals, `log_ratio` the mean of log(middle of the interval / truth), `error` the mean absolute
error of P(c=1 | do(u,i)), `score_cover` the share of true probabilities in the 90 % intervals of their scores, and `points`,
where the true dim is 8, the error of point vectors with the best of five scales, chosen with the truth in hand. Every fit is a
line of a file, so that a run that is cut off goes on where it was.
"""

import csv
import itertools
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import pyro_popbias as pb

MODELS = ("product", "inverse-logistic", "additive")
SIZE, LARGE = (500, 300, 100_000), (2_000, 1_000, 200_000)  # users, items, rows
DIMS = ((2, 8), (2, 32), (8, 8), (8, 32))  # true, and the bound of the fitted ones
POINT_SCALES = (0.2, 0.35, 0.5, 0.7, 1.0)
KEYS = ["users", "model", "true_dim", "dim", "vectors", "seed"]
FIGURES = ["cover", "log_ratio", "error", "score_cover", "rank", "log_score", "seconds"]


def jobs(seeds: int, *, points: bool) -> list[dict[str, Any]]:
    """Return what is to be fitted, seed after seed."""
    found = []
    for seed in range(seeds):
        rows = [(SIZE, *both) for both in itertools.product(MODELS, DIMS)] + [(LARGE, "product", (2, 8))]
        for size, model, (true, dim) in rows:
            kinds = ["mean-field"]
            if points and true == max(each for each, _ in DIMS) and size == SIZE:
                kinds += [f"point {scale}" for scale in POINT_SCALES]
            found += [dict(zip(KEYS, (size[0], model, true, dim, kind, seed), strict=True)) for kind in kinds]
    return found


def fit(job: dict[str, Any]) -> dict[str, float]:
    """Return the figures of one fit."""
    users, items, rows = SIZE if job["users"] == SIZE[0] else LARGE
    # the fit's own default prior of popularity, so that only what is learned differs from the truth
    simulation = pb.simulate(
        model=job["model"], users=users, items=items, interactions=rows, dim=job["true_dim"], seed=job["seed"]
    )
    affinity = {"name": "embedding", "dim": job["dim"]}
    if job["vectors"] != "mean-field":
        affinity |= {"posterior": "point", "scale": float(job["vectors"].split()[1])}
    study = pb.Study(model={"name": job["model"], "affinity": affinity}, training={"seed": job["seed"]})
    began = time.monotonic()
    fitted = pb.fit(simulation.events, study=study, progress=False)
    seconds = time.monotonic() - began
    table = fitted.popularity().merge(simulation.truth["popularity"], on=["item", "period"])
    scores, true = fitted.predict(simulation.test), simulation.test["probability"]
    inside = true.between(scores["score_lower"], scores["score_upper"])
    return {
        "cover": table["z"].between(table["lower"], table["upper"]).mean(),
        "log_ratio": np.log(np.sqrt(table["lower"] * table["upper"]) / table["z"]).mean(),
        "error": (scores["score"] - true).abs().mean(),
        "score_cover": inside.mean() if job["vectors"] == "mean-field" else np.nan,
        "rank": fitted.parameters().set_index("name")["mean"].get("effective_rank", job["dim"]),
        "log_score": fitted.history["validation_log_score"].iloc[-1],
        "seconds": seconds,
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds, a row for each cell of the table."""
    rows = [key for key in KEYS if key not in ("vectors", "seed")]
    own = table[table["vectors"] == "mean-field"]
    found = own.groupby(rows)[FIGURES].mean().assign(seeds=own.groupby(rows).size())
    points = table[table["vectors"] != "mean-field"]
    if len(points):
        best = points.groupby([*rows, "vectors"])["error"].mean().groupby(rows).min()
        found["points"] = best
    return found.round(3).reset_index()


def main(
    out: Annotated[Path, typer.Option(help="file of all fits, which a later run goes on with")] = Path("coverage.csv"),
    seeds: Annotated[int, typer.Option(help="number of seeds")] = 5,
    points: Annotated[bool, typer.Option(help="whether to fit point vectors too, where the true dim is 8")] = True,
    part: Annotated[str, typer.Option(help="i/n: do the i-th of n parts of the fits, beside other processes")] = "0/1",
) -> None:
    """Fit what is missing in the file, and print the table."""
    done = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=KEYS)
    known = set(done[KEYS].astype(str).agg("|".join, axis=1)) if len(done) else set()
    number, of = map(int, part.split("/"))
    for job in jobs(seeds, points=points)[number::of]:
        if "|".join(map(str, job.values())) in known:
            continue
        row = job | fit(job)
        new = not out.exists()
        with out.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=[*KEYS, *FIGURES])
            if new:
                writer.writeheader()
            writer.writerow(row)
    print(summary(pd.read_csv(out)).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
