import os
import re
import shutil

import pandas as pd
import pytest

from pyro_popbias.cli.outputs import cannot_write, emit, refuse_input_as_output
from pyro_popbias.errors import ConfigError

pytestmark = pytest.mark.usefixtures("short_training")


def test_other_files_are_free(tmp_path):
    (tmp_path / "a.csv").touch()
    refuse_input_as_output(None, tmp_path / "a.csv")
    refuse_input_as_output(tmp_path / "b.csv", tmp_path / "a.csv", None, tmp_path)


@pytest.mark.parametrize("spelling", ["x.csv", "./x.csv", "sub/../x.csv", "soft.csv", "hard.csv"])
def test_any_name_of_an_input_is_refused(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "x.csv").touch()
    (tmp_path / "soft.csv").symlink_to("x.csv")
    os.link("x.csv", "hard.csv")
    with pytest.raises(ConfigError, match=r"PB-C330: the output .* would overwrite x\.csv, which this command reads"):
        refuse_input_as_output(tmp_path / spelling, tmp_path.relative_to(tmp_path) / "x.csv")


def test_commands_refuse_to_overwrite_what_they_read(popbias, folder, folder_hash):
    assert popbias("fit", "study.toml", "--out", "run")[0] == 0
    (folder / "link.csv").symlink_to("pairs.csv")
    shutil.copy("pairs.csv", "titles.html")
    before = folder_hash(folder)
    for arguments in (
        ["predict", "run", "pairs.csv", "-o", "pairs.csv"],
        ["predict", "run", "pairs.csv", "-o", "link.csv"],
        ["predict", "run", "link.csv", "-o", "pairs.csv"],
        ["predict", "run", "pairs.csv", "-o", "run/popularity.csv"],
        ["popularity", "run", "-o", "run/items.parquet"],
        ["recommend", "run", "--users", "pairs.csv", "-o", "pairs.csv"],
        ["compare", "run", "--test", "rows.csv", "-o", "rows.csv"],
        ["compare", "study.toml", "--guides", "gamma", "-o", "rows.csv"],
        ["report", "run", "--titles", "titles.html", "-o", "titles.html"],
        ["simulate", "study.toml", "--events", "new.csv", "--truth", "new.csv"],
    ):
        code, out, error = popbias(*arguments)
        assert (code, out, error.count("\n")) == (2, "", 1), error
        assert error.startswith("error: PB-C330: the output "), error
        assert folder_hash(folder) == before, arguments
    for _ in range(2):  # a table of one's own in the run folder may be written again
        assert popbias("popularity", "run", "-o", "run/mine.csv")[0] == 0


def test_unseen_ids(popbias, folder):
    assert popbias("fit", "study.toml", "--out", "run")[0] == 0
    (folder / "strangers.csv").write_text("user,item\nnobody,i1\nu1,i1\n")
    code, _, error = popbias("predict", "run", "strangers.csv", "-o", "out.csv")
    assert code == 3
    assert "unseen='prior' (--unseen prior on the command line)" in error
    assert "unseen='drop' (--unseen drop)" in error
    for unseen, rows in (("prior", 2), ("drop", 1)):
        arguments = ["predict", "run", "strangers.csv", "--unseen", unseen, "-o", "out.csv"]
        assert popbias(*arguments) == (0, f"{rows} rows -> out.csv\n", "")
    assert popbias("predict", "run", "strangers.csv", "--unseen", "keep", "-o", "out.csv")[0] == 2


def test_a_printed_table_does_not_command_the_terminal(capsys):
    emit(pd.DataFrame({"item": ["\x1b[2Jgone", "\u202eabc", "plain"]}), None, as_json=False)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "plain" in printed


def test_an_error_of_the_system_is_said_in_words(tmp_path):
    full = cannot_write(OSError(28, "No space left on device", str(tmp_path / "trials.log")))
    assert re.match(r"PB-R159: cannot read or write .*trials.log: No space left on device \(.* MB free\)", str(full))
    assert str(cannot_write(OSError(28, "No space left on device"))).endswith("or a file: No space left on device")
    assert full.exit_code == 5
