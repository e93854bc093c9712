import re
import unicodedata
from html.parser import HTMLParser

import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import DataError, RunFolderError
from pyro_popbias.report.html import render

pytestmark = [pytest.mark.usefixtures("short_training"), pytest.mark.slow]
KINDS = 30  # of hostile titles, which come one of each kind first
ADDRESSES = {"href", "src", "action", "formaction", "data", "poster", "srcset", "background"}


class Reader(HTMLParser):
    """Collects what a report is made of."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    return reader


def assert_inert(html):
    found = read(html)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "svg"} & set(found.tags)
    for tag, name, value in found.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ADDRESSES or (tag == "img" and value.startswith("data:image/png;base64,")), (tag, name)
    head = html[html.index("<head>") + len("<head>") :].lstrip()
    assert head.startswith('<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;')
    return found


def study_of(**affinity):
    section = {"affinity": affinity or {"name": "embedding", "dim": 2}}
    return pb.Study(model=section, training={"epochs": 2, "batch_size": 200})


@pytest.fixture(scope="module")
def fit(short_training, make_frame):
    return pb.fit(pb.Interactions.from_frame(make_frame(), label="label"), study=study_of(), progress=False)


def test_report_holds_what_a_reader_needs(fit, tmp_path):
    titles = pd.DataFrame({"item": ["i1", "i2"], "title": ["One", "Two & three"]})
    fit.report(tmp_path / "report.html", titles=titles)
    html = (tmp_path / "report.html").read_text()
    found = assert_inert(html)
    text = " ".join(found.text)
    for expected in ("product with guide gamma", "One", "Two & three", "i14", "[training]", "Seed 0", "intercept"):
        assert expected in text, expected
    assert "Intervals of popularity take the uncertainty of the affinities and of the intercept into account." in text
    assert found.tags.count("img") >= 7
    assert all(value for tag, name, value in found.attributes if name == "alt")
    for finding in fit.check().findings:
        assert finding.words in text


def test_style_is_the_one_of_the_policy(fit):
    import base64
    import hashlib

    html = render(fit, {})
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html


def test_hostile_titles_are_text(fit, hostile):
    items = list(fit.catalogue.items)
    for start in range(0, KINDS, len(items)):
        part = hostile[start : start + len(items)]
        html = render(fit, dict(zip(items, part, strict=False)), fit_checks(fit))
        assert_inert(html)
        assert "49" not in re.findall(r"<td>([^<]*)</td>", html)  # 7 * 7 of a template


def fit_checks(fit):
    from pyro_popbias.checks.check import Check

    return Check(findings=(), tables={})


def has_control_characters(text):
    return any(unicodedata.category(each) == "Cc" for each in text)


def test_hostile_ids_are_text_in_every_export(hostile, make_frame, tmp_path):
    frame = make_frame(items=len(hostile), rows=3000)
    names = {f"i{code}": each for code, each in enumerate(hostile)}
    frame = frame.assign(item=frame["item"].map(names))
    refused = set()
    for code, wrong in (("PB-D452", has_control_characters), ("PB-D453", lambda each: len(each) > 1024)):
        with pytest.raises(DataError, match=f"{code}: column 'item' has "):
            pb.Interactions.from_frame(frame, label="label")
        refused |= set(filter(wrong, hostile))
        frame = frame[~frame["item"].isin(refused)]
    assert (
        len(refused)
        == sum(not (each.replace("\u202e", "").isprintable() and len(each) < 1000) for each in hostile)
        > 15
    )
    fit = pb.fit(pb.Interactions.from_frame(frame, label="label"), study=study_of(), progress=False)
    assert_inert(render(fit, {}, fit_checks(fit)))
    fit.save(tmp_path / "run")
    from pyro_popbias.data.table_files import write_table

    write_table(fit.recommend(k=3), tmp_path / "top.csv")
    for path in (tmp_path / "run" / "popularity.csv", tmp_path / "top.csv"):
        for item in pd.read_csv(path, dtype=str, keep_default_na=False)["item"]:
            assert not item.startswith(("=", "+", "-", "@", "\t", "\r")), item
    assert set(pb.load(tmp_path / "run").popularity()["item"]) == set(frame["item"])
    assert pb.load(tmp_path / "run").to_arviz(draws=3).posterior["item"].size == frame["item"].nunique()


def test_given_vectors_are_named_in_the_study(frame):
    vectors = {
        f"{kind}_vectors": pd.DataFrame({"id": frame[kind].unique(), "a": 1.0, "b": 0.5}) for kind in ("user", "item")
    }
    events = pb.Interactions.from_frame(frame, label="label")
    fit = pb.fit(events, study=study_of(name="fixed", **vectors), progress=False)
    assert "user_vectors.parquet" in render(fit, {}, fit_checks(fit))


def test_a_run_without_data_says_why_there_are_no_checks(fit, tmp_path):
    from dataclasses import replace

    assert "Not checked: " in render(replace(fit, events=None), {})


@pytest.fixture
def unseen_rows(fit):
    """Return pairs that were not trained on, with both labels."""
    known = set(zip(fit.events.to_frame()["user"], fit.events.to_frame()["item"], strict=True))
    pairs = [(u, i) for u in fit.catalogue.users for i in fit.catalogue.items if (u, i) not in known][:60]
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    return pb.Interactions.from_frame(frame.assign(label=frame.index % 2), label="label")


@pytest.mark.parametrize("candidates", ["all", "test"])
def test_a_test_is_evaluated_in_the_report(fit, unseen_rows, tmp_path, candidates):
    fit.report(tmp_path / "report.html", test=unseen_rows, candidates=candidates)
    html = (tmp_path / "report.html").read_text()
    found = assert_inert(html)
    assert "<h2>Evaluation</h2>" in html
    rows = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td></tr>", html)
    shown = {metric: cells for metric, *cells in rows}
    for place, mode in enumerate(("population", "posterior", "none")):
        table = fit.evaluate(unseen_rows, popularity=mode, candidates=candidates).set_index("metric")
        assert set(table.index) <= shown.keys()
        for metric, row in table.iterrows():
            expected = "" if pd.isna(row["value"]) else "{value:.3g} ({lower:.3g} to {upper:.3g})".format(**row)
            assert shown[metric][place] == expected, (metric, mode)
    for note in fit.evaluate(unseen_rows, candidates=candidates).attrs["notes"]:
        assert note in html
    words = [value for tag, name, value in found.attributes if name == "alt"]
    assert any(each.startswith("Accuracy against popularity bias: ndcg@20 at average_popularity@20") for each in words)


def test_without_a_test_there_is_no_evaluation(fit):
    assert "Evaluation" not in render(fit, {}, fit_checks(fit))


def test_a_test_that_cannot_be_used_is_refused_before_the_checks(fit, tmp_path, monkeypatch):
    from pyro_popbias.report import html as report

    monkeypatch.setattr(report, "check", None)
    with pytest.raises(pb.DataError, match="PB-D370: 400 of the 400 rows of the test were trained on"):
        fit.report(tmp_path / "report.html", test=fit.events)
    with pytest.raises(pb.ConfigError, match="PB-C371: unknown candidates 'al'"):
        fit.report(tmp_path / "report.html", test=fit.events, candidates="al")
    assert not (tmp_path / "report.html").exists()


def test_a_report_that_cannot_be_written(fit, tmp_path):
    with pytest.raises(RunFolderError, match="PB-R100: cannot write"):
        fit.report(tmp_path / "missing" / "report.html")


def test_items_of_several_periods_are_counted_once(make_frame, monkeypatch):
    from pyro_popbias.report import html as report

    monkeypatch.setattr(report, "ITEMS", 4)
    events = pb.Interactions.from_frame(make_frame(), label="label", time="time", periods=2)
    fit = pb.fit(events, study=study_of(), progress=False)
    html = render(fit, {}, fit_checks(fit))
    assert "The 4 items with the most rows, of 15" in html
    most = fit.popularity().groupby("item")["count"].sum().nlargest(4).index
    rows = re.findall(r"<tr><td>(i\d+)</td>", html)
    assert set(rows) == set(most)
    assert len(rows) == 8


def test_the_verdict_counts_rules_that_do_not_apply(make_frame):
    study = pb.Study(model={"name": "pda", "affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 2})
    fit = pb.fit(pb.Interactions.from_frame(make_frame(), label="label"), study=study, progress=False)
    html, check = render(fit, {}), fit.check()
    assert check.verdict[1:] in html
    idle = sum(finding.value != finding.value for finding in check.findings)
    assert idle >= 4
    assert html.count('<li class="idle">') == idle
