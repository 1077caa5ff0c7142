"""Looking at a run as it would be on other devices: a process that simulates them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jax

from kauldron import konfig
from kauldron._base import errors

# With more, the device of a number above belongs to another process for XLA, and the CPU
# backend compiles no program of several (jax 0.10.2).
MAX_COMPILED = 2048

_FLAG = "--xla_force_host_platform_device_count"


class SimulationError(errors.UserError, ValueError):
    """Devices that cannot be simulated, or a run that does not fit them."""


class SimulationFailure(errors.Failure):
    """A process with simulated devices that has ended too early."""


def are_needed(num_devices: int | None) -> bool:
    """Whether a number of devices is another one than there are here."""
    if num_devices is not None and num_devices < 1:
        raise SimulationError(f"`num_devices` must be >= 1: got {num_devices}.")
    return num_devices is not None and num_devices != jax.device_count()


def call(function: str, run: Any, num_devices: int, **options: Any) -> dict[str, Any]:
    """Returns `as_dict()` of what a function of `kd.inspect` gives on other devices.

    Args:
      function: Its name.
      run: A config, or a trainer that was made of one.
      num_devices: How many CPU devices the process has.
      **options: Arguments of the function, as JSON has them.

    Raises:
      SimulationError: The trainer has no config, the config cannot be handed on, or the
        function has found a mistake in it.
      SimulationFailure: The process has failed.
    """
    if options.get("compiles") and num_devices > MAX_COMPILED:
        raise SimulationError(
            f"A step is compiled for up to {MAX_COMPILED} simulated devices, got "
            f"{num_devices}: leave it at an estimate, `--nocompile`."
        )
    request = {"cfg": _config_text(run), "function": function, "options": options}
    done = subprocess.run(
        [sys.executable, "-m", "kauldron.inspect._in_simulation"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=_environment(num_devices),
        check=False,
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise SimulationFailure(
            f"The process that simulates {num_devices} devices has ended with code "
            f"{done.returncode}: {done.stderr.strip()[-2000:]}"
        ) from None
    if "mistake" in answer:
        raise SimulationError(answer["mistake"])
    return answer["result"]


def _config_text(run: Any) -> str:
    cfg = run if isinstance(run, konfig.ConfigDict) else getattr(run, "raw_cfg", None)
    if cfg is None:
        raise SimulationError(
            "For other devices than those here, a config is needed: pass it instead of "
            "a trainer, or a trainer that `konfig.resolve(cfg)` has made."
        )
    try:
        return cfg.to_json()
    except TypeError as e:
        raise SimulationError(
            f"The config cannot be handed to a process with other devices: {e}"
        ) from e


def _environment(num_devices: int) -> dict[str, str]:
    """Returns the variables of a process with so many CPU devices."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(num_devices),
        "XLA_FLAGS": " ".join(f for f in flags if not f.startswith(f"{_FLAG}=")),
        # The modules of the config are found there as they are here.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
