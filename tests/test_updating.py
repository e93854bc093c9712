"""Fits that go on with the rows of the next period: what was learned is their prior, and is not read again."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import LogNormal, Normal

import pyro_popbias as pb
from pyro_popbias import updating
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import assemble
from pyro_popbias.distributions.kl import moments
from pyro_popbias.errors import ConfigError, DataError, IncompatibleError
from pyro_popbias.prediction.pairs import Pairs, log_probability
from pyro_popbias.training.update_schedule import rows_of, stepped, write

pytestmark = [pytest.mark.usefixtures("short_training"), pytest.mark.slow]
EMBEDDINGS = {
    "mean-field": {"name": "embedding", "dim": 3},
    "given scale": {"name": "embedding", "dim": 3, "posterior": "mean-field", "scale": 0.4},
    "point": {"name": "embedding", "dim": 3, "posterior": "point", "scale": 0.4},
}


def study_of(affinity="mean-field", **model):
    return pb.Study(model={"affinity": EMBEDDINGS[affinity], **model}, training={"epochs": 3, "device": "cpu"})


def logs(*, labelled=True, periods=3):
    """Return the rows of all periods but the last, and those of the last one, with a new user and a new item."""
    sim = pb.simulate(users=40, items=12, interactions=1200, periods=periods, prior="lognormal", drift=0.4, seed=1)
    frame = sim.events.to_frame()
    frame = frame if labelled else frame[frame["label"] == 1].drop(columns="label")
    old, new = frame[frame["period"] < periods - 1], frame[frame["period"] == periods - 1].copy()
    new = new[new["item"] != sim.events.items[3]]  # gone
    new.iloc[:9, new.columns.get_loc("user")] = "new user"
    new.iloc[5:30, new.columns.get_loc("item")] = "new item"
    label = "label" if labelled else None
    earlier = pb.Interactions.from_frame(old, label=label, time="time", periods=periods - 1)
    return earlier, pb.Interactions.from_frame(new, label=label, time="time")


@pytest.fixture(scope="module", params=[*EMBEDDINGS, "positives"])
def both(request, short_training):
    """Return a fit, the rows of its update, and this."""
    affinity = request.param if request.param in EMBEDDINGS else "mean-field"
    earlier, new = logs(labelled=request.param != "positives")
    fit = pb.fit(earlier, study=study_of(affinity, prior={"drift": "random-walk"}), progress=False)
    return fit, new, pb.update(fit, new, progress=False)


def test_users_and_items_join_those_of_the_fit(both):
    fit, new, updated = both
    users, items = len(fit.catalogue.users), len(fit.catalogue.items)
    assert updated.catalogue.users[:users].equals(fit.catalogue.users)
    assert updated.catalogue.items[:items].equals(fit.catalogue.items)
    assert {"new user"} == set(updated.catalogue.users[users:])
    assert {"new item"} == set(updated.catalogue.items[items:])
    assert updated.catalogue.periods == 1
    assert updated.catalogue.count.sum() == len(new)
    assert updated.events.to_frame()[["user", "item"]].equals(new.to_frame()[["user", "item"]])


def test_the_posterior_of_popularity_is_the_next_prior(both):
    fit, new, updated = both
    step = fit.parameters().set_index("name").loc["drift_step", "mean"]
    with torch.no_grad():
        q = fit.guide.popularity.posterior(torch.arange(1, fit.catalogue.cells, 2))
        prior = updated.model.prior.distribution(torch.arange(len(fit.catalogue.items)))
        torch.testing.assert_close(prior.loc, q.loc)
        torch.testing.assert_close(prior.scale, (q.scale.square() + step**2).sqrt())
        population, last = fit.model.prior.population(), torch.tensor([len(updated.catalogue.items) - 1])
        of_new = updated.model.prior.distribution(last)
        torch.testing.assert_close((of_new.loc[0], of_new.scale[0]), (population.loc, population.scale))
    assert updated.study.model.prior.drift == pytest.approx(step)
    gone = updated.popularity().set_index("item").loc[fit.catalogue.items[~fit.catalogue.items.isin(new.items)][0]]
    assert gone["prior_only"]
    assert gone["mean"] == pytest.approx(gone["prior_mean"])


def test_the_earlier_fit_stays_as_it_was(both):
    fit, new, _ = both
    before = {name: value.clone() for name, value in [*fit.model.state_dict().items(), *fit.guide.state_dict().items()]}
    pb.update(fit, new, progress=False)
    for name, value in [*fit.model.state_dict().items(), *fit.guide.state_dict().items()]:
        assert torch.equal(value, before[name]), name


def test_scalars_and_rows_without_new_labels_are_those_of_the_fit(both):
    fit, new, updated = both
    old, found = dict(fit.model.named_parameters()), dict(updated.model.named_parameters())
    scalars = [name for name, value in old.items() if value.dim() < 2 and not name.startswith("prior")]
    assert scalars
    for name in scalars:
        assert torch.equal(old[name], found[name]), name
    silent = [fit.catalogue.items.get_loc(item) for item in fit.catalogue.items if item not in new.items]
    assert silent
    tables = [(fit.guide.weights(), updated.guide.weights(), lambda q: q.loc)]
    if "affinity.item_vectors_unconstrained" in old:
        tables.append((old, found, lambda table: table))
    for before, after, of in tables:
        for name in before:
            if "item_vectors" in name:
                torch.testing.assert_close(of(after[name])[silent], of(before[name])[silent])


def test_what_was_seen_earlier_is_not_recommended_again(both, tmp_path):
    fit, new, updated = both
    lists = updated.recommend(k=5)
    rows = pd.concat([fit.events.to_frame(), new.to_frame()])
    seen = set(zip(rows["user"], rows["item"], strict=True))
    assert not seen & set(zip(lists["user"], lists["item"], strict=True))
    updated.save(tmp_path / "run")
    read = pb.load(tmp_path / "run")
    pd.testing.assert_frame_equal(read.recommend(k=5), lists)
    assert read.study.model.prior.source == "posterior"
    pairs = pd.DataFrame({"user": ["new user"] * 3, "item": ["new item", *fit.catalogue.items[:2]]})
    for mode in ("population", "posterior", "prior"):
        pd.testing.assert_frame_equal(read.predict(pairs, popularity=mode), updated.predict(pairs, popularity=mode))
        assert updated.predict(pairs, popularity=mode)["score"].between(0, 1).all()


def test_updates_follow_each_other(both):
    _, new, updated = both
    again = pb.update(updated, new, progress=False, drift=0.1)
    assert again.catalogue.items.equals(updated.catalogue.items)
    assert again.study.model.prior.drift == 0.1
    assert len(again.known) == len(updated.known) + len(new)
    assert pb.update(updated, new, progress=False).study.model.prior.drift == updated.study.model.prior.drift


def test_an_update_keeps_the_settings_and_the_widths_of_the_fit(both):
    fit, _, updated = both
    assert updated.study.training == fit.study.training
    assert torch.equal(updated.guide.residual_variance, fit.guide.residual_variance)
    assert updated.guide.intercept.variance <= fit.guide.intercept.variance


def test_calibrated_scores_of_users_without_new_rows_are_those_of_the_mean_user():
    earlier, new = logs(labelled=False)
    fit = pb.fit(earlier, study=study_of(), progress=False)
    updated = pb.update(fit, new, progress=False)
    silent = updated.catalogue.users[~updated.catalogue.users.isin(new.users)]
    pairs = pd.DataFrame({"user": [*silent[:3], *new.users[:3]], "item": updated.catalogue.items[:6]})
    found = updated.predict(pairs, calibrated=True)
    assert len(silent)
    assert (found["score"] > 0).all()


@pytest.mark.parametrize("affinity", EMBEDDINGS)
def test_an_update_starts_at_its_prior(affinity):
    earlier, new = logs()
    study = study_of(affinity, prior={"drift": "random-walk"}).replace("training", epochs=15, learning_rate=0.05)
    fit = pb.fit(earlier, study=study, progress=False)
    joined = updating._joined(fit, new)
    with local_parameters():
        with torch.no_grad():
            prior = updating._prior(fit, len(joined.items), 0.3)
        pair = assemble(joined, updating._study(fit.study, joined, 0.3), prior=prior)
        updating._carry_over(fit, pair)
        pair.objective(pair.model, pair.guide)(pair.whole())
        assert pair.objective.latest.kl.item() == pytest.approx(0.0, abs=1e-4)  # vectors are in float32
        memory = pair.model.affinity.memory
        rows = rows_of(pair, memory)
        for _ in range(80):
            rows = stepped(pair, rows)
            with torch.no_grad():
                write(pair, rows)
        last = stepped(pair, rows)
    for name, table in last.items():  # a fixed point, away from the start
        torch.testing.assert_close(table.mean, rows[name].mean, atol=2e-5, rtol=0)
        assert not table.mean.numel() or (table.mean - table.prior_mean).abs().max() > 1e-4
        if not table.is_point:
            assert (table.variance <= 1 / table.prior_precision * (1 + 1e-9)).all()


def test_a_fit_without_a_walk_goes_on_by_a_given_step():
    earlier, new = logs()
    fit = pb.fit(earlier.with_periods(1), study=study_of(), progress=False)
    updated = pb.update(fit, new, drift=0.5, progress=False)
    with torch.no_grad():
        cell = torch.arange(len(fit.catalogue.items))
        of_q = moments(fit.guide.popularity.posterior(cell))
        of_prior = moments(updated.model.prior.distribution(cell))
    assert updated.study.guide.name == "gamma"
    torch.testing.assert_close(of_prior.log_mean, of_q.log_mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(of_prior.log_variance, of_q.log_variance + 0.25, atol=1e-5, rtol=0)
    frame = earlier.to_frame()
    quiet = frame[(frame["item"] != fit.catalogue.items[0]) | (frame["period"] == 0)]  # not seen for a period
    of_two = pb.fit(
        pb.Interactions.from_frame(quiet, label="label", time="time", periods=2), study=study_of(), progress=False
    )
    prior = pb.update(of_two, new, drift=0.5, progress=False).model.prior.distribution(cell)
    with torch.no_grad():
        place = of_two.catalogue.items.get_loc(fit.catalogue.items[0])
        before = moments(of_two.guide.popularity.posterior(torch.tensor([2 * place]))).log_variance
        assert moments(prior).log_variance[place].item() == pytest.approx(before.item() + 0.5, abs=1e-5)
    assert pb.update(fit, new, progress=False).study.model.prior.drift == 0.25


@pytest.mark.parametrize(
    ("model", "guide", "family"), [("additive", "normal", Normal), ("product", "point", LogNormal)]
)
def test_other_supports_and_points_go_on_too(model, guide, family):
    earlier, new = logs()
    prior = {"name": "normal" if model == "additive" else "lognormal"}
    study = study_of("point", prior=prior).replace("guide", name=guide).replace("model", name=model)
    fit = pb.fit(earlier, study=study, progress=False)
    prior = pb.update(fit, new, progress=False).model.prior.distribution(torch.tensor([0]))
    assert isinstance(prior, family)


def test_what_cannot_go_on_is_refused():
    earlier, new = logs()
    fit = pb.fit(earlier, study=study_of("point"), progress=False)
    with pytest.raises(DataError, match="PB-D001: expected a DataFrame, got list"):
        pb.update(fit, [1, 2])
    with pytest.raises(
        DataError, match=r"PB-D490: no column 'label' \(label=\)\. Columns: 'user', 'item'\. Name them: pb\.Interact"
    ):
        pb.update(fit, new.to_frame()[["user", "item"]])
    with pytest.raises(
        DataError, match="PB-D430: the fit is of rows with labels of their own, and the new rows have positives"
    ):
        pb.update(fit, pb.Interactions.from_frame(new.to_frame()[["user", "item"]]))
    for drift in (-0.1, True, "a", np.nan):
        with pytest.raises(ConfigError, match="PB-C432: drift must be a number from 0 to 10"):
            pb.update(fit, new, drift=drift)
    fixed = {"name": "factorization-machine", "dim": 2}
    other = pb.fit(earlier, study=pb.Study(model={"affinity": fixed}, training={"epochs": 1}), progress=False)
    with pytest.raises(IncompatibleError, match="PB-C431: an update goes on with the affinity 'embedding'"):
        pb.update(other, new)
    exponential = {"prior": {"name": "exponential"}}
    with pytest.raises(IncompatibleError, match="PB-C433: prior 'exponential' has no number"):
        pb.update(pb.fit(earlier, study=study_of(**exponential), progress=False), new)
    posterior = pb.update(fit, new, progress=False).study
    with pytest.raises(
        ConfigError, match="PB-C430: prior source 'posterior' is the popularity that an earlier fit has left"
    ):
        pb.fit(new, study=posterior, progress=False)


@pytest.mark.nightly
@pytest.mark.slow
def test_an_update_predicts_nearly_as_well_as_a_fit_of_all_rows(phase_two_as):
    sim = pb.simulate(users=500, items=150, interactions=55_000, periods=6, prior="lognormal", drift=0.3, seed=0)
    frame = sim.events.to_frame()
    old, new = frame[frame["period"] < 5], frame[frame["period"] == 5]
    test = new.sample(frac=0.3, random_state=0)
    new = new.drop(test.index)
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 8}, "prior": {"drift": "random-walk"}})

    def of(rows, periods):
        return pb.Interactions.from_frame(rows, label="label", time="time", periods=periods)

    def score(fit, popularity):
        pairs = Pairs.from_frame(test, fit.catalogue, unseen="prior")
        return log_probability(fit.scorer(popularity), pairs, test["label"].to_numpy())

    with phase_two_as():
        fit = pb.fit(of(old, 5), study=study, progress=False)
        updated = pb.update(fit, of(new, 1), progress=False)
        whole = pb.fit(of(pd.concat([old, new]), 6), study=study, progress=False)
    less = score(whole, "posterior") - score(updated, "posterior")
    gained = score(updated, "posterior") - score(fit, "forecast")
    error = less.std() / len(less) ** 0.5
    print(f"update less than the whole fit by {less.mean():.4f} +- {error:.4f} nats per row")  # noqa: T201  shown by pytest -s
    assert less.mean() < 0.002 + 2 * error
    assert gained.mean() > 2 * gained.std() / len(gained) ** 0.5
