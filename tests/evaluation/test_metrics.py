"""Metrics against ir-measures, plain loops and what must hold."""

import ir_measures
import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from pyro_popbias.evaluation import popularity_bias, probabilities
from pyro_popbias.evaluation.bootstrap import estimates, intervals, ratio, replicates
from pyro_popbias.evaluation.judgement import LabelledRows, metrics_of_lists, metrics_of_rows
from pyro_popbias.evaluation.lists import NOTHING, hits_of, lists_and_ties, lists_of_rows, top_lists
from pyro_popbias.evaluation.ranking import ranking_metrics

OF_IR_MEASURES = {"hit": "Success", "recall": "R", "precision": "P", "ndcg": "nDCG", "mrr": "RR", "map": "AP"}


def random_case(seed, users=12, items=30):
    rng = np.random.default_rng(seed)
    relevant = rng.random((users, items)) < rng.choice([0.02, 0.2, 0.8])
    relevant[np.arange(users), rng.integers(items, size=users)] = True
    seen = (rng.random((users, items)) < 0.3) & ~relevant
    return rng.normal(size=(users, items)), sparse.csr_array(relevant), sparse.csr_array(seen)


def lists_of(score, seen, k):
    import torch

    users = np.arange(len(score))
    return top_lists(lambda block: torch.from_numpy(score[block]), users, k, items=score.shape[1], seen=seen)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 5, 20, 40])
@pytest.mark.parametrize("ties", [False, True])
def test_ranking_metrics_are_those_of_ir_measures(seed, k, ties):
    """Where scores are tied, those of the order in which the lists have put them."""
    score, relevant, seen = random_case(seed)
    score = score.round() if ties else score
    lists = lists_of(score, seen, k)
    hits = hits_of(lists, np.arange(len(score)), relevant)
    found = ranking_metrics(hits, relevant.sum(1), k)
    qrels = [ir_measures.Qrel(str(u), str(i), 1) for u, i in zip(*relevant.nonzero(), strict=True)]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), -float(rank))
        for u, row in enumerate(lists)
        for rank, i in enumerate(row)
        if i != NOTHING
    ]
    measures = {name: ir_measures.parse_measure(f"{theirs}@{k}") for name, theirs in OF_IR_MEASURES.items()}
    expected = {
        (int(each.query_id), str(each.measure)): each.value
        for each in ir_measures.iter_calc(measures.values(), qrels, run)
    }
    for name, measure in measures.items():
        theirs = [expected[user, str(measure)] for user in range(len(score))]
        np.testing.assert_allclose(found[f"{name}@{k}"], theirs, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_lists_are_sorted_and_leave_out_what_is_seen(seed):
    score, _, seen = random_case(seed)
    lists = lists_of(score, seen, 40)
    for user, row in enumerate(lists):
        expected = [item for item in np.argsort(-score[user]) if not seen[user, item]]
        assert [item for item in row if item != NOTHING] == expected


@pytest.mark.parametrize("k", [1, 5, 25])
def test_ties_at_the_end_of_a_list_are_broken_at_random(k):
    """Two items stand out, 27 are alike and one is seen: each of the 27 has as many places as any other."""
    import torch

    users, items = 3_000, 30
    score = np.zeros((users, items))
    score[:, [7, 3]] = 2.0, 1.0
    seen = sparse.csr_array(
        (np.ones(users, dtype=bool), (np.arange(users), np.zeros(users, dtype=int))), (users, items)
    )
    lists, ties = lists_and_ties(
        lambda block: torch.from_numpy(score[block]), np.arange(users), k, items=items, seen=seen
    )
    assert (lists[:, :2] == [7, 3][: min(k, 2)]).all()
    assert ties.all() == ties.any() == (k > 2)
    assert all(len(set(row)) == k for row in lists)
    if k > 2:
        share = np.bincount(lists[:, 2:].ravel(), minlength=items) / users
        assert share[[0, 3, 7]].max() == 0
        expected = (k - 2) / 27
        np.testing.assert_allclose(
            np.delete(share, [0, 3, 7]), expected, atol=4 * (expected * (1 - expected) / users) ** 0.5
        )


@pytest.mark.parametrize("k", [5, 20])
def test_ties_within_a_list_are_in_the_order_of_chance(k):
    """Ten items of one score, behind one that is better: whichever codes they have, the first five are any of them."""
    import torch

    users, items = 3_000, 30
    score = -np.tile(np.arange(items, dtype=float), (users, 1))
    score[:, 1:11] = -1.0
    lists = top_lists(lambda block: torch.from_numpy(score[block]), np.arange(users), k, items=items)[:, :5]
    assert (lists[:, 0] == 0).all()
    share = np.bincount(lists[:, 1:].ravel(), minlength=items) / users
    assert share[[0, *range(11, items)]].max() == 0
    np.testing.assert_allclose(share[1:11], 0.4, atol=4 * (0.4 * 0.6 / users) ** 0.5)


def test_chance_decides_where_items_of_a_list_are_alike():
    import torch

    alike, apart, seen = torch.zeros(4), torch.arange(4.0), torch.tensor([0.0, 1.0, -torch.inf, -torch.inf])
    scores = torch.stack([alike, apart, seen])
    lists, ties = lists_and_ties(lambda block: scores[block], np.arange(3), 9, items=4)
    assert (np.sort(lists[:2]) == np.arange(4)).all()
    assert lists[2].tolist() == [1, 0, NOTHING, NOTHING]
    assert ties.tolist() == [True, False, False]


def test_lists_of_rows_have_each_item_once():
    rng = np.random.default_rng(0)
    user, item, score = rng.integers(5, size=200), rng.integers(8, size=200), rng.normal(size=200)
    users = np.array([1, 3])
    lists = lists_of_rows(user, item, score, users, 10)
    for code, row in zip(users, lists, strict=True):
        best = {}
        for i, s in zip(item[user == code], score[user == code], strict=True):
            best[i] = max(s, best.get(i, -np.inf))
        assert [i for i in row if i != NOTHING] == sorted(best, key=best.get, reverse=True)


def test_codes_of_many_users_and_items_do_not_run_over():
    user, item = np.array([70_000, 4_464, 0], dtype=np.int32), np.array([5, 5, 65_535], dtype=np.int32)
    # 70,000 and 4,464 times 65,536 are one number in int32
    assert lists_of_rows(user, item, np.zeros(3), np.unique(user), 2).tolist() == [[65_535], [5], [5]]


def test_ties_of_rows_are_broken_at_random():
    """A constant score has the precision of chance, wherever the relevant rows stand."""
    users, rows = 400, 20
    user, item = np.repeat(np.arange(users), rows), np.tile(np.arange(rows), users)
    lists = lists_of_rows(user, item, np.zeros(len(user)), np.arange(users), 5)
    share = (lists < 4).mean()  # the first four rows of each user are relevant
    assert share == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / users / 5) ** 0.5)


