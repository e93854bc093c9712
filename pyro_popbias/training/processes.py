"""What a training does differently where several processes share it: rows by item, gradients by user.

Every rank has the whole model and guide, and the training rows of its own items. The losses of ranks estimate the whole loss, so
the gradient of their mean is the whole gradient: each rank takes that of its own loss over the number of ranks, and these
are summed.

| parameters | where their gradients are | what is exchanged |
| --- | --- | --- |
| rows of items and of their cells | on the rank of the item | their values, once per epoch |
| the same where negatives are sampled | on all ranks | the rows of the batch, per step |
| rows of users | on all ranks | the rows of the batch, per step |
| numbers, weights of features, networks, guides that draw all cells | on all ranks | all of them, per step |
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.batch import Batch
from pyro_popbias.training.environment import Launch
from pyro_popbias.training.gradient_exchange import GradientExchange
from pyro_popbias.training.iterates import Iterates, traced
from pyro_popbias.training.ownership import owners, refuse_differences, refuse_few_rows, shared, side_of
from pyro_popbias.training.ranks import Ranks
from pyro_popbias.training.row_adam import RowTable
from pyro_popbias.training.state import Snapshot, TrainingState

Save = Callable[[Snapshot], None]


class Processes:
    """One process, which has nothing to exchange; and the base of several.

    Args:
        pair: what is trained.

    Attributes:
        pair: what this process trains of it.
        share: of the loss, whose gradient it takes; None for all.
        stream: tells its random numbers from those of others.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.share: Tensor | None = None
        self.stream: tuple[int, ...] = pair.rows.stream

    def follow(self, loss: nn.Module) -> None:
        """Take note of the parameters of the loss that are trained from here on."""

    def sum_gradients(self, batch: Batch, tables: Sequence[RowTable] = (), *, finite: bool) -> bool:
        """Sum gradients over processes; return whether all of them are finite.

        Args:
            batch: this process's.
            tables: large tables, of which it has read some rows.
            finite: whether this process's are.
        """
        return finite

    def share_tables(self) -> None:
        """Give all processes the rows that each of them has trained."""

    def share_iterates(self, iterates: Iterates) -> None:
        """Give all processes the moments of the rows that each of them has trained."""

    def judged(self, judge: Callable[[], float]) -> float:
        """Return what a judge finds, the same in all processes."""
        return judge()

    def saving(self, save: Save | None) -> Save | None:
        """Return what saves a snapshot, given what does so in one process."""
        return save

    def resumed(self, snapshot: Snapshot | None) -> Snapshot | None:
        """Return the snapshot that all processes resume from."""
        return snapshot


