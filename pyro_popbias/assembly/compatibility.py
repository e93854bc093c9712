"""Which parts fit together: asked by the building of a pair and by the table of variants.

The rule of a guide and a prior is `distributions.compatibility`, which the objective asks too.
"""

from itertools import product

import pandas as pd

from pyro_popbias.distributions.compatibility import Compatibility
from pyro_popbias.distributions.supports import lies_inside
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.guides import GUIDES, PopularityGuide
from pyro_popbias.models import MODELS, PRIORS, SATURATIONS, PopularityModel, PriorConfig, SharedPrior
from pyro_popbias.study.sections import ModelConfig
from pyro_popbias.study.study import Study

# memory of a guide that draws all cells: numbers per parameter (value, gradient, two moments), and per cell drawn
COPIES, DRAWN = 4, 20
LARGEST_WHOLE = 2 * 1024**3  # bytes


def variants() -> pd.DataFrame:
    """Return one row per model, prior and guide.

    Columns: model, prior, guide, allowed, kl (analytic, sampled or refused), intervention (closed or quadrature: how
    the population distribution is integrated over), reason (why a row is not allowed).
    """
    priors = {name: default_prior(name) for name in PRIORS}
    rows = []
    for (model, model_class), prior, (guide, guide_class) in product(MODELS.items(), priors, GUIDES.items()):
        found = compatibility(model_class, priors[prior], guide_class)
        closed = model_class.integrates_in_closed_form(PRIORS[prior].family)
        rows.append(
            {
                "model": model,
                "prior": prior,
                "guide": guide,
                "allowed": found.allowed,
                "kl": found.kl,
                "intervention": "closed" if closed else "quadrature",
                "reason": found.reason,
            }
        )
    return pd.DataFrame(rows)


def default_prior(name: str) -> SharedPrior:
    """Return the prior of a name, with every key of its section at its default."""
    cls = PRIORS[name]
    return cls.from_config(cls.config(name=name))


def compatibility(model: type[PopularityModel], prior: SharedPrior, guide: type[PopularityGuide]) -> Compatibility:
    """Return whether a model, prior and guide fit together, and how the KL is found."""
    latent = model.latents["popularity"].support
    if not lies_inside(prior.support, latent):
        return Compatibility(False, "refused", f"popularity lives on {latent}, the prior on {prior.support}", "prior")
    fits = guide.fits(prior.support)
    kl = guide.kl_to(prior.population()) if fits else None
    return Compatibility.of_guide(fits=fits, kl=kl, prior=prior.family.__name__, support=prior.support)


def check_fit(model: str, config: PriorConfig, guide: str) -> None:
    """Refuse a prior that does not fit a model, or a guide that does not fit a prior.

    Args:
        model: name.
        config: the section of the prior.
        guide: name.

    Raises:
        IncompatibleError: names what fits.
    """
    prior = PRIORS[config.name]
    found = compatibility(MODELS[model], prior.from_config(config), GUIDES[guide])
    latent = MODELS[model].latents["popularity"].support
    priors = [name for name, cls in PRIORS.items() if lies_inside(cls.support, latent)]
    if found.fault == "prior":
        raise IncompatibleError(
            f"PB-C078: prior {config.name!r} lives on {prior.support}, popularity in model {model!r} on {latent}; "
            f"priors that fit: {', '.join(priors)}"
        )
    if found.fault == "kl":
        raise IncompatibleError(
            f"PB-C105: the KL of guide {guide!r} to prior {config.name!r} has no closed form, and the guide's class does not "
            "declare kl = 'sampled'; declare it, or register the closed form with torch.distributions.register_kl"
        )
    if found.fault == "guide":
        guides = [name for name, cls in GUIDES.items() if cls.fits(prior.support)]
        others = [name for name in priors if GUIDES[guide].fits(PRIORS[name].support)]
        remedy = f"; or priors for this guide: {', '.join(others)}" if others else ""
        raise IncompatibleError(
            f"PB-C078: guide {guide!r} does not live on {prior.support}, as prior {config.name!r} in model {model!r} does; "
            f"guides that fit: {', '.join(guides)}{remedy}"
        )


def check_saturation(model: str, saturation: str) -> None:
    """Refuse a saturation that does not go with a model that has one.

    Raises:
        IncompatibleError: names those that fit.
    """
    cls = MODELS[model]
    if cls.default_saturation is not None and not cls.takes_saturation(SATURATIONS[saturation]):
        names = [name for name, other in SATURATIONS.items() if cls.takes_saturation(other)]
        raise IncompatibleError(
            f"PB-C081: model {model!r} takes no saturation {saturation!r}; saturations that fit: {', '.join(names)}"
        )


def check_given(study: Study) -> None:
    """Refuse an option that is given and that the model would not look at.

    Raises:
        IncompatibleError: names the models that take it.
    """
    model, name = MODELS[study.model.name], study.model.name
    # the default may stand in a study file whose model is swapped by one word
    if study.model.saturation != ModelConfig().saturation and model.default_saturation is None:
        takers = ", ".join(other for other, cls in MODELS.items() if cls.default_saturation is not None)
        raise IncompatibleError(
            f"PB-C091: model {name!r} has no saturation; leave saturation out, or use a model that takes one: {takers}"
        )
    if study.model.slope == "free" and not model.free_slope:
        takers = ", ".join(other for other, cls in MODELS.items() if cls.free_slope)
        raise IncompatibleError(
            f"PB-C092: model {name!r} has no slope, and always increases with popularity; leave slope out, or use a model "
            f"that takes one: {takers}"
        )
    if study.model.conformity and (not model.takes_conformity or study.model.latent == "interaction"):
        takers = ", ".join(other for other, cls in MODELS.items() if cls.takes_conformity)
        raise IncompatibleError(
            f"PB-C410: conformity = true lets users differ in the slope of an item's popularity in the log odds: it goes with "
            f"{takers} and latent = 'item', not with model {name!r} and latent = {study.model.latent!r}; leave conformity out"
        )


def check_memory(guide: str, cells: int, latent: str, particles: int = 1) -> None:
    """Refuse a guide that draws all cells together where it would not fit into memory, or has no place.

    Raises:
        IncompatibleError: popularity is one per interaction.
        ConfigError: the guide is too large; the message says by how much.
    """
    cls = GUIDES[guide]
    if not cls.draws_all_cells:
        return
    local = ", ".join(name for name, other in GUIDES.items() if not other.draws_all_cells)
    if latent == "interaction":
        raise IncompatibleError(
            f"PB-C103: guide {guide!r} draws one popularity per cell, all together, and latent = 'interaction' one per row; "
            f"guides that draw row by row: {local}"
        )
    size = 8 * (COPIES * cls.size(cells) + DRAWN * cells * particles)
    if size > LARGEST_WHOLE:
        raise ConfigError(
            f"PB-C104: guide {guide!r} draws all {cells} cells at every step and learns {cls.size(cells)} numbers: about "
            f"{size / 1024**3:.1f} GiB with gradients and the optimiser's memory, more than "
            f"{LARGEST_WHOLE / 1024**3:.0f}; use a guide whose step costs as much as its batch: {local}"
        )
