"""Backends by name, as `--on=` has them: `local`, `Local(parallel=2)`."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from kauldron import konfig
from kauldron._base import errors
from kauldron.launch._backend import Backend, LaunchError

_CLASSES = {
    "local": "kauldron.launch._local:Local",
    "commands": "kauldron.launch._commands:Commands",
    "slurm": "kauldron.launch.slurm._slurm:Slurm",
}


def by_name(name: str, **fields: Any) -> Backend:
    """Returns the backend of a name, such as a handle has.

    Args:
      name: `'local'`, ...
      **fields: Of the backend; those that are `None` are left to it.

    Raises:
      LaunchError: If there is none.
    """
    backend_class = _class_of(name)
    known = getattr(backend_class, "__dataclass_fields__", {})
    given = {k: v for k, v in fields.items() if v is not None}
    for field in given:
        if field not in known:
            raise LaunchError(f"`--{field}` is not for `--on={name}`.")
    return backend_class(**given)


def from_text(text: str, **fields: Any) -> Backend:
    """Returns the backend that `--on=` names.

    Args:
      text: A name, or a call of a class of `kd.launch`, `Local(parallel=2)`.
      **fields: As of `by_name`.

    Raises:
      LaunchError: If it is neither.
    """
    if "(" not in text:
        return by_name(text.strip(), **fields)
    name = text.partition("(")[0].strip().removeprefix("kd.launch.")
    _class_of(name.lower())
    expression = f"py::kauldron.kd:launch.{name}({text.partition('(')[2]}"
    cfg = konfig.ConfigDict({"backend": None})
    konfig.apply_overrides(cfg, konfig.parse_overrides([f"--cfg.backend={expression}"]))
    return from_node(cfg.backend, **fields)


def from_node(node: konfig.ConfigDict, **fields: Any) -> Backend:
    """Returns the backend that a node of a config describes.

    Args:
      node: Such as `kd.launch.Local(parallel=2)` in a config.
      **fields: As of `by_name`.

    Raises:
      ConfigError: If it has no such field.
    """
    changed = konfig.ConfigDict({"backend": node}).backend.copy_and_resolve_references()
    for field, value in fields.items():
        if value is not None:
            changed[field] = value
    return konfig.resolve(changed)


def to_json(backend: Backend) -> dict[str, Any]:
    """Returns name and fields of a backend as JSON values, see `from_json`."""
    fields: Any = getattr(backend, "__dataclass_fields__", {})
    given = {name: getattr(backend, name) for name, f in fields.items() if f.init}
    return {"name": name_of(backend), "fields": given}


def from_json(content: Mapping[str, Any]) -> Backend:
    """Returns the backend that `to_json` has described."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content["fields"].items()
    }
    return by_name(content["name"], **fields)


def with_parallel(backend: Backend, parallel: int | None) -> Backend:
    """Returns a backend that is given so many tasks at a time, if it has a number."""
    fields: Any = getattr(backend, "__dataclass_fields__", {})
    if parallel is None or "parallel" not in fields:
        return backend
    changed: Any = backend
    return dataclasses.replace(changed, parallel=parallel)


def name_of(backend: Backend) -> str:
    """Returns the name of a backend, as its handles have it."""
    return type(backend).__name__.lower()


def _class_of(name: str) -> Any:
    if name not in _CLASSES:
        raise LaunchError(
            f"There is nothing called {name!r} to start runs on."
            f"{errors.did_you_mean(name, _CLASSES)} There are {', '.join(_CLASSES)}."
        )
    module, _, cls = _CLASSES[name].partition(":")
    return getattr(importlib.import_module(module), cls)
