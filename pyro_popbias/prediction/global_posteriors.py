"""The posteriors of what all cells share: intercept, slope or rate, concentration, scales.

The programs learn these as points. Their posteriors are Laplace approximations, Normals on the scale on which each is learned
(the logarithm of a positive number), by the curvature at the end of a training:

* Intercept, slope or rate, and concentration: of the log evidence, with all else free to move (`training.global_response`).
* The scale s of the rows of a site, b_r ~ Normal(0, s): rows with the variances v_r in q are as informative about log s as draws
  seen with noise, b_r + e_r with var e_r = 1 / (1 / v_r - 1 / s^2). Their expected information, and that of the prior, give

      1 / var(log s) = 2 sum (1 - v_r / s^2)^2 + 1

  (the information of a variance component, Searle, Casella and McCulloch 1992, section 6.3; rows that no label tells anything
  about have v_r = s^2, and add nothing).
* The step of a random walk: the same, of the increments of log z in q, each by itself.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.draws import streams
from pyro_popbias.guides import JointGuide, MarkovGuide
from pyro_popbias.models import BayesianEmbeddingAffinity, PopularityModel, RandomWalkPrior, scalars
from pyro_popbias.models.affinities.item_quality import SITE as QUALITY
from pyro_popbias.models.learned_scalars import INTERCEPT, estimate_slopes

PRIOR_SD = 1.0  # of the log of every scale
JITTER = 1e-10  # of correlations
VECTORS = "user_vectors", "item_vectors"  # sites that share a scale for each dimension
VECTOR_SCALE = "vector_scale"
OF_NUMBERS = 2**59  # the first key of draws, above those of cells and weights


def global_posteriors(model: PopularityModel, guide: JointGuide, catalogue: Catalogue) -> dict[str, Distribution]:
    """Return the posterior of each learned number that has one, a Normal or LogNormal scalar, by the name of its estimate.

    Args:
        model: the trained model.
        guide: its guide.
        catalogue: of what they were trained on.
    """
    numbers = {name: posterior for name, _, posterior in _of_numbers(model, guide)}
    return numbers | _of_scales(model, guide) | _of_step(model, guide, catalogue)


def global_draws(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, intercept: np.ndarray, *, seed: int, chain: int = 0
) -> dict[str, np.ndarray]:
    """Return draws of these numbers from the joint posterior, `(draws,)` each, `(draws, d)` those of the scales of vectors.

    Args:
        model: the trained model.
        guide: its guide.
        catalogue: of what they were trained on.
        intercept: `(draws,)` of the intercept in standard deviations, with which the others move.
        seed: decides the rest of them.
        chain: number of the chain.
    """
    joint, found = _joint_noise(guide, intercept, seed, chain), {}
    for name, parameter, posterior in _of_numbers(model, guide):
        found[name] = _moved(posterior, joint[parameter])
    scales = _of_scales(model, guide) | _of_step(model, guide, catalogue)
    noise = _unit(len(scales), len(intercept), seed, chain, purpose=1)
    of_scales = {name: _moved(posterior, each) for (name, posterior), each in zip(scales.items(), noise.T, strict=True)}
    of_vectors = [of_scales.pop(name) for name in scales if name.startswith(VECTOR_SCALE)]
    found |= of_scales | ({VECTOR_SCALE: np.stack(of_vectors, axis=1)} if of_vectors else {})
    return found


def _of_numbers(model: PopularityModel, guide: JointGuide) -> Iterator[tuple[str, str, Distribution]]:
    """Yield name, parameter and posterior of the estimates that one learned number is behind."""
    estimates, learned = model.estimates(), scalars(model)
    for parameter, (name, slope) in estimate_slopes(model).items():
        variance = guide.shared.variance(parameter)
        if parameter == INTERCEPT:
            variance = variance or float(guide.intercept.variance)
        if variance:
            value, at = estimates[name].detach(), learned[parameter].detach()
            sd = torch.as_tensor(variance).sqrt().to(value)
            is_exp = bool(torch.isclose(value, at.exp(), rtol=1e-12, atol=0.0))
            yield name, parameter, LogNormal(at, sd) if is_exp else Normal(value, (slope * sd).abs())


@torch.no_grad()
def _of_scales(model: PopularityModel, guide: JointGuide) -> dict[str, Distribution]:
    """Return the posteriors of the scales of users' and items' rows by name."""
    weights, affinity, found = guide.weights(), model.affinity, {}
    biases = [*affinity.row_biases.values(), *([] if model.conformity is None else [model.conformity])]
    for bias in biases:
        if bias.site in weights:
            variance = weights[bias.site].scale.double().square()
            if bias.site == QUALITY:
                variance = variance + guide.quality.of_item.unsqueeze(-1)
            [found[f"{bias.site}_scale"]] = _of_scale(bias.log_scale.reshape(1), variance)
    if isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned:
        variance = torch.cat([weights[site].scale.double().square() for site in VECTORS])
        posteriors = _of_scale(affinity.vector_log_scale, variance)
        found |= {f"{VECTOR_SCALE}[{k}]": posterior for k, posterior in enumerate(posteriors)}
    return found


@torch.no_grad()
def _of_step(model: PopularityModel, guide: JointGuide, catalogue: Catalogue) -> dict[str, Distribution]:
    """Return the posterior of the step of a random walk by name; empty where popularity does not walk."""
    prior, q = model.prior, guide.popularity
    if not isinstance(prior, RandomWalkPrior) or not isinstance(q, MarkovGuide):
        return {}
    chain = q.chain(torch.arange(catalogue.cells, device=guide.device))
    variance, coupling = (each.reshape(-1, q.periods) for each in (chain.variance_of_y, chain.coupling))
    of_increments = variance[:, 1:] + (1 - 2 * coupling[:, 1:]) * variance[:, :-1]
    known = torch.from_numpy(catalogue.count.reshape(-1, q.periods).sum(1) > 0).to(variance.device)
    [posterior] = _of_scale(prior.log_step.reshape(1), of_increments[known].reshape(-1, 1))
    return {"drift_step": posterior}


def _of_scale(log_scale: Tensor, variance: Tensor) -> list[Distribution]:
    """Return the posteriors of the scales `(d,)` of rows with variances `(rows, d)`."""
    determined = (1 - variance / (2 * log_scale).exp()).clamp(min=0.0)
    sd = (2 * determined.square().sum(0) + 1 / PRIOR_SD**2).rsqrt()
    return [LogNormal(at, each) for at, each in zip(log_scale.detach(), sd.detach(), strict=True)]


def _joint_noise(guide: JointGuide, intercept: np.ndarray, seed: int, chain: int) -> dict[str, np.ndarray]:
    """Return draws of the numbers and weights in standard deviations, by parameter; the intercept's are those given."""
    covariance, names = guide.shared.covariance.cpu().numpy(), guide.shared.names
    known = sorted(np.flatnonzero(covariance.diagonal() > 0), key=lambda place: names[place] != INTERCEPT)
    joined = [names[place] for place in known]
    if INTERCEPT not in joined:  # its posterior is known by itself
        noise, found = _unit(len(known), len(intercept), seed, chain, purpose=0), {INTERCEPT: intercept}
    else:
        noise, found = np.column_stack([intercept, _unit(len(known) - 1, len(intercept), seed, chain, purpose=0)]), {}
    sd = np.sqrt(covariance.diagonal()[known])
    correlation = covariance[np.ix_(known, known)] / np.outer(sd, sd)
    factor = np.linalg.cholesky(correlation + JITTER * np.eye(len(known)))
    return found | dict(zip(joined, (noise @ factor.T).T, strict=True))


def _unit(width: int, number: int, seed: int, chain: int, *, purpose: int) -> np.ndarray:
    """Return standard normal draws `(number, width)`."""
    of_each = streams(range(OF_NUMBERS, OF_NUMBERS + width), seed=seed, chain=chain, purpose=purpose)
    return np.array([stream.standard_normal(number) for stream in of_each]).reshape(width, number).T


def _moved(posterior: Distribution, noise: np.ndarray) -> np.ndarray:
    """Return draws of a Normal or LogNormal scalar by their noise."""
    normal = cast(Normal, posterior.base_dist if isinstance(posterior, LogNormal) else posterior)
    values = float(normal.loc.detach()) + float(normal.scale.detach()) * noise
    return np.exp(values) if isinstance(posterior, LogNormal) else values