@final
class SeveralProcesses(Processes):
    """Several processes.

    Args:
        pair: what is trained, the same in all of them.
        ranks: the processes.

    Raises:
        ConfigError: a process has another study or other data, or too few rows.
        IncompatibleError: the pair goes on from an earlier fit.
    """

    def __init__(self, pair: Pair, ranks: Ranks) -> None:
        refuse_differences(pair, ranks)
        owner = owners(pair.rows.item_count.cpu().numpy(), ranks.number)
        super().__init__(shared(pair, owner, ranks))
        self._ranks = ranks
        self._replicates = pair.rows.negatives > 0  # whose items are drawn from all of the catalogue
        self.share = torch.tensor(1 / ranks.number, dtype=torch.float64, device=pair.device)
        refuse_few_rows(self.pair, ranks)
        cells = np.repeat(owner, pair.events.periods)
        self._owner = torch.from_numpy(cells)
        self._owned = {
            len(each): [torch.from_numpy(np.flatnonzero(each == rank)).to(pair.device) for rank in range(ranks.number)]
            for each in (owner, cells)
        }
        self._shared: list[Parameter] = []

    def follow(self, loss: nn.Module) -> None:
        """Take note of the parameters of the loss that are trained from here on."""
        tables: dict[str, list[Parameter]] = {"user": [], "item": [], "cell": []}
        others: list[Parameter] = []
        for name, parameter in loss.named_parameters():
            if parameter.requires_grad:
                side = side_of(self.pair, name, parameter)
                (others if side is None else tables[side]).append(parameter)
        self._shared = [] if self._replicates else tables["item"] + tables["cell"]
        exchanged = tables if self._replicates else {"user": tables["user"]}
        self._exchange = GradientExchange(self._ranks, exchanged, others)

    def sum_gradients(self, batch: Batch, tables: Sequence[RowTable] = (), *, finite: bool) -> bool:
        """Sum gradients over processes; return whether all of them are finite."""
        own = [table for table in tables if all(table.parameter is not each for each in self._shared)]
        for table in own:
            table.parameter.grad = table.sparse_gradient()
        found = self._exchange(batch, finite=finite)
        for table in own:
            gradient, table.parameter.grad = table.parameter.grad, None
            if found and gradient is not None:
                table.set_sparse_gradient(gradient)
        return found

    @torch.no_grad()
    def share_tables(self) -> None:
        """Give all processes the rows of items and cells that each of them has trained."""
        for parameter in self._shared:
            self._ranks.share_rows(parameter.data, self._owned[len(parameter)])

    @torch.no_grad()
    def share_iterates(self, iterates: Iterates) -> None:
        """Give all processes the moments of the rows of q that each of them has trained."""
        popularity = self.pair.guide.popularity
        if self._replicates or side_of(self.pair, "guide.popularity.", next(popularity.parameters())) is None:
            return
        rank = [self._owner.reshape(-1, 1).expand(parameter.shape) for parameter in popularity.parameters()]
        own = traced(rank).to(iterates.mean.device) == self._ranks.rank
        for part in (iterates.mean, iterates.squares):
            part.copy_(self._ranks.total(part * own))

    def judged(self, judge: Callable[[], float]) -> float:
        """Return what a judge finds on the first rank."""
        found = judge() if self._ranks.rank == 0 else 0.0
        return float(self._ranks.total(torch.tensor(found, dtype=torch.float64)))

    def saving(self, save: Save | None) -> Save | None:
        """Return what gathers the state of all ranks, and saves it on the first one; None where that saves nothing."""
        if not float(self._ranks.total(torch.tensor(float(save is not None and self._ranks.rank == 0)))):
            return None

        def save_gathered(snapshot: Snapshot) -> None:
            progress, tensors = snapshot
            whole = {name: self._whole(name, tensor) for name, tensor in tensors.items()}
            if save is not None and self._ranks.rank == 0:
                save((progress, whole))

        return save_gathered

    def _whole(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the optimizer's state with the rows of all ranks; others are whole already.

        Tables of users are the same on all ranks, so that one with as many rows as there are items loses nothing.
        """
        if self._replicates or not name.startswith("optimizer.") or not tensor.dim() or len(tensor) not in self._owned:
            return tensor
        whole = tensor.clone()
        self._ranks.share_rows(whole, self._owned[len(tensor)])
        return whole

    def resumed(self, snapshot: Snapshot | None) -> Snapshot | None:
        """Return the snapshot of the first rank."""
        own = None if snapshot is None else asdict(snapshot[0])
        progress, tensors = self._ranks.from_leader(own, {} if snapshot is None else snapshot[1])
        return None if progress is None else (TrainingState(**progress), tensors)


def processes_of(pair: Pair) -> Processes:
    """Return the processes that train a pair: those that torchrun has started, or this one.

    Args:
        pair: the same in all of them.

    Raises:
        ConfigError: the environment does not say how processes meet, or they have different studies or data.
        IncompatibleError: the pair cannot be shared among processes.
        LostRankError: another process does not answer.
    """
    launch = Launch.here()
    return Processes(pair) if launch.processes == 1 else SeveralProcesses(pair, Ranks.joined(launch))
