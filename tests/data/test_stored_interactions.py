"""Logs larger than memory: read from Parquet into a folder, whatever kills the reading, and visited as logs in memory are."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from scipy import stats

import pyro_popbias as pb
from pyro_popbias import progress
from pyro_popbias.assembly.pair import assemble
from pyro_popbias.data import log_reading, parquet_source, stored_batches, stored_log, stored_rows
from pyro_popbias.data.stored_pairs import pairs_of
from pyro_popbias.data.stored_rows import StoredRows
from pyro_popbias.errors import (
    ConfigError,
    CorruptCheckpointError,
    DataError,
    DataWarning,
    PopBiasError,
    RunFolderError,
)
from pyro_popbias.prediction.scorer import seen_items
from pyro_popbias.storage.identity import identity

COLUMNS = {"user": "user", "item": "item", "label": "label"}
CALLS = ((Path, "open"), (Path, "replace"), (Path, "unlink"), (os, "fsync"))


class Killed(BaseException):
    """What stops a reading; nothing is cleaned up after it."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Let a small log go through everything that a large one does."""
    monkeypatch.setattr(parquet_source, "BATCH", 64)
    monkeypatch.setattr(log_reading, "FLUSH", 150)
    monkeypatch.setattr(log_reading, "SPOOL_ROWS", 130)
    monkeypatch.setattr(log_reading, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(stored_rows, "BLOCK", 32)
    monkeypatch.setattr(stored_rows, "MIXED", 3)


@pytest.fixture
def files(tmp_path, frame):
    """Return a folder of three files, with row groups that batches do not divide, and its rows as a frame."""
    folder = tmp_path / "parquet"
    folder.mkdir()
    for k, part in enumerate((frame[:150], frame[150:160], frame[160:])):
        part.to_parquet(folder / f"part-{k}.parquet", row_group_size=90, index=False)
    return folder


def read(files, folder, **options):
    return pb.Interactions.from_parquet(files, **COLUMNS | options, folder=folder)


def rows_of(events):
    return sorted(zip(events.users[events.user], events.items[events.item], events.label.tolist(), strict=True))


def test_the_same_as_in_memory(files, frame, tmp_path):
    events, known = read(files, tmp_path / "log"), pb.Interactions.from_frame(frame, label="label")
    assert events.users.tolist() == known.users.tolist()
    assert events.items.tolist() == known.items.tolist()
    assert rows_of(events) == rows_of(known)
    for name in ("count", "positives", "user_count", "user_positives"):
        assert getattr(events.catalogue, name).tolist() == getattr(known.catalogue, name).tolist()
    assert repr(events) == repr(known)
    assert events.stored is not None
    pd.testing.assert_frame_equal(events.catalogue.cell_frame(), known.catalogue.cell_frame())


def test_periods(files, frame, tmp_path):
    events = read(files, tmp_path / "log", time="time", periods=4)
    known = pb.Interactions.from_frame(frame, label="label", time="time", periods=4)
    np.testing.assert_array_equal(events.edges, known.edges)
    assert events.catalogue.count.tolist() == known.catalogue.count.tolist()
    assert events.catalogue.positives.tolist() == known.catalogue.positives.tolist()
    assert np.bincount(events.cell, minlength=events.cells).tolist() == known.catalogue.count.tolist()
    assert np.bincount(events.period).tolist() == np.bincount(known.period).tolist()


def test_rows_are_in_random_order(tmp_path, monkeypatch):
    monkeypatch.setattr(log_reading, "SPOOL_ROWS", 1_000)
    number = 8_000
    frame = pd.DataFrame({"user": np.arange(number), "item": np.arange(number) % 7})
    frame.to_parquet(tmp_path / "sorted.parquet", index=False)
    user = np.array(pb.Interactions.from_parquet(tmp_path / "sorted.parquet", folder=tmp_path / "log").user)
    assert sorted(user) == list(range(number))
    # ranks of neighbours, and of rows and their places, are independent
    for one, other in ((user[1:], user[:-1]), (user, np.arange(number))):
        assert stats.spearmanr(one, other).pvalue > 1e-4
    parts = np.histogram2d(user, np.arange(number), bins=8)[0]
    assert stats.chisquare(parts.ravel(), ddof=14).pvalue > 1e-4


@pytest.mark.parametrize("kind", ["int", "float", "category", "large_string", "dates"])
def test_kinds_of_columns(kind, tmp_path):
    table = pd.DataFrame({"user": [3, 1, 3, 2], "item": [7, 7, 8, 9], "time": [0.0, 1.0, 2.0, 3.0]})
    if kind == "category":
        table = table.assign(user=table["user"].astype(str).astype("category"))
    if kind == "dates":
        table = table.assign(time=pd.to_datetime(table["time"], unit="s"))
    if kind == "float":
        table = table.assign(user=table["user"].astype(float))
    arrow = pa.Table.from_pandas(table)
    if kind == "large_string":
        arrow = arrow.set_column(0, "user", arrow["user"].cast(pa.string()).cast(pa.large_string()))
    parquet.write_table(arrow, tmp_path / "log.parquet")
    events = pb.Interactions.from_parquet(tmp_path / "log.parquet", time="time", periods=2, folder=tmp_path / "log")
    assert events.users.tolist() == ["3", "1", "2"]
    assert events.label is None
    assert events.catalogue.count.tolist() == [2, 0, 0, 1, 0, 1]
    assert events.catalogue.positives.tolist() == [2, 0, 0, 1, 0, 1]


def limited(right, left):
    def call(*args, **named):
        if next(left, None) is None:
            raise Killed
        return right(*args, **named)

    return call


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "options"), [(3, {}), (10, {"time": "time", "periods": 3})], ids=["one period", "periods"]
)
def test_a_reading_killed_at_a_file_operation_goes_on(files, tmp_path, monkeypatch, step, options):
    read(files, tmp_path / "whole", **options)
    expected, phases, number = contents(tmp_path / "whole"), set(), -step
    while True:
        number += step
        folder, left = tmp_path / f"log-{number}", iter(range(number))
        with monkeypatch.context() as patch:
            for owner, name in CALLS:
                patch.setattr(owner, name, limited(getattr(owner, name), left))
            try:
                read(files, folder, **options)
                break
            except Killed:
                pass
        facts = stored_log.manifest_of(folder)
        phases.add(facts and facts["phase"])
        read(files, folder, **options)
        assert contents(folder) == expected, f"killed after {number} file operations"
    assert phases >= {None, "read", "mix"}


