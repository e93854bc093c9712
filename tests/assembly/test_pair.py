import numpy as np
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import pair
from pyro_popbias.assembly.training_data import choose_device
from pyro_popbias.data.holdout import hold_out
from pyro_popbias.errors import ConfigError, DataError, DataWarning, IncompatibleError, UnknownNameError

STUDY = {"model": {"affinity": {"name": "embedding", "dim": 4}}}
STANDARD_ERRORS = 4


def study(model=None, **training):
    return pb.Study(model={**(model or {}), **STUDY["model"]}, training={"device": "cpu", **training})


def test_positives_only_are_refused_without_negatives(frame):
    message = "PB-D062: the data have {}, positives only; .*so that negatives are drawn, or give a label column"
    with pytest.raises(DataError, match=message.format("no labels")) as caught:
        pair(pb.Interactions.from_frame(frame), study=pb.Study(data={"negatives": 0}))
    assert caught.value.exit_code == 3
    with pytest.raises(DataError, match=message.format("label 1 in all 400 rows")):
        pair(pb.Interactions.from_frame(frame.assign(label=1), label="label"))


def test_negatives_only_are_refused(frame):
    with pytest.raises(DataError, match="PB-D063: the data have label 0 in all 400 rows"):
        pair(pb.Interactions.from_frame(frame.assign(label=0), label="label"))


def test_a_table_is_read_by_the_keys_of_the_study(frame):
    named = frame.rename(columns={"user": "who", "item": "what", "label": "clicked"})
    made = pair(named, study=pb.Study(data={"user": "who", "item": "what", "label": "clicked"}))
    expected = pb.Interactions.from_frame(frame, label="label")
    for column in ("users", "items", "user", "item", "label"):
        np.testing.assert_array_equal(getattr(made.events, column), getattr(expected, column))
    with pytest.raises(DataError, match="PB-D001: expected a DataFrame, got list"):
        pair([1, 2])


def test_cuda_without_cuda(events, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="PB-C087: device = 'cuda', but torch finds no CUDA device") as caught:
        pair(events, study=pb.Study(training={"device": "cuda"}))
    assert caught.value.exit_code == 2
    assert choose_device("auto") == choose_device("cpu") == "cpu"


def test_unknown_guide(events):
    with pytest.raises(UnknownNameError, match=r"PB-C076: unknown guide 'lognorml'; did you mean 'lognormal'\?"):
        pair(events, guide="lognorml")


def test_guide_on_another_support_is_refused_before_anything_is_built(events, monkeypatch):
    cls = pb.GUIDES["gamma"]
    monkeypatch.setattr(cls, "support", torch.distributions.constraints.real)
    with pytest.raises(IncompatibleError, match=r"PB-C078: guide 'gamma' does not live on Greater.*fit: .*lognormal"):
        pair(events, guide="gamma")


def test_batch_size_above_the_rows_warns(events):
    with pytest.warns(DataWarning, match="PB-C085: batch_size 5000 is more than the 360 training rows"):
        made = pair(events, study=study(batch_size=5000))
    assert [len(batch.user) for batch in made.batches()] == [360]


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_every_row_once_an_epoch(frame, epoch):
    events = pb.Interactions.from_frame(frame.assign(score=np.arange(len(frame))), label="label")
    fixed = pb.Study(
        model={"affinity": {"name": "fixed", "score": "score"}}, training={"batch_size": 64, "validation": 0.0}
    )
    batches = list(pair(events, study=fixed).batches(epoch=epoch))
    seen = torch.cat([batch.score for batch in batches])  # the score is the row's number
    assert sorted(seen.tolist()) == list(range(len(frame)))
    sizes = {len(batch.user) for batch in batches}
    assert max(sizes) <= 64
    assert max(sizes) - min(sizes) <= 1
    for batch in batches:
        assert torch.equal(batch.cell[batch.cell_index], batch.item)
        rows = batch.score.long().numpy()
        assert batch.user.tolist() == events.user[rows].tolist()
        assert batch.label.tolist() == events.label[rows].tolist()


