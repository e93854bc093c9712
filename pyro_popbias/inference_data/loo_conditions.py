"""When PSIS-LOO is valid for a fit."""

from pyro_popbias.models.affinities.user_bias import SITE as USER_BIAS
from pyro_popbias.models.conformity import SITE as CONFORMITY
from pyro_popbias.trained import Trained


def reason_against(fit: Trained) -> str:
    """Return why PSIS-LOO is invalid for a fit, in one sentence; empty if it is valid."""
    guide = fit.guide
    tables = guide.weights().keys() - guide.global_weights().keys()
    if any(parameter.dim() for parameter in fit.model.affinity.parameters()) or tables - {USER_BIAS, CONFORMITY}:
        return "the vectors were estimated from the rows that LOO would leave out"
    if CONFORMITY in tables:
        return "the conformity of users was estimated from the rows that LOO would leave out; conformity = false leaves it out"
    if tables:
        return "the biases of users were estimated from the rows that LOO would leave out; user_bias = false leaves biases out"
    if fit.study.model.latent == "interaction":
        return "every row has its own popularity, which is left out with it"
    if fit.study.data.negatives:
        return "the rows are positives only, and each would have to be left out with its sampled negatives"
    if guide.popularity.maximises != "elbo":
        return "popularity is a point estimate, so there are no draws to weight"
    return ""
