"""The files of results, which a run that is cut off goes on with, and the tables made of them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contest.problems import Problem, ScoreTable, table_of_lists
from contest.systems import Chosen
from pyro_popbias.evaluation import Evaluation, intervals
from pyro_popbias.evaluation.bootstrap import Metric
from pyro_popbias.evaluation.paired import differences

INTERVAL = 0.95
PROBABILITY = ("log_loss", "calibration_error")


@dataclass(frozen=True)
class Results:
    """A folder of results: a line for each setting that was tried, and the scores of each system that was trained.

    Attributes:
        folder: where.
    """

    folder: Path

    def chosen(self, problem: str, system: str) -> dict[int, Chosen]:
        """Return what the validation rows said of the settings tried so far, by their number."""
        lines = self._settings.read_text().splitlines() if self._settings.exists() else []
        rows = [json.loads(line) for line in lines]
        return {
            row["setting"]: Chosen(row["value"], row["epochs"])
            for row in rows
            if (row["problem"], row["system"]) == (problem, system)
        }

    def add_chosen(self, problem: str, system: str, setting: int, chosen: Chosen, seconds: float) -> None:
        """Append a line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        row = {"problem": problem, "system": system, "setting": setting, **asdict(chosen), "seconds": round(seconds, 1)}
        with self._settings.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def has_trained(self, problem: str, system: str, seed: int) -> bool:
        """Return whether a system's scores are there, under every mode."""
        return (self.folder / f"{problem}-{system}-{seed}.done").exists()

    def set_trained(self, problem: str, system: str, seed: int) -> None:
        """Say that they are."""
        (self.folder / f"{problem}-{system}-{seed}.done").touch()

    def add_trained(self, problem: Problem, system: str, mode: str, seed: int, table: ScoreTable) -> None:
        """Write the lists of all users, or the scores of all pairs where they are judged."""
        scores = problem.lists(table) if problem.ranks_all else table(np.arange(len(problem.train.users)))
        file = self.folder / f"{problem.name}-{system}-{mode}-{seed}.npy"
        unfinished = file.with_suffix(".part")
        with unfinished.open("wb") as out:
            np.save(out, scores)
        unfinished.rename(file)

    def trained(self, problem: Problem, system: str) -> dict[str, list[ScoreTable]]:
        """Return the scores of a system by mode, one table a seed."""
        found: dict[str, list[ScoreTable]] = {}
        for file in sorted(self.folder.glob(f"{problem.name}-{system}-*-*.npy")):
            mode, scores = file.stem.removeprefix(f"{problem.name}-{system}-").rpartition("-")[0], np.load(file)
            table = table_of_lists(scores, len(problem.train.items)) if problem.ranks_all else scores.__getitem__
            found.setdefault(mode, []).append(table)
        return found

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.jsonl"


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def mean_over_seeds(judged: Iterable[Evaluation]) -> Evaluation:
    """Return the mean of each metric over seeds, as functions of weights of users: seeds share a draw of users."""
    each = list(judged)

    def mean(name: str) -> Metric:
        return lambda weights: np.mean([one.metrics[name](weights) for one in each], axis=0)

    return Evaluation(each[0].ids, {name: mean(name) for name in each[0].metrics}, ())


def table(problem: Problem, systems: Mapping[str, Evaluation], first: str) -> pd.DataFrame:
    """Return the metrics of systems with intervals, and the paired difference of each from the first.

    Args:
        problem: whose test it is.
        systems: judged, by name.
        first: the system that the others are compared with.
    """
    shown = [
        *problem.metrics,
        *(["calibration_error"] if not problem.ranks_all else []),
        f"average_popularity@{problem.k}",
    ]
    rows: list[dict[str, Any]] = []
    last = problem.metrics[-1] if problem.ranks_all else problem.metrics[0]
    gaps = differences({first: systems[first], **systems}, [last], interval=INTERVAL)
    for name, judged in systems.items():
        own = {metric: judged.metrics[metric] for metric in shown if metric in judged.metrics}
        found = intervals(own, len(judged.ids), interval=INTERVAL).set_index("metric")
        row: dict[str, Any] = {"system": name}
        for metric in shown:
            digits = 0 if "popularity" in metric else 3
            row[metric] = f"{found['value'][metric]:.{digits}f}" if metric in own else ""
        row["interval"] = f"{found['lower'][last]:.3f} to {found['upper'][last]:.3f}"
        ends = [0.0 - round(gaps.loc[name, f"{last}_difference_{side}"], 3) for side in ("upper", "lower")]
        row[f"{first} ahead by"] = "" if name == first else f"{ends[0]:+.3f} to {ends[1]:+.3f}"
        rows.append(row)
    return pd.DataFrame(rows)
