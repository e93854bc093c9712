"""Figure 13: log probabilities, divergences and expectations on a grid of hard points, against many digits.

Where a number is compared, and how:

* A likelihood's log P of a label, and KL(q || p): relative error. In float32 the inputs are the float32 numbers, and the
  bound is `SINGLE` (see there).
* log P of a label with z integrated over (`log_marginal_probability`): relative error; absolute where P is near 1.
* E[g(z)], a probability whose documented error is absolute: absolute error; relative for a power, which has no upper bound.

Points are those of the registries: a model, saturation, prior or guide that is registered has its points here, and the run says
so where the oracles of `benchmarks/oracles` have no formula for it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import torch
from oracles import divergences, integrals, logarithms
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Normal, Weibull, constraints, kl_divergence

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.distributions import expectation
from pyro_popbias.guides import GUIDES
from pyro_popbias.models import MODELS, PRIORS, SATURATIONS, PopularityModel
from pyro_popbias.registry import Registry
from scoreboard.section import Measured, Section, resumed

DOUBLE = 1e-6
# logits of float32 are known to 200 x 6e-8 = 1.2e-5, and log P of a rare label is about the logit: 1e-5 / 1 where P ~ 1/e;
# the KL is computed in float64 and rounded once
SINGLE = {"likelihood": 5e-5, "divergence": 1e-6}
ROUNDING = 1e-12  # nats: a KL below it, as where q is the prior itself, is 0 for every use
LOGITS = sorted(
    {sign * x for sign in (-1, 1) for x in (0.0, 1e-3, 0.5, 2.0, 5.0, 12.0, 30.0, 36.7, 40.0, 80.0, 130.0, 200.0)}
)
POPULARITY = [1e-12, 1e-6, 1e-3, 0.05, 0.3, 1.0, 2.5, 8.0, 20.0, 40.0, 110.0, 1e4]
FEWER_LOGITS = [-200.0, -40.0, -8.0, -1.0, 1.0, 8.0, 40.0, 200.0]
QUICK = 60  # points of each part

Point = tuple[str, float, Callable[[], float]]  # words, what was found, what gives the exact number


def grids() -> dict[type[Distribution], list[dict[str, float]]]:
    """Return the parameters of the families on which priors and guides are compared."""
    shapes = [1e-2, 0.1, 0.5, 1.0, 2.0, 10.0, 1e2, 1e4, 1e6, 1e8]
    return {
        Gamma: [{"concentration": a, "rate": a / mean} for a in shapes for mean in (0.01, 1.0, 30.0)],
        Exponential: [{"rate": b} for b in (1e-3, 0.1, 1.0, 30.0, 1e4)],
        LogNormal: [{"loc": m, "scale": s} for m in (-5.0, 0.0, 2.0) for s in (1e-4, 1e-2, 0.3, 1.0, 3.0)],
        Weibull: [
            {"scale": scale, "concentration": k}
            for scale in (0.01, 1.0, 30.0)
            for k in (0.1, 0.5, 1.0, 3.0, 30.0, 1e3, 1e4)
        ],
        Normal: [{"loc": m, "scale": s} for m in (-50.0, 0.0, 3.0) for s in (1e-6, 1e-2, 1.0, 30.0)],
    }


def families(registry: Registry[Any]) -> list[type[Distribution]]:
    """Return torch's families of the guides with a family that has an ELBO, or of the priors, of a registry.

    Raises:
        NotImplementedError: a family has no grid.
    """
    own = grids()
    used = {cls.family for cls in registry.values() if cls.family and getattr(cls, "maximises", "elbo") == "elbo"}
    unknown = sorted(family.__name__ for family in used if not issubclass(family, tuple(own)))
    if unknown:
        raise NotImplementedError(f"no grid for {', '.join(unknown)}; add one to benchmarks/scoreboard/numerics.py")
    return [base for base in own if any(issubclass(family, base) for family in used)]


def members(family: type[Distribution], dtype: torch.dtype) -> list[Distribution]:
    """Return the scalar distributions of a family's grid."""
    return [
        family(**{name: torch.tensor(value, dtype=dtype) for name, value in each.items()}, validate_args=False)
        for each in grids()[family]
    ]


