"""A fit and its checks at a prompt and in a notebook."""

import ast
import inspect
from dataclasses import replace
from html.parser import HTMLParser
from operator import attrgetter

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.checks.check import Check
from pyro_popbias.checks.finding import Finding
from pyro_popbias.data.overview import MOST_LINES

pytestmark = pytest.mark.usefixtures("short_training")
STUDY = {
    "model": {"affinity": {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}},
    "training": {"epochs": 2, "batch_size": 200, "device": "cpu"},
}


def shown(html):
    """Return the text of a page without its style, on one line."""
    parts = []
    reader = HTMLParser()
    reader.handle_data = parts.append
    reader.feed(html.partition("</style>")[2])
    return " ".join("".join(parts).split())


@pytest.fixture(scope="module")
def fit(short_training, make_frame):
    return pb.fit(make_frame(), study=pb.Study(**STUDY), progress=False)


@pytest.fixture(scope="module")
def checked(fit):
    """Return the fit as it is after its check."""
    other = replace(fit, absent="")
    assert other.check() is other.last_check
    return other


def test_a_fit_says_what_was_fitted_on_what_and_how_well(fit):
    lines = repr(fit).splitlines()
    label = fit.events.label.mean()
    assert len(lines) <= MOST_LINES
    assert lines[:3] == [
        "Fit: product with guide gamma",
        "  model     gamma prior, embedding affinity of up to 2 dimensions",
        f"  data      400 rows ({label:.1%} positive), 20 users, 15 items",
    ]
    loss = -fit.history["validation_log_score"].iloc[-1]
    entropy = -(label * np.log(label) + (1 - label) * np.log(1 - label))
    assert lines[3] == f"  held out  log-loss {loss:.4f} nats per row (the share of positives alone: {entropy:.4f})"
    phases = fit.history.groupby("phase").size()
    assert lines[4].startswith(f"  training  {phases[1]} + {phases[2]} epochs in ")
    assert lines[5] == "  checks    not run"
    assert "like rate" in repr(fit)
    assert lines[-1].startswith("  next      fit.check(), ")


def test_the_html_has_what_the_text_has_and_more(fit):
    text = shown(fit._repr_html_())
    for line in repr(fit).splitlines()[1:4]:
        assert line[12:] in text
    assert "What to do about the warning" in text
    assert 'name = "product"' in text  # the study file
    assert len(fit._repr_html_()) < 8_000


@pytest.mark.slow
@pytest.mark.parametrize("which", ["fit", "checked"])
def test_what_a_fit_says_comes_next_can_be_called(request, which):
    fit = request.getfixturevalue(which)
    steps = [step for step in repr(fit).splitlines()[-1].split(maxsplit=1)[1].split(", ") if step != "fit.last_check"]
    assert len(steps) == (4 if which == "fit" else 3)
    for step in steps:
        call = ast.parse(step, mode="eval").body
        given = [ast.literal_eval(value) for value in call.args]
        method = attrgetter(ast.unparse(call.func).removeprefix("fit."))(fit)
        inspect.signature(method).bind(*given, **{each.arg: each.value for each in call.keywords})


def test_the_last_check_is_remembered_for_the_eyes_only(fit, checked):
    assert fit.last_check is None
    found = checked.last_check
    assert found.verdict in repr(checked).replace("\n            ", " ")
    assert f'class="{"good" if found.passed else "bad"}">{found.verdict.partition("(")[0]}' in checked._repr_html_()
    assert ("fit.last_check" in repr(checked)) == (not found.passed)
    assert replace(checked, absent="").last_check is None


