import math

import mpmath
import pytest
import torch
from torch.distributions import Exponential, Gamma, LogNormal, Normal, Weibull

from pyro_popbias.distributions import (
    approximate_logistic_normal,
    expected_inverse_logistic,
    expected_logistic,
    log_logistic_normal,
    logistic_integrals,
    logistic_normal,
    node_sums,
)
from pyro_popbias.distributions.logistic import softplus_normal
from pyro_popbias.distributions.logistic_approximations import APPROXIMATIONS
from pyro_popbias.distributions.quadrature import grid
from pyro_popbias.errors import UnknownNameError

POSITIVE = {cls.__name__: cls for cls in (Gamma, Exponential, LogNormal, Weibull)}
FAMILIES = {**POSITIVE, "Normal": Normal}
MIXTURE, QUADRATURE, GRADIENT, LOGARITHM = 5e-9, 1e-7, 1e-6, 1e-8
# name in the reference -> its expectation, given the link's parameters there
EXPECTED = {
    "additive": lambda link, distribution: expected_logistic(link["x"] + link["b0"], link["gamma"], distribution),
    "inverse_logistic": lambda link, distribution: expected_inverse_logistic(link["x"] - link["b0"], distribution),
    "sigmoid": lambda link, distribution: expected_logistic(0.0, link["lam"], distribution),
}
BY_MIXTURE = {("additive", "Normal"), ("inverse_logistic", "LogNormal")}
PAIRS = [
    *((link, family) for link in EXPECTED for family in POSITIVE),
    ("additive", "Normal"),
]
# max errors over loc in [-8, 8], scale in [.1, 5], known to a tenth from arithmetic with 30 digits
LARGEST_ERRORS = {
    "note": 1.08e-1,
    "mackay": 1.50e-2,
    "daunizeau": 1.10e-2,
    "gauss-hermite": 9.3e-4,
    "trapezoid": 1.3e-9,
}


def double(value, **options):
    return torch.tensor(value, dtype=torch.float64, **options)


def records_of(reference, kind, link, family):
    found = [
        record
        for record in reference
        if record["kind"] == kind and record["link"]["link"] == link and record["dist"]["dist"] == family
    ]
    assert found
    return found


def evaluate(record):
    """Return the expectation, and its parameters by name, with gradients."""
    kinds = {"link": record["link"], "dist": record["dist"]}
    given = {
        kind: {name: double(value, requires_grad=True) for name, value in part.items() if name != kind}
        for kind, part in kinds.items()
    }
    distribution = FAMILIES[record["dist"]["dist"]](**given["dist"])
    return EXPECTED[record["link"]["link"]](given["link"], distribution), {**given["link"], **given["dist"]}


@pytest.mark.parametrize(("link", "family"), PAIRS)
def test_reference_values(reference, link, family):
    bound = MIXTURE if (link, family) in BY_MIXTURE else QUADRATURE
    for record in records_of(reference, "marginal", link, family):
        value, _ = evaluate(record)
        assert abs(value.item() - float(record["value"])) <= bound, record["id"]


@pytest.mark.parametrize(("link", "family"), PAIRS)
def test_reference_gradients(reference, link, family):
    for record in records_of(reference, "marginal_gradient", link, family):
        value, given = evaluate(record)
        value.backward()
        for name, expected in record["grad"].items():
            error = given[name] * (given[name].grad - float(expected))
            assert abs(error.item()) <= GRADIENT, (record["id"], name)


def test_logistic_normal_reference_values(reference):
    records = [record for record in reference if record["kind"] == "logistic_normal"]
    assert records
    for record in records:
        m, s = record["m"], record["s"]
        assert abs(logistic_normal(m, s).item() - float(record["value"])) <= MIXTURE, record["id"]
        assert log_logistic_normal(m, s).item() == pytest.approx(float(record["log_value"]), rel=LOGARITHM)


def exact_log(m, s):
    with mpmath.workdps(40):
        m, s = mpmath.mpf(m), mpmath.mpf(s)
        breaks = sorted({mpmath.mpf(-12), mpmath.mpf(12) + s, *(each for each in (-m / s, s) if -12 < each < 12 + s)})
        density = lambda e: mpmath.npdf(e) / (1 + mpmath.exp(-m - s * e))  # noqa: E731
        return float(mpmath.log(mpmath.quad(density, breaks)))


