"""Saturations g: increasing maps of popularity into (0, 1), and their closed expectations."""

from pyro_popbias.models.saturations.exponential import ExponentialSaturation
from pyro_popbias.models.saturations.hill import HillSaturation
from pyro_popbias.models.saturations.power import PowerSaturation
from pyro_popbias.models.saturations.saturation import SATURATIONS, Saturation
from pyro_popbias.models.saturations.tanh import TanhSaturation

__all__ = ["SATURATIONS", "ExponentialSaturation", "HillSaturation", "PowerSaturation", "Saturation", "TanhSaturation"]
