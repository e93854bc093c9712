"""Interactions drawn from a model with a known truth."""

from pyro_popbias.simulation.simulate import Simulation

__all__ = ["Simulation"]
