"""Generating text from a decoder with a contiguous cache."""
