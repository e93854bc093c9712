"""Exports: inner products rank as the fit does wherever that is claimed, and folders are whole or not there."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyarrow import parquet

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, RunFolderError
from pyro_popbias.interfaces import export as export_module
from pyro_popbias.interfaces.export import export

GOLDEN = Path(__file__).parents[1] / "golden" / "schema-6"
POINTS = {
    "point": {"name": "embedding", "dim": 3, "posterior": "point"},
    "factorization-machine": {"name": "factorization-machine", "dim": 3},
}
USERS, ITEMS = 12, 60


def untrained(model, affinity=POINTS["point"], **keys):
    """Return a fit with random vectors and popularities far from their starts."""
    sim = pb.simulate(users=USERS, items=ITEMS, interactions=500, seed=0)
    pair = pb.pair(sim.events, study=pb.Study(model={"name": model, "affinity": affinity, **keys}))
    generator = torch.Generator().manual_seed(2)
    for module in (pair.model, pair.guide):
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data.add_(noise * (1.5 if "log_scale" in name and parameter.dim() else 0.7))
    return pb.Fit(pair.study, sim.events.catalogue, pair.model, pair.guide, None, pd.DataFrame(), sim.events)


def vectors(folder, side):
    table = parquet.read_table(folder / f"{side}s.parquet")
    stacked = table["vector"].combine_chunks()
    return table[side].to_pylist(), stacked.flatten().to_numpy().reshape(len(table), -1)


def nearest(folder, k):
    """Return each user's items of largest inner product, `(U, k)`, as a user of the folder finds them."""
    (users, u), (items, i) = (vectors(folder, side) for side in ("user", "item"))
    order = np.argsort(-(u @ i.T), axis=1)[:, :k]
    return pd.DataFrame(np.array(items)[order], index=users)


BY_ITEM = {f"i{code}": 0.2 + code / 20 for code in range(ITEMS)}
EXACT = [(model, mode) for model in pb.MODELS for mode in ("population", "prior", "none", 1.3)]
EXACT += [("additive", BY_ITEM), ("inverse-logistic", BY_ITEM)]


@pytest.mark.parametrize("affinity", POINTS)
@pytest.mark.parametrize(("model", "mode"), EXACT, ids=lambda each: "by item" if isinstance(each, dict) else str(each))
@pytest.mark.filterwarnings("ignore::pyro_popbias.errors.DataWarning")
def test_largest_inner_products_are_the_lists_of_the_fit(model, mode, affinity, tmp_path):
    fit = untrained(model, POINTS[affinity])
    manifest = export(fit, tmp_path / "out", popularity=mode)
    assert manifest["vectors"]["exact"]
    assert manifest["vectors"]["agreement"]["share_of_items"] == 1.0
    ours = fit.recommend(k=10, popularity=mode, exclude_seen=False)
    found = nearest(tmp_path / "out", 10)
    for user, own in ours.groupby("user"):
        assert found.loc[user].tolist() == own["item"].tolist()


def test_inner_product_and_offset_are_the_logit(tmp_path):
    fit = untrained("product")
    export(fit, tmp_path / "out")
    (_, u), (_, i) = (vectors(tmp_path / "out", side) for side in ("user", "item"))
    offset = parquet.read_table(tmp_path / "out" / "users.parquet")["offset"].to_numpy()
    x = (u @ i.T)[3] + offset[3]
    code = torch.arange(len(fit.catalogue.items))
    mean = fit.model.pairs(torch.full_like(code, 3), code, None, fit.guide.weights()).mean
    np.testing.assert_allclose(x, mean.detach().numpy(), rtol=1e-5, atol=1e-5)


REFUSED = [
    ("product", "posterior", {}, "PB-C552: popularity='posterior' gives each item"),
    ("product", BY_ITEM, {}, "PB-C552: in the model Product it depends on x"),
    ("pda", BY_ITEM, {}, "PB-C552: in the model PDA it depends on x"),
    ("additive", BY_ITEM, {"conformity": True}, "PB-C552: users differ in how they follow popularity"),
    ("product", "population", {"affinity": {"name": "embedding", "dim": 3}}, "PB-C554: vectors have a posterior"),
]


