import mpmath
import pytest
import torch
from pyro_popbias.models.saturation import ExponentialSaturation

import pyro_popbias as pb

mpmath.mp.dps = 50


@pytest.mark.parametrize("rate", [0.3, 1.0, 4.0])
def test_logarithms_and_gradients(rate):
    z = torch.logspace(-12, 2, 40, dtype=torch.float64, requires_grad=True)
    g = ExponentialSaturation(rate)
    value = g.log(z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    for at, log, slope in zip(z.tolist(), value.tolist(), gradient.tolist(), strict=True):
        exact = mpmath.mpf(rate) * mpmath.mpf(at)
        assert log == pytest.approx(float(mpmath.log1p(-mpmath.exp(-exact))), rel=1e-12, abs=1e-300)
        assert slope == pytest.approx(float(rate / mpmath.expm1(exact)), rel=1e-9, abs=1e-300)
    torch.testing.assert_close(g.log_complement(z), -rate * z)


def test_tensors_keep_their_dtype():
    g = pb.models.ExponentialSaturation(torch.tensor(2.0))
    assert g(torch.ones(3)).dtype == torch.float32
    assert pb.models.ExponentialSaturation(2.0).slope == 2.0


def test_learned_rate_is_reported():
    sim = pb.simulate(users=30, items=20, interactions=600, seed=0)
    study = pb.Study(
        model={"saturation": {"rate": "learned"}, "affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 1}
    )
    pair = pb.pair(sim.events, study=study)
    assert set(pair.model.estimates()) == {"intercept", "concentration", "rate"}
