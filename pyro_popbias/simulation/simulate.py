"""Simulated interactions with a known truth, drawn from a model.

Users are uniform unless they differ in `activity`. Items are shown by `exposure` and get a label, but for `pda`: there each row
is an item that the user chose among all, item i with a probability proportional to exp(score), the distribution under which
sigma(s_i - s_j) is right for a pair of a chosen and a uniformly drawn item. So its log holds positives only. Rows are uniform
over periods, and cutting the log by time gives these.

The affinity is x_ui = u . i + b_i + w_u + b0. The quality b_i of an item and the bias w_u of a user are 0 unless asked for,
whichever the affinity is. They are no part of the score of a fixed affinity: it is given, they are to be learned.
`quality_correlation` is that of b_i and the normal score of z_i: its quantile in the population distribution as a standard
normal number, which is log z_i less its mean and over its standard deviation where z is lognormal. With several periods it is
that of b_i and the mean of these scores. `exposure_dispersion` multiplies what each item of each period is shown in
proportion to by its own draw of Gamma(r, r). All these have random numbers of their own: vectors, features and z are the
same with them and without.

`confounding` is the correlation of the normal score of z with the first numeric feature of items. Popularity and what users want
then have a common cause, which a prior that is the same for all items does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.overview import Folded, Overview, Point
from pyro_popbias.distributions.supports import lies_inside
from pyro_popbias.errors import ConfigError, IncompatibleError, UnknownNameError
from pyro_popbias.models import AFFINITIES, MODELS, PRIORS, SATURATIONS, AffinityConfig, PriorConfig
from pyro_popbias.registry import nearest
from pyro_popbias.simulation.affinities import SIMULATED, SimulatedAffinity
from pyro_popbias.simulation.arguments import Numbers, check_sizes
from pyro_popbias.simulation.exposures import log_weights
from pyro_popbias.simulation.likelihoods import OTHERS, PRODUCTS, Likelihood
from pyro_popbias.simulation.populations import DISTRIBUTIONS, PopulationDistribution, draw_popularity, item_scores
from pyro_popbias.simulation.registered import registered_affinity, registered_likelihood, registered_population
from pyro_popbias.simulation.sampling import Rows, Truth, chosen_rows, shown_rows
from pyro_popbias.simulation.terms import Terms, draw_activity, draw_bias, draw_quality
from pyro_popbias.validation import PartConfig

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


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    """Interactions and the truth behind them.

    Attributes:
        events: the interactions.
        frame: the same, with columns user, item, label unless positives only, time with more than one period, and with
            a fixed affinity its score.
        truth: tables `popularity` (item, period, z), `parameters` (name, value), `user_vectors`, `item_vectors` (id, 0,
            1, ...), whose product and `intercept` are the affinity, whichever it is, `items` (item, quality) and
            `users` (user, bias, activity). Qualities and biases that are not all 0 are coordinates of the vectors, the last two.
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

    def __repr__(self) -> str:
        return self._overview().text()

    def _repr_html_(self) -> str:
        return self._overview().html()

    def _overview(self) -> Overview:
        truth = ", ".join(f"{name} ({len(table):,})" for name, table in self.truth.items())
        rows = Point(repr(self.events), name="events"), Point(truth, name="truth")
        pairs = Point(f"{len(self.test):,} pairs with their true probability", name="test")
        folded = [Folded.of_table("The true parameters", self.truth["parameters"])]
        return Overview("Simulation", rows=(*rows, pairs), next_steps=("pb.fit(sim.events)",), folded=folded)


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
    exposure_dispersion: float | None = None,
    periods: int = 1,
    drift: float | None = None,
    quality: float = 0.0,
    quality_correlation: float = 0.0,
    user_bias: float = 0.0,
    intercept: float | None = None,
    confounding: float = 0.0,
    activity: float = 0.0,
) -> Simulation:
    """Return interactions of a model, which come about as the text of this module says.

    Args:
        model: "product", "additive", "inverse-logistic" or "pda"; or another registered one, its parameters at their start.
        affinity: "embedding"; "fixed", which adds u . i of each row as a column `score`; "linear" or "factorization-machine",
            with side features; or another registered one, or its section of a study.
        users: number of users.
        items: number of items.
        interactions: number of rows.
        seed: decides everything.
        dim: length of the vectors; u . i has a standard deviation of about 1.
        concentration: a of the population distribution, of variance 1/a; not of the exponential and the normal.
        rate: the model's own parameter: lambda or C of the saturation, gamma of the additive model and of pda.
        saturation: of the product model: "exponential", "hill" or "tanh"; or another registered one.
        prior: "gamma", "lognormal", "weibull", "exponential", or "normal", N(0, 1), for the additive model; or another one.
        labels: "positives" keeps the rows with label 1, without the column: fewer rows than asked for.
        exposure: items are shown in proportion to z^exposure, or exp(exposure z) for a normal z; 0 is uniform.
        exposure_dispersion: r of counts with the variance mu + mu^2 / r of a negative binomial; None is Poisson, mu.
        periods: number of slices of time of equal length, each with its own z, correlated between neighbours.
        drift: standard deviation of steps of log z, or of a normal z, to the next period; None keeps the population distribution.
        quality: standard deviation of b_i, in logits.
        quality_correlation: of b_i and the item's popularity, above -1 and below 1.
        user_bias: standard deviation of w_u, in logits.
        intercept: b0; None is the model's own, with which 20 to 60 % of the labels are 1, or scores are moderate.
        confounding: correlation of popularity with the first numeric feature of items, above -1 and below 1.
        activity: standard deviation of the logarithm of how many rows users have in proportion to; 0 is uniform.

    Raises:
        UnknownNameError: there is no such model, affinity, saturation, prior or kind of labels here.
        IncompatibleError: the model does not allow the prior, or does not show items.
        ConfigError: a size or number is outside its range; or popularity should follow a feature, and items have no numeric one.
    """
    _check_names(model=model, saturation=saturation, labels=labels, affinity=_name(affinity), prior=_name(prior))
    check_sizes(seed=seed, users=users, items=items, interactions=interactions, dim=dim, periods=periods)
    of_items = exposure, exposure_dispersion, quality, quality_correlation
    numbers = Numbers(concentration, rate, *of_items, user_bias, drift, intercept, confounding, activity)
    distribution, likelihood = _population(prior, concentration), _likelihood(model, saturation, _name(prior), numbers)
    made = _make_affinity(affinity)(random := np.random.default_rng(seed), users, items, dim)
    truth = _truth(likelihood, distribution, made, random, numbers, periods=periods, seed=seed)
    return _simulation(truth, random, _rows(truth, random, interactions, labels), scored=_name(affinity) == "fixed")


