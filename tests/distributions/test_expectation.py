import pytest
import torch
from pyro_popbias.models import ExponentialSaturation
from torch.distributions import Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.distributions import closed_form, expectation, register_expectation
from pyro_popbias.distributions.expectation import _CLOSED
from pyro_popbias.distributions.quadrature import grid
from pyro_popbias.errors import ConfigError

FAMILIES = {cls.__name__: cls for cls in (Gamma, Exponential, LogNormal, Weibull)}
CLOSED, QUADRATURE, GRADIENT = 5e-9, 1e-7, 1e-6


def records_of(reference, kind, family):
    found = [
        record
        for record in reference
        if record["kind"] == kind and record["link"]["link"] == "exp_cdf" and record["dist"]["dist"] == family
    ]
    assert found
    return found


def parts(record):
    """Return the parameters of law and link by name, with gradients."""
    given = {**record["dist"], "lam": record["link"]["lam"]}
    del given["dist"]
    return {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in given.items()}


def law_of(record, given):
    return FAMILIES[record["dist"]["dist"]](**{name: value for name, value in given.items() if name != "lam"})


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_values(reference, family):
    bound = CLOSED if closed_form(ExponentialSaturation, FAMILIES[family]) else QUADRATURE
    for record in records_of(reference, "marginal", family):
        given = parts(record)
        value = expectation(ExponentialSaturation(given["lam"]), law_of(record, given))
        assert abs(value.item() - float(record["value"])) <= bound, record["id"]


@pytest.mark.parametrize("family", FAMILIES)
def test_quadrature_also_where_a_closed_form_exists(reference, family):
    for record in records_of(reference, "marginal", family):
        given = parts(record)
        g = ExponentialSaturation(given["lam"])
        rule = grid(law_of(record, given), g.slope)
        assert abs(rule.expectation(g.at_log(rule.log_z)).item() - float(record["value"])) <= QUADRATURE, record["id"]


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_gradients(reference, family):
    for record in records_of(reference, "marginal_gradient", family):
        given = parts(record)
        expectation(ExponentialSaturation(given["lam"]), law_of(record, given)).backward()
        for name, expected in record["grad"].items():
            error = given[name] * (given[name].grad - float(expected))
            assert abs(error.item()) <= GRADIENT, (record["id"], name)


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


def test_no_rule_is_said_so():
    with pytest.raises(NotImplementedError, match="no quadrature for HalfCauchy"):
        expectation(ExponentialSaturation(1.0), torch.distributions.HalfCauchy(torch.tensor(1.0)))


def test_shape_is_the_batch_of_the_law():
    law = LogNormal(torch.zeros(5, 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    value = expectation(ExponentialSaturation(2.0), law)
    assert value.shape == (5, 3)
    assert ((value > 0) & (value < 1)).all()
