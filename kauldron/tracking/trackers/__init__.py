"""Trackers: the registry, MLflow, Weights & Biases; and what feeds them."""
