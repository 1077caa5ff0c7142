"""Where configs come from and how they are changed from outside: config files, flags,
overrides, sweeps.
"""

from kauldron._base import lazy

lazy.tell_homes(__name__)
