"""What decides a fit, as short texts by name: a checkpoint is resumed only where all of them agree."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch.nn import Module

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.atomic_files import sha256
from pyro_popbias.data.interactions import Interactions

GIVEN = {"model": {"affinity": {"user_vectors", "item_vectors"}, "prior": {"counts"}}}  # known by their fingerprints


def identity(pair: Pair, *, restarts: int = 1) -> dict[str, str]:
    """Return what decides a fit: the keys of the study, and fingerprints of vectors, counts and data.

    Args:
        pair: before it is trained.
        restarts: number of restarts of the fit.
    """
    study, events = pair.study, pair.events
    declared = study.model_dump(
        mode="json", include={"model", "guide", "training"}, exclude=GIVEN, serialize_as_any=True
    )
    found = dict(_flat("", declared))
    found["training.device"] = pair.device  # where it runs, whatever was asked for
    return found | {
        "data.negatives": str(study.data.negatives or 0),
        "data.periods": str(events.periods),
        "data.period_by": events.period_by,
        "vectors": _of_buffers(pair.model.affinity),
        "prior": _of_buffers(pair.model.prior),
        "restarts": str(restarts),
        "data": _of_data(events, getattr(study.model.affinity, "score", None)),
    }


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the values of nested mappings by their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", json.dumps(value)


def _of_buffers(module: Module) -> str:
    """Return a fingerprint of what a module was given: vectors, or the numbers that counts gave."""
    return sha256(b"".join(buffer.cpu().numpy().tobytes() for buffer in module.buffers()))


def _of_data(events: Interactions, score: str | None) -> str:
    ids = "\0".join(events.users) + "\1" + "\0".join(events.items)
    if events.stored is not None:
        rows = events.stored.fingerprint.encode()
        return sha256(rows + _of_features(events) + ids.encode())
    columns = [events.user, events.item, events.label, events.time, events.edges]
    if score is not None:
        columns.append(events.columns[score].to_numpy())
    rows = b"".join(np.ascontiguousarray(column).tobytes() for column in columns if column is not None)
    return sha256(rows + _of_features(events) + ids.encode())


def _of_features(events: Interactions) -> bytes:
    kinds = ((b"\2", events.user_features), (b"\3", events.item_features))
    return b"".join(kind + features.to_bytes() for kind, features in kinds if features is not None)
