"""Runs of configs and of objects with `fit`, tracked from begin to end."""
