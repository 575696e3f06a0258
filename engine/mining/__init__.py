"""Where pairs come from: names that mean alike, clusters of strong pairs, a key that both have."""
