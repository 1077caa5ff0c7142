"""Whole cases through a model, written back with their geometry."""
