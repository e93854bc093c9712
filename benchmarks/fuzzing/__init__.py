"""What `benchmarks/fuzz.py` throws bytes at: readers of everything that the package takes from a disk."""
