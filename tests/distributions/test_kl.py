import math

import pytest
import torch
from torch.distributions import Exponential, Gamma, LogNormal, Normal, Weibull, kl_divergence

from pyro_popbias.distributions.kl import FAMILIES, cross_entropy, moments

PAIRS = [pytest.param(q, p, id=f"{q.__name__}-{p.__name__}") for q in FAMILIES for p in FAMILIES]
PARAMETERS = {
    Gamma: {"concentration": 2.3, "rate": 1.7},
    Exponential: {"rate": 0.8},
    LogNormal: {"loc": -0.2, "scale": 0.6},
    Weibull: {"scale": 1.3, "concentration": 1.9},
}
# q's and p's parameters over those of PARAMETERS
FACTORS = {"near": (1.0, 1.2), "below": (0.4, 2.5), "above": (2.0, 0.7)}
STANDARD_ERRORS = 4


def tensors(family, **options):
    return [torch.tensor(value, dtype=torch.float64, **options) for value in PARAMETERS[family].values()]


def from_record(distribution):
    family = {cls.__name__: cls for cls in (*FAMILIES, Normal)}[distribution["dist"]]
    return family(
        **{key: torch.tensor(value, dtype=torch.float64) for key, value in distribution.items() if key != "dist"}
    )


@pytest.mark.parametrize(("q_family", "p_family"), [*PAIRS, pytest.param(Normal, Normal, id="Normal-Normal")])
def test_reference_values(reference, q_family, p_family):
    records = [
        record
        for record in reference
        if record["kind"] == "kl"
        and (record["q"]["dist"], record["p"]["dist"]) == (q_family.__name__, p_family.__name__)
    ]
    assert records
    for record in records:
        got, expected = kl_divergence(from_record(record["q"]), from_record(record["p"])), float(record["value"])
        if math.isinf(expected):
            assert got == expected, record["id"]
        else:
            assert abs(float(got) - expected) <= 1e-9 * abs(expected), (record["id"], float(got))


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize(("q_family", "p_family"), PAIRS)
def test_monte_carlo(q_family, p_family, factors):
    torch.manual_seed(0)
    of_q, of_p = FACTORS[factors]
    q, p = (
        q_family(*(of_q * each for each in tensors(q_family))),
        p_family(*(of_p * each for each in tensors(p_family))),
    )
    z = q.sample((200_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std() / math.sqrt(len(ratio))
    assert abs(kl_divergence(q, p) - ratio.mean()) <= STANDARD_ERRORS * error + 1e-12


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize(("q_family", "p_family"), PAIRS)
def test_gradient(q_family, p_family, factors):
    of_q, of_p = FACTORS[factors]
    parameters = tensors(q_family, requires_grad=True) + tensors(p_family, requires_grad=True)
    number = len(PARAMETERS[q_family])

    def divergence(*given):
        q = q_family(*(of_q * each for each in given[:number]))
        return kl_divergence(q, p_family(*(of_p * each for each in given[number:])))

    assert torch.autograd.gradcheck(divergence, parameters)
    assert torch.autograd.gradgradcheck(
        divergence, parameters
    )  # the search for the nearest member of q goes by Hessians


def test_gradient_far_above_the_prior():  # a e^t - 1 would cancel
    concentration = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    q = LogNormal(torch.zeros(1).double(), torch.full((1,), 12.0).double())
    (slope,) = torch.autograd.grad(kl_divergence(q, Gamma(concentration, 2.0)), concentration)
    # d/da (log Gamma(a) - a log b - (a - 1) E log z)
    assert float(slope) == pytest.approx(float(torch.digamma(torch.tensor(2.0).double())) - math.log(2), rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_zero_to_itself(family):
    q = family(*tensors(family))
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("q_family", "p_family"), PAIRS)
def test_batches_broadcast(q_family, p_family):
    q = q_family(*tensors(q_family)).expand((3, 1))
    p = p_family(*tensors(p_family)).expand((4,))
    assert kl_divergence(q, p).shape == (3, 4)


@pytest.mark.parametrize("shape", [10.0, 1e3, 1e5, 1e6])
def test_float32_of_large_shapes(shape):
    def divergence(dtype):
        # the same float32 numbers in both precisions; only the arithmetic differs
        values = torch.tensor([shape, shape, shape * 1.0001, shape], dtype=torch.float32).to(dtype)
        return kl_divergence(Gamma(values[0], values[1]), Gamma(values[2], values[3]))

    single, double = divergence(torch.float32), divergence(torch.float64)
    assert single.dtype == torch.float32
    assert abs(float(single) - float(double)) <= 1e-5


def test_families_without_moments_are_refused():
    q = torch.distributions.HalfCauchy(torch.tensor(1.0))
    with pytest.raises(NotImplementedError, match="no moments for HalfCauchy"):
        moments(q)
    with pytest.raises(NotImplementedError, match="no cross entropy to HalfCauchy"):
        cross_entropy(q, moments(Exponential(torch.tensor(1.0))))
