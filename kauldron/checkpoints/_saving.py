"""Asynchronous saving: commit, checksums, then deletion of old steps."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 (what it registers comes after ours)
import contextlib
import dataclasses
import errno
import functools
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from etils import epath

from kauldron._base import console
from kauldron.checkpoints import (
    _arrays,
    _dtypes,
    _errors,
    _held_buffers,
    _layout,
    _names,
    _orbax_messages,
    items,
)

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

_NO_SPACE_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Saver:
    """Saves one step at a time in the background.

    All of a save is done there, Orbax's part included, where the buffers of the arrays
    can be held: see `_held_buffers`. Otherwise Orbax copies arrays to the host first.

    Args:
      directory: Folder of the checkpoints.
      multiprocessing_options: Passed to Orbax.
      compress: Whether arrays are compressed.
      after_commit: Called in the background when a step is complete.
    """

    def __init__(
        self,
        directory: epath.Path,
        *,
        multiprocessing_options: Any,
        compress: bool,
        after_commit: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._options = multiprocessing_options
        self._compress = compress
        self._after_commit = after_commit
        self._checkpointer: ocp.AsyncCheckpointer | None = None
        self._thread: threading.Thread | None = None
        self._failure: _errors.SaveError | None = None
        self._quiet = _orbax_messages.QuietOrbax()
        self._quiet.start()
        _before_exit(self)
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
        content = _content_of(named, metrics)
        held = None if content.own else _held_buffers.hold(content.trees)
        if held is None:
            try:
                self._begin(step, content)
            except Exception as e:
                self._fail(step, e)
                if self._failure is not None and not self._failure.is_no_space:
                    self.wait()
                return False
            finish = functools.partial(self._finish, step)
        else:
            content = dataclasses.replace(content, trees=held.trees)
            finish = functools.partial(self._finish, step, content, held)
        # What it refers to must go with it: the arrays of a whole state.
        self._thread = threading.Thread(target=finish, name="kauldron-save")
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

    def _begin(self, step: int, content: _Content) -> None:
        from kauldron.checkpoints import _orbax_saves

        if self._checkpointer is None:
            self._checkpointer = _orbax_saves.make_checkpointer(self._options)
        _orbax_saves.save(
            self._checkpointer,
            _layout.step_dir(self._directory, step),
            trees=content.trees,
            states=content.states,
            own=content.own,
            compress=self._compress,
        )

    def _finish(
        self,
        step: int,
        content: _Content | None = None,
        held: _held_buffers.Held | None = None,
    ) -> None:
        """Completes a save, or does all of it if there is content yet to be saved."""
        try:
            if content is not None:
                self._begin(step, content)
            if self._checkpointer is not None:
                self._checkpointer.wait_until_finished()
        except Exception as e:
            self._fail(step, e)
            return
        finally:
            if held is not None:
                held.release()
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


def _before_exit(saver: Saver) -> None:
    """Makes a program that ends without waiting complete its last save.

    Python waits for threads, but refuses them the pools of threads that Orbax needs. Only
    what is registered in this way comes before that; `atexit` is too late.
    """
    alive = weakref.ref(saver)

    def complete() -> None:
        found = alive()
        if found is not None:
            try:
                found.wait()
            except _errors.SaveError as e:
                console.warn(str(e))

    register = getattr(threading, "_register_atexit", None)  # not public
    if register is not None:
        with contextlib.suppress(RuntimeError):  # the program is ending
            register(complete)


@dataclasses.dataclass(frozen=True)
class _Content:
    """What a step is made of.

    Attributes:
      trees: Name -> arrays.
      states: Name -> what is stored as JSON.
      own: Name -> an item that says itself how Orbax stores it.
    """

    trees: dict[str, Any]
    states: dict[str, Any]
    own: dict[str, items.CheckpointItem]


def _content_of(
    named: Mapping[str, Any], metrics: Mapping[str, Any] | None
) -> _Content:
    """Sorts items by how they are stored.

    Raises:
      CheckpointError: If something cannot be stored.
    """
    content = _Content({}, {}, {})
    for name, item in named.items():
        if isinstance(item, items.CheckpointItem):
            content.own[name] = item
        elif isinstance(item, items.Stateful):
            content.states[name] = item.get_state()
            _names.check_json_keys(content.states[name])
        else:
            _names.check_savable(item)
            for leaf_name, leaf in _arrays.flatten(item).items():
                _dtypes.check_checkpoint(leaf_name, leaf)
            content.trees[name] = item
    if metrics:
        content.states[_layout.METRICS_ITEM] = _layout.json_values(metrics)
    return content


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
