"""Importable names, independent of configs: formatted, found, imported, vetted.

Owns `'module:attribute'` names and their aliases, the search for modules that executes
nothing, what packages declare about their names, what a callable accepts, and which names
a config from elsewhere may use.
"""
