import io
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.cli.fit_and_compare import run_fit
from pyro_popbias.data.features import Features
from pyro_popbias.data.table_files import write_table
from pyro_popbias.errors import CheckpointError, CorruptCheckpointError, DataError, DataWarning
from pyro_popbias.storage.checkpoints import Checkpoints
from pyro_popbias.storage.identity import identity
from pyro_popbias.training.loop import train

pytestmark = pytest.mark.usefixtures("short_training")
IDS = pd.Index(["b", "a", "c"], dtype=str)
FRAME = pd.DataFrame(
    {"age": [0.5, -1.0, 2.0, 9.0], "city": ["Rome", "Bonn", "Rome", "Oslo"], "paid": [True, False, True, True]},
    index=["a", "b", "c", "stranger"],
)
STUDY = pb.Study(
    model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 1, "batch_size": 100, "device": "cpu"}
)


def side_frame(ids, seed=0):
    random = np.random.default_rng(seed)
    columns = {"x": random.normal(size=len(ids)), "group": random.choice(["p", "q", "r"], len(ids))}
    return pd.DataFrame(columns, index=random.permutation(ids))


@pytest.fixture
def side(events):
    return {"user_features": side_frame(events.users, 1), "item_features": side_frame(events.items, 2)}


@pytest.fixture
def featured(frame, side):
    return pb.Interactions.from_frame(frame, label="label", time="time", **side)


def assert_equal(one, other):
    assert one.names == other.names
    for name, dtype in (("index", np.int64), ("value", np.float32)):
        assert getattr(one, name).dtype == getattr(other, name).dtype == dtype
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def dense(features):
    """Return the design matrix `(n, F)`."""
    matrix = np.zeros((len(features), len(features.names)))
    np.put_along_axis(matrix, features.index, features.value, axis=1)
    return pd.DataFrame(matrix, columns=features.names)


def test_rows_are_in_code_order_and_strangers_ignored():
    before = FRAME.copy(deep=True)
    features = Features.from_frame(FRAME, IDS, "user")
    pd.testing.assert_frame_equal(FRAME, before)
    assert features.names == ("age", "city=Bonn", "city=Rome", "paid")  # no level of a stranger
    assert features.index.tolist() == [[0, 1, 3], [0, 2, 3], [0, 2, 3]]
    assert features.value.tolist() == [[-1, 1, 0], [0.5, 1, 1], [2, 1, 1]]
    assert len(features) == 3


def test_design_matrix_is_that_of_pandas(events, side):
    features = Features.from_frame(side["user_features"], events.users, "user")
    expected = pd.get_dummies(side["user_features"], prefix_sep="=").loc[events.users].reset_index(drop=True)
    pd.testing.assert_frame_equal(dense(features), expected.astype("float32").astype("float64"), check_names=False)


@pytest.mark.parametrize(
    ("column", "names", "value"),
    [
        pytest.param(pd.Categorical([3, 10, 3]), ("v=3", "v=10"), [1, 1, 1], id="categories of numbers"),
        pytest.param(pd.Categorical(["x", "y", "x"], ["y", "z", "x"]), ("v=x", "v=y"), [1, 1, 1], id="unused level"),
        pytest.param(pd.array([1, 2, 3], dtype="Int64"), ("v",), [1, 2, 3], id="nullable integers"),
        pytest.param(pd.array([True, False, True], dtype="boolean"), ("v",), [1, 0, 1], id="nullable booleans"),
        pytest.param(pd.Series(["x", "y", "x"], dtype=object), ("v=x", "v=y"), [1, 1, 1], id="objects"),
        pytest.param(np.array([1, 2, 3], dtype="uint8"), ("v",), [1, 2, 3], id="bytes"),
    ],
)
def test_dtypes(column, names, value):
    features = Features.from_frame(pd.DataFrame({"v": column}).set_axis(IDS), IDS, "item")
    assert features.names == names
    assert features.value[:, 0].tolist() == value


