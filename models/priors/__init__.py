"""Priors of popularity, one family a file."""
