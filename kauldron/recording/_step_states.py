"""The states a step leaves to be computed and written, and who consumes them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kauldron.recording import measured

if TYPE_CHECKING:  # a writer alone needs no JAX
    from kauldron.step import auxiliaries


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepStates:
    """What a step has left to be computed and written.

    The fields are those of `Writer.write_step_metrics`; `timings` is what its timer says.
    """

    step: int
    aux: auxiliaries.AuxiliariesState
    schedules: Mapping[str, Callable[[int], Any]]
    log_summaries: bool
    timings: Mapping[str, float]
    flush: bool


class Timer(Protocol):
    """Something that knows rates and durations, such as a `Chrono`."""

    def flush_metrics(self) -> Mapping[str, float]:
        """Returns the measurements since the last call."""
        ...


class Part(Protocol):
    """What a `Writer` must have in order to be given values."""

    @property
    def collection(self) -> str: ...

    def write(self, step: int, values: measured.Measured) -> None: ...

    def flush(self) -> None: ...

    def together(self) -> contextlib.AbstractContextManager[object]: ...

    def close(self) -> None: ...

    def can_write(self, kind: str) -> bool: ...


class Run(Protocol):
    """A run that computes and writes in the background, see `recorder.Recorder`."""

    def record(
        self, writer: Part, parts: Mapping[str, Part], states: StepStates
    ) -> auxiliaries.AuxiliariesOutput: ...
