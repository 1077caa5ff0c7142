"""The terminal interface and the web page of runs."""
