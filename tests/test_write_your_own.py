"""The classes of the page "Write your own", as a package of entry points: installed, fitted, checked, saved and loaded."""

import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "write-your-own.md"
LONGEST = 30  # lines of a class with its imports
INFO = "their_parts-1.0.dist-info"
PARTS = {
    "priors": ("inverse-gamma", "InverseGammaPrior"),
    "saturations": ("square-hill", "SquareHill"),
    "affinities": ("user-bias", "UserBias"),
    "models": ("unit-slope", "UnitSlope"),
    "guides": ("half-normal", "HalfNormalGuide"),
}
STUDY = """
[model]
saturation = { name = "square-hill", half = 2.0 }
affinity = { name = "user-bias" }
prior = { name = "inverse-gamma", shape = 4.0 }
[guide]
name = "half-normal"
[training]
epochs = 3
"""
FIT = """
import sys, numpy as np, pyro_popbias as pb
from pyro_popbias.training import second_phase

second_phase.AUTO = second_phase.PhaseTwo(steps=5, cycle=3, most_cycles=2)
study = pb.Study.from_toml("study.toml")
sizes = {"users": 30, "items": 12, "interactions": 600}
sim = pb.simulate(affinity="user-bias", prior=study.model.prior, saturation="square-hill", **sizes)
fit = pb.fit(sim.events, study=study, progress=False)
fit.check()
fit.save("run")
read = pb.load("run")
assert read.study == fit.study and read.study.model.prior.shape == 4.0
assert read.predict(sim.test[:9]).equals(fit.predict(sim.test[:9]))
table = pb.variants()
for column, name in (("model", "unit-slope"), ("prior", "inverse-gamma"), ("guide", "half-normal")):
    assert table[table[column] == name]["allowed"].any()
logged = pb.simulate("unit-slope", prior="normal", periods=2, **sizes)
own = pb.Study(model={"name": "unit-slope", "prior": {"name": "normal"}}, training={"epochs": 2})
print(np.isfinite(pb.fit(logged.events, study=own, guide="normal", progress=False).popularity()["mean"]).all())
"""


def cells():
    return re.findall(r"```\{code-cell\} python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_class_of_the_page_is_short():
    assert all(len(cell.splitlines()) < LONGEST for cell in cells())


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the interpreter of a fresh environment that sees this one's packages, with the page's classes installed."""
    folder = tmp_path_factory.mktemp("plug-in")
    # the page registers by decorators; here only entry points may do it
    classes = re.sub(r"^@[A-Z]+\.register\(.*\)\n", "", "\n".join(cells()[:6]), flags=re.MULTILINE)
    points = [f"[pyro_popbias.{group}]\n{name} = their_parts:{cls}\n" for group, (name, cls) in PARTS.items()]
    files = {
        "their_parts.py": classes,
        f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: their-parts\nVersion: 1.0\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/entry_points.txt": "".join(points),
    }
    wheel = folder / "their_parts-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{INFO}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{INFO}/RECORD")))
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return python


@pytest.mark.slow
def test_a_plug_in_is_fitted_checked_saved_and_loaded(python, tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)

    def run(interpreter, code):
        # their affinity has no quality, which a fit says of every study of labels
        command = [interpreter, "-W", "error", "-W", "ignore:PB-C402", "-c", code]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run(python, FIT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"]
    done = run(sys.executable, "import pyro_popbias as pb; pb.load('run')")  # where the plug-in is not installed
    assert "UnknownNameError: PB-C301: PB-C076: unknown " in done.stderr
    assert "install the package, or import the module, that registers it" in done.stderr
