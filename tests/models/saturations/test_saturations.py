import mpmath
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.models.saturations.exponential import ExponentialSaturation
from pyro_popbias.models.saturations.hill import HillSaturation
from pyro_popbias.models.saturations.power import PowerSaturation
from pyro_popbias.models.saturations.tanh import TanhSaturation

mpmath.mp.dps = 350
RELATIVE, GRADIENT = 1e-12, 1e-9
PARAMETERS = [0.003, 0.3, 1.0, 4.0, 700.0]
# g and 1 - g, each with digits enough for both ends
EXACT = {
    ExponentialSaturation: (lambda p, z: -mpmath.expm1(-p * z), lambda p, z: mpmath.exp(-p * z)),
    HillSaturation: (lambda p, z: z / (z + p), lambda p, z: p / (z + p)),
    TanhSaturation: (lambda p, z: mpmath.tanh(p * z / 2), lambda p, z: 2 / (mpmath.exp(p * z) + 1)),
    PowerSaturation: (lambda p, z: z**p, None),
}
# d log g and d log(1 - g) by the parameter and by z
SLOPES = {
    ExponentialSaturation: (
        lambda p, z: (z / mpmath.expm1(p * z), p / mpmath.expm1(p * z)),
        lambda p, z: (-z, -p),
    ),
    HillSaturation: (
        lambda p, z: (-1 / (z + p), p / (z * (z + p))),
        lambda p, z: (z / (p * (z + p)), -1 / (z + p)),
    ),
    TanhSaturation: (
        lambda p, z: (z / mpmath.sinh(p * z), p / mpmath.sinh(p * z)),
        lambda p, z: (-z / (1 + mpmath.exp(-p * z)), -p / (1 + mpmath.exp(-p * z))),
    ),
    PowerSaturation: (lambda p, z: (mpmath.log(z), p / z), None),
}
BOUNDED = [cls for cls, (_, complement) in EXACT.items() if complement]


def grid_of(parameter):
    """Return parameter and popularities from 1e-12 to 1e4 around it, with gradients."""
    z = torch.logspace(-12, 4, 65, dtype=torch.float64)
    z = torch.cat([z, torch.linspace(0.1, 3, 30, dtype=torch.float64)])
    return torch.full_like(z, parameter, requires_grad=True), z.requires_grad_()


def assert_exact(value, own, z, function, slopes):
    gradients = torch.autograd.grad(value.sum(), (own, z))
    columns = (own, z, value, *gradients)
    for parameter, at, got, *slope in zip(*(each.tolist() for each in columns), strict=True):
        p, x = mpmath.mpf(parameter), mpmath.mpf(at)
        assert got == pytest.approx(float(mpmath.log(function(p, x))), rel=RELATIVE, abs=1e-300), at
        for one, expected in zip(slope, slopes(p, x), strict=True):
            assert one == pytest.approx(float(expected), rel=GRADIENT, abs=1e-300), at


@pytest.mark.parametrize("cls", EXACT)
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_logarithm_and_gradient(cls, parameter):
    own, z = grid_of(parameter)
    assert_exact(cls(own).log(z), own, z, EXACT[cls][0], SLOPES[cls][0])


@pytest.mark.parametrize("cls", BOUNDED)
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_logarithm_of_the_complement_and_gradient(cls, parameter):
    own, z = grid_of(parameter)
    assert_exact(cls(own).log_complement(z), own, z, EXACT[cls][1], SLOPES[cls][1])


@pytest.mark.parametrize("cls", EXACT)
@pytest.mark.parametrize("parameter", [0.3, 1.0, 4.0])
def test_values_by_z_and_by_its_logarithm(cls, parameter):
    own, z = grid_of(parameter)
    g = cls(own)
    expected = [float(EXACT[cls][0](mpmath.mpf(parameter), mpmath.mpf(at))) for at in z.tolist()]
    for value in (g(z), g.at_log(z.log())):
        assert value.tolist() == pytest.approx(expected, rel=1e-12 * max(1, parameter * 10), abs=0)


@pytest.mark.parametrize("cls", BOUNDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_are_finite_with_their_gradients(cls, dtype):
    log_z = torch.tensor([-1e4, -200.0, 0.0, 200.0, 1e4], dtype=dtype, requires_grad=True)
    own = torch.tensor(2.0, dtype=dtype, requires_grad=True)
    value = cls(own).at_log(log_z)
    gradients = torch.autograd.grad(value.sum(), (log_z, own))
    assert value.dtype == dtype
    assert all(each.isfinite().all() for each in (value, *gradients))
    assert (value[1:] >= value[:-1]).all()
    assert value[-1] == 1


@pytest.mark.parametrize("cls", BOUNDED)
def test_slope_is_the_derivative_at_zero(cls):
    g = cls(0.7)
    z = torch.tensor(1e-9, dtype=torch.float64)
    torch.testing.assert_close(g(z) / z, g.slope, rtol=1e-8, atol=0)


def test_power_has_no_complement_and_any_slope():
    with pytest.raises(NotImplementedError, match="a power is not a probability"):
        PowerSaturation(0.5).log_complement(torch.tensor(0.3))
    slopes = [PowerSaturation(exponent).slope.item() for exponent in (0.5, 1.0, 2.0)]
    assert slopes == [float("inf"), 1.0, 0.0]


@pytest.mark.parametrize("cls", EXACT)
def test_gradcheck(cls):
    own = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    z = torch.tensor([0.01, 0.6, 1.1, 3.0, 20.0], dtype=torch.float64, requires_grad=True)
    parts = [lambda p, x: cls(p)(x), lambda p, x: cls(p).log(x), lambda p, x: cls(p).at_log(x.log())]
    if cls in BOUNDED:
        parts.append(lambda p, x: cls(p).log_complement(x))
    for part in parts:
        assert torch.autograd.gradcheck(part, (own, z))


def test_tensors_keep_their_dtype():
    g = pb.models.ExponentialSaturation(torch.tensor(2.0))
    assert g(torch.ones(3)).dtype == torch.float32
    assert pb.models.ExponentialSaturation(2.0).slope == 2.0


def test_learned_rate_is_reported():
    sim = pb.simulate(users=30, items=20, interactions=600, seed=0)
    points = {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}
    study = pb.Study(
        model={"saturation": {"name": "exponential", "rate": "learned"}, "affinity": points},
        training={"epochs": 1},
    )
    pair = pb.pair(sim.events, study=study)
    assert set(pair.model.estimates()) == {"intercept", "concentration", "rate"}
