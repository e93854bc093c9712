"""Does the model fit the data, and is q near the exact posterior?"""
