"""Blocks of language models."""
