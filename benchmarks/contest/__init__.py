"""What `unbiased.py` is made of: the problems, the systems, and the file of results."""
