"""How often a check fails, over seeds, for fits to data that the product model simulated.

Per affinity and seed: the rules that fail, and the mean of the predicted P(c=1 | do(u,i)) over the true one. The last
lines are the share of seeds with a failing rule: a false alarm with true or mean-field vectors; with point vectors of
dim 64 a finding, since the scores themselves are off.
"""

from typing import Annotated, Any

import pandas as pd
import torch
import typer

import pyro_popbias as pb
from pyro_popbias.simulation.simulate import Simulation

VECTORS: dict[str, dict[str, Any]] = {
    "mean-field, dim 8": {"dim": 8},
    "mean-field, dim 32": {},
    "point, dim 8": {"dim": 8, "posterior": "point"},
    "point, dim 64": {"dim": 64, "posterior": "point"},
}
app = typer.Typer()


def fit_and_check(name: str, simulation: Simulation, seed: int) -> dict[str, Any]:
    """Return the failing rules of one fit, and predicted over true mean probability."""
    true = {key: simulation.truth[key] for key in ("user_vectors", "item_vectors")}
    affinity = {"name": "fixed", **true} if name == "true" else {"name": "embedding", **VECTORS[name]}
    study = pb.Study(model={"affinity": affinity}, training={"device": "cpu", "seed": seed})
    fit = pb.fit(simulation.events, study=study, progress=False)
    failures = [f"{finding.check}: {finding.name}" for finding in fit.check().failures]
    level = fit.predict(simulation.test)["score"].mean() / simulation.test["probability"].mean()
    return {"affinity": name, "seed": seed, "predicted / true": round(level, 3), "fails": "; ".join(failures)}


@app.command()
def main(
    seeds: Annotated[int, typer.Option(help="Number of simulations.")] = 6,
    users: Annotated[int, typer.Option(help="Users of each.")] = 300,
    items: Annotated[int, typer.Option(help="Items of each.")] = 100,
    interactions: Annotated[int, typer.Option(help="Rows of each.")] = 20_000,
) -> None:
    """Print one line per fit, then the share of seeds with a failing rule by affinity."""
    torch.set_num_threads(1)
    rows = []
    for seed in range(seeds):
        simulation = pb.simulate(users=users, items=items, interactions=interactions, seed=seed)
        for name in ("true", *VECTORS):
            rows.append(fit_and_check(name, simulation, seed))
            typer.echo(rows[-1])
    table = pd.DataFrame(rows)
    found = table.assign(failing=table["fails"] != "").groupby("affinity", sort=False)
    typer.echo(found[["failing", "predicted / true"]].mean().round(3))


if __name__ == "__main__":
    app()
