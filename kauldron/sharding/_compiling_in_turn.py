"""Of the processes on one machine, the first compiles a program; the others load it.

Each would compile the same, at the same time, on the same cores. JAX's own cache does not
help: the first process writes it, under names that the others do not look for. So the
first one leaves what it compiles for those that wait for it, in the folder of that cache; a
program is known there by all that it is made of.

A process that waits in vain, or finds no program that is its own, compiles for itself; so
do the others when the first one has found a program in JAX's cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.sharding import NamedSharding

from kauldron.ktyping import PyTree
from kauldron.sharding import _roll_call

_LOOK_EVERY_SECS, _LOOK_FOR_FIRST_EVERY_SECS = 0.01, 0.5
# All come to a program at about the same time, or the first one does not come to it.
_PATIENCE_SECS = 10.0
# Longer than anything takes to compile.
_MAX_COMPILATION_SECS = 3600.0

_BEGUN, _DONE = "begun", "done"
_SUFFIX = ".program"
_CACHE_HIT = "/jax/compilation_cache/cache_hits"
# In the text of programs that call Python.
_CALLBACK = "callback"


class _Turns:
    """What the processes of a run on this machine compile together.

    Args:
      roll_call: Where they tell each other.
    """

    def __init__(self, roll_call: _roll_call.RollCall) -> None:
        self._roll_call = roll_call
        self._folder: pathlib.Path | None = None
        self._is_on: bool | None = None
        self._num_programs = 0
        self._written: list[pathlib.Path] = []

    def take(
        self, jitted: Any, args: tuple[Any, ...], out_structure: PyTree
    ) -> Callable[..., Any]:
        if self._is_on is None:
            self._folder = _cache_folder()
            self._is_on = self._folder is not None and self._roll_call.is_with_first()
        if not self._is_on:
            return jitted
        self._num_programs += 1
        name = str(self._num_programs)
        lowered = jitted.lower(*args)
        text = lowered.as_text()
        # A callback is another one in each process, and cannot be written.
        if _CALLBACK in text:
            return jitted
        path = self._path(text)
        if self._roll_call.is_first:
            self._is_on = self._compile(lowered, path, name)
            return jitted
        self._is_on = self._wait(name)
        structures = jax.tree.structure((args, {})), out_structure
        compiled = _load(path, *structures) if self._is_on else None
        return jitted if compiled is None else _Loaded(compiled, jitted)

    def close(self) -> None:
        """Removes what was left for others."""
        for path in self._written:
            path.unlink(missing_ok=True)

    def _compile(
        self, lowered: jax.stages.Lowered, path: pathlib.Path, name: str
    ) -> bool:
        """Compiles a program for all; returns whether the others have been told."""
        if not self._roll_call.tell(f"{name}_{_BEGUN}"):
            return False
        try:
            with _cache_hits() as hits:
                compiled = lowered.compile()
            # What was itself loaded cannot be written again: jaxlib 0.10.2 leaves parts out,
            # which is noticed when it runs.
            if not hits and _is_on_all_devices(compiled) and _write(path, compiled):
                self._written.append(path)
        finally:
            is_told = self._roll_call.tell(f"{name}_{_DONE}")
        return is_told

    def _path(self, text: str) -> pathlib.Path:
        """Returns where a program is, as text, with all that compiling it depends on."""
        assert self._folder is not None
        parts = (text, os.environ.get("XLA_FLAGS", ""), self._roll_call.start_name)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return self._folder / f"{digest}{_SUFFIX}"

    def _wait(self, name: str) -> bool:
        """Returns whether the first process has compiled its next program."""
        has_begun = self._until(f"{name}_{_BEGUN}", _PATIENCE_SECS)
        return has_begun and self._until(f"{name}_{_DONE}", _MAX_COMPILATION_SECS)

    def _until(self, name: str, timeout_secs: float) -> bool:
        end = time.monotonic() + timeout_secs
        look = 0.0  # whether it is still there costs more than whether it is done
        while not self._roll_call.is_told(name):
            now = time.monotonic()
            if now > look:
                look = now + _LOOK_FOR_FIRST_EVERY_SECS
                if now > end or not self._roll_call.is_with_first():
                    return False
            time.sleep(_LOOK_EVERY_SECS)
        return True


@contextlib.contextmanager
def _cache_hits() -> Iterator[list[str]]:
    """Yields a list of what comes from the compilation cache inside the block."""
    hits: list[str] = []

    def on_event(event: str, **kwargs: Any) -> None:
        if event == _CACHE_HIT:
            hits.append(event)

    jax.monitoring.register_event_listener(on_event)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(on_event)


def _write(path: pathlib.Path, compiled: jax.stages.Compiled) -> bool:
    """Writes a program, if that is possible; returns whether it has been."""
    new = path.with_suffix(f".{os.getpid()}")
    try:
        content, *_ = serialize_executable.serialize(compiled)
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.replace(path)
    except (OSError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError):
        new.unlink(missing_ok=True)
        return False
    return True


def _load(
    path: pathlib.Path, in_structure: PyTree, out_structure: PyTree
) -> jax.stages.Compiled | None:
    """Returns a program that was written; `None` if there is none that can be loaded."""
    try:
        content = path.read_bytes()
        return serialize_executable.deserialize_and_load(
            content, in_structure, out_structure
        )
    except (OSError, ValueError, TypeError, jax.errors.JaxRuntimeError):
        return None


@dataclasses.dataclass
class _Loaded:
    """A program that another process has compiled, called as what `jax.jit` returns."""

    compiled: jax.stages.Compiled | None
    otherwise: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        if self.compiled is not None:
            try:
                return self.compiled(*args)
            # It is for other arrays, or they are placed elsewhere.
            except (TypeError, ValueError):
                self.compiled = None
        return self.otherwise(*args)


def _cache_folder() -> pathlib.Path | None:
    """Returns the folder of the compilation cache; `None`: programs are not shared."""
    config: Any = jax.config
    folder = config.jax_compilation_cache_dir
    # Elsewhere it is not known whether a program runs in a process that has not made it.
    is_on = config.jax_enable_compilation_cache and jax.default_backend() == "cpu"
    if not is_on or not folder or not os.path.isdir(folder):
        return None
    return pathlib.Path(folder)


def _is_on_all_devices(compiled: jax.stages.Compiled) -> bool:
    """Whether a program has all devices in their order, as who loads it takes them."""
    shardings = jax.tree.leaves((compiled.input_shardings, compiled.output_shardings))
    meshes: set[Any] = {s.mesh for s in shardings if isinstance(s, NamedSharding)}
    devices = tuple(jax.devices())
    return bool(meshes) and all(tuple(m.devices.flat) == devices for m in meshes)


_current: list[_Turns] = []


@contextlib.contextmanager
def using(roll_call: _roll_call.RollCall) -> Iterator[None]:
    """Inside the block, the processes of a roll call compile in turn."""
    turns = _Turns(roll_call)
    _current.append(turns)
    try:
        yield
    finally:
        _current.remove(turns)
        turns.close()


def compile_in_turn(
    jitted: Any, args: tuple[Any, ...], out_structure: PyTree
) -> Callable[..., Any]:
    """Returns what to call instead of a jitted function, for arguments like these.

    Of the processes on a machine only the first one compiles it; the others wait, and
    load what it has compiled. A process that is alone gets the function as it is. All
    processes must call this in the same order.

    Args:
      jitted: What `jax.jit` has returned; without keyword arguments.
      args: Its arguments, on all devices of the run.
      out_structure: Of its result.
    """
    if not _current:
        return jitted
    return _current[-1].take(jitted, args, out_structure)
