"""Which parameters of the additive and of the product model can be estimated, and do their intervals hold?

Replicates of 20,000 labels of 500 items and 1,000 users, four features a side, z ~ Gamma(2, 2) of each item; data of each model
are fitted with both. `svi` is the package's own fit with its defaults, but for the rows held out, of which there are none;
`marginal` is the maximum of the likelihood with z integrated out by quadrature, and `known z` that with the true z, both with
the package's priors (`oracles/likelihood.py`). With the prior "known" the concentration of z is given, with "learned" it is
estimated. `confounded` data are additive, and their log z has a correlation of .5 with the first feature of items.

Every estimate is a line of a file, so that a run that is cut off goes on where it was.
"""

import itertools
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from oracles.likelihood import Estimate, Rows, maximum

import pyro_popbias as pb

SIZE = {"users": 1_000, "items": 500, "interactions": 20_000}
SHAPE = 2.0  # concentration of z
WORLDS: dict[str, dict[str, Any]] = {
    "additive": {"model": "additive", "rate": 0.8, "intercept": -1.0},
    "product": {"model": "product", "rate": 1.0, "intercept": 0.5},
    "confounded": {"model": "additive", "rate": 0.8, "intercept": -1.0, "confounding": 0.5},
}
SCALES = {"additive": "gamma", "product": "rate"}
TAIL = 1.6448536269514722
KEYS = ["data", "fit", "prior", "replicate"]


def jobs(replicates: int, learned: int) -> list[dict[str, Any]]:
    """Return what is to be fitted, replicate after replicate."""
    found = []
    for replicate in range(max(replicates, learned)):
        for data, fit, prior in itertools.product(WORLDS, SCALES, ("known", "learned")):
            few = data == "confounded" and (fit, prior) != ("additive", "known")
            if not few and replicate < (replicates if prior == "known" else learned):
                found.append(dict(zip(KEYS, (data, fit, prior, replicate), strict=True)))
    return found


def simulated(data: str, replicate: int) -> pb.Simulation:
    world = WORLDS[data]
    return pb.simulate(affinity="linear", prior="gamma", concentration=SHAPE, seed=replicate, **SIZE, **world)


