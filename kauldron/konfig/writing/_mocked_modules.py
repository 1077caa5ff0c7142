"""`konfig.mock_modules()`: configs from already imported modules, for notebooks."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from kauldron.konfig.writing import _proxy

_EXCLUDED = ("konfig", "ecolab")


@contextlib.contextmanager
def mock_modules() -> Iterator[None]:
    """Within the block, modules in the caller's variables make config nodes.

    For notebooks: the modules that are imported already stand for their names, as in
    `konfig.imports()`, and are back afterwards. Variables named `konfig` stay as they
    are; `kd.konfig` does not. If several threads enter blocks of one module, its
    variables are back when the last one leaves.

    Example:

    ```python
    import datetime

    from kauldron import konfig

    with konfig.mock_modules():
        cfg = datetime.timedelta(hours=1)

    assert konfig.resolve(cfg) == datetime.timedelta(hours=1)
    ```
    """
    frame = _calling_frame()
    is_module_level = frame.f_locals is frame.f_globals
    _enter_globals(frame.f_globals)
    mocked = {} if is_module_level else _mock_locals(frame)
    try:
        yield
    finally:
        if mocked:
            _restore_locals(frame, mocked)
        _leave_globals(frame.f_globals)
        del frame


def _calling_frame() -> types.FrameType:
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") in (__name__, "contextlib"):
        assert frame.f_back is not None
        frame = frame.f_back
    return frame


class _Mocked:
    """The modules of one globals dict that are replaced now."""

    def __init__(self, replaced: dict[str, tuple[Any, Any]]):
        self.replaced = replaced  # name -> (module, proxy)
        self.num_blocks = 1


_lock = threading.Lock()
_active: dict[int, _Mocked] = {}


def _find_modules(variables: Any) -> dict[str, tuple[Any, Any]]:
    """Returns name -> (module, proxy) of the variables that hold modules."""
    return {
        name: (value, _proxy.Proxy(value.__name__))
        for name, value in list(variables.items())
        if isinstance(value, types.ModuleType)
        and name.isidentifier()  # not what pytest and IPython hide there
        and not name.startswith("__")
        and name not in _EXCLUDED
    }


def _enter_globals(variables: dict[str, Any]) -> None:
    with _lock:
        active = _active.get(id(variables))
        if active is not None:
            active.num_blocks += 1
            return
        replaced = _find_modules(variables)
        _active[id(variables)] = _Mocked(replaced)
        variables.update({name: proxy for name, (_, proxy) in replaced.items()})


def _leave_globals(variables: dict[str, Any]) -> None:
    with _lock:
        active = _active[id(variables)]
        active.num_blocks -= 1
        if active.num_blocks:
            return
        del _active[id(variables)]
        for name, (module, proxy) in active.replaced.items():
            if variables.get(name) is proxy:  # not assigned in the meantime
                variables[name] = module


def _mock_locals(frame: types.FrameType) -> dict[str, tuple[Any, Any]]:
    replaced = _find_modules(frame.f_locals)
    _write_locals(frame, {name: proxy for name, (_, proxy) in replaced.items()})
    return replaced


def _restore_locals(
    frame: types.FrameType, replaced: dict[str, tuple[Any, Any]]
) -> None:
    variables = frame.f_locals
    changes = {
        name: module
        for name, (module, proxy) in replaced.items()
        if variables.get(name) is proxy
    }
    _write_locals(frame, changes)


def _write_locals(frame: types.FrameType, values: dict[str, Any]) -> None:
    variables = frame.f_locals
    for name, value in values.items():
        variables[name] = value
    if sys.version_info < (3, 13):  # since then, `f_locals` writes through (PEP 667)
        write_back = ctypes.pythonapi.PyFrame_LocalsToFast
        write_back(ctypes.py_object(frame), ctypes.c_int(0))
