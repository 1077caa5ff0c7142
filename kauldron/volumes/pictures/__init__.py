"""Volumes as pictures."""
