"""`popbias init --from`: the columns and the kind of data of a table, and a study that fits it."""

import json
import re
import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.cli.fit_and_compare import declared, read_data
from pyro_popbias.cli.propose import EQUAL, POSITIVES, UNEQUAL, propose, rule_of
from pyro_popbias.cli.propose_periods import propose_periods
from pyro_popbias.data.column_roles import Columns
from pyro_popbias.data.table_files import write_table
from pyro_popbias.errors import DataError

pytestmark = pytest.mark.usefixtures("short_training")
ROWS, USERS, ITEMS = 600, 30, 20
QUICK = ["training.epochs=2", "training.phase_two=1", "model.affinity.dim=2", "training.batch_size=300"]


def table(*, unequal=True, label=(0, 1), names=("user_id", "item_id", "click")):
    """Return rows of items that are logged unequally or equally often, with random labels."""
    rng = np.random.default_rng(1)
    share = np.arange(1.0, ITEMS + 1) ** 2 if unequal else np.ones(ITEMS)
    item = rng.choice(ITEMS, ROWS, p=share / share.sum()) if unequal else rng.permutation(np.arange(ROWS) % ITEMS)
    columns = {names[0]: rng.integers(0, USERS, ROWS), names[1]: item, "timestamp": np.arange(ROWS)}
    return pd.DataFrame(columns if label is None else columns | {names[2]: rng.choice(label, ROWS)})


