"""Data sharding: which part of the data belongs to this process."""

from __future__ import annotations

import sys


def index_and_count() -> tuple[int, int]:
    """Returns this process's index, and how many processes there are.

    JAX is neither imported nor started to find out: only a program that has called
    `jax.distributed.initialize` has more than one process.
    """
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return 0, 1
    return jax.process_index(), jax.process_count()
