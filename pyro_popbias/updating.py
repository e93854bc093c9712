"""A fit that goes on with new data: what it has learned becomes the prior of the next period, and is not read again.

| what | its prior in the update |
| --- | --- |
| popularity of an item | its posterior in the last period, and a random walk's step on |
| vectors and biases with a posterior | this posterior |
| point-estimated vectors | a Normal around them, as narrow as the earlier labels are many |
| users and items that are new | what they have in any fit |
| scalars, such as the intercept and scales | none: they stay as they are |
"""

from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from pyro.distributions import LogNormal, Normal
from torch import Tensor
from torch import distributions as td
from torch.distributions import constraints

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair, assemble
from pyro_popbias.assembly.tables import rows_like
from pyro_popbias.data.features import Features
from pyro_popbias.data.frames import Table
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.distributions.chains import moments_of_y
from pyro_popbias.errors import ConfigError, DataError, IncompatibleError
from pyro_popbias.fitted import Fit
from pyro_popbias.models import PRIORS, EmbeddingAffinity, ExponentialPrior, ItemPrior, Memory, RandomWalkPrior
from pyro_popbias.models.priors.config import DRIFT, POSTERIOR
from pyro_popbias.sparse_lookup import set_parameter
from pyro_popbias.study.study import Study
from pyro_popbias.training.restarts import train_restart
from pyro_popbias.training.vectors import affinities

EPOCHS, STEPS = 10, 200  # of phase one
LARGEST_BATCH = 65_536
INFORMING = 65_536  # rows, from which it is seen what a label says
AFFINITY = "embedding"  # that can go on
ANEW = ("prior.", "exposure.")  # parameters of the model that are of one period


def update(fit: Fit, events: Interactions | Table, *, drift: float | None = None, progress: bool = True) -> Fit:
    """Return a fit of new rows that goes on from an earlier one: its only period is the one after the last.

    Args:
        fit: the earlier fit; it stays as it is.
        events: rows of the next period, a table of them being read by the keys of the study's [data]; they may have new users and
            items. Ids of the earlier fit keep their codes.
        drift: standard deviation of the step of log popularity (of a real one) from the last period on, at least 0; by default
            that of the fit's random walk, of the update before, or else 0.25.
        progress: whether to show progress on standard error.

    Returns:
        A fit with all users and items. Its counts and its checks are of the new rows; `recommend` leaves out what was seen in
        the earlier ones, too. Negatives are drawn among the items without a positive in the new rows.

    Raises:
        DataError: `events` cannot be used, or have labels where the earlier ones had none, or the other way round.
        IncompatibleError: the affinity is not "embedding", the prior is "exponential", users differ in conformity, or rows have
            their own popularity.
        ConfigError: the drift is not a number from 0 on.
        NumericalError: the optimisation met values that are not finite.
    """
    events = rows_like(events, fit.study)
    _check(fit, events)
    step = _step(fit) if drift is None else _checked(drift)
    joined = _joined(fit, events)
    with local_parameters(), torch.no_grad():
        prior = _prior(fit, len(joined.items), step)
    pair = assemble(joined, _study(fit.study, joined, step), prior=prior)
    with local_parameters():
        _carry_over(fit, pair)
    result = train_restart(pair, 1, restarts=1, progress=progress, title="update, ")
    pair.model.affinity.memory = None
    _keep_widths(fit, pair)
    earlier = None if fit.known is None else Interactions(joined.users, joined.items, fit.known.user, fit.known.item)
    study = pair.study.model_copy(update={"training": fit.study.training})
    trained = pair.model, pair.guide, result.iterates, result.history
    return Fit(study, joined.catalogue, *trained, joined, earlier=earlier)


def _check(fit: Fit, events: Interactions) -> None:
    model = fit.study.model
    if model.affinity.name != AFFINITY or model.conformity or model.latent == "interaction":
        raise IncompatibleError(
            f"PB-C431: an update goes on with the affinity {AFFINITY!r}, latent = 'item' and no conformity, and the fit has "
            f"affinity {model.affinity.name!r}, latent = {model.latent!r} and conformity = {str(model.conformity).lower()}; fit "
            "all rows anew"
        )
    family = PRIORS[model.prior.name]
    if issubclass(family, ExponentialPrior):
        raise IncompatibleError(
            "PB-C433: prior 'exponential' has no number that could say how much is known of an item, so no fit can go on from "
            "it; use gamma, lognormal or weibull"
        )
    labelled = _is_labelled(fit)
    if labelled is not None and labelled != (events.label is not None):
        kinds = "positives only", "labels of their own"
        old, new = kinds[::-1] if labelled else kinds
        raise DataError(
            f"PB-D430: the fit is of rows with {old}, and the new rows have {new}; give rows of the same kind"
        )


