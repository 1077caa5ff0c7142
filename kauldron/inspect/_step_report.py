"""What a training step costs on devices: memory, and what they send each other."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from kauldron import konfig
from kauldron._base import text_tables
from kauldron.inspect import (
    _collectives,
    _link_times,
    _lowered_step,
    _memory_estimate,
    _sharding_table,
    _simulated_devices,
    _svg,
)
from kauldron.inspect._collectives import Collective
from kauldron.inspect._memory_estimate import MemoryEstimate
from kauldron.inspect._sharding_table import ShardingTable

_MAX_ROWS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardingReport:
    """Where the arrays of a run are, and what its step costs; prints as tables.

    Attributes:
      table: Where each array of the state is.
      memory: What a device holds at the peak of a step.
      collectives: What devices send each other in a step; `None` if nothing was compiled.
      whole_batches: Of those, arrays that have the rows of all devices on each: what
        they are part of is computed as if the batch were not split.
      link_gb_per_s: Mesh axis -> what a device sends in a second along it, in 10**9
        bytes; `None` if it was not said.
    """

    table: ShardingTable
    memory: MemoryEstimate
    collectives: tuple[Collective, ...] | None
    whole_batches: tuple[str, ...] = ()
    link_gb_per_s: Mapping[str, float] | None = None

    def seconds_of(self, collective: Collective) -> float | None:
        """Returns how long all calls of a collective take; `None` without speeds."""
        if self.link_gb_per_s is None:
            return None
        return _link_times.seconds(collective, self.link_gb_per_s)

    @property
    def link_seconds(self) -> float | None:
        """How long all take one after the other; `None` if that is not known."""
        if self.link_gb_per_s is None or self.collectives is None:
            return None
        return sum(_link_times.seconds(c, self.link_gb_per_s) for c in self.collectives)

    def picture(self) -> _svg.Picture:
        """Returns a picture of which device holds what."""
        return self.table.picture()

    def as_dict(self) -> dict[str, Any]:
        """Returns what JSON can hold: the entries of the table, and the rest."""
        collectives = self.collectives
        return {
            **self.table.as_dict(),
            "memory": self.memory.as_dict(),
            "collectives": None
            if collectives is None
            else [
                {
                    **dataclasses.asdict(c),
                    "num_bytes_sent": c.num_bytes_sent,
                    "seconds": self.seconds_of(c),
                }
                for c in collectives
            ],
            "whole_batches": list(self.whole_batches),
            "link_gb_per_s": self.link_gb_per_s,
            "link_seconds": self.link_seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ShardingReport:
        """Returns what `as_dict` was made of; also if JSON was in between."""
        found = values["collectives"]
        return cls(
            table=ShardingTable.from_dict(values),
            memory=MemoryEstimate.from_dict(values["memory"]),
            collectives=None
            if found is None
            else tuple(map(_collectives.from_dict, found)),
            whole_batches=tuple(values["whole_batches"]),
            link_gb_per_s=values["link_gb_per_s"],
        )

    def _repr_html_(self) -> str:
        return f"{self.picture().svg}<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        lines = [str(self.table), "", str(self.memory)]
        if self.collectives is not None:
            lines += ["", *self._collective_lines(self.collectives)]
        return "\n".join(lines)

    def _collective_lines(self, collectives: Sequence[Collective]) -> list[str]:
        if len(collectives) == 0:
            return ["In a step the devices send each other nothing."]
        sent = sum(c.num_bytes_sent * c.num_calls for c in collectives)
        shown = text_tables.format_bytes(sent)
        lines = [f"In a step each device sends {shown} in collectives:"]
        times = ["time"] if self.link_gb_per_s else []
        head = ["collective", "along", "devices", "calls", "size", "sent", *times]
        rows = [[*head, "arrays"], *map(self._row, collectives[:_MAX_ROWS])]
        lines.append(text_tables.aligned(rows, right=range(2, len(head))))
        if len(collectives) > _MAX_ROWS:
            lines.append(f"... and {len(collectives) - _MAX_ROWS} that send less.")
        if not all(c.is_count_known for c in collectives):
            lines.append(">= : in a loop of unknown length, counted once.")
        if self.whole_batches:
            first, *others = self.whole_batches
            lines.append(
                f"Each device computes all rows of the batch for {first}"
                f"{f' and {len(others)} more' if others else ''}: the compiler has split "
                "other axes instead. Where the model makes them, "
                "`kd.sharding.with_logical_constraint(x, ('embed',))` keeps them split."
            )
        if self.link_seconds is not None:
            lines.append(
                f"One after the other they take {_format_seconds(self.link_seconds)} "
                f"at {_format_speeds(self.link_gb_per_s or {})}, without latencies and "
                "without what runs beside them."
            )
        return lines

    def _row(self, collective: Collective) -> list[str]:
        c, seconds = collective, self.seconds_of(collective)
        sent = text_tables.format_bytes(c.num_bytes_sent * c.num_calls)
        first, *others = c.arrays
        return [
            c.kind,
            "*".join(c.mesh_axes),
            str(c.group_size),
            f"{'' if c.is_count_known else '>= '}{c.num_calls}",
            text_tables.format_bytes(c.num_bytes),
            sent,
            *([] if seconds is None else [_format_seconds(seconds)]),
            f"{first} and {len(others)} more" if others else first,
        ]


def sharding_report(
    run: Any,
    *,
    num_devices: int | None = None,
    link_gb_per_s: str | float | None = None,
    compiles: bool = True,
) -> ShardingReport:
    """Returns where the arrays of a run are, and what its step costs.

    Nothing is computed. In a notebook the result shows which device holds what.

    Args:
      run: A `kd.train.Trainer`, or the config of one.
      num_devices: For so many devices instead of those here: a process with simulated
        ones is started. A config is needed then, for meshes that do not fit here, or a
        trainer that was made of one.
      link_gb_per_s: What a device sends to others in a second, in 10**9 bytes: `400`, or
        `"data=25,tensor=400"` for each axis of the mesh.
      compiles: Whether the step is compiled. Without, memory is an estimate, and the
        collectives are unknown.

    Raises:
      SimulationError: A `ValueError`: the devices cannot be simulated.
      LinkSpeedError: A `ValueError`: the speed is none, or of another axis.
      NoStepError: A `ValueError`: the run makes no updates, or has no batches.

    Example:

    ```python
    print(kd.inspect.sharding_report(cfg, num_devices=64, link_gb_per_s=50))
    ```
    """
    if _simulated_devices.are_needed(num_devices):
        assert num_devices is not None
        values = _simulated_devices.call(
            "sharding_report",
            run,
            num_devices,
            link_gb_per_s=link_gb_per_s,
            compiles=compiles,
        )
        return ShardingReport.from_dict(values)
    trainer = _as_trainer(run)
    table = _sharding_table.sharding_table(trainer.state_specs)
    speeds = None
    if link_gb_per_s is not None:
        speeds = _link_times.parse(str(link_gb_per_s), table.mesh)
    memory, compiled = _memory_estimate.measure(
        trainer, compiles=compiles, device_gb=None
    )
    collectives = None
    if compiled is not None:
        collectives = _collectives.read(compiled.as_text() or "", table.mesh)
    return ShardingReport(
        table=table,
        memory=memory,
        collectives=collectives,
        whole_batches=_whole_batches(collectives or (), trainer),
        link_gb_per_s=speeds,
    )


def estimate_memory(
    run: Any,
    *,
    num_devices: int | None = None,
    device_gb: float | None = None,
    compiles: bool | None = None,
) -> MemoryEstimate:
    """Returns how much memory a training step takes on each device.

    Nothing is computed, and no array is made. Evaluators, and steps that write summaries,
    are not part of it.

    Args:
      run: A `kd.train.Trainer`, or the config of one.
      num_devices: See `sharding_report`.
      device_gb: Memory of a device, in 10**9 bytes; the result then says whether it fits,
        and what to change.
      compiles: Whether the step is compiled, for what the compiler of the devices plans;
        without, temporary memory is an estimate. By default it is, for as many devices as
        can be simulated.

    Raises:
      SimulationError: A `ValueError`: the devices cannot be simulated.
      NoStepError: A `ValueError`: the run makes no updates, or has no batches.

    Example:

    ```python
    memory = kd.inspect.estimate_memory(cfg, num_devices=4096, device_gb=80)
    print(memory.fits, memory.num_bytes["activations"])
    ```
    """
    if device_gb is not None and not device_gb > 0:
        raise _simulated_devices.SimulationError(
            "`device_gb` is the memory of one device in GB, such as 80; it must be larger "
            f"than 0: got {device_gb:g}."
        )
    if _simulated_devices.are_needed(num_devices):
        assert num_devices is not None
        values = _simulated_devices.call(
            "estimate_memory",
            run,
            num_devices,
            device_gb=device_gb,
            compiles=compiles,
        )
        return MemoryEstimate.from_dict(values)
    if compiles is None:
        compiles = jax.device_count() <= _simulated_devices.MAX_COMPILED
    estimate, _ = _memory_estimate.measure(
        _as_trainer(run), compiles=compiles, device_gb=device_gb
    )
    return estimate


def _whole_batches(collectives: Sequence[Collective], trainer: Any) -> tuple[str, ...]:
    """Returns activations that devices exchange along axes that the batch is split over."""
    rows = _lowered_step.batch_rows(trainer)
    if rows.num_shards == 1 or rows.number == 1:
        return ()
    params = {tuple(x.shape) for x in jax.tree.leaves(trainer.state_specs.params)}
    params |= {shape[1:] for shape in params}  # a layer of several
    found = {}
    for c in collectives:
        for array in c.arrays if set(c.mesh_axes) <= set(rows.mesh_axes) else ():
            dtype, _, dims = array.rstrip("]").partition("[")
            shape = tuple(int(n) for n in dims.split(",") if n)
            is_float = dtype.startswith(("f", "bf"))
            if is_float and shape[:1] == (rows.number,) and shape not in params:
                found[array] = None
    return tuple(found)


def _as_trainer(run: Any) -> Any:
    trainer = konfig.resolve(run) if isinstance(run, konfig.ConfigDict) else run
    if not hasattr(trainer, "trainstep"):
        raise _simulated_devices.SimulationError(
            f"A run is a `kd.train.Trainer`, or its config: got a {type(trainer).__name__}."
        )
    return trainer


def _format_seconds(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def _format_speeds(speeds: Mapping[str, float]) -> str:
    if len(set(speeds.values())) == 1:
        return f"{next(iter(speeds.values())):g} GB/s"
    return ", ".join(f"{speed:g} GB/s ({axis})" for axis, speed in speeds.items())
