"""Attention: the one function, and the protocol of KV caches."""