def said(distribution: Distribution) -> str:
    """Return a distribution in a word."""
    numbers = ", ".join(f"{getattr(distribution, name).item():g}" for name in distribution.arg_constraints)
    return f"{type(distribution).__name__}({numbers})"


def configurations() -> list[tuple[str, str]]:
    """Return each model with each saturation that it takes, "" where it has none."""
    return [
        (name, saturation)
        for name, cls in MODELS.items()
        for saturation in [each for each, g in SATURATIONS.items() if cls.takes_saturation(g)] or [""]
    ]


def model_of(name: str, saturation: str) -> PopularityModel:
    """Return a model whose parameters are at 1."""
    given = {"saturation": {"name": saturation}} if saturation else {}
    events = pb.simulate(users=20, items=30, interactions=60, seed=0).events
    model = {"name": name, "affinity": {"name": "embedding", "dim": 2}, "exposure": "none", **given}
    return pair(events, study=pb.Study(model=model)).model


def likelihoods(dtype: torch.dtype) -> Iterator[Point]:
    """Yield log P of labels given x and z."""
    for name, saturation in configurations():
        model = model_of(name, saturation)
        x, z = torch.cartesian_prod(torch.tensor(LOGITS, dtype=dtype), torch.tensor(POPULARITY, dtype=dtype)).unbind(-1)
        with torch.no_grad():
            one, zero = (model.likelihood(x, z).log_prob(torch.full_like(x, label)).tolist() for label in (1.0, 0.0))
        for *at, got_one, got_zero in zip(x.tolist(), z.tolist(), one, zero, strict=True):
            for label, got in ((0, got_zero), (1, got_one)):
                exact = partial(_exact_log_p, name, saturation, *at, label)
                yield f"{name} {saturation} label {label} at x, z = {at}", got, exact


def _exact_log_p(name: str, saturation: str, x: float, z: float, label: int) -> float:
    with mpmath.workdps(logarithms.DIGITS):
        one, zero = logarithms.MODELS[name](mpmath.mpf(x), mpmath.mpf(z), saturation)
    return float(one if label else zero)


def kls(dtype: torch.dtype) -> Iterator[Point]:
    """Yield KL(q || p)."""
    for q_family, p_family in product(families(GUIDES), families(PRIORS)):
        if (q_family is Normal) != (p_family is Normal):
            continue
        for q, p in product(members(q_family, dtype), members(p_family, dtype)):
            exact = partial(divergences.divergence, q, p)
            yield f"KL({said(q)} || {said(p)})", kl_divergence(q, p).item(), exact


def _few(family: type[Distribution]) -> list[Distribution]:
    """Return the members of a family that a posterior or population may be: log z has a standard deviation below 13."""
    found = members(family, torch.float64)
    return [q for q in found if getattr(q, "concentration", torch.tensor(1.0)).item() >= 0.1]


def marginals(dtype: torch.dtype) -> Iterator[Point]:
    """Yield log P of labels with z integrated over."""
    for (name, saturation), family in product(configurations(), families(PRIORS)):
        latent = MODELS[name].latents["popularity"].support
        if MODELS[name].pairwise or not (family is not Normal or latent is constraints.real):
            continue
        model = model_of(name, saturation)
        x, label = torch.cartesian_prod(
            torch.tensor(FEWER_LOGITS, dtype=dtype), torch.tensor([0.0, 1.0], dtype=dtype)
        ).unbind(-1)
        for q in _few(family):
            batch = type(q)(**{key: getattr(q, key).reshape(1) for key in q.arg_constraints}, validate_args=False)
            with torch.no_grad():
                found = model.log_marginal_probability(x, label, batch, torch.zeros(len(x), dtype=torch.int64)).tolist()
            for *at, got in zip(x.tolist(), label.tolist(), found, strict=True):
                of_u = partial(_log_p, name, saturation, *at, family is Normal)
                # sigma(x + e^u) changes within 1 / abs(x)
                nodes = 60_000 if name == "additive" else integrals.NODES
                exact = partial(integrals.log_integral, q, of_u, nodes=nodes)
                yield f"{name} {saturation} at x, label = {at} under {said(q)}", got, exact


