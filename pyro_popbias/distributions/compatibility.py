"""Whether a distribution q may stand for the posterior of a latent with prior p: one rule, for classes and for sites."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

KL = Literal["analytic", "sampled"]


@dataclass(frozen=True)
class Compatibility:
    """Whether a model, prior and guide, or the sites of two programs, fit together.

    Attributes:
        allowed: whether they do.
        kl: how KL(q || p) is found.
        reason: why they do not; empty where they do.
        fault: which of them does not fit: the prior to the model, the guide to the prior, or the KL.
    """

    allowed: bool
    kl: Literal["analytic", "sampled", "refused"]
    reason: str
    fault: Literal["prior", "guide", "kl"] | None = None

    @classmethod
    def of_guide(cls, *, fits: bool, kl: KL | None, prior: str, support: object) -> "Compatibility":
        """Return whether a guide fits a prior.

        Args:
            fits: whether q lives where the prior does.
            kl: how KL(q || prior) is found; None where it has no closed form and no sampled one is declared.
            prior: family of the prior, as messages say it.
            support: where the prior lives.
        """
        if not fits:
            return cls(False, "refused", f"the prior lives on {support}, the guide does not", "guide")
        if kl is None:
            reason = f"KL(guide || {prior}) has no closed form, and the guide declares no sampled one"
            return cls(False, "refused", reason, "kl")
        return cls(True, kl, "")


def closed_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Return KL(q || p) in nats, batch by batch; None where it has no closed form, as a registered pair may not have."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def kind_of_kl(closed: Tensor | None, declared: KL) -> KL | None:
    """Return how a KL is found, from its closed form and what the guide declares; None where it is refused."""
    if closed is not None:
        return "analytic"
    return "sampled" if declared == "sampled" else None
