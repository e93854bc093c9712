"""Is going on with a fit as good as fitting all rows anew, and what does it cost?

The log is cut into ten parts of equally many rows by time. Nine of them are fitted, and the fit goes on with seven tenths of the
last; the rest of it is the test. `earlier`, `update` and `whole` are mean log P of the test's labels, in nats per row: of the
earlier fit (under its forecast where popularity walks), of the update, and of a fit of the nine and the seven tenths together.
`loss` is by how much the update is behind the whole fit, with its standard error over rows, and `time` what it took, in
processor seconds, over what the whole fit did. Every row is a line of a file, so that a run that is cut off goes on where it was.
"""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import pyro_popbias as pb
from pyro_popbias.prediction.pairs import Pairs, log_probability

AFFINITIES = {
    "mean-field": {"name": "embedding", "dim": 16},
    "point": {"name": "embedding", "dim": 8, "scale": 0.3, "posterior": "point"},
}
PERIODS = 10
HELD_OUT = 0.3  # of the last part
KEYS = ["data", "affinity", "walks", "seed"]


def simulated(seed: int) -> pd.DataFrame:
    """Return rows of ten periods whose popularity walks."""
    sizes = {"users": 1_000, "items": 300, "interactions": 110_000, "periods": PERIODS}
    return pb.simulate(prior="lognormal", drift=0.2, seed=seed, **sizes).events.to_frame()


def parts_of(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the rows of the earlier fit, those of the update, and the test."""
    rank = frame["time"].rank(method="first")
    last = rank > len(frame) * (1 - 1 / PERIODS)
    test = frame[last].sample(frac=HELD_OUT, random_state=seed)
    return frame[~last], frame[last].drop(test.index), test


def log_scores(fit: pb.Fit, popularity: str, test: pd.DataFrame) -> np.ndarray:
    """Return log P of each label of a test, in nats; unseen users and items have their prior."""
    pairs = Pairs.from_frame(test, fit.catalogue, unseen="prior")
    return log_probability(fit.scorer(popularity), pairs, test["label"].to_numpy())


def timed(make: Callable[[], pb.Fit]) -> tuple[pb.Fit, float]:
    """Return a fit, and the processor seconds that it took."""
    began = time.process_time()
    return make(), time.process_time() - began


def figures(frame: pd.DataFrame, affinity: str, walks: bool, seed: int) -> dict[str, float]:
    """Return the figures of one line of the table."""
    earlier, new, test = parts_of(frame, seed)
    model: dict[str, Any] = {"affinity": AFFINITIES[affinity]} | ({"prior": {"drift": "random-walk"}} if walks else {})
    study = pb.Study(model=model, training={"seed": seed})

    def of(rows: pd.DataFrame, periods: int) -> pb.Interactions:
        of_walk = {"periods": periods, "period_by": "count"} if walks else {}
        return pb.Interactions.from_frame(rows, label="label", time="time", **of_walk)

    fit, _ = timed(lambda: pb.fit(of(earlier, PERIODS - 1), study=study, progress=False))
    updated, own = timed(lambda: pb.update(fit, of(new, 1), progress=False))
    both = pd.concat([earlier, new])
    whole, all_rows = timed(lambda: pb.fit(of(both, PERIODS), study=study, progress=False))
    scores = [log_scores(fit, "forecast" if walks else "posterior", test)]
    scores += [log_scores(each, "posterior", test) for each in (updated, whole)]
    less = scores[2] - scores[1]
    return {
        **dict(zip(("earlier", "update", "whole"), (part.mean() for part in scores), strict=True)),
        "loss": less.mean(),
        "error": less.std() / len(less) ** 0.5,
        "seconds": own,
        "whole_seconds": all_rows,
        "time": own / all_rows,
    }


def main(
    out: Annotated[Path, typer.Option(help="File of lines, which a later run goes on with.")] = Path("update.csv"),
    data: Annotated[Path | None, typer.Option(help="Folder of ml-latest-small, to fit it as well.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of the simulation and of the choice of the test.")] = 3,
) -> None:
    """Fill the table, and print it."""
    logs: dict[str, Callable[[int], pd.DataFrame]] = {"simulated": simulated}
    if data is not None:
        logs["ml-latest-small"] = lambda _: pb.read_movielens(data).to_frame()
    done = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=KEYS)
    for seed, name, affinity, walks in itertools.product(range(seeds), logs, AFFINITIES, (True, False)):
        key = dict(zip(KEYS, (name, affinity, walks, seed), strict=True))
        if (done[KEYS] == pd.Series(key)).all(axis=1).any():
            continue
        found = figures(logs[name](seed), affinity, walks, seed)
        done = pd.concat([done, pd.DataFrame([key | found])], ignore_index=True)
        done.to_csv(out, index=False)
        typer.echo(
            " ".join(
                f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in (key | found).items()
            )
        )
    typer.echo(
        done.groupby(KEYS[:3])[["earlier", "update", "whole", "loss", "error", "time"]].mean().round(4).to_string()
    )


if __name__ == "__main__":
    typer.run(main)
