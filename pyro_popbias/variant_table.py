"""The table of variants: which guide fits which model and prior, and what is in closed form."""

import pandas as pd
from torch.distributions.kl import _dispatch_kl

from pyro_popbias.guides import GUIDES, same_support
from pyro_popbias.models import MODELS, GammaPrior

PRIORS = {"gamma": GammaPrior}


def variants() -> pd.DataFrame:
    """Return one row a model, prior and guide.

    Columns: model, prior, guide, allowed, kl (analytic, sampled or refused), intervention (closed or quadrature: how the
    population law is integrated over), reason (why a row is not allowed).
    """
    rows = []
    for model, model_class in MODELS.items():
        support = model_class.latents["popularity"].support
        for prior, prior_class in PRIORS.items():
            closed = model_class.integrates_in_closed_form(prior_class.family)
            for guide, guide_class in GUIDES.items():
                fits = same_support(guide_class.support, support)
                analytic = _dispatch_kl(guide_class.family, prior_class.family) is not NotImplemented
                kl = "analytic" if analytic else guide_class.kl
                reason = "" if fits else f"popularity lives on {support}, the guide on {guide_class.support}"
                rows.append(
                    {
                        "model": model,
                        "prior": prior,
                        "guide": guide,
                        "allowed": fits,
                        "kl": kl if fits else "refused",
                        "intervention": "closed" if closed else "quadrature",
                        "reason": reason,
                    }
                )
    return pd.DataFrame(rows)
