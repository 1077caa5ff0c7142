"""Counts what XLA compiles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def counted() -> Iterator[list[float]]:
    """Yields a list that gets the seconds of each compilation inside the block."""
    found: list[float] = []

    def listen(name: str, secs: float, **_: object) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            found.append(secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
