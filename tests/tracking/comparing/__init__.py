"""Comparing runs, plotting and reporting them."""
