"""Stock `pyro.infer.SVI` over a pair: the same training as phase one of `pb.fit`, and programs that compose."""

from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import LogNormal
from pyro.infer import SVI, Predictive
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.training.loop import GUIDE_MEMORY, MODEL_MEMORY, train

pytestmark = pytest.mark.usefixtures("short_training")
EPOCHS = 5
SETTLED = 3  # the last epochs, whose mean is compared
SEEDS = range(6)
STANDARD_ERRORS = 4


@pytest.fixture(autouse=True)
def _own_store():
    pyro.clear_param_store()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    pyro.clear_param_store()


@pytest.fixture
def pair_of(events, model_for):
    def make(guide, **affinity):
        points = {"name": "embedding", "dim": 3, "posterior": "point", **affinity}
        study = pb.Study(
            model={**model_for(guide), "affinity": points},
            guide={"name": guide},
            training={"epochs": EPOCHS, "batch_size": 100, "device": "cpu", "validation": 0.0},
        )
        return pb.pair(events, study=study)

    return make


def rates_of(study):
    """Return the rates of phase one by a parameter's name, as `pyro.optim.Adam` asks for them."""
    popularity = {"lr": study.training.guide_learning_rate, "betas": (0.9, GUIDE_MEMORY)}
    rest = {"lr": study.training.learning_rate, "betas": (0.9, MODEL_MEMORY)}
    return lambda name: popularity if name.startswith("popularity") else rest


def trained(pair, model=None, guide=None):
    """Return the mean ELBO of each epoch, in nats, of `SVI` over the pair's batches."""
    optimizer = pyro.optim.Adam(rates_of(pair.study))
    svi = SVI(model or pair.model, guide or pair.guide, optimizer, pair.objective)
    epochs = [[svi.step(batch) for batch in pair.batches(epoch=epoch)] for epoch in range(EPOCHS)]
    return -np.mean(epochs, axis=1)


def parameters_of(pair):
    return {name: value.detach().clone() for name, value in pair.objective(pair.model, pair.guide).named_parameters()}


@pytest.mark.parametrize("guide", pb.GUIDES)
def test_every_parameter_moves(pair_of, guide):
    pair = pair_of(guide)
    start = parameters_of(pair)
    assert np.isfinite(trained(pair)).all()
    for name, value in parameters_of(pair).items():
        assert not torch.equal(value, start.get(name, value + 1)), name  # an autoguide has none at its start


@pytest.mark.slow
@pytest.mark.parametrize("guide", pb.GUIDES)
def test_the_elbo_is_that_of_phase_one(pair_of, guide):
    elbos = []
    for seed in SEEDS:
        pyro.clear_param_store()
        torch.manual_seed(seed)
        elbos.append(trained(pair_of(guide)))
    pair = pair_of(guide)
    history = train(pair).history.query("phase == 1")[pair.guide.popularity.maximises].to_numpy()
    settled = np.mean([each[-SETTLED:] for each in elbos], axis=1)
    difference = history[-SETTLED:].mean() - settled.mean()
    # phase one is one more training like those of the seeds; vectors are float32 and round at every step
    noise = settled.std(ddof=1) * (1 + 1 / len(SEEDS)) ** 0.5
    rounding = torch.finfo(torch.float32).eps * abs(history).max() * pair.study.training.epochs
    assert abs(difference) <= STANDARD_ERRORS * noise + rounding


def test_a_second_pair_goes_on_from_the_first_unless_the_store_is_cleared(pair_of):
    first = trained(pair_of("gamma"))
    second = trained(pair_of("gamma"))
    assert second[0] > first[1]
    pyro.clear_param_store()
    assert trained(pair_of("gamma"))[0] < first[1]


def test_draws_of_predictive(pair_of):
    pair = pair_of("gamma")
    trained(pair)
    batch = pair.whole()
    predictive = Predictive(pair.model, guide=pair.guide, num_samples=7)
    draws = predictive(replace(batch, label=None))
    assert draws["popularity"].shape == (7, len(batch.cell))
    assert draws["label"].shape == (7, len(batch.user))
    assert set(draws["label"].unique().tolist()) == {0, 1}
    assert (predictive(batch)["label"] == batch.label).all()  # given labels come back


@pytest.mark.slow
def test_draws_of_predictive_from_a_fit(events):
    """Its parameters are its own, so that Pyro must not look for them in its store."""
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 3, "posterior": "point"}},
        training={"epochs": 2, "batch_size": 100},
    )
    fit = pb.fit(events, study=study, progress=False)
    batch = pb.pair(events, study=study).whole()
    with local_parameters():
        draws = Predictive(fit.model, guide=fit.guide, num_samples=2000)(batch)["popularity"]
    with torch.no_grad():
        distribution = fit.guide.popularity.posterior(batch.cell)
    error = distribution.stddev / len(draws) ** 0.5
    assert ((draws.mean(0) - distribution.mean).abs() <= STANDARD_ERRORS * error).all()
    assert not pyro.get_param_store()


def test_a_guide_of_ones_own(pair_of):
    pair = pair_of("gamma", user_bias=False)
    cells = pair.events.cells

    def guide(batch):
        loc = pyro.param("loc", torch.zeros(cells, dtype=torch.float64))
        scale = pyro.param("scale", torch.ones(cells, dtype=torch.float64), constraint=constraints.positive)
        with pyro.plate("cell", len(batch.cell)), poutine.scale(scale=batch.weight):
            pyro.sample("popularity", LogNormal(loc[batch.cell], scale[batch.cell]))

    elbos = trained(pair, guide=guide)
    assert elbos[-1] > elbos[0]
    assert not (pyro.param("loc") == 0).any()
    assert "popularity.rows" not in pyro.get_param_store()


def test_a_model_with_a_known_popularity(pair_of):
    pair = pair_of("gamma", user_bias=False)
    known = torch.linspace(0.5, 1.5, pair.events.cells).double()

    def model(batch):
        return poutine.condition(pair.model, data={"popularity": known[batch.cell]})(batch)

    elbos = trained(pair, model=model, guide=lambda batch: None)
    assert elbos[-1] > elbos[0]
    assert pair.objective.latest.kl == 0
