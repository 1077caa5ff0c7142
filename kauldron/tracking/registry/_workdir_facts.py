"""What a workdir tells: status, values of the config, last and best of each metric."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, cast

from etils import epath

from kauldron._base import shared_files
from kauldron.tracking.registry import _notes, _summaries
from kauldron.tracking.registry.records import Curve, MetricValue, Scalar, Status
from kauldron.workdir import config_values, json_lines, measured, run_status, workdirs

_FILES = (
    workdirs.CONFIG_FILE,
    run_status.STATUS_FILE,
    json_lines.METRICS_FILE,
    _notes.FILE,
)
_OF_RUNS = (run_status.STATUS_FILE, json_lines.METRICS_FILE)
# Bytes in front of where a file was read to, by which it is known again.
_NUM_BEFORE = 256


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


class _Begun(NamedTuple):
    """A file of metrics that grows.

    Attributes:
      inode: Of the file; another one if it was replaced.
      size: Where it was read to, behind an end of a line.
      before: The bytes in front of that.
      summaries: Of what was read.
    """

    inode: int
    size: int
    before: bytes
    summaries: _summaries.Summaries


class Reader:
    """Reads workdirs; of the metrics of a run that goes on only what is new."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}

    def read(self, workdir: str) -> Facts:
        """Returns what a workdir tells; what is damaged is told, and left out."""
        mark = mark_of(
            workdir
        )  # first: a change while it is read is seen the next time
        problems: list[str] = []
        status = _read_status(workdir, problems)
        parameters = _read_parameters(workdir, problems)
        goes_on = status is not None and status.state == "running"
        metrics = self._read_metrics(workdir, problems, goes_on=goes_on)
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

    def _read_metrics(
        self, workdir: str, problems: list[str], *, goes_on: bool
    ) -> dict[str, MetricValue]:
        begun = self._begun.pop(workdir, None)
        if not goes_on or shared_files.is_remote(workdir):
            summaries = _summaries.Summaries()
            summaries.add(_read_records(workdir, problems))
            return summaries.values()
        try:
            with open(os.path.join(workdir, json_lines.METRICS_FILE), "rb") as f:
                inode = os.fstat(f.fileno()).st_ino
                data = _behind(f, begun, inode)
                if begun is None or data is None:
                    f.seek(0)
                    begun = _Begun(inode, 0, b"", _summaries.Summaries())
                    data = f.read()
        except shared_files.MISSING:
            return {}
        except OSError as e:
            problems.append(_unreadable(workdir, e))
            return {}
        whole = data[: data.rfind(b"\n") + 1]
        begun.summaries.add(_to_records(workdir, whole, problems))
        self._begun[workdir] = begun._replace(
            size=begun.size + len(whole),
            before=(begun.before + whole[-_NUM_BEFORE:])[-_NUM_BEFORE:],
        )
        return begun.summaries.values()


def _behind(f: BinaryIO, begun: _Begun | None, inode: int) -> bytes | None:
    """Returns what is new in a file; `None` if it is no longer the one that was read."""
    if begun is None or begun.inode != inode:
        return None
    f.seek(begun.size - len(begun.before))
    if f.read(len(begun.before)) != begun.before:
        return None
    return f.read()


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
        values = (k for k, v in record.items() if _summaries.to_number(v) is not None)
        names.setdefault(record["collection"], {}).update(
            dict.fromkeys(k for k in values if k not in measured.NO_METRIC)
        )
    called = {key: place for place, key in _summaries.keys(names).items()}
    collection, name = called.get(metric) or measured.find(names, metric)
    values = {
        record["step"]: value
        for record in records
        if record["collection"] == collection
        and (value := _summaries.to_number(record.get(name))) is not None
    }
    steps = sorted(values)
    return Curve(steps=tuple(steps), values=tuple(values[step] for step in steps))


def _read_bytes(workdir: str, name: str) -> bytes | None:
    try:
        if shared_files.is_remote(workdir):
            return epath.Path(workdir, name).read_bytes()
        with open(os.path.join(workdir, name), "rb") as f:
            return f.read()
    except shared_files.MISSING:
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
    try:
        data = _read_bytes(workdir, json_lines.METRICS_FILE)
    except OSError as e:
        problems.append(_unreadable(workdir, e))
        return []
    # Behind the last end of a line is what a process is writing, or has left half.
    whole = b"" if data is None else data[: data.rfind(b"\n") + 1]
    return _to_records(workdir, whole, problems)


def _unreadable(workdir: str, error: OSError) -> str:
    path = os.path.join(workdir, json_lines.METRICS_FILE)
    return f"{path!r} cannot be read: {error.strerror or error}"


def _to_records(workdir: str, data: bytes, problems: list[str]) -> list[dict[str, Any]]:
    records, num_damaged = _parse(data)
    if num_damaged:
        path = os.path.join(workdir, json_lines.METRICS_FILE)
        problems.append(f"{path!r}: {num_damaged} lines are damaged")
    return records


def _parse(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Returns the records of lines, and how many lines are none."""
    try:  # all at once is twice as fast
        parsed = json.loads(b"[%b]" % data.rstrip().replace(b"\n", b","))
    except ValueError:
        parsed = [_parse_line(line) for line in data.splitlines() if line.strip()]
    records = [
        x
        for x in parsed
        if x.__class__ is dict
        and x.get("step").__class__ is int
        and x.get("collection").__class__ is str
    ]
    return records, len(parsed) - len(records)


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _times(workdir: str) -> list[float]:
    times = []
    for name in _FILES:
        try:
            times.append(os.stat(os.path.join(workdir, name)).st_mtime)
        except OSError:
            continue
    return times
