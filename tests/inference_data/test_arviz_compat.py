"""Both lines of ArviZ through the one seam: 0.23 in this process, 1.x in a Python 3.12 or later where there is one."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import pyro_popbias as pb
from pyro_popbias.inference_data.convert import BY_ROW, GROUPS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("short_training")
# `make arviz-1` makes the first
CANDIDATES = [str(ROOT / ".venv" / "arviz-1" / "bin" / "python"), *(f"python3.{minor}" for minor in range(12, 16))]
CHECK = "import sys, arviz; sys.exit(sys.version_info < (3, 12) or int(arviz.__version__.partition('.')[0]) < 1)"

# what a user does with a container, in whichever ArviZ; groups come as JSON
SCRIPT = """
import json, sys, warnings
import matplotlib
import numpy as np
import xarray as xr
matplotlib.use("Agg")
warnings.simplefilter("error")
from pyro_popbias.inference_data.arviz_compat import is_tree, leave_one_out, load_arviz, to_container

assert not {"torch", "pyro"} & sys.modules.keys()
groups = {name: xr.Dataset.from_dict(group) for name, group in json.load(sys.stdin).items()}
az = load_arviz()
data = to_container(groups)
assert is_tree() == isinstance(data, xr.DataTree)
for name, group in groups.items():
    assert group.equals(data[name].to_dataset() if is_tree() else data[name])
    assert data[name].attrs == group.attrs
found = leave_one_out(data)
assert found.k_hat.shape == (groups["observed_data"].sizes["interaction"],)
result = {"version": az.__version__, "elpd": found.elpd, "se": found.se, "p": found.p}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what ArviZ does with the data is not ours
    summary = az.summary(data)
    one = az.summary(to_container({"posterior": groups["posterior"].isel(chain=[0])}))
    az.plot_forest(data, var_names=["popularity"], coords={"item": ["i9", "i2"]})
    (az.plot_ppc_dist if is_tree() else az.plot_ppc)(data)
    result["loo"] = float(getattr(az.loo(data), "elpd" if is_tree() else "elpd_loo"))
    result["compared"] = sorted(az.compare({"one": data, "same": data}).index)
result["summary"] = list(summary.index)
result["r_hat"] = [float(value) for value in summary["r_hat"]]
result["r_hat of one"] = [float(value) for value in one["r_hat"]]
print(json.dumps(result))
"""


@cache
def python_with_arviz_1():
    """Return a Python that has ArviZ 1, or None."""
    for candidate in CANDIDATES:
        if (path := shutil.which(candidate)) is None:
            continue
        if subprocess.run([path, "-c", CHECK], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.fixture(scope="module")
def groups(make_frame, short_training):
    frame = make_frame().assign(score=lambda rows: np.sin(np.arange(len(rows))))
    events = pb.Interactions.from_frame(frame, label="label")
    training = {"epochs": 3, "batch_size": 150, "device": "cpu"}
    study = pb.Study(model={"affinity": {"name": "fixed", "score": "score"}}, training=training)
    fit = pb.fit(events, study=study, restarts=2, progress=False)
    names = (*GROUPS, *BY_ROW)
    data = fit.to_arviz(draws=50, rows=range(60), groups=names)
    return {name: data[name].to_dict() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("line", [0, 1])
def test_a_user_of_each_line(groups, line, tmp_path):
    if not version("arviz").startswith("0."):
        pytest.skip("the groups are handed over as ArviZ 0 holds them; with ArviZ 1 here, the other tests use it")
    python = sys.executable if line == 0 else python_with_arviz_1()
    if python is None:
        pytest.skip("ArviZ 1 needs Python 3.12 or later, and none of those found has it; `make arviz-1` makes one")
    # ArviZ 0.23 warns on its first import of a day, of which it keeps a note in the cache folder
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python, "-c", SCRIPT],
        input=json.dumps(groups),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert int(found["version"].partition(".")[0]) == line
    items = groups["posterior"]["coords"]["item"]["data"]
    assert found["summary"][: len(items)] == [f"popularity[{item}]" for item in items]
    assert "intercept" in found["summary"]
    assert np.isfinite(found["r_hat"]).all()
    assert np.isnan(found["r_hat of one"]).all()
    assert found["compared"] == ["one", "same"]
    # reff differs: ArviZ would have it from the draws
    assert found["loo"] == pytest.approx(found["elpd"], abs=found["se"] / 10)
