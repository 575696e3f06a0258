"""Meta-training: starts, phases, meta-iterations, devices, processes."""
