"""`Recorder`: computes measurements and feeds the writers, off the training loop.

One thread computes values, in the order of the steps. Each writer has its own thread
that writes them: one that is slow or fails affects neither the others nor the training.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kauldron._base import console, problem_log
from kauldron.recording import (
    _attempts,
    _measuring,
    _step_states,
    _write_queue,
    _writer,
)
from kauldron.step import auxiliaries, state_trees

# Two of each logging step, whose states stay on the devices while they wait.
_MAX_COMPUTING = 32
# These are numbers on the host; pictures make them large.
_MAX_WRITING = 1000
# Where steps take less than these, several are computed, and written, at once.
_COMPUTING_SPACING_SECS = 0.02
_WRITING_SPACING_SECS = 0.2
# How long a checkpoint waits for a writer, so that earlier measurements are on disk. A
# writer that takes longer is not waited for again.
_PATIENCE_SECS = 5.0
_PATIENCE_AT_END_SECS = 60.0


class Recorder:
    """Takes measurements of a run, without blocking it.

    What fails is left out, reported once, and counted; the rest is still written. A
    training loss that fails is kept in `loss_error`: the run cannot continue with it.

    Args:
      writers: All writers of the run.
      problems: Receives what fails.

    Attributes:
      loss_error: What a loss of the training has raised.
    """

    def __init__(
        self,
        writers: Iterable[_writer.Writer],
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
            spacing_secs=_COMPUTING_SPACING_SECS,
        )
        # A writer in a dict that is reported on its own goes by its name there.
        self._names = {
            id(part): name for w in self._writers for name, part in w.parts().items()
        }
        # By name: writers of one name share their files, whose lines stay in order.
        self._lanes = {
            name: self._make_lane(name) for name in dict.fromkeys(self._names.values())
        }
        # Lanes that copies of writers use too: what these have not written is unknown.
        self._shared: set[str] = set()
        self._too_slow: set[str] = set()
        self._last: tuple[auxiliaries.AuxiliariesState, Recorded] | None = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside the block, the run's writers hand their states to this recorder."""
        with _writer.bound(self._writers, self):
            yield

    def tell(
        self, writer: _writer.Writer, call: Callable[[_writer.Writer], object]
    ) -> None:
        """Calls a function with each part of a writer, in the thread of that part."""
        if self._is_lead:
            for name, part in writer.parts().items():
                self._lane(name, part).submit(functools.partial(call, part))

    def rewind(self, step: int) -> None:
        """Makes all writers discard what they have for this step and later ones."""
        for writer in self._writers:
            self.tell(writer, lambda part: part.rewind(step))

    def record(
        self,
        writer: _step_states.Part,
        parts: Mapping[str, _step_states.Part],
        states: _step_states.StepStates,
    ) -> auxiliaries.AuxiliariesOutput:
        """Computes in the background, then has the parts of a writer write.

        Returns:
          The values; looking at them waits until they are computed.
        """
        recorded = Recorded(states.timings, self._computing.hurry)
        self._last = states.aux, recorded

        def compute() -> None:
            failures: list[state_trees.Failure] = []
            with_summaries = states.log_summaries
            output = recorded.compute(
                states.aux, failures, with_summaries=with_summaries
            )
            self._write(writer, parts, states, output, failures)
            self._tell(failures, writer.collection, states.step)

        self._computing.submit(compute)
        return recorded.awaited()

    def values_of(
        self, aux: auxiliaries.AuxiliariesState, *, collection: str = "train"
    ) -> Recorded:
        """Returns the values of measurements, without those of summaries.

        What was just handed to a writer is not computed a second time.
        """
        if self._last is not None and self._last[0] is aux:
            return self._last[1]
        recorded = Recorded({}, self._computing.hurry)

        def compute() -> None:
            failures: list[state_trees.Failure] = []
            recorded.compute(aux, failures, with_summaries=False)
            self._tell(failures, collection)

        self._computing.submit(compute)
        return recorded

    def _write(
        self,
        writer: _step_states.Part,
        parts: Mapping[str, _step_states.Part],
        states: _step_states.StepStates,
        output: auxiliaries.AuxiliariesOutput,
        failures: list[state_trees.Failure],
    ) -> None:
        values = _measuring.to_measured(
            output, states, failures, collection=writer.collection, parts=parts
        )
        if not self._is_lead:
            return
        for name, part in parts.items():
            calls = [functools.partial(part.write, states.step, values)]
            calls += [part.flush] if states.flush else []
            if id(part) not in self._names:  # a copy, which is not closed at the end
                calls.append(part.close)
            job = functools.partial(_attempts.call_all, calls)
            self._lane(name, part).submit(job, within=part.together)
        for error in _measuring.without_place(writer, parts, values):
            field = _field_of_writer(writer.collection)
            self._problems.failed(field, error, consequence="; the others are written")

    def _tell(
        self,
        failures: Iterable[state_trees.Failure],
        collection: str,
        step: int | None = None,
    ) -> None:
        at = "" if step is None else f" at step {step}"
        for failure in failures:
            where, error = failure.where(collection), failure.error
            if failure.group == "losses" and collection == "train":
                if self.loss_error is None:
                    error.add_note(f"In `{where}`{at}.")
                    self.loss_error = error
                continue
            self._problems.failed(
                where, error, consequence=f"{at}; the others are written"
            )

    def run_after(self, job: Callable[[], object]) -> None:
        """Runs a function when everything given so far is computed."""
        self._computing.submit(job)

    def join(self) -> None:
        """Waits until all measurements are written, but not long for a slow writer."""
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
        for name, lane in self._lanes.items():
            parts = self._parts_of(name) if self._is_lead else []
            lane.close(
                timeout_secs=_PATIENCE_AT_END_SECS,
                last=[part.close for part in parts],
                unwritten=functools.partial(self._unwritten, name, parts),
            )

    def _unwritten(
        self, name: str, parts: Iterable[_writer.Writer]
    ) -> Mapping[str, int] | None:
        """Returns what the writers of a name have not written; `None` if unknown."""
        total: dict[str, int] = {}
        for part in parts:
            counts = part.unwritten()
            if counts is None or name in self._shared:
                return None
            for what, count in counts.items():
                total[what] = total.get(what, 0) + count
        return total

    def _parts_of(self, name: str) -> list[_writer.Writer]:
        return [w.parts()[name] for w in self._writers if name in w.parts()]

    def _lane(self, name: str, part: _step_states.Part) -> _write_queue.WriteQueue:
        if id(part) in self._names:
            name = self._names[id(part)]
        else:
            self._shared.add(name)
        if name not in self._lanes:  # of an evaluator that writes elsewhere
            self._lanes[name] = self._make_lane(name)
        return self._lanes[name]

    def _make_lane(self, name: str) -> _write_queue.WriteQueue:
        return _write_queue.WriteQueue(
            f"the writer {name!r}",
            max_waiting=_MAX_WRITING,
            may_drop=True,
            problems=self._problems,
            spacing_secs=_WRITING_SPACING_SECS,
        )


