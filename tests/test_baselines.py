"""The methods of benchmarks/baselines on small simulated logs."""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb

FOLDER = Path(__file__).parents[1] / "benchmarks" / "baselines"
USERS, ITEMS = 60, 40


def load():
    """Return the package of the baselines, which is no part of the installed package."""
    if "baselines" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "baselines", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
        )
        sys.modules["baselines"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["baselines"])
    return sys.modules["baselines"]


baselines = load()
check, trials = (importlib.import_module(f"baselines.{name}") for name in ("check", "trials"))
OWN = ["most_popular", "item_mean", "mf", "bpr", "bpr_popularity", "ips", "pd", "pda", "macr", "dice"]
PEERS = [name for name in baselines.BASELINES if name not in OWN]
TRAINED = OWN[2:]
QUICK = {"most_epochs": 4}


def log_of(kind):
    """Return a log of two groups of users, each with its half of the items, of which the first are popular."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, ITEMS // 2 + 1)
    user = np.repeat(np.arange(USERS), 8)
    item = 2 * np.concatenate(
        [rng.choice(ITEMS // 2, 8, replace=False, p=share / share.sum()) for _ in range(USERS)]
    ) + (user % 2)
    label = None if kind == "positives" else (rng.random(len(user)) < 0.6).astype(np.int64)
    time = rng.uniform(0, 100, len(user)) if kind == "timed" else None
    return baselines.Log(user, item, None if kind == "timed" else label, USERS, ITEMS, time)


def trained(name, log, seed=3, **setting):
    quick = {} if name in ("most_popular", "item_mean") else QUICK
    model = baselines.BASELINES[name](log, seed=seed, **quick, **setting)
    return model, list(model.epochs())


def test_all_methods_are_there():
    assert list(baselines.BASELINES)[: len(OWN)] == OWN
    assert set(PEERS) | set(baselines.SKIPPED) == {"implicit_als", "implicit_bpr", "cornac_pmf", "cornac_hpf"}


@pytest.mark.parametrize("name", OWN + PEERS)
def test_grids_are_small_and_valid(name):
    method = baselines.BASELINES[name]
    assert 1 <= len(method.grid) <= 12
    for setting in method.grid:
        method(log_of("labelled"), seed=0, **setting)


@pytest.mark.parametrize("kind", ["positives", "labelled", "timed"])
@pytest.mark.parametrize("name", TRAINED)
def test_training_lowers_the_loss(name, kind):
    model, epochs = trained(name, log_of(kind), learning_rate=0.02, batch=64)
    assert epochs == [1, 2, 3, 4]
    assert model.losses[-1] < model.losses[0]


@pytest.mark.parametrize("kind", ["positives", "labelled"])
@pytest.mark.parametrize("name", OWN + PEERS)
def test_scores_are_finite_and_a_seed_repeats_them(name, kind):
    log, users = log_of(kind), np.array([5, 0, 7])
    if name == "item_mean" and kind == "positives":
        with pytest.raises(ValueError, match="ItemMean needs labels of both classes"):
            trained(name, log)
        return
    first, again = (trained(name, log)[0].score(users) for _ in range(2))
    assert first.shape == (3, ITEMS)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", OWN + PEERS)
def test_restore_goes_back_to_an_epoch(name):
    quick = {} if name in ("most_popular", "item_mean") else {"most_epochs": 10}
    model = baselines.BASELINES[name](log_of("labelled"), seed=3, **quick)
    users, steps = np.arange(USERS), model.epochs()
    next(steps)
    early, state = model.score(users), model.state()
    list(steps)
    later = model.score(users)
    model.restore(state)
    np.testing.assert_array_equal(model.score(users), early)
    assert np.array_equal(later, early) == (not state)


@pytest.mark.parametrize("name", TRAINED)
def test_users_get_the_items_of_their_group(name):
    log = log_of("positives")
    model = baselines.BASELINES[name](log, seed=0, learning_rate=0.02, batch=64, most_epochs=20)
    list(model.epochs())
    score = model.score(np.arange(USERS))
    even = score[:, 0::2].mean(1) - score[:, 1::2].mean(1)
    assert even[0::2].mean() > even[1::2].mean()


def test_most_popular_orders_by_count():
    log = log_of("labelled")
    score = trained("most_popular", log)[0].score(np.array([0, 1]))
    np.testing.assert_array_equal(score[0], score[1])
    np.testing.assert_array_equal(score[0], np.bincount(log.item[log.label == 1], minlength=ITEMS))


def test_item_mean_shrinks_towards_the_share_of_the_log():
    log = log_of("labelled")
    item = log.item[0]
    share, rows = log.label[log.item == item].mean(), (log.item == item).sum()
    score = trained("item_mean", log, shrinkage=4.0)[0].score(np.array([0]))[0, item]
    assert score == pytest.approx((share * rows + 4 * log.label.mean()) / (rows + 4), rel=1e-6)


def test_pda_ranks_by_popularity_where_pd_does_not():
    log = log_of("positives")
    pd, pda = (trained(name, log)[0].score(np.arange(USERS)) for name in ("pd", "pda"))
    count = np.bincount(log.item, minlength=ITEMS).astype(float)
    np.testing.assert_allclose(
        pda, pd * np.maximum((count - count.min()) / (count.max() - count.min()), 1e-9) ** 0.1, rtol=1e-5
    )


def test_sampled_negatives_are_no_positives():
    log = log_of("positives")
    for name in ("mf", "dice"):
        model = baselines.BASELINES[name](log, seed=0, negatives=3, margin=2.0) if name == "dice" else None
        model = model or baselines.BASELINES[name](log, seed=0, negatives=3)
        pairs = set(zip(log.user.tolist(), log.item.tolist(), strict=True))
        for batch in model.batches():
            negative = zip(
                batch.user.repeat_interleave(3).tolist(), batch.item[:, 1:].reshape(-1).tolist(), strict=True
            )
            assert not pairs & set(negative)


def test_popular_negatives_are_drawn_as_often_as_they_are_positives():
    log = log_of("positives")
    sampler = baselines.BASELINES["bpr"](log, seed=0, against="popular").sampler
    drawn = np.bincount(sampler.any_items((20_000,)).numpy(), minlength=ITEMS) / 20_000
    share = np.bincount(log.item, minlength=ITEMS) / len(log.item)
    assert (np.abs(drawn - share) < 4.5 * np.sqrt(share * (1 - share) / 20_000) + 1e-12).all()


def test_negatives_of_a_labelled_log_are_the_users_own_zeros():
    log = log_of("labelled")
    zeros = set(zip(log.user[log.label == 0].tolist(), log.item[log.label == 0].tolist(), strict=True))
    with_zeros = {user for user, _ in zeros}
    model = baselines.BASELINES["bpr"](log, seed=0)
    for batch in model.batches():
        pairs = zip(batch.user.tolist(), batch.item[:, 1].tolist(), strict=True)
        assert all(pair in zeros for pair in pairs if pair[0] in with_zeros)
        assert batch.label[:, 0].min() == 1


def test_dice_draws_negatives_beyond_its_margins():
    log = log_of("positives")
    model = baselines.BASELINES["dice"](log, seed=0, margin=3.0, negatives=8, batch=1024)
    count = np.bincount(log.item, minlength=ITEMS)
    uniform = baselines.BASELINES["bpr"](log, seed=0, negatives=8, batch=1024)
    share = []
    for each in (model, uniform):
        (batch,) = each.batches()
        positive, negative = (count[part.numpy()] for part in (batch.item[:, :1], batch.item[:, 1:]))
        beyond = (negative > positive + 3) | (negative < positive / 2)
        share.append(beyond.mean())
    # those drawn uniformly, because the first draw was a positive of the user, are as often beyond as any
    assert 1 - share[0] < 0.5 * (1 - share[1])


@pytest.mark.parametrize("draw", ["rows", "users"])
def test_an_epoch_has_as_many_rows_as_there_are_positives(draw):
    log = log_of("labelled")
    model = baselines.BASELINES["bpr"](log, seed=0, draw=draw)
    rows = np.concatenate([batch.row.numpy() for batch in model.batches()])
    assert len(rows) == log.label.sum()
    assert log.label[rows].all()
    assert (len(np.unique(rows)) == len(rows)) == (draw == "rows")


def test_ips_weights_average_to_one():
    log = log_of("positives")
    model = baselines.BASELINES["ips"](log, seed=0, eta=1.0, clip=0.2)
    weight = model.weight.numpy()
    count = np.bincount(log.item, minlength=ITEMS)
    assert np.average(weight, weights=count) == pytest.approx(1, rel=1e-5)
    ratio = weight / weight[count.argmax()]
    np.testing.assert_allclose(ratio, 1 / np.maximum(count / count.max(), 0.2), rtol=1e-5)


def events(text, label=None):
    """Return interactions of "user item" pairs, and their labels."""
    user, item = zip(*(pair for pair in text.split()), strict=True)
    frame = pd.DataFrame({"user": user, "item": item, **({} if label is None else {"label": label})})
    return pb.Interactions.from_frame(frame, **({} if label is None else {"label": "label"}))


def test_a_log_has_the_rows_of_interactions():
    log = baselines.Log.from_interactions(events("ax bx by cz"))
    assert (log.users, log.items, log.label, log.time) == (3, 3, None, None)
    np.testing.assert_array_equal(log.item_counts(positives=True), [2, 1, 1])
    labelled = baselines.Log.from_interactions(events("ax bx by cz", [1, 0, 1, 0]))
    np.testing.assert_array_equal(labelled.item_counts(positives=True), [1, 1, 0])
    np.testing.assert_array_equal(labelled.item_counts(positives=False), [2, 1, 1])


def test_rankings_leave_out_training_rows_and_rows_of_unknown_users():
    trial = trials.Ranked(events("ax bx by cz"), events("ay bz dz"), k=1)
    hits, recall, ndcg = trial.metrics(baselines.BASELINES["most_popular"](trial.log, seed=0))
    # a's list is y or z, which have one row each, b's is z
    assert hits == recall == ndcg
    assert hits in (0.5, 1.0)


def test_rated_rows_are_ranked_within_each_user():
    train = events("ax bx ay by az bz", [1, 1, 1, 0, 0, 0])
    trial = trials.Rated(train, events("ax ay bx bz", [1, 0, 0, 1]), k=1)
    area, ndcg = trial.metrics(baselines.BASELINES["item_mean"](trial.log, seed=0, shrinkage=0.0))
    assert (area, ndcg) == (0.5, 0.5)  # right for a, wrong for b


def test_the_check_prints_ours_beside_theirs(capsys, monkeypatch):
    trial = trials.Ranked(events("ax bx by cz"), events("ay bz"), k=1)
    lines = (
        check.Line("most_popular", "a paper", (0.1, 0.2, 0.3)),
        check.Line("mf", "a peer", None, {"dim": 2}, 3),
        check.Line("gone", "a peer"),
    )
    monkeypatch.setitem(check.SKIPPED, "gone", "it is not installed")
    check.print_block("tiny", lines, trial)
    printed = capsys.readouterr().out
    assert "tiny: 4 rows, 3 users, 3 items" in printed
    assert "0.100/0.200/0.300" in printed
    assert "skipped: it is not installed" in printed


def test_the_check_keeps_the_best_epoch():
    trial = trials.Ranked(events("ax bx by cz"), events("ay bz"), k=1)
    found = iter([0.1, 0.4, 0.3])
    trial.metrics = lambda _: (0.0, next(found), 0.0)
    epoch, figures, _ = check.best_figures(check.Line("bpr", "a peer", None, {"dim": 2}, 3), trial)
    assert (epoch, figures) == (2, (0.0, 0.4, 0.0))
