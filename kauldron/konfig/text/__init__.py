"""Configs and values as text.

Owns literals of the command line, config files that are written (`to_python`), JSON files,
and differences of two configs.
"""
