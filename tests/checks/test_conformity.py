"""Checks of fits whose users differ in how far they follow popularity."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import logsigmoid

import pyro_popbias as pb
from pyro_popbias.checks.accuracy import accuracy
from pyro_popbias.checks.training_rows import TrainingRows

# the spread of popularity is learned beside its slopes, as a user may choose to
pytestmark = [pytest.mark.filterwarnings("ignore:PB-C461"), pytest.mark.slow]

MODELS = {"additive": "normal", "inverse-logistic": "gamma"}


def study(model, posterior="mean-field", **training):
    affinity = {"name": "embedding", "dim": 2, "posterior": posterior, "user_bias": posterior == "mean-field"}
    parts = {"affinity": affinity, "prior": {"name": MODELS[model]}, "exposure": "none", "conformity": True}
    guide = {"name": "normal" if model == "additive" else "lognormal"}
    return pb.Study(model={"name": model, **parts}, guide=guide, training={"device": "cpu", **training})


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("posterior", ["mean-field", "point"])
@pytest.mark.parametrize("model", MODELS)
def test_rows_count_by_their_expected_log_likelihood(make_frame, model, posterior, labels):
    frame = make_frame(rows=60)
    frame = frame if labels else frame.query("label == 1").drop(columns="label")
    events = pb.Interactions.from_frame(frame, label="label" if labels else None)
    made, generator = pb.pair(events, study=study(model, posterior, validation=0.0)), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*made.model.parameters(), *made.guide.affinity.parameters()]:
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    rows = TrainingRows(made).of(np.array([4]))
    assert rows.compressed() is rows
    z = torch.tensor([[0.3], [1.0], [2.5]]).double()
    with torch.no_grad():
        found = rows.log_likelihood(made.model, z)
        node = torch.linspace(-8, 8, 401).double()
        weight = torch.softmax(-0.5 * node.square(), 0)
        of_x = torch.zeros_like(rows.affinity) if rows.variance is None else rows.variance
        for number, each in enumerate(z):
            t = made.model.logit_term(each)
            loc = rows.affinity + (made.model.slope + rows.conformity) * t
            sd = (of_x + rows.conformity_variance * t.square()).sqrt()
            y = loc + sd * node.unsqueeze(1)
            expected = (weight @ logsigmoid((2 * rows.label - 1) * y)) @ rows.weight
            assert found[number].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.fixture(scope="module", params=MODELS)
def fit(request):
    users, items, rows = 60, 20, 4_000
    rng = np.random.default_rng(0)
    user, item = rng.integers(users, size=rows), rng.integers(items, size=rows)
    t = rng.normal(size=items) if request.param == "additive" else np.log(rng.gamma(1.5, 1 / 1.5, size=items))
    logit = -0.3 + (1 + 0.6 * rng.normal(size=users))[user] * t[item]
    label = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(int)
    events = pb.Interactions.from_frame(pd.DataFrame({"user": user, "item": item, "label": label}), label="label")
    return pb.fit(events, study=study(request.param, epochs=20, phase_two=36), progress=False)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:PB-C402")
def test_q_is_close_to_the_exact_posterior(fit):
    assert accuracy(fit).mean_kl < 0.02


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:PB-C402")
def test_the_fit_follows_its_data(fit):
    of_items = fit.check().tables["items"]
    assert (of_items["p_value"] > 0.01).mean() > 0.9
