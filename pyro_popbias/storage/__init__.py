"""Run folders and checkpoints: whole or not there, and no code runs when one is opened."""

from pyro_popbias.storage.checkpoints import Checkpoints
from pyro_popbias.storage.identity import identity
from pyro_popbias.storage.lock import locked
from pyro_popbias.storage.new_run import NewRun
from pyro_popbias.storage.reading import read_run
from pyro_popbias.storage.run_folder import save, write_run

__all__ = ["Checkpoints", "NewRun", "identity", "locked", "read_run", "save", "write_run"]
