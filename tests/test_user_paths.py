"""What a user does between reading a file and opening a run, where faults were found once."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pyro_popbias as pb
from pyro_popbias.cli.fit_and_compare import run_fit
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import CheckpointError, ConfigError, DataError

pytestmark = pytest.mark.usefixtures("short_training")
SMALL = {"epochs": 2, "batch_size": 100, "device": "cpu"}


@pytest.fixture
def frame(make_frame):
    return make_frame()


@pytest.fixture
def folder(tmp_path, frame):
    frame.assign(time=np.arange(len(frame)), score=np.linspace(-1, 1, len(frame))).to_csv(
        tmp_path / "rows.csv", index=False
    )
    return tmp_path


def study_file(folder, affinity='{ name = "embedding", dim = 4 }', training="epochs = 2\nbatch_size = 100"):
    path = folder / "study.toml"
    path.write_text(
        '[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\ntime = "time"\n'
        f"[model]\naffinity = {affinity}\n[training]\n{training}\n"
    )
    return path


def test_resume_with_other_periods(folder):
    list(run_fit(study_file(folder), folder / "run"))
    with pytest.raises(CheckpointError, match=r"PB-R097: .*these differ: data.periods"):
        list(run_fit(folder / "study.toml", folder / "run", overrides=["data.periods=3"], resume=True))


def test_resume_with_other_scores(folder, frame):
    path = study_file(folder, '{ name = "fixed", score = "score" }')
    list(run_fit(path, folder / "run"))
    other = pd.read_csv(folder / "rows.csv").assign(score=lambda rows: -rows["score"])
    other.to_csv(folder / "other.csv", index=False)
    with pytest.raises(CheckpointError, match=r"PB-R097: .*these differ: data"):
        list(run_fit(path, folder / "run", data=folder / "other.csv", resume=True))


def vectors(ids, seed):
    numbers = np.random.default_rng(seed).normal(size=(len(ids), 3)).round(3)
    return pd.DataFrame(numbers, columns=list("abc")).assign(id=ids)[["id", "a", "b", "c"]]


def test_run_names_the_file_that_was_read_and_resumes_from_anywhere(folder, frame, monkeypatch):
    for kind in ("user", "item"):
        vectors(frame[kind].unique(), 0).to_csv(folder / f"{kind}.csv", index=False)
    path = study_file(folder, '{ name = "fixed", user_vectors = "user.csv", item_vectors = "item.csv" }')
    monkeypatch.chdir(folder)
    list(run_fit(path.relative_to(folder), folder / "run"))
    monkeypatch.chdir(folder.parent)
    list(run_fit(path, folder / "run", resume=True))
    assert pb.load(folder / "run").study.data.path == str(folder / "rows.csv")
    list(run_fit(folder / "run" / "study.toml", folder / "again"))


def test_vectors_of_ids_that_look_like_numbers(tmp_path, frame):
    ids = {kind: {each: f"00{number}" for number, each in enumerate(frame[kind].unique())} for kind in ("user", "item")}
    renamed = frame.assign(**{kind: frame[kind].map(names) for kind, names in ids.items()})
    for kind in ids:
        vectors(list(ids[kind].values()), 1).to_csv(tmp_path / f"{kind}.csv", index=False)
    events = pb.Interactions.from_frame(renamed, label="label")
    for given in (
        {f"{kind}_vectors": str(tmp_path / f"{kind}.csv") for kind in ids},
        {f"{kind}_vectors": pa.Table.from_pandas(vectors(list(ids[kind].values()), 1)) for kind in ids},
    ):
        pair = pb.pair(events, study=pb.Study(model={"affinity": {"name": "fixed", **given}}))
        assert pair.model.affinity.user_vectors.shape == (len(ids["user"]), 3)


def test_vectors_that_are_no_numbers(frame):
    events = pb.Interactions.from_frame(frame, label="label")
    given = {f"{kind}_vectors": vectors(frame[kind].unique(), 1) for kind in ("user", "item")}
    given["item_vectors"] = given["item_vectors"].astype({"b": str})
    with pytest.raises(DataError, match=r"PB-D105: item_vectors needs an id column, then numbers; not numeric: b"):
        pb.pair(events, study=pb.Study(model={"affinity": {"name": "fixed", **given}}))


@pytest.mark.slow
def test_the_call_of_the_documentation_does_not_warn(frame):
    events = pb.Interactions.from_frame(frame, label="label")
    fit = pb.fit(events, model="product", guide="gamma", seed=0, restarts=1, progress=False)
    assert fit.study.training.seed == 0
    for wrong in (0, 2.5, True):
        with pytest.raises(ConfigError, match=f"PB-C017: restarts must be an integer >= 1, not {wrong}"):
            pb.fit(events, restarts=wrong)


def test_impossible_scores_do_not_end_training(frame):
    events = pb.Interactions.from_frame(frame.assign(score=-1000.0), label="label")
    study = pb.Study(model={"affinity": {"name": "fixed", "score": "score"}}, training=SMALL)
    fit = pb.fit(events, study=study, progress=False)
    assert np.isfinite(fit.history["validation_log_score"]).all()


def test_nothing_held_out_is_said_in_words(folder):
    lines = list(run_fit(study_file(folder, training="epochs = 2\nvalidation = 0.0"), folder / "run"))
    assert not [line for line in lines if "nan" in line]
    assert "No rows were held out" in (folder / "run" / "card.md").read_text()


def test_parquet_without_a_named_column(tmp_path):
    pd.DataFrame({"person": ["a"]}).to_parquet(tmp_path / "users.parquet")
    with pytest.raises(DataError, match=r"PB-D005: no column 'user'.*\(in .*users\.parquet\)"):
        read_table(tmp_path / "users.parquet", text=("user",))


def test_dates_without_a_clock(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,label,time\na,x,1,2024-01-02\nb,y,0,2024-03-02\n")
    events = pb.read_interactions(tmp_path / "log.csv", label="label", time="time", periods=2)
    assert events.period.tolist() == [0, 1]


def test_silent_and_unseen_items_have_the_prior_under_any_guide(frame):
    events = pb.Interactions.from_frame(frame, label="label")
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 3}}, guide={"name": "lognormal"}, training=SMALL)
    fit = pb.fit(events, study=study, progress=False)
    pair = pd.DataFrame({"user": [frame["user"][0]], "item": ["unheard of"]})
    columns = ["score", "popularity_lower", "popularity_upper"]
    posterior = fit.predict(pair, popularity="posterior", unseen="prior")[columns]
    pd.testing.assert_frame_equal(posterior, fit.predict(pair, popularity="population", unseen="prior")[columns])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda events, fit: events.split("random", seed=-1), "PB-C084: seed must be"),
        (lambda events, fit: pb.simulate(seed=-1), "PB-C084: seed must be"),
        (lambda events, fit: fit.to_arviz(seed=-1), "PB-C084: seed must be"),
        (lambda events, fit: fit.to_arviz(items=[]), "PB-C016: items= is empty"),
        (lambda events, fit: fit.to_arviz(rows=[10**6]), "PB-C016: rows= must be positions"),
        (lambda events, fit: fit.recommend(users="12"), "PB-C015: users='12' is a single string"),
        (lambda events, fit: fit.predict(events.to_frame(), popularity=pd.Series([1.0])), "PB-C011: popularity="),
    ],
)
def test_bad_arguments(frame, call, match):
    events = pb.Interactions.from_frame(frame, label="label")
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training=SMALL)
    with pytest.raises(ConfigError, match=match):
        call(events, pb.fit(events, study=study, progress=False))
