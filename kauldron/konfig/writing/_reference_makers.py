"""Constructors of references: placeholders, functions of references, linked copies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from kauldron.konfig import _errors
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import _config_dict, _placeholder, _reference

_T = TypeVar("_T")
_SelfT = TypeVar("_SelfT")

if TYPE_CHECKING:
    ConfigDictLike = _T | Any
else:

    class ConfigDictLike:
        """`ConfigDictLike[T]`: a config whose fields are those of a `T`."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Any


def placeholder(
    field_type: Any = object, *, required: bool = False, default: Any = None
) -> Any:
    """Returns a field without a value yet; reads as `None`.

    Args:
      field_type: Type of the values to come; `object` for any.
      required: Whether reading it before it is set raises.
      default: A value from the start.
    """
    return _placeholder.Placeholder(default, field_type=field_type, required=required)


def required(field_type: Any = object) -> Any:
    """Returns a field that must be set before the config is resolved.

    Reading it before, or computing with it, raises `RequiredValueError` and names the
    field. Printing, JSON and diff show it as not set.

    Args:
      field_type: Type of the value to come; `object` for any.
    """
    return placeholder(field_type, required=True)


def ref_fn(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Makes a function that is computed each time its result is read.

    As a decorator, `@konfig.ref_fn`, calls of the function give references. With
    arguments, `konfig.ref_fn(fn, cfg.ref.a, b=2)` gives the reference at once.
    References among the arguments become their values.

    Args:
      fn: A function of plain values.
      *args: Arguments, may be or hold references.
      **kwargs: Arguments by name.

    Example:

    ```python
    import math

    from kauldron import konfig

    cfg = konfig.ConfigDict({"n": 16})
    cfg.root = konfig.ref_fn(math.sqrt, cfg.ref.n)
    cfg.n = 25
    assert cfg.root == 5.0
    ```
    """
    if args or kwargs:
        return _reference.Reference(_reference.CALL, (fn, args, kwargs))

    @functools.wraps(fn)
    def make_reference(*args: Any, **kwargs: Any) -> Any:
        return _reference.Reference(_reference.CALL, (fn, args, kwargs))

    return make_reference


def ref_copy(cfg: Any) -> Any:
    """Returns a copy whose fields follow those of `cfg` until they are set.

    Later changes of existing fields of `cfg` show in the copy; changes of the copy never
    show in `cfg`. New fields, and nested dicts that are replaced, do not follow.

    Args:
      cfg: A `ConfigDict`.

    Raises:
      ConfigError: A `ValueError`: `cfg` is not a `ConfigDict`.
    """
    if not isinstance(cfg, _config_dict.ConfigDict):
        raise _errors.ConfigError(
            f"`ref_copy` takes a ConfigDict, got {_errors.short(cfg)} "
            f"({type(cfg).__name__})."
        )
    return _link(cfg, {})


def _link(cfg: Any, made: dict[int, Any]) -> Any:
    if id(cfg) in made:
        return made[id(cfg)]
    copy = made[id(cfg)] = cfg.__copy__()
    for key, value in cfg._fields.items():
        if isinstance(value, _config_dict.ConfigDict):
            copy._fields[key] = _link(value, made)
        elif key not in (_qualname.QUALNAME, _qualname.CONST):
            copy._fields[key] = cfg.ref[key]
    return copy


class WithRef:
    """Mixin that tells editors about `.ref` of what becomes a config node."""

    if TYPE_CHECKING:

        @property
        def ref(self: _SelfT) -> _SelfT: ...

    else:

        @property
        def ref(self):
            """For configs alone: `cfg.ref`. A real object has none.

            Raises:
              RuntimeError: Always; says so.
            """
            raise _errors.like(RuntimeError)(
                f"`.ref` is for configs, this is a real {type(self).__name__}."
            )
