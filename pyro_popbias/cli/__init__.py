"""The command line `popbias`."""

from pyro_popbias.cli.app import main

__all__ = ["main"]
