"""The exact record of a run: its config with every effective default filled in."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

from kauldron import kontext
from kauldron.konfig import _errors
from kauldron.konfig.building import _export
from kauldron.konfig.names import _named_objects, _qualname, _signature
from kauldron.konfig.tree import _json

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def record(cfg: Any) -> Any:
    """Returns a config as JSON-able data, defaults of everything it calls filled in.

    Where `cfg.to_json()` says what was written, this says what will be used: for each
    call, the defaults of the parameters that were left out, as the code that is installed
    now has them. Two records tell whether a run changed because a default did. It is
    there to be read and compared; `konfig.resolve` takes the config itself.

    A default that JSON cannot hold, such as a closure, is there as text. References are
    replaced by their values. Fields that are never resolved, such as `xm_job`, stay as written.

    Args:
      cfg: A `ConfigDict`, or the data of one.

    Raises:
      ConfigImportError: If something that the config calls cannot be imported.

    Example:

    ```python
    from kauldron import konfig

    cfg = konfig.ConfigDict({"__qualname__": "fractions:Fraction", "numerator": 3})
    assert konfig.record(cfg) == {
        "__qualname__": "fractions:Fraction",
        "numerator": 3,
        "denominator": None,
    }
    ```
    """
    return _fill(_json.to_plain(cfg))


def _fill(value: Any) -> Any:
    if isinstance(value, list):
        return [_fill(v) for v in value]
    if not isinstance(value, dict):
        return value
    if _qualname.QUALNAME not in value:
        return {key: _fill(v) for key, v in value.items()}
    target = _named_objects.import_object(value[_qualname.QUALNAME])
    # Never resolved: what it names need not be installed here.
    unresolved = getattr(target, "__konfig_resolve_exclude_fields__", ())
    filled = {k: v if k in unresolved else _fill(v) for k, v in value.items()}
    for name, default in _defaults_left_out(target, value).items():
        filled[name] = _to_data(default)
    return filled


def _defaults_left_out(target: Any, node: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the defaults of the parameters that a call does not give."""
    signature = _signature.get(target)
    if signature is None:  # many builtins tell nothing
        return {}
    num_positional = sum(key.isdigit() for key in node)
    given = {*node, *signature.positional[:num_positional]}
    defaults = {}
    for name, parameter in signature.named.items():
        if name in given or name.startswith("_"):
            continue
        default = _made_by_factory(target, name, parameter.default)
        if default is not inspect.Parameter.empty:
            defaults[name] = default
    return defaults


def _made_by_factory(target: Any, name: str, default: Any) -> Any:
    if not dataclasses.is_dataclass(target):
        return default
    for field in dataclasses.fields(target):
        make = field.default_factory
        if field.name == name and make is not dataclasses.MISSING:
            return make()
    return default


def _to_data(default: Any) -> Any:
    if isinstance(default, str) and default == kontext.REQUIRED:
        return repr(kontext.REQUIRED)
    if isinstance(default, Mapping) and not default:
        return {}
    if isinstance(default, tuple):
        return [_to_data(v) for v in default]
    try:
        return _export.export(default)
    except (NotImplementedError, _errors.ConfigError):
        return _ADDRESS.sub("", repr(default))
