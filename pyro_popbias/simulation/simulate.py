"""Simulated interactions with a known truth, drawn from a model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.distributions.supports import lies_inside
from pyro_popbias.errors import ConfigError, IncompatibleError, UnknownNameError
from pyro_popbias.models import AFFINITIES, MODELS, PRIORS, SATURATIONS, AffinityConfig, PriorConfig
from pyro_popbias.registry import nearest
from pyro_popbias.simulation.affinities import SIMULATED
from pyro_popbias.simulation.likelihoods import OTHERS, PRODUCTS, Likelihood
from pyro_popbias.simulation.populations import DISTRIBUTIONS, PopulationDistribution, draw_popularity
from pyro_popbias.simulation.registered import registered_affinity, registered_likelihood, registered_population
from pyro_popbias.simulation.sampling import Rows, Truth, chosen_rows, shown_rows
from pyro_popbias.validation import PartConfig, require_integer

TESTED = 10_000  # random pairs with the true probability
DEFAULT_SATURATION = "exponential"  # which stands for the own one of a model that has another
LABELS = ("observed", "positives")
# names, those with formulas of their own here first
KNOWN: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "model": ({"product": PRODUCTS, **OTHERS}, MODELS),
    "affinity": (SIMULATED, AFFINITIES),
    "saturation": (PRODUCTS, SATURATIONS),
    "prior": (DISTRIBUTIONS, PRIORS),
    "labels": (dict.fromkeys(LABELS), {}),
}


@dataclass(frozen=True, eq=False)
class Simulation:
    """Interactions and the truth behind them.

    Attributes:
        events: the interactions.
        frame: the same, with columns user, item, label unless positives only, time with more than one period, and with
            a fixed affinity its score.
        truth: tables `popularity` (item, period, z), `parameters` (name, value), `user_vectors`, `item_vectors` (id, 0,
            1, ...), whose product and `intercept` are the affinity, whichever it is.
        test: random pairs: user, item, probability P(c=1 | do(u,i)), and with a fixed affinity its score. For `pda` it
            is the score (ELU(x) + 1) E[z^gamma], which is not a probability.
        user_features: side features, indexed by id; None without.
        item_features: likewise.
    """

    events: Interactions
    frame: pd.DataFrame
    truth: dict[str, pd.DataFrame]
    test: pd.DataFrame
    user_features: pd.DataFrame | None = None
    item_features: pd.DataFrame | None = None


def simulate(
    model: str = "product",
    affinity: str | AffinityConfig = "embedding",
    *,
    users: int = 1_000,
    items: int = 500,
    interactions: int = 20_000,
    seed: int = 0,
    dim: int = 8,
    concentration: float = 2.0,
    rate: float = 1.0,
    saturation: str = "exponential",
    prior: str | PriorConfig = "gamma",
    labels: Literal["observed", "positives"] = "observed",
    exposure: float = 0.0,
    periods: int = 1,
) -> Simulation:
    """Return interactions of a model.

    Users are uniform. Items are shown by `exposure` and get a label, but for `pda`: there each row is an item that the
    user chose among all, item i with a probability proportional to exp(score), the distribution under which sigma(s_i -
    s_j) is right for a pair of a chosen and a uniformly drawn item. So its log holds positives only.

    Args:
        model: "product", "additive", "inverse-logistic" or "pda"; or the name of another registered model, whose own
            parameters stay at their start.
        affinity: "embedding"; "fixed", which adds the affinity of each row less the intercept as a column `score`;
            "linear" or "factorization-machine", with side features; or another registered affinity, drawn from its
            prior: its name, or its section of a study.
        users: number of users.
        items: number of items.
        interactions: number of rows.
        seed: decides everything.
        dim: length of the vectors; u . i has a standard deviation of about 1.
        concentration: a of the population distribution, of variance 1/a; not of the exponential and the normal.
        rate: the model's own parameter: lambda or C of the saturation, gamma of the additive model and of pda.
        saturation: of the product model: "exponential", "hill" or "tanh"; or another registered one.
        prior: the population distribution, as that of a study: "gamma", "lognormal", "weibull" or "exponential"; or
            "normal", N(0, 1), for the additive model; or another registered prior: its name, or its section of a study.
        labels: "positives" keeps the rows with label 1, without the column: fewer rows than asked for.
        exposure: items are shown in proportion to z^exposure, or exp(exposure z) for a normal z; 0 is uniform.
        periods: number of equal-time slices, each with its own z, correlated between neighbours; rows are uniform over
            them, and cutting the log by time gives these slices.

    Raises:
        UnknownNameError: there is no such model, affinity, saturation, prior or kind of labels here.
        IncompatibleError: the model does not allow the prior, or does not show items.
        ConfigError: a size or number is outside its range.
    """
    _check_names(model=model, saturation=saturation, labels=labels, affinity=_name(affinity), prior=_name(prior))
    _check_sizes(seed=seed, users=users, items=items, interactions=interactions, dim=dim, periods=periods)
    _check_numbers(concentration, rate, exposure)
    distribution = _population(prior, concentration)
    likelihood = _likelihood(model, saturation, rate, _name(prior), exposure)
    random = np.random.default_rng(seed)
    made = _make_affinity(affinity)(random, users, items, dim)
    z = draw_popularity(distribution, random, concentration=concentration, items=items, periods=periods)
    truth = Truth(likelihood, distribution, made, z, concentration, rate)
    rows = _draw_rows(truth, random, interactions, exposure, labels)
    return _simulation(truth, random, rows, scored=_name(affinity) == "fixed")


def _draw_rows(truth: Truth, random: np.random.Generator, number: int, exposure: float, labels: str) -> Rows:
    draw = chosen_rows if truth.likelihood.chosen else shown_rows
    user, item, period, label = draw(truth, random, number, exposure)
    if labels == "positives" and label is not None:
        user, item, period, label = user[label], item[label], period[label], None
    if not len(user):
        raise ConfigError(f"PB-C083: none of {number} interactions is positive; ask for more")
    return user, item, period, label


def _name(part: Any) -> Any:
    return part.name if isinstance(part, PartConfig) else part


def _population(prior: str | PriorConfig, concentration: float) -> PopulationDistribution:
    name = _name(prior)
    if name in DISTRIBUTIONS:
        return DISTRIBUTIONS[name]
    return registered_population(
        prior if isinstance(prior, PriorConfig) else PRIORS[name].config(name=name), concentration
    )


def _likelihood(model: str, saturation: str, rate: float, prior: str, exposure: float) -> Likelihood:
    """Return the likelihood of a model, which must fit the prior and how items are shown."""
    if not lies_inside(PRIORS[prior].support, MODELS[model].latents["popularity"].support):
        raise IncompatibleError(
            f"PB-C078: prior {prior!r} may be negative, popularity in model {model!r} may not; use 'gamma'"
        )
    found = _likelihood_by_name(model, saturation, rate, prior)
    if found.chosen and exposure:
        raise IncompatibleError(f"PB-C078: model {model!r} chooses among all items, none is shown; leave exposure at 0")
    return found


def _likelihood_by_name(model: str, saturation: str, rate: float, prior: str) -> Likelihood:
    if model in OTHERS:
        return OTHERS[model]
    if model == "product" and saturation in PRODUCTS:
        return PRODUCTS[saturation]
    cls, own = MODELS[model], PRIORS[prior]
    made = own.from_config(own.config(name=prior))
    if cls.default_saturation is None or saturation == DEFAULT_SATURATION:
        return registered_likelihood(model, None, rate, made)
    if not cls.takes_saturation(SATURATIONS[saturation]):
        raise IncompatibleError(f"PB-C081: model {model!r} takes no saturation {saturation!r}")
    return registered_likelihood(model, saturation, rate, made)


def _make_affinity(affinity: str | AffinityConfig) -> Any:
    name = _name(affinity)
    if name in SIMULATED:
        return SIMULATED[name]
    return registered_affinity(affinity if isinstance(affinity, AffinityConfig) else AFFINITIES[name].config(name=name))


def _simulation(truth: Truth, random: np.random.Generator, rows: Rows, *, scored: bool) -> Simulation:
    user, item, period, label = rows
    made, periods = truth.affinity, truth.z.shape[1]
    user_ids, item_ids = _ids("u", len(made.user_vectors)), _ids("i", len(made.item_vectors))
    frame = pd.DataFrame({"user": user_ids[user], "item": item_ids[item]})
    if label is not None:
        frame["label"] = label.astype(np.int64)
    if periods > 1:
        frame["time"] = period + random.random(len(period)) * (0.5 / periods)
    # pairs of users and items that the data hold
    tested_user, tested_item = random.choice(np.unique(user), TESTED), random.choice(np.unique(item), TESTED)
    logit = truth.logits(tested_user, tested_item)
    test = pd.DataFrame({"user": user_ids[tested_user], "item": item_ids[tested_item]})
    distribution = truth.distribution.distribution(truth.concentration)
    test["probability"] = truth.likelihood.probability(torch.from_numpy(logit), distribution, truth.rate).numpy()
    if scored:
        frame["score"], test["score"] = made.pairs(user, item), made.pairs(tested_user, tested_item)
    features: dict[str, Any] = {
        f"{kind}_features": None if given is None else given.set_axis(pd.Index(ids, dtype=str, name=kind))
        for kind, given, ids in (("user", made.user_features, user_ids), ("item", made.item_features, item_ids))
    }
    label_column, time_column = (name if name in frame else None for name in ("label", "time"))
    events = Interactions.from_frame(frame, label=label_column, time=time_column, **features)
    if periods > 1:
        events = replace(events, periods=periods, edges=np.arange(periods + 1.0))
    return Simulation(events, frame, _truth_tables(truth, user_ids, item_ids), test, **features)


def _truth_tables(truth: Truth, user_ids: np.ndarray, item_ids: np.ndarray) -> dict[str, pd.DataFrame]:
    items, periods = truth.z.shape
    values = {"intercept": truth.likelihood.intercept}
    values |= dict.fromkeys(truth.distribution.parameters, truth.concentration)
    if truth.likelihood.parameter is not None:
        values[truth.likelihood.parameter] = truth.rate
    values |= truth.affinity.parameters
    popularity = {"item": item_ids.repeat(periods), "period": np.tile(np.arange(periods), items), "z": truth.z.ravel()}
    return {
        "popularity": pd.DataFrame(popularity),
        "parameters": pd.DataFrame({"name": list(values), "value": list(values.values())}),
        "user_vectors": _vector_frame(user_ids, truth.affinity.user_vectors),
        "item_vectors": _vector_frame(item_ids, truth.affinity.item_vectors),
    }


def _ids(letter: str, number: int) -> np.ndarray:
    return np.array([f"{letter}{code}" for code in range(number)], dtype=object)


def _vector_frame(ids: np.ndarray, vectors: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(vectors, columns=[str(column) for column in range(vectors.shape[1])])
    frame.insert(0, "id", ids)
    return frame


def _check_names(**given: str) -> None:
    for kind, name in given.items():
        own, registered = KNOWN[kind]
        names = tuple(dict.fromkeys((*own, *registered)))
        if name not in names:
            raise UnknownNameError(
                f"PB-C076: unknown {kind} {name!r}{nearest(str(name), names)} Names: {', '.join(names)}"
            )


def _check_sizes(*, seed: Any, **sizes: Any) -> None:
    for name, size in sizes.items():
        require_integer(name, size, 1)
    require_integer("seed", seed, 0)


def _check_numbers(concentration: Any, rate: Any, exposure: Any) -> None:
    if not (_is_finite(concentration) and _is_finite(rate) and concentration > 0 and rate > 0):
        raise ConfigError(
            f"PB-C083: concentration and rate must be above 0 and finite, not {concentration!r}, {rate!r}"
        )
    if not _is_finite(exposure):
        raise ConfigError(f"PB-C083: exposure must be a finite number, not {exposure!r}")


def _is_finite(number: Any) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and bool(np.isfinite(float(number)))
