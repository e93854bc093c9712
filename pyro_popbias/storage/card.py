"""The card of a run, in Markdown: what was fitted to what, and how far to trust the intervals."""

import pandas as pd

from pyro_popbias.assembly.identification import warning_of
from pyro_popbias.models.priors.config import POSTERIOR
from pyro_popbias.prediction.posterior_tables import kind_of_interval
from pyro_popbias.trained import Trained

CHAINS = "chains.safetensors"  # file of the pairs of other restarts


def card(fit: Trained) -> str:
    """Return the run's card in Markdown."""
    return (
        f"# {fit.study.model.name} with guide {fit.study.guide.name}\n\n"
        f"{int(fit.catalogue.count.sum()):,} rows, {len(fit.catalogue.users):,} users, {len(fit.catalogue.items):,} items, "
        f"{fit.catalogue.periods} period(s). KL: {fit.guide.popularity.kl}. Seed {fit.study.training.seed}.\n\n"
        f"{_design(fit)}{_drift(fit)}{_restarts(fit)}{_held_out(fit)}; "
        f"{fit.history['seconds'].sum():.1f} s of training.\n\n"
        f"{warning(fit)}"
        "Posteriors are of the training rows; counts in tables are of all rows, the held-out share included. "
        f"{kind_of_interval(fit.model, fit.study.data.negatives)}\n"
    )


def warning(fit: Trained) -> str:
    """Return a paragraph that says where popularity is the like rate of items, and what to do; empty where it is not so."""
    sentence = warning_of(fit.study)
    return sentence and f"Warning: {sentence}.\n\n"


def _held_out(fit: Trained) -> str:
    score = fit.history["validation_log_score"].iloc[-1]
    return "No rows were held out" if pd.isna(score) else f"Held-out log-loss {-score:.4f} nats per row"


def _restarts(fit: Trained) -> str:
    """Return how the fit was chosen, where it was one of several, or nothing."""
    if not fit.others:
        return ""
    by = "held-out log-score" if fit.history["validation_log_score"].notna().iloc[-1] else "objective"
    return (
        f"Best of {len(fit.chains)} restarts by its {by}; the others are in {CHAINS}, and are chains for ArviZ, whose R-hat "
        "compares them. "
    )


def _design(fit: Trained) -> str:
    """Return what scores are where the data's own labels do not say it, or nothing."""
    number = fit.study.data.negatives
    if not number:
        return ""
    within = "probabilities within this design; calibrated=True gives those over the catalogue"
    kind = "ranking scores and no probabilities" if fit.model.pairwise else within
    return f"Negatives: {number} sampled for each positive, so that scores are {kind}. "


def _drift(fit: Trained) -> str:
    """Return how far the prior lets popularity move from another time, or nothing."""
    drift, source = fit.study.model.prior.drift, fit.study.model.prior.source
    if not isinstance(drift, float):
        return ""
    if source == POSTERIOR:
        return f"An update: popularity goes on from an earlier fit, by a step of log popularity of {drift:.3g} (sd). "
    return f"Prior by counts, from whose time to the data's log popularity drifts by {drift:.3g} (sd). "
