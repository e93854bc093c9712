"""Do intervals hold where affinities are learned? Fits of simulated data whose truth is known, by the default study.

A row is one model, true number of dimensions, bound of the fitted ones, and size, over seeds. `cover` is the share of true
popularities in their 90 % intervals, `log_ratio` the mean of log(middle of the interval / truth), `error` the mean absolute
error of P(c=1 | do(u,i)), `score_cover` the share of true probabilities in the 90 % intervals of their scores, and `points`,
where the true dim is 8, the error of point vectors with the best of five scales, chosen with the truth in hand. Middles are
geometric in `log_ratio`. In the additive model z is a term and not a factor, and the geometric middle of an interval that comes
near 0 lies far below its z: there look at `mean_ratio`, the log of the mean middle over the mean truth, with arithmetic middles.

A second table is on items with few rows: of 60 items all rows are taken away, of 60 others all but 1 to 9. `cover_none` and
`cover_few` are the shares of these, and `cover_many` that of the rest.

Every fit is a line of a file, so that a run that is cut off goes on where it was.
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
THIN, FEW = 60, 10  # items without rows, and as many with fewer rows than this
KEYS = ["users", "model", "true_dim", "dim", "vectors", "rows", "seed"]
BY_ROWS = ["cover_none", "cover_few", "cover_many"]
FIGURES = ["cover", "log_ratio", "mean_ratio", "error", "score_cover", "rank", "log_score", "seconds"]


def jobs(seeds: int, *, points: bool) -> list[dict[str, Any]]:
    """Return what is to be fitted, seed after seed."""
    found = []
    for seed in range(seeds):
        rows = [(SIZE, *both) for both in itertools.product(MODELS, DIMS)] + [(LARGE, "product", (2, 8))]
        for size, model, (true, dim) in rows:
            kinds = ["mean-field"]
            if points and true == max(each for each, _ in DIMS) and size == SIZE:
                kinds += [f"point {scale}" for scale in POINT_SCALES]
            found += [dict(zip(KEYS, (size[0], model, true, dim, kind, "all", seed), strict=True)) for kind in kinds]
        for model in MODELS:
            found.append(dict(zip(KEYS, (SIZE[0], model, *DIMS[0], "mean-field", "few", seed), strict=True)))
    return found


def thinned(events: pb.Interactions, seed: int) -> pb.Interactions:
    """Return the events without the rows of some items, and with 1 to 9 of those of as many others."""
    random = np.random.default_rng(seed)
    left = np.full(len(events.items), len(events))
    none, few = random.permutation(len(left))[: 2 * THIN].reshape(2, THIN)
    left[none], left[few] = 0, random.integers(1, FEW, size=THIN)
    number = pd.Series(events.item).groupby(events.item).cumcount().to_numpy()  # rows are in random order
    kept = number < left[events.item]
    columns = {name: getattr(events, name)[kept] for name in ("user", "item", "label")}
    return pb.Interactions(users=events.users, items=events.items, **columns)  # `take` would forget items without rows


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
    events = thinned(simulation.events, job["seed"]) if job["rows"] == "few" else simulation.events
    fitted = pb.fit(events, study=study, progress=False)
    seconds = time.monotonic() - began
    table = fitted.popularity().merge(simulation.truth["popularity"], on=["item", "period"])
    scores, true = fitted.predict(simulation.test), simulation.test["probability"]
    inside = true.between(scores["score_lower"], scores["score_upper"])
    covered, rows = table["z"].between(table["lower"], table["upper"]), table["count"]
    parts = (rows == 0, rows.between(1, FEW - 1), rows >= FEW)
    return {
        "cover": covered.mean(),
        "log_ratio": np.log(np.sqrt(table["lower"] * table["upper"]) / table["z"]).mean(),
        "mean_ratio": np.log((table["lower"] + table["upper"]).mean() / (2 * table["z"].mean())),
        "error": (scores["score"] - true).abs().mean(),
        "score_cover": inside.mean() if job["vectors"] == "mean-field" else np.nan,
        "rank": fitted.parameters().set_index("name")["mean"].get("effective_rank", job["dim"]),
        "log_score": fitted.history["validation_log_score"].iloc[-1],
        "seconds": seconds,
        **{name: covered[part].mean() for name, part in zip(BY_ROWS, parts, strict=True)},
    }


def by_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds of the coverage of items by their number of rows."""
    few = table[table["rows"] == "few"].groupby(["users", "model", "true_dim", "dim"])
    return few[BY_ROWS].mean().assign(seeds=few.size()).round(3).reset_index()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds, a row for each cell of the table."""
    rows = [key for key in KEYS if key not in ("vectors", "rows", "seed")]
    table = table[table["rows"] == "all"]
    own = table[table["vectors"] == "mean-field"]
    found = own.groupby(rows)[FIGURES].mean().assign(seeds=own.groupby(rows).size())
    points = table[table["vectors"] != "mean-field"]
    if len(points):
        best = points.groupby([*rows, "vectors"])["error"].mean().groupby(rows).min()
        found["points"] = best
    return found.round(3).reset_index()


def _text(job: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in job.items()}


def main(
    out: Annotated[Path, typer.Option(help="file of all fits, which a later run goes on with")] = Path("coverage.csv"),
    seeds: Annotated[int, typer.Option(help="number of seeds")] = 5,
    points: Annotated[bool, typer.Option(help="whether to fit point vectors too, where the true dim is 8")] = True,
    only: Annotated[str, typer.Option(help="fit only rows with these values, such as true_dim=8,model=product")] = "",
    part: Annotated[str, typer.Option(help="i/n: do the i-th of n parts of the fits, beside other processes")] = "0/1",
) -> None:
    """Fit what is missing in the file, and print the table."""
    done = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=KEYS)
    known = set(done[KEYS].astype(str).agg("|".join, axis=1)) if len(done) else set()
    number, of = map(int, part.split("/"))
    chosen = dict(each.split("=") for each in only.split(",") if each)
    for job in [job for job in jobs(seeds, points=points) if chosen.items() <= _text(job).items()][number::of]:
        if "|".join(_text(job).values()) in known:
            continue
        row = job | fit(job)
        new = not out.exists()
        with out.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=[*KEYS, *FIGURES, *BY_ROWS])
            if new:
                writer.writeheader()
            writer.writerow(row)
    table = pd.read_csv(out)
    for part in (summary(table), by_rows(table)):
        if len(part):
            print(part.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
