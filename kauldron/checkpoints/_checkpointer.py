"""`Checkpointer`: when and where; Orbax does the work.

Orbax takes a second to import, so it is imported when the first checkpoint is written
or read.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from etils import epath

from kauldron import errors, kontext
from kauldron.checkpoints import _structure, items
from kauldron.utils import config_util

_StateT = TypeVar("_StateT")

_STEP_PREFIX = "ckpt"


class CheckpointError(errors.UserError, ValueError):
    """A checkpoint cannot be used for what was asked."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BaseCheckpointer(config_util.UpdateFromRootCfg, abc.ABC):
    """Protocol of checkpointers."""

    @abc.abstractmethod
    def restore(
        self,
        state: _StateT,
        *,
        step: int = -1,
        noop_if_missing: bool = False,
        donate: bool = True,
    ) -> _StateT:
        """Returns what was saved at a step, see `Checkpointer.restore`."""

    @abc.abstractmethod
    def should_save(self, step: int) -> bool:
        """Whether the state after `step` updates is to be saved."""

    @abc.abstractmethod
    def save(
        self, state: Any, *, step: int, force: bool = False, metrics: Any = None
    ) -> bool:
        """Saves a state; returns whether it did."""

    def maybe_save(self, state: Any, *, step: int, metrics: Any = None) -> bool:
        """Saves the state if the step is one to save at."""
        return self.should_save(step) and self.save(state, step=step, metrics=metrics)

    @property
    @abc.abstractmethod
    def latest_step(self) -> int | None:
        """The newest complete step, `None` if there is none."""

    @property
    @abc.abstractmethod
    def all_steps(self) -> Sequence[int]:
        """All complete steps, ascending."""

    def wait_until_finished(self) -> None:
        """Waits for a save in the background; raises what went wrong in it."""

    def close(self) -> None:
        """Waits and releases threads."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checkpointer(BaseCheckpointer):
    """Saves to `workdir/checkpoints/ckpt_<step>/`, in the background, with Orbax.

    The folders are ordinary Orbax checkpoints. One appears under its name only when it
    is complete, so a killed process leaves the previous one as the newest.

    Attributes:
      workdir: Directory of the run; the trainer's unless given.
      save_interval_steps: Interval in steps, >= 1.
      max_to_keep: How many of the newest steps are kept; `None` keeps all.
      keep_time_interval: Keeps in addition one step each such interval.
      keep_period: Keeps in addition every step divisible by it.
      save_on_steps: Saves in addition at these steps.
      best_metric_path: Key into `{evaluator name: {metric: value}}`; the `max_to_keep`
        best steps are kept, instead of the newest.
      best_mode: Whether the largest or the smallest value is best.
      preservation_policy: An Orbax policy, instead of `max_to_keep`.
      multiprocessing_options: Passed to Orbax.
      never_save_step_zero: Whether the state before the first update is not saved.
      lightweight_initialize: Passed to Orbax.
      cleanup_orphaned_snapshots: Accepted for compatibility.
      fast: Accepted for compatibility.
      create: Whether the directory is created when missing.
    """

    workdir: epath.PathLike = config_util.ROOT_CFG_REF.workdir
    save_interval_steps: int
    max_to_keep: int | None = 3
    keep_time_interval: Any = None  # datetime.timedelta
    keep_period: int | None = None
    save_on_steps: Sequence[int] | None = None
    best_metric_path: str | None = None
    best_mode: Literal["max", "min"] = "max"
    preservation_policy: Any = None
    multiprocessing_options: Any = None
    never_save_step_zero: bool = False
    lightweight_initialize: bool = False
    cleanup_orphaned_snapshots: bool = False
    fast: bool = True
    create: bool = True

    def __post_init__(self) -> None:
        if self.save_interval_steps < 1:
            raise ValueError(
                "`save_interval_steps` must be at least 1: got "
                f"{self.save_interval_steps}."
            )
        if self.best_mode not in ("max", "min"):
            raise ValueError(f"`best_mode` is 'max' or 'min': got {self.best_mode!r}.")

    @property
    def _directory(self) -> epath.Path:
        self._assert_root_cfg_resolved()
        directory = epath.Path(self.workdir) / "checkpoints"
        if "://" in os.fspath(directory):
            return directory
        return epath.Path(os.path.abspath(directory))  # Orbax takes no relative paths

    @functools.cached_property
    def _manager(self) -> Any:
        import orbax.checkpoint as ocp

        options: dict[str, Any] = {}
        if self.multiprocessing_options is not None:
            options["multiprocessing_options"] = self.multiprocessing_options
        best_fn: Callable[[Any], float] | None = None
        if self.best_metric_path is not None:
            best_fn = functools.partial(_metric_at, path=self.best_metric_path)
        return ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                step_prefix=_STEP_PREFIX,
                max_to_keep=None if self.preservation_policy else self.max_to_keep,
                keep_time_interval=self.keep_time_interval,
                keep_period=self.keep_period,
                best_fn=best_fn,
                best_mode=self.best_mode,
                preservation_policy=self.preservation_policy,
                lightweight_initialize=self.lightweight_initialize,
                cleanup_tmp_directories=True,
                create=self.create,
                **options,
            ),
        )

    def restore(
        self,
        state: _StateT,
        *,
        step: int = -1,
        noop_if_missing: bool = False,
        donate: bool = True,
    ) -> _StateT:
        """Returns what was saved at a step.

        Args:
          state: What to restore: a pytree of arrays (values are ignored, but for
            structure, shape, dtype and sharding), or a `TopLevelCheckpointItem`, whose
            `Stateful` fields are restored in place.
          step: Which step; -1 is the newest.
          noop_if_missing: Whether to return `state` when there is no checkpoint.
          donate: Whether the arrays of `state` are deleted first, so that memory for
            one state is enough.

        Raises:
          FileNotFoundError: If there is no such step.
          CheckpointError: If the checkpoint holds another structure.
        """
        found = self._find(step)
        if found is None:
            if noop_if_missing:
                return state
            wanted = "checkpoint" if step == -1 else f"step {step}"
            raise FileNotFoundError(
                f"There is no {wanted} in {str(self._directory)!r}; found steps "
                f"{list(self.all_steps)}."
            )
        named = items.to_items(state)
        arrays = {k: v for k, v in named.items() if not isinstance(v, items.Stateful)}
        self._check_fits(arrays, found)
        step_dir = self._directory / f"{_STEP_PREFIX}_{found}"
        for name, item in list(named.items()):
            is_optional = getattr(item, "is_optional", False)
            if is_optional and not (step_dir / name).exists():
                del named[name]
        restored = self._read(arrays, [*named], found, donate=donate)
        for name, item in named.items():
            if isinstance(item, items.Stateful):
                item.set_state(restored[name])
                restored[name] = item
        return items.from_items(state, restored)

    def _check_fits(self, arrays: Mapping[str, Any], step: int) -> None:
        step_dir = self._directory / f"{_STEP_PREFIX}_{step}"
        lines: list[str] = []
        for name, item in arrays.items():
            lines += _structure.differences(item, step_dir / name)
        if lines:
            shown = [*lines[:8], f"and {len(lines) - 8} more"][: min(len(lines), 9)]
            raise CheckpointError(
                f"The checkpoint {str(step_dir)!r} does not fit this run:\n  "
                + "\n  ".join(shown)
                + "\nContinue it with the model and optimizer it was saved with, or "
                "choose another `--cfg.workdir=...`."
            )

    def _read(
        self,
        arrays: Mapping[str, Any],
        names: Sequence[str],
        step: int,
        *,
        donate: bool,
    ) -> dict[str, Any]:
        """Reads the items `names`; those not in `arrays` are JSON."""
        import orbax.checkpoint as ocp

        args = {}
        for name in names:
            if name in arrays:
                abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, arrays[name])
                args[name] = ocp.args.StandardRestore(abstract)
            else:
                args[name] = ocp.args.JsonRestore()
        if donate:
            _delete_arrays(arrays)
        return dict(
            self._manager.restore(step, args=ocp.args.Composite(**args)).items()
        )

    def should_save(self, step: int) -> bool:
        if step == 0 and self.never_save_step_zero:
            return False
        return step % self.save_interval_steps == 0 or (
            self.save_on_steps is not None and step in self.save_on_steps
        )

    def save(
        self, state: Any, *, step: int, force: bool = False, metrics: Any = None
    ) -> bool:
        """Starts saving; returns before the data are on disk.

        Args:
          state: A pytree of arrays, or a `TopLevelCheckpointItem`.
          step: Number of updates applied.
          force: Whether to save at a step that is not one to save at.
          metrics: `{evaluator name: {metric: value}}`, for `best_metric_path`.

        Returns:
          Whether a save was started; a step that exists is not written again.
        """
        if not (force or self.should_save(step)) or self._find(step) is not None:
            return False
        import orbax.checkpoint as ocp

        args = {
            name: ocp.args.JsonSave(item.get_state())
            if isinstance(item, items.Stateful)
            else ocp.args.StandardSave(item)
            for name, item in items.to_items(state).items()
        }
        metrics = None if self.best_metric_path is None else _as_floats(metrics)
        self._manager.save(
            step, args=ocp.args.Composite(**args), metrics=metrics, force=True
        )
        return True

    def delete(self, step: int) -> None:
        """Deletes a step."""
        self._manager.delete(step)

    @property
    def latest_step(self) -> int | None:
        return max(self.all_steps, default=None)

    @property
    def all_steps(self) -> Sequence[int]:
        if "_manager" not in self.__dict__ and not self._directory.exists():
            return []
        return sorted(self._manager.all_steps())

    def reload(self) -> None:
        """Looks at the directory again, for steps that another process wrote."""
        if "_manager" in self.__dict__:
            self._manager.reload()

    def wait_until_finished(self) -> None:
        if "_manager" in self.__dict__:
            self._manager.wait_until_finished()

    def close(self) -> None:
        if "_manager" in self.__dict__:
            self._manager.close()
            vars(self).pop("_manager")

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _find(self, step: int) -> int | None:
        if step == -1:
            return self.latest_step
        return step if step in self.all_steps else None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopCheckpointer(BaseCheckpointer):
    """Never saves; what it "restores" is what it was given."""

    def restore(
        self,
        state: _StateT,
        *,
        step: int = -1,
        noop_if_missing: bool = False,
        donate: bool = True,
    ) -> _StateT:
        if state is None:
            raise ValueError("NoopCheckpointer has nothing to restore: pass a state.")
        return state

    def should_save(self, step: int) -> bool:
        return False

    def save(
        self, state: Any, *, step: int, force: bool = False, metrics: Any = None
    ) -> bool:
        if force:
            raise ValueError(
                "This run saves nothing (NoopCheckpointer): set `cfg.checkpointer = "
                "kd.ckpts.Checkpointer(save_interval_steps=...)`."
            )
        return False

    @property
    def latest_step(self) -> int | None:
        return None

    @property
    def all_steps(self) -> Sequence[int]:
        return []


def _as_floats(metrics: Any) -> Any:
    """Returns what can be written as JSON: numbers are arrays without axes."""
    if isinstance(metrics, Mapping):
        numbers = {k: _as_floats(v) for k, v in metrics.items()}
        return {k: v for k, v in numbers.items() if v is not None}
    return float(metrics) if np.size(metrics) == 1 else None


def _metric_at(metrics: Any, *, path: str) -> float:
    return float(kontext.get_by_path(metrics, path))


def _delete_arrays(tree: Any) -> None:
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not leaf.is_deleted():
            leaf.delete()
