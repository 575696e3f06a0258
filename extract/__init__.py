"""Data sources, frozen encoders, and the pipeline that fills a feature file."""