def _log_p(name: str, saturation: str, x: float, label: float, is_real: bool, u: np.ndarray) -> np.ndarray:
    if name == "additive":
        with np.errstate(over="ignore"):
            return integrals.log_sigma((1 if label else -1) * (integrals.LONG(x) + (u if is_real else np.exp(u))))
    return integrals.log_probability(name, saturation, x, label, u)


def expectations(dtype: torch.dtype) -> Iterator[Point]:
    """Yield E[g(z)] of bounded saturations."""
    for (name, cls), family in product(SATURATIONS.items(), families(PRIORS)):
        if family is Normal or not cls.bounded:
            continue
        for q in _few(family):
            got = expectation(cls(torch.tensor(1.0, dtype=dtype)), q).item()
            exact = partial(_exact_expectation, name, q)
            yield f"E[{name}] under {said(q)}", got, exact


def _exact_expectation(name: str, q: Distribution) -> float:
    return math.exp(integrals.log_integral(q, lambda u: integrals.log_saturation(name, u)[0]))


@dataclass(frozen=True)
class Part:
    """One kind of points: how they are found, the precision, and the largest error that is right."""

    points: Callable[[torch.dtype], Iterator[Point]]
    dtype: torch.dtype
    bound: float
    absolute: float  # an error below it is right, however small the number


PARTS = {
    "likelihoods": Part(likelihoods, torch.float64, DOUBLE, 1e-300),
    "likelihoods-float32": Part(likelihoods, torch.float32, SINGLE["likelihood"], 1e-30),
    "divergences": Part(kls, torch.float64, DOUBLE, ROUNDING),
    "divergences-float32": Part(kls, torch.float32, SINGLE["divergence"], 1e-9),
    "marginals": Part(marginals, torch.float64, DOUBLE, 1e-7),
    "expectations": Part(expectations, torch.float64, 0.0, DOUBLE),
}


def judged(name: str, number: int | None = None) -> dict[str, Any]:
    """Return the number of points of a part, the largest relative error, and the points that are off or not finite."""
    part = PARTS[name]
    largest, count, off, infinite = 0.0, 0, [], []
    for words, got, right in islice(part.points(part.dtype), 0, None, 1 if number is None else 31):
        count, exact = count + 1, float(right())
        if abs(exact) > torch.finfo(part.dtype).max:  # no number of the format is right
            infinite += [] if got == math.copysign(math.inf, exact) else [f"{words}: {got} for {exact}"]
            continue
        error = abs(got - exact)
        if not math.isfinite(got):
            infinite.append(f"{words}: {got} for {exact:g}")
        elif error > part.absolute:
            relative = error / abs(exact) if exact else math.inf
            largest = max(largest, relative)
            off += [f"{words}: {got:.12g} for {exact:.12g}"] if not relative <= part.bound else []
        if number is not None and count >= number:
            break
    return {"count": count, "largest": largest, "off": off, "infinite": infinite}


def numerical_range(folder: Path, quick: bool) -> Measured:
    """Compare every point of the grids, or some of each."""
    found = resumed(folder, list(PARTS), lambda name: judged(name, QUICK if quick else None))
    count = sum(each["count"] for each in found.values())
    off, infinite = (sum(len(each[key]) for each in found.values()) for key in ("off", "infinite"))
    largest = max(each["largest"] for name, each in found.items() if PARTS[name].bound == DOUBLE)
    details = [f"{name}: {each['count']} points, largest error {each['largest']:.1e}" for name, each in found.items()]
    details += [line for each in found.values() for line in [*each["infinite"][:20], *each["off"][:20]]]
    words = f"{count} points: {infinite} not finite, {off} off; largest relative error {largest:.1e} in float64"
    return Measured(words, not off and not infinite, tuple(details))


SECTIONS = [
    Section(13, "numbers against mpmath", ">= 10,000 points: 0 not finite, error <= 1e-6", numerical_range, 6),
]
