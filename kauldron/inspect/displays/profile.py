"""Where the time of a training step goes: by module, and by operation."""

from __future__ import annotations

import collections
import dataclasses
import html
import pathlib
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron._base import errors
from kauldron.inspect import _compiled_names, _lowered_step, _step_places
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import looking

if TYPE_CHECKING:
    from kauldron import train

_NS_PER_MS = 1e6
# Operations that run others, whose time they would count again.
_CONTAINERS = frozenset(["while", "conditional", "call", "async-start", "async-done"])


class ProfileError(errors.UserError, RuntimeError):
    """A step whose time cannot be measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepProfile:
    """Where the time of a step goes; prints as tables.

    Attributes:
      step_ms: How long a step takes, the median of those measured.
      busy_ms: Time in operations, on each device, in a step. On a CPU, whose threads run
        operations at the same time, it may be more than `step_ms`; where it is much less,
        the device has waited.
      modules: By module of the model, and by part of the step.
      operations: The operations that take longest.
      num_steps: How many steps were measured.
    """

    step_ms: float
    busy_ms: float
    modules: Table
    operations: Table
    num_steps: int

    def as_dict(self) -> dict[str, Any]:
        """Returns what JSON can hold."""
        return {
            "step_ms": self.step_ms,
            "busy_ms": self.busy_ms,
            "num_steps": self.num_steps,
            "modules": self.modules.as_dicts(),
            "operations": self.operations.as_dicts(),
        }

    @property
    def _headline(self) -> str:
        return (
            f"A step takes {self.step_ms:.3g} ms (median of {self.num_steps}); "
            f"{self.busy_ms:.3g} ms in operations, on each device"
        )

    def __str__(self) -> str:
        return "\n\n".join(map(str, (self._headline, self.modules, self.operations)))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tables = self.modules._repr_html_() + self.operations._repr_html_()
        return f"<div>{html.escape(self._headline)}</div>{tables}"


@dataclasses.dataclass
class _Row:
    """What was measured of an operation, in all steps and on all devices."""

    ns: float = 0.0
    count: int = 0


def profile_step(
    trainer: train.Trainer,
    state: TrainState | None = None,
    batch: PyTree = None,
    *,
    num_steps: int = 5,
    depth: int | None = 2,
    num: int = 15,
) -> StepProfile:
    """Runs a few training steps on one batch, and returns where their time goes.

    It is the compiled step that logs, on a batch that is on the devices already: without
    data, evaluations, checkpoints and hooks. What the compiler has joined from several
    modules counts for the one of its result.

    Args:
      trainer: The run. It is left as it is.
      state: Where from; the initial state unless given. It can be used again.
      batch: The first of `trainer.train_ds` unless given.
      num_steps: How many steps are measured, after one that is not.
      depth: How many names of the path of a module are told apart; all if `None`.
      num: How many operations are listed.

    Raises:
      ProfileError: A `RuntimeError`: another profile is being taken, or the trace has
        nothing of the step; or `num_steps` is less than 1.
      NoStepError: A `ValueError`: the run makes no updates, or has no batches.
    """
    if num_steps < 1:
        raise ProfileError(f"`num_steps` counts steps, from 1 on: got {num_steps}.")
    lowered = _lowered_step.lower_trainstep(trainer)
    start, batch = looking.inputs_of(trainer, state, batch)
    compiled = lowered.compile()
    names = _compiled_names.Names.of(compiled.as_text() or "")
    # The step takes the memory of its state: that of the caller is left alone.
    own = jax.tree.map(jnp.copy, start)
    own, _ = jax.block_until_ready(compiled(own, batch))
    with tempfile.TemporaryDirectory(prefix="kauldron_profile_") as folder:
        seconds = []
        with _traced(folder):
            for _ in range(num_steps):
                begin = time.perf_counter()
                own, _ = jax.block_until_ready(compiled(own, batch))
                seconds.append(time.perf_counter() - begin)
        with warnings.catch_warnings():
            # jaxlib's classes are made when they are first used: a warning that is an error
            # would end the process there (jaxlib 0.12, Python 3.13).
            warnings.simplefilter("ignore", DeprecationWarning)
            found = _read(pathlib.Path(folder), names.module)
    if not found:
        raise ProfileError(
            "The profile has no operations of the step: the profiler of this platform "
            f"({jax.default_backend()}) does not name them. `kd.inspect.Profiler` writes "
            "traces for XProf and Perfetto."
        )
    measured = {k: v for k, v in found.items() if names.kind_of(k) not in _CONTAINERS}
    per_step = 1 / (num_steps * jax.local_device_count() * _NS_PER_MS)
    places = _step_places.Places.of(trainer)
    return StepProfile(
        step_ms=float(np.median(seconds)) * 1e3,
        busy_ms=sum(row.ns for row in measured.values()) * per_step,
        modules=_by_module(measured, names, places, per_step, depth),
        operations=_by_operation(measured, names, places, per_step, num, num_steps),
        num_steps=num_steps,
    )


class _traced:
    """Traces what runs in the block, without the frames of Python."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        try:
            jax.profiler.start_trace(self._folder, profiler_options=options)
        except RuntimeError as e:
            raise ProfileError(
                f"Another profile of this process is being taken: {e}. End it first, with "
                "`jax.profiler.stop_trace()`."
            ) from e

    def __exit__(self, *_: object) -> None:
        jax.profiler.stop_trace()


