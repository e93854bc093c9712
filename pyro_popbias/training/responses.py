"""What the numbers of a trained pair move together, beyond their separate posteriors."""

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.training.global_response import find_global_response
from pyro_popbias.training.information import JointInformation
from pyro_popbias.training.linear_response import find_intercept_response
from pyro_popbias.training.quality_response import find_quality_response


def find_responses(pair: Pair) -> None:
    """Give the guide of a trained pair what its numbers move together, beyond their separate posteriors."""
    find_global_response(pair)
    information = JointInformation.of(pair)
    if information is not None:
        find_intercept_response(pair, information)
        find_quality_response(pair, information)
