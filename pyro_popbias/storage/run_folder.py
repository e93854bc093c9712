"""Run folders: what is saved, how it is checked when it is opened, and checkpoints to resume from.

Tables are Parquet or CSV, tensors safetensors, declarations TOML and JSON: opening a folder runs no code. The manifest
is written last and holds the SHA-256 of every other file; a folder without one is no finished run.
"""

import io
import json
import os
import platform
import secrets
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import safetensors.torch
import torch

from pyro_popbias.assembly.components import build
from pyro_popbias.assembly.item_counts import count_items, read_counts
from pyro_popbias.data.atomic_files import TEMPORARY, sha256, sync_folder, write_atomically
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.periods import spacing
from pyro_popbias.data.table_files import to_csv
from pyro_popbias.errors import (
    CorruptCheckpointError,
    RunFolderError,
    SchemaVersionError,
    UnknownNameError,
)
from pyro_popbias.guides import CellStatistics
from pyro_popbias.study.sections import FixedAffinityConfig
from pyro_popbias.study.study import COUNTS, Study
from pyro_popbias.trained import Trained
from pyro_popbias.training.restarts import Chain
from pyro_popbias.version import __version__

SCHEMA = 1
SCORE = "affinity score"  # column of the interactions, where affinities are given row by row
CHAINS = "chains.safetensors"  # the pairs of other restarts


def save(fit: Trained, folder: Path, *, data: bool = True) -> None:
    """Write a fit to a new folder: whole, or not at all.

    Args:
        fit: the fit.
        folder: a path that does not exist, or an empty folder.
        data: whether the interactions are written too.

    Raises:
        RunFolderError: the folder is not empty, or cannot be written.
    """
    refuse_full(folder)
    temporary = folder.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)
        write_run(fit, temporary, data=data)
        if folder.exists():
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise RunFolderError(f"PB-R100: cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_full(folder: Path) -> None:
    """Refuse a folder that holds anything but a lock."""
    if folder.exists() and (not folder.is_dir() or any(path.name != ".lock" for path in folder.iterdir())):
        raise RunFolderError(f"PB-R101: {folder} exists and is not empty; choose another name or remove it")


def write_run(fit: Trained, folder: Path, *, data: bool = True) -> None:
    """Write the files of a finished run, the manifest last."""
    files = _files(fit, data=data)
    for name, content in files.items():
        write_atomically(folder / name, content)
    manifest = {
        "schema": SCHEMA,
        "versions": versions(),
        "sha256": {name: sha256(content) for name, content in files.items()},
    }
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "pyro_popbias": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "pandas": pd.__version__,
        "threads": str(torch.get_num_threads()),
    }


def _files(fit: Trained, *, data: bool) -> dict[str, bytes]:
    catalogue, study = fit.catalogue, fit.study
    files: dict[str, bytes] = {}
    affinity = study.model.affinity
    if isinstance(affinity, FixedAffinityConfig) and affinity.score is None:
        vectors = {"user_vectors": catalogue.users, "item_vectors": catalogue.items}
        for name, ids in vectors.items():
            frame = pd.DataFrame(getattr(fit.model.affinity, name).cpu().numpy()).rename(columns=str)
            frame.insert(0, "id", ids)
            files[f"{name}.parquet"] = _parquet(frame)
    prior = study.model.prior
    if prior.counts is not None and not isinstance(prior.counts, str):
        counts = count_items(read_counts(prior.counts, study.data), catalogue.items)
        files[COUNTS] = _parquet(pd.DataFrame({"item": catalogue.items, "count": counts}))
    study = study.with_names_of_files()
    tensors = _state(fit.chains[0])
    tensors |= {name: torch.from_numpy(getattr(catalogue, name).copy()) for name in ("count", "positives")}
    if catalogue.edges is not None:
        tensors["edges"] = torch.from_numpy(catalogue.edges)
    files |= {
        "study.toml": study.to_toml().encode(),
        "card.md": card(fit).encode(),
        "history.csv": fit.history.to_csv(index=False).encode(),
        "popularity.csv": to_csv(fit.popularity()),
        "users.parquet": _parquet(pd.DataFrame({"id": catalogue.users})),
        "items.parquet": _parquet(pd.DataFrame({"id": catalogue.items})),
        "parameters.safetensors": tensor_bytes(tensors),
    }
    if fit.others:
        of_chains = {
            f"{k}.{name}": value for k, chain in enumerate(fit.others) for name, value in _state(chain).items()
        }
        files[CHAINS] = tensor_bytes(of_chains)
    for name, ids in (("user_features", catalogue.users), ("item_features", catalogue.items)):
        if (features := getattr(catalogue, name)) is not None:
            files[f"{name}.parquet"] = _parquet(features.to_frame(ids))
    if data and fit.events is not None:
        rows = {"user": fit.events.user, "item": fit.events.item, "period": fit.events.period}
        if fit.events.label is not None:
            rows["label"] = fit.events.label
        if fit.events.time is not None:
            rows["time"] = fit.events.time
        if isinstance(affinity, FixedAffinityConfig) and affinity.score in fit.events.columns:
            rows[SCORE] = fit.events.columns[affinity.score].to_numpy()
        files["interactions.parquet"] = _parquet(pd.DataFrame(rows))
    return files


