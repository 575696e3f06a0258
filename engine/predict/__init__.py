"""Answers for new tasks: a meta-trained model adapts to a few labels, calibrated and explained."""
