"""A fit as ArviZ sees it: draws, predictive and log-likelihood groups, and LOO."""
