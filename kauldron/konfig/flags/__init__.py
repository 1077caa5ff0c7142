"""Where configs come from and how they are changed from outside: config files, flags,
overrides, sweeps.
"""
