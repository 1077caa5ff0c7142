"""Tokenizers and chat templates. Imports no JAX."""
