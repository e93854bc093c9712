"""Which process has which rows: those of an item, and of its popularity, live on one of them."""

import hashlib
import heapq
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.guides import MarkovGuide, RowGuide
from pyro_popbias.training.ranks import Ranks

SIDES: tuple[Literal["user", "item"], ...] = ("user", "item")


def owners(rows: np.ndarray, ranks: int) -> np.ndarray:
    """Return the rank of each item, `(K,)`: the item of most rows first, each to the rank that has least so far.

    Args:
        rows: `(K,)` of each item.
        ranks: how many there are.
    """
    found, loads = np.empty(len(rows), dtype=np.int64), [(0.0, rank) for rank in range(ranks)]
    for item in np.argsort(-rows, kind="stable").tolist():
        load, rank = loads[0]
        found[item] = rank
        heapq.heapreplace(loads, (load + max(1.0, float(rows[item])), rank))
    return found


def shared(pair: Pair, owner: np.ndarray, ranks: Ranks) -> Pair:
    """Return a pair with the rows of a rank's own items.

    Args:
        pair: the whole.
        owner: `(K,)` rank of each item.
        ranks: the processes.
    """

    def of(rows: TrainingBatches) -> TrainingBatches:
        return rows.share(owner == ranks.rank, number=ranks.rank, shares=ranks.number, total=ranks.total)

    held_out = pair.held_out
    if held_out is not None:
        # negatives may be of items of other ranks, which all ranks then know
        turns = held_out.negatives > 0
        held_out = (
            held_out.in_turns(number=ranks.rank, shares=ranks.number, total=ranks.total) if turns else of(held_out)
        )
    return replace(pair, rows=of(pair.rows), held_out=held_out)


def side_of(pair: Pair, name: str, parameter: Tensor) -> str | None:
    """Return what the rows of a parameter of the loss are of: "user", "item" or "cell"; None where a row is nobody's own.

    Args:
        pair: the pair.
        name: of the parameter in the loss.
        parameter: the parameter.
    """
    if name.startswith("guide.popularity."):
        return "cell" if isinstance(pair.guide.popularity, RowGuide | MarkovGuide) else None
    for side in SIDES:
        sites = [] if pair.guide.affinity is None else pair.guide.affinity.sites_of(side)
        of_guide = [f"guide.affinity.{site}_{part}_unconstrained" for site in sites for part in ("loc", "log_scale")]
        if name in (f"model.affinity.{side}_vectors_unconstrained", *of_guide):
            return side
    return None


def refuse_differences(pair: Pair, ranks: Ranks) -> None:
    """Refuse a pair that processes cannot share.

    Args:
        pair: the whole.
        ranks: the processes.

    Raises:
        IncompatibleError: the pair goes on from an earlier fit, or its log is on disk.
        ConfigError: a process has another study or other data.
    """
    if pair.model.affinity.memory is not None:
        raise IncompatibleError(
            "PB-C471: an update of an earlier fit takes its steps over all rows of a user at once and runs in one process; "
            "start it without torchrun"
        )
    if pair.events.stored is not None:
        raise IncompatibleError(
            "PB-C477: a log on disk is read in an order of its own, which processes cannot share by item; fit it in one process, "
            "or read the rows into memory with from_frame"
        )
    study = pair.study.model_dump_json(include={"model", "guide", "training"}, serialize_as_any=True, fallback=str)
    rows = pair.rows
    counts = [each.cpu().numpy().tobytes() for each in (rows.cell_count, rows.user_count)]
    own = torch.from_numpy(np.frombuffer(hashlib.sha256(b"".join([study.encode(), *counts])).digest(), np.uint8).copy())
    if any(not torch.equal(own, other) for other in ranks.gathered(own)):
        raise ConfigError(
            "PB-C472: the processes of this fit have different studies or data; give all of them the same study with a seed, "
            "and the same rows"
        )


def refuse_few_rows(pair: Pair, ranks: Ranks) -> None:
    """Refuse shares with less rows than an epoch has steps.

    Args:
        pair: the share of this rank.
        ranks: the processes.

    Raises:
        ConfigError: a rank has too few rows.
    """
    steps = pair.rows.steps(pair.study.training.batch_size)
    rows = [int(each) for each in ranks.gathered(torch.tensor([len(pair.rows)]))]
    if min(rows) < steps:
        raise ConfigError(
            f"PB-C473: {len(rows)} processes have {', '.join(map(str, rows))} rows, and an epoch has {steps} steps with rows of "
            "each of them: the rows of an item stay together, and few items have most. Use fewer processes or a larger "
            "training.batch_size"
        )
