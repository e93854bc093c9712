"""Interactions drawn from a model with a known truth."""
