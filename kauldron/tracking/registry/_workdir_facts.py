"""What a workdir tells: status, values of the config, last and best of each metric."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from etils import epath

from kauldron._base import shared_files
from kauldron.tracking.registry import _notes
from kauldron.tracking.registry.records import Curve, MetricValue, Scalar, Status
from kauldron.workdir import config_values, json_lines, measured, run_status, workdirs

_FILES = (
    workdirs.CONFIG_FILE,
    run_status.STATUS_FILE,
    json_lines.METRICS_FILE,
    _notes.FILE,
)
_OF_RUNS = (run_status.STATUS_FILE, json_lines.METRICS_FILE)
# Which of two metrics that end alike is called by its end.
_KINDS = ("metrics", "losses")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What a workdir tells of its run.

    Attributes:
      state: How it stands.
      step: Updates so far.
      num_steps: Updates that it is to make.
      pid: Process that trains.
      host: Machine it is on.
      started: Seconds since 1970.
      heartbeat: Seconds since 1970 of the last sign of life.
      message: Why it failed or was interrupted.
      parameters: Values of the config by path.
      metrics: Last and best values.
      mark: Of the files that were read; another one if they have changed.
      problems: A line per file that is damaged.
    """

    state: Status
    step: int = 0
    num_steps: int = 0
    pid: int = 0
    host: str = ""
    started: float = 0.0
    heartbeat: float = 0.0
    message: str = ""
    parameters: Mapping[str, Scalar]
    metrics: Mapping[str, MetricValue]
    mark: str
    problems: tuple[str, ...] = ()


def find(folder: epath.PathLike) -> Iterator[str]:
    """Yields the workdirs in and below a folder; what is inside of one is not searched."""
    for path, folders, files in os.walk(folder):
        if is_run(path, files):
            folders.clear()
            yield path
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def is_run(path: str, files: Iterable[str] | None = None) -> bool:
    """Whether a folder is a workdir: it has a status, or metrics, or a config of ours."""
    if files is None:
        try:
            files = os.listdir(path)
        except OSError:
            return False
    names = set(files)
    if not names.isdisjoint(_OF_RUNS):
        return True
    if workdirs.CONFIG_FILE not in names:
        return False
    # Many programs write a `config.json`.
    with open(os.path.join(path, workdirs.CONFIG_FILE), "rb") as f:
        return b'"__qualname__"' in f.read(1000)


def mark_of(workdir: str) -> str:
    """Returns something that changes with the files of a run; empty if it has none."""
    marks = []
    for name in _FILES:
        try:
            if shared_files.is_remote(workdir):
                stat = epath.Path(workdir, name).stat()
                marks.append(f"{stat.mtime}-{stat.length}")
            else:
                stat = os.stat(os.path.join(workdir, name))
                marks.append(f"{stat.st_mtime_ns}-{stat.st_size}")
        except OSError:
            marks.append("")
    return " ".join(marks) if any(marks) else ""


def read(workdir: str) -> Facts:
    """Returns what a workdir tells; what is damaged is told, and left out."""
    mark = mark_of(workdir)  # first: a change while it is read is seen the next time
    problems: list[str] = []
    status = _read_status(workdir, problems)
    parameters = _read_parameters(workdir, problems)
    metrics = _summaries(_read_records(workdir, problems))
    common: dict[str, Any] = {
        "parameters": parameters,
        "metrics": metrics,
        "mark": mark,
        "problems": tuple(problems),
    }
    if status is None:
        times = _times(workdir)
        steps = [metric.last_step for metric in metrics.values()]
        return Facts(
            state="unknown",
            step=max(steps, default=0),
            started=min(times, default=0.0),
            heartbeat=max(times, default=0.0),
            **common,
        )
    return Facts(
        state=cast(Status, status.state),
        step=status.step,
        num_steps=status.last_step,
        pid=status.pid,
        host=status.host,
        started=status.started,
        heartbeat=status.heartbeat,
        message=status.message,
        **common,
    )


def read_curve(workdir: str, metric: str) -> Curve:
    """Returns the values of a metric over the steps.

    Args:
      workdir: Of the run.
      metric: `'eval.accuracy'`, or `'eval.metrics/accuracy'`.

    Raises:
      MetricError: If the run has not measured it.
    """
    records = _read_records(workdir, [])
    names: dict[str, dict[str, None]] = {}
    for record in records:
        values = (k for k, v in record.items() if _to_number(v) is not None)
        names.setdefault(record["collection"], {}).update(
            dict.fromkeys(k for k in values if k not in measured.NO_METRIC)
        )
    called = {key: place for place, key in _keys(names).items()}
    collection, name = called.get(metric) or measured.find(names, metric)
    values = {
        record["step"]: value
        for record in records
        if record["collection"] == collection
        and (value := _to_number(record.get(name))) is not None
    }
    steps = sorted(values)
    return Curve(steps=tuple(steps), values=tuple(values[step] for step in steps))


