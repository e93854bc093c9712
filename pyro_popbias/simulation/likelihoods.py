"""The formulas of the models for the simulation, apart from the Pyro programs they check.

| model | given x and z | parameter | b0 |
| --- | --- | --- | --- |
| product, exponential | sigma(x) (1 - exp(-rate z)) | rate | 0 |
| product, hill | sigma(x) z / (z + half) | half | 1 |
| product, tanh | sigma(x) tanh(rate z / 2) | rate | 1 |
| additive | sigma(x + gamma z) | gamma | -1 |
| inverse-logistic | sigma(x + log z) | none | 0 |
| pda | (ELU(x) + 1) z^gamma, a score | gamma | -2 |
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions import expectation, expected_inverse_logistic, expected_logistic
from pyro_popbias.models import ExponentialSaturation, HillSaturation, PowerSaturation, TanhSaturation


@dataclass(frozen=True)
class Likelihood:
    """A model's formulas.

    Attributes:
        intercept: b0, such that 20 to 60 % of the labels are 1, or that scores are moderate.
        parameter: name of its own parameter, the third argument of the formulas; None without.
        given: P(c=1 | x, z), or the score, of arrays that broadcast.
        probability: its expectation over the population distribution, of logits.
        chosen: whether a row is an item chosen among all by its score, and no label.
    """

    intercept: float
    parameter: str | None
    given: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    probability: Callable[[Tensor, Distribution, float], Tensor]
    chosen: bool = False


def _positive_elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


PRODUCTS = {
    "exponential": Likelihood(
        0.0,
        "rate",
        lambda x, z, rate: expit(x) * -np.expm1(-rate * z),
        lambda x, distribution, rate: torch.sigmoid(x) * expectation(ExponentialSaturation(rate), distribution),
    ),
    "hill": Likelihood(
        1.0,
        "half",
        lambda x, z, half: expit(x) * z / (z + half),
        lambda x, distribution, half: torch.sigmoid(x) * expectation(HillSaturation(half), distribution),
    ),
    "tanh": Likelihood(
        1.0,
        "rate",
        lambda x, z, rate: expit(x) * np.tanh(0.5 * rate * z),
        lambda x, distribution, rate: torch.sigmoid(x) * expectation(TanhSaturation(rate), distribution),
    ),
}
OTHERS = {
    "additive": Likelihood(
        -1.0,
        "gamma",
        lambda x, z, gamma: expit(x + gamma * z),
        lambda x, distribution, gamma: expected_logistic(x, gamma, distribution),
    ),
    "inverse-logistic": Likelihood(
        0.0,
        None,
        lambda x, z, _: expit(x + np.log(z)),
        lambda x, distribution, _: expected_inverse_logistic(x, distribution),
    ),
    "pda": Likelihood(
        -2.0,
        "gamma",
        lambda x, z, gamma: _positive_elu(x) * z**gamma,
        lambda x, distribution, gamma: (
            (torch.nn.functional.elu(x) + 1) * expectation(PowerSaturation(gamma), distribution)
        ),
        chosen=True,
    ),
}
