"""The older decorator, which also checks undecorated dataclasses."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from kauldron import ktyping as kt

_F = TypeVar("_F")


@overload
def typechecked(func: _F, /, *, new_scope: bool = True) -> _F: ...
@overload
def typechecked(*, new_scope: bool = True) -> Any: ...
def typechecked(func: Any = None, /, *, new_scope: bool = True) -> Any:
    """Checks arguments and result of every call against the annotations.

    As `kauldron.ktyping.typechecked`, and of a dataclass that is passed the fields which
    are annotated with array types are checked, in a scope of their own, whether or not
    the class is decorated.

    Args:
      func: What to check: a function, a method, a property, a dataclass.
      new_scope: Whether a call has dims of its own.
    """
    if func is None:
        return kt.typechecked(new_scope=new_scope, fields="arrays")
    return kt.typechecked(func, new_scope=new_scope, fields="arrays")
