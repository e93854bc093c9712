"""The rows that a check replicates: every training and held-out row of a fit, with a fixed set of negatives.

They are taken from the interactions themselves and not from the batches of training, so that a batch that lies about
its labels is found out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import BLOCK
from pyro_popbias.assembly.training_data import given_score, split_rows
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.study.study import Study


@dataclass(frozen=True)
class ReplicatedData:
    """N rows of D distinct cells and U distinct users.

    | field | shape | meaning |
    | --- | --- | --- |
    | user, item | (N,) | codes |
    | cell | (D,) | cells with rows, item * periods + period, rising |
    | cell_index | (N,) | position of each row's cell in `cell` |
    | label | (N,) | 0 or 1 |
    | score | (N,) | given affinity, where the data have one |
    | scored | (N,) | rows for calibration and log-scores: held-out ones, or all where none is held out |
    | negatives | | sampled negatives per positive; 0 where labels are the data's own |
    """

    user: Tensor
    item: Tensor
    cell: Tensor
    cell_index: Tensor
    label: np.ndarray
    score: Tensor | None
    scored: np.ndarray
    negatives: int

    @classmethod
    def of(cls, events: Interactions, study: Study, *, seed: int, device: torch.device) -> "ReplicatedData":
        """Return the rows of a fit.

        Args:
            events: the interactions that were fitted.
            study: the fit's, with its defaults filled in.
            seed: decides the negatives.
            device: where tensors live.
        """
        number = study.data.negatives or 0
        train, rest = split_rows(events, study)
        index, held_out = np.concatenate([train, rest]), np.repeat([False, True], [len(train), len(rest)])
        user, cell = events.user[index].astype(np.int64), events.cell[index].astype(np.int64)
        label = np.ones(len(index)) if number or events.label is None else events.label[index].astype(float)
        if number:
            random, parts = np.random.default_rng(seed), torch.from_numpy(user).split([len(train), len(rest)])
            known = zip(parts, (train, None), strict=True)  # as in training, and as in the held-out score
            drawn = np.concatenate(
                [Negatives(events, number, rows=rows).draw(part, random).numpy() for part, rows in known]
            )
            user, held_out = (np.concatenate([part, part.repeat(number)]) for part in (user, held_out))
            # a negative is as popular as it was when the positive was chosen
            cell = np.concatenate([cell, drawn * events.periods + (cell % events.periods).repeat(number)])
            label = np.concatenate([label, np.zeros(len(drawn))])
        distinct, cell_index = np.unique(cell, return_inverse=True)
        score = given_score(events, study)
        return cls(
            user=torch.from_numpy(user).to(device),
            item=torch.from_numpy(cell // events.periods).to(device),
            cell=torch.from_numpy(distinct).to(device),
            cell_index=torch.from_numpy(cell_index).to(device),
            label=label,
            score=None if score is None else torch.from_numpy(score[index]).to(device),
            scored=held_out if held_out.any() else np.ones(len(user), dtype=bool),
            negatives=number,
        )

    def __len__(self) -> int:
        return len(self.user)

    def blocks(self) -> Iterator[slice]:
        """Yield slices of rows, so many that what is computed of them fits into memory."""
        for start in range(0, len(self), BLOCK):
            yield slice(start, start + BLOCK)

    def score_of(self, block: slice) -> Tensor | None:
        """Return the given affinities of a block, `(B,)`, or None."""
        return None if self.score is None else self.score[block]