def svi(simulation: pb.Simulation, model: str, prior: str, guide: str) -> pd.DataFrame:
    """Return the table of parameters of the package's fit."""
    declared = {"source": "fixed", "concentration": SHAPE} if prior == "known" else {"source": "learned"}
    study = pb.Study(
        model={
            "name": model,
            "affinity": {"name": "linear", "user_bias": False},
            "prior": {"name": "gamma", **declared},
            "exposure": "none",
            **({"saturation": {"name": "exponential", "rate": "learned"}} if model == "product" else {}),
        },
        guide={"name": guide},
        training={"validation": 0, "device": "cpu"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing tells z from quality, and these items have none
        fit = pb.fit(simulation.events, study=study, progress=False)
    table = fit.parameters()[["name", "mean", "sd", "lower", "upper"]]
    narrow = fit.guide.affinity.weights()  # q's own, which leaves out that items move along
    own = {f"{site}[{k}]": each for site, q in narrow.items() for k, each in enumerate(q.scale.tolist())}
    scale = {"additive": "slope_parameter", "product": "log_parameter"}[model]
    correlation = fit.guide.shared.correlation("affinity.intercept", scale)
    return table.assign(own_sd=table["name"].map(own), correlation=correlation, elbo=fit.history["elbo"].iloc[-1])


def as_table(found: Estimate, model: str, weights: int) -> pd.DataFrame:
    """Return an oracle's estimate as the table of parameters that a fit has."""
    half = weights // 2
    names = ["intercept", SCALES[model], *(f"beta_{side}[{k}]" for side in ("user", "item") for k in range(half))]
    names += ["concentration"] * (len(found.value) - len(names))
    value, sd = found.value.numpy(), found.sd.numpy()
    table = pd.DataFrame(
        {"name": names, "mean": value, "sd": sd, "lower": value - TAIL * sd, "upper": value + TAIL * sd}
    )
    logarithm = table["name"].isin([SCALES[model], "concentration"])
    table.loc[logarithm, ["mean", "lower", "upper"]] = np.exp(table.loc[logarithm, ["mean", "lower", "upper"]])
    table.loc[logarithm, "sd"] *= table.loc[logarithm, "mean"]
    return table.assign(correlation=found.correlation, log_likelihood=found.log_likelihood)


def fit(job: dict[str, Any], guide: str) -> pd.DataFrame:
    """Return all estimates of one replicate of one cell."""
    torch.set_num_threads(1)
    simulation = simulated(job["data"], job["replicate"])
    rows, model = Rows.of(simulation), job["fit"]
    weights = rows.features.shape[1]
    methods = {
        "svi": lambda: svi(simulation, model, job["prior"], guide),
        "marginal": lambda: as_table(
            maximum(model, rows, concentration=SHAPE if job["prior"] == "known" else None), model, weights
        ),
    }
    if job["prior"] == "known":
        methods["known z"] = lambda: as_table(maximum(model, rows, z=rows.popularity(simulation)), model, weights)
    found = []
    for method, estimate in methods.items():
        began = time.process_time()
        table = estimate()
        found.append(table.assign(**job, method=method, seconds=time.process_time() - began))
    return pd.concat(found)


def truth_of(data: str) -> pd.Series:
    """Return the true parameters by name."""
    return simulated(data, 0).truth["parameters"].set_index("name")["value"]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return bias, standard error, root mean squared error and coverage of each parameter in each cell."""
    found = []
    for (data, fitted, prior, method, name), part in table.groupby(
        ["data", "fit", "prior", "method", "name"], sort=False
    ):
        true = truth_of(data).get(name, np.nan)
        error = part["mean"] - true
        count = len(part)
        bias, se = error.mean(), part["mean"].std(ddof=1)
        row = {"data": data, "fit": fitted, "prior": prior, "method": method, "parameter": name, "truth": true}
        row |= {"mean": part["mean"].mean(), "bias": bias, "se": se, "rmse": np.sqrt((error**2).mean())}
        row |= {"sd": part["sd"].mean(), "cover": 100 * ((part["lower"] <= true) & (true <= part["upper"])).mean()}
        inside = (part["mean"] - true).abs() <= TAIL * part["own_sd"]
        row |= {"cover_q": 100 * inside.mean() if part["own_sd"].notna().all() else np.nan, "replicates": count}
        found.append(row)
    return pd.DataFrame(found)


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean difference of SVI and marginal likelihood, in standard errors of an estimate and of the mean difference."""
    wide = table[table["method"].isin(["svi", "marginal"])].pivot_table(
        index=[*KEYS, "name"], columns="method", values="mean", observed=True
    )
    keys = ["data", "fit", "prior", "name"]
    difference = (wide["svi"] - wide["marginal"]).groupby(keys)
    se = wide["marginal"].groupby(keys).std()
    found = pd.DataFrame({"difference": difference.mean(), "of_se": difference.mean() / se})
    found["t"] = difference.mean() / (difference.std() / np.sqrt(difference.size()))
    return found.reset_index()


def evidence(table: pd.DataFrame) -> pd.DataFrame:
    """Return the nats between the models' largest likelihoods, and the correlation of intercept and scale in each."""
    one = table[table["name"] == "intercept"]
    nats = one.groupby(["data", "prior", "method", "fit"])["log_likelihood"].mean().unstack("fit")
    correlation = one.groupby(["data", "prior", "method", "fit"])["correlation"].mean().unstack("fit")
    found = pd.DataFrame({"additive_less_product": nats["additive"] - nats["product"]})
    return found.join(correlation.add_prefix("correlation_")).reset_index()


def main(
    out: Annotated[Path, typer.Option(help="file of all estimates, which a later run goes on with")] = Path(
        "identifiability.csv"
    ),
    replicates: Annotated[int, typer.Option(help="replicates where the prior is known")] = 50,
    learned: Annotated[int, typer.Option(help="replicates where it is learned")] = 50,
    guide: Annotated[str, typer.Option(help="guide of popularity")] = "lognormal",
    jobs_at_once: Annotated[int, typer.Option("--jobs", help="processes side by side")] = 2,
) -> None:
    """Fit what is missing in the file, and print the tables."""
    done = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=KEYS)
    known = set(done[KEYS].astype(str).agg("|".join, axis=1)) if len(done) else set()
    left = [job for job in jobs(replicates, learned) if "|".join(map(str, job.values())) not in known]
    began = time.monotonic()
    with ProcessPoolExecutor(jobs_at_once, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(fit, job, guide) for job in left]):
            columns = [*KEYS, "method", "name", "mean", "sd", "lower", "upper", "own_sd", "correlation", "elbo"]
            part = future.result().reindex(columns=[*columns, "log_likelihood", "seconds"])
            part.to_csv(out, mode="a", header=not out.exists(), index=False)
    table = pd.read_csv(out)
    for part, digits in ((summary(table), 3), (agreement(table), 3), (evidence(table), 2)):
        print(part.round(digits).to_string(index=False), end="\n\n")
    spent = table.drop_duplicates([*KEYS, "method"]).groupby("method")["seconds"]
    print(spent.agg(["median", "sum"]).round(1).to_string())
    print(f"{len(left)} fits in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
