"""The systems: each has settings to choose from, is trained on a part to choose, and on all training rows in the end."""

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from baselines import BASELINES, Baseline, Log

import pyro_popbias as pb
from contest.problems import Problem, Rows, ScoreTable

PATIENCE = 10  # epochs without a better value, as in the package's own training
MODES = ("population", "posterior", "none")  # the debiased one first
MOST_SETTINGS, MOST_EPOCHS = 4, 80  # of every system; of a baseline


@dataclass(frozen=True)
class Chosen:
    """A setting as the validation rows judge it.

    Attributes:
        value: the metric that decides.
        epochs: after how many it was reached.
    """

    value: float
    epochs: int


class System(abc.ABC):
    """A method with its settings.

    Attributes:
        settings: at most `MOST_SETTINGS`.
        problems: names of the problems it is for.
    """

    settings: list[dict[str, Any]]
    problems: tuple[str, ...] = ("adressa", "coat")

    @abc.abstractmethod
    def choose(self, problem: Problem, setting: Mapping[str, Any]) -> Chosen:
        """Train on all but the validation rows, and return what these say."""

    @abc.abstractmethod
    def train(self, problem: Problem, setting: Mapping[str, Any], epochs: int, seed: int) -> dict[str, ScoreTable]:
        """Train on all training rows and return the scores under each mode of popularity; a baseline's are named "score"."""


@final
class BaselineSystem(System):
    """One of `baselines`.

    Args:
        kind: its class.
    """

    def __init__(self, kind: type[Baseline]) -> None:
        # spread over the grid
        self._kind, self.settings = kind, kind.grid[1::3] if len(kind.grid) > MOST_SETTINGS else kind.grid
        if kind.needs_labels:
            self.problems = ("coat",)

    def choose(self, problem: Problem, setting: Mapping[str, Any]) -> Chosen:
        """Train until the validation rows have not been ranked better for `PATIENCE` epochs."""
        baseline = self._kind(_log(problem, problem.rows.take(problem.parts[0])), seed=0, **setting)
        best = Chosen(-np.inf, 0)
        for epoch in baseline.epochs():
            value = problem.validation_score(baseline.score)
            if value > best.value:
                best = Chosen(value, epoch)
            if epoch - best.epochs >= PATIENCE or epoch >= MOST_EPOCHS:
                break
        return best

    def train(self, problem: Problem, setting: Mapping[str, Any], epochs: int, seed: int) -> dict[str, ScoreTable]:
        """Train for that many epochs."""
        baseline = self._kind(_log(problem, problem.rows), seed=seed, **setting)
        next(epoch for epoch in baseline.epochs() if epoch >= epochs)
        return {"score": baseline.score}


def _log(problem: Problem, rows: Rows) -> Log:
    return Log(rows.user, rows.item, rows.label, len(problem.train.users), len(problem.train.items))


@final
class StudySystem(System):
    """A model of the package.

    Args:
        settings: studies to choose from, as mappings.
        problems: names of the problems that it is for.
    """

    def __init__(self, settings: list[dict[str, Any]], *problems: str) -> None:
        assert len(settings) <= MOST_SETTINGS
        self.settings, self.problems = settings, problems

    def choose(self, problem: Problem, setting: Mapping[str, Any]) -> Chosen:
        """Fit, stopped by a ranking of the validation rows where all items are ranked, else by the log-score of other rows."""
        if not problem.ranks_all:
            part = problem.train.take(np.sort(problem.parts[0]))
            fitted = pb.fit(part, study=pb.Study.model_validate(setting), progress=False)
            return Chosen(problem.validation_score(_pairs_table(fitted, problem, "population")), 0)
        validation = {"split": problem.split, "metric": problem.decides, "share": problem.share}
        training = {**setting.get("training", {}), "validation": validation, "phase_two": 0}
        study = pb.Study.model_validate({**setting, "training": training})
        history = pb.fit(problem.train, study=study, progress=False).history
        values = history.loc[history["phase"] == 1, f"validation_{problem.decides}"].to_numpy()
        if study.training.runs_whole(learns_scales=study.model.affinity.learns_scales):
            return Chosen(float(values[-1]), len(values))
        return Chosen(float(values.max()), int(values.argmax()) + 1)

    def train(self, problem: Problem, setting: Mapping[str, Any], epochs: int, seed: int) -> dict[str, ScoreTable]:
        """Fit all training rows for that many epochs; with 0, as the study says."""
        training = {**setting.get("training", {}), "seed": seed}
        if epochs:
            training |= {"epochs": epochs, "validation": 0.0}
        fitted = pb.fit(problem.train, study=pb.Study.model_validate({**setting, "training": training}), progress=False)
        if problem.ranks_all:
            return {mode: _catalogue_table(fitted, mode) for mode in MODES}
        return {mode: _pairs_table(fitted, problem, mode) for mode in MODES}


