"""How much memory is free where programs run."""

from __future__ import annotations

import jax

from kauldron._base import host_memory


def free_bytes() -> int:
    """Returns the free memory of the first local device; of the machine, on the CPU."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return host_memory.free_bytes()
