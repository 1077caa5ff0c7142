"""Disabling checks: globally, per module, or temporarily."""

from __future__ import annotations

import contextvars
import dataclasses
import itertools
import os
import re
from typing import Any, Literal, Self

JaxtypingPolicy = Literal["check", "ignore", "log_info", "warn", "error"]
FieldsPolicy = Literal["decorated", "arrays", "all"]

ENV_VAR = "KAULDRON_TYPECHECKING"
_PACKAGE = __name__.partition(".")[0]


@dataclasses.dataclass
class Config:
    """What is checked.

    As a context manager, holds for the current thread until the block is left:

    ```python
    from kauldron import ktyping as kt

    with kt.Config(typechecking_enabled=False):
        pass  # nothing is checked here
    ```

    Attributes:
      typechecking_enabled: Off, `@typechecked` functions only call the function, and
        `kt.dim`, `kt.shape` are not available. The environment variable
        `KAULDRON_TYPECHECKING` sets the initial value: `0` is off, `1` (the default) on,
        and with `all` the functions of this package are checked as well.
      jaxtyping_annotations: What to do with annotations of jaxtyping in `@typechecked`
        functions. `check`: check them as if they were ours, names are shared; `ignore`;
        `log_info`, `warn`: say so, and check; `error`: raise.
      fields: Of which dataclasses the fields are looked at when an object is passed,
        as the argument of `@typechecked`; `None` leaves it to each decorator.
    """

    typechecking_enabled: bool = True
    jaxtyping_annotations: JaxtypingPolicy = "check"
    fields: FieldsPolicy | None = None

    def __enter__(self) -> Self:
        token = _local.set(self)
        _tokens.set((*_tokens.get(), token))
        return self

    def __exit__(self, *exc_info: Any) -> None:
        *rest, token = _tokens.get()
        _tokens.set(tuple(rest))
        _local.reset(token)


_OFF, _ON, ALL = ("0", "false", "off", "no"), ("", "1", "true", "on", "yes"), "all"


def _setting() -> str:
    """Returns the value of the environment variable.

    Raises:
      ValueError: If it is no known one.
    """
    text = os.environ.get(ENV_VAR, "1")
    setting = text.strip().lower()
    if setting not in (*_OFF, *_ON, ALL):
        raise ValueError(f"{ENV_VAR} must be `0`, `1` or `{ALL}`: got {text!r}.")
    return setting


def _initial() -> Config:
    return Config(typechecking_enabled=_setting() not in _OFF)


CONFIG = _initial()
"""The configuration of the process; assign to its attributes."""

_local: contextvars.ContextVar[Config | None] = contextvars.ContextVar(
    "ktyping_config", default=None
)
_tokens: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar(
    "ktyping_config_tokens", default=()
)
_overrides: dict[int, tuple[str, Config]] = {}
_ids = itertools.count(1)


def add_config_override(module_regex: str, config: Config) -> int:
    """Gives the functions of some modules a configuration of their own.

    Args:
      module_regex: Matched against the beginning of the module name (`re.match`). Of
        several that match, the one added last wins.
      config: Wins over `CONFIG`, but not over a `with Config(...)`.

    Returns:
      The id of the override, for `remove_config_override`.
    """
    re.compile(module_regex)  # reports a mistake in it here, where it was made
    override_id = next(_ids)
    _overrides[override_id] = (module_regex, config)
    return override_id


def remove_config_override(override: int | str) -> None:
    """Takes back `add_config_override`.

    Args:
      override: The id that it returned; or the regex, for every override that has it.

    Raises:
      KeyError: If there is no such override.
    """
    if override in _overrides:
        del _overrides[int(override)]
        return
    same_regex = [i for i, (regex, _) in _overrides.items() if regex == override]
    if not same_regex:
        known = {i: regex for i, (regex, _) in _overrides.items()}
        raise KeyError(
            f"No config override for {override!r}. By id, there are: {known}."
        )
    for override_id in same_regex:
        del _overrides[override_id]


def is_left_alone(module_name: str | None) -> bool:
    """Returns whether the functions of a module are not even wrapped.

    Those of this package are not, so that they cost what they would cost undecorated,
    unless the environment asks for them while they are imported.
    """
    is_own = (module_name or "").partition(".")[0] == _PACKAGE
    return is_own and _setting() != ALL


def active(module_name: str | None) -> Config:
    """Returns the configuration that holds for a module here and now."""
    local = _local.get()
    if local is not None:
        return local
    if _overrides and module_name:
        for regex, config in reversed(_overrides.values()):
            if re.match(regex, module_name):
                return config
    return CONFIG