def test_orders_differ_by_epoch_and_seed(events):
    made = pair(events, study=study(batch_size=64))
    orders = [
        next(iter(made.batches(seed=seed, epoch=epoch))).user.tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert next(iter(made.batches())).user.tolist() == orders[0]


@pytest.mark.parametrize("periods", [1, 3])
def test_weights_of_an_epoch_average_to_one(frame, periods):
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=periods)
    made = pair(events, study=study(batch_size=45, validation=0.0))  # 400 = 8 batches of 44 and one of 48, or so
    total, number = torch.zeros(events.cells, dtype=torch.float64), 0
    for epoch in range(200):
        for batch in made.batches(epoch=epoch):
            total.index_add_(0, batch.cell, batch.weight)
            number += 1
    seen = torch.from_numpy(events.catalogue.count > 0)
    assert (total[seen] / number - 1).abs().max() < 0.05
    assert (total[~seen] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("guide", pb.GUIDES)
def test_loss_of_batches_is_unbiased(events, guide, model_for):
    made = pair(events, guide=guide, study=study(model_for(guide), batch_size=40, validation=0.0))
    with local_parameters(), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in made.guide.popularity.parameters():  # away from the prior, where the KL is 0
            parameter += torch.randn_like(parameter)
        loss = made.objective(made.model, made.guide)

        def parts(batch):
            value, terms = loss(batch), made.objective.latest
            return torch.stack([value, terms.expected_log_likelihood, terms.kl, terms.log_prior])

        whole = torch.stack([parts(made.whole()) for _ in range(100)])
        epochs = torch.stack(
            [torch.stack([parts(batch) for batch in made.batches(epoch=epoch)]).mean(0) for epoch in range(40)]
        )
    error = (epochs.var(0) / len(epochs) + whole.var(0) / len(whole)).sqrt()
    assert (abs(epochs.mean(0) - whole.mean(0)) <= STANDARD_ERRORS * error + 1e-9 * abs(whole.mean(0))).all()


@pytest.mark.parametrize("batch_size", [45, 400])
def test_draws_share_out_the_rows_of_a_cell(frame, batch_size):
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=3)
    rows = pair(events, study=study(validation=0.0)).rows
    affinity, draws = torch.arange(len(rows)).double(), 4
    shared, whole = (rows.with_affinity(affinity, None).with_draws(n) for n in (draws, 1))
    for one, other in zip(*(each.batches(batch_size, seed=0, epoch=0) for each in (shared, whole)), strict=True):
        assert torch.equal(one.affinity, other.affinity)
        assert torch.equal(one.cell[one.cell_index], other.cell[other.cell_index])
        number = torch.bincount(one.cell, minlength=events.cells)
        assert 1 < number.max() <= draws
        assert (torch.bincount(one.cell_index) > 0).all()
        weight = torch.zeros(events.cells).double().index_add(0, one.cell, one.weight)
        torch.testing.assert_close(weight[other.cell], other.weight)


@pytest.mark.slow
def test_draws_make_the_gradient_steadier_and_not_biased(frame):
    made = pair(pb.Interactions.from_frame(frame, label="label"), study=study(validation=0.0))
    loss = made.objective(made.model, made.guide)
    intercept, means, variances = made.model.affinity.intercept_unconstrained, [], []
    for draws in (1, 16):
        batch = next(
            made.rows.with_affinity(torch.zeros(len(made.rows)).double(), None)
            .with_draws(draws)
            .batches(400, seed=0, epoch=0)
        )
        with local_parameters(), torch.random.fork_rng():
            torch.manual_seed(0)
            gradient = torch.stack([torch.autograd.grad(loss(batch), intercept)[0] for _ in range(400)])
        means.append(gradient.mean())
        variances.append(gradient.var())
    assert abs(means[0] - means[1]) < STANDARD_ERRORS * (sum(variances) / 400).sqrt()
    assert variances[1] < variances[0] / 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_hold_out_keeps_a_row_of_each_user_and_cell(frame, share, seed):
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=4)
    train, held_out = hold_out(events, np.arange(len(events)), share, seed)
    assert sorted([*train, *held_out]) == list(range(len(events)))
    assert set(events.user[train]) == set(events.user)
    assert set(events.cell[train]) == set(events.cell)
    assert 0 < len(held_out) <= round(share * len(events))


def test_no_validation_holds_nothing_out(events):
    assert pair(events, study=study(validation=0.0)).held_out is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_scores(frame, value):
    events = pb.Interactions.from_frame(frame.assign(score=[value] + [0.5] * 399), label="label")
    fixed = pb.Study(model={"affinity": {"name": "fixed", "score": "score"}})
    with pytest.raises(DataError, match="PB-D068: column 'score' has 1 scores that are missing or not finite"):
        pair(events, study=fixed)
