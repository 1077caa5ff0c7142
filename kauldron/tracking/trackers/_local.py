"""`Local`: runs in the registry of a workspace, with their measurements in files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from kauldron._base import extras, shared_files
from kauldron.tracking.registry import registry as registries
from kauldron.tracking.registry import workspaces
from kauldron.tracking.registry.errors import RegistryBusyError, RegistryError
from kauldron.tracking.trackers import _tracked_run, _tracker
from kauldron.workdir import json_lines, run_status, workdirs

ARTIFACTS_FOLDER = "artifacts"
# Where runs without a workdir are kept, in the workspace.
_RUNS_FOLDER = "runs"
# A registry reads the files of a run when it is asked. One that others ask, who do not
# have these files, is told every now and then; reading all of them takes a while.
_UPDATE_EVERY_SECS = 10.0
_MAX_SHARE_OF_TIME = 0.01
# What SQLite says of a full disk.
_FULL = ("disk is full", "disk I/O error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Local(_tracker.Tracker):
    """Keeps runs in the registry, for `kauldron runs ls` and `kauldron ui`; a `Tracker`.

    Attributes:
      project: Of its runs; that of the settings unless given.
      experiment: Likewise; the folder above the workdir unless given.
      family: Of the experiment, or nothing.
      name: Of the run; unless given, that of its workdir.
      tags: Words by which the run is found.
      parent: Id of the run that this one is a part of.
      registry: A workspace, a SQLite file, or a URL such as `postgresql://host/runs`;
        unless given, the workspace that is found upwards of the current folder.
    """

    project: str = ""
    experiment: str = ""
    family: str = ""
    name: str = ""
    tags: Sequence[str] = ()
    parent: str = ""
    registry: str | None = None

    def start(self, run: _tracked_run.RunStart) -> _tracked_run.TrackedRun:
        with _passing():
            registry = registries.Registry.open(self.registry)
            workdir = run.workdir
            if run.id:
                with contextlib.suppress(RegistryError):  # it was removed
                    workdir = registry.run(run.id).workdir
            if not workdir:
                workdir = self._new_workdir(run.name)
            report = None if run.in_workdir else _begin(workdir, is_new=not run.id)
            parent = run.parent or self.parent
            started = _LocalRun(registry, workdir, report)
            started.register(
                name=run.name,
                project=self.project,
                experiment=self.experiment,
                family=self.family,
                tags=[*self.tags, *([f"part_of:{parent}"] if parent else [])],
            )
            return started

    def follow(self, name: str) -> Any:
        if self.registry is None and workspaces.Workspace.find() is None:
            # As `open` says it, before anything is started.
            registries.Registry.open(None)
        # Here, and not while a training imports what it needs.
        extras.load("sqlalchemy", needed_by="The registry of runs", extra="tracking")
        return super().follow(name)

    def _new_workdir(self, name: str) -> str:
        workspace = workspaces.Workspace.find(self.registry or ".")
        if workspace is None:
            raise _tracked_run.TrackerError(
                f"The run {name!r} needs a `workdir`: {self.registry!r} has no folder "
                "for it."
            )
        folder = pathlib.Path(workspace.root, _RUNS_FOLDER)
        for ending in ("", *(f"_{i}" for i in range(2, 1_000_000))):
            with contextlib.suppress(FileExistsError):
                (folder / f"{name}{ending}").mkdir(parents=True)
                return os.fspath(folder / f"{name}{ending}")
        raise AssertionError("there are endless numbers")


def _begin(workdir: str, *, is_new: bool) -> run_status.Report:
    """Makes a workdir that no training makes."""
    if is_new and (pathlib.Path(workdir) / run_status.STATUS_FILE).exists():
        raise _tracked_run.TrackerError(
            f"{workdir!r} has a run already. Go on with it by its id, or choose another "
            "workdir."
        )
    os.makedirs(workdir, exist_ok=True)
    return run_status.start(epath.Path(workdir), step=0, last_step=0, is_new=is_new)


class _LocalRun:
    """A run of the registry.

    Args:
      registry: The registry.
      workdir: Where the run is.
      report: Keeps `status.json`; `None` if a training writes the files.
    """

    def __init__(
        self,
        registry: registries.Registry,
        workdir: str,
        report: run_status.Report | None,
    ) -> None:
        self.id = ""
        self._registry = registry
        self._workdir = pathlib.Path(workdir)
        self._report = report
        self._next_update = 0.0

    def register(self, **said: Any) -> None:
        """Enters the run, or brings it up to date."""
        before = time.monotonic()
        with _passing():
            self.id = self._registry.register(self._workdir, **said).id
        now = time.monotonic()
        pause_secs = max(_UPDATE_EVERY_SECS, (now - before) / _MAX_SHARE_OF_TIME)
        self._next_update = now + pause_secs

    def log_params(self, params: Mapping[str, _tracked_run.Scalar]) -> None:
        if self._report is None:
            return
        path = epath.Path(self._workdir) / workdirs.CONFIG_FILE
        kept = json.loads(path.read_text()) if path.exists() else {}
        text = json.dumps({**kept, **params}, indent=2)
        shared_files.write_atomically(path, text)
        self._update()

    def log_metrics(self, points: Sequence[_tracked_run.Point]) -> None:
        if self._report is not None and points:
            path = epath.Path(self._workdir) / json_lines.METRICS_FILE
            text = "".join(_lines(points))
            with shared_files.exclusive(shared_files.lock_of(path)):
                json_lines.append_text(path, text)
            self._report.step = max(self._report.step, points[-1].step)
        self._update()

    def log_artifact(self, path: str | os.PathLike[str], name: str) -> None:
        target = self._workdir / ARTIFACTS_FOLDER / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            with shared_files.replacing(epath.Path(target)) as temporary:
                shutil.copyfile(path, temporary)
        with _passing():
            self._registry.artifact_table.create(
                target.name,
                os.fspath(target),
                kind="model" if target.name == "model" else "file",
                run=self._registry.run(self.id),
            )

    def set_tags(self, tags: Mapping[str, str]) -> None:
        words = [f"{name}:{value}" if value else name for name, value in tags.items()]
        self.register(tags=words)

    def end(self, status: _tracked_run.Outcome, message: str = "") -> None:
        if self._report is not None:
            self._report.end(status, message)
        self.register()
        self._registry.close()

    def last_steps(self) -> Mapping[str, int]:
        if self._report is None:
            return {}
        with _passing():
            metrics = self._registry.run(self.id).metrics
        return {name: metric.last_step for name, metric in metrics.items()}

    def _update(self) -> None:
        if time.monotonic() > self._next_update:
            self.register()


def _lines(points: Sequence[_tracked_run.Point]) -> Iterator[str]:
    for point in points:
        by_collection: dict[str, dict[str, float]] = {}
        for key, value in point.values.items():
            collection, _, name = key.rpartition(".")
            name = name if "/" in name else f"metrics/{name}"
            by_collection.setdefault(collection or "train", {})[name] = value
        for collection, values in by_collection.items():
            yield json_lines.to_line(point.step, collection, values)


@contextlib.contextmanager
def _passing() -> Iterator[None]:
    """Raises `OSError` if others keep the registry locked, or it cannot be reached."""
    try:
        yield
    except RegistryBusyError as e:
        raise ConnectionError(str(e)) from e
    except RegistryError as e:
        if isinstance(e.__cause__, OSError) or any(x in str(e) for x in _FULL):
            raise ConnectionError(str(e)) from e
        raise
