"""Run folders and checkpoints: whole or not there, and no code runs when one is opened."""