def _is_labelled(fit: Fit) -> bool | None:
    """Return whether the rows of a fit have labels of their own; None where its rows were not saved and nothing says so."""
    if fit.events is not None:
        return fit.events.label is not None
    if fit.model.pairwise:  # it draws negatives in any case
        return True if fit.study.data.label else None
    return not fit.study.data.negatives


def _checked(drift: Any) -> float:
    if isinstance(drift, bool) or not isinstance(drift, Real) or not 0 <= float(drift) <= 10:
        raise ConfigError(
            f"PB-C432: drift must be a number from 0 to 10, not {drift!r}: a standard deviation of log popularity"
        )
    return float(drift)


def _step(fit: Fit) -> float:
    """Return how far log popularity moves in a period, as far as the fit knows."""
    if isinstance(fit.model.prior, RandomWalkPrior):
        return fit.model.prior.step.item()
    drift = fit.study.model.prior.drift
    return drift if isinstance(drift, float) else DRIFT


def _joined(fit: Fit, events: Interactions) -> Interactions:
    """Return the new rows with the codes of the fit; new users and items come after its own."""
    columns: dict[str, Any] = {}
    for side, codes in (("users", events.user), ("items", events.item)):
        own, new = getattr(fit.catalogue, side), getattr(events, side)
        ids = own.append(new[~new.isin(own)])
        columns |= {side: ids, side.removesuffix("s"): ids.get_indexer(new)[codes].astype(np.int32)}
    for side in ("user", "item"):
        columns[f"{side}_features"] = _with_new(getattr(fit.catalogue, f"{side}_features"), len(columns[f"{side}s"]))
    return replace(events, **columns, periods=1, edges=None)


def _with_new(features: Features | None, number: int) -> Features | None:
    """Return the features of as many users or items; nothing is known of those that are new."""
    if features is None:
        return None
    more = ((0, number - len(features)), (0, 0))
    return Features(features.names, np.pad(features.index, more), np.pad(features.value, more))


