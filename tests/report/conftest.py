import matplotlib as mpl
import pytest
from matplotlib import pyplot

mpl.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    """Close what pyplot holds after each test; it warns of more than 20 figures."""
    yield
    pyplot.close("all")
