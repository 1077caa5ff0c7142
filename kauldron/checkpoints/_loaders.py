"""Partial loading: parts of another run into the initial state."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from etils import epath

from kauldron.checkpoints import (
    _init_transforms,
    _plan,
    _safetensors,
    _shape_changes,
    _sources,
    _surgery,
)
from kauldron.sharding import TrainState


def _default_mapping() -> dict[str, str]:
    return {"params": "params", "collections": "collections"}


class _ArrayFunctions(dict[str, _plan.ArrayFn]):
    """The `transform=` argument of a loader, which is also its method `transform`.

    Every init transform is applied as `loader.transform(state)`; here this name holds
    functions of arrays, too.
    """

    def __init__(
        self,
        functions: Mapping[str, _plan.ArrayFn],
        load: Callable[[TrainState], TrainState],
    ) -> None:
        super().__init__(functions)
        self._load = load

    def __call__(self, state: TrainState) -> TrainState:
        """Changes the state before the optimizer state is made from the parameters."""
        return self._load(state)


class _SurgeryLoader(_init_transforms.InitTransform):
    """Copies what rules name, from a source into the initial state.

    Attributes:
      new_to_old: Path in this run -> path in the source.
      ignore_model_keys: Globs of leaves of this run that keep their initial value.
      ignore_restored_keys: Globs of source leaves that may remain unused.
      resize: Glob of leaves of this run -> what to do if their shape has changed.
      transform: Glob of leaves of this run -> function of the array as it was saved.
    """

    new_to_old: Mapping[str, str]
    ignore_model_keys: Sequence[str]
    ignore_restored_keys: Sequence[str]
    resize: Mapping[str, _shape_changes.Resizer]

    def __post_init__(self) -> None:
        # A subclass's attribute of that name comes before the method.
        load = functools.partial(_SurgeryLoader.transform, self)
        functions = _ArrayFunctions(vars(self)["transform"], load)
        object.__setattr__(self, "transform", functions)
        _ = self._surgery  # raises if something is wrong

    @property
    def _surgery(self) -> _surgery.Surgery:
        return _surgery.Surgery(
            new_to_old=self.new_to_old,
            ignore_model_keys=self.ignore_model_keys,
            ignore_restored_keys=self.ignore_restored_keys,
            resize=self.resize,
            transform=vars(self)["transform"],
        )

    @abc.abstractmethod
    def _open(self, *, verify: bool) -> _sources.Source:
        """Opens the source; with `verify` it is checked for damage."""

    def check(self, state: TrainState) -> None:
        self._surgery.check(state, self._open(verify=False))

    def transform(self, state: TrainState) -> TrainState:
        return self._surgery.before_optimizer(state, self._open(verify=True))

    def transform_after_optimizer(self, state: TrainState) -> TrainState:
        return self._surgery.after_optimizer(state, self._open(verify=False))

    def close(self) -> None:
        """Accepted for compatibility: nothing is kept open."""


@dataclasses.dataclass(frozen=True)
class PartialKauldronLoader(_SurgeryLoader):
    """Copies parts of another run's checkpoint into the initial state.

    Only what is named is read. Values take the dtype and the sharding that they have in
    this run. A printed table says what was loaded, kept and ignored. Leaves under
    `opt_state` are loaded after the optimizer has created its state.

    Paths are written with dots and name a leaf or a subtree. `*` is any text inside one
    part, `**` any number of parts; on the right they stand for whatever they matched on
    the left. A left side `re:...` is a regular expression for whole paths, with groups
    that the right side refers to as `\\1`. If several left sides match a leaf, the last
    one decides.

    Attributes:
      workdir: Directory of the other run.
      new_to_old: Path in this run -> path in the other one.
      ignore_model_keys: Globs, matched at any depth, of leaves of this run that keep
        their initial value.
      ignore_restored_keys: Globs, matched at any depth, of leaves of the other run that
        may remain unused.
      step: Which step of the other run; -1 or 'latest' is the newest, or 'best'.
      lightweight_initialize: Accepted for compatibility.
      resize: Glob of leaves of this run -> what to do if their shape has changed, such as
        `kd.ckpts.InterpolatePositions()`.
      transform: Glob of leaves of this run -> function of the array as it was saved,
        which returns the one to load: `{"kernel": kd.ckpts.Transpose(axes=(1, 0))}`,
        `np.transpose`. Of several globs, the first that matches; then comes `resize`.

    Raises:
      NoCheckpointError: If there is no such run or step.
      DamagedCheckpointError: If files have changed since they were written.
      CheckpointError: If a leaf has no counterpart, another shape or kind of numbers, or
        numbers that its dtype does not hold.

    Example: the relaunch of a run, and an encoder under another name.

    ```python
    kd.ckpts.PartialKauldronLoader(
        workdir="runs/a",
        new_to_old={k: k for k in ("step", "params", "collections", "opt_state")},
    )
    kd.ckpts.PartialKauldronLoader(
        workdir="runs/a",
        new_to_old={"params.encoder.layer_*": "params.trunk.block*"},
        resize={"pos_embedding": kd.ckpts.InterpolatePositions()},
    )
    ```
    """

    workdir: epath.PathLike
    new_to_old: Mapping[str, str] = dataclasses.field(default_factory=_default_mapping)
    ignore_model_keys: Sequence[str] = ()
    ignore_restored_keys: Sequence[str] = ()
    step: int | Literal["latest", "best"] = -1
    lightweight_initialize: bool = False
    resize: Mapping[str, _shape_changes.Resizer] = dataclasses.field(
        default_factory=dict
    )
    transform: Any = dataclasses.field(default_factory=dict)

    def _open(self, *, verify: bool) -> _sources.StepSource:
        return _sources.StepSource.open(self.workdir, self.step, verify=verify)


@dataclasses.dataclass(frozen=True)
class SafetensorsLoader(_SurgeryLoader):
    """Copies arrays of safetensors files into the initial state.

    Only what is named is read. Rules, globs and resizing are those of
    `PartialKauldronLoader`; the right sides name the arrays in the files. Needs the extra
    `kauldron[safetensors]`.

    Attributes:
      path: A file, an index (`*.safetensors.index.json`), or a folder with either.
      new_to_old: Path in this run -> name in the files.
      ignore_model_keys: Globs of leaves of this run that keep their initial value.
      ignore_restored_keys: Globs of names that may remain unused.
      resize: Glob of leaves of this run -> what to do if their shape has changed.
      transform: Glob of leaves of this run -> function of the array as it was saved. A
        file of PyTorch needs `{"kernel": kd.ckpts.TorchKernel()}`: a square kernel would
        fit untransposed, so one that comes from a `weight` is refused without it.

    Raises:
      NoCheckpointError: If there is no such file.
      CheckpointError: If a leaf has no counterpart, another shape or kind of numbers, or
        numbers that its dtype does not hold.
    """

    path: epath.PathLike
    new_to_old: Mapping[str, str] = dataclasses.field(default_factory=_default_mapping)
    ignore_model_keys: Sequence[str] = ()
    ignore_restored_keys: Sequence[str] = ()
    resize: Mapping[str, _shape_changes.Resizer] = dataclasses.field(
        default_factory=dict
    )
    transform: Any = dataclasses.field(default_factory=dict)

    def _open(self, *, verify: bool) -> _safetensors.SafetensorsFiles:
        del verify  # there are no checksums
        return _safetensors.SafetensorsFiles(self.path)


@dataclasses.dataclass(frozen=True)
class SimpleCheckpointLoader(_init_transforms.InitTransform):
    """Loads the parameters and collections of another run as they are, not its step.

    Attributes:
      workdir: Directory of the other run.
      step: Which step of the other run; -1 or 'latest' is the newest, or 'best'.
      load_opt_state: Whether the state of the optimizer is loaded, too.

    Raises:
      NoCheckpointError: If there is no such run or step.
      CheckpointError: If the other run has other parameters.
    """

    workdir: epath.PathLike
    step: int | Literal["latest", "best"] = -1
    load_opt_state: bool = False

    @property
    def _loader(self) -> PartialKauldronLoader:
        names = [
            "params",
            "collections",
            *([_surgery.OPT_STATE] if self.load_opt_state else []),
        ]
        return PartialKauldronLoader(
            workdir=self.workdir,
            new_to_old={name: name for name in names},
            step=self.step,
        )

    def check(self, state: TrainState) -> None:
        self._loader.check(state)

    def transform(self, state: TrainState) -> TrainState:
        return self._loader.transform(state)

    def transform_after_optimizer(self, state: TrainState) -> TrainState:
        return self._loader.transform_after_optimizer(state)

    def close(self) -> None:
        """Accepted for compatibility: nothing is kept open."""
