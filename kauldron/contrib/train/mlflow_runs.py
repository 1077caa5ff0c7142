"""Runs of MLflow through its client: what its limits would cut or change is not lost."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import re
import socket
import tempfile
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from kauldron._base import errors, extras, process_signals

Outcome = Literal["done", "interrupted", "failed"]

_STATUSES = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
# What MLflow takes at once, and of each value; it cuts what is longer, silently.
_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS = 1000, 100, 100
_MAX_CHARS = 5000
_MAX_NAME = 250
_WHOLE_VALUES = "long_values.json"
# Kinds of errors that pass.
_PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
_GONE = "RESOURCE_DOES_NOT_EXIST"
_CONNECT_SECS = 5.0
_PID, _HOST = "kauldron.pid", "kauldron.host"


class MlflowError(errors.UserError, ValueError):
    """Something that MLflow does not take."""


def load() -> Any:
    """Returns MLflow.

    Raises:
      MissingPackageError: If it is not installed.
    """
    return extras.load("mlflow", needed_by="Tracking with MLflow", extra="mlflow")


class MlflowServer:
    """Where MLflow keeps runs.

    Args:
      uri: A server, or a database such as `sqlite:///mlflow.db`; unless given, what
        `MLFLOW_TRACKING_URI` says.
    """

    def __init__(self, uri: str | None = None) -> None:
        mlflow = load()
        self.uri = uri or mlflow.get_tracking_uri()
        self._check_reachable()
        with self.calling():
            self.client = mlflow.MlflowClient(tracking_uri=self.uri)

    def start(
        self,
        *,
        experiment: str,
        name: str,
        id: str = "",
        parent: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> MlflowRun:
        """Begins a run, or goes on with one.

        A run that goes on is `RUNNING` again. Runs of processes that died on this machine
        without saying so are marked as `KILLED`.

        Args:
          experiment: Name of the experiment; made if it does not exist.
          name: Of the run.
          id: Of the run that goes on. One that is not there any more begins anew.
          parent: Id of the run that this one is a part of.
          tags: Of the run.

        Raises:
          OSError: If the server cannot be reached.
          MlflowError: If it does not take this.
        """
        own = {_PID: str(os.getpid()), _HOST: socket.gethostname()}
        if parent:
            own["mlflow.parentRunId"] = parent
        with self.calling():
            self._end_dead_runs(experiment)
            if not id or not self._has(id):
                experiment_id = self._experiment_id(experiment)
                id = self.client.create_run(experiment_id, run_name=name).info.run_id
            self.client.update_run(id, status="RUNNING")
        run = MlflowRun(self, id)
        run.set_tags({**own, **(tags or {})})
        return run

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Raises `OSError` for what passes, and `MlflowError` for what does not."""
        from mlflow import exceptions

        try:
            self._check_reachable()
            yield
        except exceptions.MlflowException as e:
            told = str(e).splitlines()[0]
            message = f"MLflow at {self._shown_uri!r}: {told}"
            if e.error_code in _PASSING:
                raise ConnectionError(message) from e
            raise MlflowError(message) from e

    def _check_reachable(self) -> None:
        """Raises at once if nobody listens: the client itself tries for minutes."""
        url = urllib.parse.urlsplit(self.uri)
        if url.scheme not in ("http", "https") or urllib.request.getproxies():
            return
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            socket.create_connection(
                (url.hostname or "", port), timeout=_CONNECT_SECS
            ).close()
        except OSError as e:
            raise ConnectionError(
                f"MLflow at {self._shown_uri!r} does not answer: {e.strerror or e}."
            ) from e

    @property
    def _shown_uri(self) -> str:
        return re.sub(r"//[^@/]*@", "//", self.uri)  # without a password

    def _experiment_id(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        from mlflow import exceptions

        try:
            return self.client.create_experiment(name)
        except exceptions.MlflowException:
            found = self.client.get_experiment_by_name(
                name
            )  # another process was first
            if found is None:
                raise
            return found.experiment_id

    def _has(self, id: str) -> bool:
        from mlflow import exceptions

        try:
            return self.client.get_run(id).info.lifecycle_stage == "active"
        except exceptions.MlflowException as e:
            if e.error_code == _GONE:
                return False
            raise

    def _end_dead_runs(self, experiment: str) -> None:
        found = self.client.get_experiment_by_name(experiment)
        if found is None:
            return
        host = socket.gethostname()
        alive = f"attributes.status = 'RUNNING' and tags.`{_HOST}` = '{host}'"
        for run in self.client.search_runs([found.experiment_id], alive):
            pid = run.data.tags.get(_PID, "")
            if pid.isdigit() and not process_signals.is_alive(int(pid)):
                self.client.set_terminated(run.info.run_id, status="KILLED")


class MlflowRun:
    """A run of MLflow.

    Args:
      server: Where it is kept.
      id: By which it is found.
    """

    def __init__(self, server: MlflowServer, id: str) -> None:
        self.id = id
        self._server = server
        self._client = server.client
        self._infinite: set[str] = set()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keeps parameters; MLflow never changes one: another value becomes a tag."""
        from mlflow import entities

        named = {to_name(name): str(value) for name, value in params.items()}
        texts = self._shortened(named)
        with self._server.calling():
            known = self._client.get_run(self.id).data.params
            new = [entities.Param(k, v) for k, v in texts.items() if k not in known]
            for some in _batches(new, _MAX_PARAMS):
                self._client.log_batch(self.id, params=some)
        changed = {
            f"changed.{k}"[:_MAX_NAME]: f"{known[k]} -> {v}"
            for k, v in texts.items()
            if known.get(k, v) != v
        }
        if changed:
            self.set_tags(changed)

    def log_metrics(
        self, points: Iterable[tuple[int, Mapping[str, float], float]]
    ) -> None:
        """Keeps measurements.

        Args:
          points: Step, values by name, and seconds since 1970. A point that is logged
            again with the same time is kept once.
        """
        from mlflow import entities

        metrics = [
            entities.Metric(to_name(name), value, int(seconds * 1000), step)
            for step, values, seconds in points
            for name, value in values.items()
        ]
        with self._server.calling():
            for some in _batches(metrics, _MAX_METRICS):
                self._client.log_batch(self.id, metrics=some)
        # MLflow has the largest number instead.
        infinite = {
            f"infinite.{m.key}"[:_MAX_NAME]: f"{m.value} at step {m.step}"
            for m in metrics
            if math.isinf(m.value) and m.key not in self._infinite
        }
        if infinite:
            self.set_tags(infinite)
            self._infinite |= {m.key for m in metrics if math.isinf(m.value)}

    def log_artifact(self, path: str | os.PathLike[str], name: str) -> None:
        """Keeps a copy of a file or a folder under a name such as `models/best.npz`."""
        source = pathlib.Path(path)
        folder, _, last = name.rpartition("/")
        with self._server.calling():
            if source.is_dir():
                self._client.log_artifacts(self.id, os.fspath(source), name)
                return
            with _called(source, last) as file:
                self._client.log_artifact(self.id, os.fspath(file), folder or None)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Adds tags."""
        from mlflow import entities

        texts = self._shortened({to_name(k): str(v) for k, v in tags.items()})
        with self._server.calling():
            new = [entities.RunTag(k, v) for k, v in texts.items()]
            for some in _batches(new, _MAX_TAGS):
                self._client.log_batch(self.id, tags=some)

    def end(self, status: Outcome, message: str = "") -> None:
        """Says how the run has ended."""
        if message:
            self.set_tags({"kauldron.message": message})
        with self._server.calling():
            self._client.set_terminated(self.id, status=_STATUSES[status])

    def last_steps(self) -> dict[str, int]:
        """Returns the newest step of each metric."""
        with self._server.calling():
            metrics = self._client.get_run(self.id).data.to_proto().metrics
        return {metric.key: int(metric.step) for metric in metrics}

    def _shortened(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Returns texts that MLflow takes whole; those that it would cut are a file."""
        long = {k: v for k, v in texts.items() if len(v) > _MAX_CHARS}
        if not long:
            return dict(texts)
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, _WHOLE_VALUES)
            file.write_text(json.dumps({**self._long_values(), **long}, indent=2))
            self.log_artifact(file, _WHOLE_VALUES)
        return {
            k: v
            if k not in long
            else f"{v[: _MAX_CHARS - 200]} ... [{len(v):,} characters: all of them are in "
            f"the artifact {_WHOLE_VALUES}]"
            for k, v in texts.items()
        }

    def _long_values(self) -> dict[str, str]:
        with self._server.calling(), tempfile.TemporaryDirectory() as folder:
            names = [x.path for x in self._client.list_artifacts(self.id)]
            if _WHOLE_VALUES not in names:
                return {}
            path = self._client.download_artifacts(self.id, _WHOLE_VALUES, folder)
            return json.loads(pathlib.Path(path).read_text())


def to_name(name: str) -> str:
    """Returns a name that MLflow takes: `layers[0].size` is `layers.0.size`."""
    name = re.sub(r"\[(\w+)\]", r".\1", name)
    name = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
    # It is the path of a file: not from the root, no empty part, none that leads up.
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    name = "/".join(parts) or "_"
    if len(name) <= _MAX_NAME:
        return name
    # Long names that begin alike stay different.
    end = f"_{zlib.crc32(name.encode()):08x}"
    return name[: _MAX_NAME - len(end)] + end


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextlib.contextmanager
def _called(source: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """Yields the file under another name: MLflow keeps it by that of the file."""
    if source.name == name:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        link = pathlib.Path(folder, name)
        link.symlink_to(source.resolve())
        yield link
