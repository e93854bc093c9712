"""Rows 29 to 51: ids of users and items."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import pyro_popbias as pb
from bad_inputs.labels import FIT, fit_it, frame_with, read, short_study, written
from bad_inputs.row import Row
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataError, DataWarning

PARQUET = "rows.parquet"
PREDICT = ("predict", "run", "pairs.csv", "-o", "scores.csv")
FEATURES = pd.DataFrame({"age": [0.1, 0.2, 0.3, 0.4]}, index=["x", "y", "z", "new"])


def users(*ids: Any, dtype: Any = None) -> Callable[[], pd.DataFrame]:
    """Return what makes six rows whose first users are others."""
    column = pd.Series([*ids, *ids[-1:] * (6 - len(ids))], dtype=dtype)
    return lambda: frame_with(user=column)


def of_ids(
    number: int,
    what: str,
    make: Callable[[], pd.DataFrame],
    message: str,
    *,
    answer: type[Exception] | None = DataError,
    name: str | None = "rows.csv",
    exit_code: int = 3,
    call: Callable[[Path, Any], object] = read,
) -> Row:
    """Return a row of a frame, given from Python and, where a file can hold it, on the command line."""
    if name is None:
        return Row(number, what, call, answer, message, lambda folder: make())
    return Row(number, what, call, answer, message, lambda folder: written(make(), folder, name), FIT, exit_code)


def kept(*ids: str) -> Callable[[Path, Any], None]:
    """Return a call that reads a frame, or the study's file, and demands its users to be some ids."""

    def call(folder: Path, given: Any) -> None:
        events = pb.read_interactions(folder / "rows.csv", label="label") if given is None else read(folder, given)
        if events.users.tolist() != list(ids):
            raise RuntimeError(f"ids are {events.users.tolist()}, not {list(ids)}")

    return call


def of_kept(number: int, what: str, *ids: str) -> Row:
    """Return a row of ids in a CSV file that are to come back as they are."""

    def prepare(folder: Path) -> None:
        written(users(*ids)(), folder)

    return Row(number, what, kept(*ids), None, "", prepare, FIT)


def of_look_alikes(what: str, *ids: str, form: str) -> Row:
    """Return a row of ids that differ in form, which are warned of with counts and examples."""
    message = rf"PB-D454: column 'user' holds 1 of 2 ids that differ from another one only by {form} \(1: "
    return of_ids(38, what, users(*ids), message, answer=DataWarning, exit_code=0)


def read_log(folder: Path, frame: pd.DataFrame) -> None:
    """Read a log from Parquet files into a folder."""
    with tempfile.TemporaryDirectory() as elsewhere:
        frame.to_parquet(Path(elsewhere) / PARQUET)
        Interactions.from_parquet(Path(elsewhere) / PARQUET, label="label", folder=Path(elsewhere) / "log")


def read_features(folder: Path, features: pd.DataFrame) -> None:
    """Read six rows with features of items."""
    Interactions.from_frame(frame_with(), label="label", item_features=features, new_items=True)


def fitted(events: Interactions | None = None) -> pb.Fit:
    """Return a fit of six rows, or of others, without a word."""
    with warnings.catch_warnings(action="ignore"):
        given = Interactions.from_frame(frame_with(), label="label") if events is None else events
        return pb.fit(given, study=short_study(), progress=False)


def run_and_pairs(**columns: list[str]) -> Callable[[Path], tuple[pb.Fit, pd.DataFrame]]:
    """Return what writes a run folder and a file of pairs, and returns both."""

    def prepare(folder: Path) -> tuple[pb.Fit, pd.DataFrame]:
        fit, pairs = fitted(), pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"]} | columns)
        fit.save(folder / "run")
        pairs.to_csv(folder / "pairs.csv", index=False)
        return fit, pairs

    return prepare


def predict(folder: Path, given: tuple[pb.Fit, pd.DataFrame]) -> None:
    """Predict the pairs."""
    given[0].predict(given[1])


def rank_one_item(folder: Path, frame: pd.DataFrame) -> None:
    """Recommend from a fit of one item."""
    fitted(read(folder, frame)).recommend(k=1)


