import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import pair
from pyro_popbias.data.negative_rates import NegativeRates
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.data.popular_negatives import PopularNegatives

STANDARD_ERRORS = 4
EPOCHS = 60  # of random draws, whose means are compared


def sparse_log(*, users=30, items=20, rows=200, seed=0, periods=1):
    rng = np.random.default_rng(seed)
    item = np.minimum(rng.geometric(0.2, rows) - 1, items - 1)
    item[:items] = np.arange(items)
    ids = [f"u{code}" for code in rng.integers(users, size=rows)]
    frame = pd.DataFrame({"user": ids, "item": [f"i{code}" for code in item], "time": rng.uniform(0, 9, rows)})
    return pb.Interactions.from_frame(frame, time="time", periods=periods)


def test_draws_are_uniform_over_items_without_a_positive():
    events = sparse_log()
    negatives = Negatives(events, 3)
    user = torch.from_numpy(events.user[:50].astype(np.int64))
    drawn = torch.stack([negatives.draw(user, np.random.default_rng(k)) for k in range(400)])
    positive = {(u, i) for u, i in zip(events.user.tolist(), events.item.tolist(), strict=True)}
    owner = user.repeat_interleave(3)
    for u in owner.unique().tolist():
        items = drawn[:, owner == u].reshape(-1)
        count = np.bincount(items.numpy(), minlength=len(events.items))
        free = [i for i in range(len(events.items)) if (u, i) not in positive]
        assert count[[i for i in range(len(events.items)) if i not in free]].sum() == 0
        share = 1 / len(free)
        error = (share * (1 - share) * len(items)) ** 0.5
        assert (abs(count[free] - share * len(items)) < 5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("periods", [1, 3])
def test_expected_draws_are_the_mean_of_draws(periods):
    events = sparse_log(periods=periods)
    made = pair(events, study=pb.Study(training={"batch_size": 64, "validation": 0.0}))
    assert made.rows.negatives == made.study.data.negatives == 4
    counts = []
    for epoch in range(300):
        cells = torch.cat([batch.cell[batch.cell_index] for batch in made.batches(epoch=epoch)])
        counts.append(torch.bincount(cells, minlength=events.cells).double())
    counts = torch.stack(counts)
    error = STANDARD_ERRORS * counts.std(0) / len(counts) ** 0.5
    assert (abs(counts.mean(0) - made.rows.cell_count) <= error + 1e-9).all()


@pytest.mark.parametrize("kind", [Negatives, PopularNegatives])
@pytest.mark.parametrize(("periods", "users"), [(1, 30), (3, 30), (200, 400)])
def test_expected_draws_are_those_of_the_dense_formula(kind, periods, users):
    events = sparse_log(periods=1, users=users)
    negatives = kind(events, 3)
    negatives._periods = periods
    user, period = events.user, np.random.default_rng(1).integers(periods, size=len(events))
    rows = np.zeros((len(events.users), periods))
    np.add.at(rows, (user, period), 1)
    rate = 3 * rows / negatives.free_weights[:, None]
    free = np.ones((len(events.items), len(events.users)))
    free[events.item, events.user] = 0
    expected = negatives.item_weights[:, None] * (free @ rate)
    found = negatives.expected(user, period).reshape(-1, periods)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-13)
    rates = negatives.rates(user, period)
    who, when = (part.ravel() for part in np.indices(rate.shape))
    assert np.array_equal(rates.at(who, when), rate.ravel())
    assert rates.is_dense == (periods < 200)


def test_rates_of_many_users_and_periods_take_the_memory_of_the_rows():
    rng = np.random.default_rng(0)
    users, periods = 200_000, 10_000
    user, period = rng.integers(users, size=1_000), rng.integers(periods, size=1_000)
    tracemalloc.start()
    rates = NegativeRates.of(user, period, periods=periods, factor=2, weights=np.full(users, 4.0))
    total, of_items = rates.of_periods(), rates.of_items(user, user % 7, 7)
    found = rates.at(user, period)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50 * 1024**2  # a table of users and periods would be 15 GiB
    assert (found >= 0.5).all()
    assert total.sum() == pytest.approx(500.0)
    assert of_items.shape == (7, periods)


