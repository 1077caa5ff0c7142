"""Asynchronous saving: commit, checksums, then deletion of old steps.

Imported when the first checkpoint is written, because Orbax takes a second to import.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import orbax.checkpoint as ocp
from etils import epath

from kauldron._base import console
from kauldron.checkpoints import (
    _arrays,
    _checksums,
    _dtypes,
    _errors,
    _layout,
    _names,
    _orbax_messages,
    items,
)
from kauldron.ktyping import PyTree

_TIMEOUT_SECS = 30 * 60
_FOLDER_MODE = 0o770
_NO_SPACE_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Handler(ocp.CompositeCheckpointHandler):
    """Writes checksums when all files are there, before the folder gets its name.

    Orbax calls this in its background thread, on one process, when the others have
    written their files.
    """

    def finalize(self, directory: epath.Path) -> None:
        super().finalize(directory)
        _checksums.write(directory)


@ocp.args.register_with_handler(_Handler, for_save=True, for_restore=True)
class _SaveArgs(ocp.args.Composite):
    """Makes Orbax choose our handler."""


class Saver:
    """Saves one step at a time in the background.

    Args:
      directory: Folder of the checkpoints.
      multiprocessing_options: Passed to Orbax.
      after_commit: Called in the background when a step is complete.
    """

    def __init__(
        self,
        directory: epath.Path,
        *,
        multiprocessing_options: Any,
        after_commit: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._options = multiprocessing_options or ocp.options.MultiprocessingOptions()
        self._after_commit = after_commit
        self._checkpointer: ocp.AsyncCheckpointer | None = None
        self._thread: threading.Thread | None = None
        self._failure: _errors.SaveError | None = None
        self._quiet = _orbax_messages.QuietOrbax()
        self._quiet.start()
        if console.is_lead_host():
            directory.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()

    def start(
        self, step: int, named: Mapping[str, Any], *, metrics: Mapping[str, Any] | None
    ) -> bool:
        """Starts to save; waits for the save before.

        Args:
          step: Which step.
          named: Name -> item.
          metrics: What was measured at the step.

        Returns:
          Whether it was started; a full disk is reported, and does not raise.

        Raises:
          SaveError: If this save, or the one before, failed for another reason.
        """
        self.join()
        failure, self._failure = self._failure, None
        if failure is not None and not failure.is_no_space:
            raise failure from failure.cause
        args = {name: _save_args(item) for name, item in named.items()}
        if metrics:
            args[_layout.METRICS_ITEM] = ocp.args.JsonSave(_layout.json_values(metrics))
        try:
            path = _layout.step_dir(self._directory, step)
            self._orbax().save(
                path, args=_SaveArgs(**args), force=_layout.is_remote(path)
            )
        except Exception as e:
            self._fail(step, e)
            if self._failure is not None and not self._failure.is_no_space:
                self.wait()
            return False
        self._thread = threading.Thread(
            target=self._finish, args=(step,), name="kauldron-save"
        )
        self._thread.start()
        return True

    def join(self) -> None:
        """Waits for the save in the background, whether it fails or not."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            # Orbax makes folders in the background, perhaps after it has failed.
            self._remove_leftovers()

    def wait(self) -> None:
        """Waits for the save in the background.

        Raises:
          SaveError: If it failed, or could not be started.
        """
        self.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure from failure.cause

    def close(self) -> None:
        """Waits, and ends Orbax's threads."""
        try:
            self.wait()
        finally:
            self._drop_orbax()
            self._quiet.stop()

    def _orbax(self) -> ocp.AsyncCheckpointer:
        if self._checkpointer is None:
            options = self._options
            registry = ocp.DefaultCheckpointHandlerRegistry()
            # The file name that Orbax's own manager looks for.
            metrics = ocp.JsonCheckpointHandler("metrics")
            registry.add(_layout.METRICS_ITEM, ocp.args.JsonSave, metrics)
            self._checkpointer = ocp.AsyncCheckpointer(
                _Handler(
                    composite_options=ocp.CompositeOptions(
                        multiprocessing_options=options
                    ),
                    handler_registry=registry,
                ),
                async_options=ocp.AsyncOptions(timeout_secs=_TIMEOUT_SECS),
                multiprocessing_options=options,
                file_options=ocp.options.FileOptions(path_permission_mode=_FOLDER_MODE),
            )
        return self._checkpointer

    def _finish(self, step: int) -> None:
        try:
            self._orbax().wait_until_finished()
        except Exception as e:
            self._fail(step, e)
            return
        try:
            self._after_commit()
        except OSError as e:
            console.warn(f"Old checkpoints could not be deleted: {e}.")

    def _fail(self, step: int, cause: Exception) -> None:
        """Notes a failure, and frees the disk space of the step."""
        self._quiet.failed()
        no_space = _no_space(cause)
        self._failure = _errors.SaveError(
            step, self._directory, no_space or cause, is_no_space=no_space is not None
        )
        # Orbax's state is undefined now; on closing, it reports the same error again.
        with contextlib.suppress(Exception):
            self._drop_orbax()
        self._remove_leftovers()
        if self._failure.is_no_space:
            console.warn(
                f"{self._failure} The next save, if there is one, tries again."
            )

    def _remove_leftovers(self) -> None:
        if console.is_lead_host():
            _layout.remove_leftovers(self._directory)

    def _drop_orbax(self) -> None:
        if self._checkpointer is not None:
            checkpointer, self._checkpointer = self._checkpointer, None
            checkpointer.close()


def _save_args(item: PyTree) -> Any:
    if isinstance(item, items.CheckpointItem):
        return item.__kd_ocp_save_args__()
    if isinstance(item, items.Stateful):
        state = item.get_state()
        _names.check_json_keys(state)
        return ocp.args.JsonSave(state)
    _names.check_savable(item)
    for name, leaf in _arrays.flatten(item).items():
        _dtypes.check_checkpoint(name, leaf)
    return ocp.args.StandardSave(item)


def _no_space(e: BaseException) -> OSError | None:
    """Returns the OS error if an error or one of its causes is a full disk.

    TensorStore has no error type for it: it quotes the system's words in a page of
      text.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [e]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        for code in _NO_SPACE_CODES:
            words = os.strerror(code)
            if getattr(error, "errno", None) == code or words in str(error):
                return OSError(code, words)
        waiting += [
            error.__cause__,
            error.__context__,
            *getattr(error, "exceptions", ()),
        ]
    return None
