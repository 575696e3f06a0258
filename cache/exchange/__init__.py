"""Features from and for other programs: arrays, .npy, Parquet and Arrow."""
