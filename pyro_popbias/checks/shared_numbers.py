"""Whether the data tell the numbers apart that all cells share: intercept, slope or rate, concentration.

With rare positives sigma(x) (1 - exp(-rate z)) is nearly exp(x) rate z, so that intercept and log rate are known as a sum; slope
and concentration of the additive model both say how far popularity spreads. Scores depend on what is known. So this is reported,
and never fails.
"""

import itertools

import numpy as np

from pyro_popbias.checks.finding import Finding
from pyro_popbias.guides import weight_name
from pyro_popbias.models.affinities.item_quality import FEATURES
from pyro_popbias.models.learned_scalars import estimate_slopes
from pyro_popbias.trained import Trained

LOUD = 0.7  # correlation from which two numbers are hardly known one by one: the sd of each is 1.4 times that given the other


def shared_numbers(fit: Trained) -> tuple[Finding, ...]:
    """Return the two numbers with the strongest posterior correlation, where it is strong, or that nothing is known of it.

    Args:
        fit: the fit.
    """
    shared = fit.guide.shared
    if not shared.covariance.any():
        return () if not fit.guide.global_weights() else (_unknown(),)
    known = {number: name for number, (name, _) in estimate_slopes(fit.model).items() if shared.variance(number)}
    quality = fit.model.affinity.item_quality
    if quality is not None:
        known[weight_name(FEATURES, len(quality.names) - 1)] = "the weight of log counts in quality"
    pairs = {pair: shared.correlation(*pair) for pair in itertools.combinations(known, 2)}
    if not pairs or abs(pairs[pair := max(pairs, key=lambda each: abs(pairs[each]))]) < LOUD:
        return ()
    value, (one, other) = pairs[pair], (known[number] for number in pair)
    words = (
        f"{one} and {other} have a posterior correlation of {value:.2f}: data know them together better than one by one, their "
        "intervals in fit.parameters() are wide for it, and scores are not; reported, never fails"
    )
    return (Finding("identification", f"{one} with {other}", abs(value), np.nan, True, words),)


def _unknown() -> Finding:
    """Return the finding where weights have q's own intervals only."""
    words = (
        "the joint posterior of intercept and weights of features is not known for this fit: their intervals in "
        "fit.parameters() hold popularity fixed, and are too narrow"
    )
    return Finding("identification", "intervals of weights", np.nan, np.nan, True, words)
