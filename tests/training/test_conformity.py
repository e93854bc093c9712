"""Known slopes of users are found, and none where there are none."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:PB-C402", "ignore:PB-C461")]
USERS, ITEMS, ROWS, CONCENTRATION = 300, 120, 40_000, 1.5
PRIORS = {
    "additive": {"name": "normal"},
    # gamma and the spread of log z are known by their product only
    "inverse-logistic": {"name": "gamma", "source": "fixed", "concentration": CONCENTRATION},
}


def simulated(model, scale, seed):
    """Return interactions, and gamma_u by the user's number."""
    rng = np.random.default_rng(seed)
    slope = 1 + scale * rng.normal(size=USERS)
    gamma = rng.gamma(CONCENTRATION, 1 / CONCENTRATION, size=ITEMS)
    t = rng.normal(size=ITEMS) if model == "additive" else np.log(gamma)
    user, item = rng.integers(USERS, size=ROWS), rng.integers(ITEMS, size=ROWS)
    logit = -0.3 + 0.7 * rng.normal(size=USERS)[user] + slope[user] * t[item]
    label = (rng.random(ROWS) < 1 / (1 + np.exp(-logit))).astype(int)
    frame = pd.DataFrame({"user": user, "item": item, "label": label})
    return pb.Interactions.from_frame(frame, label="label"), slope


def fitted(model, posterior, scale, seed, **rest):
    events, slope = simulated(model, scale, seed)
    affinity = {"name": "embedding", "dim": 2, "posterior": posterior}
    parts = {"affinity": affinity, "prior": PRIORS[model], "exposure": "none", "conformity": True, **rest}
    guide = {"name": "normal" if model == "additive" else "lognormal"}
    study = pb.Study(model={"name": model, **parts}, guide=guide, training={"device": "cpu"})
    return pb.fit(events, study=study, progress=False), slope


def of(fit):
    return fit.parameters().set_index("name")["mean"]


@pytest.mark.nightly
@pytest.mark.parametrize("posterior", ["mean-field", "point"])
@pytest.mark.parametrize("model", PRIORS)
def test_known_slopes_are_found(model, posterior):
    fit, slope = fitted(model, posterior, 0.6, seed=0)
    table = fit.users(interval=0.9)
    truth = slope[table["user"].astype(int)]
    assert np.corrcoef(table["gamma_mean"], truth)[0, 1] > (0.85 if posterior == "mean-field" else 0.8)
    assert abs(of(fit)["conformity_scale"] / truth.std() - 1) < 0.25
    assert abs(of(fit)["gamma"] / truth.mean() - 1) < 0.15
    covered = ((table["gamma_lower"] < truth) & (truth < table["gamma_upper"])).mean()
    assert posterior == "point" or 0.85 < covered < 0.97  # point vectors make intervals too narrow
    without, _ = fitted(model, posterior, 0.6, seed=0, conformity=False)
    better = fit.history["validation_log_score"].iloc[-1] - without.history["validation_log_score"].iloc[-1]
    assert better > 0.0005


@pytest.mark.nightly
@pytest.mark.parametrize("model", PRIORS)
def test_where_all_users_are_alike_the_scale_is_near_0(model):
    fit, _ = fitted(model, "mean-field", 0.0, seed=1)
    assert of(fit)["conformity_scale"] < 0.12
    assert fit.users()["gamma_mean"].std() < 0.05
