"""Reading of a finished run: the SHA-256 of every file is checked against the manifest before it is used."""

import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
from torch import Tensor

from pyro_popbias.assembly.components import build
from pyro_popbias.data.atomic_files import sha256
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.machine_memory import memory_of_machine
from pyro_popbias.data.periods import spacing
from pyro_popbias.data.regular_files import read_regular
from pyro_popbias.data.stored_log import StoredLog
from pyro_popbias.errors import (
    CorruptCheckpointError,
    DataWarning,
    PopBiasError,
    RunFolderError,
    UnknownNameError,
)
from pyro_popbias.guides import CellStatistics
from pyro_popbias.storage.card import CHAINS
from pyro_popbias.storage.contents import Contents
from pyro_popbias.storage.run_files import EARLIER, PARAMETERS, PARTS, ROWS, SCORE, STORED
from pyro_popbias.storage.schema import refuse_other
from pyro_popbias.storage.soundness import check_sizes, check_sound
from pyro_popbias.study.sections import FixedAffinityConfig
from pyro_popbias.study.study import COUNTS, Study
from pyro_popbias.trained import Trained
from pyro_popbias.training.iterates import Iterates
from pyro_popbias.training.restarts import Chain

NEEDED = {"study.toml", PARAMETERS, "users.parquet", "items.parquet", "history.csv"}
MANIFEST = "manifest.json"
MOST_OF_MANIFEST = 4_194_304  # bytes
MOST_SHOWN = 300  # characters of a path


def read_run(path: str | Path) -> Trained:
    """Return the trained pair that a run folder holds.

    Raises:
        RunFolderError: there is no such folder, or it holds no finished run.
        CorruptCheckpointError: a file is not what was written.
        UnsafeFileError: a file is a link or a pipe, or larger or farther compressed than what is written.
        SchemaVersionError: the folder was written by an incompatible version.
    """
    folder = Path(path)
    contents = Contents({name: checked(folder, name, digest) for name, digest in _manifest(folder)["sha256"].items()})
    try:
        found = _read(contents, folder)
        check_sound(found, contents.get("popularity.csv"), folder)
    except PopBiasError:
        raise
    except Exception as error:  # whatever the contents of files lead to, they are not those of one run
        raise CorruptCheckpointError(
            f"PB-R155: the files of {folder} are not those of one run ({type(error).__name__}: {str(error)[:200]}); restore "
            "the folder from a copy"
        ) from error
    return found


def _read(contents: Contents, folder: Path) -> Trained:
    study = _study(contents, folder)
    tensors = safetensors.torch.load(contents[PARAMETERS])
    check_sizes(study, tensors, folder)
    catalogue = _catalogue(contents, tensors)
    best = chain_of(study, catalogue, tensors)
    others = safetensors.torch.load(contents[CHAINS]) if CHAINS in contents else {}
    events, absent = _events(contents, study, catalogue)
    return Trained(
        study=study,
        catalogue=catalogue,
        model=best.model,
        guide=best.guide,
        iterates=best.iterates,
        history=pd.read_csv(io.BytesIO(contents["history.csv"])),
        events=events,
        others=tuple(
            chain_of(study, catalogue, _under(str(number), others))
            for number in sorted({int(name.partition(".")[0]) for name in others})
        ),
        earlier=_earlier(contents, catalogue),
        absent=absent,
    )


def _study(contents: Contents, folder: Path) -> Study:
    """Return the study, with the vectors and counts that were given to it."""
    study = _declared(contents["study.toml"], folder / "study.toml")
    affinity, prior = study.model.affinity, study.model.prior
    if isinstance(affinity, FixedAffinityConfig) and affinity.score is None:
        outside = {str(affinity.user_vectors), str(affinity.item_vectors)} - contents.keys()
        if outside:
            raise CorruptCheckpointError(
                f"PB-R095: {folder}/study.toml names vectors outside the run: {sorted(outside)}"
            )
        frames = {name: contents.table(f"{name}.parquet") for name in ("user_vectors", "item_vectors")}
        study = study.replace("model", affinity=affinity.model_copy(update=frames))
    if prior.counts == COUNTS and COUNTS in contents:
        study = study.replace("model", prior=prior.model_copy(update={"counts": contents.table(COUNTS)}))
    return study


def _declared(content: bytes, path: Path) -> Study:
    try:
        return Study.from_bytes(content, path)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"PB-C301: {error}; the run was fitted with a part that is not registered here: install the package, or import "
            "the module, that registers it"
        ) from None


