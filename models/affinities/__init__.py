"""Affinities x_ui: the logit of a user's interest in an item, without popularity, one kind a file."""