def brute_auc(score, label, weight=None):
    weight = np.ones(len(score)) if weight is None else weight
    total = above = 0.0
    for p in np.flatnonzero(label == 1):
        for n in np.flatnonzero(label == 0):
            total += weight[p] * weight[n]
            above += weight[p] * weight[n] * ((score[p] > score[n]) + 0.5 * (score[p] == score[n]))
    return above / total


@pytest.mark.parametrize("seed", range(3))
def test_areas_under_curves_count_pairs(seed):
    rng = np.random.default_rng(seed)
    user, label = rng.integers(6, size=90), rng.integers(2, size=90).astype(float)
    score = rng.integers(5, size=90) / 5
    label[user == 0] = 1.0
    found = probabilities.user_auc(user, score, label, 7)
    assert np.isnan(found[[0, 6]]).all()
    for code in range(1, 6):
        assert found[code] == pytest.approx(brute_auc(score[user == code], label[user == code]), abs=1e-12)
    weights = rng.integers(3, size=(4, 90)).astype(float)
    expected = [brute_auc(score, label, weight) for weight in weights]
    np.testing.assert_allclose(probabilities.weighted_auc(score, label, weights), expected, rtol=1e-12)


def test_gini_is_the_mean_difference():
    counts = np.random.default_rng(0).poisson(2.0, size=(3, 25)).astype(float)
    expected = [np.abs(row[:, None] - row).mean() / (2 * row.mean()) for row in counts]
    np.testing.assert_allclose(popularity_bias.gini(counts), expected, rtol=1e-12)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    counts, popularity = rng.poisson(2.0, size=(3, 25)).astype(float), rng.poisson(5.0, size=25)
    expected = [spearmanr(row, popularity).statistic for row in counts]
    np.testing.assert_allclose(popularity_bias.rank_correlation(counts, popularity), expected, rtol=1e-12)


