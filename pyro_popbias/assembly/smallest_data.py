"""Data of one user or of one item: a fit is allowed, and says that half of what it is for cannot be told."""

import warnings

from pyro_popbias.data.id_forms import shown_id
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataWarning


def warn_of_one(events: Interactions) -> None:
    """Warn where there is one user or one item only.

    Args:
        events: the interactions.

    Warns:
        DataWarning: there is.
    """
    if len(events.users) == 1:
        message = (
            f"PB-D464: the data have one user, {shown_id(events.users[0])}: taste and popularity cannot be told apart, as no "
            "item is seen by two; give the rows of several users"
        )
        warnings.warn(message, DataWarning, stacklevel=4)
    if len(events.items) == 1:
        message = (
            f"PB-D465: the data have one item, {shown_id(events.items[0])}: its popularity cannot be told from the intercept, "
            "and nothing can be ranked; give the rows of several items"
        )
        warnings.warn(message, DataWarning, stacklevel=4)
