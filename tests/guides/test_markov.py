"""The guide that joins the periods of an item."""

import numpy as np
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.distributions.chains import LogNormalChain, NormalChain

WALK = {"drift": "random-walk"}


def pair_of(guide, *, periods, model="product", prior=None):
    sim = pb.simulate(users=40, items=12, interactions=900, periods=2, prior="lognormal", drift=0.4, seed=1)
    study = pb.Study(model={"name": model, "prior": prior or {"name": "lognormal"}}, guide={"name": guide})
    return pb.pair(sim.events.with_periods(periods), study=study)


@pytest.mark.parametrize("periods", [1, 2])
def test_without_coupling_it_is_the_guide_of_single_cells(periods):
    losses = []
    for guide in ("markov", "lognormal"):
        made = pair_of(guide, periods=periods)
        with local_parameters():
            torch.manual_seed(0)
            losses.append(made.objective(made.model, made.guide)(made.whole()).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.parametrize(("model", "kind"), [("product", LogNormalChain), ("additive", NormalChain)])
def test_a_cell_has_the_same_q_in_any_selection(model, kind):
    made = pair_of("markov", periods=2, model=model, prior=WALK)
    guide = made.guide.popularity
    with local_parameters(), torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        whole = guide.posterior(torch.arange(made.events.cells))
        cell = torch.tensor([7, 2, 2, 19, 0])
        some = guide.posterior(cell)
        assert torch.equal(some.loc, whole.loc[cell])
        assert torch.equal(some.scale, whole.scale[cell])
        loc, log_scale, coupling = guide.rows.unbind(-1)
        expected = kind(loc, log_scale.exp(), coupling, periods=2).marginals
        torch.testing.assert_close(whole.scale, expected.scale)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_period_without_rows_lies_between_its_neighbours():
    sim = pb.simulate(users=200, items=30, interactions=20_000, periods=5, prior="lognormal", drift=0.5, seed=4)
    frame = sim.events.to_frame()
    items = sim.events.items[:10]
    frame = frame[~(frame["item"].isin(items) & (frame["period"] == 2))]
    frame = frame[~((frame["item"] == items[0]) & (frame["period"] < 4))]  # new in the last period
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=5)
    affinity = {"name": "fixed", "user_vectors": sim.truth["user_vectors"], "item_vectors": sim.truth["item_vectors"]}
    study = pb.Study(model={"affinity": affinity, "prior": WALK}, training={"epochs": 10})
    fit = pb.fit(events, study=study, progress=False)
    table = fit.popularity().set_index(["item", "period"])
    log_sd = (np.log(table["upper"]) - np.log(table["lower"])).unstack()
    silent = table.loc[(items[1:], 2), :]
    assert not silent["prior_only"].any()
    assert (log_sd.loc[items[1:], 2] > log_sd.loc[items[1:], [1, 3]].max(axis=1)).all()
    means = np.log(table["mean"]).unstack().loc[items[1:]]
    between = np.abs(means[2] - 0.5 * (means[1] + means[3]))
    assert (between < 0.5 * log_sd.loc[items[1:], 2]).all()
    truth = sim.truth["popularity"].set_index(["item", "period"])["z"]
    inside = truth.between(table["lower"].reindex(truth.index), table["upper"].reindex(truth.index))
    assert inside.mean() == pytest.approx(0.9, abs=0.05)
    assert inside.loc[(items, [0, 1, 2, 3])].mean() > 0.75  # mostly of the silent ones
    pairs = events.to_frame()[["user", "item"]].head(20).assign(item=items[0])
    for popularity in ("population", "prior", "posterior", "forecast"):
        assert fit.predict(pairs, popularity=popularity)["score"].between(0, 1, inclusive="neither").all()
