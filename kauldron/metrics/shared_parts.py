"""Parts that several measurements of one step have in common, computed for the first one.

Metrics are independent of each other, and many read the same keys: each would trace the
same checks of labels again. Inside of `sharing`, what `@shared` functions return for the
same arrays is returned once more.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar, cast

import jax
import jax.extend.core
import numpy as np

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])

# Key -> trace, arguments (alive, so that no other array has their identity), result.
_Known = dict[Hashable, tuple[Any, tuple[Any, ...], Any]]
_KNOWN: contextvars.ContextVar[_Known | None] = contextvars.ContextVar(
    "_KNOWN", default=None
)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Inside the block, parts are shared; whatever was shared before the block is not."""
    token = _KNOWN.set({})
    try:
        yield
    finally:
        _KNOWN.reset(token)


def shared(function: _FunctionT) -> _FunctionT:
    """Decorates a pure function of arrays, and of hashable options by name."""

    @functools.wraps(function)
    def remembering(*arrays: Any, **options: Any) -> Any:
        known = _KNOWN.get()
        if known is None:
            return function(*arrays, **options)
        key = (function, tuple(map(_identity, arrays)), tuple(options.items()))
        # What a function within a function has computed cannot leave it.
        trace = jax.extend.core.get_opaque_trace_state()
        if key not in known or known[key][0] != trace:
            known[key] = (trace, arrays, function(*arrays, **options))
        return known[key][-1]

    return cast(_FunctionT, remembering)


def _identity(x: Any) -> Hashable:
    return id(x) if isinstance(x, jax.Array | np.ndarray) else (type(x), x)
