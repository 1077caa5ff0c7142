"""Formats of volumes: info, read, read_region, write."""
