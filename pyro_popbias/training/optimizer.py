"""Adam over dense and sparse gradients as one optimiser, which looks before it steps."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam, Optimizer, SparseAdam

from pyro_popbias.sparse_lookup import has_sparse_gradient


class RowAdam:
    """torch's Adam for small tables and scalars, torch's SparseAdam for large tables.

    Args:
        groups: parameters with their learning rate and their memory, the second of Adam's betas.
    """

    def __init__(self, groups: Iterable[tuple[Iterable[Parameter], float, float]]) -> None:
        self._parts: list[Optimizer] = []
        self._parameters: list[Parameter] = []
        dense: list[dict[str, Any]] = []
        sparse: list[dict[str, Any]] = []
        for parameters, rate, memory in groups:
            for parameter in parameters:
                self._parameters.append(parameter)
                (sparse if has_sparse_gradient(parameter) else dense).append(
                    {"params": [parameter], "lr": rate, "betas": (0.9, memory)}
                )
        if dense:
            self._parts.append(Adam(dense, fused=True))
        if sparse:
            self._parts.append(SparseAdam(sparse))

    def zero_grad(self) -> None:
        """Forget gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def is_finite(self) -> bool:
        """Return whether every gradient is finite."""
        sums = []
        for parameter in self._parameters:
            grad = parameter.grad
            if grad is None:
                continue
            if grad.is_sparse:
                parameter.grad = grad = grad.coalesce()
                grad = grad.values()
            sums.append(grad.sum().double())  # finite only if all terms are: one pass and no mask
        return bool(torch.isfinite(torch.stack(sums).sum())) if sums else True

    def step(self, factor: float = 1.0) -> None:
        """Update the parameters, at `factor` times the learning rate."""
        for part in self._parts:
            rates = [group["lr"] for group in part.param_groups]
            for group in part.param_groups:
                group["lr"] *= factor
            part.step()
            for group, rate in zip(part.param_groups, rates, strict=True):
                group["lr"] = rate

    def state(self) -> dict[str, Tensor]:
        """Return the state as tensors by name."""
        return {
            f"{number}.{index}.{name}": torch.as_tensor(value)
            for number, part in enumerate(self._parts)
            for index, state in part.state_dict()["state"].items()
            for name, value in state.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        for number, part in enumerate(self._parts):
            content = part.state_dict()
            for name, value in tensors.items():
                owner, index, field = name.split(".")
                if int(owner) == number:
                    whole = isinstance(part, SparseAdam) and field == "step"  # SparseAdam counts in plain integers
                    content["state"].setdefault(int(index), {})[field] = int(value) if whole else value.clone()
            part.load_state_dict(content)
