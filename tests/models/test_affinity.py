import math

import pytest
import torch
from pyro_popbias.models.affinity import _Products

import pyro_popbias as pb
from pyro_popbias import tables
from pyro_popbias.building import local_parameters
from pyro_popbias.pairing import pair
from pyro_popbias.training import Training, train


def small_pair(**training):
    sim = pb.simulate(users=30, items=20, interactions=600, seed=0)
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 3, "scale": 0.7}}, training={"batch_size": 64, **training}
    )
    return pair(sim.events, study=study)


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
    expected = expected + torch.distributions.Normal(math.log(2), 1.0).log_prob(p.model.prior.log_concentration)
    torch.testing.assert_close(p.objective.latest.log_prior, expected.detach(), rtol=1e-6, atol=0)


def test_unseen_ids_are_at_the_prior_mean():
    affinity = small_pair().model.affinity
    code, unseen = torch.tensor([3]), torch.tensor([-1])
    for user, item in ((unseen, code), (code, unseen), (unseen, unseen)):
        torch.testing.assert_close(affinity.pairs(user, item), affinity.intercept.reshape(1))


def test_table_holds_the_pairs():
    affinity = small_pair().model.affinity
    user, item = torch.arange(5), torch.arange(20)
    table = affinity.table(user)
    for code in range(5):
        torch.testing.assert_close(table[code], affinity.pairs(user[code].expand(20), item), rtol=1e-5, atol=1e-6)


def test_sparse_tables_take_the_first_step_of_dense_ones(monkeypatch):
    dense, sparse = small_pair(), small_pair()
    steps = {}
    for name, each, limit in (("dense", dense, tables.SPARSE_ABOVE), ("sparse", sparse, 10)):
        monkeypatch.setattr(tables, "SPARSE_ABOVE", limit)
        with local_parameters(), tables.sparse_gradients():
            training = Training(each, on_epoch=lambda _: None)
            training._step(next(each.batches()))
        steps[name] = each.model.affinity.user_vectors.detach().clone()
    start = small_pair().model.affinity.user_vectors.detach()
    assert not torch.equal(steps["dense"], start)
    torch.testing.assert_close(steps["sparse"], steps["dense"], rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("short_training")
def test_sparse_tables_train(monkeypatch):
    monkeypatch.setattr(tables, "SPARSE_ABOVE", 10)
    history = train(small_pair(epochs=3))
    first = history[history["phase"] == 1]
    assert first["elbo"].iloc[-1] > first["elbo"].iloc[0]
