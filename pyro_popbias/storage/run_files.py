"""The files of a finished run as bytes: tables as Parquet or CSV, tensors as safetensors, declarations as TOML."""

import io
import json

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor

from pyro_popbias.assembly.item_counts import count_items, read_counts
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.stored_log import StoredLog
from pyro_popbias.data.table_files import to_csv
from pyro_popbias.storage.card import CHAINS, card
from pyro_popbias.study.sections import FixedAffinityConfig
from pyro_popbias.study.study import COUNTS
from pyro_popbias.trained import Trained
from pyro_popbias.training.restarts import Chain

SCORE = "affinity score"  # column of the interactions, where affinities are given row by row
PARAMETERS = "parameters.safetensors"
ROWS = "interactions.parquet"
STORED = "stored_log.json"  # in place of the rows: where they are
EARLIER = "earlier.parquet"  # rows of the fits that a fit goes on from
COUNTED = ("count", "positives", "user_count", "user_positives", "user_items")  # of the catalogue
PARTS = ("model", "guide", "guide.iterates")  # prefixes of the names of a chain's tensors


def files_of(fit: Trained, *, data: bool) -> dict[str, bytes]:
    """Return the content of each file of a run by name, but for the manifest.

    Args:
        fit: the fit.
        data: whether the interactions are among them.
    """
    catalogue = fit.catalogue
    files = {
        **_given(fit),
        "study.toml": fit.study.with_names_of_files().to_toml().encode(),
        "card.md": card(fit).encode(),
        "history.csv": fit.history.to_csv(index=False).encode(),
        "popularity.csv": to_csv(fit.popularity()),
        "users.parquet": _parquet(pd.DataFrame({"id": catalogue.users})),
        "items.parquet": _parquet(pd.DataFrame({"id": catalogue.items})),
        **_tensors(fit),
    }
    for name, ids in (("user_features", catalogue.users), ("item_features", catalogue.items)):
        if (features := getattr(catalogue, name)) is not None:
            files[f"{name}.parquet"] = _parquet(features.to_frame(ids))
    if data and fit.events is not None and fit.events.stored is not None:
        files[STORED] = _place(fit.events.stored)
    elif data and fit.events is not None:
        files[ROWS] = _rows(fit, fit.events)
        if fit.earlier is not None:
            files[EARLIER] = _parquet(pd.DataFrame({"user": fit.earlier.user, "item": fit.earlier.item}))
    return files


def _given(fit: Trained) -> dict[str, bytes]:
    """Return the vectors and counts that the study was given."""
    catalogue, files = fit.catalogue, {}
    affinity, prior = fit.study.model.affinity, fit.study.model.prior
    if isinstance(affinity, FixedAffinityConfig) and affinity.score is None:
        for name, ids in {"user_vectors": catalogue.users, "item_vectors": catalogue.items}.items():
            frame = pd.DataFrame(getattr(fit.model.affinity, name).cpu().numpy()).rename(columns=str)
            frame.insert(0, "id", ids)
            files[f"{name}.parquet"] = _parquet(frame)
    if prior.counts is not None and not isinstance(prior.counts, str):
        counts = count_items(read_counts(prior.counts, fit.study.data), catalogue.items)
        files[COUNTS] = _parquet(pd.DataFrame({"item": catalogue.items, "count": counts}))
    return files


def _tensors(fit: Trained) -> dict[str, bytes]:
    """Return the parameters of the best chain, with counts and period edges, and those of the other chains."""
    catalogue = fit.catalogue
    tensors = tensors_of(fit.chains[0])
    tensors |= {
        name: torch.from_numpy(getattr(catalogue, name).copy())
        for name in COUNTED
        if getattr(catalogue, name) is not None
    }
    if catalogue.edges is not None:
        tensors["edges"] = torch.from_numpy(catalogue.edges)
    files = {PARAMETERS: tensor_bytes(tensors)}
    if fit.others:
        others = {
            f"{k}.{name}": value for k, chain in enumerate(fit.others) for name, value in tensors_of(chain).items()
        }
        files[CHAINS] = tensor_bytes(others)
    return files


def _rows(fit: Trained, events: Interactions) -> bytes:
    rows = {"user": events.user, "item": events.item, "period": events.period}
    if events.label is not None:
        rows["label"] = events.label
    if events.time is not None:
        rows["time"] = events.time
    affinity = fit.study.model.affinity
    if isinstance(affinity, FixedAffinityConfig) and affinity.score in events.columns:
        rows[SCORE] = events.columns[affinity.score].to_numpy()
    return _parquet(pd.DataFrame(rows))


def _place(log: StoredLog) -> bytes:
    """Return where a log on disk is, whose rows are not copied."""
    return json.dumps({"folder": str(log.folder.absolute()), "fingerprint": log.fingerprint}).encode()


def tensors_of(chain: Chain) -> dict[str, Tensor]:
    """Return the tensors of a chain by name; `reading.chain_of` is the way back."""
    modules = zip(PARTS, (chain.model, chain.guide, chain.iterates), strict=True)
    return {f"{part}.{name}": value for part, module in modules for name, value in module.state_dict().items()}


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def tensor_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return tensors as the content of a safetensors file."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
