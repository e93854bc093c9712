"""Users that are asked for: distinct, in the order in which they first appear."""

import numpy as np
import pandas as pd
import pytest

from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.prediction.recommendation import user_codes

KNOWN = pd.Index(["3", "1", "2"])


@pytest.mark.parametrize(
    ("users", "codes"),
    [
        (None, [0, 1, 2]),
        ([], []),
        (["2", "3", "2"], [2, 0]),
        ([2, 2, 1], [2, 1]),
        (np.array([1, 3, 1]), [1, 0]),
        (pd.Series([1.0, 2.0], index=[4, 4]), [1, 2]),
        ({"1": "keys of a mapping"}, [1]),
    ],
)
def test_each_user_once(users, codes):
    assert user_codes(KNOWN, users).tolist() == codes


@pytest.mark.parametrize(
    ("users", "error", "match"),
    [
        ("12", ConfigError, "PB-C015: users='12' is a single string; pass a list of ids"),
        (pd.DataFrame({"user": ["1"]}), ConfigError, r"PB-C015: users is a table; pass its column of ids"),
        (["1", "9", "9", "8"], DataError, "PB-D048: 2 unseen users, first 9, 8; leave them out"),
        ([True], DataError, "PB-D036: column 'users' holds booleans"),
        ([None], DataError, "PB-D029: column 'users' has 1 missing ids"),
    ],
)
def test_refusals(users, error, match):
    with pytest.raises(error, match=match):
        user_codes(KNOWN, users)
