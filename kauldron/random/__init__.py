"""Random keys folded by name, so that adding a stream changes no other stream."""

from __future__ import annotations

from kauldron.random._keys import fold_in_str, random_seed
from kauldron.random._prng_key import PRNGKey

__all__ = ["PRNGKey", "fold_in_str", "random_seed"]
