"""What a run may change in its process, put back or told, so that the next finds it new."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import site
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextlib.contextmanager
def restored(*, is_first: bool) -> Iterator[list[str]]:
    """Puts back what the block changes, as far as that is possible.

    Args:
      is_first: Whether this is the first run of the process. The variables of the
        environment that it adds are those that libraries set when they are imported.

    Yields:
      What could not be put back, such as `'jax_enable_x64 of JAX'`; filled at the end of
      the block. What a module sets when it is imported cannot: the import is not
      repeated for the next run, so the setting would be missing.
    """
    changes: list[str] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    argv, path, cwd = list(sys.argv), list(sys.path), os.getcwd()
    root = logging.getLogger()
    log_handlers, log_level = list(root.handlers), root.level
    environment, settings = dict(os.environ), _jax_settings()
    try:
        with warnings.catch_warnings():
            yield changes
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.argv, sys.path[:] = argv, path
        os.chdir(cwd)
        root.handlers[:], root.level = log_handlers, log_level
        _forget_random_numbers()
        if is_first:
            environment = {**os.environ, **environment}
        changes += _differences(environment, dict(os.environ), "of the environment")
        changes += _differences(settings, _jax_settings(), "of JAX")


def _jax_settings() -> dict[str, Any]:
    import jax  # every run needs it: it is no import that could be saved

    return dict(jax.config.values)


def _differences(before: dict[str, Any], after: dict[str, Any], what: str) -> list[str]:
    names = sorted(before.keys() | after.keys())
    return [f"{name} {what}" for name in names if before.get(name) != after.get(name)]


def _forget_random_numbers() -> None:
    """A new process draws other numbers each time, unless it is told a seed."""
    random.seed()
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed()


class Sources:
    """The source files of imported modules, without those of installed packages.

    A new process would import what the files hold now.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        installed = [*site.getsitepackages(), site.getusersitepackages()]
        installed += sysconfig.get_paths().values()
        self._installed = tuple(f"{os.path.abspath(p)}{os.sep}" for p in installed)
        self.look(since=time.time())

    def look(self, *, since: float) -> None:
        """Notes the files of modules that were imported since the last look.

        Args:
          since: When that was. A file that was edited after it, perhaps after it was
            imported, counts as changed.
        """
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or file in self._times:
                continue
            if not os.path.abspath(file).startswith(self._installed):
                time_ns = _time_of(file)
                self._times[file] = time_ns if time_ns < since * 1e9 else -1

    def have_changed(self) -> bool:
        """Whether a file was edited since it was noted."""
        return any(_time_of(file) != time for file, time in self._times.items())


def _time_of(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0