def _study(study: Study, events: Interactions, step: float) -> Study:
    """Return the study of the update."""
    prior = {"name": study.model.prior.name, "source": POSTERIOR, "drift": step}
    rows = len(events) * (1 + (study.data.negatives or 0))
    size = min(LARGEST_BATCH, max(1, rows * EPOCHS // STEPS))
    study = study.replace("data", periods=1).replace("model", prior=prior)
    return study.replace("training", epochs=EPOCHS, batch_size=size)


def _prior(fit: Fit, items: int, step: float) -> ItemPrior:
    """Return the popularity of every item in the next period, as the fit expects it; of new items the population's."""
    model, catalogue = fit.model, fit.catalogue
    real = model.prior.population().support is constraints.real  # an additive model may have either
    periods, walk = catalogue.periods, model.prior.joins_periods
    cell = torch.arange(catalogue.cells, device=fit.guide.device).reshape(-1, periods)
    there = torch.from_numpy(catalogue.count.reshape(-1, periods) > 0).to(cell.device)
    # the last period with rows; a walk knows of the last one in any case
    last = periods - 1 - there.flip(1).int().argmax(1) if not walk else torch.full_like(cell[:, 0], periods - 1)
    steps = periods - last  # since it has been seen
    cell = cell.gather(1, last.unsqueeze(1)).squeeze(1)
    of_q, of_prior = (
        moments_of_y(each) for each in (fit.guide.popularity.posterior(cell), model.prior.distribution(cell))
    )
    known = there.any(1)
    mean, variance = (torch.where(known, q, p) for q, p in zip(of_q, of_prior, strict=True))
    family: Any = PRIORS[fit.study.model.prior.name]
    scale = (variance + torch.where(known, steps, 1) * step**2).sqrt()
    own: Any = Normal(mean, scale) if real else family.near(LogNormal(mean, scale))
    population = model.prior.population()
    new: Any = population.expand((items - len(mean),))
    parameters = {name: torch.cat([getattr(own, name), getattr(new, name).double()]) for name in own.arg_constraints}
    return ItemPrior(type(own)(**parameters), population)


@torch.no_grad()
def _carry_over(fit: Fit, pair: Pair) -> None:
    """Give a pair what a fit has learned, and the memory of it as the prior of what it learns."""
    for name, value in fit.model.named_parameters():
        if name.startswith(ANEW):
            continue
        owner, _, own = name.removesuffix("_unconstrained").rpartition(".")
        module = pair.model.get_submodule(owner)
        start = module._parameters[f"{own}_unconstrained"]
        assert start is not None  # noqa: S101  both models are of one study
        is_table = value.dim() == 2  # rows of new users and items are where any training starts
        set_parameter(module, own, torch.cat([value, start[len(value) :].to(value)]) if is_table else value)
    memory = pair.model.affinity.memory = _memory(fit, pair)
    if pair.guide.affinity is not None:
        for site, prior in memory.weights.items():
            pair.guide.affinity.set_rows(site, prior.loc, prior.scale.log())


@torch.no_grad()
def _keep_widths(fit: Fit, pair: Pair) -> None:
    """Give the guide of an updated pair what the earlier fit found of scalars that are held: it saw more rows."""
    pair.guide.residual_variance.copy_(fit.guide.residual_variance)
    earlier, own = fit.guide.intercept.variance, pair.guide.intercept.variance
    if float(earlier):
        own.copy_(torch.minimum(earlier, own) if float(own) else earlier)


def _memory(fit: Fit, pair: Pair) -> Memory:
    """Return what a fit knows of the rows of a pair, which has its scalars."""
    affinity, weights = pair.model.affinity, {}
    latents, of_fit = affinity.latents(torch.Generator()), fit.guide.weights()
    sizes = {"users": len(pair.events.users), "items": len(pair.events.items)}
    for site, q in of_fit.items():
        plate = latents[site].plate
        if plate is None:
            weights[site] = q
            continue
        shape = sizes[plate], q.loc.shape[1]
        mean, scale = (part.expand(shape)[len(q.loc) :].to(q.loc) for part in affinity.before_labels(site, of_fit))
        weights[site] = td.Normal(torch.cat([q.loc, mean]), torch.cat([q.scale, scale]))
    own = {"user": len(fit.catalogue.users), "item": len(fit.catalogue.items)}
    known = {side: torch.arange(sizes[f"{side}s"], device=pair.device) < number for side, number in own.items()}
    return Memory(weights, latents, _points(fit, pair), known)


def _points(fit: Fit, pair: Pair) -> dict[str, tuple[Tensor, Tensor]]:
    """Return means and precisions of Normals around the point-estimated vectors of a pair, `(rows, d)` each.

    To the precision of the prior comes the information of the earlier labels: a row with n of them has
    n w sum_j n_j m_jk^2 / sum_j n_j about its coordinate k, with m the other side's rows and w what a label says about x, its
    mean over the new rows.
    """
    affinity = pair.model.affinity
    if not isinstance(affinity, EmbeddingAffinity):
        return {}
    of_label = next(
        pair.model.information(part.batch, part.mean, part.popularity).affinity.mean()
        for part in affinities(pair, INFORMING)
    )
    tables = {side: getattr(affinity, f"{side}_vectors").detach() for side in ("user", "item")}
    count = {side: _counted(fit, side, len(table)).to(table) for side, table in tables.items()}
    found = {}
    for side, other in (("user", "item"), ("item", "user")):
        squares = (count[other] @ tables[other].square()) / count[other].sum().clamp(min=1.0)
        precision = affinity.scale**-2 + of_label * (1 + pair.rows.negatives) * count[side].unsqueeze(-1) * squares
        new = torch.arange(len(tables[side]), device=pair.device) >= len(getattr(fit.catalogue, f"{side}s"))
        found[f"{side}_vectors"] = tables[side].masked_fill(new.unsqueeze(-1), 0.0).double(), precision.double()
    return found


def _counted(fit: Fit, side: str, number: int) -> Tensor:
    """Return how many rows of each user, or item, a fit and those before it were trained on, `(number,)`."""
    catalogue, count = fit.catalogue, np.zeros(number)
    own = catalogue.user_count if side == "user" else catalogue.count.reshape(-1, catalogue.periods).sum(1)
    assert own is not None  # noqa: S101  fits count their users
    count[: len(own)] += own
    if fit.earlier is not None:
        count += np.bincount(getattr(fit.earlier, side), minlength=number)
    return torch.from_numpy(count)
