"""Runs to look at: in the terminal, and as a web page."""
