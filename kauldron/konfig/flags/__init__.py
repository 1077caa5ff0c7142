"""Config files, command-line overrides, and sweeps.

Owns config files, the flag `--cfg`, overrides from their text to the field that they set,
and sweeps.
"""
