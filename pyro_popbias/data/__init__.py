"""Interactions and all that is read, checked and cut into batches before any model sees it."""
