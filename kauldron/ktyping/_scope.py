"""Scopes: known dims during one call of a `@typechecked` function."""

from __future__ import annotations

import contextvars
import dataclasses
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from kauldron.ktyping import _match
from kauldron.ktyping._errors import NoActiveScopeError

# Frames that Python makes inside of a function, as far as the user is concerned.
_INNER_FRAMES = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>")


@dataclasses.dataclass(eq=False)
class ShapeScope:
    """The dims of one call.

    Attributes:
      candidates: Every assignment that fits all that was checked so far.
      arguments: The arguments by name, for `{...}` dims.
      code: The code object of the function that owns the scope.
      namespace: The globals of that function, for `{...}` dims.
      call: What is being checked, for messages.
      defaults: Values of parameters that were not passed.
      look_into: Looks at the fields of undecorated dataclasses; `None`: they are not
        checked.

    Opened explicitly, it holds for a block:

    ```python
    from kauldron import ktyping as kt

    with kt.ShapeScope(candidates=[{"*b": (2, 3), "h": 4}]):
        assert kt.shape("*b h/2") == (2, 3, 2)
    ```

    There, `{"b": (2,)}` may be written for both `h`-like and `*b`-like names: it gives
    `b` the size 2 and `*b` the sizes (2,).
    """

    candidates: list[_match.Candidate] = dataclasses.field(default_factory=lambda: [{}])
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    code: types.CodeType | None = None
    namespace: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    call: Any = None
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    look_into: Any = None

    def __enter__(self) -> Self:
        self.candidates = [_by_our_names(c) for c in self.candidates]
        _opened.set((*_opened.get(), _current.set(self)))
        return self

    def __exit__(self, *exc_info: Any) -> None:
        *rest, token = _opened.get()
        _opened.set(tuple(rest))
        _current.reset(token)

    def evaluate(self, code: str) -> Any:
        """Evaluates the Python of a `{...}` dim."""
        known = {**self.defaults, **self.arguments}
        try:
            return eval(code, dict(self.namespace), known)
        except Exception as error:
            raise ValueError(
                f"Could not evaluate {{{code}}} of a shape spec: {error!r}. "
                f"It may use the arguments: {', '.join(known) or 'none'}."
            ) from error

    def __str__(self) -> str:
        return format_candidates(self.candidates)


_current: contextvars.ContextVar[ShapeScope | None] = contextvars.ContextVar(
    "ktyping_scope", default=None
)


_opened: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar(
    "ktyping_opened_scopes", default=()
)


def _by_our_names(candidate: Mapping[str, Any]) -> _match.Candidate:
    """Returns a candidate in which sizes are named `*b`, and one size `b`."""
    ours: _match.Candidate = {}
    for name, value in candidate.items():
        if name[0] in "#$!" or not isinstance(value, tuple | list):
            ours[name] = value
            continue
        plain = name.lstrip("*+")
        ours[f"*{plain}"] = tuple(value)
        if len(value) == 1 and name == plain:
            ours[plain] = value[0]
    return ours


@contextmanager
def entered(scope: ShapeScope | None) -> Iterator[None]:
    """Makes the scope the current one."""
    token = _current.set(scope)
    try:
        yield
    finally:
        _current.reset(token)


def push(scope: ShapeScope | None) -> Any:
    return _current.set(scope)


def pop(token: Any) -> None:
    _current.reset(token)


def get_current_scope(*, nested_ok: bool = True) -> ShapeScope:
    """Returns the scope of the innermost `@typechecked` call.

    Args:
      nested_ok: Whether the caller may be another function than the one that was
        decorated.

    Raises:
      NoActiveScopeError: If there is none.
    """
    return require(None if nested_ok else _caller_frame(2))


def require(frame: types.FrameType | None) -> ShapeScope:
    """Returns the current scope; with a frame, only if that frame owns it."""
    scope = _current.get()
    if scope is None:
        raise NoActiveScopeError(
            "There is no scope: call this inside a function decorated with "
            "`@kt.typechecked`, or in a `with kt.typechecked():` block (and with "
            "type checking switched on)."
        )
    if frame is None or scope.code is None or scope.code is owner_code(frame):
        return scope
    raise NoActiveScopeError(
        f"`{frame.f_code.co_qualname}` has no scope of its own; the current one belongs "
        f"to `{scope.code.co_qualname}`. Decorate it with `@kt.typechecked`, or pass "
        "`nested_ok=True` to use the dims of the caller."
    )


def _caller_frame(depth: int) -> types.FrameType:
    import sys

    return sys._getframe(depth + 1)


def owner_code(frame: types.FrameType) -> types.CodeType:
    """Returns the code of the function that a frame is part of."""
    while frame.f_code.co_name in _INNER_FRAMES and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code


def format_candidates(candidates: list[_match.Candidate]) -> str:
    """Returns the dims of every candidate: `*b=(8, 2), h=32`."""
    return " | ".join(format_candidate(c) or "none" for c in candidates)


def format_candidate(candidate: _match.Candidate) -> str:
    texts = []
    for name, value in candidate.items():
        if name.startswith("#"):
            texts.append(f"{name[1:]}⊇{value}")
        elif name == _match.PENDING:
            texts += [f"{dim}={size}" for dim, size in value]
        elif not name.startswith("$"):
            texts.append(f"{name}={value}")
    return ", ".join(texts)
