"""Persistent compilation cache, in a cache directory of the user."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from kauldron._base import switches

SWITCH_VARIABLE = "KAULDRON_COMPILATION_CACHE"

# By default JAX keeps what took a second to compile. Less pays off: reads take ms, and a
# start that compiles nothing does not even load the compiler (22 MB on a CPU).
_MIN_COMPILE_SECS = 0.005

# JAX bounds the size only where the package `filelock` is installed.
_MAX_AGE_DAYS = 60


@dataclasses.dataclass
class CacheUse:
    """What the cache has done for a thread.

    Attributes:
      num_hits: Programs that were read.
      num_misses: Programs that were compiled.
    """

    num_hits: int = 0
    num_misses: int = 0

    def __sub__(self, before: CacheUse) -> CacheUse:
        return CacheUse(
            self.num_hits - before.num_hits, self.num_misses - before.num_misses
        )


class Cache:
    """The cache of a run.

    Attributes:
      directory: Where it is; `None` if it is off.
    """

    def __init__(self, directory: str | None) -> None:
        self.directory = directory
        self._by_thread = collections.defaultdict[int, CacheUse](CacheUse)

    def used_here(self) -> CacheUse:
        """Returns what it has done so far for the thread that asks."""
        return dataclasses.replace(self._by_thread[threading.get_ident()])

    def note(self, event: str, **_: Any) -> None:
        """Receives the events of JAX, in the thread that compiles."""
        use = self._by_thread[threading.get_ident()]
        use.num_hits += event == "/jax/compilation_cache/cache_hits"
        use.num_misses += event == "/jax/compilation_cache/cache_misses"

    def describe(self, use: CacheUse, secs: float) -> str:
        """Returns a line on a step whose compilation took `secs` seconds."""
        text = f"Compiled the first step in {secs:.1f} s"
        total = use.num_hits + use.num_misses
        if self.directory is None or not total:
            return f"{text}."
        programs = "program" if total == 1 else "programs"
        return (
            f"{text}; {use.num_hits} of its {total} {programs} came from "
            f"{self.directory}."
        )


@contextlib.contextmanager
def use(*, wanted: bool) -> Iterator[Cache]:
    """Keeps what is compiled inside the block, and uses what was kept.

    Settings of the user's own (`JAX_COMPILATION_CACHE_DIR`, `jax.config`) are used as
    they are. `KAULDRON_COMPILATION_CACHE=0` switches off what is set here.

    Args:
      wanted: Whether to set the cache up.
    """
    cache = Cache(_setting("jax_compilation_cache_dir"))
    jax.monitoring.register_event_listener(cache.note)
    try:
        if cache.directory is None and wanted and switches.is_on(SWITCH_VARIABLE):
            with _configured(cache):
                yield cache
        else:
            yield cache
    finally:
        jax.monitoring.unregister_event_listener(cache.note)


def default_directory() -> pathlib.Path:
    """Returns the cache directory of this user on this platform."""
    if sys.platform == "darwin":
        base = pathlib.Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = pathlib.Path(os.environ.get("LOCALAPPDATA") or pathlib.Path.home())
    else:
        given = os.environ.get("XDG_CACHE_HOME")
        base = pathlib.Path(given) if given else pathlib.Path.home() / ".cache"
    return base / "kauldron" / "jax-cache"


@contextlib.contextmanager
def _configured(cache: Cache) -> Iterator[None]:
    try:
        directory = default_directory()
        directory.mkdir(parents=True, exist_ok=True)
        _drop_old_entries(directory)
    except (OSError, RuntimeError):  # no home, or none that can be written
        yield
        return
    cache.directory = str(directory)
    settings = {
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": _MIN_COMPILE_SECS,
    }
    before = {name: _setting(name) for name in settings}
    _set(settings)
    try:
        yield
    finally:
        _set(before)


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def _set(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at the directory only once


def _drop_old_entries(directory: pathlib.Path) -> None:
    oldest = time.time() - _MAX_AGE_DAYS * 24 * 3600
    for entry in os.scandir(directory):
        with contextlib.suppress(OSError):  # another process was faster
            if entry.is_file() and entry.stat().st_mtime < oldest:
                os.unlink(entry.path)
