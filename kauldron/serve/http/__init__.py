"""The HTTP server: both vendors' protocols over an engine."""
