"""`popbias fit` and `popbias compare`: a study and a file become a run folder, or fits side by side."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pyro_popbias.assembly.compatibility import check_fit
from pyro_popbias.assembly.pair import assemble, with_names
from pyro_popbias.cli.fit_summary import fit_record, fit_summary
from pyro_popbias.cli.outputs import Said
from pyro_popbias.cli.pictures import require_png, write_picture
from pyro_popbias.comparison import compare
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.readers import read_interactions
from pyro_popbias.errors import ConfigError
from pyro_popbias.fitted import Fit, fit_of, fit_study, load
from pyro_popbias.storage.folder_state import refuse_full
from pyro_popbias.storage.new_run import NewRun
from pyro_popbias.storage.replacement import new_place
from pyro_popbias.storage.run_folder import save
from pyro_popbias.storage.run_names import require_name
from pyro_popbias.storage.trainings import Training, train_all
from pyro_popbias.study.study import Study
from pyro_popbias.training.environment import Launch
from pyro_popbias.training.restarts import Checkpointing, restart_seeds
from pyro_popbias.training.workers import at_once, require_jobs
from pyro_popbias.updating import update


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
        new_items=section.new_items,
    )


def run_fit(
    path: Path,
    folder: Path,
    *,
    data: Path | None = None,
    model: str | None = None,
    guide: str | None = None,
    overrides: Sequence[str] = (),
    restarts: int = 1,
    jobs: int | None = None,
    resume: bool = False,
    keep_data: bool = True,
    overwrite: bool = False,
    plot: Path | None = None,
) -> Said:
    """Fit a study file and write its run folder; yield lines of report, and return it.

    Args:
        path: the study file.
        folder: the run folder; new, or with leftovers of a fit without a checkpoint, unless resumed.
        data: a file of interactions in place of the study's.
        model: name of a model in place of the study's.
        guide: name of a guide in place of the study's.
        overrides: assignments such as "training.epochs=5".
        restarts: number of independent fits, of which the folder holds the best, and the others as chains.
        jobs: how many of them at once, one thread each; None for one after another with all threads.
        resume: whether each restart continues from its last checkpoint; study, data and restarts must be the same.
        keep_data: whether the folder holds the interactions.
        overwrite: whether a run that the folder holds is replaced once the new one is complete; it is fitted beside it.
        plot: .png file of the popularity of items.

    Returns:
        The run, its data and what was reached; nothing in a process that takes part in the fit of another one.

    Raises:
        PopBiasError: a study, data or run folder that cannot be used; nothing on disk has changed then.
    """
    study = declared(path, data=data, model=model, guide=guide, overrides=overrides)
    restart_seeds(study.training.seed, restarts)  # refused before the data are read
    require_jobs(jobs)
    require_png(plot)
    launch = Launch.here()
    if launch.processes > 1 and jobs is not None:
        raise ConfigError("PB-C476: --jobs is for fits that have a process each; under torchrun leave it out")
    if not launch.leads:
        fit_study(read_data(study), study, restarts=restarts)
        return {}
    with new_place(folder, overwrite=overwrite) as place, NewRun(place, restarts=restarts, resume=resume) as run:
        if run.starts_over:
            yield f"{place} holds no checkpoint yet: starting from the beginning"
        events = read_data(study)
        yield f"{events!r} from {study.data.path}"
        checkpointing: Checkpointing = run.checkpoints
        if at_once(jobs, restarts) > 1:
            with warnings.catch_warnings(action="ignore"):  # workers give them
                checkpointing = run.checkpoints_elsewhere(assemble(events, study))
        fitted = fit_study(events, study, restarts=restarts, jobs=jobs, checkpointing=checkpointing)
        run.finish(fitted, data=keep_data)
    record = yield from _reached(fitted, events, folder)
    if plot is None:
        return record
    write_picture(fitted.plot.popularity(), plot)
    yield f"popularity of items: {plot}"
    return {**record, "plot": plot}


def run_update(
    run: Path, folder: Path, *, data: Path, drift: float | None, keep_data: bool, overwrite: bool = False
) -> Said:
    """Go on with a run folder on new interactions, and write another one; yield lines of report, and return it.

    Args:
        run: the run folder.
        folder: the new one.
        data: a file of interactions, read by the keys of the run's study.
        drift: as in `pb.update`.
        keep_data: whether the new folder holds the interactions.
        overwrite: as in `run_fit`.

    Raises:
        PopBiasError: a run folder, data or drift that cannot be used; nothing on disk has changed then.
    """
    place = new_place(folder, overwrite=overwrite)
    if not overwrite:
        refuse_full(require_name(folder))
    fitted = load(run)
    section = fitted.study.data
    if section.user is None or section.item is None:
        raise ConfigError(
            "PB-C014: new rows are read by the keys of the run's study, which names no [data] user and item"
        )
    study = fitted.study.replace("data", path=str(data.absolute()), periods=1, user_features=None, item_features=None)
    events = read_data(study)
    yield f"{events!r} from {study.data.path}"
    updated = update(fitted, events, drift=drift)
    with place as new:
        save(replace(updated, study=updated.study.replace("data", path=study.data.path)), new, data=keep_data)
    return (yield from _reached(updated, events, folder))


def _reached(fitted: Fit, events: Interactions, folder: Path) -> Said:
    """Yield what a fit has taken and reached, and return it with its data and its folder."""
    yield from fit_summary(fitted)
    yield f"run folder: {folder}"
    return {"run": folder, **fit_record(fitted, events)}


def run_comparison(
    paths: Sequence[Path], *, guides: Sequence[str] = (), test: Path | None = None, jobs: int | None = None
) -> pd.DataFrame:
    """Return fits side by side: of run folders, or of one study file under several guides.

    Args:
        paths: run folders, or a study file.
        guides: names of guides to fit the study with, in turn; none where paths are run folders.
        test: a file of labelled rows that no fit has seen, read by the keys of the study's [data].
        jobs: how many fits at once, one thread each; None for one after another with all threads.

    Raises:
        ConfigError: guides are named for other than one study file, or a file stands where a run folder should.
        PopBiasError: a study, data or run folder that cannot be used.
    """
    require_jobs(jobs)
    if guides:
        if len(paths) != 1 or paths[0].is_dir():
            raise ConfigError(f"PB-C163: --guides goes with one study file, not with {', '.join(map(str, paths))}")
        studies = {guide: declared(paths[0], guide=guide) for guide in dict.fromkeys(guides)}
        for study in studies.values():  # all of them before the first is fitted
            check_fit(study.model.name, study.model.prior, study.guide.name)
        events = read_data(next(iter(studies.values())))
        trainings = {f"guide {guide}": Training(study, title=f"guide {guide}, ") for guide, study in studies.items()}
        trained = train_all(events, trainings, jobs=jobs)
        fits = {guide: fit_of(each) for guide, each in zip(studies, trained.values(), strict=True)}
    else:
        files = [str(path) for path in paths if path.is_file()]
        if files:
            raise ConfigError(
                f"PB-C164: {', '.join(files)} is a file; compare run folders, or name --guides for a study file"
            )
        fits = {str(path): load(path) for path in dict.fromkeys(paths)}
    rows = None if test is None else read_test(next(iter(fits.values())).study, test)
    return compare(fits, test=rows, jobs=jobs)


def read_test(study: Study, path: Path) -> Interactions:
    """Return the interactions of a test, read by the keys of a study's [data].

    The files that the study names are not opened: the fit knows the features of its users and items, and a run folder from
    elsewhere may name any file.

    Raises:
        ConfigError: the study names no columns of ids.
        PopBiasError: the file cannot be used.
    """
    if study.data.user is None or study.data.item is None:
        raise ConfigError("PB-C014: a test is read by the keys of the run's study, which names no [data] user and item")
    return read_data(study.replace("data", path=str(path), user_features=None, item_features=None, new_items=False))
