"""Where cells have no posterior of their own, q is held against NUTS (Hoffman and Gelman, JMLR 2014) on 50 items.

The parameters of the model are those that training has learned; what is compared is q of popularity with the joint
posterior of everything that is latent.
"""

import pytest
import torch
from pyro.infer import MCMC, NUTS
from pyro.infer.mcmc.util import diagnostics
from torch.nn.functional import logsigmoid

import pyro_popbias as pb
from pyro_popbias.assembly.training_data import split_rows
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.models.pda import PAIRS

ITEMS = 50
WARMUP, DRAWS = 150, 350


def nuts(log_joint, start):
    """Return draws `(S, ...)` of each site, and the effective number of draws of log z, `(50,)`."""
    torch.manual_seed(0)
    kernel = NUTS(potential_fn=lambda sites: -log_joint(**sites), max_tree_depth=6)
    mcmc = MCMC(kernel, num_samples=DRAWS, warmup_steps=WARMUP, initial_params=start, disable_progbar=True)
    mcmc.run()
    draws = mcmc.get_samples(group_by_chain=True)
    number = diagnostics(draws)["log_z"]["n_eff"]
    return {name: each[0] for name, each in draws.items()}, number


def assert_near(fit, draws, number, *, bias):
    """Compare q of log z with draws: means to 4 standard errors and a bias in sds, sds on average and one by one."""
    with torch.no_grad():
        q = fit.guide.popularity.posterior(torch.arange(ITEMS))
    log_z = draws["log_z"]
    error, ratio = (q.loc - log_z.mean(0)) / log_z.std(0), q.scale / log_z.std(0)
    shown = f"error {error.abs().mean():.3f}, sd {ratio.mean():.3f}, effective draws {number.min():.0f} or more"
    assert number.min() > 100, shown
    assert (error.abs() < 4 / number.clamp(max=DRAWS).sqrt() + bias).all(), shown
    assert error.abs().mean() < 0.2, shown
    # the standard error of an sd is sd / sqrt(2 n)
    assert 0.88 < ratio.mean() < 1.06, shown
    assert ((0.85 - 4 / (2 * number).sqrt() < ratio) & (ratio < 1.1 + 4 / (2 * number).sqrt())).all(), shown


def log_prior(fit, log_z):
    distribution = fit.model.prior.distribution(torch.arange(ITEMS))
    return (distribution.log_prob(log_z.exp()) + log_z).sum()


@pytest.mark.nightly
@pytest.mark.slow
def test_pda_against_nuts():
    simulation = pb.simulate(model="pda", affinity="embedding", users=60, items=ITEMS, interactions=1_500, seed=0)
    study = pb.Study(
        model={"name": "pda", "affinity": {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}},
        guide={"name": "lognormal"},
        training={"validation": 0.0, "device": "cpu", "epochs": 20},
    )
    fit = pb.fit(simulation.events, study=study, progress=False)
    events = fit.events
    train, _ = split_rows(events, fit.study)
    negatives = Negatives(events, 1, rows=train)
    free = torch.from_numpy(negatives.without_positive(torch.arange(ITEMS).numpy())).T.double()  # (U, K)
    count = torch.zeros(len(events.users), ITEMS, dtype=torch.float64)
    rows = [torch.from_numpy(part[train].astype("int64")) for part in (events.user, events.item)]
    count.index_put_(tuple(rows), torch.ones(len(train), dtype=torch.float64), accumulate=True)
    user, item = count.nonzero(as_tuple=True)
    # each positive weighs PAIRS pairs, whose other item is one without a positive, uniformly
    weight = PAIRS * count[user, item].unsqueeze(1) * (free / free.sum(1, keepdim=True))[user]
    with torch.no_grad():
        interest = fit.model.affinity_score(fit.model.affinity.table(torch.arange(len(events.users)), {}).mean)
        saturation = fit.model.saturation

    def log_joint(log_z):
        score = interest * saturation(log_z.exp())
        order = logsigmoid(score[user, item].unsqueeze(1) - score[user])
        return log_prior(fit, log_z) + (weight * order).sum()

    with torch.no_grad():
        start = fit.guide.popularity.posterior(torch.arange(ITEMS)).loc.clone()
        fit.model.requires_grad_(False)
    draws, number = nuts(log_joint, {"log_z": start})
    assert_near(fit, draws, number, bias=0.1)


@pytest.mark.nightly
@pytest.mark.slow
def test_bayesian_vectors_against_nuts():
    simulation = pb.simulate(affinity="embedding", users=40, items=ITEMS, interactions=4_000, seed=0)
    study = pb.Study(
        model={
            "affinity": {
                "name": "embedding",
                "dim": 2,
                "posterior": "mean-field",
                "scale": 0.7,
                "user_bias": False,
            },
            "prior": {"name": "gamma", "source": "fixed", "concentration": 2.0},
        },
        guide={"name": "lognormal"},
        training={"validation": 0.0, "device": "cpu", "epochs": 100},
    )
    fit = pb.fit(simulation.events, study=study, progress=False)
    events = fit.events
    train, _ = split_rows(events, fit.study)
    user, item = (torch.from_numpy(part[train].astype("int64")) for part in (events.user, events.item))
    label = torch.from_numpy(events.label[train]).double()
    fit.model.requires_grad_(False)
    intercept = fit.model.affinity.intercept

    def log_joint(log_z, users, items):
        x = (users[user] * items[item]).sum(-1) + intercept
        likelihood = fit.model.likelihood(x, log_z.exp()[item]).log_prob(label).sum()
        vectors = sum(-0.5 * (part / 0.7).square().sum() for part in (users, items))
        return log_prior(fit, log_z) + likelihood + vectors

    with torch.no_grad():
        weights = fit.guide.weights()
        users, items = (distribution.loc.double().clone() for distribution in weights.values())
        start = fit.guide.popularity.posterior(torch.arange(ITEMS)).loc.clone()
    draws, number = nuts(log_joint, {"log_z": start, "users": users, "items": items})
    assert_near(fit, draws, number, bias=0.4)
