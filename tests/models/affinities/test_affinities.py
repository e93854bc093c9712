import math

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import pair
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.models import AffinityDistribution
from pyro_popbias.models.affinities.embedding import _Products
from pyro_popbias.training.loop import train

AFFINITIES = {
    "embedding": {"name": "embedding", "dim": 3, "scale": 0.7, "posterior": "point"},
    "mean-field": {"name": "embedding", "dim": 3, "scale": "learned", "posterior": "mean-field"},
    "linear": {"name": "linear"},
    "factorization-machine": {"name": "factorization-machine", "dim": 3},
}


def events_with_features():
    sim = pb.simulate(users=30, items=20, interactions=600, seed=0)
    rng = np.random.default_rng(1)
    users, items = sim.events.users, sim.events.items
    user_features = pd.DataFrame({"age": rng.normal(size=30), "town": rng.choice(list("xyz"), 30)}, index=users)
    item_features = pd.DataFrame({"year": rng.normal(size=20)}, index=items)
    return pb.Interactions.from_frame(
        sim.frame, label="label", user_features=user_features, item_features=item_features
    )


def small_pair(affinity="embedding", **training):
    study = pb.Study(model={"affinity": AFFINITIES[affinity]}, training={"batch_size": 64, **training})
    return pair(events_with_features(), study=study)


def test_products_and_their_gradient():
    u, i = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.testing.assert_close(_Products.apply(u, i), ((u * i).sum(-1), (u * u).sum(-1), (i * i).sum(-1)))
    assert torch.autograd.gradcheck(_Products.apply, (u, i))


def test_log_prior_counts_each_row_once():
    p = small_pair(validation=0.0)
    _ = p.objective.loss(p.model, p.guide, p.whole())
    rows = torch.cat([p.model.affinity.user_vectors, p.model.affinity.item_vectors]).double()
    expected = torch.distributions.Normal(0.0, 0.7).log_prob(rows).sum()
    expected = expected + torch.distributions.Normal(0.0, 5.0).log_prob(p.model.affinity.intercept)
    expected = expected + torch.distributions.Normal(0.0, 1.0).log_prob(p.model.affinity.user_bias.log_scale)
    expected = expected + torch.distributions.Normal(math.log(2), 1.0).log_prob(p.model.prior.log_concentration)
    torch.testing.assert_close(p.objective.latest.log_prior, expected.detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", AFFINITIES)
def test_unseen_ids_are_at_the_prior_mean(name):
    p = small_pair(name)
    unseen = torch.tensor([-1])
    found = p.model.affinity.pairs(unseen, unseen, None, p.guide.weights())
    torch.testing.assert_close(found.mean, p.model.affinity.intercept.reshape(1))


@pytest.mark.parametrize("name", AFFINITIES)
def test_table_holds_the_pairs(name):
    p = small_pair(name)
    affinity, weights = p.model.affinity, p.guide.weights()
    user, item = torch.arange(5), torch.arange(20)
    table = affinity.table(user, weights)
    for code in range(5):
        row = affinity.pairs(user[code].expand(20), item, None, weights)
        torch.testing.assert_close(table.mean[code], row.mean, rtol=1e-5, atol=1e-6)
        if row.variance is not None:
            torch.testing.assert_close(table.variance[code], row.variance, rtol=1e-5, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", AFFINITIES)
def test_parts_of_the_table_are_the_table(name):
    p = small_pair(name)
    affinity, weights = p.model.affinity, p.guide.weights()
    user, item = torch.tensor([7, 2, 11]), torch.tensor([[3, 0, 19], [5, 5, 1], [8, 2, 4]])
    table, some = affinity.table(user, weights), affinity.among(user, item, weights)
    torch.testing.assert_close(some.mean, table.mean.gather(1, item), rtol=1e-5, atol=1e-6)
    order = affinity.order(user, weights).double()
    torch.testing.assert_close(order.diff(), table.mean.diff(), rtol=1e-4, atol=1e-5)
    bounds = affinity.variance_range(user, weights)
    assert (bounds is None) == affinity.ranks_by_mean
    if bounds is not None:
        torch.testing.assert_close(some.variance, table.variance.gather(1, item), rtol=1e-5, atol=1e-9)
        least, most = (end.unsqueeze(1) for end in bounds)
        assert (least <= table.variance * (1 + 1e-6)).all()
        assert (table.variance <= most * (1 + 1e-6)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mean-field", "linear"])
def test_moments_are_those_of_the_program(name):
    p = small_pair(name, validation=0.0)
    batch = next(p.batches())
    distribution = p.model.affinity.pairs(batch.user, batch.item, None, p.guide.weights())
    draws = []
    with local_parameters(), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in p.guide.affinity.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
        distribution = p.model.affinity.pairs(batch.user, batch.item, None, p.guide.weights())
        import pyro

        for _ in range(2000):
            trace = pyro.poutine.trace(p.guide).get_trace(batch)
            draws.append(pyro.poutine.replay(p.model.affinity, trace=trace)(batch))
    draws = torch.stack(draws)
    error = 5 * draws.std(0) / len(draws) ** 0.5
    assert (abs(draws.mean(0) - distribution.mean) < error).all()
    torch.testing.assert_close(draws.var(0), distribution.variance, rtol=0.35, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", AFFINITIES)
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.usefixtures("short_training")
def test_every_affinity_trains_with_any_number_of_particles(name, particles):
    history = train(small_pair(name, epochs=4, particles=particles)).history
    first = history[history["phase"] == 1]
    assert first["elbo"].iloc[-1] > first["elbo"].iloc[0]
    assert np.isfinite(history[["elbo", "kl"]]).all().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mean-field", "linear", "factorization-machine"])
def test_loss_of_batches_is_unbiased(name):
    p = small_pair(name, validation=0.0)
    loss = p.objective(p.model, p.guide)

    def parts(batch):
        value, terms = loss(batch), p.objective.latest
        return torch.stack([value, terms.kl, terms.log_prior])

    with local_parameters(), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        whole = torch.stack([parts(p.whole()) for _ in range(100)])
        epochs = torch.stack(
            [torch.stack([parts(batch) for batch in p.batches(epoch=epoch)]).mean(0) for epoch in range(40)]
        )
    error = (epochs.var(0) / len(epochs) + whole.var(0) / len(whole)).sqrt()
    assert (abs(epochs.mean(0) - whole.mean(0)) <= 4 * error + 1e-6 * abs(whole.mean(0))).all()


def test_plain_numbers_and_distributions_are_averaged():
    mean, variance = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.5, 2.0]).double()
    value, sd = AffinityDistribution(mean).expect(torch.sigmoid)
    assert sd is None
    torch.testing.assert_close(value, torch.sigmoid(mean))
    value, sd = AffinityDistribution(mean, variance).expect(torch.sigmoid)
    torch.testing.assert_close(value, pb.distributions.logistic_normal(mean, variance.sqrt()), rtol=0, atol=1e-3)
    draws = torch.sigmoid(mean + variance.sqrt() * torch.randn(200_000, 2, dtype=torch.float64))
    torch.testing.assert_close(sd, draws.std(0), rtol=0.01, atol=0)


def test_quantiles_are_those_of_the_normal():
    mean, variance = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.25, 0.0]).double()
    assert AffinityDistribution(mean).quantile(0.05) is None
    found = AffinityDistribution(mean, variance).quantile(0.05)
    torch.testing.assert_close(found, torch.tensor([0.3 - 0.5 * 1.6448536269514722, -1.0]).double())


