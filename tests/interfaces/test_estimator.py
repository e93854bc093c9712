"""The estimator in scikit-learn's own hands."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, DataError

sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'pyro-popbias[sklearn]'")
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

SHORT = {"training": {"phase_two": 0, "device": "cpu"}}
COLUMNS = "X of the check has more or fewer columns than the two of ids"
NUMBERS = "X of the check holds numbers that are not integers, and no ids"
ONE = "rows of one class only say nothing of popularity"
UNSUITABLE = {
    "check_fit_score_takes_y": COLUMNS,
    "check_dont_overwrite_attributes": COLUMNS,
    "check_dont_overwrite_parameters": COLUMNS,
    "check_n_features_in_after_fitting": COLUMNS,
    "check_estimators_dtypes": COLUMNS,
    "check_complex_data": COLUMNS,
    "check_dtype_object": COLUMNS,
    "check_estimators_empty_data_messages": COLUMNS,
    "check_pipeline_consistency": COLUMNS,
    "check_estimators_pickle": COLUMNS,
    "check_f_contiguous_array_estimator": COLUMNS,
    "check_supervised_y_2d": COLUMNS,
    "check_methods_sample_order_invariance": COLUMNS,
    "check_methods_subset_invariance": COLUMNS,
    "check_fit2d_1sample": COLUMNS,
    "check_fit2d_1feature": COLUMNS,
    "check_dict_unchanged": COLUMNS,
    "check_fit2d_predict1d": COLUMNS,
    "check_classifiers_train": COLUMNS,
    "check_classifiers_regression_target": COLUMNS,
    "check_classifier_not_supporting_multiclass": COLUMNS,
    "check_estimators_nan_inf": NUMBERS,
    "check_positive_only_tag_during_fit": NUMBERS,
    "check_classifiers_one_label": ONE,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of tiny data sets
@parametrize_with_checks(
    [pb.PopBiasRecommender(epochs=1, dim=1, study=SHORT)], expected_failed_checks=lambda _: UNSUITABLE
)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows():
    return pb.simulate(users=40, items=25, interactions=900, dim=2, seed=0).frame


@pytest.fixture(scope="module")
def estimator():
    return pb.PopBiasRecommender(epochs=2, dim=2, learning_rate=0.1, random_state=0, study=SHORT)


@pytest.fixture(scope="module")
def fitted(estimator, rows):
    return clone(estimator).fit(rows[["user", "item"]], rows["label"])


def test_probabilities_and_labels_are_those_of_the_fit(fitted, rows):
    pairs = rows[["user", "item"]].head(20)
    score = fitted.fit_.predict(pairs)["score"].to_numpy()
    assert fitted.predict_proba(pairs)[:, 1].tolist() == score.tolist()
    assert fitted.predict(pairs).tolist() == (score > 0.5).astype(int).tolist()
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert fitted.predict_proba(pairs.to_numpy())[:, 1].tolist() == score.tolist()
    assert fitted.feature_names_in_.tolist() == ["user", "item"]
    assert fitted.n_features_in_ == 2


def test_the_score_is_the_log_score(fitted, rows):
    p = fitted.predict_proba(rows[["user", "item"]])[:, 1]
    expected = np.where(rows["label"] == 1, np.log(p), np.log(1 - p)).mean()
    assert fitted.score(rows[["user", "item"]], rows["label"]) == pytest.approx(expected)


def test_ids_come_back_as_they_were_given(estimator, rows):
    codes = np.stack([pd.factorize(rows[side])[0] * 10 + 5 for side in ("user", "item")], axis=1)
    own = clone(estimator).fit(codes, np.where(rows["label"] == 1, "yes", "no"))
    assert own.classes_.tolist() == ["no", "yes"]
    assert own.users_.tolist() == list(dict.fromkeys(codes[:, 0].tolist()))
    with pytest.warns(pb.DataWarning, match="PB-D508: to users of whom nothing is known"):
        lists = own.recommend([15, 7, 15], k=2)
    assert lists["user"].tolist() == [15, 15, 7, 7]
    assert (lists["user"].dtype, lists["item"].dtype, own.items_.dtype) == ("int64", "int64", "int64")
    assert set(lists["item"]) <= set(own.items_.tolist())
    assert set(own.predict(codes)) <= {"no", "yes"}


def test_clicks_are_ranked(estimator, rows):
    clicks = rows.loc[rows["label"] == 1, ["user", "item"]].drop_duplicates()
    own = clone(estimator).fit(clicks.iloc[::2])
    assert own.fit_.study.data.negatives == 4
    expected = own.fit_.evaluate(clicks.iloc[1::2], k=20).set_index("metric")["value"]["ndcg@20"]
    assert own.score(clicks.iloc[1::2]) == expected


@pytest.mark.slow
def test_searches_and_cross_validation(estimator, rows):
    pairs, label = rows[["user", "item"]], rows["label"]
    search = GridSearchCV(estimator, {"dim": np.array([1, 2])}, cv=2).fit(pairs, label)
    assert search.best_params_["dim"] in (1, 2)
    assert search.best_estimator_.fit_.study.model.affinity.dim == search.best_params_["dim"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert (cross_val_score(estimator, pairs, label, cv=2, scoring="roc_auc") > 0.4).all()


def test_parameters_are_kept_and_become_a_study(estimator):
    state = np.random.RandomState(0)
    own = clone(estimator).set_params(model="additive", guide="normal", prior="normal", random_state=state, epochs=7)
    assert own.get_params()["random_state"] is state
    study = own._declared()
    assert (study.model.name, study.guide.name, study.model.prior.name) == ("additive", "normal", "normal")
    assert (study.training.epochs, study.training.learning_rate, study.model.affinity.dim) == (7, 0.1, 2)
    assert study.training.phase_two == 0
    assert study.training.seed > 0


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (np.ones((3, 3)), None, r"PB-D511: X has the shape \(3, 3\), and not two columns"),
        (np.ones((0, 2)), None, r"PB-D512: X has 0 sample"),
        (pd.DataFrame({"item": ["a"], "user": ["b"]}), None, r"PB-D513: .*users come first"),
        ([["a", "b"], ["a", "c"]], [1], r"PB-D514: y has the shape \(1,\), X has 2 rows"),
        ([["a", "b"], ["a", "c"], ["b", "c"]], [1, 2, 3], r"PB-D514: Unknown label type: y has 3 different values"),
        ([["a", "b"], ["a", "c"]], [1, None], r"PB-D514: y has 1 missing labels"),
        (np.array([[0.5, 1], [1, 2]]), [0, 1], r"PB-D037: column 'user' has 1 ids that are not integers"),
    ],
)
def test_wrong_data_are_refused(estimator, X, y, match):
    with pytest.raises(DataError, match=match):
        clone(estimator).fit(X, y)


def test_a_sparse_matrix_is_refused(estimator):
    from scipy.sparse import csr_array

    with pytest.raises(DataError, match="PB-D510: X is a sparse matrix"):
        clone(estimator).fit(csr_array(np.eye(2)))


def test_nothing_is_said_before_fit(estimator, rows):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clone(estimator).predict(rows[["user", "item"]])


def test_scores_of_pda_are_no_probabilities(estimator, rows):
    own = clone(estimator).set_params(model="pda").fit(rows.loc[rows["label"] == 1, ["user", "item"]])
    with pytest.raises(ConfigError, match="PB-C555: scores of the model 'pda'"):
        own.predict(rows[["user", "item"]])


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    for name in ("sklearn", "sklearn.base"):
        monkeypatch.setitem(sys.modules, name, None)
    found = importlib.util.find_spec("pyro_popbias.interfaces.estimator")
    again = importlib.util.module_from_spec(found)
    found.loader.exec_module(again)
    with pytest.raises(
        ConfigError, match=r"^PB-C550: PopBiasRecommender needs scikit-learn; pip install 'pyro-popbias\[sklearn\]'$"
    ):
        again.PopBiasRecommender(epochs=2)


def test_nothing_else_imports_scikit_learn():
    package = Path(pb.__file__).parent
    files = [
        path for top in (package, package.parent / "models", package.parent / "guides") for path in top.rglob("*.py")
    ]
    assert [
        path.name for path in files if "import sklearn" in (text := path.read_text()) or "from sklearn" in text
    ] == ["estimator.py"]
