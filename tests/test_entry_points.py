"""Guides of other packages: they join by an entry point, and one that cannot is refused by its name."""

import re
import subprocess
import sys
from types import ModuleType

import pytest

from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import PopularityGuide
from pyro_popbias.registry import Registry

GROUP = "pyro_popbias.guides"
GUIDE = '''
from typing import final

import torch
from pyro.distributions import LogNormal
from torch.distributions import constraints

from pyro_popbias.guides import GUIDES, LogNormalGuide, RowGuide


@final
class ByMean(RowGuide):
    """q(z) = LogNormal with a logarithm of the mean and a logarithm of the variance of log z."""

    family, columns, support = LogNormal, ("log_mean", "log_variance"), constraints.positive

    @classmethod
    def start(cls, prior):
        loc, log_scale = LogNormalGuide.start(prior).unbind(-1)
        return torch.stack([loc + 0.5 * (2 * log_scale).exp(), 2 * log_scale], dim=-1)

    @classmethod
    def from_rows(cls, rows):
        log_mean, log_variance = rows.unbind(-1)
        return LogNormal(log_mean - 0.5 * log_variance.exp(), (0.5 * log_variance).exp())


not_a_guide = LogNormal
assert GUIDES.kind == "guide"
'''
USE = """
import numpy as np, pandas as pd, pyro_popbias as pb

assert list(pb.GUIDES)[-1] == "by-mean", list(pb.GUIDES)
rows = pb.variants().query("guide == 'by-mean'")
assert rows["allowed"].any() and (rows["kl"].isin(["analytic", "refused"])).all(), rows
assert len(rows) == len(pb.variants()) / len(pb.GUIDES)

random = np.random.default_rng(0)
frame = pd.DataFrame({name: random.integers(12, size=200).astype(str) for name in ("user", "item")})
events = pb.Interactions.from_frame(frame.assign(label=random.integers(2, size=200)), label="label")
study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 3, "batch_size": 100, "phase_two": 1})
fit = pb.fit(events, study=study, guide="by-mean", progress=False)
assert np.isfinite(fit.history.to_numpy(dtype=float)).all()
print(fit.study.guide.name, type(fit.guide.popularity).__name__, len(fit.popularity()))
"""


@pytest.fixture
def installed(tmp_path):
    """Return a function that writes a package whose entry points are the lines given, and returns its folder."""

    def write(*lines):
        (tmp_path / "their_guides.py").write_text(GUIDE)
        metadata = tmp_path / "their_guides-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-guides\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
        return tmp_path

    return write


@pytest.fixture
def fresh(installed, monkeypatch):
    """Return a function: entry points to a registry of guides that has not looked at them yet."""

    def make(*lines):
        monkeypatch.syspath_prepend(installed(*lines))
        monkeypatch.setitem(sys.modules, "their_guides", ModuleType("their_guides"))  # taken away again afterwards
        del sys.modules["their_guides"]
        return Registry("guide", GROUP, PopularityGuide)

    return make


@pytest.mark.slow
def test_a_guide_of_another_package_trains(installed):
    folder = installed("by-mean = their_guides:ByMean")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:PB-C402",
            "-c",
            f"import sys; sys.path.insert(0, {str(folder)!r})\n{USE}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["by-mean", "ByMean", "12"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "x = not_there:Guide",
            "PB-C074: {} cannot be loaded: ModuleNotFoundError: No module named 'not_there'; fix or",
        ),
        ("x = their_guides:Missing", "PB-C074: {} cannot be loaded: AttributeError: "),
        ("x = their_guides:not_a_guide", "PB-C075: {} is <class 'pyro.distributions"),
        ("x = their_guides", "PB-C075: {} is <module 'their_guides'"),
    ],
)
def test_what_is_no_guide_is_refused_by_name_every_time(fresh, line, message):
    registry, value = fresh(line), line.removeprefix("x = ")
    shown = message.format(f"entry point 'x' = {value!r} in {GROUP!r} of their-guides")
    for look in (len, list, lambda guides: guides["gamma"]):
        with pytest.raises(ConfigError, match=re.escape(shown)) as caught:
            look(registry)
        assert caught.value.exit_code == 2


def test_what_derives_from_another_class_is_told_the_right_one(fresh):
    with pytest.raises(ConfigError, match=r"PB-C075: .*; a guide is a class that derives from PopularityGuide$"):
        list(fresh("x = their_guides:not_a_guide"))


def test_two_classes_of_one_name_are_refused(fresh):
    registry = fresh("lognormal = their_guides:ByMean")
    registry.register("lognormal")(PopularityGuide)
    message = r"PB-C001: guide 'lognormal' is registered twice, by .*popularity_guide and their_guides"
    with pytest.raises(ConfigError, match=message):
        list(registry)


def test_one_class_may_be_named_twice(fresh):
    """By an entry point and by a decorator in the module that it loads."""
    registry = fresh("by-mean = their_guides:ByMean")
    assert registry.register("by-mean")(registry["by-mean"]) is registry["by-mean"]
    assert list(registry) == ["by-mean"]
