"""One file per system: how it starts and what it learns from."""
