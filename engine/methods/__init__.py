"""One file for each family of systems: what they read, how they start, what they learn from."""
