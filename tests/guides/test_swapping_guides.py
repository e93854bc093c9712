"""Another guide changes nothing else: rows, batches, negatives and the model's start are those of any other."""

import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.data.batches import TrainingBatches

pytestmark = pytest.mark.usefixtures("short_training")
TABLE = pb.variants().query("allowed")


def guides_of(model, prior):
    """Return the first guide that fits beside each of the others, or beside itself where it is the only one."""
    first, *others = TABLE[(TABLE["model"] == model) & (TABLE["prior"] == prior)]["guide"]
    return [(model, prior, first, other) for other in others or [first]]


LOCAL = [
    name for name, cls in pb.GUIDES.items() if not cls.draws_all_cells
]  # the others have every cell in every batch
SWAPS = [*guides_of("product", "gamma"), *guides_of("additive", "normal")]


@pytest.fixture(params=["labelled", "sampled"])
def any_events(request, frame):
    """Return labelled events, and positives with which negatives are sampled."""
    if request.param == "labelled":
        return pb.Interactions.from_frame(frame, label="label")
    return pb.Interactions.from_frame(frame[frame["label"] > 0].drop(columns="label"))


def study_of(model, prior, guide):
    return pb.Study(
        model={"name": model, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 2}},
        guide={"name": guide},
        training={"epochs": 2, "batch_size": 100, "device": "cpu"},
    )


def assert_same_rows(one, other):
    for name in ("user", "item", "label", "user_weight", "item_weight"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.cell[one.cell_index], other.cell[other.cell_index])
    assert (one.scale, one.negatives) == (other.scale, other.negatives)


@pytest.mark.parametrize(("model", "prior", "first", "other"), SWAPS)
def test_a_pair_of_another_guide_has_the_same_rows_and_start(any_events, model, prior, first, other):
    pairs = [pb.pair(any_events, study=study_of(model, prior, guide)) for guide in (first, other)]
    for epoch in range(2):
        for one, two in zip(*(pair.batches(epoch=epoch) for pair in pairs), strict=True):
            assert_same_rows(one, two)
            if first in LOCAL and other in LOCAL:
                assert torch.equal(one.weight, two.weight)
    assert_same_rows(*(pair.whole() for pair in pairs))
    assert_same_rows(*(next(pair.held_out.blocks(10**6)) for pair in pairs))
    start, same = (dict(pair.model.state_dict()) for pair in pairs)
    assert start.keys() == same.keys()
    for name in start:
        assert torch.equal(start[name], same[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(("model", "prior", "first", "other"), SWAPS)
def test_a_fit_with_another_guide_sees_the_same_batches(any_events, monkeypatch, model, prior, first, other):
    seen, epoch = [], TrainingBatches.batches

    def batches_of(*args, **named):
        for batch in epoch(*args, **named):
            seen.append(batch)
            yield batch

    monkeypatch.setattr(TrainingBatches, "batches", batches_of)
    batches = []
    for guide in (first, other):
        seen.clear()
        pb.fit(any_events, study=study_of(model, prior, guide), progress=False)
        batches.append(list(seen))
    assert len(batches[0]) > 2
    for one, two in zip(*batches, strict=True):
        assert_same_rows(one, two)
