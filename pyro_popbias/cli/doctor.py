"""`popbias doctor`: versions, threads, device, and what is missing."""

import importlib.metadata
import platform

import torch

PARTS = ("pyro-popbias", "torch", "pyro-ppl", "pandas", "pyarrow", "scipy", "pydantic", "arviz", "xarray", "matplotlib")


def examine() -> dict[str, str]:
    """Return findings by name."""
    findings = {"python": platform.python_version()}
    for part in PARTS:
        try:
            findings[part] = importlib.metadata.version(part)
        except importlib.metadata.PackageNotFoundError:
            findings[part] = "missing"
    findings["threads"] = str(torch.get_num_threads())
    findings["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return findings
