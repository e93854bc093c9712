"""Are quality and popularity recovered, each for itself? And what is a user's list on real ratings worth with both?

Simulated items have a quality and a popularity that are correlated at `rho`, and are logged in proportion to popularity,
with scatter beyond Poisson's where the exposure is negative binomial. `rank_quality` and `rank_popularity` are Spearman's
correlations of posterior means and truths over items, `cover_quality` and `cover_popularity` the shares of truths in their
90 % intervals, `correlation` is what `fit.parameters()` says of rho, `error` the mean absolute error of P(c=1 | do(u,i)),
and `blind_error` that of the same model without counts and quality. Every fit is a line of a file, so that a run that is cut
off goes on where it was.

With --data, ml-latest-small is fitted as well, beside a logistic regression with biases of users and items whose penalty is
the best on the held-out rows themselves. `bottom` counts items in the first ten of 20 users that have 15 or more rows and a
like rate in the lowest fifth of such items.
"""

import itertools
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from scipy.stats import spearmanr

import pyro_popbias as pb
from pyro_popbias.assembly.training_data import split_rows

MODELS = ("product", "inverse-logistic", "additive")
EXPOSURES = {"poisson": None, "negative-binomial": 10.0}  # and the dispersion of the simulated counts
CORRELATIONS = (0.0, 0.3, 0.6)
USERS, ITEMS, ROWS = 600, 400, 120_000
KEYS = ["model", "exposure", "rho", "seed"]
PENALTIES = (0.3, 1.0, 3.0)
FEW, USERS_SHOWN = 15, 20


def recovered(model: str, exposure: str, rho: float, seed: int) -> dict[str, float]:
    """Return the figures of one fit of simulated data."""
    real = model == "additive"
    sim = pb.simulate(
        model=model,
        users=USERS,
        items=ITEMS,
        interactions=ROWS,
        seed=seed,
        dim=2,
        prior="normal" if real else "gamma",
        quality=1.0,
        quality_correlation=rho,
        exposure=1.0,
        exposure_dispersion=EXPOSURES[exposure],
        user_bias=0.5,
    )
    began = time.perf_counter()
    parts: dict[str, Any] = {"name": model, "prior": {"name": "normal" if real else "gamma"}}
    guide = {"name": "normal" if real else "gamma"}
    fit = pb.fit(sim.events, study=pb.Study(model={**parts, "exposure": exposure}, guide=guide), progress=False)
    seconds = time.perf_counter() - began
    blind = pb.fit(sim.events, study=pb.Study(model={**parts, "exposure": "none"}, guide=guide), progress=False)
    table = fit.items().merge(sim.truth["items"].add_suffix("_true"), left_on="item", right_on="item_true")
    table = table.merge(sim.truth["popularity"], on="item")
    truth = sim.test["probability"]
    return {
        "rank_quality": spearmanr(table["quality"], table["quality_true"]).statistic,
        "rank_popularity": spearmanr(table["popularity"], table["z"]).statistic,
        "cover_quality": table["quality_true"].between(table["quality_lower"], table["quality_upper"]).mean(),
        "cover_popularity": table["z"].between(table["popularity_lower"], table["popularity_upper"]).mean(),
        "correlation": fit.parameters().set_index("name").loc["quality_popularity_correlation", "mean"],
        "error": (fit.predict(sim.test)["score"] - truth).abs().mean(),
        "blind_error": (blind.predict(sim.test)["score"] - truth).abs().mean(),
        "seconds": seconds,
    }


def regression(events: pb.Interactions, study: pb.Study) -> float:
    """Return the log-loss of a logistic regression with biases of users and items on the rows that a study holds out."""
    train, held_out = split_rows(events, study)
    assert events.label is not None
    user, item, label = (torch.from_numpy(np.asarray(part)).long() for part in (events.user, events.item, events.label))
    label = label.double()

    def logits(rows: np.ndarray, weights: torch.Tensor) -> torch.Tensor:
        return weights[0] + weights[1 + user[rows]] + weights[1 + len(events.users) + item[rows]]

    found = []
    for penalty in PENALTIES:
        weights = torch.zeros(1 + len(events.users) + len(events.items), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            value = torch.nn.functional.binary_cross_entropy_with_logits(
                logits(train, weights), label[train], reduction="sum"
            )
            value = value + 0.5 * penalty * weights[1:].square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        with torch.no_grad():
            score = torch.nn.functional.binary_cross_entropy_with_logits(logits(held_out, weights), label[held_out])
        found.append(float(score))
    return min(found)


def bottom(fit: pb.Fit) -> int:
    """Return how many listed items have a like rate in the lowest fifth of items with enough rows."""
    catalogue = fit.catalogue
    rate = catalogue.positives / np.maximum(catalogue.count, 1)
    enough = catalogue.count >= FEW
    users = np.random.default_rng(0).choice(catalogue.users, USERS_SHOWN, replace=False)
    listed = catalogue.items.get_indexer(fit.recommend(users=users, k=10)["item"])
    return int(((rate[listed] <= np.quantile(rate[enough], 0.2)) & enough[listed]).sum())


def on_ratings(folder: Path) -> pd.DataFrame:
    """Return one row per model and exposure on ml-latest-small: log_loss of held-out rows, bottom, and seconds."""
    events, rows = pb.read_movielens(folder / "ml-latest-small"), []
    for model, exposure in itertools.product(MODELS[:2], ("none", "poisson", "negative-binomial")):
        began = time.perf_counter()
        fit = pb.fit(events, study=pb.Study(model={"name": model, "exposure": exposure}), progress=False)
        loss = -fit.history["validation_log_score"].iloc[-1]
        rows.append((model, exposure, loss, bottom(fit), time.perf_counter() - began))
    rows.append(("logistic regression", "none", regression(events, fit.study), np.nan, np.nan))
    return pd.DataFrame(rows, columns=["model", "exposure", "log_loss", "bottom", "seconds"])


def main(
    out: Annotated[Path, typer.Option(help="file of all fits, which a later run goes on with")] = Path("quality.csv"),
    seeds: Annotated[int, typer.Option(help="number of seeds")] = 3,
    data: Annotated[Path | None, typer.Option(help="folder with ml-latest-small, fitted too")] = None,
    simulated: Annotated[bool, typer.Option(help="whether to fit simulated data")] = True,
) -> None:
    """Fit what is missing in the file, and print the tables."""
    done = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=KEYS)
    known = set(map(tuple, done[KEYS].astype(str).to_numpy()))
    for seed, model, exposure, rho in itertools.product(range(seeds), MODELS, EXPOSURES, CORRELATIONS):
        job = dict(zip(KEYS, (model, exposure, rho, seed), strict=True))
        if simulated and tuple(map(str, job.values())) not in known:
            row = pd.DataFrame([job | recovered(**job)])
            row.to_csv(out, mode="a", header=not out.exists(), index=False)
    if out.exists():
        table = pd.read_csv(out).drop(columns="seed").groupby(KEYS[:3], sort=False).mean()
        print(table.round(3).to_string())
    if data is not None:
        print(on_ratings(data).round(4).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
