"""Users that are asked for: distinct, in the order in which they first appear."""

import numpy as np
import pandas as pd
import pytest

from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.prediction.unseen_users import distinct_users

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
    ids, found = distinct_users(KNOWN, users, "error")
    assert found.tolist() == codes
    assert list(ids) == list(KNOWN[codes])


def test_users_that_are_not_known():
    ids, codes = distinct_users(KNOWN, ["9", "2", "8", "9"], "prior")
    assert (list(ids), codes.tolist()) == (["9", "2", "8"], [-1, 2, -1])
    ids, codes = distinct_users(KNOWN, ["9", "2", "8", "9"], "drop")
    assert (list(ids), codes.tolist()) == (["2"], [2])
    with pytest.raises(ConfigError, match=r"PB-C531: unseen='dorp'; did you mean 'drop'\? Choices: error, prior, drop"):
        distinct_users(KNOWN, ["9"], "dorp")


@pytest.mark.parametrize(
    ("users", "error", "match"),
    [
        ("12", ConfigError, "PB-C015: users='12' is a single string; pass a list of ids"),
        (pd.DataFrame({"user": ["1"]}), ConfigError, r"PB-C015: users is a table; pass its column of ids"),
        (
            ["1", "9", "9", "8"],
            DataError,
            r"PB-D048: 2 unseen users, first 9, 8; unseen='prior' .*unseen='drop' \(--unseen drop\) leaves them out",
        ),
        ([True], DataError, "PB-D036: column 'users' holds booleans"),
        ([None], DataError, "PB-D029: column 'users' has 1 missing ids"),
    ],
)
def test_refusals(users, error, match):
    with pytest.raises(error, match=match):
        distinct_users(KNOWN, users, "error")
