import math

import pytest

from pyro_popbias.distributions.alternating import alternating_weights


@pytest.mark.parametrize("terms", [8, 12, 16, 20])
def test_alternating_series_within_their_bound(terms):
    weights = alternating_weights(terms)
    for moment, limit in [
        (lambda k: 1 / (k + 1), math.log(2)),
        (lambda k: 1.0, 0.5),
        (lambda k: 0.9**k, 1 / 1.9),
        (lambda k: float(k == 0), 1.0),
    ]:
        total = math.fsum(weight * moment(k) for k, weight in enumerate(weights))
        assert abs(total - limit) <= 2 * 5.828**-terms + 1e-14


def test_no_weight_magnifies_rounding():
    assert max(abs(each) for each in alternating_weights(16)) <= 1
