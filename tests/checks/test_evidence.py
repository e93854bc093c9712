"""Where every interaction has its own popularity, the ELBO keeps below the exact evidence by the KLs of its rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Gamma

import pyro_popbias as pb
from pyro_popbias.checks.evidence import FAULT, ROUNDING, evidence
from pyro_popbias.checks.training_rows import TrainingRows
from pyro_popbias.models import ItemPrior

ROWS = 120
NODES = {True: np.linspace(-15.0, 15.0, 10_001), False: np.linspace(-80.0, 30.0, 40_001)}  # of a real z, and of log z
VARIANTS = [
    (row.model, row.prior, row.guide)
    for row in pb.variants().query("allowed").itertuples()
    if pb.MODELS[row.model].per_interaction
    and pb.GUIDES[row.guide].maximises == "elbo"
    and not pb.GUIDES[row.guide].draws_all_cells
]


def double(value):
    return torch.as_tensor(value, dtype=torch.float64)


def pair_of(frame, model="product", prior="gamma", guide="gamma", *, shaken=True, label="label", **parts):
    """Return a pair whose parameters have been moved, so that nothing is right because it is where it starts."""
    affinity = {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}
    study = pb.Study(
        model={
            "name": model,
            "prior": {"name": prior},
            "latent": "interaction",
            "exposure": "none",
            "affinity": affinity,
            **parts,
        },
        guide={"name": guide},
        training={"device": "cpu", "validation": 0.0},
    )
    made = pb.pair(pb.Interactions.from_frame(frame, label=label), study=study)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*made.model.parameters(), *made.guide.parameters()] if shaken else ():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return made


def gap_of_row(model, x, label, q, prior):
    """Return KL(q || posterior) of a row's popularity, in nats, by a sum over nodes."""
    real = q.support is torch.distributions.constraints.real
    t = NODES[real]
    z, jacobian = (t, 0.0) if real else (np.exp(t), t)
    step = t[1] - t[0]
    log_q, log_f = (each.log_prob(double(z)).detach().numpy() + jacobian for each in (q, prior))
    if model.study.model.name == "additive":
        logit = x + model.model.slope.item() * z
        log_p = -np.logaddexp(0.0, -logit if label else logit)
    else:
        log_p = np.log(-np.expm1(-z)) - np.log1p(np.exp(-x))  # the default saturation
        log_p = log_p if label else np.log1p(-np.exp(log_p))
    inside = log_q > -700
    log_evidence = np.logaddexp.reduce(log_f + log_p) + np.log(step)
    integrand = (np.exp(log_q) * (log_q - log_f - log_p + log_evidence))[inside]
    return integrand.sum() * step


@pytest.mark.parametrize(("model", "prior", "guide"), VARIANTS)
def test_the_gap_is_the_sum_of_the_kls_of_rows(make_frame, model, prior, guide):
    made = pair_of(make_frame(rows=ROWS), model, prior, guide)
    table, (finding,) = evidence(made)
    assert table["rows"].sum() == ROWS
    assert (table["gap"] > 0).all()
    assert finding.passed
    assert finding.value == pytest.approx(-table["gap"].sum() / ROWS)
    with torch.no_grad():
        for place in range(3):
            item = made.events.items.get_loc(table["item"][place])
            rows, cell = TrainingRows(made).of(np.array([item])), torch.tensor([item])
            q, f = (each(cell) for each in (made.guide.popularity.posterior, made.model.prior.distribution))
            expected = sum(
                gap_of_row(made, x.item(), c.item(), q, f) for x, c in zip(rows.affinity, rows.label, strict=True)
            )
            assert table["gap"][place] == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_reference_values():
    """By mpmath: f = Gamma(2, 1), q = Gamma(3, 1.2), g(z) = 1 - exp(-z), sigma(x) = .3; a label of each kind."""
    frame = pd.DataFrame({"user": ["u", "v"], "item": ["i", "j"], "label": [1, 0], "x": np.log(0.3 / 0.7)})
    made = pair_of(frame, affinity={"name": "fixed", "score": "x"}, shaken=False)
    population = Gamma(double(2.0), double(1.0))
    made.model.prior = ItemPrior(population.expand((2,)), population)
    made.guide.popularity.posterior = lambda cell: Gamma(double(3.0), double(1.2)).expand(cell.shape)
    table = evidence(made)[0].set_index("item")
    values = {"i": (-1.49165487678, -1.50139019186, 0.00973531508), "j": (-0.25489225, -0.38572241, 0.13083016)}
    for item, numbers in values.items():
        assert table.loc[item, ["log_evidence", "elbo", "gap"]].to_list() == pytest.approx(numbers, abs=1e-8)