def _truth(
    likelihood: Likelihood,
    distribution: PopulationDistribution,
    vectors: SimulatedAffinity,
    random: np.random.Generator,
    numbers: Numbers,
    *,
    periods: int,
    seed: int,
) -> Truth:
    """Return the world; what is an option has random numbers of its own, so that without it all else is drawn as with it."""
    feature = _confounder(vectors) if numbers.confounding else None
    items, users = len(vectors.item_vectors), len(vectors.user_vectors)
    z = draw_popularity(distribution, random, numbers, items=items, periods=periods, feature=feature)
    of_quality, of_bias, of_counts, of_activity = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    score = item_scores(distribution, z, numbers)
    terms = Terms(
        draw_quality(of_quality, score, sd=numbers.quality, correlation=numbers.quality_correlation),
        draw_bias(of_bias, users, sd=numbers.user_bias),
        draw_activity(of_activity, users, sd=numbers.activity),
    )
    dispersion = numbers.exposure_dispersion
    shown = log_weights(of_counts, distribution, z, exposure=numbers.exposure, dispersion=dispersion)
    return Truth(likelihood, distribution, vectors, terms, z, numbers.concentration, numbers.rate, shown, numbers.drift)


def _confounder(vectors: SimulatedAffinity) -> np.ndarray:
    """Return the first numeric feature of items, `(items,)`."""
    given = pd.DataFrame() if vectors.item_features is None else vectors.item_features.select_dtypes("number")
    if given.empty:
        raise ConfigError(
            "PB-C083: confounding is a correlation of popularity with a numeric feature of items, and this affinity has none; "
            "use affinity='linear' or 'factorization-machine', or leave confounding at 0"
        )
    feature = given.iloc[:, 0].to_numpy(dtype=float)
    spread = feature.std()
    if not spread:
        raise ConfigError(
            "PB-C083: confounding needs a numeric feature of items that is not the same for all; leave it at 0"
        )
    return (feature - feature.mean()) / spread


def _rows(truth: Truth, random: np.random.Generator, number: int, labels: str) -> Rows:
    draw = chosen_rows if truth.likelihood.chosen else shown_rows
    user, item, period, label = draw(truth, random, number)
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


def _likelihood(model: str, saturation: str, prior: str, numbers: Numbers) -> Likelihood:
    """Return the likelihood of a model, which must fit the prior and how items are shown."""
    if not lies_inside(PRIORS[prior].support, MODELS[model].latents["popularity"].support):
        raise IncompatibleError(
            f"PB-C078: prior {prior!r} may be negative, popularity in model {model!r} may not; use 'gamma'"
        )
    found = _likelihood_by_name(model, saturation, numbers.rate, prior)
    if numbers.intercept is not None:
        found = replace(found, intercept=float(numbers.intercept))
    if found.chosen and numbers.weighs_items:
        raise IncompatibleError(
            f"PB-C078: model {model!r} chooses among all items, none is shown; leave exposure at 0 and "
            "exposure_dispersion at None"
        )
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
        frame["score"] = truth.vectors.pairs(user, item)
        test["score"] = truth.vectors.pairs(tested_user, tested_item)
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
    if truth.drift is not None:
        values["drift_step"] = truth.drift
    if truth.likelihood.parameter is not None:
        values[truth.likelihood.parameter] = truth.rate
    values |= truth.affinity.parameters
    popularity = {"item": item_ids.repeat(periods), "period": np.tile(np.arange(periods), items), "z": truth.z.ravel()}
    return {
        "popularity": pd.DataFrame(popularity),
        "parameters": pd.DataFrame({"name": list(values), "value": list(values.values())}),
        "user_vectors": _vector_frame(user_ids, truth.affinity.user_vectors),
        "item_vectors": _vector_frame(item_ids, truth.affinity.item_vectors),
        "items": pd.DataFrame({"item": item_ids, "quality": truth.terms.quality}),
        "users": pd.DataFrame({"user": user_ids, "bias": truth.terms.bias, "activity": truth.terms.activity}),
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
