"""Foundations of every package: errors, lazy attributes, public names, file writes.

Imports no array library, and no other room.
"""
