"""`fine_tune`: trains on from the weights of an app; the result is a new app."""

from __future__ import annotations

import contextlib
import inspect
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optax

from kauldron import checkpoints, export, konfig, kontext, train
from kauldron.apps.bundles import results
from kauldron.apps.bundles.asking import Progress
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.results import Result, ResultFile
from kauldron.apps.verbs import _configs, _layout, _values, bundling
from kauldron.sharding import TrainState

_TRAINING = ".training"


class WeightsOfApp(checkpoints.InitTransform):
    """Begins with the weights of an app, and with a new optimizer state.

    Attributes:
      path: The file of a member.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def transform(self, state: TrainState) -> TrainState:
        return export.load_weights(self.path, state)


class TellProgress(train.Hook):
    """Tells how far a training is, and keeps what is measured last.

    Attributes:
      progress: Is told.
      num_steps: Of the training.
      measured: What was logged last of the training, and what its evaluators say of the
        state at its end.
    """

    def __init__(self, progress: Progress, num_steps: int) -> None:
        self.progress = progress
        self.num_steps = num_steps
        self.measured: dict[str, dict[str, Any]] = {}

    def before_step(
        self, run: Any, *, step: int, state: TrainState, batch: Any
    ) -> None:
        del run, state, batch
        every = max(1, self.num_steps // 100)
        if step % every == 0:
            share = 0.9 * step / self.num_steps
            self.progress(share, f"step {step} of {self.num_steps}")

    def on_log(self, run: Any, *, step: int, values: Any) -> None:
        del run
        numbers = {**values.loss_values, **values.metric_values}
        self.measured["training"] = {
            "after_updates": step,
            **_values.plain_values(numbers),
        }

    def on_eval(
        self, run: Any, *, step: int, name: str, values: Mapping[str, Any]
    ) -> None:
        del run
        if step == self.num_steps:
            found = self.measured.setdefault("evaluation", {})
            found[name] = _values.plain_values(values)


def fine_tune(
    call: Call,
    folder: pathlib.Path,
    manifest: Manifest,
    out: str | os.PathLike[str],
    *,
    trusted: Sequence[str],
    progress: Progress,
) -> Result:
    """Trains on from the weights of a member; writes a new app into a folder.

    The optimizer and its schedules begin anew, with new data; the new app counts the
    updates of both trainings.

    Args:
      call: What is asked.
      folder: Of the app.
      manifest: Of the app.
      out: Where the new app goes, as a folder of its name.
      trusted: Packages that the config of the run may name besides those known.
      progress: Is told how far it is.

    Raises:
      AppError: If it cannot be trained; nothing was started.
    """
    call = call.check(manifest)
    num_steps = call.steps
    assert num_steps is not None  # checked
    name = call.name or manifest.name
    member = call.members(manifest)[0]
    cfg = _config(call, folder, manifest, trusted)
    place = results.OutFolder(out)
    target = place.path
    with _training_folder(target) as workdir:
        cfg.workdir = os.fspath(workdir)
        trainer = konfig.resolve(cfg)
        if not isinstance(trainer.checkpointer, checkpoints.Checkpointer):
            trainer = trainer.replace(
                checkpointer=checkpoints.Checkpointer(save_interval_steps=num_steps)
            )
        told = TellProgress(progress, num_steps)
        trainer = trainer.replace(
            init_transform=WeightsOfApp(folder / _layout.member_file(member)),
            hooks={**trainer.hooks, "app_progress": told},
            # A short training logs its last update, too.
            log_metrics_every=min(trainer.log_metrics_every, max(1, num_steps - 1)),
        )
        trainer.train()
        progress(0.9, "making the app")
        bundling.bundle_trainer(
            trainer,
            _with_own_data(cfg, folder, manifest, trusted),
            target / name,
            eval_name=manifest.evaluator or None,
            about=_about(manifest, name),
            first_step=manifest.step,
            sources=folder / _layout.CODE,
        )
    result = Result(
        out=target,
        verb=call.verb,
        app={"name": manifest.name, "version": manifest.version},
        applied={"members": [member], "steps": num_steps},
        files=(ResultFile(path=name, kind="app", output="app"),),
        values={"app": {"step": manifest.step + num_steps}, **told.measured},
    )
    place.write(results.FILE, result.to_bytes())
    progress(1.0, "done")
    return result


def _config(
    call: Call, folder: pathlib.Path, manifest: Manifest, trusted: Sequence[str]
) -> Any:
    """Returns the config of the training."""
    changes = {**call.overrides, "num_train_steps": call.steps}
    cfg = _configs.read(folder / _layout.CONFIG, changes, trusted)
    if call.data is not None:
        data = pathlib.Path(call.data).absolute()
        if not data.exists():
            raise AppError(f"The data {call.data!r} do not exist.")
        for path in manifest.data_paths:
            _configs.put(cfg, path, os.fspath(data))
    if call.learning_rate is not None:
        num_set = _set_learning_rate(cfg.optimizer, call.learning_rate)
        if not num_set:
            raise AppError(
                "The optimizer of the app has no `learning_rate` to be set: leave it out."
            )
    return cfg


def _set_learning_rate(node: Any, value: float) -> int:
    """Sets all learning rates of an optimizer; returns how many there are."""
    if isinstance(node, konfig.ConfigDict):
        num_set = 0
        for key in list(node):
            if key == "learning_rate" or (key == "0" and _begins_with_rate(node)):
                node[key] = value
                num_set += 1
            else:
                num_set += _set_learning_rate(node[key], value)
        return num_set
    if isinstance(node, Sequence) and not isinstance(node, str):
        return sum(_set_learning_rate(x, value) for x in node)
    return 0


def _begins_with_rate(node: Any) -> bool:
    """Whether the first argument of a call is a learning rate, `optax.adam(1e-3)`."""
    module, _, name = str(node.get("__qualname__", "")).partition(":")
    function = getattr(optax, name, None) if module == "optax" else None
    if not callable(function):
        return False
    return next(iter(inspect.signature(function).parameters), "") == "learning_rate"


def _with_own_data(
    cfg: Any, folder: pathlib.Path, manifest: Manifest, trusted: Sequence[str]
) -> Any:
    """Returns the config with the data paths of the app, not those of this machine."""
    before = _configs.read(folder / _layout.CONFIG, {}, trusted)
    changed = _configs.without_references(cfg)
    for path in manifest.data_paths:
        _configs.put(changed, path, kontext.get_by_path(before, path))
    return changed


def _about(manifest: Manifest, name: str) -> bundling.Description:
    ports = (*manifest.outputs, *manifest.references)
    labels = {k: x for port in ports for k, x in port.labels.items()}
    return bundling.Description(
        name=name,
        version=manifest.version,
        description=manifest.description,
        licence=manifest.licence,
        task=manifest.task,
        labels={k: x.name for k, x in labels.items()},
        colours={k: x.colour for k, x in labels.items() if x.colour},
        allowed_overrides=manifest.allowed_overrides,
        data_paths=manifest.data_paths,
        max_tta=manifest.max_tta,
        max_mc=manifest.max_mc,
    )


@contextlib.contextmanager
def _training_folder(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a folder for the training, which is removed when all went well."""
    workdir = target / _TRAINING
    yield workdir
    shutil.rmtree(workdir)
