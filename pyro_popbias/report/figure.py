"""What all plots share: colours, figures without a window, sanitised labels, and PNG output."""

import io
import unicodedata
import warnings

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, RED, GREY = "#3b6ea5", "#c4533a", "#8a8a8a"
LONGEST = 40  # characters of a label
DPI = 110


def new_axes(*, width: float = 5.5, height: float = 4.0) -> Axes:
    """Return the axes of a new figure that needs no window system; sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots()


def clean(label: str, longest: int = LONGEST) -> str:
    """Return a label as one short line: without control characters or direction marks, truncated if long."""
    label = label[: 2 * longest]
    # categories C: controls, marks of direction, surrogates; Z: spaces and ends of lines
    kind = [unicodedata.category(letter)[0] for letter in label]
    line = "".join(" " if k in "CZ" else letter for letter, k in zip(label, kind, strict=True)).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"


def as_png(ax: Axes) -> bytes:
    """Return the figure of some axes as PNG."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # noqa: S101  axes are drawn in one
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)  # a box is drawn
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
