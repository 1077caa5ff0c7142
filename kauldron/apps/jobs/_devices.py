"""Devices: found by a child process, so that the server never holds one; given to jobs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FIND_SECS = 120.0
_FIND = """
import json, jax
devices = [d for d in jax.local_devices() if d.platform != "cpu"]
print(json.dumps([[d.platform, d.device_kind, d.id] for d in devices]))
"""
# Which variable says what devices a process sees.
_VISIBLE = {"rocm": "ROCR_VISIBLE_DEVICES", "tpu": "TPU_VISIBLE_CHIPS"}
_CUDA = "CUDA_VISIBLE_DEVICES"


class DeviceError(ValueError):
    """Devices were asked for that are not there."""


class NoDeviceError(Exception):
    """A device was asked for where there is none, or all are held for good."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """An accelerator.

    Attributes:
      index: As clients name it, from 0.
      platform: `gpu`, `rocm`, `tpu`.
      name: Of the model.
      visible_as: As the variables of its platform name it.
    """

    index: int
    platform: str
    name: str
    visible_as: str


async def find(environ: Mapping[str, str] = os.environ) -> list[Device]:
    """Returns the accelerators that JAX sees; none if it cannot say."""
    # Not `asyncio`'s: some loops fork for it, which JAX in the same process does not like.
    output = await asyncio.to_thread(_ask_child, environ)
    try:
        rows = json.loads(output.strip().rpartition(b"\n")[2])
    except ValueError:
        rows = []
    return [_device(i, row, environ) for i, row in enumerate(rows)]


def _ask_child(environ: Mapping[str, str]) -> bytes:
    env = {**environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(
            [sys.executable, "-c", _FIND],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_FIND_SECS,
            start_new_session=True,
        ).stdout
    return b""


def _device(index: int, row: Sequence[Any], environ: Mapping[str, str]) -> Device:
    platform, name, number = row
    shown = [
        x.strip() for x in environ.get(_VISIBLE.get(platform, _CUDA), "").split(",")
    ]
    is_narrowed = number < len(shown) and shown[number]
    visible_as = shown[number] if is_narrowed else str(number)
    return Device(index=index, platform=platform, name=str(name), visible_as=visible_as)


class Devices:
    """Which devices are free; one job each.

    Args:
      found: The accelerators.
      max_cpu_jobs: How many jobs run at once on the CPU.
    """

    def __init__(self, found: Iterable[Device], max_cpu_jobs: int) -> None:
        self.found = tuple(found)
        self._free_cpus = max_cpu_jobs
        self._busy: set[int] = set()
        self._kept: set[int] = set()  # by warm apps

    def check(self, asked: str) -> None:
        """Finds out whether a job can ever have what it asks for.

        Args:
          asked: `auto`, `cpu`, or indices of accelerators: `0,1`.

        Raises:
          DeviceError: If there is no such device.
          NoDeviceError: If there is none at all, or warm apps keep it.
        """
        if asked in ("auto", "cpu"):
            if asked == "auto" and self.found and self._kept >= self._indices():
                raise NoDeviceError("Warm apps keep all devices: ask for the CPU.")
            return
        wanted = _indices(asked)
        if not self.found:
            raise NoDeviceError("This server has no accelerator: ask for the CPU.")
        unknown = wanted - self._indices()
        if unknown:
            raise DeviceError(
                f"There is no device {min(unknown)}: there are {sorted(self._indices())}."
            )
        if wanted & self._kept:
            raise NoDeviceError(
                f"A warm app keeps device {min(wanted & self._kept)}: ask for another."
            )

    def take(self, asked: str) -> str | None:
        """Returns the devices that a job gets, or `None` while it has to wait.

        All are taken in one go, so that no two jobs wait for each other.
        """
        if asked == "cpu" or (asked == "auto" and not self.found):
            if not self._free_cpus:
                return None
            self._free_cpus -= 1
            return "cpu"
        free = self._indices() - self._busy
        if asked == "auto":
            wanted = {min(free)} if free else set()
        else:
            wanted = _indices(asked)
        if not wanted or not wanted <= free:
            return None
        self._busy |= wanted
        return ",".join(map(str, sorted(wanted)))

    def keep_one(self) -> str:
        """Returns a device for good, for a warm app: the CPU if there is no other."""
        if not self.found:
            return "cpu"
        free = self._indices() - self._busy
        if not free:
            raise NoDeviceError("There are more warm apps than devices.")
        self._busy.add(min(free))
        self._kept.add(min(free))
        return str(min(free))

    def give_back(self, taken: str) -> None:
        """Frees what `take` returned."""
        if taken == "cpu":
            self._free_cpus += 1
        else:
            self._busy -= _indices(taken)

    def environment(self, taken: str) -> dict[str, str]:
        """Returns variables that let a process see these devices, and no others."""
        if taken == "cpu":
            return {"JAX_PLATFORMS": "cpu", _CUDA: ""}
        devices = [self.found[i] for i in sorted(_indices(taken))]
        variable = _VISIBLE.get(devices[0].platform, _CUDA)
        return {variable: ",".join(device.visible_as for device in devices)}

    def _indices(self) -> set[int]:
        return {device.index for device in self.found}


def _indices(asked: str) -> set[int]:
    parts = [part.strip() for part in asked.split(",") if part.strip()]
    are_numbers = all(p.isascii() and p.isdecimal() and len(p) < 6 for p in parts)
    if not parts or not are_numbers:
        raise DeviceError(
            f"Devices are `auto`, `cpu` or numbers such as `0,1`: got {asked[:50]!r}."
        )
    return {int(part) for part in parts}