def _catalogue_table(fitted: pb.Fit, mode: str) -> ScoreTable:
    ranking = fitted.scorer(mode).ranking_scores()
    return lambda users: ranking(users).cpu().numpy()


def _pairs_table(fitted: pb.Fit, problem: Problem, mode: str) -> ScoreTable:
    """Return the probabilities of all pairs; for small catalogues."""
    users, items = problem.train.users, problem.train.items

    def table(chosen: np.ndarray) -> np.ndarray:
        frame = pd.DataFrame({"user": np.repeat(users[chosen], len(items)), "item": np.tile(items, len(chosen))})
        score = fitted.predict(frame, popularity=mode, unseen="prior")["score"].to_numpy()
        return np.asarray(score.reshape(len(chosen), len(items)))

    return table


def _positives(name: str, *, scale: float, epochs: int, sampling: str = "uniform") -> dict[str, Any]:
    """Return a study of positives only, with point vectors and rates that fall."""
    return {
        "schema": 1,
        "data": {"negative_sampling": sampling},
        "model": {"name": name, "affinity": {"name": "embedding", "dim": 128, "scale": scale, "posterior": "point"}},
        "training": {"epochs": epochs, "schedule": "linear"},
    }


def _rated(name: str, exposures: Iterable[Any], *affinities: dict[str, Any]) -> list[dict[str, Any]]:
    """Return studies of labelled rows, each affinity with each exposure part."""
    return [
        {"schema": 1, "model": {"name": name, "affinity": affinity, "exposure": exposure}}
        for affinity in affinities
        for exposure in exposures
    ]


# counts as they are, and counts that grow with the square of popularity
COUNTED = tuple({"name": "negative-binomial", "power": power} for power in (1.0, 2.0))
VECTORS: tuple[dict[str, Any], ...] = (
    {"name": "embedding", "dim": 8},
    {"name": "embedding", "dim": 8, "posterior": "point", "scale": 0.3},
)
FEATURES: tuple[dict[str, Any], ...] = tuple(
    {"name": "factorization-machine", "dim": 8, "scale": scale} for scale in (0.2, 0.4)
)
MODELS = ("product", "inverse-logistic")
SYSTEMS: dict[str, System] = {
    "inverse-logistic": StudySystem(
        [
            *(_positives("inverse-logistic", scale=s, epochs=24, sampling="popularity") for s in (0.7, 0.85)),
            *(_positives("inverse-logistic", scale=s, epochs=40) for s in (0.6, 0.7)),
        ],
        "adressa",
    ),
    "product": StudySystem([_positives("product", scale=s, epochs=40) for s in (0.5, 0.6, 0.7, 0.85)], "adressa"),
    **{f"{name}, vectors": StudySystem(_rated(name, COUNTED, *VECTORS), "coat") for name in MODELS},
    **{f"{name}, features": StudySystem(_rated(name, COUNTED, *FEATURES), "coat") for name in MODELS},
    "product, labels alone": StudySystem(_rated("product", ("none",), *VECTORS), "coat"),
    **{name: BaselineSystem(kind) for name, kind in BASELINES.items()},
}
