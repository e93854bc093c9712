"""What counting the KL of an item once per interaction does to the slope of popularity, in the additive model.

z_i ~ N(0, 1) is one number per item, and labels are drawn with a true slope of 0.8. The package counts KL(q_i || f) once per
item, whatever the batch. A latent that is one per interaction counts it once per row: with a q_i that all rows of an item
share, q_i can then never narrow down, so that z_i explains nothing and the slope goes to 0. Both trainings see the same rows
and batches and start alike; the second has the weight of each cell times its number of rows.

The slope has the prior Normal(0, 1), whose mode is where the second training ends: log slope ~ Normal(0, 1), the default,
cannot reach 0, and would hold it at a few hundredths. Every replicate draws its own data, z, and features.
"""

import dataclasses
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import pyro_popbias as pb
from pyro_popbias.data.batch import Batch
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.report.figure import BLUE, GREY, RED, as_png, new_axes
from pyro_popbias.training.loop import train

SLOPE = 0.8
PHASE_ONE = 40  # epochs of phase one
WAYS = {"once per item": BLUE, "once per interaction": RED}


class CountedPerRow(TrainingBatches):
    """Training rows whose batches count the KL of a cell once per interaction.

    Args:
        rows: the training rows as the package makes them.
    """

    def __init__(self, rows: TrainingBatches) -> None:
        self.__dict__.update(vars(rows))

    def _finish(self, *args: Any, **kwargs: Any) -> Batch:
        batch = super()._finish(*args, **kwargs)
        # (N/B) b_j / n_j times n_j: summed over an epoch each cell counts n_j times
        return dataclasses.replace(batch, weight=batch.weight * self.cell_count[batch.cell])


def pair_of(events: pb.Interactions, *, per_row: bool, epochs: int = PHASE_ONE, seed: int = 0) -> pb.Pair:
    """Return model, guide and batches of the additive model.

    Args:
        events: interactions with side features.
        per_row: whether the KL is counted once per interaction.
        epochs: of phase one.
        seed: of the training.
    """
    study = pb.Study(
        model={
            "name": "additive",
            "slope": "free",
            "affinity": {"name": "linear", "user_bias": False},
            "prior": {"name": "normal"},
            "exposure": "none",
        },
        guide={"name": "normal"},
        training={"epochs": epochs, "validation": 0.0, "seed": seed, "device": "cpu"},
    )
    with warnings.catch_warnings():
        # without counts popularity is the like rate of items: here it is, the simulation has no other quality
        warnings.filterwarnings("ignore", message="PB-C402", category=pb.DataWarning)
        pair = pb.pair(events, study=study)
    return dataclasses.replace(pair, rows=CountedPerRow(pair.rows)) if per_row else pair


def path_of_slope(events: pb.Interactions, *, per_row: bool) -> list[float]:
    """Return the slope after each epoch of a training, of both phases; the last one is the estimate.

    Args:
        events: interactions with side features.
        per_row: whether the KL is counted once per interaction.
    """
    pair = pair_of(events, per_row=per_row)
    path: list[float] = []
    train(pair, on_epoch=lambda _: path.append(float(pair.model.slope.detach())))
    return path


def replicate(seed: int, *, items: int, rows: int) -> pd.DataFrame:
    """Return the paths of both trainings on one simulation: way, epoch, slope."""
    sim = pb.simulate(
        model="additive",
        affinity="linear",
        prior="normal",
        rate=SLOPE,
        users=1_000,
        items=items,
        interactions=rows,
        seed=seed,
    )
    parts = []
    for way in WAYS:
        path = path_of_slope(sim.events, per_row=way == "once per interaction")
        parts.append(pd.DataFrame({"way": way, "epoch": range(1, len(path) + 1), "slope": path}))
    return pd.concat(parts).assign(seed=seed)


def picture(table: pd.DataFrame, out: Path) -> None:
    """Draw the slope over the epochs of every replicate."""
    ax = new_axes(width=7.0)
    ax.axhline(SLOPE, color=GREY, linestyle="--", linewidth=1.0, label="truth")
    for (way, seed), path in table.groupby(["way", "seed"], sort=False):
        label = f"KL {way}" if seed == table["seed"].iloc[0] else "_"
        ax.plot(path["epoch"], path["slope"], color=WAYS[way], linewidth=0.8, alpha=0.6, label=label)
    ax.axvline(PHASE_ONE, color=GREY, linestyle=":", linewidth=1.0, label="phase two begins")
    ax.set(
        xlabel="epoch, of both phases", ylabel="slope of popularity", title="KL once per item or once per interaction"
    )
    ax.legend(frameon=False, fontsize=8)
    out.write_bytes(as_png(ax))


def main(
    out: Annotated[Path, typer.Option(help="the picture")] = Path("kl_counts.png"),
    replicates: Annotated[int, typer.Option(help="number of replicates")] = 10,
    items: Annotated[int, typer.Option(help="number of items")] = 500,
    rows: Annotated[int, typer.Option(help="number of interactions")] = 20_000,
) -> None:
    """Train both ways on every replicate, print the slopes, and draw their paths."""
    began = time.process_time()
    table = pd.concat([replicate(seed, items=items, rows=rows) for seed in range(replicates)])
    last = table.groupby(["way", "seed"], sort=False)["slope"].last().unstack("way")
    print(f"true slope {SLOPE}, {items} items, {rows} rows, {replicates} replicates")
    summary = last.agg(["mean", "std", "min", "max"]).T
    summary["se of mean"] = summary["std"] / np.sqrt(replicates)
    print(summary.round(4).to_string())
    picture(table, out)
    print(f"{time.process_time() - began:.0f} s of processor time")


if __name__ == "__main__":
    typer.run(main)
