"""`konfig.imports()`: import statements that bind proxies instead of importing.

`builtins.__import__` has to be replaced for the time of the block, which every thread
sees. Our replacement hands over to the original one unless the import statement is
executed by the frame that entered the block (or by one that called it), in the same
thread. Functions that are called inside the block import as always.
"""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors, _origin
from kauldron.konfig.names import _finder, _missing_modules
from kauldron.konfig.writing import _proxy


class _Capture:
    """One active `imports()` block."""

    def __init__(self, *, lazy: bool, frames: frozenset[types.FrameType]):
        self.lazy = lazy
        self.frames = frames
        self.thread = threading.get_ident()
        self.names = _proxy.Names()

    def applies_to(self, frame: types.FrameType) -> bool:
        return frame in self.frames and self.thread == threading.get_ident()

    def is_lazy(self, module: str) -> bool:
        return self.lazy or _lazy_modules.get().covers(module)


_captures: contextvars.ContextVar[tuple[_Capture, ...]] = contextvars.ContextVar(
    "konfig_captures", default=()
)


@contextlib.contextmanager
def imports(*, lazy: bool = False) -> Iterator[None]:
    """Within the block, `import` binds names, whose use makes config nodes.

    Nothing is executed: each module is only looked for, so that a misspelt import is
    reported at once. `from module import Class` works too. Only import statements of
    the code that contains the block are affected, and only in its thread.

    Args:
      lazy: Do not even look for the modules; for what is not installed here.

    Raises:
      ConfigImportError: An `ImportError`: there is no such module.

    Example:

    ```python
    from kauldron import konfig

    with konfig.imports():
        import optax

    cfg = optax.adam(learning_rate=1e-3)
    assert cfg.learning_rate == 1e-3
    ```
    """
    capture = _Capture(lazy=lazy, frames=_calling_frames())
    token = _captures.set((*_captures.get(), capture))
    _hook.install()
    try:
        yield
    finally:
        _hook.uninstall()
        _captures.reset(token)
        capture.frames = frozenset()


def _calling_frames() -> frozenset[types.FrameType]:
    """Returns the frames below this module's and contextlib's.

    They are kept while the block is active only. Keeping all of them, not the nearest
    alone, makes `imports()` work when it is wrapped in a context manager of the user.
    """
    frames = set()
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name not in (__name__, "contextlib"):
            frames.add(frame)
        frame = frame.f_back
    return frozenset(frames)