@pytest.mark.parametrize("m", [-30.0, -12.0, -1.0, 0.0, 3.0, 20.0])
@pytest.mark.parametrize("s", [0.1, 1.0, 2.0, 6.0])
def test_logarithm_in_the_tails(m, s):
    assert log_logistic_normal(m, s).item() == pytest.approx(exact_log(m, s), rel=LOGARITHM)


def test_logarithm_agrees_with_the_probability_for_wide_distributions():
    m, s = torch.meshgrid(double([-40.0, -3.0, 0.0, 25.0]), double([0.0, 10.0, 40.0, 100.0]), indexing="ij")
    torch.testing.assert_close(log_logistic_normal(m, s).exp(), logistic_normal(m, s), rtol=0, atol=MIXTURE)


@pytest.mark.parametrize("function", [logistic_normal, log_logistic_normal])
def test_logistic_normal_gradients(function):
    m = double([[-6.0], [0.0], [0.4], [5.0]], requires_grad=True)
    s = double([0.2, 1.0, 4.0], requires_grad=True)
    assert torch.autograd.gradcheck(function, (m, s))


def test_logistic_normal_at_zero_scale_and_of_either_sign():
    m = double([-3.0, 0.0, 2.0])
    torch.testing.assert_close(logistic_normal(m, 0.0), torch.sigmoid(m), rtol=0, atol=MIXTURE)
    torch.testing.assert_close(log_logistic_normal(m, 0.0), torch.nn.functional.logsigmoid(m))
    torch.testing.assert_close(logistic_normal(m, -1.5), logistic_normal(m, 1.5))
    torch.testing.assert_close(log_logistic_normal(m, -1.5), log_logistic_normal(m, 1.5))


def test_dtypes_and_shapes():
    assert logistic_normal(0.5, 1.0).dtype == torch.float64
    assert logistic_normal(torch.zeros(4, 1), torch.ones(3)).shape == (4, 3)
    assert logistic_normal(torch.tensor(0.5), 1.0).dtype == torch.float32
    assert log_logistic_normal(0.5, torch.ones(2)).dtype == torch.float32
    assert log_logistic_normal(torch.zeros(0), 1.0).shape == (0,)
    for distribution in (Gamma(torch.ones(3), torch.ones(3)), LogNormal(torch.zeros(3), torch.ones(3))):
        assert expected_logistic(torch.zeros(4, 1), 1.0, distribution).shape == (4, 3)
        assert expected_logistic(0.0, 1.0, distribution).dtype == torch.float32
        assert expected_inverse_logistic(torch.zeros(4, 1), distribution).shape == (4, 3)
    assert expected_logistic(torch.zeros(0), 1.0, Gamma(torch.ones(1), torch.ones(1))).shape == (0,)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("slope", [-0.7, 0.0, 1.4])
def test_gradients_for_slopes_of_any_sign(family, slope):
    numbers = [1.2, 0.8][: len(FAMILIES[family].arg_constraints)]
    given = [double(value, requires_grad=True) for value in (-0.4, slope, *numbers)]
    assert torch.autograd.gradcheck(
        lambda a, b, *distribution: expected_logistic(a, b, FAMILIES[family](*distribution)), given
    )


@pytest.mark.parametrize("family", POSITIVE)
def test_gradients_of_the_inverse(family):
    numbers = [1.2, 0.8][: len(POSITIVE[family].arg_constraints)]
    given = [double(value, requires_grad=True) for value in (-0.4, *numbers)]
    assert torch.autograd.gradcheck(
        lambda a, *distribution: expected_inverse_logistic(a, POSITIVE[family](*distribution)), given
    )


