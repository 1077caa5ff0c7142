"""`Writer`: the metric writer protocol, also for experiment trackers.

A writer implements `write`, and whatever else of the first six methods it needs. In a
training run they are called in order, from the writer's own background thread; what
they raise is reported, and the run continues.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from etils import epath

from kauldron._base import root_refs
from kauldron.recording import _step_states, measured

if TYPE_CHECKING:  # a writer alone needs no JAX
    from kauldron.step import auxiliaries

# Attribute of a writer while the run it belongs to is in progress.
_RUN = "_run_that_records"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Writer(root_refs.UpdateFromRootCfg, abc.ABC):
    """Protocol of writers.

    Attributes:
      workdir: Directory of the run; the trainer's unless given.
      collection: `'train'`, or the name of an evaluator; set by the trainer.
    """

    workdir: epath.PathLike = root_refs.ROOT_CFG_REF.workdir
    collection: str = "$not_set$"

    @abc.abstractmethod
    def write(self, step: int, values: measured.Measured) -> None:
        """Writes the measurements of a step, leaving out what it has no place for."""

    def describe(self, step: int, run: measured.Description) -> None:
        """Writes what is known of a new run at its first step."""

    def rewind(self, step: int) -> None:
        """Discards everything written for `step` and later steps.

        Called at every start of a run, with the step it continues at: what was written
        for later ones belongs to a part of the run that was lost.
        """

    def flush(self) -> None:
        """Makes everything written so far visible to readers."""

    def together(self) -> contextlib.AbstractContextManager[object]:
        """Inside the block, what is written may wait in memory until its end.

        A run that logs often hands several steps over at once: a writer can send them in
        one request. What that raises, the end of the block raises.
        """
        return contextlib.nullcontext()

    def close(self) -> None:
        """Releases files and connections; a write after it opens them again."""

    def unwritten(self) -> Mapping[str, int] | None:
        """Returns what it was given but has not written so far: `{'events': 3}`.

        Asked after `close`, so that a run can report what was lost; nothing is lost if
        what errors had delayed has since been written. `None` if it is not known.
        """
        return None

    def can_write(self, kind: str) -> bool:
        """Whether there is a place for a kind: `'images'`, `'texts'`, `'arrays'`, ...

        What no writer of a run has a place for is reported.
        """
        # No summary computes sound; and what nothing can show reaches no writer.
        return kind not in ("audios", "anything")

    def takes_states(self) -> bool:
        """Whether it looks at states itself: it overrides `write_step_metrics`."""
        return type(self).write_step_metrics is not Writer.write_step_metrics

    def parts(self) -> Mapping[str, Writer]:
        """The writers this one consists of, by the names used in messages."""
        return {type(self).__name__: self}

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with some fields changed, of the same run."""
        copy = super().replace(**changes)
        if _RUN in vars(self):
            _bind([copy, *copy.parts().values()], vars(self)[_RUN])
        return copy

    def write_step_metrics(
        self,
        *,
        step: int,
        aux: auxiliaries.AuxiliariesState,
        schedules: Mapping[str, Callable[[int], Any]],
        log_summaries: bool,
        timer: _step_states.Timer | None = None,
        flush: bool = True,
    ) -> auxiliaries.AuxiliariesOutput:
        """Hands over the states of a step: they are computed once, and written.

        The writers of a run return immediately: its recorder computes and writes in the
        background, and reading the values waits for them.

        Args:
          step: Number of updates applied before it.
          aux: States of the step, or merged states of an evaluation.
          schedules: Name -> function from step to value.
          log_summaries: Whether the summaries are written too.
          timer: Object whose `flush_metrics()` gives rates and durations.
          flush: Whether readers should see the values immediately.

        Returns:
          The computed values, without those of what fails.

        Raises:
          Exception: What a loss, metric or summary raises, after the others are written.
            Where problems are collected, as in a training run, it is reported instead.
        """
        states = _step_states.StepStates(
            step=step,
            aux=aux,
            schedules=schedules,
            log_summaries=log_summaries,
            timings={} if timer is None else timer.flush_metrics(),
            flush=flush,
        )
        return self._hand_over(self.parts(), states)

    def _hand_over(
        self, parts: Mapping[str, Writer], states: _step_states.StepStates
    ) -> auxiliaries.AuxiliariesOutput:
        run: _step_states.Run | None = vars(self).get(_RUN)
        if run is not None:
            return run.record(self, parts, states)
        from kauldron.recording import _measuring  # needs JAX

        return _measuring.write_now(self, parts, states)


@contextlib.contextmanager
def bound(writers: Iterable[Writer], run: _step_states.Run) -> Iterator[None]:
    """Inside the block, the writers and their parts belong to a run."""
    members = [x for w in writers for x in (w, *w.parts().values())]
    before = [vars(x).get(_RUN) for x in members]
    _bind(members, run)
    try:
        yield
    finally:
        for member, run_before in zip(members, before, strict=True):
            _bind([member], run_before)


def _bind(writers: Iterable[Writer], run: _step_states.Run | None) -> None:
    for writer in writers:
        if run is None:
            vars(writer).pop(_RUN, None)
        else:
            vars(writer)[_RUN] = run
