from concurrent.futures import ThreadPoolExecutor

import torch

from pyro_popbias.distributions.traced import are_known, may_have, values_unknown


def in_another_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def test_values_are_unknown_to_every_thread():  # gradients on a GPU are computed by another
    none = torch.zeros(3, dtype=torch.bool)
    with values_unknown(), values_unknown():
        assert may_have(none)
        assert in_another_thread(may_have, none)
        assert not in_another_thread(are_known)
    assert not may_have(none)
    assert in_another_thread(are_known)
