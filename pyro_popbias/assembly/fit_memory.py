"""The memory that a training will need, estimated before any of it is taken.

| part | bytes |
| --- | --- |
| vectors, point estimates | 4 for each number, its gradient, each of Adam's two moments, and the best epoch's copy |
| vectors with a posterior | the same for mean and log scale |
| the same with learned scales | no best epoch, but means and variances in float64 while they are brought up to date |
| popularity | 8 for each of two numbers of a cell, with gradient, moments and copy; and its counts |
| a batch | for each number of its rows' vectors 48, and 240 where they have a posterior |
| rows | 12 as codes; where negatives are drawn 24 for each positive's key |

What is held for sure at the same time: a training was seen to take up to 1.6 times as much, beside what Python and torch take for
themselves. So what is refused could have run with swapping at best.
"""

import torch

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.machine_memory import memory_of_machine, require_memory
from pyro_popbias.models import AFFINITIES
from pyro_popbias.study.study import Study

FLOAT = 4  # bytes
COPIES = 4  # value, gradient and two moments
WORKING = 24  # bytes of a number while scales are brought up to date: mean, variance and precision in float64
OF_CELL = 2 * 8 * (COPIES + 1) + 4 * 8
OF_ROW, OF_KEY = 12, 24
OF_BATCH = {"point": 48, "mean-field": 240}


def require_memory_of_fit(study: Study, events: Interactions, device: str) -> None:
    """Refuse a training that would need more memory than the machine, or its graphics card, has.

    Args:
        study: what was declared, with the defaults that depend on the data.
        events: the interactions.
        device: "cpu" or "cuda".

    Raises:
        DataError: it would; the message gives the estimate and what to lower.
    """
    limit = memory_of_machine() if device == "cpu" else torch.cuda.mem_get_info()[1]
    require_memory("this fit", memory_of_fit(study, events), _remedy(study), limit=limit)


def memory_of_fit(study: Study, events: Interactions) -> dict[str, int]:
    """Return about how many bytes a training needs, by what they are for."""
    affinity, users, items = study.model.affinity, len(events.users), len(events.items)
    features = [each for each in (events.user_features, events.item_features) if each is not None]
    vectors = AFFINITIES[affinity.name].vectors(users, items, sum(len(each.names) for each in features))
    dim = getattr(affinity, "dim", 0)
    number = len(events) * (1 + (study.data.negatives or 0))
    batch = min(study.training.batch_size, number) if vectors else 0
    rows = 0 if events.stored is not None else len(events) * (OF_ROW + (OF_KEY if study.data.negatives else 0))
    return {
        f"{vectors:,} vectors of length {dim}": vectors * dim * _of_number(study),
        f"batches of {batch:,} rows": batch * dim * OF_BATCH.get(getattr(affinity, "posterior", "point"), 48),
        f"popularity of {events.cells:,} cells": events.cells * OF_CELL,
        f"{len(events):,} rows": rows,
    }


def _of_number(study: Study) -> int:
    """Return bytes for each number of a vector."""
    affinity = study.model.affinity
    values = 2 if getattr(affinity, "posterior", "point") == "mean-field" else 1
    if affinity.learns_scales:
        return values * FLOAT * COPIES + WORKING
    return values * FLOAT * (COPIES + (not study.training.runs_whole(learns_scales=False)))


def _remedy(study: Study) -> str:
    dim = getattr(study.model.affinity, "dim", None)
    ways = [f"lower [model.affinity] dim from {dim}"] * (dim is not None) + ["lower [data] periods"] * (
        study.data.periods > 1
    )
    return ", ".join([*ways, "leave out users and items with few rows", "or use a machine with more memory"])
