import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.identification import REMEDY, warning_of
from pyro_popbias.data.atomic_files import sha256, write_atomically
from pyro_popbias.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DataError,
    RunFolderError,
    SchemaVersionError,
)

pytestmark = pytest.mark.usefixtures("short_training")
TRAINING = {"epochs": 3, "batch_size": 150, "device": "cpu"}
FILES = {
    "study.toml", "card.md", "history.csv", "popularity.csv", "manifest.json", "parameters.safetensors",
    "users.parquet", "items.parquet", "interactions.parquet",
}  # fmt: skip


def study_of(guide="gamma", model=None, **training):
    return pb.Study(
        model={**(model or {}), "affinity": {"name": "embedding", "dim": 4}},
        guide={"name": guide},
        training=TRAINING | training,
    )


def fitted(make_frame, guide, model):
    events = pb.Interactions.from_frame(make_frame(), label="label", time="time", periods=2)
    return pb.fit(events, study=study_of(guide, model))


@pytest.fixture(scope="module")
def fit(make_frame, short_training):
    """A fit whose files are damaged: files are read and checked in the same way for every guide."""
    return fitted(make_frame, "gamma", {})


@pytest.fixture(scope="module", params=pb.GUIDES)
def any_fit(request, make_frame, model_for, short_training):
    return fitted(make_frame, request.param, model_for(request.param))


