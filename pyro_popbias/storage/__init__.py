"""Run folders and checkpoints: whole or not there, and no code runs when one is opened."""

from pyro_popbias.storage.checkpoints import Checkpoints, identity, locked
from pyro_popbias.storage.run_folder import read_run, save, write_run

__all__ = ["Checkpoints", "identity", "locked", "read_run", "save", "write_run"]
