"""Transforms of volumes that can be undone."""
