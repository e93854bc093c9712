"""`popbias update`: a run goes on with a file of new rows."""

import pandas as pd
import pytest

import pyro_popbias as pb

pytestmark = pytest.mark.usefixtures("short_training")


@pytest.fixture
def run(folder, popbias):
    """Fit the first half of the rows; the rest is new.csv."""
    rows = pd.read_csv("rows.csv")
    rows.iloc[:250].to_csv("rows.csv", index=False)
    rows.iloc[250:].to_csv("new.csv", index=False)
    assert popbias("fit", "study.toml", "--out", "run", "--no-data")[0] == 0
    return folder


@pytest.mark.slow
def test_a_run_goes_on_without_its_rows(run, popbias):
    code, output, error = popbias("update", "run", "--data", "new.csv", "--out", "next")
    assert (code, error.count("error")) == (0, 0)
    assert "Interactions(150 rows" in output
    assert output.splitlines()[-1] == "run folder: next"
    updated = pb.load(run / "next")
    assert updated.study.data.path == str(run / "new.csv")
    assert updated.catalogue.count.sum() == 150
    assert updated.known is None  # the earlier rows were not saved
    assert popbias("popularity", "next")[0] == 0
    code, _, error = popbias("recommend", "next", "-k", "3", "-o", "lists.csv")
    assert (code, "PB-D106: a run that this one goes on from was saved without" in error) == (3, True)
    assert popbias("update", "next", "--data", "new.csv", "--out", "third", "--drift", "0.1")[0] == 0
    assert "a step of log popularity of 0.1 (sd)" in (run / "third" / "card.md").read_text()


def test_nothing_is_written_where_it_cannot_go_on(run, popbias):
    code, _, error = popbias("update", "run", "--data", "new.csv", "--out", "next", "--drift", "-1")
    assert code == 2
    assert "PB-C432: drift must be a number from 0 to 10, not -1.0" in error
    code, _, error = popbias("update", "run", "--data", "none.csv", "--out", "next")
    assert code == 5
    assert not (run / "next").exists()
    code, _, error = popbias("update", "run", "--data", "new.csv", "--out", "run")
    assert (code, "PB-R101" in error or "PB-R10" in error) == (5, True)
