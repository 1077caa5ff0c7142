"""The contract of writers."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np

from kauldron import metrics, recording, step, summaries
from kauldron.recording import recorder as recorder_lib

# Collection, step, name, value.
Number: TypeAlias = tuple[str, int, str, float | str | None]


def check_writer(
    make_writer: Callable[[pathlib.Path], recording.Writer],
    *,
    read: Callable[[pathlib.Path], Iterable[Number]] | None = None,
) -> None:
    """Checks that a writer keeps what it is given, as a run relies on it.

    Numbers arrive once and in order, several steps together, too; `rewind` takes back later steps of one collection;
    a write after `close` opens again; NaN and infinities stop nothing; values without a
    place are left out, and a failure affects nothing else; on a full disk each number
    is written, now or later, or else an error is raised.

    Args:
      make_writer: Returns the writer for a workdir, which is an empty folder; it is called
        several times for one workdir, as by restarts.
      read: Returns all numbers that the writers of a workdir have kept, oldest first.
        Without it only that is checked which can be seen from outside.

    Raises:
      AssertionError: If the writer does something else; the message says what.

    Example:

    ```python
    def read(workdir):
        with open(workdir / "metrics.jsonl") as f:
            for record in map(json.loads, f):
                collection, step = record.pop("collection"), record.pop("step")
                yield from ((collection, step, *item) for item in record.items())

    def test_my_writer():
        kd.testing.check_writer(lambda workdir: MyWriter(workdir=workdir), read=read)
    ```
    """
    for check in _CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            case = _Case(make_writer, read, pathlib.Path(folder))
            try:
                check(case)
            except Exception as e:
                e.add_note(f"While checking: {(check.__doc__ or '').strip()}")
                raise


@dataclasses.dataclass(frozen=True)
class _Case:
    """A workdir, and the writers of it."""

    make_writer: Callable[[pathlib.Path], recording.Writer]
    read: Callable[[pathlib.Path], Iterable[Number]] | None
    workdir: pathlib.Path

    def writer(self, collection: str = "train") -> recording.Writer:
        return self.make_writer(self.workdir).replace(collection=collection)

    def kept(self, *names: str) -> list[Number]:
        assert self.read is not None
        return [x for x in self.read(self.workdir) if x[2] in names]

    def assert_kept(self, expected: list[Number], *, names: tuple[str, ...]) -> None:
        """Of each collection: what is kept by the names, in the order it was written."""
        if self.read is None:
            return
        for collection in {number[0] for number in expected}:
            got = [x for x in self.kept(*names) if x[0] == collection]
            wanted = [x for x in expected if x[0] == collection]
            if got != wanted:
                raise AssertionError(
                    f"The writer has kept other numbers of {collection!r} than it was "
                    f"given: {got}, not {wanted}."
                )


def _number(value: float) -> recording.Measured:
    return recording.Measured(scalars={"x": value})


def _numbers_arrive_once_and_in_order(case: _Case) -> None:
    """Each number arrives once, in the order of the steps, also after `close`."""
    writer = case.writer()
    for step_nr in (0, 5):
        writer.write(step_nr, _number(step_nr / 2))
    writer.flush()
    writer.close()
    writer.write(10, _number(5.0))
    writer.close()
    expected: list[Number] = [("train", i, "x", i / 2) for i in (0, 5, 10)]
    case.assert_kept(expected, names=("x",))


def _what_is_written_together_is_there_at_the_end(case: _Case) -> None:
    """At the end of a `together` block, all that was written in it is kept, in order."""
    writer = case.writer()
    writer.write(0, _number(0.0))
    with writer.together():
        for step_nr in (5, 10):
            writer.write(step_nr, _number(step_nr / 2))
            writer.flush()
    expected: list[Number] = [("train", i, "x", i / 2) for i in (0, 5, 10)]
    case.assert_kept(expected, names=("x",))
    writer.close()


def _flush_and_close_may_be_repeated(case: _Case) -> None:
    """`flush` and `close` do nothing the second time, and before the first write."""
    writer = case.writer()
    for _ in range(2):
        writer.flush()
        writer.close()
    writer.write(3, _number(1.0))
    for _ in range(2):
        writer.flush()
        writer.flush()
        writer.close()
    case.assert_kept([("train", 3, "x", 1.0)], names=("x",))


def _rewind_takes_back_later_steps_of_its_collection(case: _Case) -> None:
    """`rewind` takes back a step and later ones of its collection, after a restart too."""
    case.writer().rewind(0)  # nothing is there yet
    for collection in ("train", "test"):
        writer = case.writer(collection)
        for step_nr in (0, 5, 10):
            writer.write(step_nr, _number(1.0))
        writer.close()
    restarted = case.writer()
    restarted.rewind(5)
    restarted.write(5, _number(2.0))
    restarted.rewind(6)
    restarted.close()
    case.assert_kept(
        [
            ("train", 0, "x", 1.0),
            ("train", 5, "x", 2.0),
            *(("test", i, "x", 1.0) for i in (0, 5, 10)),
        ],
        names=("x",),
    )


def _numbers_that_are_not_finite_stop_nothing(case: _Case) -> None:
    """NaN and infinities are special, and must not affect any other number."""
    odd = {"nan": math.nan, "inf": math.inf, "minus_inf": -math.inf}
    writer = case.writer()
    writer.write(1, recording.Measured(scalars={"x": 1.0, **odd, "y": 2.0}))
    writer.write(2, _number(3.0))
    writer.close()
    case.assert_kept(
        [("train", 1, "x", 1.0), ("train", 1, "y", 2.0), ("train", 2, "x", 3.0)],
        names=("x", "y"),
    )
    for _, _, name, value in case.kept(*odd) if case.read else ():
        if value is not None and math.isfinite(float(value)):
            raise AssertionError(f"{odd[name]} was kept as {value}.")


def _all_kinds() -> recording.Measured:
    return recording.Measured(
        scalars={"x": 1.0},
        arrays={"table": np.eye(2)},
        timings={"perf_stats/steps_per_sec": 2.0},
        summaries={
            "text": "a *word*",
            "texts": np.array(["one", "two"]),
            "image": np.zeros((2, 3, 4, 3), np.uint8),
            "grey": np.full((1, 3, 4, 1), 0.5, np.float32),
            "histogram": summaries.Histogram(np.array([0.0, np.nan, 1.0])),
            "points": summaries.PointCloud(np.zeros((1, 4, 3), np.float32)),
            "video": summaries.Video(np.zeros((1, 2, 3, 4, 1), np.float32)),
        },
        failures={"cfg.train_metrics['y']": ZeroDivisionError("oops")},
    )


class _Trainer:
    context_specs: object = None


def _what_has_no_place_is_left_out(case: _Case) -> None:
    """Values of every kind are written, or left out; `can_write` says which."""
    writer = case.writer()
    spec = np.zeros((2, 3), np.float32)
    writer.describe(
        0,
        recording.Description(
            params={"kernel": spec},
            element_spec={"image": spec},
            trainer=_Trainer(),
            hparams={"seed": 3, "optimizer": "adam", "is_on": True, "rate": 0.1},
        ),
    )
    writer.write(0, _all_kinds())
    writer.write(1, recording.Measured())
    writer.close()
    case.assert_kept([("train", 0, "x", 1.0)], names=("x",))


def _what_fails_costs_nothing_else(case: _Case) -> None:
    """A kind that cannot be written is raised, after the others are written."""
    writer = case.writer()
    if not isinstance(writer, recording.WriterBase):
        return  # it has one method for all kinds

    def fail(self: object, *args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("no place for it")

    methods = {"write_summaries": fail, "write_timings": fail}
    failing = copy.copy(writer)
    kind = type("Failing", (type(writer),), methods)
    object.__setattr__(failing, "__class__", kind)
    if isinstance(writer, recording.MultiWriter | recording.NoopWriter):
        return  # they write no kind themselves
    try:
        failing.write(2, _all_kinds())
    except ZeroDivisionError:
        failing.close()
    else:
        raise AssertionError("`write` has not raised what a kind has raised.")
    case.assert_kept([("train", 2, "x", 1.0)], names=("x",))


def _a_run_writes_everything_once(case: _Case) -> None:
    """What a run and its evaluations hand over is written once, in order."""
    writers = {name: case.writer(name) for name in ("train", "test")}
    recorder = recorder_lib.Recorder(writers.values())
    recorder.rewind(0)
    steps = range(0, 40, 2)
    with recorder.active():
        for step_nr in steps:
            for writer in writers.values():
                state = metrics.AverageState.from_values(
                    np.asarray([step_nr], np.float32)
                )
                writer.write_step_metrics(
                    step=step_nr,
                    aux=step.AuxiliariesState(metric_states={"m": state}),
                    schedules={"rate": lambda i: i / 4},
                    log_summaries=True,
                )
    recorder.close()
    expected: list[Number] = [
        (collection, i, name, value)
        for collection in writers
        for i in steps
        for name, value in (("metrics/m", float(i)), ("schedules/rate", i / 4))
    ]
    case.assert_kept(expected, names=("metrics/m", "schedules/rate"))


def _a_full_disk_loses_nothing_unsaid(case: _Case) -> None:
    """On a full disk a number is written, now or later, or else an error is raised."""
    writer = case.writer()
    writer.write(0, _number(0.0))
    writer.flush()
    has_failed = set()
    with _full_disk():
        for step_nr in (1, 2):
            try:
                writer.write(step_nr, _number(float(step_nr)))
                writer.flush()
            except Exception:
                has_failed.add(step_nr)
    with contextlib.suppress(Exception):  # what waits may still fail, and is raised
        writer.write(3, _number(3.0))
    writer.close()
    if case.read is None:
        return
    kept = case.kept("x")
    steps = [step_nr for _, step_nr, _, _ in kept]
    told = has_failed if any((writer.unwritten() or {"?": 1}).values()) else set()
    if missing := {0, 1, 2, 3} - set(steps) - told:
        raise AssertionError(f"Numbers of steps {sorted(missing)} are lost unsaid.")
    if len(set(steps)) < len(steps) or steps != sorted(steps):
        raise AssertionError(f"Numbers are kept twice, or out of order: {kept}.")


@contextlib.contextmanager
def _full_disk() -> Iterator[None]:
    """Inside the block no file of this process grows."""
    try:
        import resource
    except ImportError:  # not on this system
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


_CHECKS = (
    _numbers_arrive_once_and_in_order,
    _what_is_written_together_is_there_at_the_end,
    _flush_and_close_may_be_repeated,
    _rewind_takes_back_later_steps_of_its_collection,
    _numbers_that_are_not_finite_stop_nothing,
    _what_has_no_place_is_left_out,
    _what_fails_costs_nothing_else,
    _a_run_writes_everything_once,
    _a_full_disk_loses_nothing_unsaid,
)
