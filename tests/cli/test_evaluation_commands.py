"""`popbias evaluate`, `compare --test` and `report --test`: rows that were trained on are refused or counted."""

import pandas as pd
import pytest

pytestmark = pytest.mark.usefixtures("short_training")


@pytest.fixture
def run(folder, popbias):
    """Fit one half of the pairs; the other is test.csv, and mixed.csv has five training rows too."""
    rows = pd.read_csv("rows.csv")
    pairs = rows.drop_duplicates(["user", "item"])
    held_out = pairs.sample(60, random_state=0)
    train = rows.merge(held_out[["user", "item"]], how="left", indicator=True).query("_merge == 'left_only'")
    train = train.drop(columns="_merge")
    train.to_csv("rows.csv", index=False)
    held_out.to_csv("test.csv", index=False)
    pd.concat([held_out, train.drop_duplicates(["user", "item"]).head(5)]).to_csv("mixed.csv", index=False)
    assert popbias("fit", "study.toml", "--out", "run")[0] == 0
    return folder


COMMANDS = {
    "evaluate": lambda test: ["evaluate", "run", test],
    "compare": lambda test: ["compare", "run", "--test", test],
    "report": lambda test: ["report", "run", "-o", "report.html", "--test", test],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_test_that_was_trained_on_is_refused(run, popbias, name):
    code, _, error = popbias(*COMMANDS[name]("rows.csv"))
    assert code == 3
    rows = len(pd.read_csv(run / "rows.csv"))
    assert error.splitlines()[-1].startswith(f"error: PB-D370: {rows} of the {rows} rows of the test were trained on")
    assert "Interactions.split" in error
    assert not (run / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "report"])
def test_rows_that_were_trained_on_are_counted(run, popbias, name):
    with pytest.warns(UserWarning, match="PB-D370: 5 of 65 rows were trained on, and left out"):
        code, output, _ = popbias(*COMMANDS[name]("mixed.csv"))
    assert code == 0
    shown = (run / "report.html").read_text() if name == "report" else output
    assert "5 of 65 rows were trained on, and left out, as users are not shown them again" in shown


def test_a_comparison_counts_them_in_its_notes(run, popbias):
    code, output, _ = popbias("compare", "run", "--test", "mixed.csv", "-o", "table.csv")
    assert code == 0
    (note,) = pd.read_csv("table.csv")["note"]
    assert "5 of 65 rows of the test were trained on, and count in log_score" in note
    assert f"run: {note}" in output


@pytest.mark.slow
def test_a_report_of_a_test(run, popbias):
    code, output, _ = popbias("report", "run", "-o", "report.html", "--test", "test.csv", "--candidates", "test")
    assert (code, output) == (0, "wrote report.html\n")
    html = (run / "report.html").read_text()
    assert "<h2>Evaluation</h2>" in html
    assert "the user&#39;s rows of the test" in html
    assert popbias("report", "run", "-o", "plain.html")[0] == 0
    assert "<h2>Evaluation</h2>" not in (run / "plain.html").read_text()


def test_a_run_without_its_rows_cannot_be_evaluated(run, popbias):
    assert popbias("fit", "study.toml", "--out", "bare", "--no-data")[0] == 0
    for arguments in (["evaluate", "bare", "test.csv"], ["report", "bare", "-o", "r.html", "--test", "test.csv"]):
        code, _, error = popbias(*arguments)
        assert code == 3
        assert "error: PB-D106: the run was saved without its interactions (--no-data)" in error
    code, output, _ = popbias("compare", "bare", "--test", "test.csv")
    assert code == 0
    assert "PB-D106" in output


def test_a_report_does_not_overwrite_its_test(run, popbias):
    code, _, error = popbias("report", "run", "-o", "test.csv", "--test", "test.csv")
    assert code == 2
    assert "test.csv" in error