class Recorded:
    """Values that the recorder's thread computes.

    Args:
      timings: Rates and durations that were taken with them.
      hurry: Called before waiting for them.
    """

    def __init__(
        self, timings: Mapping[str, float], hurry: Callable[[], object]
    ) -> None:
        self.timings = timings
        self._numbers = _Later(hurry)
        self._flat = _Later(hurry)
        self._all = _Later(hurry)

    def numbers(self) -> auxiliaries.AuxiliariesOutput:
        """Waits for losses and metrics, nested as in the config."""
        return self._numbers.wait()

    def values(self) -> auxiliaries.AuxiliariesOutput:
        """Waits for all values, in flat dicts: `losses/x`, `summaries/x`."""
        return self._all.wait()

    def awaited(self) -> auxiliaries.AuxiliariesOutput:
        """Returns the values, in flat dicts that wait when they are looked at."""

        flat = self._flat
        return auxiliaries.AuxiliariesOutput(
            loss_values=_AwaitedDict(flat, "loss_values"),
            raw_loss_values=_AwaitedDict(flat, "raw_loss_values"),
            metric_values=_AwaitedDict(flat, "metric_values"),
            amounts_per_step=_AwaitedDict(flat, "amounts_per_step"),
            summary_values=_AwaitedDict(self._all, "summary_values"),
        )

    def compute(
        self,
        aux: auxiliaries.AuxiliariesState,
        failures: list[state_trees.Failure],
        *,
        with_summaries: bool,
    ) -> auxiliaries.AuxiliariesOutput:
        """Computes numbers first: waiting for them must not mean waiting for images."""
        try:
            nested = _measuring.compute_numbers(aux, failures)
            self._numbers.succeed(nested)
            output = nested.flattened()
            self._flat.succeed(output)
            if with_summaries:
                output = _measuring.with_summaries(output, aux, failures)
            self._all.succeed(output)
        except Exception as e:
            for later in (self._numbers, self._flat, self._all):
                if not later.is_done:
                    later.fail(e)
            raise
        return output


class _Later:
    """Values that another thread computes: at once, if they are waited for.

    A future of the standard library has a lock of its own, and takes ten times as long to
    make, three for each logging step.
    """

    _changed = threading.Condition()

    def __init__(self, hurry: Callable[[], object]) -> None:
        self.is_done = False
        self._hurry = hurry
        self._values: auxiliaries.AuxiliariesOutput | None = None
        self._error: Exception | None = None

    def wait(self) -> auxiliaries.AuxiliariesOutput:
        if not self.is_done:
            self._hurry()
            with self._changed:
                self._changed.wait_for(lambda: self.is_done)
        if self._values is None:
            assert self._error is not None
            raise self._error
        return self._values

    def succeed(self, values: auxiliaries.AuxiliariesOutput) -> None:
        self._values = values
        self._finish()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self.is_done = True
        with self._changed:
            self._changed.notify_all()


class _AwaitedDict(Mapping[str, Any]):
    """A dict among values that another thread computes: reading it waits."""

    def __init__(self, values: _Later, field: str) -> None:
        self._values = values
        self._field = field

    def _read(self) -> Mapping[str, Any]:
        return getattr(self._values.wait(), self._field)

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


def _field_of_writer(collection: str) -> str:
    """Returns the writer as the user wrote it: `cfg.evals['test'].writer`."""
    return (
        "cfg.writer" if collection == "train" else f"cfg.evals[{collection!r}].writer"
    )