def judged(seed=0, k=5):
    score, relevant, seen = random_case(seed, users=80)
    train = seen.astype(float) * 2
    lists = lists_of(score, seen, k)
    return lists, relevant, train, metrics_of_lists(lists, np.arange(len(score)), relevant, train, k)


def test_popularity_of_lists_by_loops():
    lists, relevant, train, metrics = judged()
    popularity = train.sum(0)
    value = estimates(metrics, len(lists))
    assert value["average_popularity@5"] == pytest.approx(popularity[lists].mean())
    assert value["coverage@5"] == pytest.approx(len(np.unique(lists)) / len(popularity))
    tail = np.argsort(-popularity, kind="stable")[6:]
    assert value["tail_share@5"] == pytest.approx(np.isin(lists, tail).mean())
    decile = popularity_bias.item_deciles(popularity)
    wanted = relevant.toarray()
    for number in range(1, 11):
        hit = sum(wanted[u, i] and decile[i] == number for u, row in enumerate(lists) for i in row)
        assert value[f"recall@5[decile {number}]"] == pytest.approx(hit / wanted[:, decile == number].sum())
    shares = {"niche": 0.2, "diverse": 0.6, "blockbuster": 0.2}
    parts = sum(share * value[f"ndcg@5[{name} users]"] for name, share in shares.items())
    assert parts == pytest.approx(value["ndcg@5"])


def test_metrics_are_those_of_the_users_who_were_drawn():
    """A weight of 2 is the same as two users."""
    rng = np.random.default_rng(1)
    score, relevant, seen = random_case(0)
    drawn = rng.integers(len(score), size=len(score))
    weights = np.bincount(drawn, minlength=len(score))[None].astype(float)
    train = seen.astype(float)
    lists = lists_of(score, seen, 5)
    whole = metrics_of_lists(lists, np.arange(len(score)), relevant, train, 5)
    again = metrics_of_lists(lists[drawn], drawn, relevant, train, 5)
    for name, metric in whole.items():
        if "users]" not in name:  # groups are of all users
            np.testing.assert_allclose(metric(weights)[0], estimates(again, len(drawn))[name], rtol=1e-12, err_msg=name)


def labelled(users=40, rows=2_000, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.beta(2, 3, size=rows)
    user = rng.integers(users, size=rows)
    return LabelledRows(user, (rng.random(rows) < probability).astype(float), probability, is_probability=True)


@pytest.mark.slow
def test_losses_of_probabilities():
    rows = labelled()
    value = estimates(metrics_of_rows(rows, 40), 40)
    p, c = rows.score, rows.label
    assert value["log_loss"] == pytest.approx(-np.mean(np.log(np.where(c == 1, p, 1 - p))))
    assert value["brier"] == pytest.approx(np.mean((p - c) ** 2))
    assert value["auc"] == pytest.approx(brute_auc(p, c))
    order = np.array_split(np.argsort(p, kind="stable"), 10)
    expected = np.sum([len(part) * abs(c[part].mean() - p[part].mean()) for part in order]) / len(p)
    assert value["calibration_error"] == pytest.approx(expected)


def test_scores_that_are_no_probabilities_have_areas_only():
    rows = labelled()
    found = metrics_of_rows(LabelledRows(rows.user, rows.label, rows.score * 9, is_probability=False), 40)
    assert list(found) == ["auc", "user_auc"]


@pytest.mark.slow
def test_intervals_cover_the_mean_of_users():
    """90 % intervals of a mean of 200 values, over 200 data sets: between 82 and 96 % hold it."""
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        values = rng.gamma(1.0, 1.0, size=200)
        row = intervals({"mean": ratio(values)}, 200, seed=seed).iloc[0]
        inside += row["lower"] <= 1.0 <= row["upper"]
    assert 164 <= inside <= 192


def test_draws_are_paired():
    values = np.random.default_rng(0).normal(size=50)
    one, other = (replicates({"mean": ratio(values + shift)}, 50, seed=3)["mean"] for shift in (0.0, 1.0))
    np.testing.assert_allclose(other - one, 1.0, rtol=1e-12)


def test_an_interval_lies_about_its_value():
    lists, _, _, metrics = judged()
    table = intervals(metrics, len(lists))
    inside = (table["lower"] <= table["value"]) & (table["value"] <= table["upper"])
    assert inside[table["value"].notna()].all()