RATINGS = {"names": ("userId", "movieId", "rating")}
CASES = {
    "five stars": (table(label=np.arange(1, 11) / 2, **RATINGS), UNEQUAL, ">=4"),
    "ten points": (table(label=np.arange(1, 11), **RATINGS), UNEQUAL, ">=7"),
    "rated at random": (table(unequal=False, label=[1, 2, 3, 4, 5], **RATINGS), EQUAL, ">=4"),
    "labels": (table(), UNEQUAL, None),
    "true and false": (table(label=[True, False]), UNEQUAL, None),
    "minus one and one": (table(label=[-1, 1]), UNEQUAL, ">=1"),
    "shown at random": (table(unequal=False), EQUAL, None),
    "one label": (table(label=[1]), POSITIVES, None),
    "no label": (table(label=None), POSITIVES, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_study_of_a_table_fits_it(popbias, tmp_path, monkeypatch, case):
    frame, kind, rule = CASES[case]
    monkeypatch.chdir(tmp_path)
    frame.to_csv("rows.csv", index=False)
    code, output, error = popbias("init", "--from", "rows.csv")
    assert (code, error) == (0, "")
    study = declared(tmp_path / "study.toml", overrides=QUICK)
    assert (study.data.user, study.data.item, study.data.time) == (*frame.columns[:2], "timestamp")
    assert study.data.label == (None if kind is POSITIVES else frame.columns[-1])
    assert study.data.positive_if == rule
    exposure = study.model.exposure if isinstance(study.model.exposure, str) else study.model.exposure.name
    assert exposure == kind.exposure
    assert study.model.affinity.item_quality == kind.quality
    for part in (f"rows.csv: {ROWS} rows, {USERS} users", f"kind of data: {kind.name}", kind.why, "wrote study.toml"):
        assert part in output
    if kind is EQUAL:
        with pytest.warns(pb.DataWarning, match="PB-C402: nothing tells the popularity"):
            fitted = pb.fit(read_data(study), study=study)
    else:
        fitted = pb.fit(read_data(study), study=study)
    assert np.isfinite(fitted.popularity()["mean"]).all()


def test_every_other_key_has_its_default(popbias, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().to_csv("rows.csv", index=False)
    assert popbias("init", "--from", "rows.csv")[0] == 0
    study = pb.Study.from_toml("study.toml")
    assert (study.guide, study.training) == (pb.Study().guide, pb.Study().training)
    affinity = study.model.affinity.model_copy(update={"item_quality": False})
    assert study.model.name == "inverse-logistic"
    assert study.replace("model", name="product", exposure="auto", affinity=affinity).model == pb.Study().model


def test_columns_can_be_named(popbias, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = table(names=('who "it" was', "what\\ever", "liked?\n")).rename(columns={"timestamp": "tick"})
    frame.to_parquet("rows.parquet")
    who, what, liked = (frame.columns[0], frame.columns[1], frame.columns[3])
    named = ["--user", who, "--item", what, "--label", liked, "--time", "tick"]
    assert popbias("init", "--from", "rows.parquet", *named)[0] == 0
    data = pb.Study.from_toml("study.toml").data
    assert (data.user, data.item, data.label, data.time) == (who, what, liked, "tick")


def test_the_path_is_relative_to_the_study(popbias, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "studies").mkdir()
    table().to_csv(tmp_path / "data" / "rows.csv", index=False)
    monkeypatch.chdir(tmp_path / "data")
    assert popbias("init", "--from", "rows.csv", "-o", "../studies/new.toml")[0] == 0
    written = tomllib.loads((tmp_path / "studies" / "new.toml").read_text())
    assert written["data"]["path"] == "../data/rows.csv"
    assert len(read_data(declared(tmp_path / "studies" / "new.toml"))) == ROWS


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["userId", "movieId", "rating", "timestamp"], ("userId", "movieId", "rating", None)),
        (["User ID", "Product-ID", "is_click"], ("User ID", "Product-ID", "is_click", None)),
        (["session_id", "user", "item", "item_id"], ("user", "item", None, None)),
        (["reviewerID", "asin", "overall", "unixReviewTime"], ("reviewerID", "asin", "overall", "unixReviewTime")),
    ],
)
def test_guesses_by_name(columns, expected):
    frame = pd.DataFrame({name: [1] if name == "unixReviewTime" else ["x"] for name in columns})
    found = Columns.of(frame, {}, "rows.csv")  # the timestamp of the first is text, and no time
    assert (found.user, found.item, found.label, found.time) == expected
    assert set(found.others) == set(columns) - set(expected)


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (
            table(names=("who", "item", "y")).assign(who=0.5),
            [],
            r"PB-D395: no column of users .* --user COLUMN\. Columns: 'who', 'item'",
        ),
        (table(names=("user", "what", "y")).assign(what=0.5), [], r"PB-D395: no column of items .* --item COLUMN"),
        (table(), ["--user", "user_ids"], r"PB-D005: no column 'user_ids'; did you mean 'user_id'"),
        (table(), ["--user", "item_id", "--item", "item_id"], "PB-D043: user and item are the same column"),
        (table(label=[0]), [], "PB-D396: column 'click' has no label but 0"),
        (table(label=["yes", "no"]), [], r"PB-D056: column 'click' .* \(in rows.csv\)"),
        (table().iloc[:0], [], "PB-D002: the data have 0 rows"),
    ],
)
def test_tables_that_are_refused(popbias, tmp_path, monkeypatch, frame, arguments, message):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("rows.csv", index=False)
    code, _, error = popbias("init", "--from", "rows.csv", *arguments)
    assert code == 3
    assert re.match(f"error: {message}", error), error
    assert not (tmp_path / "study.toml").exists()