def test_a_batch_has_the_positives_first_and_negatives_of_their_period():
    events = sparse_log(periods=3)
    made = pair(events, study=pb.Study(data={"negatives": 2}, training={"batch_size": 60, "validation": 0.0}))
    for batch in made.batches():
        assert len(batch.user) <= 60
        assert batch.label.tolist() == [1.0] * batch.positives + [0.0] * (2 * batch.positives)
        assert batch.user[batch.positives :].tolist() == batch.user[: batch.positives].repeat_interleave(2).tolist()
        period = batch.cell[batch.cell_index] % 3
        assert period[batch.positives :].tolist() == period[: batch.positives].repeat_interleave(2).tolist()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("model", ["product", "additive", "pda"])
def test_elbo_of_batches_is_unbiased(model):
    events = sparse_log()
    points = {"name": "embedding", "posterior": "point", "user_bias": False}
    study = pb.Study(model={"name": model, "affinity": points}, training={"batch_size": 40, "validation": 0.0})
    made = pair(events, study=study)
    loss = made.objective(made.model, made.guide)
    with local_parameters(), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        made.guide.popularity.rows += 0.5 * torch.randn_like(made.guide.popularity.rows)
        cell = torch.arange(events.cells)
        kl = torch.distributions.kl_divergence(
            made.guide.popularity.posterior(cell), made.model.prior.distribution(cell)
        ).sum()

        def parts(batch):
            loss(batch)
            terms = made.objective.latest
            return torch.stack([terms.expected_log_likelihood, terms.kl])

        epochs = torch.stack(
            [torch.stack([parts(batch) for batch in made.batches(epoch=epoch)]).mean(0) for epoch in range(EPOCHS)]
        )
        everything = len(made.rows) * (1 + made.rows.negatives)
        large = pair(events, study=study.replace("training", batch_size=everything))
        whole = torch.stack([parts(batch) for epoch in range(EPOCHS) for batch in large.batches(epoch=epoch)])
    error = STANDARD_ERRORS * (epochs.var(0) / len(epochs) + whole.var(0) / len(whole)).sqrt()
    assert (abs(epochs.mean(0) - whole.mean(0)) < error).all()
    assert abs(epochs.mean(0)[1] - kl) < STANDARD_ERRORS * epochs.std(0)[1] / len(epochs) ** 0.5


def test_pda_takes_the_positives_of_labelled_rows(events):
    made = pair(events, model="pda")
    assert made.study.data.negatives == 1
    assert made.study.model.saturation.name == "power"
    assert len(made.rows) + len(made.held_out) == events.label.sum()


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("model", list(pb.MODELS))
def test_positives_only_logs_are_saved_and_loaded(model, tmp_path):
    fit = pb.fit(sparse_log(), model=model, progress=False)
    fit.save(tmp_path / "run")
    again = pb.load(tmp_path / "run")
    pairs = fit.recommend(k=2)
    pd.testing.assert_frame_equal(fit.predict(pairs), again.predict(pairs))
    assert again.study.data.negatives == (1 if model == "pda" else 4)


def pairs_of(batch, label):
    """Return the (user, item) pairs of a batch that have a label."""
    rows = batch.label == label
    return set(zip(batch.user[rows].tolist(), batch.item[rows].tolist(), strict=True))


@pytest.mark.slow
def test_training_does_not_know_the_held_out_positives():
    events = sparse_log()
    made = pair(events, study=pb.Study(data={"negatives": 3}, training={"batch_size": 60, "validation": 0.3}))
    known, hidden, drawn, counts = pairs_of(made.rows.whole(), 1), pairs_of(made.held_out.whole(), 1), set(), []
    for epoch in range(300):
        batches = list(made.batches(epoch=epoch))
        drawn |= set().union(*(pairs_of(batch, 0) for batch in batches))
        counts.append(torch.bincount(torch.cat([batch.item for batch in batches]), minlength=events.cells).double())
    assert hidden - known
    assert hidden - known <= drawn  # as any other item
    assert not known & drawn
    counts = torch.stack(counts)
    error = STANDARD_ERRORS * counts.std(0) / len(counts) ** 0.5
    assert (abs(counts.mean(0) - made.rows.cell_count) <= error + 1e-9).all()
    assert not pairs_of(made.held_out.whole(), 0) & (known | hidden)  # a known positive is not scored as a negative