@pytest.mark.parametrize(("offset", "slope"), [(1.5, -2.0), (-3.0, -0.5), (-30.0, 15.0), (-60.0, 40.0), (50.0, -30.0)])
def test_negative_slopes_and_far_offsets(offset, slope):
    a, b = 2.0, 1.3
    with mpmath.workdps(30):

        def integrand(z):
            return b**a * z ** (a - 1) * mpmath.exp(-b * z) / mpmath.gamma(a) / (1 + mpmath.exp(-offset - slope * z))

        turn = -offset / slope
        breaks = sorted({0.0, *(each for each in (turn - 0.2, turn, turn + 0.2, 1.0, 5.0) if each > 0), 60.0})
        expected = float(mpmath.quad(integrand, breaks))
    value = expected_logistic(double(offset), double(slope), Gamma(double(a), double(b)))
    assert abs(value.item() - expected) <= QUADRATURE


@pytest.mark.parametrize("method", APPROXIMATIONS)
def test_largest_errors_of_the_approximations(method):
    m, s = torch.meshgrid(
        torch.arange(-8, 8.1, 0.25, dtype=torch.float64), torch.arange(0.1, 5.05, 0.1).double(), indexing="ij"
    )
    error = (approximate_logistic_normal(m, s, method=method) - log_logistic_normal(m, s).exp()).abs().max()
    assert error.item() == pytest.approx(LARGEST_ERRORS[method], rel=0.1)


def test_mixture_is_within_its_bound_on_the_same_range():
    m, s = torch.meshgrid(torch.linspace(-8, 8, 65).double(), torch.linspace(0.1, 5, 50).double(), indexing="ij")
    assert (logistic_normal(m, s) - log_logistic_normal(m, s).exp()).abs().max() <= 2.2e-9


def test_unknown_approximations_bring_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"PB-C076: unknown method 'makay'; did you mean 'mackay'\? Methods: note"
    ):
        approximate_logistic_normal(double(0.0), double(1.0), method="makay")


def test_extreme_popularity_keeps_finite_gradients():
    distribution = LogNormal(double(0.0, requires_grad=True), double(60.0, requires_grad=True))
    for value in (
        expected_logistic(double(-1.0), double(2.0), distribution),
        expected_inverse_logistic(double(0.3), distribution),
    ):
        gradients = torch.autograd.grad(value, (distribution.loc, distribution.scale))
        assert all(math.isfinite(each.item()) for each in (value, *gradients))


@pytest.mark.parametrize("offset", [-40.0, -8.0, -5.0, 0.0])
def test_wide_distributions_against_many_nodes(offset, monkeypatch):
    scale, slope = torch.meshgrid(double([1.0, 3.0]), torch.logspace(-2, 2, 25).double(), indexing="ij")
    found = []
    for factor in (1, 10):
        monkeypatch.setattr(logistic_integrals, "NODES", 256 * factor)
        given = [each.clone().requires_grad_() for each in (torch.full_like(scale, offset), slope, 0 * scale, scale)]
        value = expected_logistic(*given[:2], LogNormal(*given[2:]))
        gradients = torch.autograd.grad(value.sum(), given)
        found.append((value, *(each * gradient for each, gradient in zip(given, gradients, strict=True))))
    assert (found[0][0] - found[1][0]).abs().max() <= QUADRATURE
    assert all((few - many).abs().max() <= GRADIENT for few, many in zip(*found, strict=True))


SERIES = {"Gamma": lambda a, b: Gamma(a, b), "Exponential": lambda a, b: Exponential(b)}


@pytest.mark.parametrize(("link", "family"), [(link, family) for link in ("additive", "sigmoid") for family in SERIES])
def test_series_where_offsets_are_positive(reference, link, family):
    records = [
        record
        for record in records_of(reference, "marginal", link, family)
        if record["link"].get("x", 0.0) + record["link"].get("b0", 0.0) >= 0
    ]
    assert records
    for record in records:
        assert abs(evaluate(record)[0].item() - float(record["value"])) <= MIXTURE, record["id"]