@pytest.mark.slow
def test_other_kinds_of_fits(fit, make_frame, tmp_path):
    frame = make_frame()
    positives = pb.fit(
        frame.query("label == 1"), label=None, time="time", periods=2, study=pb.Study(**STUDY), progress=False
    )
    assert "(positives only, 4 negatives sampled for each), " in repr(positives)
    assert "compare items, or periods of an item, by their ratios" in shown(positives._repr_html_())
    assert " items, 2 periods" in repr(positives)
    assert "the share of positives" not in repr(positives)
    training = {**STUDY["training"], "validation": 0.0}
    whole = pb.fit(frame, study=pb.Study(model=STUDY["model"], training=training), restarts=2, progress=False)
    assert "  held out  no rows were held out\n" in repr(whole)
    assert ", best of 2 restarts" in repr(whole)
    training["validation"] = {"split": "item-uniform", "metric": "ndcg@5", "share": 0.2}
    ranked = pb.fit(frame, study=pb.Study(model=STUDY["model"], training=training), progress=False)
    assert f"  held out  ndcg@5 {ranked.history['validation_ndcg@5'].iloc[-1]:.4f}, log-loss " in repr(ranked)
    assert "the share of positives" not in repr(ranked)
    unsaved = replace(fit, events=None)
    assert "  checks    cannot run: the run was saved without its interactions" in repr(unsaved)
    assert "fit.check()" not in repr(unsaved)


def finding(number, value, bound, *, check="items", passed=True):
    return Finding(check, f"rule {number}", value, bound, passed, f"words of rule {number}")


def test_a_check_that_holds_shows_the_figures_that_matter():
    findings = (
        finding(1, 0.1, 1.0),
        finding(2, 0.5, 1.0, check="population"),
        Finding("accuracy", "mean KL", 0.0123, 0.02, True, "words of the mean"),
        finding(4, np.nan, np.nan, check="evidence"),
        finding(5, 5.0, np.nan, check="prior"),
    )
    check = Check(findings, {})
    assert repr(check).splitlines() == [
        "Check: all 4 rules hold; 1 does not apply",
        "  the model   the worst of 2 statistics is at 50% of what is allowed (rule 2, population)",
        "  q           0.0123 nats from the exact posterior, the mean over items (at most 0.02)",
        "  popularity  not compared with like rates",
        '  next        print(check), check.to_frame(), fit.report("report.html")',
    ]
    text = shown(check._repr_html_())
    assert "Every rule" in text
    assert "evidence, does not apply: words of rule 4" in text


def test_a_check_that_fails_shows_what_fails_the_worst_first():
    findings = tuple(finding(n, 1 + n / 10, 1.0, passed=n % 2 == 0) for n in range(30))
    check = Check(findings, {})
    lines = repr(check).splitlines()
    assert lines[0] == "Check: 15 of 30 rules do not hold"
    assert lines[1] == "  - items, fails: words of rule 29"
    assert lines[-2] == "  and 8 more"
    assert len(lines) == MOST_LINES
    html = check._repr_html_()
    assert (
        html.index("words of rule 29")
        < html.index("words of rule 1<")
        < html.index("<details>")
        < html.index("rule 2<")
    )
    assert html.count('class="bad"') == 15


def test_a_check_of_no_rules():
    assert repr(Check((), {})).splitlines()[0] == "Check: no rule applies"


def test_the_check_of_a_fit_is_short(checked):
    check = checked.last_check
    assert len(repr(check).splitlines()) <= MOST_LINES
    assert len(check._repr_html_()) < 10_000
    assert all(
        words in shown(check._repr_html_()) for words in (" ".join(each.words.split()) for each in check.findings)
    )


def test_a_comparison_at_a_glance(fit, make_frame):
    test = make_frame(seed=7)
    fits = {"first": fit, "<b>other</b>": replace(fit, study=fit.study.replace("guide", name="lognormal"))}
    table = pb.compare(fits, test, metrics=("ndcg@3",))
    lines = repr(table).splitlines()
    assert len(lines) <= MOST_LINES
    assert lines[0] == "Comparison of 2 fits, the best first"
    columns = [name for name in lines[1].split() if name != "kl"]
    assert columns == ["name", "guide", "log_score", "seconds", "ndcg@3", "difference"]
    assert f"{table['log_score'].iloc[0]:.4f}" in lines[2]
    html = table._repr_html_()
    assert "<b>" not in html
    assert "first, &lt;b&gt;other&lt;/b&gt;: " in html  # they have one note
    assert "paired bootstrap over users" in html
    for part in (table.head(1), table.copy(), table.set_index("name")):
        assert type(part) is pd.DataFrame
    del table["note"]
    assert "ndcg@3_difference_upper" in table.to_string()
    assert "[2 rows x 14 columns]" in repr(table)
    assert "&lt;b&gt;" in table._repr_html_()
