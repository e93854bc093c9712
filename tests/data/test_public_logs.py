"""Public data sets as their authors publish them, on small files of the same shape and on the real ones."""

import numpy as np
import pytest

import pyro_popbias as pb

RATINGS = [("1", "31", 2.5, 1260759144), ("1", "1029", 4.0, 1260759179), ("2", "31", 5.0, 835355493)]


@pytest.mark.parametrize(("name", "separator"), [("u.data", "\t"), ("ratings.dat", "::"), ("ratings.csv", ",")])
def test_movielens_of_all_sizes(name, separator, tmp_path):
    header = "userId,movieId,rating,timestamp\n" if name.endswith("csv") else ""
    (tmp_path / name).write_text(header + "".join(separator.join(map(str, row)) + "\n" for row in RATINGS))
    for path in (tmp_path, tmp_path / name):
        frame = pb.read_movielens(path).to_frame()
        assert frame[["user", "item", "label", "time"]].to_numpy().tolist() == [
            [user, item, int(rating >= 4), time] for user, item, rating, time in RATINGS
        ]


def test_lines_that_are_no_ratings_are_counted(tmp_path):
    (tmp_path / "u.data").write_text("1\t31\t3\t5\n1\t31\n2 31 4 5\n")
    with pytest.raises(pb.DataError, match=r"PB-D372: 2 lines of .*u\.data are not userId.*, first line 2"):
        pb.read_movielens(tmp_path)


def test_missing_files_are_named(tmp_path):
    for read in (pb.read_movielens, pb.read_coat, pb.read_adressa):
        with pytest.raises(pb.RunFolderError, match=f"PB-R022: cannot read {tmp_path}"):
            read(tmp_path)


def test_adressa_lines(tmp_path):
    (tmp_path / "train.txt").write_text("0 5 7\n3 5\n")
    (tmp_path / "test.txt").write_text("3 7\n")
    train, test = pb.read_adressa(tmp_path)
    assert train.to_frame().to_numpy().tolist() == [["0", "5"], ["0", "7"], ["3", "5"]]
    assert test.to_frame().to_numpy().tolist() == [["3", "7"]]
    (tmp_path / "test.txt").write_text("3 7\n3 x\n")
    with pytest.raises(pb.DataError, match=r"PB-D372: 1 lines of .* are not user and items, first line 2"):
        pb.read_adressa(tmp_path)


def test_adressa(shared_data):
    train, test = pb.read_adressa(shared_data / "adressa-macr")
    assert (len(train), len(train.users), len(train.items), len(test), len(test.users)) == (
        113_345,
        13_484,
        744,
        2_976,
        2_090,
    )
    assert train.label is None
    assert set(np.bincount(test.item)) == {4}


def test_coat(shared_data):
    train, test = pb.read_coat(shared_data / "coat")
    assert (len(train), len(test), len(train.users), len(train.items)) == (6_960, 4_640, 290, 300)
    ratings = np.loadtxt(shared_data / "coat" / "train.ascii")
    frame = train.to_frame()
    np.testing.assert_array_equal(frame["label"], ratings[frame["user"].astype(int), frame["item"].astype(int)] >= 4)
    given = np.loadtxt(shared_data / "coat" / "user_item_features" / "item_features.ascii")
    assert "color:black" in train.item_features.names
    codes = train.items.astype(int)
    np.testing.assert_array_equal(train.item_features.value[:, : given.shape[1]], given[codes])


def test_coat_features_without_a_name_are_refused(shared_data, tmp_path):
    source = shared_data / "coat"
    folder = tmp_path / "user_item_features"
    folder.mkdir()
    for name in ("train.ascii", "test.ascii"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    for file in (source / "user_item_features").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "user_features_map.txt").write_text("only one\n")
    with pytest.raises(pb.DataError, match=r"PB-D372: .* has 14 user features and 1 names of them"):
        pb.read_coat(tmp_path)
    (tmp_path / "train.ascii").write_text("1 2\n3 x\n")
    with pytest.raises(pb.DataError, match="PB-D372"):
        pb.read_coat(tmp_path)