def test_integer_ids_meet_text_ids():
    frame = pd.DataFrame({"v": [0.0, 1.0]}, index=[7, 12])
    assert Features.from_frame(frame, pd.Index(["12", "7"], dtype=str), "user").value[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        pytest.param([1, 2], "PB-D110: user_features is list; give a DataFrame indexed by user id", id="list"),
        pytest.param(FRAME[[]], "PB-D110: user_features has no columns beside the user ids", id="no columns"),
        pytest.param(
            FRAME.loc[["a", "b", "b", "c"]],
            "PB-D111: user_features has 1 duplicate ids, first b; keep",
            id="twice",
        ),
        pytest.param(
            FRAME.loc[["a"]], "PB-D112: user_features lacks 2 of 3 users of the data, first b, c; add", id="lacks"
        ),
        pytest.param(FRAME.reset_index(), r"PB-D112: .*lacks 3 of 3 .*frame.set_index\('user'\)", id="no index"),
        pytest.param(FRAME.set_axis(["a", "b", "c", None]), "PB-D029: column 'user_features.index' has 1", id="no id"),
        pytest.param(
            FRAME.assign(age=[np.nan, 1, 2, 3]),
            "PB-D113: .*column 'age' has 1 missing or empty values in 3 users, first a",
            id="nan",
        ),
        pytest.param(
            FRAME.assign(age=[1, np.inf, 2, 3]), "PB-D113: .*'age' has 1 values .*first b; fix", id="infinite"
        ),
        pytest.param(FRAME.assign(age=[1, 1e39, 2, 3]), "PB-D113: .*'age' .*not finite in 32 bits", id="too large"),
        pytest.param(
            FRAME.assign(city=["x", None, None, "y"]), "PB-D113: .*'city' has 2 .*first b, c; fill", id="no text"
        ),
        pytest.param(FRAME.assign(city=["x", "", "y", "y"]), "PB-D113: .*'city' has 1 .*first b", id="empty text"),
        pytest.param(FRAME.assign(age=None), "PB-D113: .*'age' has 3 missing", id="nothing"),
        pytest.param(FRAME.assign(age=pd.Timestamp(0)), "PB-D114: .*'age' holds datetime64.*astype", id="dates"),
        pytest.param(FRAME.assign(age=[1, "x", 2, "y"]), "PB-D114: .*'age' holds object values", id="mixed"),
        pytest.param(FRAME.assign(age=1j), "PB-D114: .*'age' holds complex128 values", id="complex"),
        pytest.param(FRAME.set_axis(["x", "x", "y"], axis=1), "PB-D115: .*1 duplicate names: x; rename", id="names"),
        pytest.param(
            FRAME.rename(columns={"age": "city=Rome"}),
            "PB-D115: .*1 duplicate names: city=Rome",
            id="level's name",
        ),
    ],
)
def test_bad_frames(frame, message):
    before = frame.copy(deep=True) if isinstance(frame, pd.DataFrame) else None
    with pytest.raises(DataError, match=message) as caught:
        Features.from_frame(frame, IDS, "user")
    assert caught.value.exit_code == 3
    if before is not None:
        pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("kind", [str, "category"])
def test_titles_are_refused(kind):
    ids = pd.Index([f"i{n}" for n in range(200)], dtype=str)
    titles = pd.DataFrame({"title": [f"Title {n % 101:03}" for n in range(200)]}, index=ids).astype(kind)
    match = (
        "PB-D314: item_features column 'title' has 101 distinct values in 200 items, first Title 000, .*, \\.\\.\\.; .*"
        "Drop the column, or group"
    )
    with pytest.raises(DataError, match=match):
        Features.from_frame(titles, ids, "item")
    assert len(Features.from_frame(titles[:100].assign(title="a"), ids[:100], "item").names) == 1


def test_a_level_for_each_of_a_few_items_is_refused():
    ids = pd.Index([f"i{n}" for n in range(30)], dtype=str)
    with pytest.raises(DataError, match="PB-D314: item_features column 'title' has 30 distinct values in 30 items"):
        Features.from_frame(pd.DataFrame({"title": [f"Title {n}" for n in range(30)]}, index=ids), ids, "item")


