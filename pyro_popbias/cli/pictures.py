"""The .png files that commands draw."""

from pathlib import Path
from typing import TYPE_CHECKING

from pyro_popbias.cli.outputs import refuse_missing_folder
from pyro_popbias.data.atomic_files import write_atomically
from pyro_popbias.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def require_png(path: Path | None) -> None:
    """Refuse a picture that could not be written once the work is done.

    Args:
        path: its file; None where there is none.

    Raises:
        ConfigError: it is not a .png file.
        RunFolderError: its folder is not there.
    """
    if path is not None and path.suffix != ".png":
        raise ConfigError(f"PB-C451: the plot {path} is not a .png file; choose a name that ends in .png")
    refuse_missing_folder(path)


def write_picture(ax: "Axes", path: Path) -> None:
    """Write a picture, whole or not at all.

    Args:
        ax: what is drawn.
        path: its file.

    Raises:
        RunFolderError: it cannot be written.
    """
    from pyro_popbias.report.figure import as_png  # matplotlib takes a while to import

    write_atomically(path, as_png(ax))
