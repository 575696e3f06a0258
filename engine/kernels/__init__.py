"""Compiled loops over arrays. Each has a slow twin in tests/naive.py."""
