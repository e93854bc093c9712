"""Bad inputs, row by row, and the answer that each must get: from Python, on the command line, and under `python -O`."""
