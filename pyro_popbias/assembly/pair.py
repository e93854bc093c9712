"""A pair: model, guide, objective and batches, built from a study, for `pb.fit` or for anyone's own loop."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pyro_popbias.assembly.components import build, local_parameters
from pyro_popbias.assembly.defaults import with_defaults
from pyro_popbias.assembly.fit_memory import require_memory_of_fit
from pyro_popbias.assembly.prior_sources import make_prior
from pyro_popbias.assembly.tables import interactions_for
from pyro_popbias.assembly.training_data import (
    cell_statistics,
    choose_device,
    given_score,
    rows_of_training,
    training_negatives,
)
from pyro_popbias.data.batch import Batch
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.data.frames import Table
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.data.stored_batches import batches_of
from pyro_popbias.errors import DataWarning
from pyro_popbias.guides import GUIDES, JointGuide, PopularityGuide
from pyro_popbias.models import PopularityModel, PopularityPrior
from pyro_popbias.models.priors.config import WALK
from pyro_popbias.objective import Objective
from pyro_popbias.study.study import Study

BLOCK = 262_144  # rows evaluated at once


@dataclass(frozen=True, repr=False)
class Pair:
    """Everything that training needs; two pairs share nothing.

    Attributes:
        study: what was declared, with the defaults that depend on model and data.
        events: the interactions.
        model: the model, a PyroModule over a batch.
        guide: the guide, a PyroModule over a batch.
        objective: `objective(model, guide)` is a module whose value on a batch is the loss.
        rows: training rows; where negatives are sampled, the positives among them.
        held_out: rows for early stopping; None without validation.
        device: "cpu" or "cuda".
    """

    study: Study
    events: Interactions
    model: PopularityModel
    guide: JointGuide
    objective: Objective
    rows: TrainingBatches
    held_out: TrainingBatches | None
    device: str

    def __repr__(self) -> str:
        held_out = 0 if self.held_out is None else len(self.held_out)
        return f"Pair({self.study!r}, {self.events!r}, {len(self.rows):,} training rows, {held_out:,} held out)"

    def batches(self, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, every training row once, with negatives of its own where they are sampled.

        Args:
            seed: with `epoch`, decides the order and the negatives; the study's by default.
            epoch: counted from 0.
        """
        seed = self.study.training.seed if seed is None else seed
        return self.rows.batches(self.study.training.batch_size, seed=seed, epoch=epoch)

    def whole(self) -> Batch:
        """Return all training rows as one batch."""
        return self.rows.whole()

    def update_mean_affinity(self) -> None:
        """Give the guide the mean affinity of each cell over its training rows, if it uses it."""
        popularity = self.guide.popularity
        if not popularity.uses_affinity:
            return
        with torch.no_grad():
            total = torch.zeros(self.events.cells, dtype=torch.float64, device=self.device)
            number = torch.zeros_like(total)
            weights = self.guide.weights()
            for batch in self.rows.blocks(BLOCK):
                mean = self.model.affinity.relative(batch.user, batch.item, batch.score, weights).mean
                cell = batch.cell.index_select(0, batch.cell_index)
                total.index_add_(0, cell, mean)
                number.index_add_(0, cell, torch.ones_like(mean))
            total, number = self.rows.total(torch.stack([total, number]))
            popularity.set_mean_affinity(total / number.clamp(min=1.0))

    def forget_untrained(self) -> None:
        """Put users and items without training rows at their prior: training leaves them where they started."""
        sides: tuple[tuple[Literal["user", "item"], Tensor], ...] = (
            ("user", self.rows.user_count),
            ("item", self.rows.item_count),
        )
        memory = self.model.affinity.memory
        for side, count in sides:
            rows = count == 0 if memory is None else (count == 0) & ~memory.known[side]
            if not rows.any():
                continue
            self.model.affinity.forget(side, rows)
            guide = self.guide.affinity
            if guide is not None:
                for site in guide.sites_of(side):
                    guide.forget(site, rows, *self.model.before_labels(site, self.guide.weights()))


def pair(
    events: Interactions | Table,
    *,
    model: str | type[PopularityModel] | None = None,
    guide: str | type[PopularityGuide] | None = None,
    study: Study | None = None,
) -> Pair:
    """Return the pair of a study, or of names.

    Args:
        events: interactions, or a table of them, which is read by the keys of the study's [data].
        model: name or registered class of a model, in place of the study's.
        guide: name or registered class of a guide, in place of the study's.
        study: the study; the defaults if omitted.

    Raises:
        UnknownNameError: no model or guide has such a name.
        IncompatibleError: model and guide do not fit.
        DataError: the data hold one class only, or lack what the study needs.
        ConfigError: the device is not there, or a class is not registered.
    """
    return assemble(*interactions_for(events, with_names(study or Study(), model=model, guide=guide)))


def with_names(
    study: Study,
    *,
    model: str | type[PopularityModel] | None = None,
    guide: str | type[PopularityGuide] | None = None,
    dim: int | None = None,
) -> Study:
    """Return the study with its model or guide, by name or registered class, or its dim replaced, checked as a whole."""
    if model is not None:
        study = study.replace("model", name=model)
    if guide is not None:
        study = study.replace("guide", name=guide)
    if dim is not None:
        affinity = study.model.affinity
        study = study.replace("model", affinity=affinity.given() | {"name": affinity.name, "dim": dim})
    return study


def assemble(
    events: Interactions, study: Study, *, split_seed: int | None = None, prior: PopularityPrior | None = None
) -> Pair:
    """Return the pair of a study.

    Args:
        events: interactions.
        study: what was declared.
        split_seed: decides the rows held out, so that restarts share them; the study's by default.
        prior: of popularity, in place of the study's.
    """
    study = with_defaults(study, events)
    training = study.training
    device = choose_device(training.device)
    require_memory_of_fit(study, events, device)
    number = study.data.negatives or 0
    train, held_out = rows_of_training(events, study, seed=split_seed)
    # what is held out is not known to training, and what is known to be positive is not scored as a negative
    for_training = training_negatives(events, study, rows=train, device=device)
    for_score = Negatives(events, number, device=device) if number else None  # always uniform
    if training.batch_size > len(train) * (1 + number) and "batch_size" in training.model_fields_set:
        message = (
            f"PB-C085: batch_size {training.batch_size} is more than the {len(train)} training rows; all are one batch"
        )
        warnings.warn(message, DataWarning, stacklevel=3)
    tensors = partial(
        batches_of,
        events,
        score=given_score(events.columns, study),
        latent=study.model.latent,
        cells=_cells_of_batches(study, events),
        device=device,
    )
    rows = tensors(train, negatives=for_training)
    cells = cell_statistics(events, train, rows, training.seed)
    prior, study = make_prior(study, events, train) if prior is None else (prior, study)
    model, guide = build(study, events.catalogue, cells, prior)
    made = Pair(
        study=study,
        events=events,
        model=model.to(device),
        guide=guide.to(device),
        objective=Objective(kl=guide.popularity.kl, particles=training.particles),
        rows=rows,
        held_out=tensors(held_out, negatives=for_score) if len(held_out) else None,
        device=device,
    )
    with local_parameters():
        made.update_mean_affinity()
    return made


def _cells_of_batches(study: Study, events: Interactions) -> Literal["of batch", "of items", "all"]:
    """Return which cells a batch has: all, those of its rows, or where periods depend on each other all of its rows' items."""
    guide = GUIDES[study.guide.name]
    if guide.draws_all_cells:
        return "all"
    joined = study.model.prior.drift == WALK or guide.joins_periods
    return "of items" if joined and events.periods > 1 else "of batch"