def test_evidence_is_the_probability_of_labels(make_frame):
    for model, prior in (("product", "lognormal"), ("additive", "normal"), ("additive", "gamma")):
        made = pair_of(make_frame(rows=ROWS), model, prior, "lognormal" if prior == "lognormal" else prior)
        table, rows = evidence(made)[0], TrainingRows(made).of(np.arange(made.events.cells))
        with torch.no_grad():
            priors = made.model.prior.distribution(torch.arange(made.events.cells))
            value = made.model.log_marginal_probability(rows.affinity, rows.label, priors, rows.cell_index)
        assert table["log_evidence"].sum() == pytest.approx(value.sum().item(), abs=1e-6 * ROWS)


def test_affinities_with_a_distribution_are_averaged_over_on_both_sides(make_frame):
    made = pair_of(make_frame(rows=ROWS), affinity={"name": "embedding", "dim": 2})
    table, (finding,) = evidence(made)
    assert table["rows"].sum() == pytest.approx(ROWS)
    assert (table["gap"] > 0).all()
    # where q is the posterior, only popularity that rows share would be left of the gap, and the affinity's spread is not
    made.guide.popularity.posterior = made.model.prior.distribution
    of_prior = evidence(made)[0]["gap"].sum()
    assert 0 < of_prior < 0.5 * ROWS
    assert finding.passed


def test_sampled_negatives_count_by_their_expected_number(make_frame):
    frame = make_frame(rows=ROWS).query("label == 1").drop(columns=["label", "time"])
    made = pair_of(frame, label=None)
    table, (finding,) = evidence(made)
    assert table["rows"].sum() == pytest.approx(len(frame) * (1 + made.study.data.negatives), rel=0.01)
    assert finding.passed


@pytest.mark.parametrize("fault", ["evidence", "kl"])
def test_an_elbo_above_the_evidence_fails(make_frame, monkeypatch, fault):
    made = pair_of(make_frame(rows=ROWS))
    if fault == "evidence":
        honest = type(made.model).log_evidence
        monkeypatch.setattr(type(made.model), "log_evidence", lambda *args, **keys: honest(*args, **keys) - 1.0)
    else:
        monkeypatch.setattr(
            "pyro_popbias.checks.evidence.closed_kl", lambda q, p: torch.full(q.batch_shape, -1.0).double()
        )
    _, (finding,) = evidence(made)
    assert not finding.passed
    assert finding.value > ROUNDING == finding.bound
    assert finding.words.endswith(f": {FAULT}.")


def test_a_q_without_a_closed_kl_has_it_by_quadrature(make_frame, monkeypatch):
    for model, family in (("product", "gamma"), ("additive", "normal")):
        made = pair_of(make_frame(rows=ROWS), model, family, family)
        expected = evidence(made)[0]
        with monkeypatch.context() as patch:
            patch.setattr("pyro_popbias.checks.evidence.closed_kl", lambda q, p: None)
            pd.testing.assert_frame_equal(evidence(made)[0], expected, rtol=1e-7)


@pytest.mark.slow
def test_it_is_a_check_of_a_fit(make_frame, short_training):
    parts = {"affinity": {"name": "embedding", "dim": 2}, "exposure": "none", "latent": "interaction"}
    events = pb.Interactions.from_frame(make_frame(rows=300), label="label")
    study = pb.Study(model=parts, training={"device": "cpu", "epochs": 2})
    check = pb.fit(events, study=study, progress=False).check()
    (finding,) = [each for each in check.findings if each.check == "evidence"]
    table = check.tables["evidence"]
    assert list(table.columns) == ["item", "period", "rows", "log_evidence", "elbo", "gap"]
    assert table["rows"].sum() == pytest.approx(270)  # the training rows: a tenth is held out
    numbers = f"{table['log_evidence'].sum():.2f} nats and the ELBO {table['elbo'].sum():.2f}"
    assert f"the exact log evidence is {numbers}: a gap of" in finding.words


def test_it_is_left_out_where_there_is_none(make_frame):
    table, (idle,) = evidence(pair_of(make_frame(rows=ROWS), guide="point"))
    assert table.empty
    assert np.isnan(idle.value)
    assert idle.words == "Not checked: guide 'point' is a point estimate, which has no ELBO."
    table, findings = evidence(pair_of(make_frame(rows=ROWS), latent="item"))
    assert table.empty
    assert not findings