def _read_bytes(workdir: str, name: str) -> bytes | None:
    try:
        if shared_files.is_remote(workdir):
            return epath.Path(workdir, name).read_bytes()
        with open(os.path.join(workdir, name), "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None


def _read_status(workdir: str, problems: list[str]) -> run_status.RunStatus | None:
    try:
        return run_status.read(workdir)
    except (ValueError, OSError) as e:
        problems.append(str(e))
        return None


def _read_parameters(workdir: str, problems: list[str]) -> dict[str, Scalar]:
    try:
        data = _read_bytes(workdir, workdirs.CONFIG_FILE)
        return {} if data is None else config_values.leaves(json.loads(data))
    except (ValueError, OSError, RecursionError) as e:
        path = os.path.join(workdir, workdirs.CONFIG_FILE)
        problems.append(f"{path!r} is no config: {e}")
        return {}


def _read_records(workdir: str, problems: list[str]) -> list[dict[str, Any]]:
    """Returns the records of a run; lines that are damaged or half are left out.

    No lock is needed: lines are appended whole, and files are replaced as a whole.
    """
    path = os.path.join(workdir, json_lines.METRICS_FILE)
    try:
        data = _read_bytes(workdir, json_lines.METRICS_FILE)
    except OSError as e:
        problems.append(f"{path!r} cannot be read: {e.strerror or e}")
        return []
    if not data:
        return []
    # Behind the last end of a line is what a process is writing, or has left half.
    records, num_damaged = _parse(data.rpartition(b"\n")[0].splitlines())
    if num_damaged:
        problems.append(f"{path!r}: {num_damaged} lines are damaged")
    return records


def _parse(lines: list[bytes]) -> tuple[list[dict[str, Any]], int]:
    try:  # all at once is twice as fast
        parsed = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        parsed = [_parse_line(line) for line in lines if line.strip()]
    records = [x for x in parsed if _is_record(x)]
    return records, len(parsed) - len(records)


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_record(x: Any) -> bool:
    return (
        isinstance(x, dict)
        and isinstance(x.get("step"), int)
        and isinstance(x.get("collection"), str)
    )


def _times(workdir: str) -> list[float]:
    times = []
    for name in _FILES:
        try:
            times.append(os.stat(os.path.join(workdir, name)).st_mtime)
        except OSError:
            continue
    return times


def _to_number(value: Any) -> float | None:
    """Returns the number of a record: NaN and infinities are texts there."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


class _Summary:
    """Last and best of a metric while its records are read."""

    __slots__ = ("best", "best_step", "last", "last_step", "sign")

    def __init__(self, name: str) -> None:
        self.sign = 0
        if measured.is_ranked(name):
            self.sign = 1 if measured.guessed_mode(name) == "max" else -1
        self.last, self.last_step = math.nan, 0
        self.best, self.best_step = -math.inf, -1  # times the sign


def _summaries(records: Iterable[Mapping[str, Any]]) -> dict[str, MetricValue]:
    found: dict[str, dict[str, _Summary]] = {}
    for record in records:
        collection, step = record["collection"], record["step"]
        of_collection = found.setdefault(collection, {})
        counts = collection != measured.TRAIN or step != 0
        for name, value in record.items():
            if value.__class__ is not float and (
                name in measured.NO_METRIC or (value := _to_number(value)) is None
            ):
                continue
            summary = of_collection.get(name)
            if summary is None:
                summary = of_collection[name] = _Summary(name)
            summary.last, summary.last_step = value, step
            # Neither NaN nor an infinity is better than anything.
            if counts and summary.best < (signed := value * summary.sign) < math.inf:
                summary.best, summary.best_step = signed, step
    keys = _keys(found)
    return {
        keys[collection, name]: _to_value(summary)
        for collection, of_collection in found.items()
        for name, summary in of_collection.items()
    }


def _to_value(summary: _Summary) -> MetricValue:
    if summary.sign == 0:
        best, best_step, mode = summary.last, summary.last_step, None
    else:
        mode = "max" if summary.sign > 0 else "min"
        best, best_step = summary.best * summary.sign, summary.best_step
        if best_step < 0:
            best, best_step = summary.last, summary.last_step
    return MetricValue(
        last=summary.last,
        last_step=summary.last_step,
        best=best,
        best_step=best_step,
        mode=mode,
    )


def _keys(names: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], str]:
    """Returns how metrics are called: by their ends, where these are not the same."""
    taken: dict[str, tuple[str, str]] = {}
    for collection, of_collection in names.items():
        for name in sorted(of_collection, key=_rank):
            key = measured.short_key(collection, name)
            if key in taken:
                key = f"{collection}.{name}"
            taken[key] = (collection, name)
    return {place: key for key, place in taken.items()}


def _rank(name: str) -> tuple[int, str]:
    kind = name.partition("/")[0]
    return (_KINDS.index(kind) if kind in _KINDS else len(_KINDS), name)
