"""Do the intervals of what all cells share hold the truth? Fits of simulated logs, by Laplace's intervals.

`spread` is the standard deviation of the estimates over logs, `sd` the mean of what the fits state, and `cover` the share of 90 %
intervals with the true value in them. Estimates of a mean-field ELBO have a bias, which `cover` shows and `sd` does not know of.
"""

import warnings
from collections.abc import Mapping
from typing import Annotated, Any

import pandas as pd
import typer
from turns import machine, print_command

import pyro_popbias as pb

# what is simulated, which study is fitted, and the true value of what has one
SCALES = (
    {"quality": 0.7, "user_bias": 0.6, "exposure": 1.0, "exposure_dispersion": 10},
    {
        "exposure": "negative-binomial",
        "affinity": {"name": "embedding", "dim": 2, "user_bias": True, "item_quality": True},
    },
    "gamma",
    {"user_bias_scale": 0.6, "item_quality_scale": 0.7},
)
WALK = (
    {"periods": 6, "drift": 0.4, "prior": "lognormal"},
    {
        "exposure": "none",
        "affinity": {"name": "embedding", "dim": 2},
        "prior": {"name": "lognormal", "drift": "random-walk"},
    },
    "markov",
    {"drift_step": 0.4, "concentration": 2.0},
)
CONFORMITY = (
    {"model": "additive"},
    {"name": "additive", "exposure": "none", "affinity": {"name": "embedding", "dim": 2}, "conformity": True},
    "gamma",
    {"gamma": 1.0, "concentration": 2.0},
)
CASES = {"scales": SCALES, "walk": WALK, "conformity": CONFORMITY}
SIZES = {"users": 150, "items": 80, "interactions": 12_000, "dim": 1}


def table(
    logs: int, simulated: Mapping[str, Any], model: Mapping[str, Any], guide: str, truth: Mapping[str, float]
) -> pd.DataFrame:
    """Return a row per number: true value, mean and spread of its estimates, mean of the sd that is stated, and coverage."""
    study = pb.Study(model=dict(model), guide={"name": guide}, training={"validation": 0.0, "device": "cpu"})
    found = [
        pb.fit(pb.simulate(**SIZES, **simulated, seed=seed).events, study=study, progress=False).parameters()
        for seed in range(logs)
    ]
    rows = pd.concat(found)
    rows = rows[rows["name"].isin(truth)]
    true = rows["name"].map(truth)
    rows = rows.assign(true=true, cover=(rows["lower"] < true) & (true < rows["upper"]))
    by_name = rows.groupby("name", sort=False)
    spread = by_name["mean"].std().rename("spread")
    return pd.concat([by_name[["true", "mean", "sd", "cover"]].mean(), spread], axis=1)[
        ["true", "mean", "spread", "sd", "cover"]
    ]


def main(logs: Annotated[int, typer.Option(help="Number of simulated logs.")] = 12) -> None:
    """Print the table."""
    warnings.simplefilter("ignore", pb.DataWarning)
    print_command()
    print(machine())
    found = {name: table(logs, *case) for name, case in CASES.items()}
    print(pd.concat(found, names=["case"]).round(3).to_string())


if __name__ == "__main__":
    typer.run(main)
