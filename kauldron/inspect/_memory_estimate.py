"""How much memory a training step takes on each device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from kauldron._base import text_tables
from kauldron.inspect import (
    _cpu_scratch,
    _live_bytes,
    _lowered_step,
    _memory_advice,
    _sharding_table,
)

# What each device holds while a step runs, in the order of the table.
PARTS = (
    "params",
    "collections",
    "opt_state",
    "batch",
    "next_batch",
    "gradients",
    "activations",
)
_MEANING = {
    "batch": "the one of the step",
    "next_batch": "on its way while the step runs",
    "gradients": "as large as the parameters",
    "activations": "and what else is temporary",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """What a device holds at the peak of a training step, in bytes.

    Attributes:
      num_devices: Of all processes.
      mesh: Mesh axis -> number of devices; empty if there is no mesh.
      method: `compiled`: temporary memory is what the compiler has planned for this
        mesh. `estimated`: it was derived from the program before compilation, see
        `docs/scaling.md`.
      platform: Whose compiler: `cpu`, `gpu` or `tpu`; of an estimate, where it was made.
      num_params: Numbers in all parameters, of all devices together.
      rows_per_device: Examples of the batch on each device.
      num_bytes: Part -> bytes on each device: `params`, `collections`, `opt_state`,
        `batch`, `next_batch`, `gradients`, `activations`. The last two share what is
        temporary: activations are what is left once the gradients, as large as the
        parameters, are taken off.
      state_num_bytes: Of parameters, collections and optimizer state, of all devices
        together, each array once.
      device_gb: Memory of a device, in 10**9 bytes; `None` if it was not said.
    """

    num_devices: int
    mesh: Mapping[str, int]
    method: Literal["compiled", "estimated"]
    platform: str
    num_params: int
    rows_per_device: int
    num_bytes: Mapping[str, int]
    state_num_bytes: int
    device_gb: float | None = None

    @property
    def peak_num_bytes(self) -> int:
        """The sum: what a device holds at most."""
        return sum(self.num_bytes.values())

    @property
    def fits(self) -> bool | None:
        """Whether that is at most `device_gb`; `None` if that was not said."""
        if self.device_gb is None:
            return None
        return self.peak_num_bytes <= self.device_gb * 1e9

    @property
    def advice(self) -> tuple[str, ...]:
        """What would make it less, by most first; empty if it fits."""
        if self.fits is not False:
            return ()
        return _memory_advice.advise(
            num_bytes=self.num_bytes,
            mesh=self.mesh,
            num_devices=self.num_devices,
            rows_per_device=self.rows_per_device,
            state_num_bytes=self.state_num_bytes,
            room=self.device_gb * 1e9 if self.device_gb else math.inf,
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns what JSON can hold: the attributes and properties."""
        return {
            **dataclasses.asdict(self),
            "peak_num_bytes": self.peak_num_bytes,
            "fits": self.fits,
            "advice": list(self.advice),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MemoryEstimate:
        """Returns what `as_dict` was made of."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: values[name] for name in names})

    def __str__(self) -> str:
        axes = ", ".join(f"{name}={size}" for name, size in self.mesh.items())
        devices = f"{self.num_devices} device{'s' * (self.num_devices > 1)}"
        how = {
            "compiled": f"as the compiler for {self.platform} has planned it",
            "estimated": "an estimate, nothing was compiled",
        }[self.method]
        rows = [
            (
                name,
                text_tables.format_bytes(self.num_bytes.get(name, 0)),
                _MEANING.get(name, ""),
            )
            for name in PARTS
            if self.num_bytes.get(name)
        ]
        rows.append(("peak", text_tables.format_bytes(self.peak_num_bytes), ""))
        lines = [
            f"{self.num_params:,} parameters on {devices}{f': {axes}' if axes else ''}",
            f"On each device at the peak of a training step, {how}:",
            text_tables.aligned(rows, right=(1,)),
        ]
        if self.device_gb is not None:
            verdict = "fits" if self.fits else "does not fit"
            peak = text_tables.format_bytes(self.peak_num_bytes)
            room = text_tables.format_bytes(self.device_gb * 1e9)
            share = self.peak_num_bytes / (self.device_gb * 1e9)
            lines.append(f"It {verdict}: {peak} of {room} ({share:.1%}).")
        return "\n".join([*lines, *(f"- {line}" for line in self.advice)])


def measure(
    trainer: Any, *, compiles: bool, device_gb: float | None
) -> tuple[MemoryEstimate, jax.stages.Compiled | None]:
    """Returns the memory of a step on the devices here, and the program if compiled."""
    step, (state, batch) = _lowered_step.as_function(trainer)
    rows = _lowered_step.batch_rows(trainer)
    table = _sharding_table.sharding_table(state)
    held = {part: per_device for part, (_, per_device) in table.totals().items()}
    one_batch = sum(_sharding_table.bytes_of(x)[1] for x in jax.tree.leaves(batch))
    compiled = None
    if compiles:
        compiled = _lowered_step.lower_trainstep(trainer).compile()
        plan: Any = compiled.memory_analysis()
        given_back = plan.output_size_in_bytes - plan.alias_size_in_bytes
        temporary = plan.temp_size_in_bytes + max(given_back, 0)
        if jax.default_backend() == "cpu":
            text = compiled.as_text() or ""
            temporary += _cpu_scratch.largest_convolution(text)
    else:
        temporary = _live_bytes.peak(step, state, batch, rows)
    gradients = min(held.get("params", 0), temporary)
    estimate = MemoryEstimate(
        num_devices=table.num_devices,
        mesh=table.mesh,
        method="compiled" if compiles else "estimated",
        platform=jax.default_backend(),
        num_params=sum(int(np.prod(x.shape)) for x in jax.tree.leaves(state.params)),
        rows_per_device=rows.number // rows.num_shards,
        num_bytes={
            **held,
            "batch": one_batch,
            "next_batch": one_batch,
            "gradients": gradients,
            "activations": temporary - gradients,
        },
        state_num_bytes=sum(whole for whole, _ in table.totals().values()),
        device_gb=device_gb,
    )
    return estimate, compiled
