"""A feature file while it is written: rows, journal, lock, and how it becomes whole."""