class _ImportHook:
    """Replaces `builtins.__import__` while any block is active in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_active = 0
        self._original: Any = builtins.__import__

    def install(self) -> None:
        with self._lock:
            self._num_active += 1
            if self._num_active == 1:
                self._original = builtins.__import__
                builtins.__import__ = self

    def uninstall(self) -> None:
        with self._lock:
            self._num_active -= 1
            # A third-party hook on top of ours stays; ours then only delegates.
            if self._num_active == 0 and builtins.__import__ is self:
                builtins.__import__ = self._original

    def __call__(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        captures = _captures.get()
        if captures and captures[-1].applies_to(sys._getframe(1)):
            return _import(captures[-1], name, tuple(fromlist or ()), level)
        return self._original(name, globals, locals, fromlist, level)


_hook = _ImportHook()


def _import(capture: _Capture, name: str, fromlist: tuple[str, ...], level: int) -> Any:
    if level:
        statement = f"from {'.' * level}{name} import {', '.join(fromlist)}"
        raise _errors.ConfigImportError(
            f"`{statement}`: inside `konfig.imports()`, relative imports are not "
            "possible. Write the full name of the module."
        )
    if "*" in fromlist:
        raise _errors.ConfigImportError(
            f"`from {name} import *`: inside `konfig.imports()`, what it would bind is "
            "not known. Name what is needed."
        )
    if not capture.is_lazy(name) and _finder.find(name) is not None:
        _allow_absent(name, fromlist)
    capture.names.add(name)
    if not fromlist:
        return _proxy.Proxy(name.partition(".")[0], "", capture.names)
    namespace = types.SimpleNamespace()
    for symbol in fromlist:
        module = f"{name}.{symbol}"
        if capture.is_lazy(module) or _is_absent(name) or _finder.find(module) is None:
            capture.names.add(module)
            value = _proxy.Proxy(module, "", capture.names)
        else:
            _check_symbol(name, symbol)
            value = _proxy.Proxy(name, symbol, capture.names)
        setattr(namespace, symbol, value)
    return namespace


_tell_absent: contextvars.ContextVar[Callable[[str], None] | None] = (
    contextvars.ContextVar("konfig_tell_absent", default=None)
)


@contextlib.contextmanager
def absent_packages_are_lazy(tell: Callable[[str], None]) -> Iterator[None]:
    """Within the block, packages that are not installed are names only.

    So that configs can be shown, and resolved without the fields that need the package.
    A name that looks like a misspelt package is still an error, and so is a module that
    is missing in a package that is there.

    Args:
      tell: Gets a line for each such package.
    """
    told: set[str] = set()

    def tell_once(message: str) -> None:
        if message not in told:
            told.add(message)
            tell(message)

    token = _tell_absent.set(tell_once)
    try:
        yield
    finally:
        _tell_absent.reset(token)


def _is_absent(module: str) -> bool:
    """Returns whether absent packages are lazy, and the module is in one."""
    package = module.partition(".")[0]
    return _tell_absent.get() is not None and _finder.find(package) is not None


def _allow_absent(name: str, fromlist: tuple[str, ...]) -> None:
    """Raises if a module that cannot be found is a mistake."""
    tell = _tell_absent.get()
    package = name.partition(".")[0]
    if tell is None or not _is_absent(name):
        raise _not_found(name, fromlist)
    if errors.is_probable_typo(package, _finder.top_level_names()):
        raise _not_found(name, fromlist)
    where = _origin.current()
    tell(
        f"{f'{where}: ' if where else ''}there is no module {package!r} here: what the "
        "config takes from it is kept by name, and cannot be built."
    )


def _check_symbol(module: str, symbol: str) -> None:
    """Raises if an imported module certainly has no such name."""
    loaded = sys.modules.get(module)
    if loaded is None or hasattr(loaded, "__getattr__") or symbol in dir(loaded):
        return
    raise _errors.MissingNameError(
        f"`from {module} import {symbol}`: {module!r} has no {symbol!r}."
        + errors.did_you_mean(symbol, dir(loaded))
    )


def _not_found(name: str, fromlist: tuple[str, ...]) -> _errors.ConfigImportError:
    statement = f"import {name}"
    if fromlist:
        statement = f"from {name} import {', '.join(fromlist)}"
    where = _origin.current()
    error = _errors.ConfigImportError(
        f"`{statement}`{f' ({where})' if where else ''}: "
        f"{_missing_modules.describe_missing(name)} If it is not needed here, import it in a "
        "block of its own: `with konfig.imports(lazy=True):`."
    )
    error.name = name
    return error


class _LazyModules:
    """Which modules are not looked for."""

    def __init__(self, lazy: Iterable[str] = (), except_: Iterable[str] = ()):
        self.lazy = tuple([lazy] if isinstance(lazy, str) else lazy)
        self.except_ = tuple([except_] if isinstance(except_, str) else except_)

    def covers(self, module: str) -> bool:
        return _is_among(module, self.lazy) and not _is_among(module, self.except_)


def _is_among(module: str, names: tuple[str, ...]) -> bool:
    return "*" in names or _origin.is_within(module, names)


_NONE_LAZY = _LazyModules()
_lazy_modules: contextvars.ContextVar[_LazyModules] = contextvars.ContextVar(
    "konfig_lazy_modules", default=_NONE_LAZY
)


@contextlib.contextmanager
def set_lazy_imported_modules(
    lazy_import: Iterable[str] = ("*",), *, except_: Iterable[str] = ()
) -> Iterator[None]:
    """Sets which modules `imports()` does not look for; also usable as a decorator.

    The innermost block decides. What is not listed is looked for as usual.

    Args:
      lazy_import: Module names; `"a.b"` stands for everything inside it too, `"*"` for
        all modules.
      except_: Exceptions from `lazy_import`.

    Example:

    ```python
    from kauldron import konfig

    with konfig.set_lazy_imported_modules(["not_installed"]), konfig.imports():
        import not_installed.models

    cfg = not_installed.models.Net()
    ```
    """
    token = _lazy_modules.set(_LazyModules(lazy_import, except_))
    try:
        yield
    finally:
        _lazy_modules.reset(token)
