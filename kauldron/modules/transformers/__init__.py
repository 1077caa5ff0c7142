"""Transformer blocks, embeddings and vision transformers."""
