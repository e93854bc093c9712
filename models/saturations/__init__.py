"""Saturations g: increasing maps of popularity into (0, 1), and their closed expectations."""
