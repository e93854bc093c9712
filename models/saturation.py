"""The saturations under the name by which users know them: `pb.models.saturation`."""

from pyro_popbias.models.saturations.saturation import (
    ExponentialSaturation,
    HillSaturation,
    PowerSaturation,
    Saturation,
    TanhSaturation,
)

__all__ = ["ExponentialSaturation", "HillSaturation", "PowerSaturation", "Saturation", "TanhSaturation"]
