"""Log probabilities of labels in many digits, one formula a model, written from the model's definition.

With mpmath's unbounded exponents nothing underflows, and 60 digits are enough where 1 - h g is summed as (1 - h) + h (1 - g).
"""

from collections.abc import Callable

import mpmath
from mpmath import mpf

DIGITS = 60


def log_sigma(t: mpf) -> mpf:
    """Return log sigma(t)."""
    return -mpmath.log1p(mpmath.exp(-t))


# (g, 1 - g) of z where the parameter is 1
SATURATIONS: dict[str, Callable[[mpf], tuple[mpf, mpf]]] = {
    "exponential": lambda z: (-mpmath.expm1(-z), mpmath.exp(-z)),
    "hill": lambda z: (z / (1 + z), 1 / (1 + z)),
    "tanh": lambda z: (mpmath.tanh(z / 2), 2 / (mpmath.exp(z) + 1)),
    "power": lambda z: (z, 1 - z),
}


def _product(x: mpf, z: mpf, saturation: str) -> tuple[mpf, mpf]:
    h, other = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
    g, complement = SATURATIONS[saturation](z)
    zero = other + h * complement  # 1 - h g without cancellation
    one = mpmath.log1p(-zero) if zero < 0.5 else mpmath.log(h * g)
    return one, mpmath.log1p(-h * g) if zero > 0.5 else mpmath.log(zero)


def _of_logit(t: mpf) -> tuple[mpf, mpf]:
    return log_sigma(t), log_sigma(-t)


# (x, z, name of the saturation) -> log P(c=1), log P(c=0), with other parameters at 1
MODELS: dict[str, Callable[[mpf, mpf, str], tuple[mpf, mpf]]] = {
    "product": _product,
    "additive": lambda x, z, _: _of_logit(x + z),
    "inverse-logistic": lambda x, z, _: _of_logit(x + mpmath.log(z)),
    "pda": lambda x, z, saturation: _of_logit(
        (1 + x if x > 0 else mpmath.exp(x)) * SATURATIONS[saturation](z)[0],
    ),
}