@pytest.mark.parametrize("family", SERIES)
def test_series_and_quadrature_meet_at_zero(family):
    a, slope = torch.meshgrid(torch.logspace(-1, 2, 7).double(), torch.logspace(-2, 1, 7).double(), indexing="ij")
    offset = double([-1e-9, 0.0]).reshape(2, 1, 1).requires_grad_()
    value = expected_logistic(offset, slope, SERIES[family](a, a))
    (gradient,) = torch.autograd.grad(value[0].sum() - value[1].sum(), offset)
    assert (value[0] - value[1]).abs().max() <= QUADRATURE
    assert abs(gradient.sum().item()) <= a.numel() * GRADIENT


# offsets of every group, of a slope of either sign under each of three distributions
OFFSETS = torch.linspace(-130, 130, 60).double()
SLOT = torch.arange(60) % 3


def distributions(family):
    numbers = [double([0.6, 1.2, 20.0]), double([0.8, 1.5, 3.0])][: len(POSITIVE[family].arg_constraints)]
    return POSITIVE[family](*(each.requires_grad_() for each in numbers)), numbers


@pytest.mark.parametrize("family", POSITIVE)
@pytest.mark.parametrize("block", [1, 1000, 10**9])
def test_cell_indices_and_blocks_change_nothing(family, block, monkeypatch):
    alone, (one, numbers) = [], distributions(family)
    slope = double([0.5, -1.5, 2.0])
    for offset, cell_index in zip(OFFSETS, SLOT, strict=True):
        distribution = POSITIVE[family](*(each[cell_index] for each in numbers))
        alone.append(
            (
                expected_logistic(offset, slope[cell_index], distribution),
                expected_inverse_logistic(offset, distribution),
            )
        )
    monkeypatch.setattr(node_sums, "BLOCK", block)
    monkeypatch.setattr(logistic_integrals, "BLOCK", max(block, logistic_integrals.TERMS))
    together = (
        expected_logistic(OFFSETS, slope, one, cell_index=SLOT),
        expected_inverse_logistic(OFFSETS, one, cell_index=SLOT),
    )
    for got, expected in zip(together, map(torch.stack, zip(*alone, strict=True)), strict=True):
        assert (got - expected).abs().max() <= 1e-8  # nodes of the inverse reach as far as the steepest of its group
        gradients = [torch.autograd.grad(each.mean(), numbers, retain_graph=True) for each in (got, expected)]
        assert all((few - many).abs().max() <= GRADIENT for few, many in zip(*gradients, strict=True))


def test_an_offset_that_is_no_number_spoils_no_other():
    distribution, offset = Gamma(double(2.0), double(2.0)), double([math.nan, -1.0, 1.0, math.nan])
    for value in (expected_logistic(offset, 1.0, distribution), expected_inverse_logistic(offset, distribution)):
        assert value.isnan().tolist() == [True, False, False, True]


@pytest.mark.parametrize("pairs", [10, 100_000])
def test_a_distribution_has_its_nodes_once_and_an_extreme_pair_has_its_own(pairs, monkeypatch):
    made = []

    def counted(distribution, slope, nodes):
        made.append(nodes * len(slope))
        return grid(distribution, slope, nodes)

    monkeypatch.setattr(logistic_integrals, "grid", counted)
    offset = torch.linspace(-4, -1, pairs).double()
    offset[0] = -100.0
    distribution = LogNormal(double([0.1, 0.2]), double([0.5, 0.6]))
    expected_logistic(offset, double(0.8), distribution, cell_index=torch.arange(pairs) % 2)
    assert sorted(made) == [2 * logistic_integrals.NODES, logistic_integrals.NODES * 24]


def test_the_expected_softplus_is_that_of_a_fine_rule():
    loc = torch.linspace(-30, 30, 121, dtype=torch.float64)[:, None, None]
    scale = torch.tensor([0.0, 0.1, 0.7, 2.0, 6.0], dtype=torch.float64)[:, None]
    node = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    weight = torch.softmax(-0.5 * node.square(), 0)
    expected = (weight * torch.nn.functional.softplus(loc + scale * node)).sum(-1)
    found = softplus_normal(loc[..., 0], scale[:, 0])
    assert (found - expected).abs().max() < 1e-8
    loc = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(softplus_normal(loc, 0.8), loc)
    assert slope.item() == pytest.approx(logistic_normal(0.3, 0.8).item(), abs=1e-7)
