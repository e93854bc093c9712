"""Run folders of every schema so far: an older one loads as it was, or says what opens it."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import SchemaVersionError
from pyro_popbias.storage.checkpoints import Checkpoints
from pyro_popbias.storage.schema import REVISIONS, SCHEMA

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = sorted(GOLDEN.glob("schema-*"))


def schema_of(folder):
    return json.loads((folder / "manifest.json").read_text())["schema"]


def test_there_is_a_folder_of_every_schema():
    assert [schema_of(folder) for folder in FOLDERS] == list(range(1, SCHEMA + 1))
    assert REVISIONS.keys() == set(range(1, SCHEMA))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_run_loads_as_it_was_or_says_what_opens_it(folder):
    schema = schema_of(folder)
    if schema == SCHEMA:
        recorded = pd.read_csv(folder / "popularity.csv", dtype={"item": str})
        pd.testing.assert_frame_equal(pb.load(folder).popularity(), recorded, check_exact=False, rtol=1e-6)
        return
    wanted = (
        rf"PB-R096: .* has schema {schema}, this version reads {SCHEMA}; open it with revision {REVISIONS[schema]} of"
    )
    with pytest.raises(SchemaVersionError, match=wanted):
        pb.load(folder)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_checkpoint_loads_as_it_was_or_says_what_resumes_it(folder, tmp_path):
    run = shutil.copytree(folder, tmp_path / "run")
    (description,) = (run / "checkpoints").glob("*.json")
    facts = json.loads(json.loads(description.read_text())["content"])
    if facts["schema"] == SCHEMA:
        progress, tensors = Checkpoints(run, facts["identity"]).latest()
        assert len(progress.history) == int(description.stem)
        assert all(bool(tensor.double().isfinite().all()) for tensor in tensors.values())
        return
    with pytest.raises(SchemaVersionError, match=rf"PB-R096: checkpoint .* has schema {facts['schema']}, .* revision"):
        Checkpoints(run, {}).latest()
