"""`Recorder`: computes what was measured and tells the writers, beside the training.

One thread computes values, in the order of the steps. Each writer has a thread of its own
that writes them: one that is slow or fails concerns no other one, and not the training.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kauldron._base import console, problem_log
from kauldron.recording import _shown_values, _write_queue, _writer_base
from kauldron.step import auxiliaries, state_trees

# Each waiting entry keeps the states of one logging step on the devices.
_MAX_COMPUTING = 16
# These are numbers on the host; pictures make them large.
_MAX_WRITING = 1000
# How long a checkpoint waits for a writer, so that what was measured before it is on
# disk; one that takes longer is not waited for again.
_PATIENCE_SECS = 5.0
_PATIENCE_AT_END_SECS = 60.0


class Timings:
    """Rates and durations taken at one moment, in the form writers ask for."""

    def __init__(self, metrics: Mapping[str, float]) -> None:
        self._metrics = metrics

    def flush_metrics(self) -> Mapping[str, float]:
        return self._metrics


class Recorder:
    """Takes measurements of a run; returns at once.

    What fails is left out, told once, and counted; the others are written all the same. A
    loss of the training that fails is kept in `loss_error`: the run cannot go on with it.

    Args:
      writers: All writers of the run.
      problems: Is told what fails.

    Attributes:
      loss_error: What a loss of the training has raised.
    """

    def __init__(
        self,
        writers: Iterable[_writer_base.WriterBase],
        problems: problem_log.Problems | None = None,
    ) -> None:
        self.loss_error: Exception | None = None
        self._problems = problems or problem_log.Problems()
        self._writers = list(writers)
        self._is_lead = console.is_lead_host()
        self._computing = _write_queue.WriteQueue(
            "work beside the training",
            max_waiting=_MAX_COMPUTING,
            may_drop=False,
            problems=self._problems,
        )
        # By name: writers of one name share their files, whose lines stay in order.
        names = dict.fromkeys(k for w in self._writers for k in w.parts())
        self._lanes = {name: self._make_lane(name) for name in names}
        self._too_slow: set[str] = set()
        self._last: tuple[Any, LaterValues] | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block, in this thread, `writer.write_step_metrics` comes here."""
        token = _writer_base.background.set(self)
        try:
            yield
        finally:
            _writer_base.background.reset(token)

    def tell(
        self,
        writer: _writer_base.WriterBase,
        call: Callable[[_writer_base.WriterBase], Any],
    ) -> None:
        """Calls a function with each part of a writer, in the thread of that part."""
        if self._is_lead:
            for name, part in writer.parts().items():
                self._lane(name).submit(functools.partial(call, part))

    def rewind(self, step: int) -> None:
        """Lets all writers take back what they have of this step and later ones."""
        for writer in self._writers:
            self.tell(writer, lambda part: part.rewind(step))

    def write_step_metrics(
        self,
        writer: _writer_base.WriterBase,
        *,
        step: int,
        aux: auxiliaries.AuxiliariesState,
        schedules: Mapping[str, Any],
        log_summaries: bool,
        timer: Any = None,
        flush: bool = True,
    ) -> LaterValues:
        """Computes and writes in the background; see `WriterBase.write_step_metrics`.

        Returns:
          The values; looking at them waits until they are computed.
        """
        # The timer is taken now: later it would hold the steps that follow.
        timings = timer.flush_metrics() if timer is not None else None
        later = LaterValues()
        self._last = aux, later

        def compute() -> None:
            failures: list[state_trees.Failure] = []
            values = _compute(aux, later, failures, with_summaries=log_summaries)
            self._write(
                writer,
                values,
                step=step,
                schedules=state_trees.at_step(schedules, step, failures),
                log_summaries=log_summaries,
                timer=None if timings is None else Timings(timings),
                flush=flush,
            )
            self._tell(failures, writer.collection, step)

        self._computing.submit(compute)
        return later

    def values_of(
        self, aux: auxiliaries.AuxiliariesState, *, collection: str = "train"
    ) -> LaterValues:
        """Returns the values of measurements, without those of summaries.

        What was just given to `write_step_metrics` is not computed a second time.
        """
        if self._last is not None and self._last[0] is aux:
            return self._last[1]
        later = LaterValues()

        def compute() -> None:
            failures: list[state_trees.Failure] = []
            _compute(aux, later, failures, with_summaries=False)
            self._tell(failures, collection)

        self._computing.submit(compute)
        return later

    def _tell(
        self,
        failures: Iterable[state_trees.Failure],
        collection: str,
        step: int | None = None,
    ) -> None:
        at = "" if step is None else f" at step {step}"
        for group, keys, error in failures:
            where = state_trees.config_path(group, keys, collection)
            if group == "losses" and collection == "train":
                if self.loss_error is None:
                    error.add_note(f"In `{where}`{at}.")
                    self.loss_error = error
                continue
            self._problems.failed(
                where, error, consequence=f"{at}; the others are written"
            )

    def run_after(self, job: Callable[[], Any]) -> None:
        """Runs a function when everything given so far is computed."""
        self._computing.submit(job)

    def join(self) -> None:
        """Waits until what was measured is written, but not for long for a slow writer."""
        self._computing.join()
        for name, lane in self._lanes.items():
            if name not in self._too_slow and not lane.join(
                timeout_secs=_PATIENCE_SECS
            ):
                self._too_slow.add(name)
                console.warn(
                    f"the writer {name!r} is more than {_PATIENCE_SECS:g} s behind: "
                    "checkpoints no longer wait for it. What it has not written when the "
                    "process is killed is lost to it."
                )

    def close(self) -> None:
        """Writes what waits, closes the writers, and ends the threads."""
        self._computing.close()
        for writer in self._writers:
            self.tell(writer, lambda part: part.close())
        for name, lane in self._lanes.items():
            lane.close(
                timeout_secs=_PATIENCE_AT_END_SECS,
                has_all=functools.partial(self._has_all, name),
            )

    def _has_all(self, name: str) -> bool:
        """Whether the parts of a name have written everything, whatever has failed."""
        parts = [w.parts()[name] for w in self._writers if name in w.parts()]
        return all(part.has_written_all() for part in parts)

    def _lane(self, name: str) -> _write_queue.WriteQueue:
        if name not in self._lanes:  # of an evaluator that writes elsewhere
            self._lanes[name] = self._make_lane(name)
        return self._lanes[name]

    def _make_lane(self, name: str) -> _write_queue.WriteQueue:
        return _write_queue.WriteQueue(
            f"the writer {name!r}",
            max_waiting=_MAX_WRITING,
            may_drop=True,
            problems=self._problems,
        )

    def _write(
        self,
        writer: _writer_base.WriterBase,
        values: auxiliaries.AuxiliariesOutput,
        **kwargs: Any,
    ) -> None:
        if not self._is_lead:
            return
        problems: dict[str, _shown_values.CannotShowError] = {}
        for name, part in writer.parts().items():
            shown = _share(writer, part, values, problems)
            aux: Any = _Computed(shown)
            write = functools.partial(part.write_step_metrics, aux=aux, **kwargs)
            self._lane(name).submit(write)
        for name, error in problems.items():
            keys = tuple(name.split("/")[1:])
            failure = state_trees.Failure("summaries", keys, error)
            self._tell([failure], writer.collection)


