"""Studies that learn one number twice are warned of, and no others."""

import warnings

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import DataWarning

COUNTED = {"exposure": "negative-binomial", "affinity": {"name": "embedding", "dim": 2}}
FIXED = {"source": "fixed", "concentration": 2.0}
RATE = {"name": "exponential", "rate": "learned"}


def events_of(share=0.3, *, rows=2_000, **rest):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": rng.integers(50, size=rows), "item": rng.integers(30, size=rows)})
    frame = frame.assign(label=(rng.random(rows) < share).astype(int), time=np.arange(float(rows)))
    return pb.Interactions.from_frame(frame, label="label", **rest)


def messages_of(events, model, **rest):
    """Return what a study is warned of, but for that of popularity and quality, all at the caller's line."""
    model = {"exposure": "none", "affinity": {"name": "embedding", "dim": 2}, **model}
    guide = {"name": "normal"} if model.get("prior") == {"name": "normal"} else {}
    with warnings.catch_warnings(record=True) as every:
        warnings.simplefilter("always")
        pb.pair(events, study=pb.Study(model=model, guide=guide, **rest))
    found = [warning for warning in every if "PB-C402" not in str(warning.message)]
    assert all(warning.category is DataWarning and warning.filename == __file__ for warning in found)
    return [str(warning.message) for warning in found]


def codes_of(*args):
    return [message[:7] for message in messages_of(*args)]


@pytest.mark.parametrize("share", [0.02, 0.3])
@pytest.mark.parametrize(
    ("model", "rare"),
    [
        ({"saturation": RATE}, ["PB-C460"]),
        ({"saturation": {"name": "hill", "half": "learned"}, "prior": {"name": "lognormal"}}, ["PB-C460"]),
        ({"saturation": RATE, "prior": FIXED}, []),
        ({"saturation": RATE, "prior": {"name": "exponential"}}, []),
        ({}, []),
    ],
)
def test_rate_and_concentration_of_rare_clicks(share, model, rare):
    assert codes_of(events_of(share), model) == (rare if share < 0.05 else [])


def test_the_message_tells_what_why_and_what_to_do():
    (message,) = messages_of(events_of(0.02), {"saturation": {"name": "hill", "half": "learned"}})
    assert "the half of the saturation and the concentration of the prior are both learned" in message
    assert "% of the labels are 1: where clicks are rare" in message
    assert message.endswith("give half a number, or the prior source = 'fixed' and a concentration")


@pytest.mark.parametrize(
    ("model", "prior", "expected"),
    [
        ("inverse-logistic", {"name": "lognormal"}, ["PB-C461"]),
        ("inverse-logistic", {"name": "gamma"}, ["PB-C461"]),
        ("inverse-logistic", FIXED, []),
        ("additive", {"name": "gamma"}, ["PB-C461"]),
        ("additive", {"name": "normal"}, []),
    ],
)
def test_slopes_of_users_and_concentration(model, prior, expected):
    assert codes_of(events_of(), {"name": model, "prior": prior, "conformity": True}) == expected
    assert codes_of(events_of(), {"name": model, "prior": prior}) == []


@pytest.mark.parametrize("affinity", ["linear", "factorization-machine", "embedding"])
def test_features_that_all_items_share(affinity):
    ages = np.linspace(-1, 1, 30)
    features = {
        "varied": pd.DataFrame({"age": ages, "kind": ["a", "b"] * 15, "none": 0.0}),
        "same": pd.DataFrame({"age": ages, "kind": "a", "one": 1.0}),
    }
    for name, frame in features.items():
        events = events_of(item_features=frame.set_axis([str(code) for code in range(30)]))
        expected = ["PB-C462"] if name == "same" and affinity != "embedding" else []
        found = messages_of(events, {"affinity": {"name": affinity}})
        assert [message[:7] for message in found] == expected
        if expected:
            assert "2 features of item_features are the same for all items: kind=a, one." in found[0]


@pytest.mark.parametrize(("columns", "expected"), [(29, ["PB-C463"]), (28, [])])
def test_features_that_tell_every_item_apart(columns, expected):
    values = np.random.default_rng(0).normal(size=(30, columns))
    frame = pd.DataFrame(values, index=[str(code) for code in range(30)]).rename(columns=str)
    events = events_of(item_features=frame)
    for affinity in ("linear", "factorization-machine"):
        assert codes_of(events, {"affinity": {"name": affinity}}) == expected
        # counts tell popularity from what features say of an item
        assert codes_of(events, {"affinity": {"name": affinity}, "exposure": "poisson"}) == []
    same = events_of(item_features=frame.assign(**{"0": frame["1"]}))  # as many columns, but one of them twice
    assert codes_of(same, {"affinity": {"name": "linear"}}) == []


@pytest.mark.parametrize("model", ["product", "additive", "inverse-logistic"])
def test_a_change_of_one_word_is_not_warned_of(model):
    """Logs whose items are logged unequally often have an exposure and qualities by default."""
    rng = np.random.default_rng(0)
    item = rng.choice(30, size=3_000, p=(weight := rng.gamma(1.0, size=30)) / weight.sum())
    frame = pd.DataFrame({"user": rng.integers(50, size=3_000), "item": item, "label": rng.integers(2, size=3_000)})
    events = pb.Interactions.from_frame(frame, label="label")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair = pb.pair(events, study=pb.Study(model={"name": model}))
    assert pair.model.exposure is not None
    assert pair.model.affinity.item_quality is not None


def test_default_studies_are_not_warned_of():
    for name in pb.MODELS:
        if not pb.MODELS[name].pairwise:
            assert codes_of(events_of(0.02), {"name": name}) == []
    rows = pd.DataFrame({"user": np.arange(300) % 50, "item": np.arange(300) % 31})
    assert codes_of(pb.Interactions.from_frame(rows), {"name": "pda", "prior": {"name": "lognormal"}}) == []
