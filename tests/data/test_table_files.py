import gzip
import io

import pandas as pd
import pytest

from pyro_popbias import read_interactions, read_movielens
from pyro_popbias.data.table_files import read_table, to_csv, write_table
from pyro_popbias.errors import ConfigError, DataError, RunFolderError

GOOD = b"user,item,label\n007,NA,1\n7,null,0\n1e5,nan,1\n100000,None,0\n"
IDS = ["007", "7", "1e5", "100000"], ["NA", "null", "nan", "None"]


def written(folder, content, name="log.csv"):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("log.csv", GOOD, id="30-32"),
        pytest.param("log.csv", b"\xef\xbb\xbf" + GOOD, id="9 byte order mark"),
        pytest.param("log.csv", GOOD.replace(b"\n", b"\r\n"), id="21 newlines of Windows"),
        pytest.param("log.csv.gz", gzip.compress(GOOD), id="gzip"),
        pytest.param("LOG.CSV", GOOD, id="ending in capitals"),
    ],
)
def test_ids_are_text(tmp_path, name, content):
    events = read_interactions(written(tmp_path, content, name), label="label")
    assert (events.users.tolist(), events.items.tolist()) == IDS
    assert events.label.tolist() == [1, 0, 1, 0]


def test_quoted_commas_newlines_and_inches(tmp_path):
    path = written(tmp_path, b'user,item,title\n"a,1",x,"two\nlines"\nb,12" vinyl,one\n')
    events = read_interactions(path)
    assert (events.users.tolist(), events.items.tolist()) == (["a,1", "b"], ["x", '12" vinyl'])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("log.csv", b"", "PB-D003: .*log.csv is empty", id="3"),
        pytest.param("log.csv", b"user,item\n", r"PB-D002: .*0 rows .*log\.csv", id="4"),
        pytest.param("log.csv", b"users,item\na,x\n", r"PB-D005: .*did you mean 'users'\?", id="5"),
        pytest.param("log.csv", b"User ,item\na,x\n", r"PB-D005: .*did you mean 'User '\?", id="6"),
        pytest.param("log.csv", b"user,item,item\na,x,y\n", "PB-D007: .*item", id="7"),
        pytest.param("log.csv", b"user;item\na;x\n", "PB-D008: .*one column 'user;item'; is its delimiter ';'", id="8"),
        pytest.param(
            "log.csv",
            "user,item\nà,x\n".encode("utf-16"),
            r"PB-D010: .*log\.csv is UTF-16 text; convert it to UTF-8, .*iconv -f UTF-16",
            id="10",
        ),
        pytest.param("log.csv", "user,item\na,x\n".encode("utf-16-le"), "PB-D010: .*is UTF-16 text", id="10 no mark"),
        pytest.param("log.csv", "user,item\na,x\n".encode("utf-32"), "PB-D010: .*is UTF-32 text", id="10 UTF-32"),
        pytest.param("log.csv", b"user,item\na,x" + bytes(200) + b"\n", "PB-D452: .*control characters", id="10 zeros"),
        pytest.param(
            "log.csv",
            b"user,item\na,caf\xe9\n",
            r"PB-D011: .*log\.csv is not UTF-8 text, perhaps Latin-1 .*: byte 0xe9 at offset 15 \(line 2\); convert",
            id="11",
        ),
        pytest.param("log.csv", b"user\xff,item\na,x\n", r"PB-D011: .*offset 4 \(line 1\)", id="11 header"),
        pytest.param("log.csv.gz", gzip.compress(b"us\xe9r,item\n"), r"PB-D011: .*offset 2 ", id="11 gzip"),
        pytest.param("log.csv", gzip.compress(GOOD), r"PB-D315: .*gzip data; rename it to \.csv\.gz", id="12"),
        pytest.param("log.csv.gz", GOOD, r"PB-D013: .*rename it to \.csv", id="13"),
        pytest.param("log.csv.gz", gzip.compress(GOOD)[:-12], "PB-D014: .*ends inside its gzip data", id="14"),
        pytest.param("log.csv.gz", b"", "PB-D003: .*is empty", id="14 nothing"),
        pytest.param(
            "log.csv", b"user,item\na,x,1\nb,y,1\n", "PB-D017: .*2 rows .*header's 2, first row 2 with 3", id="16"
        ),
        pytest.param("log.csv", b"user,item\na,x\nb,y,1\n", "PB-D017: .*1 rows .*first row 3 with 3: 'b,y,1'", id="17"),
        pytest.param("log.csv", b"user,item,label\na,x,1\nb,y\n", "PB-D017: .*header's 3, first row 3 with 2", id="18"),
        pytest.param(
            "log.csv", b"user,item\na,x," + b"y" * 99 + b"\n", f"PB-D017: .*with 3: 'a,x,{'y' * 56}'; fix", id="17 long"
        ),
        pytest.param("log.csv", b'user,item\na,x\n"b,y\nc,z\n', "PB-D019: .*line 3: '\"b,y'", id="19"),
        pytest.param("log.parquet", b"PAR1 no", "PB-D025: .*not a readable Parquet", id="25"),
        pytest.param("log.csv", b"user,item\n,x\n", "PB-D0(29|39): column 'user'.*1 (missing|empty) ids", id="29"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = written(tmp_path, content, name)
    with pytest.raises(DataError, match=message) as caught:
        read_interactions(path)
    assert caught.value.exit_code == 3
    assert path.name in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("cut", range(1, len(gzip.compress(GOOD)), 7))
def test_truncated_gzip_at_any_length(tmp_path, cut):
    with pytest.raises(DataError, match=r"PB-D01[34]: .*log\.csv\.gz"):
        read_interactions(written(tmp_path, gzip.compress(GOOD)[:cut], "log.csv.gz"))


def test_missing_file_and_folder(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, reason in (
        ("none.csv", "No such file"),
        ("folder.csv", "Is a directory"),
        ("none.parquet", "none.parquet"),
    ):
        with pytest.raises(RunFolderError, match=f"PB-R022: cannot read .*{reason}") as caught:
            read_interactions(tmp_path / name)
        assert caught.value.exit_code == 5


def test_unknown_ending(tmp_path):
    with pytest.raises(ConfigError, match=r"PB-C008: .*use one of \.csv, \.csv\.gz, \.parquet"):
        read_table(tmp_path / "log.xlsx")


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.parquet"])
def test_round_trip(tmp_path, name):
    table = pd.DataFrame({"user": ["007", "NA"], "item": ["a,b", 'c"d'], "label": [0, 1], "time": [0.1, 2.5]})
    write_table(table, tmp_path / name)
    pd.testing.assert_frame_equal(read_table(tmp_path / name, text=("user", "item")), table)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_movielens(movielens):
    events = read_movielens(movielens)
    ratings = pd.read_csv(movielens / "ratings.csv", dtype={"userId": str, "movieId": str})
    assert (len(events), len(events.users), len(events.items)) == (
        len(ratings),
        ratings["userId"].nunique(),
        ratings["movieId"].nunique(),
    )
    assert events.label.tolist() == (ratings["rating"] >= 4).astype(int).tolist()
    assert events.catalogue.count.sum() == len(ratings)
    assert read_movielens(movielens / "ratings.csv", positive_if=">=5", periods=3).periods == 3


def test_csv_holds_no_formulas(hostile):
    frame = pd.DataFrame({"item": [*hostile, "-5", "+1.5e3", "a"], "number": -1.5})
    lines = pd.read_csv(io.BytesIO(to_csv(frame)), dtype=str, keep_default_na=False)
    assert not lines["item"].str.match(r"[=@\t\r\n\x00]|[+-](?!\d)").any()
    assert lines["item"].tolist()[-3:] == ["-5", "+1.5e3", "a"]
    assert (lines["number"] == "-1.5").all()
    changed = lines["item"].to_numpy() != frame["item"].to_numpy()
    assert all(text.startswith("'") for text in lines["item"][changed])


def test_a_carriage_return_does_not_begin_a_cell():
    content = to_csv(pd.DataFrame({"item": ["a\r=1+1", "b"], "score": [0.5, 1.0]}))
    table = pd.read_csv(io.BytesIO(content))
    assert table["item"].tolist() == ["a\r=1+1", "b"]
    assert table["score"].tolist() == [0.5, 1.0]