KILLED = """\
import os, signal, sys
from pyro_popbias.data import log_reading, parquet_source
from pyro_popbias.data.interactions import Interactions
parquet_source.BATCH, log_reading.FLUSH, log_reading.SPOOL_ROWS, log_reading.COMMIT_SECONDS = 64, 150, 130, 0.0
files, folder, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
right = os.fsync
def fsync(handle):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    right(handle)
os.fsync = fsync
Interactions.from_parquet(files, label="label", folder=folder)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("calls", "phase"), [(12, "read"), (40, "mix")])
def test_a_process_that_was_killed(files, tmp_path, calls, phase):
    command = [sys.executable, "-c", KILLED, str(files), str(tmp_path / "log"), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert stored_log.manifest_of(tmp_path / "log")["phase"] == phase
    events = read(files, tmp_path / "log")
    assert contents(tmp_path / "log") == contents(read(files, tmp_path / "whole").stored.folder)
    assert len(events) == 400


def test_a_finished_reading_is_opened(files, tmp_path, monkeypatch):
    read(files, tmp_path / "log")
    monkeypatch.setattr(log_reading.LogReading, "_read", lambda _: pytest.fail("read again"))
    monkeypatch.setattr(log_reading.LogReading, "_mix", lambda _: pytest.fail("mixed again"))
    assert len(read(files, tmp_path / "log")) == 400


def test_folders_that_cannot_be_used(files, frame, tmp_path):
    log = tmp_path / "log"
    read(files, log)
    with pytest.raises(RunFolderError, match=r"PB-R142: .*other arguments: label, time"):
        read(files, log, label=None, time="time")
    frame[:100].to_parquet(files / "part-1.parquet", index=False)
    with pytest.raises(RunFolderError, match=r"PB-R141: 1 files of the log have changed .* 'part-1\.parquet'"):
        read(files, log)
    with pytest.raises(RunFolderError, match=r"PB-R149: .*holds 3 other files"):
        read(files, files)
    with (log / ".lock").open("ab") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunFolderError, match=r"PB-R145: another process reads"):
            read(files, log)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunFolderError, match=r"PB-R148: cannot write"):
        read(files, tmp_path / "taken")
    with pytest.raises(RunFolderError, match=r"PB-R144: .*holds no log"):
        stored_log.StoredLog.open(tmp_path)


@pytest.mark.parametrize("name", ["rows.bin", "users.jsonl", "counts.safetensors"])
def test_damage_is_seen(files, tmp_path, name):
    log = read(files, tmp_path / "log").stored
    content = (log.folder / name).read_bytes()
    (log.folder / name).write_bytes(content[:-4])
    with pytest.raises(CorruptCheckpointError, match=rf"PB-R146: .*{name} is missing or not what was written"):
        read(files, tmp_path / "log")
    if name == "rows.bin":
        with pytest.raises(CorruptCheckpointError, match=r"PB-R146"):
            log.read(390, 400)


def test_manifests_of_something_else(files, tmp_path):
    log = read(files, tmp_path / "log").stored
    path = log.folder / "manifest.json"
    facts = json.loads(path.read_bytes())
    path.write_text(json.dumps(facts | {"log": 99}))
    with pytest.raises(PopBiasError, match=r"PB-R147: .*schema 99"):
        read(files, tmp_path / "log")
    path.write_text("{}")
    with pytest.raises(CorruptCheckpointError, match=r"PB-R143: .*is not the manifest of a log"):
        read(files, tmp_path / "log")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"item": "itm"}, r"PB-D005: no column 'itm'; did you mean 'item'.*\(in .*part-0\.parquet\)"),
        ({}, {"item": "user"}, "PB-D043: user and item are the same column"),
        ({"user": None}, {}, r"PB-D029: .* missing ids .*first at row 39.*counted from its row 0\)"),
        ({"item": ""}, {}, "PB-D039: column 'item' has 1 empty ids, first at row 39"),
        ({"label": 5}, {}, "PB-D052: column 'label' must hold only 0 and 1.*first at row 39"),
        ({"time": np.nan}, {"time": "time"}, "PB-D073: column 'time' has 1 missing times"),
        ({}, {"periods": 2}, "PB-C005: periods=2 needs a time column"),
        ({}, {"time": "time", "periods": 2, "period_by": "count"}, "PB-D443: period_by='count' takes all times sorted"),
        ({}, {"positive_if": "yes"}, "PB-C004"),
    ],
)
def test_bad_inputs(frame, tmp_path, change, options, message):
    path = tmp_path / "parquet" / "part-0.parquet"
    path.parent.mkdir()
    broken = frame.copy()
    for name, value in change.items():
        broken[name] = broken[name].astype(object).where(broken.index != 39, value)
    broken = broken.astype({"label": int, "time": float})
    broken.to_parquet(path, index=False)
    with pytest.raises((DataError, ConfigError), match=message):
        read(path.parent, tmp_path / "log", **options)
    # the same folder takes the log once it is right
    frame.to_parquet(path, index=False)
    assert len(read(path.parent, tmp_path / "log")) == len(frame)


def test_files_that_cannot_be_used(frame, tmp_path):
    with pytest.raises(RunFolderError, match=r"PB-R140: .*nowhere does not exist"):
        read(tmp_path / "nowhere", tmp_path / "log")
    with pytest.raises(RunFolderError, match=r"PB-R140: .*holds no \.parquet file"):
        read(tmp_path, tmp_path / "log")
    frame[:0].to_parquet(tmp_path / "none.parquet", index=False)
    with pytest.raises(DataError, match=r"PB-D441: .*0 rows in 1 Parquet files"):
        read(tmp_path / "none.parquet", tmp_path / "log")
    (tmp_path / "text.parquet").write_text("user,item\n")
    with pytest.raises(DataError, match=r"PB-D440: .*text\.parquet is not a readable Parquet file"):
        read(tmp_path / "text.parquet", tmp_path / "log")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_held_out_rows(files, tmp_path, share, seed):
    log = read(files, tmp_path / "log", time="time", periods=3).stored
    train, held_out = StoredRows.hold_out(log, share, seed)
    one, other = (list(np.concatenate([log.mapped[:0], *each.blocks(50)])) for each in (train, held_out))
    assert sorted(map(tuple, one + other)) == sorted(map(tuple, log.mapped))
    assert (len(train), len(held_out)) == (len(one), len(other))
    assert len(other) == min(round(share * 400), 400 - len(log.first))
    assert (train.counts.user_count[log.user_count > 0] > 0).all()
    assert (train.counts.count[log.count > 0] > 0).all()
    table = np.array(one)
    assert train.counts.user_count.tolist() == np.bincount(table[:, 0], minlength=len(log.users)).tolist()
    positive = np.bincount(table[:, 1] * 3 + table[:, 3], weights=table[:, 2], minlength=len(log.count))
    assert train.counts.positives.tolist() == positive.tolist()


def test_held_out_rows_are_random(tmp_path, monkeypatch):
    monkeypatch.setattr(log_reading, "SPOOL_ROWS", 700)
    frame = pd.DataFrame({"user": np.arange(6_000) // 60, "item": np.arange(6_000) % 11})
    frame.to_parquet(tmp_path / "sorted.parquet", index=False)
    log = pb.Interactions.from_parquet(tmp_path / "sorted.parquet", folder=tmp_path / "log").stored
    found = [StoredRows.hold_out(log, 0.2, seed)[1] for seed in range(2)]
    users = [np.concatenate(list(each.blocks(10_000)))[:, 0] for each in found]
    for user in users:
        assert stats.chisquare(np.bincount(user, minlength=100)).pvalue > 1e-4
    assert sorted(users[0]) != sorted(users[1])


@pytest.fixture
def pair(files, tmp_path):
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2, "posterior": "point"}},
        training={"device": "cpu", "batch_size": 30},
    )
    return assemble(read(files, tmp_path / "log"), study)


def visited(batches):
    return [
        tuple(row) for batch in batches for row in torch.stack([batch.user, batch.item, batch.label.long()], 1).tolist()
    ]


@pytest.mark.filterwarnings("ignore:PB-C402")
def test_an_epoch_visits_every_row_once(pair):
    held = visited(pair.rows.blocks(1_000))
    assert sorted(held + visited(pair.held_out.blocks(7))) == sorted(map(tuple, pair.events.stored.mapped.tolist()))
    epochs = [visited(pair.batches(epoch=epoch)) for epoch in range(3)]
    assert all(sorted(each) == sorted(held) for each in epochs)
    assert len({tuple(each) for each in epochs}) == 3
    assert visited(pair.batches(epoch=1)) == epochs[1]
    sizes = [len(batch.user) for batch in pair.batches()]
    assert max(sizes) <= 30
    assert max(sizes) - min(sizes) <= 1
    total = sum(batch.weight.sum().item() / batch.scale for batch in pair.batches())
    assert total == pytest.approx((pair.rows.cell_count > 0).sum().item())
    assert visited([pair.whole()]) == held
    some = torch.tensor([5, 0, len(held) - 1, 17])
    assert visited([pair.rows.batch(some)]) == [held[k] for k in some]
    assert [each.tolist() for each in pair.rows.codes()] == [list(column) for column in zip(*held, strict=True)]


def test_batches_of_a_sorted_log_are_random_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(log_reading, "SPOOL_ROWS", 2_000)
    monkeypatch.setattr(stored_rows, "BLOCK", 256)
    frame = pd.DataFrame({"user": np.arange(20_000) // 200, "item": np.arange(20_000) % 13})
    frame.to_parquet(tmp_path / "sorted.parquet", index=False)
    log = pb.Interactions.from_parquet(tmp_path / "sorted.parquet", folder=tmp_path / "log").stored
    rows, _ = StoredRows.hold_out(log, 0.0, 0)
    batches = list(rows.epoch(iter([500] * 40), np.random.default_rng(0)))
    values = [stats.chisquare(np.bincount(batch[:, 0] // 5, minlength=20)).pvalue for batch in batches]
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    other = list(rows.epoch(iter([500] * 40), np.random.default_rng(1)))
    shared = {tuple(row) for row in batches[0]} & {tuple(row) for row in other[0]}
    assert len(shared) < 500  # a batch of one epoch is none of another


@pytest.mark.filterwarnings("ignore:PB-C402")
def test_what_would_hold_all_rows_is_refused(pair, files, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_batches, "MOST_WHOLE", 10)
    monkeypatch.setattr(stored_log, "MOST_AT_ONCE", 10)
    for ask in (pair.whole, pair.rows.codes):
        with pytest.raises(DataError, match=r"PB-D448: .*359 rows|PB-D448: .*360 rows"):
            ask()
    for ask in (pair.events.split, pair.events.to_frame):
        with pytest.raises(DataError, match=r"PB-D445: .*all 400 rows"):
            ask()
    with pytest.raises(ConfigError, match=r"PB-D442: periods of a stored log"):
        pair.events.with_periods(2)
    with pytest.raises(DataError, match=r"PB-D444: take"):
        read(files, tmp_path / "periods", time="time", periods=2).take(np.arange(3))
    with pytest.raises(DataError, match=r"PB-D446: .*'item-uniform'"):
        assemble(pair.events, pair.study.replace("training", validation={"split": "item-uniform", "share": 0.1}))
    with pytest.raises(DataError, match=r"PB-D447: negatives are drawn"):
        assemble(read(files, tmp_path / "positives", label=None), pb.Study())


def study_of(**training):
    affinity = {"name": "embedding", "dim": 2, "posterior": "point"}
    return pb.Study(model={"affinity": affinity}, training={"device": "cpu", **training})


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PB-C402")
def test_a_fit_is_as_good_as_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_rows, "BLOCK", 1_000)
    monkeypatch.setattr(log_reading, "SPOOL_ROWS", 5_000)
    simulation = pb.simulate(users=200, items=80, interactions=12_000, dim=2, seed=0)
    frame, test = simulation.frame.sort_values("user"), simulation.test
    frame.to_parquet(tmp_path / "log.parquet", index=False)
    study = study_of(epochs=8, batch_size=500, learning_rate=0.05, phase_two=6)
    label = np.random.default_rng(0).random(len(test)) < test["probability"]
    stored, known = read(tmp_path / "log.parquet", tmp_path / "log"), pb.Interactions.from_frame(frame, label="label")
    scores = [pb.fit(each, study=study, progress=False).predict(test)["score"] for each in (stored, known)]
    found, expected, constant = (
        -np.log(np.where(label, score, 1 - score)) for score in (*scores, np.full(len(test), frame["label"].mean()))
    )
    # each fit has its own held-out rows and draws
    assert abs((found - expected).mean()) < expected.std() / np.sqrt(len(test))
    gain = constant - found
    assert gain.mean() > gain.std() / np.sqrt(len(test))  # labels of pairs at random popularity say little


@pytest.mark.usefixtures("short_training")
@pytest.mark.filterwarnings("ignore:PB-C402", "ignore:PB-D370")
def test_what_is_asked_of_a_fit(files, frame, tmp_path, monkeypatch):
    stored, known = read(files, tmp_path / "log"), pb.Interactions.from_frame(frame, label="label")
    pairs = pairs_of(stored.stored, (len(stored.users), len(stored.items)), size=70)
    assert (pairs != seen_items(known)).nnz == 0
    fit = pb.fit(stored, study=study_of(epochs=2, batch_size=100), progress=False)
    assert fit.recommend(k=5).merge(frame, on=["user", "item"]).empty
    test = frame.assign(item=frame["item"].to_numpy()[::-1])
    assert fit.evaluate(pb.Interactions.from_frame(test, label="label"), k=3)["value"].notna().all()
    assert "observed_data" not in fit.to_arviz(draws=5)
    with pytest.raises(DataError, match=r"PB-D450: .*on disk"):
        fit.check()
    fit.save(tmp_path / "run")
    assert not (tmp_path / "run" / "interactions.parquet").exists()
    loaded = pb.load(tmp_path / "run")
    assert loaded.events.stored.fingerprint == stored.stored.fingerprint
    pd.testing.assert_frame_equal(loaded.recommend(k=2), fit.recommend(k=2))
    monkeypatch.setattr(stored_log, "MOST_AT_ONCE", 10)
    with pytest.raises(DataError, match=r"PB-D445: evaluate would hold all 400 rows"):
        fit.evaluate(known)
    (tmp_path / "log" / "manifest.json").unlink()
    with pytest.warns(DataWarning, match=r"PB-D449: the run is opened without its interactions"):
        assert pb.load(tmp_path / "run").events is None


@pytest.mark.filterwarnings("ignore:PB-C402")
def test_a_checkpoint_belongs_to_its_log(pair, files, frame, tmp_path):
    again = assemble(read(files, tmp_path / "log"), pair.study)
    assert identity(again) == identity(pair)
    frame.assign(label=1 - frame["label"]).to_parquet(tmp_path / "other.parquet", index=False)
    other = assemble(read(tmp_path / "other.parquet", tmp_path / "other"), pair.study)
    assert identity(other)["data"] != identity(pair)["data"]


def test_progress_is_logged(files, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO", logger="pyro_popbias"):
        read(files, tmp_path / "log")
    assert "reading rows: 400 of 400" in caplog.messages
    assert "mixing rows: 400 of 400" in caplog.messages


def test_every_number_of_rows_can_be_held_out(files, tmp_path):
    """The place of the last one is right also where rows that stay for training lie beside it."""
    log = read(files, tmp_path / "log").stored
    free = 400 - len(log.first)
    for number in range(1, 400, 3):
        assert len(StoredRows.hold_out(log, number / 400, number)[1]) == min(number, free)


def test_rows_of_a_log_without_periods_can_be_taken(files, tmp_path):
    events = read(files, tmp_path / "log")
    assert rows_of(events.take(np.arange(5))) == sorted(
        zip(
            events.users[(rows := events.stored.mapped[:5])[:, 0]],
            events.items[rows[:, 1]],
            rows[:, 2].tolist(),
            strict=True,
        )
    )


@pytest.mark.usefixtures("short_training")
@pytest.mark.filterwarnings("ignore:PB-C402", "ignore:PB-D370")
def test_a_run_on_a_log_on_disk_keeps_its_features(files, frame, tmp_path):
    users, items = (pd.Index(sorted(frame[name].unique())) for name in ("user", "item"))
    events = read(files, tmp_path / "log").with_features(
        user_features=pd.DataFrame({"age": np.arange(len(users), dtype=float)}, index=users),
        item_features=pd.DataFrame({"year": np.arange(len(items), dtype=float)}, index=items),
    )
    pb.fit(events, study=study_of(epochs=1, batch_size=200), progress=False).save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run").events
    for name in ("user_features", "item_features"):
        assert getattr(loaded, name).to_bytes() == getattr(events, name).to_bytes()
