"""Families of decoders, and their weights in and out."""
