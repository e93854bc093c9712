"""What `popularity=` may be."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import constraints

from pyro_popbias.errors import UnknownNameError
from pyro_popbias.models import Additive, AffinityDistribution, FixedScoreAffinity, NormalPrior
from pyro_popbias.prediction.do_value import DoValue
from pyro_popbias.prediction.intervention import MODES, read_popularity, scores_at


@pytest.mark.parametrize("mode", MODES)
def test_modes_are_themselves(mode):
    assert read_popularity(mode, constraints.positive) == mode


@pytest.mark.parametrize("popularity", [1, np.float32(0.5), {"i": 1.0}, {"forecast": 1.0, "i": 1.0}, {}])
def test_numbers_and_mappings_are_given_values(popularity):
    assert isinstance(read_popularity(popularity, constraints.positive), DoValue)


@pytest.mark.parametrize("popularity", [None, [1.0], pd.Series([1.0]), {"forecast": 0.5}, "1.5", np.bool_(True)])
def test_anything_else_is_refused(popularity):
    with pytest.raises(
        UnknownNameError, match=r"PB-C011: popularity=.* is not available\. Modes: .*, a number, or a map"
    ):
        read_popularity(popularity, constraints.positive)


def test_the_nearest_mode_is_named():
    with pytest.raises(
        UnknownNameError, match=r"PB-C011: popularity='posteriori' .*; did you mean 'posterior'\? Modes"
    ):
        read_popularity("posteriori", constraints.positive)


def test_given_popularity_keeps_the_error_bar_of_the_affinity():
    model = Additive(FixedScoreAffinity(), NormalPrior())
    mean, variance = torch.tensor([0.5, -1.0]).double(), torch.tensor([0.2, 0.0]).double()
    found = scores_at(model, AffinityDistribution(mean, variance), torch.tensor([-1.0, 2.0]).double())
    z_known = scores_at(model, AffinityDistribution(mean), torch.tensor([-1.0, 2.0]).double())
    assert found.lower is found.score
    assert found.upper is found.score
    assert found.sd[0] > 0.05
    assert found.sd[1] == pytest.approx(0.0, abs=1e-7)
    torch.testing.assert_close(z_known.score, torch.sigmoid(mean + torch.tensor([-1.0, 2.0])))
    assert z_known.sd is None
