"""Plots as images that a page holds itself."""

import base64
from dataclasses import dataclass

from matplotlib.axes import Axes

from pyro_popbias.report.figure import as_png


@dataclass(frozen=True)
class Picture:
    """An embedded image: its data URL and its alternative text."""

    source: str
    words: str

    @classmethod
    def of(cls, ax: Axes, words: str | None = None) -> "Picture":
        """Return the image of some axes.

        Args:
            ax: the axes.
            words: the alternative text; their title if left out.
        """
        source = f"data:image/png;base64,{base64.b64encode(as_png(ax)).decode()}"
        return cls(source, ax.get_title() if words is None else words)
