"""The table of variants: which prior fits which model, which guide fits which prior, and what is in closed form."""

from itertools import product

import pandas as pd

from pyro_popbias.guides import GUIDES, PopularityGuide, lies_inside
from pyro_popbias.models import MODELS, PRIORS, PopularityModel, SharedPrior


def variants() -> pd.DataFrame:
    """Return one row a model, prior and guide.

    Columns: model, prior, guide, allowed, kl (analytic, sampled or refused), intervention (closed or quadrature: how the
    population law is integrated over), reason (why a row is not allowed).
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