@pytest.mark.parametrize(("rows", "levels"), [(10, 10), (51, 50), (200, 100)])
def test_small_catalogues_and_shared_levels_are_taken(rows, levels):
    ids = pd.Index([f"i{n}" for n in range(rows)], dtype=str)
    frame = pd.DataFrame({"brand": [f"b{n % levels}" for n in range(rows)]}, index=ids)
    assert len(Features.from_frame(frame, ids, "item").names) == levels


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1900.0, 2000.0, 1950.0], r"sd 40\.8"),
        ([100.0, 101.0, 102.0], r"mean 101, sd 0\.816"),
        ([50, 50, 50], "mean 50, sd 0"),
    ],
)
def test_numbers_far_from_unit_scale_are_warned_of(values, shown):
    with pytest.warns(DataWarning, match=rf"PB-D116: user_features has 1 .*: v \(.*{shown}\)\. .*standardise"):
        Features.from_frame(pd.DataFrame({"v": values, "w": [1, 1, 1]}).set_axis(IDS), IDS, "user")


def test_interactions_and_catalogue_hold_them(featured, side):
    for kind, ids in (("user", featured.users), ("item", featured.items)):
        features = getattr(featured, f"{kind}_features")
        assert getattr(featured.catalogue, f"{kind}_features") is features
        assert_equal(features, Features.from_frame(side[f"{kind}_features"], ids, kind))


def test_without_features(events):
    assert events.user_features is events.item_features is None
    assert events.catalogue.user_features is events.catalogue.item_features is None


def test_with_features_keeps_the_other_side(events, side):
    one = events.with_features(user_features=side["user_features"])
    both = one.with_features(item_features=side["item_features"])
    assert one.item_features is None
    assert both.user_features is one.user_features


def test_take_and_split_keep_each_row_with_its_id(featured, side):
    for part in (*featured.split(test=0.3, seed=1), featured.take(np.array([5, 3, 3]))):
        for kind, ids in (("user", part.users), ("item", part.items)):
            taken = getattr(part, f"{kind}_features")
            whole = getattr(featured, f"{kind}_features")
            assert taken.names == whole.names
            assert_equal(taken, whole.take(getattr(featured, f"{kind}s").get_indexer(ids)))
            expected = side[f"{kind}_features"].loc[ids, "x"].astype("float32")
            assert taken.value[:, 0].tolist() == expected.tolist()


def test_round_trip_through_parquet(featured):
    taken = featured.take(np.array([0])).user_features  # one row, and levels that no row has
    for features, ids in ((featured.user_features, featured.users), (taken, pd.Index(["u"], dtype=str))):
        buffer = io.BytesIO()
        features.to_frame(ids).to_parquet(buffer, index=False)
        stored = pd.read_parquet(buffer)
        assert stored["id"].tolist() == ids.tolist()
        assert_equal(Features.from_stored(stored), features)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_files(tmp_path, frame, side, featured, ending):
    write_table(frame, tmp_path / "rows.csv")
    paths = {}
    for name, table in side.items():
        paths[name] = tmp_path / f"{name}.{ending}"
        write_table(table.rename_axis("id").reset_index(), paths[name])
    events = pb.read_interactions(tmp_path / "rows.csv", label="label", **paths)
    mixed = pb.read_interactions(
        tmp_path / "rows.csv", label="label", **(paths | {"user_features": side["user_features"]})
    )
    for read in (events, mixed):
        assert_equal(read.user_features, featured.user_features)
        assert_equal(read.item_features, featured.item_features)


def test_ids_of_files_are_text(tmp_path):
    (tmp_path / "rows.csv").write_text("user,item\n007,x\n7,x\n")
    (tmp_path / "users.csv").write_text("id,v\n7,0\n007,1\n")
    events = pb.read_interactions(tmp_path / "rows.csv", user_features=str(tmp_path / "users.csv"))
    assert events.user_features.value.tolist() == [[1], [0]]


def test_faults_of_files_name_the_file(tmp_path, frame):
    write_table(frame, tmp_path / "rows.csv")
    (tmp_path / "items.csv").write_text("id,v\ni1,0\n")
    with pytest.raises(DataError, match=r"PB-D112: item_features lacks 14 of 15 items .*\(in .*items\.csv\)"):
        pb.read_interactions(tmp_path / "rows.csv", item_features=tmp_path / "items.csv")


