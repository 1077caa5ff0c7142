"""`Runner`: runs a config, or a model of any library, tracked and published."""

from __future__ import annotations

import dataclasses
import inspect
import os
import signal
import tempfile
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn, Protocol

from kauldron import konfig
from kauldron._base import process_signals
from kauldron.tracking.publishers import _publisher, _redis
from kauldron.tracking.registry import workspaces
from kauldron.tracking.runner import _feed
from kauldron.tracking.settings import sources
from kauldron.tracking.storage import _opening, _storage
from kauldron.tracking.trackers import _local, _mlflow, _tracked_run, _tracker

_MODEL = "model"


class Model(Protocol):
    """A model of any library, as far as a runner looks at it."""

    def fit(self, *data: Any) -> Any:
        """Trains. What it returns is kept, if it is a dict of numbers.

        A `fit` with an argument `log` is given a function: `log(step, loss=0.5)`.
        """

    def predict(self, *data: Any) -> Any:
        """Returns predictions."""

    def evaluate(self, *data: Any) -> Mapping[str, float]:
        """Returns `{metric: value}`."""
        ...

    def save(self, path: str) -> None:
        """Writes itself to a file or a folder."""

    def load(self, path: str) -> Any:
        """Reads what `save` has written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """A run that is done.

    Attributes:
      id: Of the tracker's run; empty if the tracker could not be reached.
      name: How it is called.
      metrics: `collection.metric`, such as `eval.accuracy`, to its last value.
      model: The model; of a config, the final state.
    """

    id: str
    name: str
    metrics: Mapping[str, float]
    model: Any


class Interrupted(KeyboardInterrupt):
    """A signal ended a run."""


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs a training config, or a model of any library; the same on all backends.

    A run that fails, exits or is stopped by a signal is told to have ended so, and what was
    raised goes on.

    Attributes:
      storage: Where models are uploaded to; `None`: what the settings say.
      settings: Of the workspace found upwards, unless given.
      tracker: Where runs are kept; `None`: MLflow if the settings have `mlflow.uri`, else
        the registry of the workspace.
      publisher: Who tells others; `None`: Redis if the settings have `redis.url`.
    """

    storage: _storage.Storage | None = None
    settings: sources.Settings | None = None
    tracker: _tracker.Tracker | None = None
    publisher: _publisher.Publisher | None = None

    def run(
        self,
        what: Any,
        *,
        name: str = "",
        params: Mapping[str, Any] | None = None,
        train_data: tuple[Any, ...] = (),
        eval_data: tuple[Any, ...] | None = None,
        id: str = "",
        parent: str = "",
    ) -> RunResult:
        """Runs something to its end.

        Args:
          what: The config of a trainer, a trainer, a class of models, or a model. A
            trainer goes on where its workdir is.
          name: How the run is called; as the workdir or the class unless given.
          params: Arguments of the class, or values that describe the model.
          train_data: Arguments of `fit`.
          eval_data: Arguments of `evaluate`; `None` evaluates nothing.
          id: Of the tracker's run that goes on. A model is loaded if it was saved.
          parent: Id of the run that this one is a part of.

        Raises:
          BaseException: What the run raises.
          TrackerError: If it can neither be trained nor fitted.
        """
        backends = self._backends()
        if isinstance(what, konfig.ConfigDict) or hasattr(what, "num_train_steps"):
            from kauldron.tracking.runner import _training  # needs JAX

            return RunResult(
                **_training.train(
                    what,
                    name=name,
                    parent=parent,
                    storage=backends.storage,
                    tracker=backends.tracker,
                    publisher=backends.publisher,
                )
            )
        _check_model(what)
        kind = what if isinstance(what, type) else type(what)
        info = _tracked_run.RunStart(name=name or kind.__name__, id=id, parent=parent)
        feed = _feed.RunFeed(info, backends.tracker, backends.publisher)
        error = None
        try:
            with process_signals.handled((signal.SIGTERM,), _interrupt):
                described = {_MODEL: f"{kind.__module__}:{kind.__qualname__}"}
                feed.start({**described, **(params or {})})
                model = what(**(params or {})) if isinstance(what, type) else what
                if id:
                    model = _loaded(model, _key_of(info.name, id), backends.storage)
                _fit(model, train_data, feed)
                if eval_data is not None:
                    feed.log(feed.step, model.evaluate(*eval_data), "eval")
                _save(model, info.name, feed, backends.storage)
        except BaseException as e:
            error = e
            raise
        finally:
            feed.end(error)
        return RunResult(
            id=feed.run_id, name=info.name, metrics=feed.metrics, model=model
        )

    def _backends(self) -> Runner:
        """Returns a runner whose backends are what the settings say."""
        settings = self.settings
        workspace = workspaces.Workspace.find()
        if settings is None:
            settings = workspace.settings if workspace else sources.MemorySettings()
        storage, tracker, publisher = self.storage, self.tracker, self.publisher
        if storage is None and (place := settings.get("storage")):
            storage = _opening.open_storage(str(place))
        if tracker is None and (uri := settings.get("mlflow.uri")):
            tracker = _mlflow.MLflow(uri=str(uri))
        elif tracker is None and workspace is not None:
            tracker = _local.Local(registry=os.fspath(workspace.root))
        if publisher is None and (url := settings.get("redis.url")):
            publisher = _redis.RedisPublisher(str(url))
        return Runner(storage, settings, tracker, publisher)


def _check_model(what: Any) -> None:
    missing = [name for name in ("fit", "evaluate", "save") if not hasattr(what, name)]
    if missing:
        raise _tracked_run.TrackerError(
            f"A runner runs the config of a trainer, or what has `fit`, `predict`, "
            f"`evaluate`, `save` and `load`: {what!r} has no `{missing[0]}`."
        )


def _fit(model: Any, data: tuple[Any, ...], feed: _feed.RunFeed) -> None:
    def log(step: int, **metrics: float) -> None:
        feed.log(step, metrics, "train")

    options = {"log": log} if "log" in inspect.signature(model.fit).parameters else {}
    returned = model.fit(*data, **options)
    if isinstance(returned, Mapping):
        feed.log(feed.step, returned, "train")


def _save(
    model: Any, name: str, feed: _feed.RunFeed, storage: _storage.Storage | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, _MODEL)
        model.save(path)
        feed.keep(path, _MODEL)
        feed.flush()  # before the folder is gone
        if storage is not None:
            storage.upload(path, _key_of(name, feed.run_id or "run"))


def _loaded(model: Any, key: str, storage: _storage.Storage | None) -> Any:
    """Returns a model as it was saved, if it was."""
    if storage is None or not storage.exists(key):
        return model
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, _MODEL)
        storage.download(key, path)
        loaded = model.load(path)  # in place, or another one
    return model if loaded is None else loaded


def _key_of(name: str, run_id: str) -> str:
    return f"{name}/{run_id}/{_MODEL}"


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise Interrupted(f"Stopped by {signal.Signals(number).name}.")
