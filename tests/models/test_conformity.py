"""Users who differ in how far they follow popularity: the programs, and their integrals."""

import numpy as np
import pytest
import torch
from pyro import poutine

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.errors import IncompatibleError
from pyro_popbias.models import MODELS, popularity_model
from pyro_popbias.models.conformity import SITE
from pyro_popbias.training.vector_scales import VectorScales

# the spread of popularity is learned beside its slopes, as a user may choose to
pytestmark = pytest.mark.filterwarnings("ignore:PB-C461")

DRAWS = 200_000
MODELS_WITH = {"additive": "normal", "inverse-logistic": "gamma"}
AFFINITIES = {
    "embedding": {"name": "embedding", "dim": 2},
    "point": {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False},
}


def study(model, affinity="embedding", **rest):
    family = MODELS_WITH[model]
    parts = {"affinity": AFFINITIES[affinity], "prior": {"name": family}, "exposure": "none", "conformity": True}
    training = {"device": "cpu", "validation": 0.0}
    return pb.Study(model={"name": model, **parts, **rest}, guide={"name": family}, training=training)


@pytest.fixture(scope="module")
def make(make_frame):
    events = pb.Interactions.from_frame(make_frame(), label="label")

    def of(model, affinity="embedding", **rest):
        """Return a pair whose q and parameters have been moved, so that nothing is right because it is 0."""
        made, generator = pb.pair(events, study=study(model, affinity, **rest)), torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in [*made.model.parameters(), *made.guide.parameters()]:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        return made

    return of


def term(model, z):
    return z if model == "additive" else z.log()


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("model", MODELS_WITH)
def test_the_program(make, model, affinity):
    made = make(model, affinity)
    batch = made.whole()
    with local_parameters(), torch.no_grad():
        guide = poutine.trace(made.guide).get_trace(batch)
        trace = poutine.trace(poutine.replay(made.model, trace=guide)).get_trace(batch)
        x = poutine.replay(made.model.affinity, trace=guide)(batch)
    z = trace.nodes["popularity"]["value"].index_select(-1, batch.cell_index)
    deviation = trace.nodes[SITE]["value"].squeeze(-1)[batch.users.cell_index]
    logit = x + (made.model.slope + deviation) * term(model, z)
    torch.testing.assert_close(trace.nodes["label"]["fn"].logit, logit)
    scale = trace.nodes[SITE]["fn"].base_dist.scale
    torch.testing.assert_close(scale.double(), made.model.estimates()["conformity_scale"].expand_as(scale))
    # where x is known d_u is drawn all the same
    known = pb.pair(made.events, study=made.study).rows.with_affinity(torch.zeros(len(made.rows)).double(), None)
    with local_parameters():
        guide = poutine.trace(made.guide).get_trace(known.whole())
    assert {SITE, "popularity"} == {name for name in guide.stochastic_nodes if not name.endswith(("_plate", "cell"))}


@pytest.mark.parametrize("model", MODELS_WITH)
def test_the_option_is_off_by_default(make, model):
    made = make(model, conformity=False)
    assert made.model.conformity is None
    assert SITE not in made.guide.weights()
    assert "conformity_scale" not in made.model.estimates()
    assert ("gamma" in made.model.estimates()) == (model == "additive")
    assert pb.Study().model.conformity is False


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(MODELS_WITH)))
def test_other_models_refuse_it(events, name):
    with pytest.raises(IncompatibleError, match=r"PB-C410: .* goes with additive, inverse-logistic and .*" + name):
        pb.pair(events, study=pb.Study(model={"name": name, "conformity": True}))


def test_a_popularity_of_every_row_refuses_it(events):
    declared = study("additive", latent="interaction")
    with pytest.raises(IncompatibleError, match=r"PB-C410: .* latent = 'item', not with .* latent = 'interaction'"):
        pb.pair(events, study=declared)


@pytest.mark.parametrize("model", MODELS_WITH)
def test_the_kl_of_batches_is_that_of_all_rows(make, model):
    """Weights of users: over the batches of an epoch, of equal size, the KL is counted once per user."""
    made = make(model, "point")
    objective, module = made.objective, made.objective(made.model, made.guide)
    kl = []
    with local_parameters(), torch.no_grad():
        for batch in made.rows.batches(100, seed=0, epoch=0):
            module(batch)
            kl.append(float(objective.latest.kl))
        module(made.whole())
    assert len(kl) == 4
    assert np.mean(kl) == pytest.approx(float(objective.latest.kl), rel=1e-5)


