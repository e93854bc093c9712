"""Negatives drawn by popularity: how often each item is drawn, and that popularity and scores mean what they did."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.checks.training_rows import TrainingRows
from pyro_popbias.data.popular_negatives import PopularNegatives
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.training.vectors import affinities

STANDARD_ERRORS = 4


def log_of(*, users=30, items=20, rows=200, seed=0, periods=1):
    rng = np.random.default_rng(seed)
    item = np.minimum(rng.geometric(0.2, rows) - 1, items - 1)
    item[:items] = np.arange(items)
    ids = [f"u{code}" for code in rng.integers(users, size=rows)]
    frame = pd.DataFrame({"user": ids, "item": [f"i{code}" for code in item], "time": rng.uniform(0, 9, rows)})
    return pb.Interactions.from_frame(frame.drop_duplicates(["user", "item"]), time="time", periods=periods)


def popular(model="inverse-logistic", **training):
    return pb.Study(
        data={"negative_sampling": "popularity"},
        model={"name": model, "affinity": {"name": "embedding", "dim": 2, "posterior": "point"}},
        training={"validation": 0.0, "device": "cpu", **training},
    )


def test_draws_are_by_weight_over_items_without_a_positive():
    events = log_of()
    negatives = PopularNegatives(events, 3)
    user = torch.from_numpy(events.user[:40].astype(np.int64))
    owner = user.repeat_interleave(3)
    drawn = torch.stack([negatives.draw(user, np.random.default_rng(k)) for k in range(400)])
    count = 1 + np.bincount(events.item, minlength=len(events.items))
    for u in owner.unique().tolist():
        weight = count.astype(float)
        weight[events.item[events.user == u]] = 0
        share = weight / weight.sum()
        items = drawn[:, owner == u].reshape(-1)
        found = np.bincount(items.numpy(), minlength=len(events.items))
        assert not found[share == 0].any()
        error = np.sqrt(share * (1 - share) * len(items))
        assert (abs(found - share * len(items)) <= 5 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("periods", [1, 3])
def test_expected_draws_are_the_mean_of_draws(periods):
    events = log_of(periods=periods)
    made = pair(events, study=popular(batch_size=64))
    counts = []
    for epoch in range(200):
        cells = torch.cat([batch.cell[batch.cell_index] for batch in made.batches(epoch=epoch)])
        counts.append(torch.bincount(cells, minlength=events.cells).double())
    counts = torch.stack(counts)
    error = STANDARD_ERRORS * counts.std(0) / len(counts) ** 0.5
    assert (abs(counts.mean(0) - made.rows.cell_count) <= error + 1e-9).all()
    weight = TrainingRows(made).of(np.arange(events.cells))
    per_cell = np.bincount(weight.cell_index.numpy(), weights=weight.weight.numpy(), minlength=events.cells)
    assert per_cell == pytest.approx(made.rows.cell_count.numpy())


def test_offset_is_how_much_more_often_a_pair_is_drawn_than_uniformly():
    events = log_of()
    negatives = PopularNegatives(events, 2)
    user, item = (part.reshape(-1) for part in torch.meshgrid(torch.arange(30), torch.arange(20), indexing="ij"))
    users = len(events.users)
    user, item = user[user < users], item[: 20 * users]
    often = negatives.number * negatives.item_weights[item] / negatives.free_weights[user]
    known = np.bincount(np.unique(events.user * 100 + events.item) // 100, minlength=users)
    uniform = negatives.number / (len(events.items) - known[user])
    expected = -np.log(often / uniform)
    assert negatives.log_odds_offset(user, item).numpy() == pytest.approx(expected, abs=1e-12)


def test_log_odds_of_training_rows_have_the_draw_in_them_and_held_out_rows_do_not():
    events = log_of()
    made = pair(events, study=popular(batch_size=64))
    weights = made.guide.weights()

    def alone(user, item):
        return made.model.affinity.pairs(user, item, None, weights).mean

    def drawn(user, item):
        return PopularNegatives(events, 4).log_odds_offset(user, item)

    for part in affinities(made):
        user, item = part.batch.user, part.batch.item
        torch.testing.assert_close(part.mean, alone(user, item) + drawn(user, item))
    rows = TrainingRows(made)
    user, item = np.array([0, 1, 2]), np.array([3, 0, 5])
    codes = torch.from_numpy(user), torch.from_numpy(item)
    mean = rows._affinity(user, item, None).mean
    torch.testing.assert_close(mean, alone(*codes) + drawn(*codes))
    held_out = pair(events, study=popular(validation=0.2)).held_out
    assert all(block.offset is None for block in held_out.blocks(64))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("model", ["inverse-logistic", "additive"])
def test_popularity_and_scores_agree_with_those_of_uniform_draws(model):
    simulation = pb.simulate(model="inverse-logistic", users=400, items=60, interactions=12_000, dim=2, seed=1)
    frame = simulation.frame.query("label == 1").drop(columns="label").drop_duplicates(["user", "item"])
    events = pb.Interactions.from_frame(frame)
    affinity = {"name": "embedding", "dim": 2, "posterior": "point", "scale": 0.3}
    scores, popularity = {}, {}
    for how in ("uniform", "popularity"):
        study = pb.Study(
            data={"negative_sampling": how},
            model={"name": model, "affinity": affinity},
            training={"epochs": 8, "validation": 0.0, "phase_two": 4, "device": "cpu", "schedule": "linear"},
        )
        fit = pb.fit(events, study=study, progress=False)
        table = fit.popularity()
        popularity[how] = np.log(table["mean"]) if model != "additive" else table["mean"]
        scores[how] = fit.predict(frame.head(500), popularity="posterior")["score"]
    assert np.corrcoef(popularity["uniform"], popularity["popularity"])[0, 1] > 0.98
    # one design: the mean probability of the same pairs agrees, where items differ in odds by factors of ten and more
    assert scores["popularity"].mean() == pytest.approx(scores["uniform"].mean(), rel=0.1)


@pytest.mark.parametrize("model", ["product", "pda"])
def test_models_without_log_odds_are_refused(model):
    message = f"PB-C380: model '{model}' .* goes with .*inverse-logistic"
    with pytest.raises(IncompatibleError, match=message):
        pair(log_of(), study=popular(model))


def test_labels_of_their_own_are_refused():
    events = pb.simulate(users=20, items=10, interactions=200, seed=0).events
    with pytest.raises(ConfigError, match="PB-C380: negative_sampling = 'popularity', but the data have labels"):
        pair(events, study=popular())
