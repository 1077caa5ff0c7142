"""Host side, without JAX: pages, prefixes, and which request runs next."""
