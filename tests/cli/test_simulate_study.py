import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.cli.fit_and_compare import run_fit
from pyro_popbias.cli.simulate_study import run_simulation
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import ConfigError, RunFolderError
from pyro_popbias.simulation.populations import DISTRIBUTIONS

SIZES = {"users": 30, "items": 20, "interactions": 600, "seed": 2}
TRAINING = '[training]\nepochs = 1\nbatch_size = 200\ndevice = "cpu"\n'


@pytest.fixture
def declare(tmp_path):
    """Return a function that writes a study file and gives its path."""

    def write(model="", data='label = "label"\n'):
        path = tmp_path / "study.toml"
        path.write_text(
            f'schema = 1\n[data]\npath = "none.csv"\nuser = "who"\nitem = "what"\n{data}[model]\n{model}\n{TRAINING}'
        )
        return path

    return write


def simulated(path, **sizes):
    """Return the lines, the rows and the truth of a study file."""
    events, truth = path.with_name("events.csv"), path.with_name("truth.csv")
    lines = list(run_simulation(path, events, truth, sizes=SIZES | sizes))
    return lines, read_table(events, text=("who", "what")), read_table(truth, text=("item",))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("", {"model": "product", "dim": 32}),
        ('affinity = { name = "embedding", dim = 3 }', {"dim": 3}),
        (
            'saturation = { name = "hill", half = 2.5 }\nprior = { source = "fixed", concentration = 0.7 }',
            {"saturation": "hill", "rate": 2.5, "concentration": 0.7, "dim": 32},
        ),
        ('saturation = { name = "tanh", rate = "learned" }', {"saturation": "tanh", "rate": 1.0, "dim": 32}),
        ('name = "additive"\nslope = "free"', {"model": "additive", "dim": 32}),
        *((f'prior = {{ name = "{name}" }}', {"prior": name, "dim": 32}) for name in DISTRIBUTIONS if name != "normal"),
        ('prior = { source = "log-share" }', {"dim": 32}),
        ('prior = { source = "counts", counts = "other.csv" }', {"dim": 32}),
        ('name = "inverse-logistic"', {"model": "inverse-logistic", "dim": 32}),
    ],
)
def test_a_study_declares_the_simulation(declare, model, expected):
    lines, rows, truth = simulated(declare(model))
    simulation = pb.simulate(**SIZES | expected)
    pd.testing.assert_frame_equal(
        rows, simulation.frame.rename(columns={"user": "who", "item": "what"}), check_dtype=False
    )
    pd.testing.assert_frame_equal(truth, simulation.truth["popularity"], check_dtype=False)
    assert [line.partition(" -> ")[0] for line in lines] == ["600 rows", "20 rows"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize(
    ("model", "data"),
    [
        ('affinity = { name = "embedding", dim = 2 }', 'label = "rating"\npositive_if = ">=4"\n'),
        ('affinity = { name = "embedding", dim = 2 }', 'label = "liked"\ntime = "when"\nperiods = 3\n'),
        ('affinity = { name = "embedding", dim = 2 }', 'label = "liked"\ntime = "when"\n'),
        ('affinity = { name = "fixed", score = "match" }', 'label = "label"\n'),
    ],
)
def test_the_same_study_fits_the_rows(declare, tmp_path, model, data):
    path = declare(model, data)
    _, rows, truth = simulated(path)
    list(run_fit(path, tmp_path / "run", data=tmp_path / "events.csv"))
    fit = pb.load(tmp_path / "run")
    assert len(fit.events) == len(rows)
    table = fit.popularity().merge(truth, on=["item", "period"], how="left")
    assert table["z"].notna().all()
    assert fit.events.label.mean() == pytest.approx(pb.simulate(**SIZES, dim=2).frame["label"].mean(), abs=0.1)


@pytest.mark.parametrize("rule", [">=4", ">4", "<=4", "<4", "==4", "!=4", ">= -2.5", ">=1e30", "<0"])
def test_labels_are_numbers_that_the_rule_reads(declare, rule):
    path = declare(data=f'label = "rating"\npositive_if = "{rule}"\n')
    _, rows, _ = simulated(path)
    assert rows["rating"].nunique() == 2
    events = pb.read_interactions(
        path.with_name("events.csv"), user="who", item="what", label="rating", positive_if=rule
    )
    assert events.label.tolist() == pb.simulate(**SIZES, dim=32).frame["label"].tolist()


def test_without_a_label_the_rows_are_positives(declare):
    _, rows, _ = simulated(declare(data=""))
    assert list(rows.columns) == ["who", "what"]
    assert len(rows) == pb.simulate(**SIZES, dim=32).frame["label"].sum()


def test_choices_have_no_labels(declare, monkeypatch):
    made = pb.simulate("pda", **SIZES)
    monkeypatch.setattr("pyro_popbias.cli.simulate_study.simulate", lambda **_: made)
    lines, rows, _ = simulated(declare(data='label = "rating"\npositive_if = ">=4"\n'))
    assert list(rows.columns) == ["who", "what"]
    assert "to fit them, leave out [data] label" in lines[1]


def test_features_are_written_beside_the_events(declare, tmp_path, monkeypatch):
    path = declare()
    made = pb.simulate(affinity="linear", **SIZES)
    monkeypatch.setattr("pyro_popbias.cli.simulate_study.simulate", lambda **_: made)  # whatever the study declares
    lines, _, _ = simulated(path)
    for side in ("user", "item"):
        file = tmp_path / f"events-{side}-features.csv"
        assert any(line.endswith(f"{file}; fits need it as [data] {side}_features") for line in lines)
    events = pb.read_interactions(
        tmp_path / "events.csv", user="who", item="what", label="label",
        user_features=tmp_path / "events-user-features.csv", item_features=tmp_path / "events-item-features.csv",
    )  # fmt: skip
    np.testing.assert_array_equal(events.user_features.value, made.events.user_features.value)
    np.testing.assert_array_equal(events.item_features.value, made.events.item_features.value)


def test_given_vectors_are_refused(declare, folder_hash, tmp_path):
    path = declare('affinity = { name = "fixed", user_vectors = "u.csv", item_vectors = "i.csv" }')
    before = folder_hash(tmp_path)
    with pytest.raises(ConfigError, match=r'PB-C018: the affinity has given vectors, .*name = "embedding"'):
        simulated(path)
    assert folder_hash(tmp_path) == before


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (("events.csv", "truth.txt"), ConfigError, r"PB-C008: .*truth\.txt has an ending"),
        (("events.xls", "truth.csv"), ConfigError, r"PB-C008: .*events\.xls has an ending"),
        (("none/events.csv", "truth.csv"), RunFolderError, r"PB-R100: cannot write .*events\.csv"),
    ],
)
def test_files_that_cannot_be_written(declare, tmp_path, folder_hash, names, error, message):
    path = declare()
    before = folder_hash(tmp_path)
    with pytest.raises(error, match=message):
        list(run_simulation(path, tmp_path / names[0], tmp_path / names[1], sizes=SIZES))
    assert folder_hash(tmp_path) == before


def test_sizes_are_checked(declare):
    with pytest.raises(ConfigError, match=r"PB-C084: users must be an integer >= 1, not 0"):
        simulated(declare(), users=0)
