"""Foundations of every package: errors, lazy attributes, public names, file writes.

Imports no array library, and none of the other rooms.
"""