def test_columns_need_a_table(popbias, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = popbias("init", "--user", "u", "--label", "y")
    assert (code, error) == (
        2,
        "error: PB-C395: --user, --label names a column of a table; give the table as --from FILE\n",
    )


def test_a_rule_makes_both_classes():
    rng = np.random.default_rng(0)
    for scale in ([1, 2], [0, 1, 2], [4, 5], [5, 3], [-2.5, 0.0, 3.25], rng.normal(size=300), [1, 1e9], [1e-9, 1]):
        numbers = rng.choice(scale, 400)
        positive = pb.data.labels.holds(rule_of(numbers), numbers)
        assert 0 < positive.mean() < 1


def test_movielens_is_ratings(movielens):
    found = propose(movielens / "ratings.csv", {})
    assert (found.kind, found.rule, found.periods.number) == (UNEQUAL, ">=4", 1)
    assert found.columns == Columns("userId", "movieId", "rating", "timestamp")


@pytest.mark.parametrize(("part", "kind"), [(0, UNEQUAL), (1, EQUAL)])
def test_coats_are_chosen_or_drawn(shared_data, tmp_path, part, kind):
    rating = np.loadtxt(shared_data / "coat" / ("train.ascii", "test.ascii")[part])
    user, coat = np.nonzero(rating)
    path = tmp_path / "coat.csv"
    pd.DataFrame({"user": user, "item": coat, "rating": rating[user, coat]}).to_csv(path, index=False)
    found = propose(path, {})
    assert (found.kind, found.rule) == (kind, ">=4")


def test_missing_ratings_name_the_file(tmp_path):
    path = tmp_path / "rows.csv"
    table(**RATINGS).assign(rating=[None] + [3.0] * (ROWS - 1)).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"PB-D053: column 'rating' has 1 missing labels .*rows.csv"):
        propose(path, {})


def test_positives_are_ranked_by_long_point_vectors(popbias, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table().drop(columns="rating", errors="ignore").iloc[:, :2].to_csv("rows.csv", index=False)
    assert popbias("init", "--from", "rows.csv")[0] == 0
    study = pb.Study.from_toml("study.toml")
    assert (study.model.name, study.model.exposure, study.data.negatives) == ("inverse-logistic", "none", 4)
    affinity = study.model.affinity
    assert (affinity.posterior, affinity.dim, affinity.user_bias) == ("point", 128, False)
    assert study.training.schedule == "linear"


ODD = ("Kunde Nr.", 'Artikel="Nr"', "gefällt")


@pytest.mark.parametrize("ending", [".csv.gz", ".parquet"])
def test_odd_names_are_found_by_content(popbias, tmp_path, monkeypatch, ending):
    """Of ids, ratings and times that no name gives away; and the study fits the table as it is."""
    monkeypatch.chdir(tmp_path)
    frame = table(unequal=False, label=[1, 2, 3, 4, 5], names=ODD)
    frame = frame.assign(timestamp=1.5e9 + 1e5 * np.arange(ROWS), price=np.linspace(1, 2, ROWS), row=np.arange(ROWS))
    write_table(frame.rename(columns={"timestamp": "wann"})[["row", "price", *ODD, "wann"]], f"odd{ending}")
    code, output, error = popbias("init", "--from", f"odd{ending}")
    assert (code, error) == (0, "")
    assert (
        "guessed from their contents, because their names do not say: 'Kunde Nr.' for users, 'Artikel=\"Nr\"' for items"
        in output
    )
    data = pb.Study.from_toml("study.toml").data
    assert (data.user, data.item, data.label, data.time, data.positive_if) == (*ODD, "wann", ">=4")
    assert "# user: found by its content." in (tmp_path / "study.toml").read_text()
    study = declared(tmp_path / "study.toml", overrides=QUICK)
    assert len(pb.fit(read_data(study), study=study, progress=False).popularity()) == ITEMS


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            ["viewingUser", "shown_items", "n_clicks", "clickTime"],
            ("viewingUser", "shown_items", "n_clicks", "clickTime"),
        ),
        (["customer_number", "movie title", "rating_time"], ("customer_number", "movie title", None, "rating_time")),
        (["a", "b", "c"], ("a", "b", None, None)),
    ],
)
def test_guesses_by_words_and_content(columns, expected):
    values = [["x", "y", "z"] * 4, ["p", "q", "r", "s"] * 3, [0, 1] * 6]
    last = [1_500_000_000 + day for day in range(12)]
    frame = pd.DataFrame(dict(zip(columns, [*values[: len(columns) - 1], last], strict=True)))
    found = Columns.of(frame, {}, "rows.csv")
    if expected[0] == "a":  # a column of dates is there, and may be the times
        expected = ("a", "b", None, "c")
    assert (found.user, found.item, found.label, found.time) == expected


