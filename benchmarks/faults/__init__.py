"""Faults of disks and processes at every call of the system that changes files, in every command that writes."""
