"""`popbias fit`: a study and a file become a run folder, with a checkpoint an epoch."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd

from pyro_popbias.assembly.compatibility import check_fit
from pyro_popbias.assembly.pair import assemble, with_names
from pyro_popbias.comparison import compare
from pyro_popbias.data.atomic_files import remove_temporaries
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.readers import read_interactions
from pyro_popbias.errors import ConfigError
from pyro_popbias.fitted import Fit, fit, load
from pyro_popbias.progress import TrainingProgress
from pyro_popbias.storage.checkpoints import Checkpoints, identity, locked
from pyro_popbias.storage.run_folder import refuse_full, write_run
from pyro_popbias.study.study import Study
from pyro_popbias.training.loop import train


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append the package's log to a file meanwhile."""
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("pyro_popbias")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def declared(
    path: Path,
    *,
    data: Path | None = None,
    model: str | None = None,
    guide: str | None = None,
    overrides: Sequence[str] = (),
) -> Study:
    """Return the study of a file, which names the files that it reads by their whole paths.

    Args:
        path: the study file.
        data: a file of interactions in place of the study's.
        model: name of a model in place of the study's.
        guide: name of a guide in place of the study's.
        overrides: assignments such as "training.epochs=5".

    Raises:
        ConfigError: the study cannot be used, or names no file or no columns of ids.
    """
    study = with_names(Study.from_toml(path, overrides), model=model, guide=guide)
    section = study.data
    source = str(data) if data is not None else section.path
    if source is None:
        raise ConfigError(f"PB-C014: {path} has no [data] path; set it, or pass --data FILE")
    if section.user is None or section.item is None:
        raise ConfigError(f"PB-C014: {path} must name the columns of ids, [data] user and item")
    prior = study.model.prior
    if prior.counts is not None:
        study = study.replace("model", prior=prior.model_copy(update={"counts": str(Path(prior.counts).absolute())}))
    # a run's study names the files that were read
    files = {"path": source, "user_features": section.user_features, "item_features": section.item_features}
    return study.replace("data", **{key: file and str(Path(file).absolute()) for key, file in files.items()})


def read_data(study: Study) -> Interactions:
    """Return the interactions of a study that names its file and columns."""
    section = study.data
    assert section.path is not None and section.user is not None and section.item is not None  # noqa: S101, PT018  declared
    return read_interactions(
        section.path,
        user=section.user,
        item=section.item,
        label=section.label,
        positive_if=section.positive_if,
        time=section.time,
        periods=section.periods,
        period_by=section.period_by,
        user_features=section.user_features,
        item_features=section.item_features,
    )


def run_fit(
    path: Path,
    folder: Path,
    *,
    data: Path | None = None,
    model: str | None = None,
    guide: str | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    keep_data: bool = True,
) -> Iterator[str]:
    """Fit a study file and write its run folder; yield lines of report.

    Args:
        path: the study file.
        folder: the run folder, new unless resumed.
        data: a file of interactions in place of the study's.
        model: name of a model in place of the study's.
        guide: name of a guide in place of the study's.
        overrides: assignments such as "training.epochs=5".
        resume: whether to continue from the last checkpoint.
        keep_data: whether the folder holds the interactions.

    Raises:
        PopBiasError: a study, data or run folder that cannot be used; nothing on disk has changed then.
    """
    study = declared(path, data=data, model=model, guide=guide, overrides=overrides)
    if not resume:
        refuse_full(folder)
    events = read_data(study)
    yield f"{events!r} from {study.data.path}"
    pair = assemble(events, study)
    checkpoints = Checkpoints(folder, identity(pair))
    snapshot = checkpoints.latest() if resume else None
    with locked(folder), TrainingProgress(study.training.epochs) as bar, ExitStack() as scope:
        if not resume:
            refuse_full(folder)  # again: another fit may have finished while this one read its data
        remove_temporaries(folder)
        scope.enter_context(logged(folder / "run.log"))
        history = train(
            pair, on_epoch=lambda state: bar(state.phase, state.history[-1]), save=checkpoints.save, resume=snapshot
        )
        fitted = Fit(pair.study, events.catalogue, pair.model, pair.guide, history, events)
        write_run(fitted, folder, data=keep_data)
    score = history["validation_log_score"]
    yield (
        f"phase 1: {(history['phase'] == 1).sum()} epochs, phase 2: {(history['phase'] == 2).sum()} epochs, "
        f"{history['seconds'].sum():.1f} s"
    )
    if score.notna().any():
        first = score[history["phase"] == 1].max()
        yield f"held-out log-loss {-score.iloc[-1]:.4f} nats per row (after phase 1: {-first:.4f})"
    yield f"run folder: {folder}"


def run_comparison(paths: Sequence[Path], *, guides: Sequence[str] = (), test: Path | None = None) -> pd.DataFrame:
    """Return fits side by side: of run folders, or of one study file under several guides.

    Args:
        paths: run folders, or a study file.
        guides: names of guides to fit the study with, in turn; none where paths are run folders.
        test: a file of labelled rows that no fit has seen, read by the keys of the study's [data].

    Raises:
        ConfigError: guides are named for other than one study file, or a file stands where a run folder should.
        PopBiasError: a study, data or run folder that cannot be used.
    """
    if guides:
        if len(paths) != 1 or paths[0].is_dir():
            raise ConfigError(f"PB-C163: --guides goes with one study file, not with {', '.join(map(str, paths))}")
        studies = {guide: declared(paths[0], guide=guide) for guide in dict.fromkeys(guides)}
        for study in studies.values():  # all of them before the first is fitted
            check_fit(study.model.name, study.model.prior, study.guide.name)
        events = read_data(next(iter(studies.values())))
        fits = {guide: fit(events, study=study) for guide, study in studies.items()}
    else:
        files = [str(path) for path in paths if path.is_file()]
        if files:
            raise ConfigError(
                f"PB-C164: {', '.join(files)} is a file; compare run folders, or name --guides for a study file"
            )
        fits = {str(path): load(path) for path in dict.fromkeys(paths)}
    first = next(iter(fits.values())).study
    if test is not None and (first.data.user is None or first.data.item is None):
        raise ConfigError(
            "PB-C014: --test is read by the keys of the first run's study, which names no [data] user and item"
        )
    rows = None if test is None else read_data(first.replace("data", path=str(test)))
    return compare(fits, test=rows)
