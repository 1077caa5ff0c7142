"""Losses and metrics of language models."""