def _state(chain: Chain) -> dict[str, torch.Tensor]:
    """Return the tensors of a pair by name."""
    parts = (("model", chain.model), ("guide", chain.guide))
    return {f"{kind}.{name}": value for kind, module in parts for name, value in module.state_dict().items()}


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _frame(content: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(content))


def tensor_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    """Return tensors as the content of a safetensors file."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def card(fit: Trained) -> str:
    """Return the run's card in Markdown: what was fitted to what, and how far to trust the intervals."""
    score = fit.history["validation_log_score"].iloc[-1]
    held_out = "No rows were held out" if pd.isna(score) else f"Held-out log-loss {-score:.4f} nats per row"
    return (
        f"# {fit.study.model.name} with guide {fit.study.guide.name}\n\n"
        f"{int(fit.catalogue.count.sum()):,} rows, {len(fit.catalogue.users):,} users, {len(fit.catalogue.items):,} items, "
        f"{fit.catalogue.periods} period(s). KL: {fit.guide.popularity.kl}. Seed {fit.study.training.seed}.\n\n"
        f"{_design(fit)}{_restarts(fit)}{held_out}; "
        f"{fit.history['seconds'].sum():.1f} s of training.\n\n"
        "Posteriors are of the training rows; counts in tables are of all rows, the held-out share included. "
        "Intervals of popularity are conditional on the estimated affinities: they are right where the affinities are "
        "known, and too narrow where vectors are learned.\n"
    )


def _restarts(fit: Trained) -> str:
    """Return how the fit was chosen, where it was one of several, or nothing."""
    if not fit.others:
        return ""
    by = "held-out log-score" if fit.history["validation_log_score"].notna().iloc[-1] else "objective"
    return (
        f"Best of {len(fit.chains)} restarts by its {by}; the others are in {CHAINS}, and are chains for ArviZ, whose R-hat "
        "compares them. "
    )


def _design(fit: Trained) -> str:
    """Return what scores are where the data's own labels do not say it, or nothing."""
    number = fit.study.data.negatives
    if not number:
        return ""
    kind = "ranking scores and no probabilities" if fit.model.pairwise else "probabilities within this design"
    return f"Negatives: {number} sampled for each positive, so that scores are {kind}. "


