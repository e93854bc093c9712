import sys
import warnings

import pytest

from pyro_popbias.cli import app as cli

STUDY = """\
[data]
path = "rows.csv"
user = "user"
item = "item"
label = "label"
[model]
affinity = { name = "embedding", dim = 4 }
[training]
epochs = 3
batch_size = 150
device = "cpu"
"""


@pytest.fixture
def folder(tmp_path, frame, monkeypatch):
    (tmp_path / "study.toml").write_text(STUDY)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame[["user", "item"]].head(30).to_csv(tmp_path / "pairs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def popbias(monkeypatch, capsys):
    """Return a function that runs a command in this process and gives exit code, output and error output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["popbias", *map(str, arguments)])
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # main replaces it
        with pytest.raises(SystemExit, match=r"^\d+$") as caught:
            cli.main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return call
