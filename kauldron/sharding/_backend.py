"""Backend information of this process, recorded at each start of a run."""

from __future__ import annotations

import os
from typing import Any

import jax


def describe_backend() -> dict[str, Any]:
    """Returns the devices, the number of processes, and the flags that change numbers."""
    return {
        "num_processes": jax.process_count(),
        "devices": [f"{d.platform}:{d.device_kind}" for d in jax.devices()],
        "jax_flags": {
            "jax_enable_x64": jax.config.read("jax_enable_x64"),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        },
    }
