"""The short form of a check: verdict, what failed, what to do, three figures."""

import numpy as np
import pytest

from pyro_popbias.checks.check import Check
from pyro_popbias.checks.figures import figures
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.summary import summary
from pyro_popbias.checks.thresholds import RULES

WORDS = "over 60 items popularity and like rate have a correlation of 0.31"
LIKE = Finding("identification", "popularity with like rate", 0.314, np.nan, True, f"{WORDS}; reported, never fails")
NEAR = Finding("accuracy", "mean KL", 0.0123, 0.02, True, "mean KL(q || exact posterior) is 0.0123 nats")


def predictive(name, value, bound, *, check="items"):
    passed, remedy = value <= bound, RULES[name].meaning
    words = f"{name}: observed 1, replicates 2; off by {value}, allowed {bound}"
    return Finding(
        check, name, value, bound, passed, words if passed else f"{words}: {remedy}", "" if passed else remedy
    )


def lines_of(*findings):
    return list(summary(Check(findings, {}), name="run"))


def test_one_that_holds():
    lines = lines_of(predictive("click rate", 0.1, 0.2), predictive("calibration", 0.03, 0.04), LIKE, NEAR)
    assert lines == [
        "run: passed, all 4 rules hold",
        "  the model      the worst of 2 statistics is at 75% of what is allowed (calibration, items)",
        "  q              0.0123 nats from the exact posterior, the mean over items (at most 0.02)",
        f"  popularity     {WORDS}",
    ]


def test_one_that_fails_says_what_to_do_once():
    names = ["spread of item rates", "Gini of item rates", "share of clicks", "calibration"]
    lines = lines_of(*(predictive(name, 0.5, 0.1) for name in names), LIKE, NEAR)
    assert lines[0] == "run: FAILED, 4 of 6 rules do not hold"
    assert lines[1] == "  items          spread of item rates: observed 1, replicates 2; off by 0.5, allowed 0.1"
    assert lines[4] == "  and 1 more: items: calibration"
    # three of the four have one remedy
    assert lines[5:7] == [f"  to do: {RULES[name].meaning}" for name in (names[0], "calibration")]
    assert lines[7].endswith("is at 500% of what is allowed (spread of item rates, items)")


def test_never_more_than_twelve_lines():
    everything = [predictive(name, 0.5, 0.1, check=check) for name in RULES for check in ("items", "population")]
    assert len(lines_of(*everything, LIKE, NEAR)) <= 11  # and one that names --all


@pytest.mark.parametrize(
    ("finding", "label", "words"),
    [
        (NEAR.__class__("accuracy", "exact posterior", np.nan, np.nan, True, "Not checked: no rows."), "q", "no rows"),
        (
            LIKE.__class__("identification", LIKE.name, np.nan, np.nan, True, "negatives are sampled"),
            "popularity",
            "sampled",
        ),
    ],
)
def test_what_does_not_apply_says_why(finding, label, words):
    found = figures([finding])
    assert found[label].startswith("not compared")
    assert found[label].endswith(words)
    assert found["the model"] == "not compared with the data: its scores are not probabilities"


def test_measured_leaves_out_the_remedy():
    finding = Finding(
        "accuracy", "mean KL", 1.0, 0.1, False, "KL is 1; the bound is 0.1; use another guide.", "use another guide"
    )
    assert finding.measured == "KL is 1; the bound is 0.1"
    assert NEAR.measured == NEAR.words
