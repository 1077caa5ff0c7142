"""Random keys folded by name, so that adding a stream changes no other stream."""

from __future__ import annotations

from kauldron._base import public
from kauldron.random._keys import fold_in_str, hash_str, random_seed
from kauldron.random._prng_key import PRNGKey

__all__ = ["PRNGKey", "fold_in_str", "hash_str", "random_seed"]

__dir__ = public.publish(__name__)
