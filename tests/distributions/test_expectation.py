import pytest
import torch
from torch.distributions import Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.distributions import closed_form, expectation, register_expectation
from pyro_popbias.distributions.expectation import _CLOSED
from pyro_popbias.distributions.quadrature import grid
from pyro_popbias.errors import ConfigError
from pyro_popbias.models import ExponentialSaturation, HillSaturation, PowerSaturation, TanhSaturation

FAMILIES = {cls.__name__: cls for cls in (Gamma, Exponential, LogNormal, Weibull)}
LINKS = {  # name in the reference -> class, name of its parameter there
    "exp_cdf": (ExponentialSaturation, "lam"),
    "hill": (HillSaturation, "C"),
    "tanh": (TanhSaturation, "lam"),
    "power": (PowerSaturation, "gamma"),
}
PAIRS = [pytest.param(link, family, id=f"{link}-{family}") for link in LINKS for family in FAMILIES]
CLOSED, QUADRATURE, GRADIENT = 5e-9, 1e-7, 1e-6


def records_of(reference, kind, link, family):
    found = [
        record
        for record in reference
        if record["kind"] == kind and record["link"]["link"] == link and record["dist"]["dist"] == family
    ]
    assert found
    return found


def parts(record):
    """Return saturation, distribution, and their parameters by name in the reference, with gradients."""
    link, name = LINKS[record["link"]["link"]]
    own = {key: value for key, value in record["dist"].items() if key != "dist"}
    given = {
        key: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for key, value in {**own, name: record["link"][name]}.items()
    }
    return link(given[name]), FAMILIES[record["dist"]["dist"]](**{key: given[key] for key in own}), given


def within(value, record, bound):
    """Whether a value is as near as the bound: absolutely, and relatively above 1."""
    expected = float(record["value"])
    return abs(value.item() - expected) <= bound * max(1, abs(expected))


@pytest.mark.parametrize(("link", "family"), PAIRS)
def test_reference_values(reference, link, family):
    bound = CLOSED if closed_form(LINKS[link][0], FAMILIES[family]) else QUADRATURE
    for record in records_of(reference, "marginal", link, family):
        g, distribution, _ = parts(record)
        assert within(expectation(g, distribution), record, bound), record["id"]


@pytest.mark.parametrize(("link", "family"), [pair for pair in PAIRS if not pair.id.startswith("power")])
def test_quadrature_also_where_a_closed_form_exists(reference, link, family):
    for record in records_of(reference, "marginal", link, family):
        g, distribution, _ = parts(record)
        rule = grid(distribution, g.slope)
        assert within(rule.expectation(g.at_log(rule.log_z)), record, QUADRATURE), record["id"]


@pytest.mark.parametrize(("link", "family"), PAIRS)
def test_reference_gradients(reference, link, family):
    for record in records_of(reference, "marginal_gradient", link, family):
        g, distribution, given = parts(record)
        expectation(g, distribution).backward()
        for name, expected in record["grad"].items():
            error = given[name] * (given[name].grad - float(expected))
            assert abs(error.item()) <= GRADIENT, (record["id"], name)


@pytest.mark.parametrize(("link", "family"), PAIRS)
def test_gradient_against_differences(link, family):
    distribution_class = FAMILIES[family]
    numbers = [1.3, 0.7][: len(distribution_class.arg_constraints)]
    parameters = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.8, *numbers)]
    assert torch.autograd.gradcheck(
        lambda own, *distribution: expectation(LINKS[link][0](own), distribution_class(*distribution)), parameters
    )


def test_which_pairs_are_closed():
    closed = {
        (link, family) for link, (cls, _) in LINKS.items() for family in FAMILIES if closed_form(cls, FAMILIES[family])
    }
    assert closed == {
        *(("power", family) for family in FAMILIES),
        *((link, family) for link in ("exp_cdf", "tanh") for family in ("Gamma", "Exponential")),
        ("hill", "LogNormal"),
    }


def test_nearest_base_class_serves():
    class Narrow(Gamma):
        pass

    assert closed_form(ExponentialSaturation, Narrow) is _CLOSED[ExponentialSaturation, Gamma]
    assert closed_form(ExponentialSaturation, LogNormal) is None


def test_duplicates_are_refused():
    before = dict(_CLOSED)
    with pytest.raises(ConfigError, match=r"PB-C002: .*Gamma is registered twice, by _exponential_gamma and .*second"):

        @register_expectation(ExponentialSaturation, Gamma)
        def second(g, z):
            return z.mean

    assert before == _CLOSED


@pytest.mark.parametrize(("link", "family"), PAIRS)
def test_shape_is_the_batch_of_both(link, family):
    distribution_class, cls = FAMILIES[family], LINKS[link][0]
    rows = torch.linspace(0.5, 2.5, 5, dtype=torch.float64)
    numbers = [torch.tensor([0.4, 0.7, 1.1], dtype=torch.float64)] * len(distribution_class.arg_constraints)
    distribution = distribution_class(*numbers)
    value = expectation(cls(rows[:, None]), distribution)
    assert value.shape == (5, 3)
    for row, parameter in zip(value, rows, strict=True):
        torch.testing.assert_close(row, expectation(cls(parameter), distribution), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("link", "family"), PAIRS)
def test_float32_stays_float32(link, family):
    distribution_class = FAMILIES[family]
    numbers = [torch.tensor(0.7)] * len(distribution_class.arg_constraints)
    single = expectation(LINKS[link][0](torch.tensor(0.8)), distribution_class(*numbers))
    double = expectation(
        LINKS[link][0](torch.tensor(0.8).double()), distribution_class(*(each.double() for each in numbers))
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)