def _read(folder: pathlib.Path, module: str) -> dict[str, _Row]:
    """Returns operation -> its time, of one compiled program."""
    found: dict[str, dict[str, _Row]] = {}
    for file in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            kind = "device" if plane.name.startswith("/device:") else "host"
            rows = found.setdefault(kind, collections.defaultdict(_Row))
            for line in plane.lines:
                for name, duration in _events(line, module):
                    rows[name].ns += duration
                    rows[name].count += 1
    # A host may say again what its devices say.
    return dict(found.get("device") or found.get("host") or {})


def _events(line: Any, module: str) -> Iterator[tuple[str, float]]:
    for event in line.events:
        stats = dict(event.stats)
        if "hlo_op" in stats and stats.get("hlo_module") == module:
            yield str(stats["hlo_op"]), event.duration_ns


def _by_module(
    measured: Mapping[str, _Row],
    names: _compiled_names.Names,
    places: _step_places.Places,
    per_step: float,
    depth: int | None,
) -> Table:
    found: dict[str, list[float]] = {}
    for operation, row in measured.items():
        place = places.read(names.scope_of(operation))
        times = found.setdefault(place.name(depth), [0.0, 0.0])
        times[place.is_backward] += row.ns * per_step
    total = sum(map(sum, found.values())) or 1.0
    rows = [
        (name, forward or None, backward or None, forward + backward)
        for name, (forward, backward) in found.items()
    ]
    rows.sort(key=lambda row: -row[3])
    return Table(
        title="By module, in ms of a step",
        columns=("module", "forward", "backward", "all", "share"),
        rows=tuple((*row, f"{row[3] / total:.1%}") for row in rows),
    )


def _by_operation(
    measured: Mapping[str, _Row],
    names: _compiled_names.Names,
    places: _step_places.Places,
    per_step: float,
    num: int,
    num_steps: int,
) -> Table:
    slowest = sorted(measured, key=lambda name: -measured[name].ns)
    total = sum(row.ns for row in measured.values()) or 1.0
    devices = jax.local_device_count()
    rows = []
    for name in slowest[:num]:
        row, place = measured[name], places.read(names.scope_of(name))
        rows.append(
            (
                name,
                names.primitive_of(name),
                place.name(),
                "backward" if place.is_backward else "forward",
                max(round(row.count / (num_steps * devices)), 1),
                row.ns * per_step,
                f"{row.ns / total:.1%}",
            )
        )
    rest = sum(measured[name].ns for name in slowest[num:]) * per_step
    more = f"{rest:.3g} ms in {len(slowest[num:])} others"
    return Table(
        title="Operations that take longest",
        columns=("operation", "of", "module", "pass", "calls", "ms", "share"),
        rows=tuple(rows),
        notes=(more,) if len(slowest) > num else (),
    )
