"""`--calibrated` of `popbias predict` and `popbias recommend`."""

import pandas as pd
import pytest

import pyro_popbias as pb

pytestmark = pytest.mark.usefixtures("short_training")


def saved(frame, label):
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 2, "batch_size": 100, "device": "cpu"}
    )
    fit = pb.fit(pb.Interactions.from_frame(frame, label=label), study=study, progress=False)
    fit.save("run")
    return fit


def test_tables_are_those_of_the_fit(popbias, folder, make_frame):
    fit = saved(make_frame(rows=150), None)
    pairs = pd.read_csv("pairs.csv").head(20)
    pairs.to_csv("pairs.csv", index=False)
    assert popbias("predict", "run", "pairs.csv", "--calibrated", "-o", "predict.csv")[0] == 0
    expected = fit.predict(pairs, calibrated=True)
    pd.testing.assert_frame_equal(pd.read_csv("predict.csv"), expected, check_dtype=False)
    assert (expected["score"] != fit.predict(pairs)["score"]).all()
    assert popbias("recommend", "run", "-k", "3", "--calibrated", "-o", "lists.csv")[0] == 0
    lists = fit.recommend(k=3, calibrated=True)
    pd.testing.assert_frame_equal(pd.read_csv("lists.csv"), lists, check_dtype=False)


def test_labels_of_the_data_are_refused_in_a_line(popbias, folder, frame):
    saved(frame, "label")
    code, _, error = popbias("recommend", "run", "--calibrated", "-o", "lists.csv")
    assert code == 2
    assert error.startswith("error: PB-C421: calibrated=True, but the labels of this fit are the data's own")
    assert error.count("\n") == 1
