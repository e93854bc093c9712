"""A fit as a run of MLflow: what was declared, how training went, how good it is, and the files to open it again.

The run folder is logged as files: tables, tensors and declarations, nothing pickled. `pb.load` opens what
`mlflow.artifacts.download_artifacts` brings back.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.fitted import Fit
from pyro_popbias.interfaces.extras import imported
from pyro_popbias.storage.run_folder import versions

MOST_AT_ONCE = 1_000  # metrics that a tracking server takes in one request
LONGEST = 500  # characters of a parameter
NOT_METRICS = ("phase", "epoch")


def log_fit(fit: Fit, evaluation: pd.DataFrame | None = None, *, artifacts: bool = True) -> str:
    """Log a fit to MLflow's active run, or to a new one, which is ended.

    Logged are the study's keys as parameters (`model.affinity.dim`), each column of `fit.history` as a metric by row,
    the last held-out log-score (`held_out_log_score`), the verdict of `fit.check()`, if that was called, as the tag
    `popbias.check`, and the evaluation.

    Args:
        fit: the fit.
        evaluation: what `fit.evaluate` returns; its metrics are logged under `test.`, with `@` as `_at_`.
        artifacts: whether to log study.toml, report.html and the run folder.

    Returns:
        The id of the run.

    Raises:
        ConfigError: MLflow is not installed.
        RunFolderError: there is no room for the files on their way.
    """
    mlflow = imported("mlflow", "mlflow", "mlflow", "log_fit")
    if mlflow.active_run() is None:
        with mlflow.start_run():
            return log_fit(fit, evaluation, artifacts=artifacts)
    run: str = mlflow.active_run().info.run_id
    mlflow.log_params({name: str(value)[:LONGEST] for name, value in _flat(fit.study.model_dump(by_alias=True))})
    mlflow.set_tags({f"popbias.{name}": version for name, version in versions().items()})
    _log_history(mlflow, run, fit.history)
    if fit.last_check is not None:
        mlflow.set_tag("popbias.check", "passed" if fit.last_check.passed else "failed")
    if evaluation is not None:
        rows = evaluation[np.isfinite(evaluation["value"])]
        mlflow.log_metrics(
            {_name(f"test.{name}"): value for name, value in zip(rows["metric"], rows["value"], strict=True)}
        )
    if artifacts:
        _log_files(mlflow, fit)
    return run


def _flat(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of nested sections, joined by points, with their values; frames are left out."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif value is not None and not isinstance(value, pd.DataFrame):
            yield f"{above}{key}", value


def _name(metric: str) -> str:
    """Return the name of a metric in the characters that MLflow takes."""
    for taken, instead in (("@", "_at_"), ("[", "/"), ("]", "")):
        metric = metric.replace(taken, instead)
    return metric


def _log_history(mlflow: Any, run: str, history: pd.DataFrame) -> None:
    """Log the columns of a history, each epoch of both phases a step, and the last held-out log-score."""
    entities = imported("mlflow.entities", "mlflow", "mlflow", "log_fit")
    client, now = mlflow.MlflowClient(), pd.Timestamp.now().value // 1_000_000
    metrics = [
        entities.Metric(_name(f"training.{column}"), float(value), now, step)
        for column in history.columns.drop(list(NOT_METRICS))
        for step, value in enumerate(history[column])
        if np.isfinite(value)
    ]
    for start in range(0, len(metrics), MOST_AT_ONCE):
        client.log_batch(run, metrics=metrics[start : start + MOST_AT_ONCE])
    judged = history["validation_log_score"].dropna() if "validation_log_score" in history else history.iloc[:0, 0]
    if len(judged):
        mlflow.log_metric("held_out_log_score", float(judged.iloc[-1]))


def _log_files(mlflow: Any, fit: Fit) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "study.toml").write_text(fit.study.with_names_of_files().to_toml(), encoding="utf-8")
        fit.report(place / "report.html")
        fit.save(place / "run")
        mlflow.log_artifacts(folder)
