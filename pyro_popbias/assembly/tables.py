"""Tables in place of `Interactions`: which column means what, by the call, by the study, or by plain names.

| what | where it is read from |
| --- | --- |
| a key that the call names, such as `label="rating"` | the call; the study must not say otherwise |
| a key that it leaves out | [data] of the study |
| a key that neither has | the columns `user`, `item` and `label`, one period, no times |

A study that names columns of ids and no label is of positives only, as in a study file. The keys are written into the study of
the fit, so that tests and later rows are read like the rows of the fit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyro_popbias.data.column_roles import NAMES, Columns
from pyro_popbias.data.frames import Table, as_frame, of_other_separators
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.readers import with_features_of
from pyro_popbias.errors import ConfigError, DataError, shown
from pyro_popbias.registry import nearest
from pyro_popbias.study.sections import DataConfig
from pyro_popbias.study.study import Study

KEYS = (
    "user",
    "item",
    "label",
    "positive_if",
    "time",
    "periods",
    "period_by",
    "new_items",
)  # of [data], and of `from_frame`
FEATURES = ("user_features", "item_features")
PLAIN = {"user": "user", "item": "item"}


def interactions_for(given: Interactions | Table, study: Study, **asked: Any) -> tuple[Interactions, Study]:
    """Return the interactions that are given, or read from a table, and the study with the keys that they were read by.

    Args:
        given: interactions, a DataFrame, or a table with `__arrow_c_stream__`.
        study: what was declared.
        asked: keys of `Interactions.from_frame`; None is one that was left out, and for `label`, where None means that there is
            none, `...`.

    Raises:
        DataError: the table is none, lacks a column, or cannot be used as it is.
        ConfigError: keys are given beside interactions, or the study says otherwise.
    """
    said = {key: value for key, value in asked.items() if value is not (... if key == "label" else None)}
    said |= {role: str(said[role]) for role in NAMES if isinstance(said.get(role), int)}  # of a file without a header
    if isinstance(given, Interactions):
        if said:
            raise ConfigError(
                f"PB-C510: {', '.join(said)}: these are for tables, and Interactions have already been read; leave them "
                "out, or pass the table itself"
            )
        return given, study
    frame, section = _frame(given), study.data
    _refuse_contradictions(said, section)
    keys = _keys(said, section)
    _require_columns(frame, keys, "pb.fit")
    return _read(frame, keys, {key: said.get(key, getattr(section, key)) for key in FEATURES}), _with_keys(study, keys)


def rows_like(given: Interactions | Table, study: Study) -> Interactions:
    """Return rows that are read as those of a fit were: of a test, or of the next period.

    Args:
        given: interactions, a DataFrame, or a table with `__arrow_c_stream__`.
        study: of the fit; where it names no columns these are `user`, `item` and, unless the fit is of positives, `label`.

    Raises:
        DataError: the table is none, lacks a column, or cannot be used as it is.
    """
    if isinstance(given, Interactions):
        return given
    frame, section = _frame(given), study.data
    keys = _keys({}, section) | {"periods": 1, "period_by": "time", "new_items": False}
    if section.negatives and not section.label and keys["label"] not in frame:
        keys["label"] = None
    _require_columns(frame, keys, "pb.Interactions.from_frame")
    return _read(frame, keys, {})


def pairs_like(given: Table, study: Study) -> pd.DataFrame:
    """Return a table of pairs with the columns user and item, which may have the names that the study has for them.

    Args:
        given: a DataFrame, or a table with `__arrow_c_stream__`.
        study: of the fit.

    Raises:
        DataError: the table is none.
    """
    frame = _frame(given)
    own = {getattr(study.data, role): role for role in PLAIN if role not in frame}
    return frame.rename(columns={name: role for name, role in own.items() if name is not None})


def _frame(given: Any) -> pd.DataFrame:
    if isinstance(given, str | Path):
        raise DataError(
            f"PB-D491: {shown(str(given))} is the name of a file, not a table; read it with pandas.read_csv, or with "
            "pb.read_interactions(path, user=..., item=..., label=...)"
        )
    return as_frame(given)


def _refuse_contradictions(said: Mapping[str, Any], section: DataConfig) -> None:
    for key, value in said.items():
        declared = getattr(section, key)
        if declared is not None and key in section.model_fields_set and (key in FEATURES or declared != value):
            raise ConfigError(
                f"PB-C511: {key}={shown(value)} and [data] {key} = {shown(declared)} of the study do not agree; leave one out"
            )


def _keys(said: Mapping[str, Any], section: DataConfig) -> dict[str, Any]:
    """Return the keys to read a table by."""
    keys = {key: said.get(key, getattr(section, key)) for key in KEYS}
    names_columns = section.user is not None or section.item is not None
    if "label" not in said and section.label is None and not names_columns:
        keys["label"] = "label"
    return keys | {key: name for key, name in PLAIN.items() if keys[key] is None}


def _require_columns(frame: pd.DataFrame, keys: Mapping[str, Any], call: str) -> None:
    """Refuse a table without a column, and say which there are and how to name them.

    Args:
        frame: the table.
        keys: to read it by.
        call: that takes names of columns.
    """
    present = [str(column) for column in frame.columns]
    named = {role: keys[role] for role in NAMES if keys[role] is not None}
    missing = {role: name for role, name in named.items() if name not in present}
    if not missing:
        return
    which = ", ".join(f"{shown(name)} ({role}=)" for role, name in missing.items())
    there = ", ".join(map(repr, present)) + of_other_separators(present)
    said = nearest(str(next(iter(missing.values()))), present) if len(missing) == 1 else "."
    without = "; label=None where every row is a positive" if "label" in missing else ""
    raise DataError(
        f"PB-D490: no column {which}{said} Columns: {there}. Name them: {_example(frame, named, missing, call)}{without}"
    )


def _example(frame: pd.DataFrame, named: Mapping[str, str], missing: Mapping[str, str], call: str) -> str:
    """Return a call that names the columns of a table, as far as their names tell which is which."""
    right = {role: name for role, name in named.items() if role not in missing}
    guessed = Columns.guessed(frame, right)
    words = [
        f"{role}={guessed[role]!r}" if role in guessed else f"{role}=..."
        for role in named
        if role in missing or right[role] != role
    ]
    return f"{call}(frame, {', '.join(words)})"


def _read(frame: pd.DataFrame, keys: Mapping[str, Any], features: Mapping[str, Any]) -> Interactions:
    read = {key: value for key, value in keys.items() if key != "new_items"}
    events = Interactions.from_frame(frame, **read)
    for role, given in features.items():
        events = with_features_of(events, role, given, new_items=keys["new_items"])
    return events


def _with_keys(study: Study, keys: Mapping[str, Any]) -> Study:
    """Return the study with the keys that a table was read by, where they are not the defaults."""
    fields = DataConfig.model_fields
    return study.replace("data", **{key: value for key, value in keys.items() if value != fields[key].default})
