"""When leaving a row out holds for a fit, and when it does not."""

from pyro_popbias.trained import Trained


def reason_against(fit: Trained) -> str:
    """Return why LOO does not hold for a fit, in a sentence; empty where it does."""
    guide = fit.guide
    if any(parameter.dim() for parameter in fit.model.affinity.parameters()) or (
        guide.weights().keys() - guide.global_weights().keys()
    ):
        return "the vectors were estimated from the rows that LOO would leave out"
    if fit.study.model.latent == "interaction":
        return "every row has a popularity of its own, which leaves with it"
    if fit.study.data.negatives:
        return "the rows are positives alone, and each would have to leave with its sampled negatives"
    if guide.popularity.maximises != "elbo":
        return "popularity is a point, so that there are no draws to weigh"
    return ""
