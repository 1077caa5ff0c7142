"""Shared-memory transport of large arrays from worker processes, without leftovers.

Python's own shared memory has a tracker process that complains about what is in use
when a program ends. Here a file in the system's memory file system is mapped and
immediately unlinked; the folder is removed by the last process to end.
"""

from __future__ import annotations

import dataclasses
import mmap
import multiprocessing
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


_MEMORY = "/dev/shm"  # Linux; elsewhere arrays travel through pipes
_MIN_BYTES = 2**17  # a pipe is faster for less


def make_folder() -> str | None:
    """Returns a new folder in memory; `None` if the system has none."""
    if not os.access(_MEMORY, os.W_OK):
        return None
    return tempfile.mkdtemp(prefix="kauldron-", dir=_MEMORY)


def start_tracker() -> None:
    """Starts the process by which Python cleans up after killed programs, quietly.

    It removes the semaphores of queues between processes, and would tell of it after the
    program's end, on the terminal.
    """
    before = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{before},{quiet}" if before else quiet
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def remove_folder(folder: str | None) -> None:
    """Removes a folder and what was not received."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def pack(tree: PyTree, folder: str | None) -> Any:
    """Returns nested dicts, lists and tuples whose large arrays are in the folder."""
    if folder is None:
        return tree
    return _map(lambda leaf: _pack(leaf, folder), tree)


def unpack(tree: PyTree) -> Any:
    """Returns what was packed; the files are gone."""
    return _map(lambda leaf: leaf.open() if type(leaf) is _File else leaf, tree)


def end_with_parent(folder: str | None) -> None:
    """Makes this worker process end when its parent does, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        remove_folder(folder)
        os._exit(1)

    threading.Thread(target=wait, name="kauldron-data-parent", daemon=True).start()


@dataclasses.dataclass(frozen=True)
class _File:
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def open(self) -> np.ndarray:
        descriptor = os.open(self.path, os.O_RDWR)
        try:
            os.unlink(self.path)
            pages = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        return np.frombuffer(pages, np.uint8).view(self.dtype).reshape(self.shape)


def _pack(leaf: Any, folder: str) -> Any:
    is_large = type(leaf) is np.ndarray and leaf.nbytes >= _MIN_BYTES
    if not is_large or leaf.dtype.hasobject:
        return leaf
    path = os.path.join(folder, uuid.uuid4().hex)
    content = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    try:
        content.tofile(path)
    except OSError:  # the memory is full, or the folder is gone as the parent ends
        return leaf
    return _File(path, leaf.shape, leaf.dtype)


def _map(fn: Callable[..., Any], tree: PyTree) -> Any:
    if type(tree) is dict:
        return {key: _map(fn, child) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [_map(fn, child) for child in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return fn(tree)