def test_linear_without_features_is_refused(events):
    with pytest.raises(DataError, match="PB-D109: a linear affinity needs features of users or items"):
        pair(events, study=pb.Study(model={"affinity": {"name": "linear"}}))


def test_learned_scale_of_points_is_refused():
    with pytest.raises(ConfigError, match=r"scale = 'learned' needs posterior = 'mean-field'"):
        pb.Study(model={"affinity": {"name": "embedding", "scale": "learned", "posterior": "point"}})


def test_linear_weights_are_parameters_with_intervals(short_training):
    fit = pb.fit(events_with_features(), study=pb.Study(model={"affinity": {"name": "linear"}}), progress=False)
    table = fit.parameters().set_index("name")
    assert list(table.index[:3]) == ["intercept", "user_bias_scale", "concentration"]
    weights = table.loc[[f"beta_user[{k}]" for k in range(4)] + ["beta_item[0]"]]
    assert (weights["lower"] < weights["mean"]).all()
    assert (weights["sd"] > 0).all()
    assert (table.loc[["intercept", "user_bias_scale", "concentration"], "sd"] > 0).all()
    data = fit.to_arviz(draws=2000)
    beta = data["posterior"]["beta_user"]
    assert beta.dims == ("chain", "draw", "beta_user_feature")
    assert beta["beta_user_feature"].values.tolist() == ["age", "town=x", "town=y", "town=z"]
    error = weights["sd"].iloc[:4].to_numpy() / 2000**0.5
    assert (abs(beta.mean(["chain", "draw"]).values - weights["mean"].iloc[:4]) < 4 * error).all()
    assert abs(data["prior"]["beta_item"].std() - 1) < 0.1
    pairs = fit.predict(fit.recommend(k=2))
    assert (pairs["score_sd"] > 0).all()
