"""Chains of periods against dense Normals, and their KL to and from any family against draws."""

import pytest
import torch
from torch import distributions as td
from torch.distributions import kl_divergence

from pyro_popbias.distributions.chains import LogNormalChain, NormalChain, before, marginals

PERIODS, CHAINS = 4, 3
FAMILIES = {
    "gamma": lambda: td.Gamma(random() + 1.5, random() + 1),
    "exponential": lambda: td.Exponential(random() + 1),
    "lognormal": lambda: td.LogNormal(random() - 0.5, random() + 0.3),
    "weibull": lambda: td.Weibull(random() + 0.5, random() + 1),
}


def random():
    return torch.rand(CHAINS * PERIODS, dtype=torch.float64)


def chain(kind, *, coupling=None):
    given = 2 * random() - 0.5 if coupling is None else torch.full((CHAINS * PERIODS,), coupling, dtype=torch.float64)
    return kind(random() - 0.5, 0.3 * random() + 0.3, given, periods=PERIODS)


def dense(part):
    """Return the joint Normals of y, `(CHAINS,)`, from the precision matrix A' S^-1 A with y_t - c_t y_{t-1} in A."""
    own = [each.reshape(CHAINS, PERIODS) for each in (part.loc, part.scale, part.coupling)]
    differences = torch.eye(PERIODS, dtype=torch.float64).repeat(CHAINS, 1, 1)
    for t in range(1, PERIODS):
        differences[:, t, t - 1] = -own[2][:, t]
    precision = differences.transpose(1, 2) @ torch.diag_embed(own[1] ** -2) @ differences
    return td.MultivariateNormal(own[0], precision_matrix=precision)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_density_and_variance_are_those_of_the_dense_normal():
    q = chain(NormalChain)
    y = q.rsample((5,))
    found = q.log_prob(y).reshape(5, CHAINS, PERIODS).sum(-1)
    torch.testing.assert_close(found, dense(q).log_prob(y.reshape(5, CHAINS, PERIODS)))
    torch.testing.assert_close(q.variance_of_y.reshape(CHAINS, PERIODS), dense(q).variance)
    positive = LogNormalChain(q.loc, q.scale, q.coupling, periods=PERIODS)
    torch.testing.assert_close(positive.log_prob(y.exp()), q.log_prob(y) - y)


def test_draws_have_the_covariance():
    q = chain(NormalChain)
    y = q.rsample((200_000,)).reshape(-1, CHAINS, PERIODS)
    expected = dense(q).covariance_matrix
    for k in range(CHAINS):
        sd = expected[k].diagonal().sqrt()
        error = (torch.cov(y[:, k].T) - expected[k]) / (sd[:, None] * sd)
        assert error.abs().max() < 5 * 2**0.5 * 200_000**-0.5


@pytest.mark.parametrize("kind", [NormalChain, LogNormalChain])
def test_kl_of_two_chains_is_that_of_the_dense_normals(kind):
    q, p = chain(kind), chain(kind, coupling=1.0)
    found = kl_divergence(q, p).reshape(CHAINS, PERIODS).sum(-1)
    torch.testing.assert_close(found, kl_divergence(dense(q), dense(p)))
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros_like(p.loc))


def test_kl_of_independent_normals_is_that_of_a_chain_without_coupling():
    none, p = chain(NormalChain, coupling=0.0), chain(NormalChain)
    torch.testing.assert_close(kl_divergence(none.marginals, p), kl_divergence(none, p))
    torch.testing.assert_close(kl_divergence(p, none.marginals), kl_divergence(p, none))
    positive = [LogNormalChain(each.loc, each.scale, each.coupling, periods=PERIODS) for each in (none, p)]
    torch.testing.assert_close(kl_divergence(positive[0].marginals, positive[1]), kl_divergence(*positive))
    torch.testing.assert_close(kl_divergence(positive[1], positive[0].marginals), kl_divergence(*positive[::-1]))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("from_chain", [False, True])
def test_kl_to_and_from_any_family_is_the_mean_log_ratio(family, from_chain):
    other, walk = FAMILIES[family](), chain(LogNormalChain, coupling=0.6)
    q, p = (walk, other) if from_chain else (other, walk)
    z = q.rsample((200_000,)) if from_chain else q.sample((200_000,))
    ratio = (q.log_prob(z) - p.log_prob(z)).sum(-1)
    error = ratio.std() / len(ratio) ** 0.5
    assert abs(kl_divergence(q, p).sum() - ratio.mean()) < 4 * error


def test_a_chain_of_one_period_is_no_chain():
    q = LogNormalChain(random(), random() + 0.1, random(), periods=1)
    assert not q.coupling.any()
    torch.testing.assert_close(q.log_prob(torch.full_like(q.loc, 0.7)), marginals(q).log_prob(torch.tensor(0.7)))
    assert torch.equal(before(q.loc, 1), torch.zeros_like(q.loc))


def test_expanded_chains_are_the_same_chains():
    q = chain(LogNormalChain)
    wide = q.expand((2, CHAINS * PERIODS))
    z = q.rsample()
    torch.testing.assert_close(wide.log_prob(z), q.log_prob(z).expand(2, -1))
    torch.testing.assert_close(wide.variance_of_y[1], q.variance_of_y)