@pytest.fixture(scope="module")
def saved(fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    fit.save(folder)
    return folder


@pytest.fixture(scope="module")
def any_saved(any_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    any_fit.save(folder)
    return folder


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def assert_same_results(one, other, frame):
    same = {
        "popularity": lambda fit: fit.popularity(),
        "parameters": lambda fit: fit.parameters(),
        "history": lambda fit: fit.history,
        "posterior": lambda fit: fit.predict(frame, popularity="posterior"),
        "population": lambda fit: fit.predict(frame),
        "recommend": lambda fit: fit.recommend(k=4),
    }
    for name, table in same.items():
        pd.testing.assert_frame_equal(table(one), table(other), check_exact=True, obj=name)


@pytest.mark.slow
def test_round_trip(any_fit, any_saved, frame):
    fit = any_fit
    assert {path.name for path in any_saved.iterdir()} == FILES
    loaded = pb.load(any_saved)
    assert_same_results(loaded, fit, frame)
    assert loaded.study == fit.study
    for part in ("model", "guide"):
        one, other = getattr(fit, part).state_dict(), getattr(loaded, part).state_dict()
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    for name in ("user", "item", "label", "time", "cell"):
        assert getattr(loaded.events, name).tolist() == getattr(fit.events, name).tolist()
    assert loaded.to_arviz(draws=5)["posterior"].equals(fit.to_arviz(draws=5)["posterior"])


def test_a_loaded_fit_is_saved_the_same(any_saved, tmp_path):
    pb.load(str(any_saved)).save(str(tmp_path / "again"))
    for name in FILES - {"manifest.json"}:
        assert (tmp_path / "again" / name).read_bytes() == (any_saved / name).read_bytes(), name


@pytest.mark.parametrize("kind", ["vectors", "score"])
def test_fixed_affinities(kind, tmp_path):
    simulation = pb.simulate(affinity="fixed", users=20, items=15, interactions=400, seed=1)
    vectors = {name: simulation.truth[name] for name in ("user_vectors", "item_vectors")}
    affinity = {"name": "fixed", **(vectors if kind == "vectors" else {"score": "score"})}
    fit = pb.fit(simulation.events, study=pb.Study(model={"affinity": affinity}, training=TRAINING))
    fit.save(tmp_path / "run")
    moved = (tmp_path / "run").rename(tmp_path / "moved")  # vectors are found beside the study
    loaded = pb.load(moved)
    pd.testing.assert_frame_equal(loaded.predict(simulation.test), fit.predict(simulation.test), check_exact=True)
    pd.testing.assert_frame_equal(loaded.popularity(), fit.popularity(), check_exact=True)
    loaded.save(tmp_path / "again")
    pd.testing.assert_frame_equal(pb.load(tmp_path / "again").predict(simulation.test), fit.predict(simulation.test))


def test_without_data(fit, frame, tmp_path):
    pb.fitted.save(fit, tmp_path / "run", data=False)
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES - {"interactions.parquet"}
    loaded = pb.load(tmp_path / "run")
    assert loaded.events is None
    pd.testing.assert_frame_equal(loaded.predict(frame), fit.predict(frame), check_exact=True)
    pd.testing.assert_frame_equal(
        loaded.recommend(exclude_seen=False), fit.recommend(exclude_seen=False), check_exact=True
    )
    with pytest.raises(
        DataError, match=r"PB-D106: the run was saved without .*\(--no-data\), so seen items are not known"
    ):
        loaded.recommend()


def test_full_folder_is_refused_and_unchanged(fit, run, folder_hash, tmp_path):
    before = folder_hash(tmp_path)
    for folder in (run, run / "card.md"):
        with pytest.raises(RunFolderError, match=r"PB-R101: .* exists and is not empty; choose another name"):
            fit.save(folder)
    assert folder_hash(tmp_path) == before
    (tmp_path / "empty").mkdir()
    fit.save(tmp_path / "empty")
    pb.load(tmp_path / "empty")


def test_the_card_is_that_of_the_folder(fit, run):
    assert fit.card == (run / "card.md").read_text() == pb.load(run).card
    assert "intervals" in fit.card.lower()


def test_the_card_warns_where_popularity_is_the_like_rate(fit):
    assert f"\n\nWarning: {warning_of(fit.study)}.\n\n" in fit.card
    assert REMEDY in fit.card
    with_counts = fit.study.replace("model", exposure="negative-binomial")
    assert "Warning" not in replace(fit, study=with_counts).card


def test_missing_runs(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(RunFolderError, match=r"PB-R102: .* holds no finished run .*fit first, or use --resume"):
            pb.load(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_one_flipped_bit(run, name, folder_hash):
    content = bytearray((run / name).read_bytes())
    where = content.index(b'"sha256"') + 40 if name == "manifest.json" else len(content) // 2
    content[where] ^= 1
    (run / name).write_bytes(content)
    before = folder_hash(run)
    with pytest.raises(
        CorruptCheckpointError, match=r"PB-R095: .*(SHA-256 differs|is damaged|cannot be read|lies outside)"
    ):
        pb.load(run)
    assert folder_hash(run) == before


@pytest.mark.parametrize("offset", range(0, 2000, 97))
def test_a_flipped_bit_of_the_manifest_is_never_another_error(run, offset, frame):
    content = bytearray((run / "manifest.json").read_bytes())
    content[offset % len(content)] ^= 1 << offset % 7
    (run / "manifest.json").write_bytes(content)
    try:
        pb.load(run)  # white space, a version: nothing that a result depends on
    except CheckpointError as error:
        assert re.match("PB-R09[456]: ", str(error))  # noqa: PT017  either outcome is right


def test_missing_and_truncated_files(run):
    text = (run / "items.parquet").read_bytes()
    (run / "items.parquet").write_bytes(text[:-1])
    with pytest.raises(CorruptCheckpointError, match=r"PB-R095: .*items.parquet is not what was written"):
        pb.load(run)
    (run / "items.parquet").unlink()
    with pytest.raises(CorruptCheckpointError, match=r"PB-R094: .*items.parquet cannot be read: No such file"):
        pb.load(run)


@pytest.mark.parametrize("name", ["../secret", "{}", "sub/../../secret"])
def test_files_outside_the_folder_are_not_read(run, name):
    secret = run.parent / "secret"
    secret.write_bytes(b"secret")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["sha256"][name.format(secret)] = sha256(b"secret")
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptCheckpointError, match=r"PB-R095: .*secret lies outside its run folder"):
        pb.load(run)


@pytest.mark.parametrize("name", ["users.parquet", "study.toml"])
def test_links_are_not_followed(run, name, tmp_path):
    (run / name).rename(tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")  # the content is right: only that it is a link is wrong
    with pytest.raises(CorruptCheckpointError, match=rf"PB-R095: .*{name} lies outside its run folder"):
        pb.load(run)


@pytest.mark.parametrize("schema", [0, 1, 2, 3, 4, 5, "6", None])
def test_other_schemas(run, schema):
    manifest = json.loads((run / "manifest.json").read_text()) | {"schema": schema}
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        SchemaVersionError, match=rf"PB-R096: .* has schema {schema}, this version reads 6; open it with"
    ):
        pb.load(run)


@pytest.mark.parametrize("after", range(0, 20, 3))
def test_full_disk_changes_nothing(fit, tmp_path, monkeypatch, folder_hash, full_disk, after, frame):
    (tmp_path / "run").mkdir()
    before = folder_hash(tmp_path)
    with monkeypatch.context() as patch:
        full_disk(patch, after)
        with pytest.raises(RunFolderError, match=r"PB-R100: cannot write .*No space left on device") as caught:
            fit.save(tmp_path / "run")
    assert isinstance(caught.value, OSError)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    if after < 2 * len(FILES):  # two fsyncs a file; then the folder has its name, whole
        assert folder_hash(tmp_path) == before
        fit.save(tmp_path / "run")  # the fit itself is as it was
    pd.testing.assert_frame_equal(pb.load(tmp_path / "run").predict(frame), fit.predict(frame), check_exact=True)


def test_a_failing_write_keeps_the_old_file(tmp_path, monkeypatch, full_disk):
    (tmp_path / "table.csv").write_text("old")
    full_disk(monkeypatch, 0)
    with pytest.raises(RunFolderError, match=r"PB-R100: cannot write .*table.csv \(3 bytes\): No space left on device"):
        write_atomically(tmp_path / "table.csv", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert (tmp_path / "table.csv").read_text() == "old"
