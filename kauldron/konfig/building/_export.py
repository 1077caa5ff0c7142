"""`konfig.export`: live objects back to the config that builds them."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

from kauldron._base import frozen_dict
from kauldron.konfig import _errors
from kauldron.konfig.names import _qualname

_SCALARS = (type(None), bool, int, float, str)


def export(obj: Any) -> Any:
    """Returns a live object as JSON-able data that `konfig.resolve` turns back.

    Known are dataclasses (their init fields), arrays, dtypes, dicts, lists, tuples and
    namedtuples, classes and functions of modules, scalars, and whatever has a method
    `__konfig_export__()` that returns such data with a `__qualname__`.

    Args:
      obj: The object.

    Returns:
      Dicts, lists, and scalars; `konfig.resolve(data, freeze=False)` is like `obj`.

    Raises:
      NotImplementedError: For an object of another kind; names where it is.
      ValueError: If `__konfig_export__()` returns something else.

    Example:

    ```python
    import fractions

    from kauldron import konfig

    data = konfig.export({"half": (1, 2), "kind": fractions.Fraction})
    assert konfig.resolve(data, freeze=False) == {
        "half": (1, 2),
        "kind": fractions.Fraction,
    }
    ```
    """
    return _export(obj, "")


def export_qualname(obj: Any) -> str:
    """Returns `'module:Class'` of a class, a function, or the class of an object."""
    if not isinstance(obj, type) and not inspect.isroutine(obj):
        obj = type(obj)
    return f"{obj.__module__}:{obj.__qualname__}"


def _export(obj: Any, where: str) -> Any:
    if isinstance(obj, _SCALARS):
        return obj
    if hasattr(type(obj), "__konfig_export__"):
        return _export_by_method(obj)
    if isinstance(obj, dict):
        return _export_dict(obj, where)
    if type(obj) is list:
        return [_export(v, f"{where}[{i}]") for i, v in enumerate(obj)]
    if isinstance(obj, tuple):
        return _export_tuple(obj, where)
    if inspect.isclass(obj) or inspect.isroutine(obj):
        return _export_constant(obj, where)
    if (exported := _export_array(obj)) is not None:
        return exported
    if dataclasses.is_dataclass(obj):
        return _export_dataclass(obj, where)
    raise _not_known(obj, where)


def _call(qualname: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    positional = {str(i): arg for i, arg in enumerate(args)}
    return {_qualname.QUALNAME: qualname, **positional, **kwargs}


def _export_by_method(obj: Any) -> Any:
    exported = obj.__konfig_export__()
    if not isinstance(exported, dict) or _qualname.QUALNAME not in exported:
        raise _errors.ConfigError(
            f"`{type(obj).__qualname__}.__konfig_export__()` must return a dict with "
            f"{_qualname.QUALNAME!r}, got {_errors.short(exported)}."
        )
    return exported


def _export_dict(obj: dict[Any, Any], where: str) -> Any:
    cls = frozen_dict.ImmutableDict
    qualname = export_qualname(cls if isinstance(obj, cls) else dict)
    pairs = [
        [_export(k, f"{where}.keys()"), _export(v, f"{where}[{k!r}]")]
        for k, v in obj.items()
    ]
    return _call(qualname, pairs)


def _export_tuple(obj: tuple[Any, ...], where: str) -> Any:
    fields = getattr(obj, "_fields", None)
    if fields is not None:
        values = {k: _export(getattr(obj, k), f"{where}.{k}") for k in fields}
        return _call(_importable(type(obj), where), **values)
    return _call(
        "builtins:tuple", [_export(v, f"{where}[{i}]") for i, v in enumerate(obj)]
    )


def _export_constant(obj: Any, where: str) -> Any:
    return {_qualname.CONST: _importable(obj, where)}


def _importable(obj: Any, where: str) -> str:
    """Returns the name of a class or function, if it can be imported by it."""
    found: Any = sys.modules.get(getattr(obj, "__module__", None) or "")
    for name in getattr(obj, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    if found is not obj:
        raise _not_known(obj, where)
    return export_qualname(obj)


def _export_dataclass(obj: Any, where: str) -> Any:
    values = {
        field.name: _export(getattr(obj, field.name), f"{where}.{field.name}")
        for field in dataclasses.fields(obj)
        if field.init
    }
    return _call(_importable(type(obj), where), **values)


def _export_array(obj: Any) -> Any:
    """Exports arrays, dtypes, and array specs, without importing their libraries."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(obj, numpy.dtype):
        return _call("numpy:dtype", _export_dtype(obj))
    if isinstance(obj, numpy.ndarray | numpy.generic) or _is_jax_array(obj):
        array = numpy.asarray(obj)
        return _call("numpy:asarray", array.tolist(), dtype=_export_dtype(array.dtype))
    if type(obj).__name__ == "ArraySpec" and hasattr(obj, "shape"):
        dtype = numpy.dtype(obj.dtype)
        shape = _call("builtins:tuple", list(obj.shape))
        return _call("etils.enp:ArraySpec", shape=shape, dtype=_export(dtype, ""))
    return None


def _export_dtype(dtype: Any) -> Any:
    if dtype.type.__module__ == "ml_dtypes":  # `bfloat16` and the like
        return {_qualname.CONST: f"ml_dtypes:{dtype.name}"}
    return dtype.name


def _is_jax_array(obj: Any) -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(obj, jax.Array)


def _not_known(obj: Any, where: str) -> Exception:
    at = f"`obj{where}` is " if where else ""
    return _errors.like(NotImplementedError)(
        f"{at}{_errors.short(obj)} ({type(obj).__name__}), which `konfig.export` cannot "
        "write as a config. Give its class a method `__konfig_export__(self)` that "
        "returns {'__qualname__': 'module:Class', 'argument': value}."
    )
