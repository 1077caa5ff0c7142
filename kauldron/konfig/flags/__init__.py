"""Where configs come from, and how they are changed from outside.

Owns config files, the flag `--cfg`, overrides from their text to the field that they set,
and sweeps.
"""