def items_without_rows(folder: Path, features: pd.DataFrame) -> None:
    """Fit with an item that has no rows, and demand that its posterior is flagged as its prior."""
    events = Interactions.from_frame(frame_with(), label="label", item_features=features, new_items=True)
    table = fitted(events).popularity().set_index("item")["prior_only"]
    if table.to_dict() != {"x": False, "y": False, "z": False, "new": True}:
        raise RuntimeError(f"prior_only is {table.to_dict()}")


def with_features(features: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write six rows, features of items, and a study of both, and return the features."""
    written(frame_with(), folder, more='item_features = "items.csv"\nnew_items = true')
    features.rename_axis("item").to_csv(folder / "items.csv")
    return features


def many_users(folder: Path, given: None) -> None:
    """Fit ten million users, with vectors of a length that no memory holds."""
    from pyro_popbias.assembly import fit_memory  # without it, the memory would be taken

    code = np.arange(6, dtype=np.int32)
    events = Interactions(pd.RangeIndex(10**7), pd.Index(list("xyzuvw")), code, code, (code % 2).astype(np.uint8))
    study = short_study(dim=4096)
    pb.pair(events, study=study)
    raise RuntimeError(f"{fit_memory.__name__} has let it pass")


LONG = "x" * 2**20
IDS = [
    of_ids(29, "None", users("a", None), "PB-D029: column 'user' has 5 missing ids in 6 rows", name=PARQUET),
    of_ids(29, "NaN", users(1.0, np.nan), "PB-D029: column 'user' has 5 missing ids", name=PARQUET),
    of_ids(29, "NaT", users(pd.Timestamp(0), pd.NaT), "PB-D029: .*5 missing ids", name=PARQUET),
    of_kept(30, "words for missing", "NA", "null", "None", "nan"),
    of_kept(31, "leading zeros", "007", "7"),
    of_kept(32, "1e5 and 100000", "1e5", "100000"),
    of_kept(33, "beyond int64", str(10**30), str(10**30 + 1)),
    of_ids(33, "object of large integers", users(10**30, 1, dtype=object), "", answer=None, name=None),
    of_ids(
        *(34, "uint64", users(2**64 - 1, 1, dtype="uint64"), ""),
        answer=None,
        name=PARQUET,
        exit_code=0,
        call=kept(str(2**64 - 1), "1"),
    ),
    of_ids(35, "floats from 2^53", users(2.0**53, 1.0), "PB-D035: .*too large .*dtype=str", name=PARQUET),
    of_ids(
        36, "mixed types", users(1, "1", 1.0, dtype=object), "PB-D036: .*mixed id types: float, int, str", name=None
    ),
    of_ids(36, "booleans", users(True, False), "PB-D036: .*booleans", name=PARQUET),
    of_ids(37, "floats", users(1.0, 3.5, np.inf), "PB-D037: .*5 ids that are not integers.*rows 1, 2", name=PARQUET),
    of_ids(37, "integral floats", users(1.0, 2.0), "", answer=None, name=PARQUET, exit_code=0, call=kept("1", "2")),
    of_look_alikes("case", "a", "A", form="case"),
    of_look_alikes("space", "a", "a ", form="surrounding space"),
    of_look_alikes("zero width", "a", "a\u200b", form="zero-width characters"),
    of_look_alikes("normal form", "\u00e9", "e\u0301", form="Unicode normal form"),
    of_ids(38, "several forms", users("Z\u00fc", "zu\u0308 "), "several of these", answer=DataWarning, exit_code=0),
    of_ids(38, "stored log", users("a", "A"), "PB-D454: .*case", answer=DataWarning, name=None, call=read_log),
    Row(
        *(38, "new items", read_features, DataWarning, r"PB-D454: .*case \(1: 'x' and 'X'"),
        *(lambda folder: with_features(FEATURES.rename({"new": "X"}), folder), FIT),
    ),
    of_ids(39, "empty id", users("a", ""), "PB-D039: .*5 empty ids, first at rows 1, 2"),
    of_ids(40, "id of a megabyte", users("a", LONG), "PB-D453: .*more than 1,024 characters in 1 id .*first at rows 1"),
    of_ids(40, "1,025 characters", users("a", LONG[:1025]), "PB-D453: .*more than 1,024", name=PARQUET),
    of_ids(40, "1,024 characters", users("a", LONG[:1024]), "", answer=None, exit_code=0),
    of_ids(40, "integer of 5,000 digits", users(10**5000, 1, dtype=object), "PB-D453: .*1 integer", name=None),
    of_ids(40, "stored log", users("a", LONG), "PB-D453: .*rows counted from its row 0", name=None, call=read_log),
    of_ids(41, "surrogate", users("a", "\ud800", dtype=object), r"PB-D451: .*'\\ud800'", name=None),
    of_ids(41, "tab", users("a", "b\tc"), r"PB-D452: .*1 id in 5 of 6 rows \('b\\tc'; first at rows 1, 2, 3, \.\.\.\)"),
    of_ids(41, "newline", users("a", "b\nc"), "PB-D452: column 'user' has control characters"),
    of_ids(41, "escape", users("a", "\x1b[31m"), r"PB-D452: .*\\x1b\[31m", name=PARQUET),
    of_ids(41, "C1", users("a", "b\x85"), r"PB-D452: .*\\x85"),
    of_ids(41, "stored log", users("a", "b\0"), r"PB-D452: .*\\x00.*rows counted from", name=None, call=read_log),
    Row(
        *(41, "features", read_features, DataError, r"PB-D452: column 'item_features.item' .*new\\n"),
        *(lambda folder: with_features(FEATURES.rename({"new": "new\n"}).rename_axis("item"), folder), FIT, 3),
    ),
    of_ids(
        *(42, "unused categories", users("a", "b", dtype=pd.CategoricalDtype(["a", "b", "ghost"]))),
        "PB-D455: column 'user' has 1 of 3 categories without rows, such as 'ghost'",
        answer=DataWarning,
        name=PARQUET,
        exit_code=0,
    ),
]
DATA = [
    Row(
        *(43, "users as items", lambda folder, frame: Interactions.from_frame(frame, item="user")),
        *(DataError, "PB-D043: user and item are the same column", lambda folder: written(frame_with(), folder)),
        *((*FIT, "--set", "data.item=user"), 3),
    ),
    of_ids(44, "one user", users("a"), "PB-D464: .*one user, 'a'", answer=DataWarning, exit_code=0, call=fit_it),
    of_ids(
        *(45, "one item", lambda: frame_with(item=["x"] * 6), "PB-D465: .*one item, 'x'"),
        answer=DataWarning,
        exit_code=0,
        call=fit_it,
    ),
    of_ids(45, "ranking of one item", lambda: frame_with(item=["x"] * 6), "PB-D466", name=None, call=rank_one_item),
    Row(46, "item without rows", items_without_rows, None, "", lambda folder: with_features(FEATURES, folder), FIT),
    of_ids(47, "item with one row", lambda: frame_with(item=list("xxxyyz")), "", answer=None, exit_code=0, call=fit_it),
    Row(
        *(
            48,
            "unseen user",
            predict,
            DataError,
            r"PB-D048: 1 rows of unseen users \(nobody\) in 2 pairs; unseen='prior'",
        ),
        *(run_and_pairs(user=["a", "nobody"]), PREDICT, 3),
    ),
    Row(
        *(49, "unseen item", predict, DataError, r"PB-D048: 1 rows of unseen items \(nothing\) in 2 pairs"),
        *(run_and_pairs(item=["x", "nothing"]), PREDICT, 3),
    ),
    Row(
        *(49, "unseen item by its prior", lambda folder, given: given[0].predict(given[1], unseen="prior"), None, ""),
        *(run_and_pairs(item=["x", "nothing"]), (*PREDICT, "--unseen", "prior")),
    ),
    Row(
        *(
            50,
            "catalogue with an id twice",
            read_features,
            DataError,
            "PB-D111: item_features has 1 duplicate ids, first x",
        ),
        *(lambda folder: with_features(FEATURES.rename({"new": "x"}), folder), FIT, 3),
    ),
    Row(51, "ten million users", many_users, DataError, "PB-D051: .* GiB"),
]
ROWS = IDS + DATA
