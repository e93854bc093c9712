"""A pair for simulated rows of which all but popularity is known: items are exchangeable and independent.

The pair is that of a study, with what was true in place of what a fit would learn. Affinities are the true ones, as a column of
the rows; intercept, slope, saturation and concentration have their true values and are not trained. What is left is what
calibration is about: q of each item's popularity, trained as in any fit.
"""

import math
from typing import Any

import torch
from pyro.nn import PyroModule

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair, assemble
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.guides import GUIDES
from pyro_popbias.models import MODELS, SATURATIONS, PopularityModel
from pyro_popbias.models.priors.config import ITEM_SOURCES, WALK, ConcentratedPriorConfig
from pyro_popbias.simulation.simulate import Simulation
from pyro_popbias.study.sections import WITHOUT_EXPOSURE
from pyro_popbias.study.study import Study

SCORE = "score"  # the column of true affinities


def check_calibrated(study: Study) -> None:
    """Refuse a study whose items are not exchangeable, or whose q is not the posterior of an item.

    Raises:
        IncompatibleError: says what in the study stands against it, and what to use in its place.
    """
    model, prior = study.model, study.model.prior
    guide, counts = GUIDES[study.guide.name], model.exposure not in WITHOUT_EXPOSURE
    faults = {
        f"model {model.name!r} compares items, so that the posterior of one depends on the others; use another model": (
            MODELS[model.name].pairwise
        ),
        "latent = 'interaction' gives every row its own popularity, and an item has none to rank; use 'item'": (
            model.latent == "interaction"
        ),
        "conformity = true lets users differ in the slope, so that items are not independent; leave it out": (
            model.conformity
        ),
        f"guide {study.guide.name!r} is a point estimate and has no intervals; use another guide": (
            guide.maximises != "elbo"
        ),
        f"prior source = {prior.source!r} gives every item its own prior, so that items are not exchangeable; use 'learned'": (
            prior.source in ITEM_SOURCES
        ),
        "drift = 'random-walk' joins the periods of an item; leave it out": prior.drift == WALK,
        "periods above 1 give an item several popularities that are alike; use periods = 1": study.data.periods > 1,
        "an exposure part makes counts of rows data about popularity, and the world has even exposure; use 'none'": counts,
        "negatives are sampled, whose labels are not those of a world; leave them out": bool(study.data.negatives),
    }
    for words, stands_against in faults.items():
        if stands_against:
            raise IncompatibleError(f"PB-C450: the study cannot be calibrated: {words}")


def with_given_affinity(study: Study) -> Study:
    """Return the study of a world's rows: labels and affinities are given, counts of rows say nothing, and no row is held out.

    Raises:
        IncompatibleError: the study cannot be calibrated.
    """
    check_calibrated(study)
    given = study.replace("model", affinity={"name": "fixed", SCORE: SCORE}, exposure="none")
    training = {**study.training.given(), "validation": 0.0}
    return Study(model=given.model, guide=given.guide, training=training)


def known_pair(study: Study, simulation: Simulation) -> Pair:
    """Return the pair of a study for simulated rows, of which nothing but q of popularity is left to train.

    Args:
        study: of `with_given_affinity`.
        simulation: rows with a fixed affinity, drawn from the study's model.

    Raises:
        IncompatibleError: model, prior and guide do not fit.
        ConfigError: the rows were drawn with a slope of their own, which a study cannot give.
    """
    truth = simulation.truth["parameters"].set_index("name")["value"]
    model = study.model
    values: dict[str, Any] = {}
    if isinstance(model.prior, ConcentratedPriorConfig):
        of_prior = {"source": "fixed", "concentration": float(truth["concentration"])}
        values["prior"] = model.prior.model_copy(update=of_prior)
    name = SATURATIONS[model.saturation.name].parameter_name
    if MODELS[model.name].default_saturation is not None and name in truth:
        values["saturation"] = model.saturation.model_copy(update={name: float(truth[name])})
    pair = assemble(simulation.events, study.replace("model", **values))
    with torch.no_grad(), local_parameters():
        pair.model.affinity.intercept.fill_(float(truth["intercept"]))
        hold(pair.model)
        known = {name: float(value) for name, value in pair.model.estimates().items() if name in truth}
    wrong = [name for name, value in known.items() if not math.isclose(value, truth[name], rel_tol=1e-6, abs_tol=1e-9)]
    if wrong:
        raise ConfigError(
            f"PB-C453: the world was drawn with other values of {', '.join(wrong)} than the model is held at; leave rate at 1"
        )
    return pair


def hold(model: PopularityModel) -> None:
    """Make all parameters of a model constants, at the values that they have."""
    for module in model.modules():
        # a constrained parameter of Pyro is known by its own name, the unconstrained one behind it goes with it
        own = list(module._pyro_params) if isinstance(module, PyroModule) else []
        own += [name for name, _ in module.named_parameters(recurse=False) if not name.endswith("_unconstrained")]
        for name in own:
            value = getattr(module, name).detach().clone()
            delattr(module, name)
            module.register_buffer(name, value)
