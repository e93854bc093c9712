"""Figures of a fit, and all of them on one page."""
