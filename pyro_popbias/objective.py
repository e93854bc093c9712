"""The objective: an ELBO with an analytic KL per latent, and without four holes of Pyro's own.

A subclass of `TraceMeanField_ELBO` that (1) counts the density of a Delta guide site, so that Pyro's autoguides are
right on constrained latents; (2) never falls back to a sampled KL unless the guide declares one; (3) refuses a guide
whose support is not the model's, before it can return an infinite loss; (4) computes no log-probability that it does
not use. And an observed site may bring its own expectation over q, which then replaces its log-probability at a draw.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceMeanField_ELBO
from pyro.poutine import Trace
from pyro.poutine.util import site_is_factor, site_is_subsample
from torch import Tensor

from pyro_popbias.distributions.chains import marginals
from pyro_popbias.distributions.compatibility import KL, Compatibility, closed_kl, kind_of_kl
from pyro_popbias.distributions.supports import same_support
from pyro_popbias.errors import IncompatibleError
from pyro_popbias.guides import GUIDES

Sites = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """The parts of one evaluation of the objective, scalars in nats."""

    expected_log_likelihood: Tensor
    kl: Tensor
    log_prior: Tensor  # of point-estimated parameters

    @property
    def elbo(self) -> Tensor:
        """expected_log_likelihood - kl + log_prior."""
        return self.expected_log_likelihood - self.kl + self.log_prior


class Objective(TraceMeanField_ELBO):
    """ELBO of a model/guide pair; its loss is the negative, in nats.

    Args:
        kl: "analytic" refuses a latent whose KL has no closed form; "sampled" allows it.
        particles: draws of the latents per evaluation, in one vectorised run.

    Attributes:
        latest: the parts of the last evaluation, detached, averaged over particles.

    Raises:
        IncompatibleError: on evaluation, where guide and model do not fit.
    """

    latest: Terms

    def __init__(self, *, kl: Literal["analytic", "sampled"] = "analytic", particles: int = 1) -> None:
        super().__init__(num_particles=particles, max_plate_nesting=1, vectorize_particles=particles > 1)
        self.kl = kl

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss, a scalar; every latent is reparametrised, so its gradient is the loss's own."""
        traces = self._get_traces(model, guide, args, kwargs)
        losses = [self._differentiable_loss_particle(*pair)[1] for pair in traces]
        return torch.stack(losses).sum() / self.num_particles

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        check_sites(_samples(model_trace), _samples(guide_trace))
        return model_trace, guide_trace

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[Tensor, Tensor]:
        model, guide = _samples(model_trace), _samples(guide_trace)
        model_trace.compute_log_prob(lambda _, site: site["is_observed"] and _closed(site, guide) is None)
        likelihood = prior = kl = torch.zeros(())
        for name, site in model.items():
            if not site["is_observed"]:
                kl = kl + self._kl(name, model_trace, guide_trace)
            elif site_is_factor(site):
                prior = prior + site["log_prob_sum"]
            else:
                likelihood = likelihood + _expected(site, guide)
        for name in guide.keys() - model.keys():  # auxiliary: the unconstrained draw of an autoguide
            kl = kl + _log_prob(guide_trace, name)
        # the plate of vectorised particles has added them up
        self.latest = Terms(*(part.detach() / self.num_particles for part in (likelihood, kl, prior)))
        loss = -Terms(likelihood, kl, prior).elbo
        return loss.detach(), loss

    def _kl(self, name: str, model_trace: Trace, guide_trace: Trace) -> Tensor:
        q: Any = guide_trace.nodes[name]
        p: Any = model_trace.nodes[name]
        if not isinstance(q["fn"], Delta):
            kl = closed_kl(q["fn"], p["fn"])
            if kl is not None:
                total: Tensor = scale_and_mask(kl, scale=q["scale"], mask=q["mask"]).sum()
                return total
            _refuse(name, q, p, kind_of_kl(kl, self.kl))
        # a Delta of an autoguide carries the log-density of its transform: KL(Delta || p) alone would drop it
        return _log_prob(guide_trace, name) - _log_prob(model_trace, name)


def _samples(trace: Trace) -> dict[str, Any]:
    return {
        name: site for name, site in trace.nodes.items() if site["type"] == "sample" and not site_is_subsample(site)
    }


def _closed(site: Any, guide: Sites) -> Callable[[], Tensor] | None:
    """Return what gives E_q[log P] of an observed site, `(...)` in nats; None where only its value at the draw is known.

    A site says so in `infer`: under "expectation" the name of a latent, and a function of its q.
    """
    latent, expectation = site["infer"].get("expectation", ("", None))
    if expectation is None or isinstance(guide[latent]["fn"], Delta):
        return None
    return lambda: expectation(marginals(guide[latent]["fn"]))


def _expected(site: Any, guide: Sites) -> Tensor:
    """Return the expected log-likelihood of an observed site, a scalar in nats, or its value at the draw."""
    closed = _closed(site, guide)
    if closed is None:
        at_draw: Tensor = site["log_prob_sum"]
        return at_draw
    total: Tensor = scale_and_mask(closed(), scale=site["scale"], mask=site["mask"]).sum()
    return total


def _log_prob(trace: Trace, name: str) -> Tensor:
    trace.compute_log_prob(lambda other, _: other == name)
    total: Tensor = trace.nodes[name]["log_prob_sum"]
    return total


def _family(site: Sites) -> str:
    fn = site["fn"]
    while hasattr(fn, "base_dist") and type(fn).__name__ in ("Independent", "ExpandedDistribution"):
        fn = fn.base_dist
    return type(fn).__name__


def check_sites(model: Sites, guide: Sites) -> None:
    """Refuse a guide that does not fit its model.

    Raises:
        IncompatibleError: names the sites that differ, the draws without gradient, or the supports and the guides that
            fit.
    """
    latent = {name for name, site in model.items() if not site["is_observed"]}
    drawn = {name for name, site in guide.items() if not site["infer"].get("is_auxiliary")}
    if latent != drawn:
        raise IncompatibleError(
            f"PB-C082: the model's latent sites are {sorted(latent)}, the guide's are {sorted(drawn)}; they must be the same"
        )
    for name in sorted(latent):
        q = guide[name]["fn"]
        _refuse(name, guide[name], model[name], "sampled")  # a KL without a closed form is refused where it is needed
        if not q.has_rsample:
            raise IncompatibleError(
                f"PB-C079: {_family(guide[name])} of site {name!r} has no reparametrised draws, so its gradient would be wrong"
            )


def _refuse(name: str, q: Sites, p: Sites, kl: KL | None) -> None:
    """Refuse a site whose q does not live where its prior does, or whose KL is neither closed nor declared as sampled."""
    support = p["fn"].support
    fits = isinstance(q["fn"], Delta) or same_support(q["fn"].support, support)
    found = Compatibility.of_guide(fits=fits, kl=kl, prior=_family(p), support=support)
    if found.fault == "guide":
        fitting = [key for key, cls in GUIDES.items() if cls.fits(support)]
        raise IncompatibleError(
            f"PB-C078: the guide draws {name!r} from {_family(q)} on {q['fn'].support}, but its prior {_family(p)} lives on "
            f"{support}; guides that fit: {', '.join(fitting)}"
        )
    if found.fault == "kl":
        raise IncompatibleError(
            f"PB-C080: KL({_family(q)} || {_family(p)}) of site {name!r} has no closed form, and the guide does not "
            "declare kl = 'sampled'; choose another guide, or declare it on the guide's class"
        )
