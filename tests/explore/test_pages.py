"""The pages of fits of several kinds: what they show, and that they show what the fit says."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

import pyro_popbias as pb
from pyro_popbias.explore.app import pages
from pyro_popbias.explore.opening import Opening
from pyro_popbias.storage.run_folder import save

pytestmark = pytest.mark.usefixtures("short_training")
OWN = {"href": ("/", "#", "data:,"), "src": ("/explore.js", "data:image/png;base64,"), "action": ("/",)}


class Reader(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.labels, self.inputs, self.headings = [], [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "label":
            self.labels.add(found["for"])
        if tag == "input":
            self.inputs.append(found["id"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def read(answer, status=200):
    assert answer.status_code == status, answer.text
    found = Reader(answer.text)
    for tag, name, value in found.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name != "style", tag  # the policy allows none
        assert name not in OWN or value.startswith(OWN[name]), (tag, name, value)
        assert name not in OWN or not value.startswith("//"), value
    assert not {"style", "iframe", "object", "embed", "base"} & set(found.tags)
    assert ("meta", "http-equiv") not in {each[:2] for each in found.attributes}
    assert found.tags.count("script") == 1
    assert ("html", "lang", "en") in found.attributes
    assert set(found.inputs) <= found.labels
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(found.headings, found.headings[1:], strict=False))
    assert all(value.strip() for tag, name, value in found.attributes if (tag, name) == ("img", "alt"))
    return found


def small(events, **sections):
    training = {"epochs": 1, "batch_size": 200, "phase_two": 0}
    return pb.fit(events, study=pb.Study(training=training, **sections), progress=False)


POINT = {"name": "embedding", "dim": 2, "posterior": "point", "scale": 0.5}
KINDS = {
    "additive": {
        "model": {"name": "additive", "affinity": POINT, "prior": {"name": "normal"}},
        "guide": {"name": "normal"},
    },
    "point": {"model": {"affinity": POINT}, "guide": {"name": "point"}},
    "walk": {
        "model": {
            "affinity": {**POINT, "posterior": "mean-field"},
            "prior": {"name": "lognormal", "drift": "random-walk"},
        },
        "guide": {"name": "markov"},
    },
    "pda": {"model": {"name": "pda", "saturation": {"name": "power"}, "affinity": POINT}},
}


@pytest.fixture(scope="module")
def browsers(short_training, make_frame, golden_fit, visit):
    """Return browsers of fits of several kinds: with and without periods, quality, intervals and probabilities."""
    frame = make_frame()
    one = pb.Interactions.from_frame(frame, label="label")
    several = pb.Interactions.from_frame(frame, label="label", time="time", periods=3)
    clicks = pb.Interactions.from_frame(frame[frame["label"] == 1][["user", "item"]])
    events = {"additive": one, "point": one, "walk": several, "pda": clicks}
    found = {kind: visit(small(events[kind], **KINDS[kind])) for kind in KINDS}
    return {**found, "golden": visit(golden_fit)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PB-")
@pytest.mark.parametrize("kind", [*KINDS, "golden"])
def test_every_page_of_every_kind_of_fit(browsers, kind):
    browser = browsers[kind]
    fit = browser.opened.fit
    user, item = fit.catalogue.users[1], fit.catalogue.items[1]
    start = read(browser.get("/"))
    assert fit.study.model.name in start.words
    one = read(browser.get("/item", params={"id": item}))
    row = fit.popularity().query("item == @item").iloc[-1]
    assert f"z = {row['mean']:.3g}" in one.words
    assert ("Not known: the guide is a point" in one.words) == (kind == "point")
    assert ("correlated with popularity" in one.words or "whatever its popularity." in one.words) == (kind == "golden")
    lists = read(browser.get("/user", params={"id": user}))
    for mode in browser.opened.modes:
        best = fit.recommend([user], k=1, popularity=mode)
        assert best["item"].iloc[0] in lists.words
        assert f"{best['score'].iloc[0]:.3g}" in lists.words
    assert ("point estimates, so it is not known how sure the order is" in lists.words) == (
        kind in ("additive", "point", "pda")
    )
    assert read(browser.get("/knob", params={"user": user, "share": "0.25"})).words.count("Share 0.25:") == 1
    drift = read(browser.get("/drift"))
    assert ("Risen most" in drift.words) == (kind == "walk")
    assert ('href="/drift"' in browser.get("/").text) == (kind == "walk")


@pytest.mark.slow
def test_modes_are_those_of_the_fit(browsers):
    assert browsers["golden"].opened.modes == ("population", "posterior", "none")
    assert browsers["walk"].opened.modes == ("population", "prior", "posterior", "forecast", "none")


def test_the_knob_goes_from_the_debiased_list_to_the_one_as_observed(browsers):
    opened = browsers["golden"].opened
    user = opened.fit.catalogue.users[0]
    for share, mode in ((0.0, "population"), (1.0, "posterior")):
        at, under = opened.recommend([user], share, 5), opened.fit.recommend([user], k=5, popularity=mode)
        assert at["item"].tolist() == under["item"].tolist()
    half = opened.fit.recommend([user], k=5, popularity=opened.fit.partial_popularity(0.5))
    pd.testing.assert_frame_equal(opened.recommend([user], 0.5, 5), half)


@pytest.mark.parametrize(
    ("given", "share"), [("", 0.5), ("x", 0.5), ("nan", 0.5), ("inf", 0.5), ("-3", 0), ("7", 1), ("0.3", 0.3)]
)
def test_any_share_is_one_of_the_slider(browsers, given, share):
    page = read(browsers["golden"].get("/knob", params={"share": given}))
    assert ("input", "value", str(float(share))) in page.attributes


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/item?id=nobody", "The fit has no item with this id"),
        ("/item", "The fit has no item with this id"),
        ("/user?id=nobody", "The fit has no user with this id"),
        ("/knob?user=nobody", "The fit has no user with this id"),
        ("/nothing", "There is no page /nothing"),
        ("/../setup.cfg", "There is no page"),
        ("/base.html", "There is no page"),
    ],
)
def test_what_is_not_there_says_what_to_do(browsers, path, words):
    page = read(browsers["golden"].get(path), 404)
    assert words in page.words
    assert ("a", "href", "/") in page.attributes


def test_a_search_counts_all_and_shows_the_first(make_frame, visit):
    frame = make_frame(users=30, items=80, rows=2_000)
    fit = small(pb.Interactions.from_frame(frame, label="label"), model={"affinity": POINT})
    browser = visit(fit, titles={"i7": "Seven Samurai"}, prepared=False)
    words = read(browser.get("/search", params={"q": "I"})).words
    assert "80 items" in words
    assert "The 50 with the most rows" in words
    found = read(browser.get("/search", params={"q": "samurai"}))
    assert "1 item " in found.words
    assert ("a", "href", "/item?id=i7") in found.attributes
    first = re.findall(r'href="/item\?id=(\w+)"', browser.get("/search", params={"q": "i1"}).text)
    assert first[0] == "i1"  # the id itself, before those with more rows
    assert set(first) == {"i1", *(f"i1{n}" for n in range(10))}
    assert "No item has this" in read(browser.get("/search", params={"q": "nobody"})).words


@pytest.mark.slow
def test_hostile_titles_and_ids_are_text(make_frame, hostile, visit):
    texts = [text for text in hostile if "\x00" not in text and "\n" not in text and len(text) < 1_000]
    frame = make_frame(users=30, items=30, rows=900)
    frame["user"] = [texts[int(user[1:])] for user in frame["user"]]
    frame["item"] = [texts[int(item[1:])] for item in frame["item"]]
    fit = small(pb.Interactions.from_frame(frame, label="label"), model={"affinity": POINT})
    titles = dict(zip(fit.catalogue.items, reversed(hostile), strict=False))
    browser = visit(fit, titles=titles)
    for kind, ids in (("item", fit.catalogue.items[:6]), ("user", fit.catalogue.users[:2])):
        for one in ids:
            page = read(browser.get(f"/{kind}", params={"id": one}))
            assert any(one in text for text in page.text) or kind == "item"
    for text in (each[:500] for each in hostile[:30]):
        read(browser.get("/search", params={"q": text}))
        read(browser.get("/user", params={"id": f"{text} not there"}), 404)
    read(browser.get("/"))
    read(browser.get("/knob"))


def test_a_run_without_its_rows_says_so(short_training, make_frame, visit, tmp_path):
    fit = small(pb.Interactions.from_frame(make_frame(), label="label"), model={"affinity": POINT})
    save(fit, tmp_path / "run", data=False)
    browser = visit(pb.load(tmp_path / "run"))
    for path in ("/user?id=u1", "/knob?user=u1"):
        words = read(browser.get(path)).words
        assert "saved without its interactions" in words
        assert "lists may hold items that the user has seen" in words
    assert "of 400 rows" in read(browser.get("/item?id=i1")).words


@pytest.mark.slow
def test_the_trade_off_stands_beside_the_list(make_frame, visit):
    fit = small(pb.Interactions.from_frame(make_frame(), label="label"), model={"affinity": POINT})
    events, catalogue = fit.events, fit.catalogue
    seen = set(zip(events.users[events.user], events.items[events.item], strict=True))
    pairs = [(user, item) for user in catalogue.users for item in catalogue.items if (user, item) not in seen]
    frame = pd.DataFrame(pairs, columns=["user", "item"]).assign(label=np.arange(len(pairs)) % 2)
    test = pb.Interactions.from_frame(frame, label="label")
    page = read(visit(fit, test=test).get("/knob"))
    assert "What it costs on the test" in page.words
    value = fit.trade_off(test)["ndcg@20"].iloc[0]
    assert f"{value:.3g}" in page.words
    refused = read(visit(fit, test=events).get("/knob"))
    assert "Not available: PB-D" in refused.words


def test_a_page_waits_for_what_is_computed_late(golden_fit, visit):
    browser = visit(golden_fit)
    browser.opened.late.clear()
    page = read(browser.get("/knob"))
    assert "Being computed" in page.words
    assert ("div", "data-again", "3000") in page.attributes
    assert "being computed" in read(browser.get("/")).words
    assert "being computed" in read(browser.get("/item?id=i1")).words


def test_until_the_fit_is_read_a_page_says_so():
    opening = Opening(lambda: None)  # never started
    client = TestClient(pages(opening, name="run", about=["a <b> line"]))
    answer = client.get("/item?id=i1")
    assert "Reading" in read(answer).words
    assert "a <b> line" in read(answer).words
    assert answer.headers["refresh"] == "1"
