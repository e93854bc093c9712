"""What a prompt and a notebook show: ten lines at most, and HTML in which nothing is active."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.data.overview import MOST_LINES, WIDTH, Folded, Overview, Point, cells_of

TAGS = {"div", "style", "dl", "dt", "dd", "bdi", "code", "details", "summary", "table", "thead", "tbody", "tr", "th"}
TAGS |= {"td", "ul", "li", "pre"}


class Reader(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    return reader


def full(texts):
    """Return an overview with texts in every place."""
    table = pd.DataFrame({text: [text, 1.23456] for text in texts[:3]})
    return Overview(
        texts[0],
        rows=[Point(text, name=text[:10]) for text in texts],
        table=Folded.of_table(texts[1], table),
        points=[Point(text, "bad") for text in texts],
        next_steps=texts[:2],
        folded=[
            Folded.of_table(texts[2], table),
            Folded(texts[3], text=texts[4]),
            Folded("points", points=[Point(text) for text in texts]),
        ],
    )


@pytest.mark.parametrize("number", [1, 3, 9, 40])
def test_text_has_ten_lines_at_most(number):
    long = "word " * 100
    for rows, points in ((number, 0), (0, number), (number, number)):
        made = Overview(
            "Title",
            rows=[Point(f"{n} {long}", name=f"row {n}") for n in range(rows)],
            points=[Point(f"{n} {long}") for n in range(points)],
            next_steps=("this()",),
        )
        lines = made.text().splitlines()
        assert len(lines) <= MOST_LINES
        assert max(map(len, lines)) <= WIDTH
        assert lines[0] == "Title"
        assert lines[-1].split() == ["next", "this()"]


def test_what_does_not_fit_is_counted():
    made = Overview("Title", points=[Point(f"point {n}") for n in range(30)])
    assert made.text().splitlines()[1:] == [*(f"  - point {n}" for n in range(8)), "  and 22 more"]
    table = Folded.of_table("", pd.DataFrame({"n": range(7)}))
    assert Overview("Title", table=table).text().splitlines()[-2:] == ["4", "  and 2 more"]


def test_text_does_not_order_a_terminal_about():
    made = full(["\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "a\nb", "c\x00d", "e"])
    assert all(letter.isprintable() or letter == "\n" for letter in made.text())


def test_html_keeps_every_text_and_makes_none_of_them_active(hostile):
    for start in range(0, 40, 5):
        texts = hostile[start : start + 5]
        html = full(texts).html()
        found = read(html)
        assert found.tags <= TAGS
        assert found.attributes <= {"class"}
        assert html.count("<style>") == 1
        shown = "".join(found.text)
        assert all(text.replace("\x00", "") in shown.replace("\x00", "") for text in texts)


def test_cells_have_three_digits():
    table = pd.DataFrame({"name": ["a"], "number": [1234], "share": [0.123456], "missing": [np.nan], "yes": [True]})
    assert cells_of(table) == [["a", "1,234", "0.123", "", "yes"]]


def test_interactions_in_a_notebook(frame, hostile):
    named = frame.assign(user=[f"{hostile[code % 9]}" for code in frame["user"].str[1:].astype(int)])
    named["user"] = named["user"].str.replace(r"[\x00-\x1f]", "", regex=True)
    named["time"] = 1.4e9 + named["time"] * 1e5
    features = pd.DataFrame({f"f{n}": 1.0 for n in range(7)}, index=frame["item"].unique())
    events = pb.Interactions.from_frame(named, label="label", time="time", periods=2, item_features=features)
    found = read(events._repr_html_())
    text = " ".join(" ".join(found.text).split())
    assert found.tags <= TAGS
    assert "rows 400, " in text
    assert f"{frame['label'].mean():.1%} positive" in text
    assert "2014-05-13 " in text  # 1.4e9 seconds
    assert "2 of equal length" in text
    assert "7: f0, f1, f2, f3, f4, ..." in text
    count = frame["item"].value_counts()
    assert f"items 15, with {int(count.median())} rows in the median ({count.min()} to {count.max()})" in text


def test_a_log_on_disk_in_a_notebook(frame, tmp_path):
    frame.to_parquet(tmp_path / "log.parquet")
    events = pb.Interactions.from_parquet(tmp_path / "log.parquet", label="label", folder=tmp_path / "log")
    known = pb.Interactions.from_frame(frame, label="label")
    rows = [each._repr_html_().partition("<details>")[0] for each in (events, known)]
    assert rows[0] == rows[1]


def test_numbers_that_are_no_dates_stay_numbers(frame):
    events = pb.Interactions.from_frame(frame.assign(time=np.arange(400)), time="time")
    assert '<bdi class="">0 to 399</bdi>' in events._repr_html_()
    assert "positives only" in events._repr_html_()


def test_a_simulation_is_short():
    sim = pb.simulate(users=9, items=7, interactions=50, seed=0)
    assert len(repr(sim).splitlines()) <= MOST_LINES
    assert "popularity (7)" in repr(sim)
    assert read(sim._repr_html_()).tags <= TAGS
