"""Do intervals hold, and do faults show? Simulated ranks of 20,000 items, and posteriors of 50 items against NUTS.

A row of the first table is one model and guide, whose world is drawn and fitted as `popbias calibrate` does. `control`
is the distance D of the ranks in exact posteriors, of all items. The rest is about items with 20 or more rows:
`distance`, D of the ranks in q; `paired`, the same beside the control; `intervals`, how far the coverage of q's central
intervals is off where it is worst, beside the control. `few` is `paired` of items with fewer rows. Rows with a fault
train the same pair with cells that weigh twice as much (KL x 2), or with half the likelihood.

A row of the second table compares q of popularity, and the exact posterior by quadrature, with draws of NUTS (Hoffman and
Gelman, JMLR 2014): the largest difference of means over 50 items, in Monte Carlo standard errors, and quartiles of q's standard
deviations over those of the draws.

Every row is a line of a file, so that a run that is cut off goes on where it was.
"""

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import pandas as pd
import torch
import typer
from pyro.infer import MCMC, NUTS
from pyro.infer.mcmc.util import diagnostics

import pyro_popbias as pb
from pyro_popbias.assembly.pair import Pair
from pyro_popbias.checks.exact_posterior import exact_posterior, transform_of
from pyro_popbias.checks.known_world import known_pair, with_given_affinity
from pyro_popbias.checks.simulated_ranks import PARTS, SimulatedRanks
from pyro_popbias.checks.training_rows import TrainingRows
from pyro_popbias.cli.simulated_calibration import ROWS, calibrated
from pyro_popbias.data.batch import Batch
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.training.restarts import train_restart

POSITIVE = ("gamma", "lognormal")
PAIRS = [  # model, prior, guide
    *(("product", "gamma", guide) for guide in (*POSITIVE, "weibull")),
    ("additive", "normal", "normal"),
    *(("additive", "gamma", guide) for guide in POSITIVE),
    *(("inverse-logistic", "gamma", guide) for guide in POSITIVE),
]
SMALL = [PAIRS[0], PAIRS[1], PAIRS[3], PAIRS[5], PAIRS[6]]
EPOCHS = 5  # of phase one, which has no vectors to train here; phase two settles q
KEYS = ["model", "prior", "guide", "fault", "seed"]
FIGURES = ["control", "distance", "paired", "intervals", "coverage_50", "coverage_90", "few", "seconds"]
ITEMS, WARMUP, DRAWS = 50, 500, 1_000
AGAINST_NUTS = ["q_mean", "exact_mean", "sd_25", "sd_50", "sd_75", "draws", "seconds"]
FINISH = TrainingBatches._finish


def heavy_cells(batch: Batch) -> Batch:
    """Count the KL of every cell twice."""
    return replace(batch, weight=2 * batch.weight)


def light_rows(batch: Batch) -> Batch:
    """Count the likelihood of every row by half."""
    return replace(batch, scale=0.5 * batch.scale)


FAULTS: dict[str, Callable[[Batch], Batch]] = {"KL x 2": heavy_cells, "likelihood x 0.5": light_rows}


@contextmanager
def faulty(change: Callable[[Batch], Batch]) -> Iterator[None]:
    """Change every batch that training sees meanwhile."""

    def finish(self: TrainingBatches, *arguments: Any, **options: Any) -> Batch:
        return change(FINISH(self, *arguments, **options))

    with patch.object(TrainingBatches, "_finish", finish):
        yield


def study_of(job: dict[str, Any]) -> pb.Study:
    """Return the study of a row."""
    return pb.Study(
        model={"name": job["model"], "prior": {"name": job["prior"]}},
        guide={"name": job["guide"]},
        training={"epochs": EPOCHS, "device": "cpu"},
    )


def ranks(job: dict[str, Any], items: int) -> SimulatedRanks:
    """Return the ranks of a row of the first table."""
    with faulty(FAULTS[job["fault"]]) if job["fault"] else nullcontext():
        return calibrated(study_of(job), items=items, interactions=ROWS * items, seed=job["seed"])


def figures(found: SimulatedRanks) -> dict[str, float]:
    """Return the figures of ranks."""
    table = found.summary().set_index(["posterior", "rows"])
    every, few, many = PARTS
    guide, control = table.loc[("guide", many)], table.loc[("control", every)]
    return {
        "control": control["distance"],
        "distance": guide["distance"],
        "paired": guide["paired"],
        "intervals": guide["interval_paired"],
        "coverage_50": guide["coverage_50"],
        "coverage_90": guide["coverage_90"],
        "few": table.loc[("guide", few), "paired"],
    }


