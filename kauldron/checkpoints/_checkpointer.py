"""`Checkpointer`: decides when and where to save; Orbax does the I/O.

Steps are written by `_saving` and read by `_restoring`; what exists is
always read from disk (`_layout`), so that nothing can get out of date.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from etils import epath

from kauldron._base import console, root_refs
from kauldron.checkpoints import (
    _arrays,
    _base_checkpointer,
    _checksums,
    _errors,
    _layout,
    _restoring,
    _retention,
    items,
)
from kauldron.ktyping import PyTree

if TYPE_CHECKING:
    from kauldron.checkpoints import _saving

_StateT = TypeVar("_StateT")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checkpointer(_base_checkpointer.BaseCheckpointer):
    """Saves to `workdir/checkpoints/ckpt_<step>/`, in the background, with Orbax.

    The folders are ordinary Orbax checkpoints. One appears under its name only when it
    is complete, with the checksums of its files (`checksums.json`), so if the
    process is killed, the previous one remains the newest.

    A step whose files have changed since is damaged: it is reported, and an older one
    is used. It stays on disk; when the run comes to the step again, it is moved to
    `ckpt_<step>.damaged` before the new one is written.

    A full disk is a warning when a step is saved, and an error of
    `wait_until_finished` if the last step could not be written.

    Attributes:
      workdir: Directory of the run; the trainer's unless given.
      save_interval_steps: Interval in steps, >= 1.
      max_to_keep: How many of the newest steps are kept, >= 1; `None` keeps all.
      keep_time_interval: Keeps in addition one step each such interval.
      keep_period: Keeps in addition every step divisible by it, >= 1.
      save_on_steps: Saves in addition at these steps.
      best_metric_path: Key into `{evaluator name: {metric: value}}`; the `max_to_keep`
        best steps are kept, and the newest. Of equal values the earliest step is the
        best. What was not measured, or is not a number, is worse than any value.
      best_mode: Whether the largest or the smallest value is best.
      preservation_policy: An Orbax policy, instead of all of the above; the newest step
        is kept in addition.
      multiprocessing_options: Passed to Orbax.
      never_save_step_zero: Whether the state before the first update is not saved.
      lightweight_initialize: Accepted for compatibility.
      cleanup_orphaned_snapshots: Accepted for compatibility.
      fast: Accepted for compatibility.
      compress: Whether arrays are compressed. Trained floats become 8 % smaller, zeros
        vanish; saving and restoring take twice the processor time.
      create: Whether saving creates the directory when it is missing; reading never does.
    """

    workdir: epath.PathLike = root_refs.ROOT_CFG_REF.workdir
    save_interval_steps: int
    max_to_keep: int | None = 3
    keep_time_interval: datetime.timedelta | None = None
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
    compress: bool = False
    create: bool = True

    def __post_init__(self) -> None:
        for name in ("save_interval_steps", "max_to_keep", "keep_period"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1: got {value}.")
        if self.best_mode not in ("max", "min"):
            raise ValueError(f"`best_mode` is 'max' or 'min': got {self.best_mode!r}.")
        if self.save_interval_steps is None:
            raise ValueError("`save_interval_steps` must be given.")

    def for_reading(self) -> Self:
        return self.replace(create=False)

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
          state: What to restore: a pytree of arrays or `jax.ShapeDtypeStruct`s (values
            are ignored, but for structure, shape, dtype and sharding), a
            `StandardCheckpointItem()` for whatever arrays there are, or a
            `TopLevelCheckpointItem`, whose `Stateful` fields are restored in place.
          step: Which step; -1 is the newest that is not damaged.
          noop_if_missing: Whether to return `state` when there is no checkpoint.
          donate: Whether the arrays of `state` are deleted before they are read, so that
            memory for one state is enough.

        Raises:
          NoCheckpointError: A `FileNotFoundError`: there is no such step.
          DamagedCheckpointError: If files of the step, or of all steps, have changed.
          CheckpointError: If the checkpoint has a different structure.
        """
        self._join_save()
        found = _layout.step_dirs(self._directory)
        if not (found if step == -1 else step in found):
            if noop_if_missing:
                return state
            _layout.open_step(self.workdir, step)  # raises
        candidates = sorted(found, reverse=True) if step == -1 else [step]
        try:
            _, restored = _restoring.newest_intact(
                candidates,
                lambda s: _restoring.restore_step(s, found[s], state, donate=donate),
                on_damage=self._damaged.add,
            )
        except _errors.CheckpointError:
            # All of several are damaged: the next call would find nothing, and start
            # over.
            if len(candidates) > 1:
                self._damaged.clear()
            raise
        return restored

    def should_save(self, step: int) -> bool:
        if step == 0 and self.never_save_step_zero:
            return False
        return step % self.save_interval_steps == 0 or (
            self.save_on_steps is not None and step in self.save_on_steps
        )

    def save(
        self,
        state: PyTree,
        *,
        step: int,
        force: bool = False,
        metrics: Mapping[str, Any] | None = None,
    ) -> bool:
        """Starts saving; returns before the data are on disk.

        Args:
          state: A pytree of arrays, or a `TopLevelCheckpointItem`.
          step: Number of updates applied.
          force: Whether to save at a step that is not one to save at.
          metrics: `{evaluator name: {metric: value}}`, stored with the step.

        Returns:
          Whether a save was started. A step that exists is not written again, unless it
          is known to be damaged, but may get its `metrics`; a full disk prints a
          warning.

        Raises:
          SaveError: If this save, or the one before, failed for another reason.
          CheckpointError: If there is nothing to save.
        """
        if not (force or self.should_save(step)):
            return False
        directory = self._directory
        if _layout.step_dir(directory, step).exists():
            if step not in self._damaged:
                self.add_metrics(step, metrics)
                return False
            self._move_aside(step)
        if not self.create and not directory.exists():
            raise _errors.NoCheckpointError(
                f"{os.fspath(directory)!r} does not exist, and `create` is False."
            )
        named = items.to_items(state)
        items.check_not_empty(named)
        return self._saver.start(step, named, metrics=metrics)

    def add_metrics(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """Stores what was measured at a step that was saved before it was measured.

        A run that was interrupted evaluates the step when it resumes. Values that the
        step already has are kept.
        """
        folder = _layout.step_dir(self._directory, step)
        if not metrics or not console.is_lead_host():
            return
        self._join_save()
        if folder.exists() and not (folder / _layout.METRICS_ITEM).exists():
            _checksums.add(folder, _layout.write_metrics(folder, metrics))

    def protect(self, step: int | None, *, owner: str) -> None:
        self._protected[owner] = step

    def delete(self, step: int) -> None:
        """Deletes a step.

        Raises:
          NoCheckpointError: If there is no such step.
        """
        self._join_save()
        _layout.open_step(self.workdir, step)
        if console.is_lead_host():
            _layout.remove_step(self._directory, step)

    @property
    def latest_step(self) -> int | None:
        return max(self.all_steps, default=None)

    @property
    def best_step(self) -> int | None:
        """The best complete step by `best_metric_path`; of equal ones the earliest.

        `None` if nothing says what is best.
        """
        return self._policy.best_step(self._step_infos())

    @property
    def all_steps(self) -> Sequence[int]:
        return [s for s in _layout.step_dirs(self._directory) if s not in self._damaged]

    def item_metadata(self, step: int = -1) -> dict[str, Any]:
        """Returns `{item: tree}` of the arrays of a step; leaves have shape and dtype.

        Raises:
          NoCheckpointError: If there is no such step.
        """
        self._join_save()
        _, folder = _layout.open_step(self.workdir, step)
        return {
            path.name: _arrays.metadata(path)
            for path in sorted(folder.iterdir())
            if (path / "_METADATA").exists()
        }

    def reload(self) -> None:
        """Looks at the directory again: forgets which steps were found damaged."""
        self._damaged.clear()

    def wait_until_finished(self) -> None:
        if "_saver" in vars(self):
            self._saver.wait()

    def close(self) -> None:
        if "_saver" in vars(self):
            vars(self).pop("_saver").close()

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _directory(self) -> epath.Path:
        self._assert_root_cfg_resolved()
        return _layout.checkpoints_dir(self.workdir)

    @functools.cached_property
    def _damaged(self) -> set[int]:
        """Steps that this process has found damaged."""
        return set()

    @functools.cached_property
    def _protected(self) -> dict[str, int | None]:
        """Owner -> the step protected for it."""
        return {}

    @functools.cached_property
    def _told(self) -> set[str]:
        """Warnings that are not repeated."""
        return set()

    @functools.cached_property
    def _saver(self) -> _saving.Saver:
        from kauldron.checkpoints import _saving

        return _saving.Saver(
            self._directory,
            multiprocessing_options=self.multiprocessing_options,
            compress=self.compress,
            after_commit=self._delete_old,
        )

    def _join_save(self) -> None:
        """Waits for a save of this process to complete, so that it can be read."""
        if "_saver" in vars(self):
            self._saver.join()

    def _move_aside(self, step: int) -> None:
        self._damaged.discard(step)
        if console.is_lead_host():
            target = _layout.move_aside(self._directory, step)
            console.log(f"The damaged checkpoint of step {step} is now {target}.")

    @property
    def _policy(self) -> _retention.Retention:
        return _retention.Retention(
            max_to_keep=self.max_to_keep,
            keep_period=self.keep_period,
            keep_time_interval=self.keep_time_interval,
            best_metric_path=self.best_metric_path,
            best_mode=self.best_mode,
            policy=self.preservation_policy,
            protected=frozenset(s for s in self._protected.values() if s is not None),
        )

    def _delete_old(self) -> None:
        """Deletes the steps not to be kept; called when a step is complete."""
        policy = self._policy
        if policy.keeps_all or not console.is_lead_host():
            return
        infos = self._step_infos()
        problem = policy.problem(infos)
        if problem and problem not in self._told:
            self._told.add(problem)
            console.warn(
                f"`best_metric_path`: {problem} The newest steps are kept instead."
            )
        for step in {info.step for info in infos} - policy.kept(infos):
            _layout.remove_step(self._directory, step)

    def _step_infos(self) -> list[_retention.StepInfo]:
        """Returns time and metrics of all complete steps, ascending."""
        found = _layout.step_dirs(self._directory)
        return _retention.step_infos(
            {s: folder for s, folder in found.items() if s not in self._damaged}
        )