def test_a_run_holds_them(tmp_path, featured, events):
    fit = pb.fit(featured, study=STUDY, progress=False)
    fit.save(tmp_path / "run")
    names = {"user_features.parquet", "item_features.parquet"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}
    loaded = pb.load(tmp_path / "run")
    for kind in ("user_features", "item_features"):
        assert_equal(getattr(loaded.catalogue, kind), getattr(featured, kind))
        assert_equal(getattr(loaded.events, kind), getattr(featured, kind))
    loaded.save(tmp_path / "again")
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    (tmp_path / "run" / "user_features.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptCheckpointError, match=r"PB-R095: .*user_features.parquet is not what was written"):
        pb.load(tmp_path / "run")
    pb.fit(events, study=STUDY, progress=False).save(tmp_path / "plain")
    assert not names & {path.name for path in (tmp_path / "plain").iterdir()}
    assert pb.load(tmp_path / "plain").catalogue.user_features is None


@pytest.mark.slow
@pytest.mark.parametrize("change", ["none", "one side", "a value", "a level", "a name", "the other side"])
def test_checkpoints_belong_to_their_features(tmp_path, events, side, change):
    one, other = side["user_features"], side["item_features"]
    given = {
        "none": {},
        "one side": {"user_features": one},
        "a value": {"user_features": one.assign(x=one["x"] + 1e-3), "item_features": other},
        "a level": {"user_features": one.assign(group="p"), "item_features": other},
        "a name": {"user_features": one.rename(columns={"x": "y"}), "item_features": other},
        "the other side": {"item_features": other},
    }[change]
    own = identity(pair(events.with_features(**side), study=STUDY))
    assert own == identity(pair(events.with_features(**side), study=STUDY))
    checkpoints = Checkpoints(tmp_path, own)
    made = pair(events.with_features(**side), study=STUDY)
    train(made, save=checkpoints.save)
    with pytest.raises(CheckpointError, match=r"PB-R097: .* these differ: data\. Resume with the same study"):
        Checkpoints(tmp_path, identity(pair(events.with_features(**given), study=STUDY))).latest()


def test_study_file_names_them(tmp_path, monkeypatch, frame, side, featured):
    (tmp_path / "data").mkdir()
    write_table(frame, tmp_path / "data" / "rows.csv")
    for name, table in side.items():
        write_table(table.rename_axis("id").reset_index(), tmp_path / "data" / f"{name}.csv")
    (tmp_path / "data" / "study.toml").write_text(
        'schema = 1\n[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\n'
        'user_features = "user_features.csv"\nitem_features = "item_features.csv"\n'
        '[model]\naffinity = { name = "embedding", dim = 2 }\n[training]\nepochs = 1\ndevice = "cpu"\n'
    )
    monkeypatch.chdir(tmp_path)
    list(run_fit(tmp_path / "data" / "study.toml", tmp_path / "run"))
    loaded = pb.load(tmp_path / "run")
    assert loaded.study.data.user_features == str(tmp_path / "data" / "user_features.csv")
    assert loaded.study.data.item_features == str(tmp_path / "data" / "item_features.csv")
    assert_equal(loaded.catalogue.user_features, featured.user_features)
    assert_equal(loaded.events.item_features, featured.item_features)


@pytest.mark.parametrize(
    ("levels", "rows", "refused"), [(50, 60, False), (51, 60, True), (60, 120, False), (61, 120, True)]
)
def test_how_many_levels_are_too_many(levels, rows, refused):
    items = pd.Index([f"i{n}" for n in range(rows)])
    frame = pd.DataFrame({"kind": [f"k{n % levels}" for n in range(rows)]}, index=items)
    events = pb.Interactions.from_frame(pd.DataFrame({"user": [f"u{n}" for n in range(rows)], "item": items}))
    with pytest.raises(DataError, match="PB-D314") if refused else nullcontext():
        assert len(events.with_features(item_features=frame).item_features.names) == levels
