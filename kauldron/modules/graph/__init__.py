"""A model as a graph of named modules."""