def monte_carlo(made, affinity, z, label):
    """Return log P of labels by draws of x, d_u and z `(DRAWS, B)`, and its standard error."""
    model, generator = made.study.model.name, torch.Generator().manual_seed(1)
    normal = [torch.randn(z.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    d, of_x = affinity.conformity, 0.0 if affinity.variance is None else affinity.variance.sqrt()
    x, deviation = affinity.mean + normal[0] * of_x, d.mean + normal[1] * d.variance.sqrt()
    p = torch.sigmoid((2 * label - 1) * (x + (made.model.slope + deviation) * term(model, z)))
    return p.mean(0).log(), p.std(0) / DRAWS**0.5 / p.mean(0)


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("model", MODELS_WITH)
def test_log_scores_are_integrals_over_all_three(make, model, affinity, monkeypatch):
    made = make(model, affinity)
    batch = made.rows.batch(torch.arange(12))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        q = made.guide.popularity.posterior(batch.cell)
        x = made.model.pairs(batch.user, batch.item, None, made.guide.weights())
        found = made.model.log_score(batch, x, q)
        z = q.sample((DRAWS,))[:, batch.cell_index]
        expected, error = monte_carlo(made, x, z, batch.label)
        # far out the logarithm has its own integral, which is right here too
        monkeypatch.setattr(popularity_model, "RAREST", 1.0)
        by_logarithms = made.model.log_score(batch, x, q)
    assert ((found - expected).abs() < 5 * error).all()
    torch.testing.assert_close(by_logarithms, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS_WITH)
def test_information_has_the_slope_of_the_user(make, model):
    made = make(model)
    batch = made.rows.batch(torch.arange(6))
    deviation, z = torch.linspace(-0.5, 0.8, 6).double(), torch.linspace(0.3, 2.0, 6).double()
    x = torch.linspace(-1, 1, 6).double()
    batch = type(batch)(
        **{**{name: getattr(batch, name) for name in batch.__dataclass_fields__}, "conformity": deviation}
    )
    slope = (made.model.slope + deviation).detach()
    found = made.model.information(batch, x + deviation * term(model, z), z)
    p = torch.sigmoid(x + slope * term(model, z))
    torch.testing.assert_close(found.affinity, p * (1 - p))
    torch.testing.assert_close(found.both, p * (1 - p) * slope)
    torch.testing.assert_close(found.popularity, p * (1 - p) * slope.square())


@pytest.mark.parametrize("model", MODELS_WITH)
def test_parameters_are_drawn_from_their_priors(make, model):
    made = make(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = []
        for _ in range(400):
            made.model.draw_parameters()
            draws.append([made.model.conformity.log_scale.item(), made.model.slope.log().item()])
    scale, slope = np.transpose(draws)
    assert scale.mean() == pytest.approx(np.log(0.5), abs=0.2)
    assert scale.std() == pytest.approx(1.0, rel=0.15)
    assert slope.mean() == pytest.approx(0.0, abs=0.2)
    assert slope.std() == pytest.approx(1.0 if model == "additive" else 0.5, rel=0.15)


def test_gradients_train_it_where_scales_of_vectors_are_set(make):
    made = make("additive")
    names = [name for name, _ in made.objective(made.model, made.guide).named_parameters() if SITE in name]
    assert len(names) == 3
    assert not any(VectorScales.holds(name) for name in names)


def test_an_unseen_user_has_the_prior(make):
    made = make("inverse-logistic")
    found = made.model.pairs(torch.tensor([-1, 2]), torch.tensor([0, 0]), None, made.guide.weights()).conformity
    q = made.guide.weights()[SITE]
    assert found.mean.tolist() == pytest.approx([0.0, q.loc[2].item()])
    scale = made.model.estimates()["conformity_scale"].item()
    assert found.variance.tolist() == pytest.approx([scale**2, q.scale[2].item() ** 2])
