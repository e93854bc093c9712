"""What a training would need is estimated before it is taken, and refused where the machine has less."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.assembly.defaults import with_defaults
from pyro_popbias.assembly.fit_memory import memory_of_fit, require_memory_of_fit
from pyro_popbias.assembly.pair import assemble
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.machine_memory import memory_of_machine, readable, require_memory
from pyro_popbias.errors import ConfigError, DataError

GIBIBYTE = 1024**3


def log_of(users, **labels):
    rows = np.arange(8)
    return Interactions(
        pd.RangeIndex(users), pd.Index(["a", "b"]), (rows // 2).astype(np.int32), (rows % 2).astype(np.int32), **labels
    )


def study_of(**affinity):
    return pb.Study(model={"affinity": {"name": "embedding", **affinity}}, training={"device": "cpu"})


@pytest.mark.parametrize(
    ("affinity", "bytes_of_number"),
    [
        ({"posterior": "point"}, 4 * 4 + 4),
        ({"posterior": "mean-field", "scale": 0.5}, 2 * (4 * 4 + 4)),
        ({"posterior": "mean-field", "scale": "learned"}, 2 * 4 * 4 + 24),
    ],
)
def test_tables_count_with_gradients_and_moments(affinity, bytes_of_number):
    events = log_of(1_000_000, label=np.arange(8) % 2)
    found = memory_of_fit(with_defaults(study_of(dim=100, **affinity), events), events)
    assert found["1,000,002 vectors of length 100"] == 1_000_002 * 100 * bytes_of_number


def test_vectors_of_features_count(events):
    features = pd.DataFrame({"kind": [f"k{n % 3}" for n in range(len(events.items))]}, index=events.items)
    study = pb.Study(model={"affinity": {"name": "factorization-machine", "dim": 8}})
    found = memory_of_fit(with_defaults(study, events), events.with_features(item_features=features))
    assert f"{len(events.users) + len(events.items) + 3:,} vectors of length 8" in found


def test_what_has_no_vectors_needs_none(events):
    study = pb.Study(model={"affinity": {"name": "fixed", "score": "x"}})
    assert memory_of_fit(study, events)["0 vectors of length 0"] == 0


def test_too_many_users_are_refused_with_the_estimate():
    events = log_of(2_000_000, label=np.arange(8) % 2)
    message = r"PB-D051: this fit would need about [\d,.]+ GiB .* more than the [\d.]+ GiB of this machine: .*2,000,002 vectors"
    with pytest.raises(DataError, match=message + r".*lower \[model.affinity\] dim from 4096") as caught:
        assemble(events, study_of(dim=4096))
    assert caught.value.exit_code == 3


def test_negatives_and_cells_count():
    events = log_of(10)
    study = with_defaults(study_of(posterior="point"), events)
    assert memory_of_fit(study, events)["8 rows"] == 8 * (12 + 24)
    require_memory_of_fit(study, events, "cpu")


def test_limits():
    require_memory("work", {"a part": 10.0}, "wait", limit=10)
    with pytest.raises(
        DataError,
        match=r"PB-D051: work would need about 3\.0 GiB .* the 2\.0 GiB .*: 1\.0 GiB for a, 2\.0 GiB for b; wait",
    ):
        require_memory("work", {"a": 1.0 * GIBIBYTE, "b": 2.0 * GIBIBYTE}, "wait", limit=2 * GIBIBYTE)
    assert readable(1024**2) == "1 MiB"
    assert readable(1536 * 1024**2) == "1.5 GiB"
    assert 0 < memory_of_machine() < 1024**5


def test_simulations_of_any_size():
    with pytest.raises(DataError, match=r"PB-D051: this simulation would need .*1,000,000,000,500 users and items"):
        pb.simulate(users=10**12)
    with pytest.raises(ConfigError, match="PB-C083: quality must be"):
        pb.simulate(quality=10**400)
