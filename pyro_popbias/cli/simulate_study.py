"""`popbias simulate`: interactions simulated from a study's model, in the study's columns, with their true popularity."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyro_popbias.assembly.compatibility import check_given
from pyro_popbias.cli.outputs import Said
from pyro_popbias.data.labels import holds, parse_rule
from pyro_popbias.data.table_files import file_ending, write_table
from pyro_popbias.errors import ConfigError
from pyro_popbias.models import MODELS, SATURATIONS
from pyro_popbias.simulation.simulate import Simulation, simulate
from pyro_popbias.study.sections import DataConfig, FixedAffinityConfig, ModelConfig
from pyro_popbias.study.study import Study


def run_simulation(path: Path, events: Path, truth: Path, *, sizes: Mapping[str, int]) -> Said:
    """Write interactions that `popbias fit` of the same study reads with --data, and the true z; yield lines to print.

    Returns the files, each with its number of rows.

    Parameters that the study leaves to be learned have their defaults: a concentration of 2, and 1 for all others.

    Args:
        path: the study file.
        events: file of the rows: .csv, .csv.gz or .parquet.
        truth: file of the true popularity: item, period, z.
        sizes: users, items, interactions and seed.

    Raises:
        ConfigError: the study's model cannot be simulated, or does not take an option that is given; or an ending or
            size is wrong.
        RunFolderError: a file cannot be read or written.
    """
    study = Study.from_toml(path)
    for file in (events, truth):
        file_ending(file)  # refused before the first file is written
    check_given(study)
    data, model = study.data, study.model
    labels: Literal["observed", "positives"] = "observed" if data.label else "positives"
    simulation = simulate(**declared_simulation(model) | dict(sizes), periods=data.periods, labels=labels)
    table = _as_named(simulation, data, model)
    write_table(table, events)
    written = {"events": {"output": events, "rows": len(table)}}
    yield f"{len(table)} rows -> {events}"
    if data.label is not None and simulation.events.label is None:
        yield f"model {model.name!r} chooses items and gives no labels: to fit them, leave out [data] label"
    write_table(simulation.truth["popularity"], truth)
    written["truth"] = {"output": truth, "rows": len(simulation.truth["popularity"])}
    yield f"{len(simulation.truth['popularity'])} rows -> {truth}"
    for side in ("user", "item"):
        features = getattr(simulation, f"{side}_features")
        if features is not None:
            file = events.with_name(events.name.removesuffix(file_ending(events)) + f"-{side}-features.csv")
            write_table(features.rename_axis("id").reset_index(), file)
            written[f"{side}_features"] = {"output": file, "rows": len(features)}
            yield f"{len(features)} rows -> {file}; fits need it as [data] {side}_features"
    return written


def declared_simulation(model: ModelConfig) -> dict[str, Any]:
    """Return the arguments of `simulate` that a section declares.

    Raises:
        ConfigError: affinities have given vectors.
    """
    affinity = model.affinity
    if isinstance(affinity, FixedAffinityConfig) and affinity.score is None:
        raise ConfigError(
            "PB-C018: the affinity has given vectors, whose users and items are not the simulated ones; use "
            'affinity = { name = "embedding" }, or { name = "fixed", score = "score" }'
        )
    found: dict[str, Any] = {"model": model.name, "affinity": affinity, "prior": model.prior}
    for section, key in ((affinity, "dim"), (model.prior, "concentration")):
        if (value := getattr(section, key, None)) is not None:
            found[key] = value
    cls, name = MODELS[model.name], model.saturation.name
    if cls.default_saturation is not None and cls.takes_saturation(SATURATIONS[name]):
        found["saturation"] = name
        parameter = getattr(model.saturation, SATURATIONS[name].parameter_name)
        if parameter != "learned":
            found["rate"] = parameter
    return found


def _as_named(simulation: Simulation, data: DataConfig, model: ModelConfig) -> Any:
    """Return the rows under the study's names of columns, with labels that its rule reads."""
    table = simulation.frame
    names = {"user": data.user, "item": data.item, "label": data.label, "time": data.time}
    if isinstance(model.affinity, FixedAffinityConfig):
        names["score"] = model.affinity.score
    if "label" in table and data.positive_if is not None:
        negative, positive = _examples(data.positive_if)
        table = table.assign(label=np.where(table["label"] == 1, positive, negative))
    if data.time is not None and "time" not in table:
        table = table.assign(time=np.arange(len(table)))
    return table.rename(columns={role: name for role, name in names.items() if name is not None})


def _examples(rule: str) -> tuple[float, float]:
    """Return a number that a rule makes a negative, and one that it makes a positive."""
    number = parse_rule(rule)[1]
    step = max(1.0, abs(number) / 1024)  # so that the neighbours of a large number differ from it
    tried = np.array([number, number - step, number + step])
    positive = holds(rule, tried)
    return float(tried[~positive][0]), float(tried[positive][0])
