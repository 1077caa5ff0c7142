"""Which GPUs a task sees, where several run on one machine."""

from __future__ import annotations

import os
import pathlib

from kauldron.launch._backend import LaunchError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NUM_CPU_DEVICES = "JAX_NUM_CPU_DEVICES"


def check(num_slots: int, per_task: int | None) -> None:
    """Finds out whether there are enough GPUs for all tasks that run at a time.

    Raises:
      LaunchError: If there are some, but too few.
    """
    gpus = _visible_gpus()
    if per_task is None or not gpus or num_slots * per_task <= len(gpus):
        return
    fits = len(gpus) // per_task
    hint = f"`parallel={fits}`" if fits else f"`devices_per_trial={len(gpus)}`"
    raise LaunchError(
        f"{num_slots} tasks with {per_task} GPUs each need {num_slots * per_task}; this "
        f"machine has {len(gpus)}. Set {hint} at most."
    )


def variables(slot: int, per_task: int | None) -> dict[str, str]:
    """Returns the environment that gives a task its devices.

    Args:
      slot: Number of the task among those that run at the same time.
      per_task: How many devices each has; `None` leaves all to all.
    """
    if per_task is None:
        return {}
    gpus = _visible_gpus()
    if not gpus:
        return {_NUM_CPU_DEVICES: str(per_task)}
    first = slot * per_task
    return {_VISIBLE: ",".join(gpus[first : first + per_task])}


def _visible_gpus() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA names them."""
    given = os.environ.get(_VISIBLE)
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    folder = pathlib.Path("/proc/driver/nvidia/gpus")
    return [str(i) for i, _ in enumerate(folder.iterdir())] if folder.exists() else []
