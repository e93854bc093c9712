"""Packages that only an interface needs."""

from importlib import import_module
from typing import Any

from pyro_popbias.errors import ConfigError


def missing(package: str, extra: str, what: str) -> ConfigError:
    """Return the error for a package that is not installed.

    Args:
        package: its name at the package index.
        extra: the extra of this package that installs it.
        what: needs it.
    """
    return ConfigError(f"PB-C550: {what} needs {package}; pip install 'pyro-popbias[{extra}]'")


def imported(module: str, package: str, extra: str, what: str) -> Any:
    """Return a module of a package that only an interface needs.

    Args:
        module: its dotted name.
        package: the package's name at the package index.
        extra: the extra of this package that installs it.
        what: needs it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is installed, and lacks something of its own
        raise missing(package, extra, what) from None
