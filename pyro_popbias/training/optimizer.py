"""Adam over all parameters as one optimiser, which looks before it steps: row by row on large tables."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam

from pyro_popbias.sparse_lookup import Reader
from pyro_popbias.training.row_adam import FIRST_MEMORY, Fusion, RowTable, separately

LARGE = 2_000_000  # elements of a table; below it all rows at once are faster


class RowAdam:
    """torch's Adam for small tables and scalars, `RowTable` for large tables.

    Args:
        groups: parameters with their learning rate and their memory, the second of Adam's betas.
        fused: as of `RowTable`.

    Attributes:
        tables: the large tables.
    """

    def __init__(
        self,
        groups: Iterable[tuple[Iterable[Parameter], float, float]],
        *,
        fused: Fusion = separately,
    ) -> None:
        self.tables: list[RowTable] = []
        self._parameters: list[Parameter] = []
        dense: list[dict[str, Any]] = []
        for parameters, rate, memory in groups:
            for parameter in parameters:
                self._parameters.append(parameter)
                if parameter.dim() > 1 and parameter.numel() > LARGE and parameter.requires_grad:
                    self.tables.append(RowTable(parameter, rate, memory, fused=fused))
                else:
                    dense.append({"params": [parameter], "lr": rate, "betas": (FIRST_MEMORY, memory)})
        self._dense = Adam(dense, fused=True) if dense else None

    @property
    def readers(self) -> dict[int, Reader]:
        """What reads the rows of large tables, by the identity of the table."""
        return {id(table.parameter): table.read for table in self.tables}

    def zero_grad(self) -> None:
        """Forget gradients."""
        if self._dense is not None:
            self._dense.zero_grad(set_to_none=True)
        for table in self.tables:
            table.forget()

    def gradients(self, parameter: Parameter) -> list[Tensor]:
        """Return the gradients of a parameter: of the rows that were read, where it is a large table."""
        read = [rows.grad for table in self.tables if table.parameter is parameter for _, rows in table.reads]
        return [gradient for gradient in (parameter.grad, *read) if gradient is not None]

    def is_finite(self) -> bool:
        """Return whether every gradient is finite."""
        # a sum is finite only if all terms are: one pass and no mask
        sums = [each.sum().double() for parameter in self._parameters for each in self.gradients(parameter)]
        return bool(torch.isfinite(torch.stack(sums).sum())) if sums else True

    def step(self, factor: float = 1.0) -> None:
        """Update the parameters, at `factor` times the learning rate."""
        for table in self.tables:
            table.step(factor)
        if self._dense is None:
            return
        rates = [group["lr"] for group in self._dense.param_groups]
        for group in self._dense.param_groups:
            group["lr"] *= factor
        self._dense.step()
        for group, rate in zip(self._dense.param_groups, rates, strict=True):
            group["lr"] = rate

    def settle(self) -> None:
        """Let the rows of large tables catch up, before whole tables are read."""
        for table in self.tables:
            table.settle()

    def state(self) -> dict[str, Tensor]:
        """Return the state as tensors by name; large tables must be settled."""
        dense = {} if self._dense is None else self._dense.state_dict()["state"]
        states = [("dense", dense), ("rows", {k: table.state() for k, table in enumerate(self.tables)})]
        return {
            f"{kind}.{index}.{name}": torch.as_tensor(value)
            for kind, own in states
            for index, state in own.items()
            for name, value in state.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        found: dict[str, dict[int, dict[str, Tensor]]] = {"dense": {}, "rows": {}}
        for name, value in tensors.items():
            kind, index, field = name.split(".")
            found[kind].setdefault(int(index), {})[field] = value.clone()
        if self._dense is not None:
            content = self._dense.state_dict()
            content["state"] = found["dense"]
            self._dense.load_state_dict(content)
        for number, own in found["rows"].items():
            self.tables[number].load(own)
