"""Does a random walk recover its step, do its forecasts hold, and are they worth it? On simulated logs whose popularity walks.

Items are shown alike in ten periods of about 10,000 rows, with affinities that are known, and log popularity goes from period to
period by Normal steps. The last period is a test; the other nine are fitted:

| fit | prior and guide |
| --- | --- |
| markov | a random walk, neighbouring periods of an item joined in q |
| mean-field | the same walk, each cell by itself in q (the guide lognormal) |
| last period | nine independent periods, scored by the popularity of the ninth |
| all periods | one period of all rows |

`step` is the mean over seeds of the step learned, `sd` its standard deviation over seeds, and `error` what `step` is off by over
the standard error of this mean. `cover` is the share of true z of the test in the 90 % intervals of `fit.forecast()`, and
`over_last` and `over_all` are the mean log-probability of the test's labels under popularity="forecast", less that of the
other fits, in thousandths of a nat per row with the standard error of the differences, paired over the rows of all seeds.
`seconds` are those of a processor that the fit of the walk took.

Every walk that is fitted is a line of a file, so that a run that is cut off goes on where it was.
"""

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import pyro_popbias as pb
from pyro_popbias.prediction.pairs import Pairs, log_probability

USERS, ITEMS, ROWS, PERIODS = 1_000, 300, 10_000, 10  # rows of a period
STEPS = (0.1, 0.3, 0.5)
GUIDES = {"markov": "markov", "mean-field": "lognormal"}
KEYS = ["step", "q", "seed"]
SCORES = "mean", "square"  # of the differences between two fits, over rows


def split(simulation: pb.Simulation) -> tuple[pb.Interactions, pb.Interactions]:
    """Return the rows of all periods but the last, and those of the last."""
    events = simulation.events
    is_last = events.period == events.periods - 1
    train = events.take(np.flatnonzero(~is_last))
    train = replace(train, periods=events.periods - 1, edges=np.arange(float(events.periods)))
    return train, events.take(np.flatnonzero(is_last))


def fit(
    simulation: pb.Simulation, events: pb.Interactions, training: dict[str, Any], *, guide: str, walks: bool
) -> pb.Fit:
    """Return a fit under the true affinities."""
    vectors = {name: simulation.truth[name] for name in ("user_vectors", "item_vectors")}
    prior = {"name": "lognormal", **({"drift": "random-walk"} if walks else {})}
    study = pb.Study(
        model={"affinity": {"name": "fixed", **vectors}, "prior": prior},
        guide={"name": guide},
        training=training,
    )
    return pb.fit(events, study=study, progress=False)


def log_scores(fitted: pb.Fit, test: pb.Interactions, popularity: str) -> np.ndarray:
    """Return log P of the labels of a test, `(N,)` in nats."""
    pairs = Pairs.from_frame(test.to_frame()[["user", "item"]], fitted.catalogue, unseen="error")
    assert test.label is not None
    return log_probability(fitted.scorer(popularity), pairs, test.label)


def figures(
    step: float, seed: int, *, rows: int = ROWS, items: int = ITEMS, **training: object
) -> list[dict[str, Any]]:
    """Return the figures of both guides of a walk on one simulated log, a row each.

    Args:
        step: standard deviation of the true steps.
        seed: of the log, the rows held out and the training.
        rows: of a period.
        items: number of items.
        training: keys of the study's section.
    """
    simulation = pb.simulate(
        users=USERS,
        items=items,
        interactions=rows * PERIODS,
        periods=PERIODS,
        prior="lognormal",
        drift=step,
        seed=seed,
    )
    train, test = split(simulation)
    training["seed"] = seed
    others = {
        name: log_scores(fit(simulation, events, training, guide="lognormal", walks=False), test, "posterior")
        for name, events in (("over_last", train), ("over_all", train.with_periods(1)))
    }
    truth = simulation.truth["popularity"].query(f"period == {PERIODS - 1}").set_index("item")["z"]
    found = []
    for q, guide in GUIDES.items():
        began = time.process_time()
        fitted = fit(simulation, train, training, guide=guide, walks=True)
        seconds = time.process_time() - began
        ends = fitted.forecast(interval=0.9).set_index("item")
        own = log_scores(fitted, test, "forecast")
        more = {
            f"{name}_{part}": value
            for name, other in others.items()
            for part, value in zip(SCORES, ((own - other).mean(), ((own - other) ** 2).mean()), strict=True)
        }
        found.append(
            {
                "step": step,
                "q": q,
                "seed": seed,
                "learned": fitted.parameters().set_index("name").loc["drift_step", "mean"],
                "cover": truth.loc[ends.index].between(ends["lower"], ends["upper"]).mean(),
                "rows": len(test),
                **more,
                "seconds": seconds,
            }
        )
    return found


def difference(group: pd.DataFrame, name: str) -> str:
    """Return the mean difference over the rows of all seeds with its standard error, in thousandths of a nat."""
    weight = group["rows"] / group["rows"].sum()
    mean, square = ((weight * group[f"{name}_{part}"]).sum() for part in SCORES)
    return f"{1e3 * mean:+.2f} ({1e3 * np.sqrt((square - mean**2) / group['rows'].sum()):.2f})"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each step and guide, over seeds."""
    found = []
    for (step, q), group in table.groupby(["step", "q"], sort=False):
        learned, seeds = group["learned"], len(group)
        found.append(
            {
                "true_step": step,
                "q": q,
                "step": learned.mean(),
                "sd": learned.std(),
                "error": (learned.mean() - step) / (learned.std() / np.sqrt(seeds)),
                "cover": group["cover"].mean(),
                "over_last": difference(group, "over_last"),
                "over_all": difference(group, "over_all"),
                "seeds": seeds,
                "seconds": group["seconds"].mean(),
            }
        )
    return pd.DataFrame(found).round(3)


def main(
    out: Annotated[Path, typer.Option(help="file of all fits, which a later run goes on with")] = Path("forecast.csv"),
    seeds: Annotated[int, typer.Option(help="number of seeds")] = 5,
) -> None:
    """Fit what is missing in the file, and print the table."""
    done = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=KEYS)
    known = set(map(tuple, done[["step", "seed"]].astype(str).to_numpy()))
    for seed, step in itertools.product(range(seeds), STEPS):
        if (str(step), str(seed)) not in known:
            rows = pd.DataFrame(figures(step, seed))
            rows.to_csv(out, mode="a", header=not out.exists(), index=False)
    print(summary(pd.read_csv(out).sort_values(KEYS[:2], kind="stable")).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
