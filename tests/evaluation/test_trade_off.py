"""Accuracy against popularity bias, over the modes and along the knob."""

import copy

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.evaluation.trade_off import SHARES

POINTS = {"name": "embedding", "dim": 4, "posterior": "point"}
BRIEF = {"epochs": 3, "batch_size": 256, "phase_two": 0, "device": "cpu"}
MODES = ["none", "population", "prior", "posterior"]


@pytest.fixture(scope="module")
def case():
    frame = pb.simulate(users=80, items=60, interactions=4_000, seed=0).frame.drop_duplicates(["user", "item"])
    train, test = pb.Interactions.from_frame(frame, label="label").split(test=0.2)
    return test, pb.fit(train, study=pb.Study(model={"affinity": POINTS}, training=BRIEF), progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("candidates", ["all", "test"])
def test_rows_are_the_evaluations_of_each_popularity(case, candidates):
    test, fit = case
    names = ["recall@5", "tail_share@10"]
    table = fit.trade_off(test, accuracy=names[0], bias=names[1], candidates=candidates, interval=0.8)
    assert table["popularity"].tolist() == [*MODES, *["share"] * len(SHARES)]
    np.testing.assert_array_equal(table["share"], [*[np.nan] * 4, *SHARES])
    asked = [*MODES, *(fit.partial_popularity(share) for share in SHARES)]
    for (_, row), popularity in zip(table.iterrows(), asked, strict=True):
        alone = fit.evaluate(test, k=(5, 10), popularity=popularity, candidates=candidates, interval=0.8)
        alone = alone.set_index("metric").loc[names]
        for name in names:
            found = row[[name, f"{name}_lower", f"{name}_upper"]].to_numpy(dtype=float)
            np.testing.assert_allclose(found, alone.loc[name].to_numpy(), rtol=1e-9, err_msg=name)


def test_the_knob_leads_from_population_to_posterior(case):
    test, fit = case
    table = fit.trade_off(test)
    metrics = table.drop(columns=["popularity", "share"])
    for share, mode in ((0.0, "population"), (1.0, "posterior")):
        rows = [metrics[table["share"] == share], metrics[table["popularity"] == mode]]
        np.testing.assert_array_equal(*rows)
    knob = table[table["popularity"] == "share"]
    assert knob["average_popularity@20"].iloc[-1] != knob["average_popularity@20"].iloc[0]


def test_differences_are_paired(case):
    test, fit = case
    table = fit.trade_off(test, shares=(0.0, 1.0), bias="average_popularity@10")
    for name in ("ndcg@20", "average_popularity@10"):
        gap = table[name] - table[name].iloc[0]
        np.testing.assert_allclose(table[f"{name}_difference"], gap)
        assert (table[f"{name}_difference_lower"] <= gap).all()
        assert (table[f"{name}_difference_upper"] >= gap).all()
        assert (table.loc[table["popularity"] == "population", f"{name}_difference_upper"] == 0).all()
    of_compare = pb.compare({"one": fit, "two": fit}, test, popularity="none", metrics=("ndcg@20",))
    assert of_compare["ndcg@20"].iloc[0] == pytest.approx(table["ndcg@20"].iloc[0])


def test_what_was_left_out_is_said_once(case):
    test, fit = case
    frame = pd.concat([test.to_frame(), fit.events.to_frame().head(9)])
    with pytest.warns(pb.DataWarning, match="PB-D370: 9 of") as caught:
        table = fit.trade_off(pb.Interactions.from_frame(frame, label="label"))
    assert len(caught) == 1
    assert any("9 of" in note for note in table.attrs["notes"])


def test_ties_are_said_of_the_popularities_that_have_them(case):
    """Without vectors only an item's own popularity tells items apart."""
    test, fit = case
    flat = copy.deepcopy(fit)
    flat.model.affinity.item_vectors.data.zero_()
    notes = flat.trade_off(test, shares=(0.0, 1.0)).attrs["notes"]
    tied = [note for note in notes if "chance decides" in note]
    assert len(tied) == 1
    assert tied[0].startswith("none, population, prior, share 0: for ")


def test_wrong_arguments_are_refused(case):
    test, fit = case
    with pytest.raises(
        pb.ConfigError, match="PB-C374: the fit has no metric 'ndgc@20' on this test; did you mean 'ndcg@20'"
    ):
        fit.trade_off(test, accuracy="ndgc@20")
    with pytest.raises(pb.ConfigError, match="PB-C392: accuracy and bias are both 'ndcg@20'"):
        fit.trade_off(test, bias="ndcg@20")
    for wrong in ("0.5", 3, None):
        with pytest.raises(pb.ConfigError, match="PB-C391: shares must be a list of numbers"):
            fit.trade_off(test, shares=wrong)
    with pytest.raises(pb.ConfigError, match="PB-C390: the share of an item's own popularity"):
        fit.trade_off(test, shares=[0.5, np.nan])
    with pytest.raises(pb.DataError, match="were trained on; evaluate on rows that were held out"):
        fit.trade_off(fit.events)
