"""Fits in threads: Pyro's settings and torch's random state belong to the whole process."""

import threading

import pandas as pd
import pyro
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.errors import NumericalError
from pyro_popbias.training.loop import TrainingLoop

pytestmark = pytest.mark.usefixtures("short_training")
GUIDES = ("gamma", "lognormal", "auto-normal")


def fit_of(events, guide):
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 2, "batch_size": 200, "device": "cpu"}
    )
    return pb.fit(events, study=study, guide=guide, progress=False)


@pytest.mark.slow
def test_fits_in_threads_equal_serial_ones(events):
    serial = {guide: fit_of(events, guide).popularity() for guide in GUIDES}
    before, random = pyro.settings.get(), torch.get_rng_state()
    found = {}
    threads = [
        threading.Thread(target=lambda guide=guide: found.update({guide: fit_of(events, guide).popularity()}))
        for guide in GUIDES
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for guide in GUIDES:
        pd.testing.assert_frame_equal(found[guide], serial[guide], check_exact=True)
    assert pyro.settings.get() == before
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.slow
def test_a_check_beside_a_fit_changes_neither(events):
    fit = fit_of(events, "gamma")
    alone, found = str(fit.check()), []
    thread = threading.Thread(target=lambda: found.append(str(fit.check())))
    thread.start()
    beside = fit_of(events, "gamma")
    thread.join()
    pd.testing.assert_frame_equal(beside.popularity(), fit.popularity(), check_exact=True)
    assert found == [alone]


def test_settings_are_restored_after_an_error(events, monkeypatch):
    def fail(self):
        raise NumericalError("PB-N001: broken")

    before, random = pyro.settings.get(), torch.get_rng_state()
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_fit_epoch", fail)
        with pytest.raises(NumericalError, match="PB-N001: broken"):
            fit_of(events, "gamma")
    assert pyro.settings.get() == before
    assert torch.equal(torch.get_rng_state(), random)
    fit_of(events, "gamma")  # the lock is free again
