"""`popbias tune`: search a declared space of studies by what judges their training. No test set is read."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from pyro_popbias.cli.fit_and_compare import declared, read_data
from pyro_popbias.cli.fit_summary import epochs_kept
from pyro_popbias.cli.outputs import Said
from pyro_popbias.data.atomic_files import in_words, write_atomically
from pyro_popbias.errors import ConfigError, CorruptCheckpointError, NumericalError, PopBiasError, RunFolderError
from pyro_popbias.fitted import Fit, fit_study
from pyro_popbias.storage.lock import locked
from pyro_popbias.storage.run_names import require_name
from pyro_popbias.study.study import Study
from pyro_popbias.study.toml_files import read_toml

if TYPE_CHECKING:
    import optuna

RANGE = {"low", "high", "log"}
SEARCHED_OF_DATA = {"data.negatives", "data.negative_sampling"}  # the log is read once
RANDOM_SETTINGS = 5  # before the first that the sampler proposes by what it has seen


def read_space(path: Path) -> dict[str, Any]:
    """Return the space of a file: key of a study to a list of choices, or to a range {low, high[, log]}.

    Raises:
        ConfigError: the file is not TOML, a key has neither choices nor a range, or another log would have to be read.
        RunFolderError: it cannot be read.
    """
    space = dict(_leaves(read_toml(path)))
    wrong = [key for key, values in space.items() if not _is_dimension(values)]
    if wrong or not space:
        raise ConfigError(
            f"PB-C375: {path} declares {len(space)} keys, {len(wrong)} of them without choices or a range "
            f"({', '.join(wrong[:3])}), which is finite, and above 0 where it is a log; write "
            "training.learning_rate = { low = 0.001, high = 0.1, log = true } or "
            "model.affinity.dim = [64, 128]"
        )
    fixed = [key for key in space if key.startswith("data.") and key not in SEARCHED_OF_DATA]
    if fixed:
        raise ConfigError(
            f"PB-C375: {path} varies {', '.join(fixed)}, but all settings are judged on one log; of [data] a space may vary "
            f"{', '.join(sorted(SEARCHED_OF_DATA))}"
        )
    return space


def _leaves(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and not ({"low", "high"} & set(value)):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _is_dimension(values: Any) -> bool:
    if isinstance(values, list):
        return bool(values) and all(isinstance(each, str | int | float) for each in values)
    if not isinstance(values, Mapping) or not {"low", "high"} <= set(values) <= RANGE:
        return False
    low, high, log = values["low"], values["high"], values.get("log", False)
    finite = all(type(end) in (int, float) and math.isfinite(end) for end in (low, high))
    return finite and low < high and isinstance(log, bool) and (low > 0 or not log)


def run_tuning(path: Path, space_path: Path, folder: Path, *, trials: int, data: Path | None = None) -> Said:
    """Fit a study under settings of a space, and write the best; yield lines of report, and return it.

    A search that was cut off goes on where it was; more trials may be asked for later.

    Args:
        path: the study file.
        space_path: the space, a TOML file.
        folder: where the search keeps its state and its results.
        trials: number of settings in all.
        data: a file of interactions in place of the study's.

    Raises:
        ConfigError: the study or space cannot be used, optuna is missing, or the folder belongs to another search.
        DataError: the data cannot be read; nothing is written.
        RunLockedError: another process searches there.
        RunFolderError: the folder cannot be written to.
        CorruptCheckpointError: its log is damaged.
    """
    optuna = _optuna()
    study, space = declared(path, data=data), read_space(space_path)
    if not study.training.held_out.share:
        raise ConfigError("PB-C376: [training] validation = 0 holds no rows out, so that nothing judges settings")
    events = read_data(study)
    with locked(folder if folder.is_dir() else require_name(folder)), _named(folder):  # a search may go on
        search = _search(optuna, folder, study, space)
        done = sum(trial.state.is_finished() for trial in search.trials)
        yield f"{done} of {trials} settings tried, judged by held-out {study.training.held_out.metric}"
        for number in range(done, trials):
            # a sampler of its own for each setting: a search that was cut off proposes what it would have, and nothing twice
            search.sampler = optuna.samplers.TPESampler(
                seed=study.training.seed + number, n_startup_trials=RANDOM_SETTINGS
            )
            trial = search.ask()
            chosen = {key: _suggest(trial, key, values) for key, values in space.items()}
            assignments = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
            setting = declared(path, data=data, overrides=assignments)
            fitting = partial(fit_study, events, setting, title=f"setting {number + 1}, ")
            yield f"{', '.join(assignments)}: {_tried(search, trial, fitting)}"
        return (yield from _report(search, path, data, folder))


def _tried(search: "optuna.Study", trial: "optuna.Trial", fitting: Callable[[], Fit]) -> str:
    """Fit a setting and tell the search how it did; return that in words."""
    failed = _optuna().trial.TrialState.FAIL
    try:
        fitted = fitting()
    except NumericalError as error:
        search.tell(trial, state=failed)
        return str(error)
    value, epochs = judged(fitted)
    if math.isnan(value):
        search.tell(trial, state=failed)
        return "what judges it is not a number, which counts as the worst"
    trial.set_user_attr("epochs", epochs)
    search.tell(trial, value)
    return f"{value:.4f} after {epochs} epochs"


def judged(fitted: Fit) -> tuple[float, int]:
    """Return what a fit's held-out rows say of it, the higher the better, and the epochs of phase one that led there."""
    history, metric = fitted.history, fitted.study.training.held_out.metric
    column = f"validation_{metric}" if f"validation_{metric}" in history else "validation_log_score"
    return float(history[column].iloc[-1]), epochs_kept(fitted)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError("PB-C377: popbias tune needs optuna; pip install 'pyro-popbias[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _search(optuna: Any, folder: Path, study: Study, space: Mapping[str, Any]) -> "optuna.Study":
    """Return the search of a folder, new or as it was left."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    log, lock = folder / "trials.log", cast(Any, _Held())  # optuna asks for a class of its own
    _drop_torn_line(log)
    try:
        search: optuna.Study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(log), lock)),
            study_name="popbias",
            direction="maximize",
            load_if_exists=True,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpointError(f"PB-R160: {log} is damaged, {error!r}; choose another folder") from error
    what = sha256((study.to_toml() + json.dumps(space, sort_keys=True)).encode()).hexdigest()
    if search.user_attrs.get("of", what) != what:
        raise ConfigError(f"PB-C378: {folder} holds a search of another study or space; choose another folder")
    search.set_user_attr("of", what)
    return search


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Say errors of the system in a search's own files in words; those of writes to the log name no file."""
    try:
        yield
    except OSError as error:
        named = Path(error.filename or folder).absolute()
        if isinstance(error, PopBiasError) or folder.absolute() not in (named, *named.parents):
            raise
        raise RunFolderError(f"PB-R100: cannot write to {folder}: {in_words(error, 0, folder)}") from error


class _Held:
    """The lock that optuna asks for around each write to the log: the process holds that of the folder already."""

    def acquire(self) -> bool:
        """Return that it is held."""
        return True

    def release(self) -> None:
        """Keep it."""


def _drop_torn_line(log: Path) -> None:
    """Cut off what a process that was killed, or a full disk, left of a line: the next one would go on from it."""
    content = log.read_bytes() if log.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(log, whole)


def _suggest(trial: "optuna.Trial", key: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(key, values)
    low, high, log = values["low"], values["high"], bool(values.get("log"))
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log=log)
    return trial.suggest_float(key, low, high, log=log)


def _report(search: "optuna.Study", path: Path, data: Path | None, folder: Path) -> Said:
    """Write trials.csv and best.toml; yield what they hold, and return it."""
    from pyro_popbias.data.table_files import write_table

    rows = [
        {"setting": trial.number, **trial.params, "value": trial.value, "epochs": trial.user_attrs.get("epochs")}
        for trial in search.trials
        if trial.state.is_finished()
    ]
    table = pd.DataFrame(rows)
    if table["value"].isna().all():
        raise NumericalError(f"PB-N002: none of {len(table)} settings could be fitted; see above")
    table = table.sort_values("value", ascending=False, ignore_index=True)
    write_table(table, folder / "trials.csv")
    best = search.best_trial
    chosen = declared(path, data=data, overrides=[f"{key}={json.dumps(value)}" for key, value in best.params.items()])
    # with defaults in it that data decide, such as whether items have a quality, it would be another study than was judged
    write_atomically(folder / "best.toml", chosen.to_toml(whole=False).encode())
    yield table.head(10).to_string(index=False)
    yield f"the best of {len(table)} settings -> {folder / 'best.toml'}; all of them -> {folder / 'trials.csv'}"
    train = (
        f"popbias fit {folder / 'best.toml'} --out RUN --set training.validation=0.0 "
        f"--set training.epochs={best.user_attrs['epochs']}"
    )
    yield f"train it on all rows: {train}"
    return {
        "best": {"value": best.value, "epochs": best.user_attrs["epochs"], "settings": best.params},
        "judged_by": chosen.training.held_out.metric,
        "study": folder / "best.toml",
        "trials": table,
        "train": train,
    }