def test_periods_follow_rows_per_item():
    days = np.linspace(0, 600, 6_000) * 86_400 + 1.5e9
    found = propose_periods(days, items=30)
    assert (found.number, found.by) == (10, "time")
    assert found.why == "10 slices of 60 days each, with 20 rows of an item in each on average."
    assert propose_periods(days, items=1).number == 12
    assert propose_periods(days, items=160).number == 1
    assert propose_periods(None, items=1).number == 1
    assert "An item has 38 rows" in propose_periods(days, items=160).why
    assert propose_periods(np.zeros(6_000), items=30).why == "There is 1 distinct time, too few for periods."
    assert propose_periods(np.arange(6_000) % 3.0, items=30).why == "There are 3 distinct times, too few for periods."
    late = np.append(days[:10] - 1e8, days[10:])  # most slices of time would be empty
    assert propose_periods(late, items=30).by == "count"


def test_a_log_with_times_has_a_random_walk(popbias, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.concat([table()] * 2, ignore_index=True).assign(timestamp=np.arange(2 * ROWS))
    frame.to_csv("rows.csv", index=False)
    code, output, _ = popbias("init", "--from", "rows.csv", "--json")
    proposal = json.loads(output)["proposal"]
    assert (code, proposal["periods"], proposal["period_by"]) == (0, 3, "time")
    study = declared(tmp_path / "study.toml", overrides=QUICK)
    assert (study.data.periods, study.model.prior.drift, study.guide.name) == (3, "random-walk", "markov")
    fitted = pb.fit(read_data(study), study=study, progress=False)
    assert fitted.popularity()["period"].nunique() == 3


def test_overwrite_replaces_a_study(popbias, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text("mine")
    assert popbias("init")[0] == 5
    assert (tmp_path / "study.toml").read_text() == "mine"
    assert popbias("init", "--overwrite")[0] == 0
    assert pb.Study.from_toml("study.toml").training == pb.Study().training
    (tmp_path / "folder").mkdir()
    assert popbias("init", "--overwrite", "-o", "folder")[0] == 5


def test_the_table_itself_is_never_replaced(popbias, folder):
    before = (folder / "rows.csv").read_bytes()
    code, _, error = popbias("init", "--from", "rows.csv", "-o", "rows.csv", "--overwrite")
    assert (code, error.split(":")[1].strip()) == (2, "PB-C330")
    shutil.copy("rows.csv", "other.csv")
    code, _, error = popbias("init", "--from", "rows.csv", "-o", "other.csv", "--overwrite")
    assert (code, error) == (5, "error: PB-R101: other.csv exists; choose another name\n")
    assert (folder / "rows.csv").read_bytes() == (folder / "other.csv").read_bytes() == before


def test_other_separators_are_named(popbias, folder):
    (folder / "semicolons.csv").write_text((folder / "rows.csv").read_text().replace(",", ";"))
    code, _, error = popbias("init", "--from", "semicolons.csv", "-o", "new.toml")
    assert code == 3
    remedy = "write the file with commas, or read it with pandas.read_csv(path, sep=';')"
    assert f"fields are separated by ';': {remedy}" in error
    assert not (folder / "new.toml").exists()


def test_a_first_row_of_data_is_not_taken_for_names(popbias, tmp_path):
    file = tmp_path / "rows.csv"
    table(label=np.arange(1, 11) / 2).to_csv(file, index=False, header=False)
    first = file.read_text().split("\n")[0].split(",")
    code, _, error = popbias("init", "--from", file, "-o", tmp_path / "study.toml")
    assert code == 3
    assert (
        f"PB-D397: the first row of {file} looks like data, not names of columns: {', '.join(map(repr, first))}"
        in error
    )
    assert not (tmp_path / "study.toml").exists()
    # the numbers that pandas gives columns without names are names
    table(label=np.arange(1, 11) / 2).set_axis(["0", "1", "2", "3"], axis=1).to_csv(file, index=False)
    assert popbias("init", "--from", file, "-o", tmp_path / "study.toml")[0] == 0
