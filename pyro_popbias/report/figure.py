"""What all plots share: colours, where they are drawn, sanitised labels, and PNG output."""

import io
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pyro_popbias.errors import ConfigError

BLUE, RED, GREY = "#3b6ea5", "#c4533a", "#8a8a8a"
SERIES = (BLUE, RED, "#6a9a4f", "#8a63a6", "#c9963b", "#4a9c9c", "#b85c8e", "#7a6a53")  # of items side by side
LONGEST = 40  # characters of a label
DPI = 110
Target = Axes | Callable[..., Axes] | None  # where a picture is drawn, see `axes_for`


def new_axes(*, width: float = 5.5, height: float = 4.0) -> Axes:
    """Return the axes of a new figure that needs no window system; sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots()


def pyplot_axes(*, width: float, height: float) -> Axes:
    """Return the axes of a new figure of pyplot, which a notebook shows after its cell and `plt.show()` in a window."""
    from matplotlib import pyplot  # chooses a backend, which a report needs not

    return pyplot.figure(figsize=(width, height), layout="constrained").subplots()


def axes_for(ax: Target, *, width: float = 5.5, height: float = 4.0) -> Axes:
    """Return the axes that a picture is drawn into.

    Args:
        ax: axes; what makes new ones of a width and height; None for `new_axes`.
        width: of a new figure in inches.
        height: likewise.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(ax, Axes):
        return ax
    if ax is None or callable(ax):
        return (ax or new_axes)(width=width, height=height)
    raise ConfigError(
        f"PB-C520: ax must be axes of Matplotlib, not {type(ax).__name__}; plt.subplots() returns a figure and its axes, and an "
        "array of them where there are several: pass one, such as axes[0]"
    )


def clean(label: str, longest: int = LONGEST) -> str:
    """Return a label as one short line: without control characters or direction marks, truncated if long."""
    line = _line(label[: 2 * longest])
    return line if len(line) <= longest else line[: longest - 1] + "…"


def clean_labels(labels: Iterable[str], longest: int = LONGEST) -> list[str]:
    """Return what `clean` makes of several labels; of those whose beginnings are the same the middle is left out instead."""
    whole = [_line(label[: 50 * longest]) for label in labels]
    short = [clean(label, longest) for label in whole]
    distinct = Counter(label for label, _ in set(zip(short, whole, strict=True)))
    end = longest // 2
    return [
        f"{full[: longest - end - 1]}…{full[-end:]}" if distinct[label] > 1 and len(full) > longest else label
        for full, label in zip(whole, short, strict=True)
    ]


def _line(label: str) -> str:
    # categories C: controls, marks of direction, surrogates; Z: spaces and ends of lines
    kind = [unicodedata.category(letter)[0] for letter in label]
    return "".join(" " if k in "CZ" else letter for letter, k in zip(label, kind, strict=True)).strip()


def as_png(ax: Axes) -> bytes:
    """Return the figure of some axes as PNG."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # noqa: S101  axes are drawn in one
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)  # a box is drawn
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