@pytest.mark.parametrize(("model", "mode", "keys", "match"), REFUSED, ids=lambda each: str(each)[:20])
@pytest.mark.filterwarnings("ignore::pyro_popbias.errors.DataWarning")
def test_what_no_inner_product_ranks_is_refused_with_what_to_do(model, mode, keys, match, tmp_path):
    with pytest.raises(ConfigError, match=rf"^{match}.*--vectors none --lists 100"):
        export(untrained(model, **keys), tmp_path / "out", popularity=mode)
    assert not list(tmp_path.iterdir())


def test_posterior_means_say_how_nearly_they_rank(tmp_path):
    fit = untrained("product", {"name": "embedding", "dim": 3})
    manifest = export(fit, tmp_path / "out", vectors="approximate")
    assert not manifest["vectors"]["exact"]
    assert 0.5 < manifest["vectors"]["agreement"]["share_of_items"] < 1


@pytest.fixture
def run():
    return pb.load(GOLDEN)


def test_a_folder_says_what_it_is(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "BLOCK", 50)  # several blocks
    manifest = export(run, tmp_path / "out", vectors="approximate", lists=4)
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["files"]) == {"items.parquet", "users.parquet", "lists.parquet"}
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out" / "lists.parquet"), run.recommend(k=4), check_dtype=False
    )
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert items["item"].tolist() == run.catalogue.items.tolist()
    assert (items["popularity_lower"] < items["popularity"]).all()
    assert items["count"].sum() == run.catalogue.count.sum()


@pytest.mark.parametrize(("ids", "dtype"), [("own", "int64"), ("text", "string")])
def test_integers_stay_integers(run, tmp_path, ids, dtype):
    renamed = run.catalogue.items.str.replace("i", "")
    object.__setattr__(run.catalogue, "items", renamed)
    manifest = export(run, tmp_path / "out", vectors="none", ids=ids)
    assert manifest["ids"] == {"user": "string", "item": dtype}
    found = parquet.read_table(tmp_path / "out" / "items.parquet")["item"]
    assert found.to_pylist() == [int(each) if ids == "own" else each for each in renamed]


def test_zeros_in_front_are_text(run, tmp_path):
    object.__setattr__(run.catalogue, "items", run.catalogue.items.str.replace("i", "0"))
    assert export(run, tmp_path / "out", vectors="none")["ids"]["item"] == "string"


def test_an_earlier_export_is_replaced_whole_and_nothing_else_is(run, tmp_path):
    out = tmp_path / "out"
    export(run, out, vectors="none", lists=2)
    with pytest.raises(RunFolderError, match=r"PB-R101: .*out exists and is not empty; .*--overwrite"):
        export(run, out, vectors="none")
    export(run, out, vectors="none", overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["items.parquet", "manifest.json"]
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"PB-R101: .*it also holds files .*\(1: thesis.txt\)"):
        export(run, out, vectors="none", overwrite=True)
    shutil.copytree(GOLDEN, tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"PB-R101: .*not part of an export"):
        export(run, tmp_path / "run", vectors="none", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_full_disk_leaves_nothing(run, tmp_path, full_disk, monkeypatch):
    full_disk(monkeypatch, after=1)
    with pytest.raises(RunFolderError, match=r"PB-R100: cannot write .*out"):
        export(run, tmp_path / "out", vectors="none", lists=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "match"), [({"vectors": "exakt"}, "did you mean 'exact'"), ({"ids": "int"}, "own, text")]
)
def test_choices(run, tmp_path, options, match):
    with pytest.raises(ConfigError, match=f"PB-C553: .*{match}"):
        export(run, tmp_path / "out", **options)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["faiss", "hnswlib"])
def test_indexes_find_the_lists(library, tmp_path):
    package = pytest.importorskip(library, reason=f"needs {library}")
    fit = untrained("product")
    export(fit, tmp_path / "out")
    (users, u), (items, i) = (vectors(tmp_path / "out", side) for side in ("user", "item"))
    if library == "faiss":
        index = package.IndexFlatIP(i.shape[1])
        index.add(i)
        rows = index.search(u, 10)[1]
    else:
        index = package.Index(space="ip", dim=i.shape[1])
        index.init_index(max_elements=len(i), ef_construction=200, M=32)
        index.add_items(i)
        index.set_ef(len(i))
        rows = index.knn_query(u, k=10)[0]
    ours = fit.recommend(k=10, exclude_seen=False)
    for user, row in zip(users, rows, strict=True):
        assert np.array(items)[row].tolist() == ours.loc[ours["user"] == user, "item"].tolist()
