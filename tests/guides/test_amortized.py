import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.data.features import Features
from pyro_popbias.distributions.kl import moments
from pyro_popbias.guides import AmortizedGuide, CellStatistics
from pyro_popbias.guides.amortized_guide import AFFINITY

AMORTIZED = [name for name, cls in pb.GUIDES.items() if issubclass(cls, AmortizedGuide)]
FIXED = {"name": "fixed", "score": "score"}


def study_of(guide, model_for, **training):
    return pb.Study(model={**model_for(guide), "affinity": FIXED}, guide={"name": guide}, training=training)


def made(guide, cells, prior):
    with local_parameters():
        return pb.GUIDES[guide].build(prior, cells)


@pytest.fixture
def prior_of():
    def of(guide):
        positive = pb.GUIDES[guide].fits(constraints.positive)
        return pb.models.PRIORS["gamma" if positive else "normal"]().population()

    return of


@pytest.mark.parametrize("guide", AMORTIZED)
def test_the_network_starts_at_the_row_nearest_to_the_prior(guide, prior_of):
    cells = CellStatistics(rows=np.arange(6), positives=np.arange(6) // 2, periods=2)
    q = made(guide, cells, prior_of(guide))
    start = q.local.start(prior_of(guide)).expand(6, 2)
    distribution, nearest = q.posterior(torch.arange(6)), q.local.from_rows(start)
    torch.testing.assert_close(distribution.mean, nearest.mean)
    torch.testing.assert_close(distribution.stddev, nearest.stddev)


@pytest.mark.parametrize("guide", AMORTIZED)
def test_parameters_do_not_grow_with_the_cells(guide, prior_of):
    sizes = [
        sum(
            value.numel() for value in made(guide, CellStatistics(np.ones(n), np.ones(n)), prior_of(guide)).parameters()
        )
        for n in (10, 1000)
    ]
    assert sizes[0] == sizes[1]


def test_counts_period_affinity_and_features_are_inputs(prior_of):
    items = Features(("a", "b"), np.array([[0], [1], [1]]), np.array([[1.0], [1.0], [2.0]], np.float32))
    cells = CellStatistics(rows=np.full(6, 3), positives=np.array([0, 0, 0, 0, 0, 3]), periods=2, features=items)
    q = made("amortized-gamma", cells, prior_of("amortized-gamma"))
    q.set_mean_affinity(torch.tensor([0.5, -1.0, 0.0, 0.0, 0.0, 0.0]))
    with torch.no_grad():
        for parameter in q.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    mean = q.posterior(torch.arange(6)).mean
    assert len(mean.unique()) == 6  # every two cells differ in one of the inputs
    assert q.inputs[:, AFFINITY].tolist() == [0.5, -1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("guide", AMORTIZED)
def test_training_rows_are_seen_and_held_out_rows_are_not(frame, guide, model_for):
    scored = frame.assign(score=np.linspace(-1, 1, len(frame)))
    events = pb.Interactions.from_frame(scored, label="label")
    pair = pb.pair(events, study=study_of(guide, model_for, validation=0.3))
    table = pair.rows.whole()
    cell = table.cell[table.cell_index]
    mean = torch.zeros(events.cells).double().index_add(0, cell, table.score) / torch.bincount(cell)
    torch.testing.assert_close(pair.guide.popularity.inputs[:, AFFINITY], mean)
    positives = torch.zeros(events.cells).double().index_add(0, cell, table.label).log1p()
    standard = (positives - positives.mean()) / positives.std(correction=0)
    torch.testing.assert_close(pair.guide.popularity.inputs[:, 0], standard)


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("guide", AMORTIZED)
def test_a_saved_fit_knows_what_its_guide_has_seen(frame, guide, model_for, tmp_path):
    features = pd.DataFrame({"kind": list("abc") * 5}, index=[f"i{code}" for code in range(15)])
    scored = frame.assign(score=np.linspace(-1, 1, len(frame)))
    events = pb.Interactions.from_frame(scored, label="label", item_features=features)
    fit = pb.fit(events, study=study_of(guide, model_for, epochs=2), progress=False)
    fit.save(tmp_path / "run")
    pd.testing.assert_frame_equal(pb.load(tmp_path / "run").popularity(), fit.popularity(), check_exact=True)


@pytest.mark.slow
def test_posteriors_follow_counts(frame, model_for):
    events = pb.Interactions.from_frame(frame.assign(score=0.0), label="label")
    fit = pb.fit(events, study=study_of("amortized-lognormal", model_for, epochs=5, validation=0.0), progress=False)
    table = fit.popularity()
    share = table["positives"] / table["count"]
    assert share.corr(table["mean"], method="spearman") > 0.9
    start = moments(fit.model.prior.population()).log_variance.item() ** 0.5
    assert (table["sd"] / table["mean"] < start).all()  # rows have taught something of every item
