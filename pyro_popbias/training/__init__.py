"""Training of a pair in two phases, and restarts."""