def against_nuts(job: dict[str, Any], _: int) -> dict[str, float]:
    """Return the figures of a row of the second table."""
    study = with_given_affinity(study_of(job))
    world = pb.simulate(
        job["model"], "fixed", prior=job["prior"], items=ITEMS, interactions=ROWS * ITEMS, seed=job["seed"]
    )
    pair = known_pair(study, world)
    train_restart(pair, 1, restarts=1, progress=False)
    cells = torch.arange(ITEMS)
    with torch.no_grad():
        q = pair.guide.popularity.posterior(cells)
        rows = TrainingRows(pair).of(cells.numpy()).compressed()
        exact = exact_posterior(pair.model, pair.model.prior.distribution(cells), q, rows)
        exact_mean, _ = exact.moments()
    z, number = draws_of_nuts(pair)
    error = z.std(0) / number.sqrt()
    quartiles = torch.quantile(q.stddev / z.std(0), torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    return {
        "q_mean": float(((q.mean - z.mean(0)).abs() / error).max()),
        "exact_mean": float(((exact_mean - z.mean(0)).abs() / error).max()),
        **dict(zip(("sd_25", "sd_50", "sd_75"), quartiles.tolist(), strict=True)),
        "draws": float(number.min()),
    }


def draws_of_nuts(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Return draws of z `(S, 50)` by NUTS, and the effective number of each, `(50,)`."""
    cells, batch = torch.arange(ITEMS), pair.whole()
    item = batch.cell.index_select(0, batch.cell_index)
    with torch.no_grad():
        x = batch.score.double() + pair.model.affinity.intercept
        q = pair.guide.popularity.posterior(cells)
        prior, transform = pair.model.prior.distribution(cells), transform_of(q)
        start = transform.t(q.mean)

    def potential(sites: dict[str, torch.Tensor]) -> torch.Tensor:
        z = transform.z(sites["t"])
        log_prior = prior.log_prob(z) + transform.log_jacobian(sites["t"])
        return -(log_prior.sum() + pair.model.likelihood(x, z[item]).log_prob(batch.label).sum())

    torch.manual_seed(0)
    mcmc = MCMC(
        NUTS(potential_fn=potential, max_tree_depth=6),
        num_samples=DRAWS,
        warmup_steps=WARMUP,
        initial_params={"t": start},
        disable_progbar=True,
    )
    mcmc.run()
    z = transform.z(mcmc.get_samples(group_by_chain=True)["t"])
    return z[0], diagnostics({"z": z})["z"]["n_eff"]


def jobs(seed: int) -> list[dict[str, Any]]:
    """Return the rows of the first table."""
    rows = [(*pair, "") for pair in PAIRS] + [(*PAIRS[0], fault) for fault in FAULTS]
    return [dict(zip(KEYS, (*row, seed), strict=True)) for row in rows]


def go_on(
    out: Path, rows: list[dict[str, Any]], names: list[str], find: Callable[..., dict[str, float]], items: int
) -> None:
    """Find the rows that a file lacks, and print all of them."""
    done = pd.read_csv(out, keep_default_na=False) if out.exists() else pd.DataFrame(columns=KEYS)
    known = set(done[KEYS].astype(str).agg("|".join, axis=1)) if len(done) else set()
    for job in rows:
        if "|".join(str(value) for value in job.values()) in known:
            continue
        began, new = time.monotonic(), not out.exists()
        row = job | find(job, items)
        with out.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=[*KEYS, *names])
            if new:
                writer.writeheader()
            writer.writerow(row | {"seconds": time.monotonic() - began})
    print(pd.read_csv(out, keep_default_na=False).drop(columns=["seed", "seconds"]).round(4).to_string(index=False))


def main(
    out: Annotated[Path, typer.Option(help="file of the ranks' rows, which a later run goes on with")] = Path(
        "calibration.csv"
    ),
    nuts: Annotated[Path, typer.Option(help="file of the rows against NUTS, likewise")] = Path("calibration-nuts.csv"),
    items: Annotated[int, typer.Option(help="number of items of a world")] = 20_000,
    seed: Annotated[int, typer.Option(help="seed of every world")] = 0,
) -> None:
    """Find what is missing in the files, and print both tables."""
    torch.set_num_threads(1)
    go_on(nuts, [dict(zip(KEYS, (*pair, "", seed), strict=True)) for pair in SMALL], AGAINST_NUTS, against_nuts, items)
    go_on(out, jobs(seed), FIGURES, lambda job, number: figures(ranks(job, number)), items)


if __name__ == "__main__":
    typer.run(main)
