"""The saturations under the name by which users know them: `pb.models.saturation`."""

from pyro_popbias.models.saturations.exponential import ExponentialSaturation
from pyro_popbias.models.saturations.hill import HillSaturation
from pyro_popbias.models.saturations.power import PowerSaturation
from pyro_popbias.models.saturations.saturation import Saturation
from pyro_popbias.models.saturations.tanh import TanhSaturation

__all__ = ["ExponentialSaturation", "HillSaturation", "PowerSaturation", "Saturation", "TanhSaturation"]