def _catalogue(contents: Contents, tensors: dict[str, Tensor]) -> Catalogue:
    users, items = (pd.Index(contents.table(f"{name}.parquet")["id"], dtype=str) for name in ("users", "items"))
    count, positives = tensors["count"].numpy(), tensors["positives"].numpy()
    edges = tensors["edges"].numpy() if "edges" in tensors else None
    more: dict[str, Any] = {
        name: Features.from_stored(contents.table(f"{name}.parquet"))
        for name in ("user_features", "item_features")
        if f"{name}.parquet" in contents
    }
    more |= {name: tensors[name].numpy() for name in ("user_count", "user_positives")}
    if "user_items" in tensors:
        more["user_items"] = tensors["user_items"].numpy()
    return Catalogue(users, items, len(count) // len(items), edges, count, positives, **more)


def chain_of(study: Study, catalogue: Catalogue, tensors: dict[str, Tensor]) -> Chain:
    """Return the pair that tensors are of, as `run_files.tensors_of` gives them.

    Args:
        study: of the pair, with the defaults that depend on model and data.
        catalogue: ids and counts.
        tensors: by name.
    """
    # what a guide had seen of the training rows is among its parameters
    cells = CellStatistics(catalogue.count, catalogue.positives, catalogue.periods, catalogue.item_features)
    model, guide = build(study, catalogue, cells)
    chain = Chain(model, guide, Iterates(guide.popularity.parameters()))
    of_model, of_guide, of_iterates = (_under(part, tensors) for part in PARTS)
    chain.model.load_state_dict(of_model)
    chain.guide.load_state_dict({name: value for name, value in of_guide.items() if not name.startswith("iterates.")})
    chain.iterates.load_state_dict(of_iterates)
    return chain


def _events(contents: Contents, study: Study, catalogue: Catalogue) -> tuple[Interactions | None, str]:
    """Return the rows of a run, or None and, where it was not saved without them, why they are not there."""
    if STORED in contents:
        return _on_disk(json.loads(contents[STORED]), catalogue)
    if ROWS not in contents:
        return None, ""
    rows = contents.table(ROWS)
    columns: dict[str, Any] = {name: rows[name].to_numpy() if name in rows else None for name in ("label", "time")}
    affinity = study.model.affinity
    if SCORE in rows and isinstance(affinity, FixedAffinityConfig):
        columns["columns"] = pd.DataFrame({str(affinity.score): rows[SCORE]})
    found = Interactions(
        catalogue.users,
        catalogue.items,
        user=rows["user"].to_numpy(),
        item=rows["item"].to_numpy(),
        **columns,
        periods=catalogue.periods,
        edges=catalogue.edges,
        period_by=spacing(catalogue.edges),
        user_features=catalogue.user_features,
        item_features=catalogue.item_features,
    )
    return found, ""


def _on_disk(place: dict[str, str], catalogue: Catalogue) -> tuple[Interactions | None, str]:
    """Return the rows of a log on disk; None and why, with a warning, where it is not there as it was."""
    folder = Path(place["folder"])
    try:
        log = StoredLog.open(folder)
        fault = None if log.fingerprint == place["fingerprint"] else f"{folder} holds another log"
    except PopBiasError as error:
        fault = str(error)
    if fault is not None:
        message = f"PB-D449: the run is opened without its interactions, which were in {folder}: {fault}"
        warnings.warn(message, DataWarning, stacklevel=6)
        return None, fault
    known, features = Interactions.of_log(log), (catalogue.user_features, catalogue.item_features)
    return replace(known, items=catalogue.items, user_features=features[0], item_features=features[1]), ""


def _earlier(contents: Contents, catalogue: Catalogue) -> Interactions | None:
    """Return the rows of the fits that this one goes on from; None where there are none."""
    if EARLIER not in contents:
        return None
    rows = contents.table(EARLIER)
    return Interactions(catalogue.users, catalogue.items, rows["user"].to_numpy(), rows["item"].to_numpy())


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names open with a prefix and a dot, without these."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise RunFolderError(f"PB-R102: {folder} holds no finished run (no manifest.json); fit first, or use --resume")
    try:
        manifest = json.loads(read_regular(path, most=MOST_OF_MANIFEST))
        refuse_other(manifest["schema"], str(folder))
        if not manifest["sha256"].keys() >= NEEDED:
            raise KeyError("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise CorruptCheckpointError(
            f"PB-R095: {path} is damaged ({repr(error)[:100]}); restore the folder from a copy"
        ) from error
    return dict(manifest)


def checked(folder: Path, name: str, digest: str) -> bytes:
    """Return the content of a file, or refuse it.

    Raises:
        CorruptCheckpointError: it is not what was written, or not in the folder itself.
        UnsafeFileError: it is not a regular file, or too large for this machine's memory.
    """
    path = folder / name
    try:
        if Path(name).name != name or path.is_symlink():
            raise CorruptCheckpointError(f"PB-R095: {path} lies outside its run folder")
        content = read_regular(path, most=memory_of_machine() // 2)
    except (OSError, ValueError) as error:  # a name with a NUL is a value that is wrong
        said = getattr(error, "strerror", None) or error
        raise CorruptCheckpointError(f"PB-R094: {str(path)[:MOST_SHOWN]} cannot be read: {said}") from error
    if sha256(content) != digest:
        raise CorruptCheckpointError(
            f"PB-R095: {path} is not what was written (SHA-256 differs); restore it from a copy"
        )
    return content
