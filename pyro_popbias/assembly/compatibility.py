"""Which parts fit together: asked by the building of a pair, by the table of variants, and by the objective."""

from itertools import product

import pandas as pd

from pyro_popbias.distributions.supports import lies_inside
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.guides import GUIDES, PopularityGuide
from pyro_popbias.models import (
    MODELS,
    PRIORS,
    ExponentialSaturation,
    HillSaturation,
    PopularityModel,
    PowerSaturation,
    Saturation,
    SharedPrior,
    TanhSaturation,
)
from pyro_popbias.study import sections
from pyro_popbias.study.study import Study


def variants() -> pd.DataFrame:
    """Return one row a model, prior and guide.

    Columns: model, prior, guide, allowed, kl (analytic, sampled or refused), intervention (closed or quadrature: how
    the population distribution is integrated over), reason (why a row is not allowed).
    """
    rows = []
    for (model, model_class), (prior, prior_class), (guide, guide_class) in product(
        MODELS.items(), PRIORS.items(), GUIDES.items()
    ):
        reason = _reason(model_class, prior_class, guide_class)
        kl = "" if reason else guide_class.kl_to(prior_class().population())
        if kl is None:
            reason = (
                f"KL(guide || {prior_class.family.__name__}) has no closed form, and the guide declares no sampled one"
            )
        closed = model_class.integrates_in_closed_form(prior_class.family)
        rows.append(
            {
                "model": model,
                "prior": prior,
                "guide": guide,
                "allowed": not reason,
                "kl": "refused" if reason else kl,
                "intervention": "closed" if closed else "quadrature",
                "reason": reason,
            }
        )
    return pd.DataFrame(rows)


def _reason(model: type[PopularityModel], prior: type[SharedPrior], guide: type[PopularityGuide]) -> str:
    """Return why a guide or prior does not fit, or an empty text."""
    latent = model.latents["popularity"].support
    if not lies_inside(prior.support, latent):
        return f"popularity lives on {latent}, the prior on {prior.support}"
    if not guide.fits(prior.support):
        return f"the prior lives on {prior.support}, the guide does not"
    return ""


# of a whole guide: numbers kept for each that is learned (itself, gradient, two moments), and for each cell drawn
COPIES, DRAWN = 4, 20


LARGEST_WHOLE = 2 * 1024**3  # bytes


def check_fit(model: str, prior: str, guide: str) -> None:
    """Refuse a prior that does not fit a model, or a guide that does not fit a prior.

    Raises:
        IncompatibleError: names what fits.
    """
    latent, support = MODELS[model].latents["popularity"].support, PRIORS[prior].support
    priors = [name for name, cls in PRIORS.items() if lies_inside(cls.support, latent)]
    if prior not in priors:
        raise IncompatibleError(
            f"PB-C078: prior {prior!r} lives on {support}, popularity in model {model!r} on {latent}; "
            f"priors that fit: {', '.join(priors)}"
        )
    if GUIDES[guide].fits(support) and GUIDES[guide].kl_to(PRIORS[prior]().population()) is None:
        raise IncompatibleError(
            f"PB-C105: the KL of guide {guide!r} to prior {prior!r} has no closed form, and the guide's class does not declare "
            "kl = 'sampled'; declare it, or register the closed form with torch.distributions.register_kl"
        )
    if not GUIDES[guide].fits(support):
        guides = [name for name, cls in GUIDES.items() if cls.fits(support)]
        others = [name for name in priors if GUIDES[guide].fits(PRIORS[name].support)]
        remedy = f"; or priors for this guide: {', '.join(others)}" if others else ""
        raise IncompatibleError(
            f"PB-C078: guide {guide!r} does not live on {support}, as prior {prior!r} in model {model!r} does; "
            f"guides that fit: {', '.join(guides)}{remedy}"
        )


def _check_saturation(study: Study, saturation: Saturation) -> None:
    fitting = MODELS[study.model.name].saturations
    if fitting and not isinstance(saturation, fitting):
        names = [section.model_fields["name"].default for section, cls in SATURATIONS.items() if cls in fitting]
        raise IncompatibleError(
            f"PB-C081: model {study.model.name!r} takes no saturation {study.model.saturation.name!r}; saturations that "
            f"fit: {', '.join(names)}"
        )


def check_given(study: Study) -> None:
    """Refuse an option that is given and that the model would not look at.

    Raises:
        IncompatibleError: names the models that take it.
    """
    model, name = MODELS[study.model.name], study.model.name
    # the default may stand in a study file whose model is swapped by one word
    if study.model.saturation != sections.ExponentialSaturationConfig() and not model.saturations:
        takers = ", ".join(other for other, cls in MODELS.items() if cls.saturations)
        raise IncompatibleError(
            f"PB-C091: model {name!r} has no saturation; leave saturation out, or use a model that takes one: {takers}"
        )
    if study.model.slope == "free" and not model.free_slope:
        takers = ", ".join(other for other, cls in MODELS.items() if cls.free_slope)
        raise IncompatibleError(
            f"PB-C092: model {name!r} has no slope, and always increases with popularity; leave slope out, or use a model "
            f"that takes one: {takers}"
        )


def check_memory(guide: str, cells: int, latent: str, particles: int = 1) -> None:
    """Refuse a guide that draws all cells together where it would not fit into memory, or has no place.

    Raises:
        IncompatibleError: popularity is one an interaction.
        ConfigError: the guide is too large; the message says by how much.
    """
    cls = GUIDES[guide]
    if not cls.draws_all_cells:
        return
    local = ", ".join(name for name, other in GUIDES.items() if not other.draws_all_cells)
    if latent == "interaction":
        raise IncompatibleError(
            f"PB-C103: guide {guide!r} draws one popularity a cell, all together, and latent = 'interaction' one a row; "
            f"guides that draw row by row: {local}"
        )
    size = 8 * (COPIES * cls.size(cells) + DRAWN * cells * particles)
    if size > LARGEST_WHOLE:
        raise ConfigError(
            f"PB-C104: guide {guide!r} draws all {cells} cells at every step and learns {cls.size(cells)} numbers: about "
            f"{size / 1024**3:.1f} GiB with gradients and the optimiser's memory, more than "
            f"{LARGEST_WHOLE / 1024**3:.0f}; use a guide whose step costs as much as its batch: {local}"
        )


SATURATIONS: dict[type[sections.Section], type[Saturation]] = {
    sections.ExponentialSaturationConfig: ExponentialSaturation,
    sections.HillSaturationConfig: HillSaturation,
    sections.TanhSaturationConfig: TanhSaturation,
    sections.PowerSaturationConfig: PowerSaturation,
}