def read_run(path: str | Path) -> dict[str, Any]:
    """Return the fields of the fit that a run folder holds.

    Raises:
        RunFolderError: there is no such folder, or it holds no finished run.
        CorruptCheckpointError: a file is not what was written.
        SchemaVersionError: the folder was written by an incompatible version.
    """
    folder = Path(path)
    manifest = _manifest(folder)
    contents = {name: checked(folder, name, digest) for name, digest in manifest["sha256"].items()}
    study = _study(contents["study.toml"], folder / "study.toml")
    affinity = study.model.affinity
    if isinstance(affinity, FixedAffinityConfig) and affinity.score is None:
        outside = {str(affinity.user_vectors), str(affinity.item_vectors)} - contents.keys()
        if outside:
            raise CorruptCheckpointError(
                f"PB-R095: {folder}/study.toml names vectors outside the run: {sorted(outside)}"
            )
        frames = {name: _frame(contents[f"{name}.parquet"]) for name in ("user_vectors", "item_vectors")}
        study = study.replace("model", affinity=affinity.model_copy(update=frames))
    prior = study.model.prior
    if prior.counts == COUNTS and COUNTS in contents:
        study = study.replace("model", prior=prior.model_copy(update={"counts": _frame(contents[COUNTS])}))
    tensors = safetensors.torch.load(contents["parameters.safetensors"])
    ids = {name: pd.Index(_frame(contents[f"{name}.parquet"])["id"], dtype=str) for name in ("users", "items")}
    count, positives = tensors["count"].numpy(), tensors["positives"].numpy()
    edges = tensors["edges"].numpy() if "edges" in tensors else None
    features: dict[str, Any] = {
        name: Features.from_stored(_frame(contents[f"{name}.parquet"]))
        for name in ("user_features", "item_features")
        if f"{name}.parquet" in contents
    }
    periods = len(count) // len(ids["items"])
    catalogue = Catalogue(ids["users"], ids["items"], periods, edges, count, positives, **features)
    cells = CellStatistics(
        count, positives, periods, catalogue.item_features
    )  # what a guide had seen is among its parameters

    def made(state: dict[str, torch.Tensor]) -> Chain:
        model, guide = build(study, catalogue, cells)
        for kind, module in (("model", model), ("guide", guide)):
            module.load_state_dict(_under(kind, state))
        return Chain(model, guide)

    best = made(tensors)
    others = safetensors.torch.load(contents[CHAINS]) if CHAINS in contents else {}
    numbers = sorted({int(name.partition(".")[0]) for name in others})
    events = None
    if "interactions.parquet" in contents:
        rows = _frame(contents["interactions.parquet"])
        columns: dict[str, Any] = {
            name: rows[name].to_numpy() if name in rows else None for name in ("user", "item", "label", "time")
        }
        if SCORE in rows and isinstance(affinity, FixedAffinityConfig):
            columns["columns"] = pd.DataFrame({str(affinity.score): rows[SCORE]})
        cut: dict[str, Any] = {"periods": periods, "edges": edges, "period_by": spacing(edges)}
        events = Interactions(ids["users"], ids["items"], **columns, **cut, **features)
    history = pd.read_csv(io.BytesIO(contents["history.csv"]))
    return {
        "study": study,
        "catalogue": catalogue,
        "model": best.model,
        "guide": best.guide,
        "history": history,
        "events": events,
        "others": tuple(made(_under(str(number), others)) for number in numbers),
    }


def _study(content: bytes, path: Path) -> Study:
    try:
        return Study.from_bytes(content, path)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"PB-C301: {error}; the run was fitted with a part that is not registered here: install the package, or import "
            "the module, that registers it"
        ) from None


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names open with a prefix and a dot, without these."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise RunFolderError(f"PB-R102: {folder} holds no finished run (no manifest.json); fit first, or use --resume")
    try:
        manifest = json.loads(path.read_bytes())
        schema = manifest["schema"]
        if schema != SCHEMA:
            raise SchemaVersionError(
                f"PB-R096: {folder} has schema {schema}, this version reads {SCHEMA}; open it with the version in its manifest"
            )
        if not {"study.toml", "parameters.safetensors", "users.parquet", "items.parquet"} <= manifest["sha256"].keys():
            raise KeyError("sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpointError(
            f"PB-R095: {path} is damaged ({error!r}); restore the folder from a copy"
        ) from error
    return dict(manifest)


def checked(folder: Path, name: str, digest: str) -> bytes:
    """Return the content of a file, or refuse it.

    Raises:
        CorruptCheckpointError: it is not what was written, or not in the folder itself.
    """
    path = folder / name
    if Path(name).name != name or path.is_symlink():
        raise CorruptCheckpointError(f"PB-R095: {path} lies outside its run folder")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorruptCheckpointError(f"PB-R094: {path} cannot be read: {error.strerror}") from error
    if sha256(content) != digest:
        raise CorruptCheckpointError(
            f"PB-R095: {path} is not what was written (SHA-256 differs); restore it from a copy"
        )
    return content
