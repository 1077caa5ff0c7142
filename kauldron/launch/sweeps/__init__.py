"""Sweeps: many runs of one config, each in a workdir of its own."""
