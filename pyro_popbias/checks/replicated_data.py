"""The rows whose labels are replicated: all training and held-out rows of a fit, with one fixed set of negatives.

They come from the interactions and not from the training batches, so that wrong labels in a batch are detected.
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
    | cell | (D,) | cells with rows, item * periods + period, ascending |
    | cell_index | (N,) | position of each row's cell in `cell` |
    | label | (N,) | 0 or 1 |
    | score | (N,) | given affinity, or None |
    | scored | (N,) | rows used for calibration and log-scores: the held-out ones, or all if none are held out |
    | negatives | | sampled negatives per positive; 0 for labelled data |
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
            study: the study of the fit, with its defaults filled in.
            seed: seed of the sampled negatives.
            device: device of the tensors.
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
        score = given_score(events.columns, study)
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
        """Yield slices of rows small enough to be processed in memory."""
        for start in range(0, len(self), BLOCK):
            yield slice(start, start + BLOCK)

    def score_of(self, block: slice) -> Tensor | None:
        """Return the given affinities of a block, `(B,)`, or None."""
        return None if self.score is None else self.score[block]
