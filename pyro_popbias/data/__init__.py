"""Interactions and all that is read, checked and cut into batches before any model sees it."""

from pyro_popbias.data.atomic_files import write_atomically
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.public_logs import read_adressa, read_coat, read_movielens
from pyro_popbias.data.readers import read_interactions
from pyro_popbias.data.table_files import read_table, write_table

__all__ = [
    "Catalogue",
    "Features",
    "Interactions",
    "read_adressa",
    "read_coat",
    "read_interactions",
    "read_movielens",
    "read_table",
    "write_atomically",
    "write_table",
]