def _share(
    writer: _writer_base.WriterBase,
    part: _writer_base.WriterBase,
    values: auxiliaries.AuxiliariesOutput,
    problems: dict[str, _shown_values.CannotShowError],
) -> auxiliaries.AuxiliariesOutput:
    """Returns the values without those that only other parts of a writer can show."""

    def is_for_part(kind: str) -> bool:
        return part.can_write(kind) or not writer.can_write(kind)

    pictures = {}
    for name, value in values.summary_values.items():
        try:
            if is_for_part(_shown_values.kind_of(name, value)):
                pictures[name] = value
        except _shown_values.CannotShowError as e:
            problems[name] = e
    numbers = values.metric_values
    if not is_for_part("arrays"):
        numbers = {k: v for k, v in numbers.items() if _shown_values.is_scalar(v)}
    return dataclasses.replace(values, metric_values=numbers, summary_values=pictures)


def _compute(
    aux: auxiliaries.AuxiliariesState,
    later: LaterValues,
    failures: list[state_trees.Failure],
    *,
    with_summaries: bool,
) -> auxiliaries.AuxiliariesOutput:
    """Computes the numbers first: nobody who waits for them waits for pictures."""
    try:
        numbers = dataclasses.replace(aux, summary_states=None)
        later.set_numbers(numbers.compute(flatten=False, failures=failures))
        if not with_summaries or aux.summary_states is None:
            return later.set_pictures({})
        pictures = auxiliaries.AuxiliariesState(summary_states=aux.summary_states)
        return later.set_pictures(pictures.compute(failures=failures).summary_values)
    except Exception as e:
        later.fail(e)
        raise


# Group of numbers -> what their names begin with.
_PREFIXES = {
    "loss_values": "losses",
    "raw_loss_values": "losses_raw",
    "metric_values": "metrics",
}


class LaterValues(auxiliaries.AuxiliariesOutput):
    """Values that another thread computes: looking at them waits."""

    def __init__(self) -> None:
        set_field = object.__setattr__  # the base is frozen
        set_field(self, "_numbers", concurrent.futures.Future())
        set_field(self, "_flat", concurrent.futures.Future())
        set_field(self, "_pictures", concurrent.futures.Future())

    def __getattr__(self, name: str) -> Any:
        if name in _PREFIXES:
            return vars(self)["_flat"].result()[name]
        if name == "amounts_per_step":
            return self.nested.amounts_per_step
        if name == "summary_values":
            return vars(self)["_pictures"].result()
        raise AttributeError(name)

    @property
    def nested(self) -> auxiliaries.AuxiliariesOutput:
        """Losses and metrics, nested as in the config."""
        return vars(self)["_numbers"].result()

    def set_numbers(self, nested: auxiliaries.AuxiliariesOutput) -> None:
        vars(self)["_numbers"].set_result(nested)
        vars(self)["_flat"].set_result(
            {
                name: auxiliaries.flatten_names(prefix, getattr(nested, name))
                for name, prefix in _PREFIXES.items()
            }
        )

    def set_pictures(self, flat: Mapping[str, Any]) -> auxiliaries.AuxiliariesOutput:
        vars(self)["_pictures"].set_result(flat)
        return auxiliaries.AuxiliariesOutput(
            **vars(self)["_flat"].result(),
            amounts_per_step=self.amounts_per_step,
            summary_values=flat,
        )

    def fail(self, e: Exception) -> None:
        for future in vars(self).values():
            if not future.done():
                future.set_exception(e)


@dataclasses.dataclass(frozen=True)
class _Computed:
    """Values in the place of the states they were computed of."""

    values: auxiliaries.AuxiliariesOutput
    summary_states: Any = None  # writers leave them out with `dataclasses.replace`

    def compute(
        self, *, flatten: bool = True, failures: Any = None
    ) -> auxiliaries.AuxiliariesOutput:
        del flatten, failures
        return self.values
