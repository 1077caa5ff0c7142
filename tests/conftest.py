"""Settings of all tests: CPU, eight simulated devices, the project importable.

Benchmarks set `KAULDRON_TEST_DEVICES=1`: simulated devices share the cores.
"""

from __future__ import annotations

import os
import pathlib
import sys

import hypothesis
import pytest

_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
    num_devices = os.environ.get("KAULDRON_TEST_DEVICES", "8")
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}={num_devices}"
    os.environ["XLA_FLAGS"] = flags.strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests and benchmarks compile anew, and leave the user's cache alone.
os.environ.setdefault("KAULDRON_COMPILATION_CACHE", "0")

PROJECT_ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT_ROOT))  # `examples` is not part of the package

# The first example of a property compiles: a deadline would measure that.
hypothesis.settings.register_profile("kauldron", deadline=None)
hypothesis.settings.load_profile("kauldron")


@pytest.fixture(scope="module")
def quick_compile():
    """Compiles in half the time, to slower programs, for the tests of a file."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
